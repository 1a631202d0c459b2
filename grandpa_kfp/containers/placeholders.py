"""Kubeflow's placeholders in a container's command: made of a user's `{name}`, and filled in where one runs here.

A placeholder is text within an argument, `{{$.inputs.parameters['x']}}`; two kinds are a whole argument of JSON:
`{"Concat": [...]}`, and `{"IfPresent": {"InputName": ..., "Then": ..., "Else": ...}}`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from grandpa_kfp_compiler.graph import Port
from grandpa_kfp_compiler.verify.faults import nearest
from grandpa_kfp_runtime.contract import EXECUTOR_INPUT
from grandpa_kfp_runtime.typespec import Json

_BRACES = re.compile(r"\{\{([A-Za-z_]\w*)\}\}|(?<!\$)\{([A-Za-z_]\w*)\}")
_PLACEHOLDER = re.compile(r"\{\{\$(?:\.(?P<path>[^{}]*))?\}\}")
_STEPS = re.compile(r"\.?([A-Za-z_]\w*)|\[['\"]([^'\"]*)['\"]\]")


class Unknown(ValueError):
    """A name in braces that stands for nothing."""


def from_braces(text: str, takes: Sequence[Port], gives: Sequence[Port]) -> str:
    r"""A user's word with `{name}` as Kubeflow has it; one with an input that may be None is left out where it is None.

    Raises Unknown.

    >>> from_braces("{n} ${HOME} {{n}}", [Port("n", "STRING")], [])
    "{{$.inputs.parameters['n']}} ${HOME} {n}"
    >>> from_braces("-n={n}", [Port("n", "STRING", optional=True)], [])
    '{"IfPresent": {"InputName": "n", "Then": ["-n={{$.inputs.parameters[\'n\']}}"]}}'
    """
    made = _placed(text, takes, gives)
    absent = [port.name for port in takes if port.optional and not port.default and _input(port) in made]
    if len(absent) > 1:
        raise Unknown(
            f"a word of its command names {' and '.join(absent)}, which may be None: give each a word of its own"
        )
    if not absent:
        return made
    return json.dumps({"IfPresent": {"InputName": absent[0], "Then": [made]}}, ensure_ascii=False)


def _placed(text: str, takes: Sequence[Port], gives: Sequence[Port]) -> str:
    known = {port.name: _input(port) for port in takes} | {port.name: _output(port) for port in gives}

    def placed(match: re.Match[str]) -> str:
        literal, name = match.groups()
        if literal is not None:
            return f"{{{literal}}}"
        if name not in known:
            raise Unknown(
                f"{{{name}}} in its command names no input or output{nearest(name, known, listed=True)}; "
                f"write {{{{{name}}}}} for the text {{{name}}} itself"
            )
        return known[name]

    if "{{$" in text:
        raise Unknown("its command holds `{{$`, which Kubeflow would replace: write {name} for an input or output")
    made = _BRACES.sub(placed, text)
    left = _PLACEHOLDER.sub("", made)
    if "{{" in left or "}}" in left or "$$(" in left:
        raise Unknown(
            "its command holds `{{`, `}}` or `$$(`, which Argo and Kubernetes would replace: put a blank between"
        )
    return made


def _input(port: Port) -> str:
    if port.is_file:
        return f"{{{{$.inputs.artifacts['{port.name}'].path}}}}"
    return f"{{{{$.inputs.parameters['{port.name}']}}}}"


def _output(port: Port) -> str:
    if port.is_file:
        return f"{{{{$.outputs.artifacts['{port.name}'].path}}}}"
    return f"{{{{$.outputs.parameters['{port.name}'].output_file}}}}"


def filled(words: Sequence[str], executor_input: Json, local_path: Callable[[str], str]) -> list[str]:
    """The words of a command as a container gets them.

    executor_input: the ExecutorInput as data. local_path: of an artifact's URI. An IfPresent whose input is absent and
    that has no Else leaves no word. Raises KeyError for a placeholder of what is not there.

    >>> given = {"inputs": {"parameterValues": {"n": 2.5}}}
    >>> filled(["--n={{$.inputs.parameters['n']}}", '{"IfPresent": {"InputName": "m", "Then": ["-m"]}}'], given, str)
    ['--n=2.5']
    """
    found = []
    for word in words:
        structure = _structure(word)
        made = _whole(structure, executor_input, local_path) if structure else _text(word, executor_input, local_path)
        found += made if isinstance(made, list) else [made]
    return found


def _structure(word: str) -> dict[str, Any] | None:
    if not word.startswith(('{"Concat"', '{"IfPresent"')):
        return None
    try:
        return dict(json.loads(word))
    except ValueError:
        return None


def _whole(part: Any, given: Json, local_path: Callable[[str], str]) -> list[str] | str:
    if isinstance(part, str):
        return _text(part, given, local_path)
    if isinstance(part, list):
        return [word for item in part for word in _listed(_whole(item, given, local_path))]
    if "Concat" in part:
        return "".join("".join(_listed(_whole(item, given, local_path))) for item in part["Concat"])
    asked = part["IfPresent"]
    inputs = given.get("inputs", {})
    there = asked["InputName"] in inputs.get("parameterValues", {}) or asked["InputName"] in inputs.get("artifacts", {})
    chosen = asked.get("Then") if there else asked.get("Else")
    return [] if chosen is None else _whole(chosen, given, local_path)


def _listed(words: list[str] | str) -> list[str]:
    return words if isinstance(words, list) else [words]


def _text(text: str, given: Json, local_path: Callable[[str], str]) -> str:
    if text == EXECUTOR_INPUT:
        return json.dumps(given)

    def value(match: re.Match[str]) -> str:
        path = match["path"]
        return json.dumps(given) if path is None else as_text(_looked_up(path, given, local_path))

    return _PLACEHOLDER.sub(value, text)


def _looked_up(path: str, given: Json, local_path: Callable[[str], str]) -> Json:
    steps = [plain or quoted for plain, quoted in _STEPS.findall(path)]
    side, kind, *rest = steps
    if (side, kind) == ("inputs", "parameters"):
        return given["inputs"]["parameterValues"][rest[0]]
    if (side, kind) == ("outputs", "parameters"):
        return given["outputs"]["parameters"][rest[0]]["outputFile"]
    if kind == "output_file":
        return given["outputs"]["outputFile"]
    artifact: Mapping[str, Json] = given[side][kind][rest[0]]["artifacts"][0]
    asked = rest[1] if len(rest) > 1 else "path"
    if asked == "path":
        return local_path(artifact["uri"])
    found: Json = artifact[asked]
    return found[rest[2]] if len(rest) > 2 else found


def as_text(value: Json) -> str:
    """A parameter's value as Kubeflow puts it into a command: numbers without a needless fraction, JSON for the rest.

    >>> as_text(2.0), as_text(True), as_text("a b"), as_text([1, "x"])
    ('2', 'true', 'a b', '[1,"x"]')
    """
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return json.dumps(value, separators=(",", ":"))
