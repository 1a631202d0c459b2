"""Options that cannot be honoured, and parameters whose defaults do not match their types.

The options that a user writes are checked where they are written; a graph from a file comes here first.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from grandpa_kfp_runtime.errors import ParameterError
from grandpa_kfp_runtime.parameters import UnknownClass, convert, kfp_type, no_class, to_json

from ..executor_config import conflicts
from ..graph import HANDLE, NO_OPTIONS, Call, Constant, Graph, Group, Json, Options, Parameter
from ..options import RULES
from .faults import Fault, place_of, place_of_graph

_PLAIN_INT = 2**53
_MOST_SHOWN = 60


def setting_faults(graph: Graph) -> list[Fault]:
    """Bad options, once for each node that has them, and bad parameters."""
    faults: list[Fault] = []
    right: dict[int, Options] = {}  # by identity: tasks share their options; the values keep the ids alive
    told: set[tuple[str, str]] = set()
    for item in graph.operations:
        if not isinstance(item, Call | Group) or item.options is NO_OPTIONS or id(item.options) in right:
            continue
        wrong = option_mistakes(item.options)
        if not wrong:
            right[id(item.options)] = item.options
        if isinstance(item, Group) and not item.fused:
            faults.append(Fault(place_of(item), "it is a group that is not fused, so it has no container for options"))
        whose = item.node.key if isinstance(item, Call) else item.id
        for message in wrong:
            if (whose, message) not in told:
                told.add((whose, message))
                faults.append(Fault(place_of(item), message))
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
        f"the option {name} {mistake}" for name, value in options.chosen() for mistake in RULES[name].mistakes(value)
    ]
    return mistakes or conflicts(options)


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
