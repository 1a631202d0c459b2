"""Options that cannot be honoured, and parameters whose defaults do not match their types.

The options that a user writes are checked where they are written; a graph from a file comes here first.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

from grandpa_kfp_runtime import contract
from grandpa_kfp_runtime.errors import ParameterError
from grandpa_kfp_runtime.parameters import UnknownClass, convert, kfp_type, no_class, to_json

from ..graph import HANDLE, NO_OPTIONS, Call, Constant, Graph, Json, Options, Parameter
from .faults import Fault, place_of, place_of_graph

_CPU = re.compile(r"[0-9]+(\.[0-9]+)?m?")
_MEMORY = re.compile(r"[0-9]+(\.[0-9]+)?([KMGTPE]i?|[kmun])?")
_TIME_TO_LIVE = re.compile(r"[0-9]+(\.[0-9]+)?[smhdw]")
_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_RESERVED = frozenset(
    {
        contract.ENV_CODE,
        contract.ENV_CODE_SHA256,
        contract.ENV_PYTHON,
        contract.ENV_TIMEOUT_S,
        contract.ENV_STORE,
        contract.ENV_ACCESS_KEY,
        contract.ENV_SECRET_KEY,
        contract.ENV_REDACT,
        contract.ENV_TASK_NAME,
    }
)
_PLAIN_INT = 2**53
_MOST_SHOWN = 60


def setting_faults(graph: Graph) -> list[Fault]:
    """Bad options, once for each node that has them, and bad parameters."""
    faults: list[Fault] = []
    right: dict[int, Options] = {}  # by identity: tasks share their options; the values keep the ids alive
    told: set[tuple[str, str]] = set()
    for call in graph.operations:
        if not isinstance(call, Call) or call.options is NO_OPTIONS or id(call.options) in right:
            continue
        wrong = option_mistakes(call.options)
        if not wrong:
            right[id(call.options)] = call.options
        for message in wrong:
            if (call.node.key, message) not in told:
                told.add((call.node.key, message))
                faults.append(Fault(place_of(call), message))
    for parameter in graph.parameters:
        for message in parameter_mistakes(parameter):
            faults.append(Fault(place_of_graph(graph), f"parameter {parameter.name}: {message}"))
    return faults


def option_mistakes(options: Options) -> list[str]:
    """What is wrong with the options, one sentence each.

    >>> option_mistakes(Options(timeout_s=0))
    ['the option timeout_s must be a number of seconds above 0, but is 0']
    """
    mistakes = [
        f"the option {name} must be {wanted}, but is {value!r}"
        for name, (is_right, wanted) in _RULES.items()
        if (value := getattr(options, name)) is not None and not is_right(value)
    ]
    mistakes.extend(_environment_mistakes(options))
    return mistakes


def _environment_mistakes(options: Options) -> Iterator[str]:
    env, secrets = options.env or (), options.secrets or ()
    for kind, pairs in (("env", env), ("secrets", secrets)):
        for name, _ in pairs:
            if not isinstance(name, str) or _ENVIRONMENT_NAME.fullmatch(name) is None:
                yield f"the option {kind} holds {name!r}, which is no name of an environment variable"
            elif name in _RESERVED:
                yield f"the option {kind} sets {name}, which the runtime itself sets; choose another name"
    for name, text in secrets:
        secret, _, key = text.partition("/")
        if not secret or not key or "/" in key:
            yield f"the option secrets must name a secret and a key in it for {name}, as 'secret/key', but has {text!r}"
    for name in sorted({name for name, _ in env} & {name for name, _ in secrets}):
        yield f"{name} is set both by the option env and by the option secrets; drop one"


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_seconds(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value < math.inf


def _is_cpu(value: Any) -> bool:
    return isinstance(value, str) and _CPU.fullmatch(value) is not None and float(value.rstrip("m")) > 0


def _is_memory(value: Any) -> bool:
    return isinstance(value, str) and _MEMORY.fullmatch(value) is not None and float(value.rstrip("KMGTPEikmun")) > 0


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_cache(value: Any) -> bool:
    return isinstance(value, bool) or (isinstance(value, str) and _TIME_TO_LIVE.fullmatch(value) is not None)


def _is_packages(value: Any) -> bool:
    return all(_is_text(item) and "\n" not in item for item in value)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "retries": (_is_count, "a whole number, 0 or more"),
    "timeout_s": (_is_seconds, "a number of seconds above 0"),
    "cpu": (_is_cpu, "a number of cores above 0, such as '2' or '500m'"),
    "memory": (_is_memory, "a size above 0, such as '512Mi' or '2Gi'"),
    "gpu": (_is_count, "a whole number, 0 or more"),
    "image": (lambda value: _is_text(value) and not any(mark.isspace() for mark in value), "the name of an image"),
    "packages": (_is_packages, "requirements such as 'numpy==1.26.4'"),
    "cache": (_is_cache, "True, False or a time to live such as '12h' or '1d'"),
    "version": (lambda value: isinstance(value, str), "a text"),
    "verbose": (_is_flag, "True or False"),
    "keep": (_is_flag, "True or False"),
}


def parameter_mistakes(parameter: Parameter) -> Iterator[str]:
    """What is wrong with a parameter's name or default."""
    if parameter.type != HANDLE and not parameter.name.isidentifier():  # a group's names for outputs are its own
        yield f"{parameter.name!r} is no name that Python takes for a parameter"
    default = parameter.default
    if not isinstance(default, Constant) or parameter.type == HANDLE:
        return
    if default.handle is not None and default.handle.startswith("@"):
        return  # a value that only the project's own code can decode; it was checked when it was traced
    try:
        value = json.loads(default.handle) if default.handle is not None else default.value
        in_json = to_json(convert(value, parameter.type, no_class), parameter.type)
    except ParameterError as error:
        yield f"its default {error}"
        return
    except UnknownClass:
        return  # it was checked when it was traced
    if kfp_type(parameter.type) is not None:
        for number in _big_ints(in_json):
            yield (
                f"{number} is more than 2**53, up to which Kubeflow's numbers are exact; "
                "declare it as str, or make the number in a node"
            )


def _big_ints(value: Json) -> Iterator[str]:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if type(item) is int and abs(item) > _PLAIN_INT:
            shown = str(item) if item.bit_length() < 3 * _MOST_SHOWN else f"a number of {item.bit_length()} bits"
            yield shown
        elif isinstance(item, list):
            waiting.extend(item)
        elif isinstance(item, dict):
            waiting.extend(item.values())
