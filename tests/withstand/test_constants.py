"""Texts and names that Argo, Kubernetes or YAML would change arrive as the user wrote them."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml
from command_line import Project

TEXTS = [
    "x{{workflow.name}}y",
    "{{inputs.parameters.foo}}",
    "{{$.inputs.parameters['x']}}",
    "{{$}}",
    "}}",
    "{{",
    "$$(HOME)",
    "$(HOME)",
    "$HOME ${HOME} `id` %HOME%",
    "\"double\" 'single' \\back\\slash\\",
    "line\nline\r\nline\rline\ttab\n",
    "\n",
    "",
    " spaces around  ",
    "ümläute ß é 漢字",
    "\U0001f600\U0001f468\u200d\U0001f469",
    "\u2028\u2029\u0085\ufeff\u00a0",
    "\x00\x01\x1b\x7f",
    "a: b\n- c # d",
    "--- \n...",
    "| >",
    "&anchor *alias !tag @at `tick",
    "@inline:json:e30",
    "@" + "A" * 43,
    "n",
    "y",
    "on",
    "off",
    "no",
    "yes",
    "true",
    "null",
    "~",
    "1e3",
    "0x10",
    "0o7",
    "1_000",
    "12:30:45",
    "2024-02-29",
    "-0.0",
    ".inf",
    "nan",
    "=",
    "<<",
]
"""Each alone is a constant, an item in a list, a key and value in a dict, a default of a parameter."""

OTHERS: list[Any] = [
    None, True, 0, -1, 2**53, 2**53 + 1, -(2**100), 0.1, 1e300, -0.0, 2.0, float("inf"), b"\x00\xff", (1, (2,)),
    {"a": None, "b": [1, 2.0]}, {1: "x"}, {1, 2}, complex(1, 2), "x" * 3000,
]  # fmt: skip


def on_every_engine(project: Project, *options: str) -> list[Any]:
    """The value on threads, from the graph file and from the YAML."""
    assert project.grandpa("compile", "flow.py").code == 0
    project.graph_file()
    values = []
    for file in ("flow.py", "flow.json", "flow.yaml"):
        ended = project.grandpa("run", file, *options)
        assert ended.code == 0, ended.err
        values.append(ended.value)
    return values


def source(texts: list[Any]) -> str:
    return f"""
from math import inf
TEXTS = {texts!r}

@Node
def take(*args, **kwargs):
    return [list(args), kwargs]
"""


def rewritten_by_argo(project: Project) -> list[str]:
    """What KFP and Argo would replace in the file, other than the one placeholder that we mean."""
    text = (project.folder / "flow.yaml").read_text(encoding="utf-8")
    documents = json.dumps(list(yaml.safe_load_all(text)), ensure_ascii=False)
    found = re.findall(r".{0,20}(?:\{\{|\}\}|\$\$\().{0,20}", re.sub(r'"\{\{\$\}\}"', "", documents))
    # JSON's own braces close side by side too; only those inside texts count
    return [item for item in found if "{{" in item or "$$(" in item]


def test_texts_as_constants(project: Project) -> None:
    """Alone, in lists, as keys and values of dicts, in tuples."""
    project.flow(
        source(TEXTS)
        + """
@Workflow
def flow():
    return [take(*TEXTS), take(TEXTS, {text: text for text in TEXTS}, tuple(TEXTS)), take(take(*TEXTS), TEXTS)]
"""
    )
    alone = [TEXTS, {}]
    together = [[TEXTS, {text: text for text in TEXTS}, tuple(TEXTS)], {}]
    for value in on_every_engine(project):
        assert value == [alone, together, [[alone, TEXTS], {}]]
    assert not rewritten_by_argo(project)


def test_texts_as_defaults_and_given_parameters(project: Project) -> None:
    """A parameter's default is in the YAML as well; a given value is the user's own affair with KFP's server."""
    declared = ", ".join(f"p{number}: str = TEXTS[{number}]" for number in range(len(TEXTS)))
    names = ", ".join(f"p{number}" for number in range(len(TEXTS)))
    project.flow(
        source(TEXTS)
        + f"""
@Workflow
def flow(
    {declared},
    items: list[str] = TEXTS,
    given: str = "",
    table: dict[str, str] = {{text: text for text in TEXTS}},
):
    return take({names}, items, table, given)
"""
    )
    for value in on_every_engine(project, "-p", "given={{x}} $$(y) 'ä😀'\n"):
        expected = [*TEXTS, TEXTS, {text: text for text in TEXTS}, "{{x}} $$(y) 'ä😀'\n"]
        assert value == [expected, {}]
    assert not rewritten_by_argo(project)


def test_values_that_are_no_texts(project: Project) -> None:
    """Type and value both, beyond what KFP's doubles hold."""
    project.flow(
        source(OTHERS)
        + """
@Node
def kinds(*args):
    return [f"{type(arg).__name__} {arg!r}" for arg in args]
@Workflow
def flow():
    return kinds(*TEXTS), kinds(*[same(x) for x in TEXTS])
@Node
def same(x):
    return x
"""
    )
    expected = [f"{type(item).__name__} {item!r}" for item in OTHERS]
    for value in on_every_engine(project):
        assert value == (expected, expected)


NAMES = [
    "n",
    "y",
    "on",
    "off",
    "no",
    "yes",
    "true",
    "false",
    "null",
    "N",
    "Y",
    "ON",
    "NULL",
    "e1",
    "_",
    "__x",
    "é",
    "名",
]


def test_names_that_yaml_reads_otherwise(project: Project) -> None:
    """Of parameters, arguments, nodes, outputs, components, tasks."""
    declared = ", ".join(f"{name}: int = {number}" for number, name in enumerate(NAMES))
    passed = ", ".join(f"{name}={name}" for name in NAMES)
    outputs = [name for name in NAMES if name.isascii() and name.islower() and name.isalnum()]
    project.flow(f"""
@Node("n", outputs={tuple(outputs)!r})
def node_n({", ".join(NAMES)}):
    return {{{", ".join(f"{name!r}: {name} * 10" for name in outputs)}}}

@Node("on")
def node_on(**kwargs):
    return kwargs

@Component("y")
def part(x):
    return node_on.options(name="no")(off=x.off, yes=x["yes"])

@Workflow("null")
def flow({declared}):
    first = node_n({passed})
    return [first.n, first.null, part(first), node_on({passed}), node_on.options(name="true")(y=first.y)]
""")
    numbers = {name: number for number, name in enumerate(NAMES)}
    for value in on_every_engine(project):
        assert value == [
            10 * numbers["n"],
            10 * numbers["null"],
            {"off": 10 * numbers["off"], "yes": 10 * numbers["yes"]},
            numbers,
            {"y": 10 * numbers["y"]},
        ]


def test_names_keep_their_text_in_kfps_reader(project: Project) -> None:
    """No key of the file becomes a boolean or null, for a reader of YAML 1.1."""
    project.flow("""
@Node(outputs=("y", "off"))
def on(n):
    return 1, 2
@Workflow
def yes(no: int = 1, n: str = "y"):
    return on.options(name="null")(no), on(n).y
""")
    assert project.grandpa("compile", "flow.py").code == 0

    def keys(data: Any) -> list[Any]:
        if isinstance(data, dict):
            return [*data, *(key for item in data.values() for key in keys(item))]
        return [key for item in data for key in keys(item)] if isinstance(data, list) else []

    documents = list(yaml.safe_load_all((project.folder / "flow.yaml").read_text(encoding="utf-8")))
    found = keys(documents)
    assert all(type(key) is str for key in found)
    assert {"no", "n", "y", "off", "null", "on"} <= set(found)
    components = pytest.importorskip("kfp.components")
    assert components.load_component_from_text((project.folder / "flow.yaml").read_text(encoding="utf-8"))
