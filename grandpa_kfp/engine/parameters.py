"""The parameters of a run: given values checked against a graph's declarations, defaults filled in."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from grandpa_kfp_compiler.graph import MISSING, Constant, Graph
from grandpa_kfp_compiler.verify.faults import place_of_graph
from grandpa_kfp_compiler.verify.settings import parameter_mistakes
from grandpa_kfp_runtime.errors import CodecError, ParameterError
from grandpa_kfp_runtime.typespec import TypeSpec


def bind_parameters(graph: Graph, given: Mapping[str, Any], load: Callable[[str], Any]) -> dict[str, Constant]:
    """A constant for every parameter, of the Python value that its type asks for.

    load: the class of a type's name, for enums and dataclasses.
    Raises ParameterError, naming all that is unknown, missing or of the wrong type.
    """
    from grandpa_kfp_runtime.parameters import convert

    faults = unknown(given, [parameter.name for parameter in graph.parameters], place_of_graph(graph))
    bound: dict[str, Constant] = {}
    for parameter in graph.parameters:
        if parameter.name in given:
            try:
                value = Constant(convert(given[parameter.name], parameter.type, load))
                mistakes = parameter_mistakes(replace(parameter, default=value))
                faults.extend(f"{place_of_graph(graph)}: parameter {parameter.name}: {mistake}" for mistake in mistakes)
                bound[parameter.name] = value
            except (ParameterError, CodecError) as error:
                faults.append(f"{place_of_graph(graph)}: parameter {parameter.name}: {error}")
        elif parameter.default is MISSING:
            faults.append(f"{place_of_graph(graph)}: {missing(parameter.name, parameter.type)}")
        else:
            assert isinstance(parameter.default, Constant)
            bound[parameter.name] = _default(parameter.default, parameter.type, load)
    if faults:
        raise ParameterError("\n".join(faults))
    return bound


def missing(name: str, type_: object) -> str:
    """What to say of a parameter without a value.

    >>> missing("a", "int")
    'parameter a (int) is missing and has no default; give it a value, on the command line by -p a=...'
    """
    advice = f"give it a value, on the command line by -p {name}=..."
    return f"parameter {name} ({type_}) is missing and has no default; {advice}"


def _default(default: Constant, spec: TypeSpec, load: Callable[[str], Any]) -> Constant:
    """A graph file holds a default as JSON, which the type turns into the value."""
    if default.handle is None or default.handle.startswith("@"):
        return default
    from grandpa_kfp_runtime.parameters import convert

    return Constant(convert(json.loads(default.handle), spec, load))


def unknown(given: Iterable[str], known: list[str], name: str) -> list[str]:
    """A line for each name that the workflow does not have, with the nearest one that it has.

    >>> unknown(["alhpa"], ["alpha", "beta"], "flow")
    ["flow: no parameter 'alhpa'; did you mean 'alpha'? It takes alpha, beta"]
    """
    lines = []
    for wrong in given:
        if wrong not in known:
            near = difflib.get_close_matches(wrong, known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ";"
            takes = f"It takes {', '.join(known)}" if known else "It takes none"
            lines.append(f"{name}: no parameter {wrong!r}{hint} {takes}".replace("; It", "; it"))
    return lines
