"""Types of what flows against the types that are asked, both places named.

Only what can never fit is a fault: `Any`, no annotation, and a union with one member that fits pass.
Constants are not looked at; a node may well take a NumPy integer where its annotation says `int`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from grandpa_kfp_runtime.typespec import ANY, TypeSpec, fits

from ..graph import (
    HANDLE,
    RESULT,
    Branch,
    Call,
    ContainerNode,
    Filled,
    Graph,
    Group,
    Instance,
    Loop,
    Operation,
    Parameter,
    ParameterValue,
    Signature,
    TaskOutput,
    Value,
    bodies_of,
)
from .arguments import BY_NAME, BY_POSITION, known_signature
from .faults import Fault, place, place_of, place_of_graph

_OF_ONE = frozenset({"list", "set", "frozenset", "Sequence", "Iterable", "Collection"})


def edge_faults(graph: Graph) -> list[Fault]:
    """Arguments and results that receive what they cannot take."""
    edges = Edges(graph)
    faults: list[Fault] = []
    for item in (*graph.instances, *graph.operations):
        for name, spec, value in _asked(item) if isinstance(item, Call | Instance) else _asked_inside(item):
            for message in edges.misfits(spec, value):
                faults.append(Fault(place_of(item), f"argument {name} is {spec}, but {message}"))
    for name, value in graph.outputs:
        spec = graph.returns if name == RESULT else ANY
        for message in edges.misfits(spec, value):
            faults.append(Fault(place_of_graph(graph), f"it returns {spec}, but {message}"))
    return faults


def _asked(item: Call | Instance) -> Iterator[tuple[str, TypeSpec, Value]]:
    """Each argument's name, the type its parameter asks for, and the value given."""
    signature = known_signature(item)
    if signature is None:
        return
    parameters = signature.parameters
    positional = [parameter for parameter in parameters if parameter.kind in BY_POSITION]
    for parameter, value in zip(positional, item.args, strict=False):
        yield parameter.name, parameter.type, value
    if len(item.args) > len(positional):
        for parameter in parameters:
            if parameter.kind == "var_positional":
                for index, value in enumerate(item.args[len(positional) :]):
                    yield f"{parameter.name}[{index}]", parameter.type, value
    if item.kwargs:
        by_name = {parameter.name: parameter.type for parameter in parameters if parameter.kind in BY_NAME}
        others = next((parameter.type for parameter in parameters if parameter.kind == "var_keyword"), ANY)
        for name, value in item.kwargs:
            yield name, by_name.get(name, others), value


def _asked_inside(item: Group | Branch | Loop) -> Iterator[tuple[str, TypeSpec, Value]]:
    for body in bodies_of(item):
        wanted = {parameter.name: parameter.type for parameter in body.parameters}
        for name, value in item.arguments:
            yield name, wanted.get(name, ANY), value


class Edges:
    """The types of everything that may flow in one graph."""

    def __init__(self, graph: Graph) -> None:
        self.producers = {operation.id: operation for operation in graph.operations}
        self.parameters = {parameter.name: parameter for parameter in graph.parameters}
        self.place = place_of_graph(graph)

    def misfits(self, wanted: TypeSpec, value: Value) -> Iterator[str]:
        """What is given where it cannot fit: `split (calc.py:12) gives str`."""
        if wanted is ANY or wanted.name == "any" or wanted == HANDLE:
            return
        if isinstance(value, TaskOutput | ParameterValue):
            given = self.given(value)
            if not fits(given, wanted):
                yield f"{self.giver(value)} {given}"
        elif isinstance(value, Filled):
            for at, inner in value.holes:
                yield from self.misfits(_inside(wanted, at), inner)

    def given(self, value: TaskOutput | ParameterValue) -> TypeSpec:
        """The type of what flows, `ANY` where nothing tells."""
        if isinstance(value, TaskOutput):
            producer = self.producers.get(value.task)
            return ANY if producer is None else _through(output_type(producer, value.output), value.path)
        parameter = self.parameters.get(value.name)
        return ANY if parameter is None else _through(_parameter_type(parameter), value.path)

    def giver(self, value: TaskOutput | ParameterValue) -> str:
        """Who gives it: `split (calc.py:12) gives`."""
        if isinstance(value, TaskOutput):
            producer = self.producers.get(value.task)
            return f"{place(_shown(value), '' if producer is None else producer.where)} gives"
        return f"parameter {value.name}{_path_text(value.path)} of {self.place} is"


def _shown(value: TaskOutput) -> str:
    output = "" if value.output == RESULT else f".{value.output}"
    return f"{value.task}{output}{_path_text(value.path)}"


def _path_text(path: tuple[Any, ...]) -> str:
    return "".join(f"[{key!r}]" for key in path)


def _parameter_type(parameter: Parameter) -> TypeSpec:
    return ANY if parameter.type == HANDLE else parameter.type


def output_type(producer: Operation, output: str) -> TypeSpec:
    """What the annotations say of an output, `ANY` where they say nothing."""
    if isinstance(producer, Loop):
        return TypeSpec("list")
    if not isinstance(producer, Call):
        return ANY
    if isinstance(producer.node, ContainerNode):
        port = producer.node.port(output)
        return ANY if port is None else port.spec
    returns = (known_signature(producer) or _UNKNOWN).returns
    outputs = producer.node.outputs
    if outputs == (RESULT,):
        return returns
    if output in outputs and returns.name == "tuple" and len(returns.args) == len(outputs):
        return returns.args[outputs.index(output)]
    if returns.name == "dict" and len(returns.args) == 2:
        return returns.args[1]
    return ANY


_UNKNOWN = Signature()


def _through(spec: TypeSpec, path: tuple[Any, ...]) -> TypeSpec:
    """The type of `value[key][key]`, `ANY` from where it cannot be told."""
    for key in path:
        spec = _item(spec, key)
    return spec


def _item(spec: TypeSpec, key: Any) -> TypeSpec:
    if spec.name == "tuple" and type(key) is int and spec.args:
        if spec.args[-1].name == "...":
            return spec.args[0]
        return spec.args[key] if -len(spec.args) <= key < len(spec.args) else ANY
    if spec.name in ("dict", "Mapping") and len(spec.args) == 2:
        return spec.args[1]
    if spec.name in ("list", "Sequence") and len(spec.args) == 1 and type(key) is int:
        return spec.args[0]
    return ANY


def _inside(wanted: TypeSpec, at: tuple[int, ...]) -> TypeSpec:
    """The type asked of what stands at a position of an argument, `ANY` from where it cannot be told."""
    for position in at:
        if wanted.name == "tuple" and wanted.args:
            wanted = _item(wanted, position)
        elif wanted.name in ("dict", "Mapping") and len(wanted.args) == 2:
            wanted = wanted.args[1]
        elif wanted.name in _OF_ONE and len(wanted.args) == 1:
            wanted = wanted.args[0]
        else:
            return ANY
    return wanted
