"""The graph IR: what tracing records, passes rewrite, engines run and the KFP lowering reads.

Frozen, slotted dataclasses only. Edges are values: a `TaskOutput` names its producer, nothing points
back. A graph is self-contained; only `PythonNode.target` holds something alive, and a graph read from
a file has none.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from grandpa_kfp_runtime.contract import RESULT
from grandpa_kfp_runtime.typespec import ANY, Json, TypeSpec

from .containers import ContainerNode, Port
from .control import Arm, Branch, Loop, Predicate
from .options.values import NO_OPTIONS, OPTION_NAMES, Options
from .signature import UNKNOWN, NodeParameter, Signature


class _Missing(enum.Enum):
    MISSING = "missing"

    def __repr__(self) -> str:
        return "MISSING"


MISSING = _Missing.MISSING
"""No default."""

HANDLE = TypeSpec("handle")
"""Type of a parameter of a nested graph that carries a handle."""


# --- values: what an argument may be -------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Constant:
    """A value known while tracing. From a graph file it is known by its handle alone."""

    value: Any = None
    handle: str | None = None


@dataclass(frozen=True, slots=True)
class TaskOutput:
    """One output of a task (or group), `path` applied: `value[key][key]`."""

    task: str
    output: str = RESULT
    path: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class ParameterValue:
    """A parameter of the graph this value stands in, `path` applied."""

    name: str
    path: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class InstanceValue:
    """A live instance, constructed afresh in the task that receives it."""

    instance: str


@dataclass(frozen=True, slots=True)
class Filled:
    """A structure that holds other values: a constant skeleton, None where each hole is.

    holes: (positions from the root down, value); see `contract.Hole` for what a position is.
    """

    skeleton: Constant
    holes: tuple[tuple[tuple[int, ...], Value], ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How what a task waits for that runs always has ended: None, or a FailureInfo where something of it has failed.

    only_failed: the task does nothing where nothing has.
    """

    only_failed: bool = False


Value: TypeAlias = "Constant | TaskOutput | ParameterValue | InstanceValue | Filled | Outcome"


# --- nodes ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PythonNode:
    """A function or class that tasks call.

    key: how a worker finds it: `module:qualname`, or `value:NAME` for one that travels by value.
    signatures: by method; a function's own under ``, a class's construction under `__init__`.
    logs: which of our functions that log its code refers to (`log_metric`, ...), sorted; known once packed.
    target: the live function or class (with the @Node mark taken off), None in a graph from a file.
    """

    key: str
    name: str
    is_class: bool = False
    signatures: tuple[tuple[str, Signature], ...] = ()
    outputs: tuple[str, ...] = (RESULT,)
    fingerprint: str = ""
    where: str = ""
    description: str = ""
    logs: tuple[str, ...] = ()
    target: Any = field(default=None, compare=False, repr=False)

    def signature(self, method: str = "") -> Signature:
        """The signature of a method; an empty one where it is not known."""
        for name, signature in self.signatures:
            if name == method:
                return signature
        return UNKNOWN


Node: TypeAlias = "PythonNode | ContainerNode"


@dataclass(frozen=True, slots=True)
class Instance:
    """A class node with its init arguments, not constructed."""

    id: str
    node: PythonNode
    args: tuple[Value, ...] = ()
    kwargs: tuple[tuple[str, Value], ...] = ()
    where: str = ""


# --- operations ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Call:
    """One task: one call of one node.

    id: unique in its graph, `component/name`; options: everything merged, the call's own first.
    instance, method: of a class node's task, else empty; scope: the component path; where: file:line.
    needs: of a task that runs always, operations that have to succeed all the same; it waits for them too.
    """

    id: str
    node: Node
    args: tuple[Value, ...] = ()
    kwargs: tuple[tuple[str, Value], ...] = ()
    options: Options = NO_OPTIONS
    after: tuple[str, ...] = ()
    scope: tuple[str, ...] = ()
    where: str = ""
    instance: str = ""
    method: str = ""
    needs: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.id.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Group:
    """A nested graph, run as one unit; its body sees its own parameters alone.

    fused: on Kubeflow it is one step, one container that runs the body; options: of that container, for fused ones.
    """

    id: str
    body: Graph
    arguments: tuple[tuple[str, Value], ...] = ()
    after: tuple[str, ...] = ()
    where: str = ""
    fused: bool = False
    options: Options = NO_OPTIONS


Operation: TypeAlias = "Call | Group | Branch | Loop"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a graph; the default is a `Constant` or MISSING."""

    name: str
    type: TypeSpec = ANY
    default: Constant | _Missing = MISSING
    description: str = ""


@dataclass(frozen=True, slots=True)
class Code:
    """The code zip that a packed graph travels with.

    zip: the bytes of a stored (uncompressed) zip; sha256: hex, over them; python: `3.12`.
    """

    sha256: str
    zip: bytes = field(repr=False)
    python: str


@dataclass(frozen=True, slots=True)
class ComponentCall:
    """What was chosen for one call of a component as a whole.

    path: its place in the graph, the `scope` of what is called in it; fuse: whether that becomes one step on Kubeflow,
    False for never.
    """

    path: tuple[str, ...]
    fuse: bool


@dataclass(frozen=True, slots=True)
class Graph:
    """A recorded workflow. Operations stand in the order they were called; outputs by name.

    callbacks: told of the run's events; live objects, which a graph file does not hold.
    components: calls of components for which something was chosen, in the order of the calls.
    """

    name: str
    parameters: tuple[Parameter, ...] = ()
    instances: tuple[Instance, ...] = ()
    operations: tuple[Operation, ...] = ()
    outputs: tuple[tuple[str, Value], ...] = ()
    description: str = ""
    where: str = ""
    returns: TypeSpec = ANY
    code: Code | None = None
    callbacks: tuple[Any, ...] = field(default=(), compare=False)
    components: tuple[ComponentCall, ...] = ()

    def nodes(self) -> dict[str, PythonNode]:
        """Every distinct Python node by key, instances' classes included, in order of first use."""
        found: dict[str, PythonNode] = {}
        for instance in self.instances:
            found.setdefault(instance.node.key, instance.node)
        for operation in self.operations:
            if isinstance(operation, Call) and isinstance(operation.node, PythonNode):
                found.setdefault(operation.node.key, operation.node)
            for body in bodies_of(operation):
                for key, node in body.nodes().items():
                    found.setdefault(key, node)
        return found

    def containers(self) -> dict[str, ContainerNode]:
        """Every distinct node that is a container, by key, in order of first use."""
        nodes = [call.node for call in self.calls() if isinstance(call.node, ContainerNode)]
        return {node.key: node for node in nodes}

    def calls(self) -> Iterator[Call]:
        """Every call, those in nested graphs included."""
        for operation in self.operations:
            if isinstance(operation, Call):
                yield operation
            for body in bodies_of(operation):
                yield from body.calls()

    def with_nodes(self, nodes: dict[str, PythonNode]) -> Graph:
        """The same graph with its Python nodes replaced by key."""
        return replace(
            self,
            instances=tuple(replace(item, node=nodes[item.node.key]) for item in self.instances),
            operations=tuple(
                (replace(item, node=nodes[item.node.key]) if isinstance(item.node, PythonNode) else item)
                if isinstance(item, Call)
                else with_bodies(item, [body.with_nodes(nodes) for body in bodies_of(item)])
                for item in self.operations
            ),
        )


# --- walking -------------------------------------------------------------------------------------


def bodies_of(operation: Operation) -> tuple[Graph, ...]:
    """The graphs inside an operation."""
    if isinstance(operation, Call):
        return ()
    return tuple([arm.body for arm in operation.arms]) if isinstance(operation, Branch) else (operation.body,)


def with_bodies(operation: Group | Branch | Loop, bodies: Sequence[Graph]) -> Group | Branch | Loop:
    """The operation with other graphs inside, one for each that it has."""
    if isinstance(operation, Branch):
        arms = zip(operation.arms, bodies, strict=True)
        return replace(operation, arms=tuple([Arm(arm.predicate, body) for arm, body in arms]))
    return replace(operation, body=bodies[0])


def outputs_of(operation: Operation) -> tuple[str, ...]:
    """The names of its outputs."""
    if isinstance(operation, Call):
        return operation.node.outputs
    return tuple([name for name, _ in bodies_of(operation)[0].outputs]) if bodies_of(operation) else ()


def values_of(operation: Operation | Instance) -> Iterator[Value]:
    """The operation's argument values, structures not opened, what it decides by included."""
    if isinstance(operation, Call | Instance):
        yield from operation.args
        for _, value in operation.kwargs:
            yield value
        return
    if isinstance(operation, Branch):
        for arm in operation.arms:
            if arm.predicate is not None:
                yield from arm.predicate.values()
    elif isinstance(operation, Loop):
        yield operation.items
    for _, value in operation.arguments:
        yield value


def control_flow(graph: Graph) -> Iterator[Branch | Loop]:
    """Every branch and loop, those in nested graphs included, outer ones first."""
    for operation in graph.operations:
        if isinstance(operation, Branch | Loop):
            yield operation
        for body in bodies_of(operation):
            yield from control_flow(body)


def leaves(value: Value) -> Iterator[Value]:
    """The value itself, or of a `Filled` every value in its holes, opened all the way."""
    if isinstance(value, Filled):
        for _, inner in value.holes:
            yield from leaves(inner)
    else:
        yield value


def inputs_of(operation: Operation, instances: dict[str, Instance]) -> Iterator[TaskOutput | ParameterValue]:
    """Every task output and parameter that the operation reads, through its instances too."""
    waiting = [leaf for value in values_of(operation) for leaf in leaves(value)]
    if isinstance(operation, Call) and operation.instance:
        waiting.insert(0, InstanceValue(operation.instance))
    seen: set[str] = set()
    while waiting:
        value = waiting.pop(0)
        if isinstance(value, TaskOutput | ParameterValue):
            yield value
        elif isinstance(value, InstanceValue) and value.instance not in seen:
            seen.add(value.instance)
            waiting[:0] = [leaf for inner in values_of(instances[value.instance]) for leaf in leaves(inner)]


def dependencies(graph: Graph) -> dict[str, tuple[str, ...]]:
    """For each operation's id, the ids it waits for (producers, then `after`), each once, in order."""
    instances = {instance.id: instance for instance in graph.instances}
    return {
        operation.id: tuple(
            dict.fromkeys(
                (
                    *(item.task for item in inputs_of(operation, instances) if isinstance(item, TaskOutput)),
                    *operation.after,
                    *(operation.needs if isinstance(operation, Call) else ()),
                )
            )
        )
        for operation in graph.operations
    }


__all__ = [
    "ANY", "HANDLE", "MISSING", "NO_OPTIONS", "OPTION_NAMES", "RESULT",
    "Arm", "Branch", "Call", "Code", "ComponentCall", "Constant", "ContainerNode", "Filled", "Graph", "Group",
    "Instance", "InstanceValue", "Json", "Loop", "Node", "NodeParameter", "Operation", "Options", "Outcome",
    "Parameter", "ParameterValue", "Port", "Predicate", "PythonNode", "Signature", "TaskOutput", "TypeSpec", "Value",
    "bodies_of", "control_flow", "dependencies", "inputs_of", "leaves", "outputs_of", "values_of", "with_bodies",
]  # fmt: skip
