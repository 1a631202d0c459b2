"""What containers of other images are given, against what goes into them; and who publishes what as an artifact."""

from __future__ import annotations

import math
from collections.abc import Iterator

from grandpa_kfp_runtime.typespec import Json, TypeSpec

from ..constants import NotPlain, plain_value
from ..containers import ARTIFACTS, KFP_WORDS, arguments_of, feeds, title_of
from ..graph import (
    Call,
    Constant,
    ContainerNode,
    Filled,
    Graph,
    Instance,
    InstanceValue,
    Operation,
    ParameterValue,
    Port,
    TaskOutput,
    Value,
    leaves,
    values_of,
)
from .edges import Edges
from .faults import Fault, nearest, place, place_of

_AS_FILES = ("any", "str", "bytes", "bytearray", "pathlib:Path", "pathlib:PurePath", "pathlib:PosixPath")
"""Types of values that are files as they are."""
_EXACT = 2**53


def container_faults(graph: Graph) -> list[Fault]:
    """Arguments that a container cannot be given, parts of files, and artifacts that nobody could tell apart."""
    edges = Edges(graph)
    faults: list[Fault] = []
    for item in (*graph.instances, *graph.operations):
        faults += [Fault(place_of(item), message) for message in _parts(item, edges)]
        if isinstance(item, Call):
            faults += [Fault(place_of(item), message) for message in _published(item)]
            if isinstance(item.node, ContainerNode):
                for port, value in arguments_of(item.node, item):
                    what = f"input {port.name} is {_shown(port.type)}"
                    faults += [Fault(place_of(item), f"{what}, but {told}") for told in _misfits(port, value, edges)]
    return faults


def _shown(type_: str) -> str:
    return KFP_WORDS.get(type_, f"a file ({type_})")


def _misfits(port: Port, value: Value, edges: Edges) -> Iterator[str]:
    if isinstance(value, InstanceValue):
        yield "is given an object, which no container understands; pass what a node makes of it"
    elif isinstance(value, Filled):
        if port.type not in ("LIST", "STRUCT"):
            yield "is given a structure of several results; make it in a node, and pass what that returns"
    elif isinstance(value, Constant):
        yield from _constant(port, value)
    elif isinstance(value, TaskOutput):
        producer = edges.producers.get(value.task)
        if isinstance(producer, Call):
            yield from _of_task(port, value, producer, edges)
    elif port.is_file and isinstance(value, ParameterValue) and not _is_file(edges.given(value)):
        yield f"{edges.giver(value)} {edges.given(value)}; a node that returns its Path makes a file of it"


def _constant(port: Port, constant: Constant) -> Iterator[str]:
    try:
        value = plain_value(constant)
    except NotPlain:
        if not port.is_file:
            yield "is given a value that is not plain data"
        return
    if port.is_file:
        if isinstance(value, str | int | float | bool | list | dict | tuple) or (value is None and not port.optional):
            yield f"is given {value!r}; pass a file of yours as File(...), or what a node returns"
    elif value is None:
        if not port.optional:
            yield "is given None"
    elif not _is(value, port.type):
        yield f"is given {value!r}"
    elif type(value) is int and abs(value) > _EXACT:
        yield f"is given {value}: Kubeflow's numbers are exact up to 2**53"


def _is(value: Json, type_: str) -> bool:
    return {
        "STRING": isinstance(value, str),
        "NUMBER_INTEGER": type(value) is int,
        "NUMBER_DOUBLE": type(value) in (int, float) and math.isfinite(value),
        "BOOLEAN": type(value) is bool,
        "LIST": isinstance(value, list | tuple),
        "STRUCT": isinstance(value, dict) and all(isinstance(key, str) for key in value),
    }[type_]


def _of_task(port: Port, value: TaskOutput, producer: Call, edges: Edges) -> Iterator[str]:
    """Types of parameters are looked at as all others are, by the signature; here it is about files."""
    giver = edges.giver(value)
    if isinstance(producer.node, ContainerNode):
        left = producer.node.port(value.output)
        if left is not None and (left.is_file or port.is_file) and not feeds(left.type, port.type):
            yield f"{giver} {_shown(left.type)}"
        return
    if not port.is_file:
        return
    published = producer.options.artifact
    if published is not None and not feeds(title_of(published), port.type):
        yield f"{giver} a file ({title_of(published)}), which its option artifact says"
    if published is None and not _is_file(edges.given(value)):
        kind = port.type.removeprefix("system.")
        yield (
            f"{giver} {edges.given(value)}: return a Path or bytes there, or have the value written to a file by "
            f'options(artifact="{kind}")'
        )


def _is_file(given: TypeSpec) -> bool:
    return any(map(_is_file, given.args)) if given.name == "union" else given.name in _AS_FILES


def _parts(item: Operation | Instance, edges: Edges) -> Iterator[str]:
    for value in values_of(item):
        for leaf in leaves(value):
            if isinstance(leaf, TaskOutput) and leaf.path:
                producer = edges.producers.get(leaf.task)
                node = producer.node if isinstance(producer, Call) else None
                port = node.port(leaf.output) if isinstance(node, ContainerNode) else None
                if port is not None and port.is_file:
                    made = place(leaf.task, "" if producer is None else producer.where)
                    yield f"it reads the part [{leaf.path[0]!r}] of a file, which {made} leaves; read it in a node"


def _published(call: Call) -> Iterator[str]:
    artifact = call.options.artifact
    if artifact is None or isinstance(call.node, ContainerNode):
        return
    if "." not in artifact and artifact not in ARTIFACTS:
        yield f"the option artifact is no artifact type of Kubeflow's: {artifact!r}{nearest(artifact, ARTIFACTS)}"
    if len(call.node.outputs) > 1:
        shown = ", ".join(call.node.outputs)
        yield f"the option artifact is for a node of one result, but {call.node.name} has {shown}"
