"""Groups, so that no DAG holds more than 100 tasks nor more bytes than one argument may have.

Before: a graph of any number of operations.
After: at most `ROOT_TASKS` operations at the top (room is left for the tasks that carry the code), at
    most `DAG_TASKS` in every group, and about `DAG_BYTES` in each, as far as its single tasks allow.
    A group is an interval of a topological order, so groups never wait for each other in a circle; it
    sees its own parameters alone (of type HANDLE where they come from a task), and gives out what is
    needed outside. Groups stand in groups where there are too many.
Why: Argo with its full CRDs holds 200 Argo tasks in one DAG, two for each of ours, and the specification
    of a DAG is one argument of its driver.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from ..graph import (
    HANDLE,
    RESULT,
    Call,
    Filled,
    Graph,
    Group,
    Instance,
    InstanceValue,
    Operation,
    Parameter,
    ParameterValue,
    TaskOutput,
    Value,
    inputs_of,
    leaves,
    values_of,
)
from .bodies import in_bodies, with_values
from .order import in_order
from .weights import TASK_BYTES, input_bytes

DAG_TASKS = 100
ROOT_TASKS = 96
DAG_BYTES = 96 * 1024
DAG_INPUTS = 300
"""What one group may read from outside; its own inputs are one argument too."""


def nest_groups(graph: Graph) -> Graph:
    """The graph in groups where it is too large for one DAG; see the module."""
    graph = in_bodies(nest_groups, graph)
    level, inputs = 1, DAG_INPUTS
    while True:
        instances = {instance.id: instance for instance in graph.instances}
        weights = [TASK_BYTES + input_bytes(operation, instances) for operation in graph.operations]
        if len(weights) <= ROOT_TASKS and sum(weights) <= DAG_BYTES:
            return graph
        flow = _Flow(graph, instances, dict(zip((o.id for o in graph.operations), weights, strict=True)))
        intervals = list(_intervals(flow, DAG_TASKS if level == 1 else -(-len(weights) // ROOT_TASKS), inputs))
        if len(intervals) < len(weights) or any(isinstance(operation, Call) for operation in graph.operations):
            graph, level = _nest_once(flow, intervals, level), level + 1
        elif len(weights) > ROOT_TASKS:
            inputs *= 2  # the count is the cluster's law, the width may do
        else:
            return graph  # single operations are too large: the lowering names them


@dataclass(slots=True)
class _Flow:
    """One level's graph with what is asked of it again and again."""

    graph: Graph
    instances: dict[str, Instance]
    weights: dict[str, int]
    waits: dict[str, tuple[str, ...]] = field(init=False)
    ordered: tuple[Operation, ...] = field(init=False)
    reads: dict[str, list[TaskOutput | ParameterValue]] = field(init=False)

    def __post_init__(self) -> None:
        self.reads = {o.id: list(inputs_of(o, self.instances)) for o in self.graph.operations}
        self.waits = {
            o.id: (*dict.fromkeys([v.task for v in self.reads[o.id] if isinstance(v, TaskOutput)]), *o.after)
            for o in self.graph.operations
        }
        self.ordered = in_order(self.graph, self.waits)


def _intervals(flow: _Flow, longest: int, inputs: int) -> Iterator[Sequence[Operation]]:
    """Of about equal length, each within the bounds (a single operation may be above them)."""
    operations = flow.ordered
    count = -(-len(operations) // longest)
    length = -(-len(operations) // count)
    start = total = 0
    inside: set[str] = set()
    outside: set[str] = set()
    for index, operation in enumerate(operations):
        weight = flow.weights[operation.id]
        reads = {needed for needed in flow.waits[operation.id] if needed not in inside}
        full = index - start == length or total + weight > DAG_BYTES or len(outside | reads) > inputs
        if index > start and full:
            yield operations[start:index]
            start, total = index, 0
            inside, outside, reads = set(), set(), set(flow.waits[operation.id])
        total += weight
        inside.add(operation.id)
        outside |= reads
    yield operations[start:]


def _nest_once(flow: _Flow, intervals: Sequence[Sequence[Operation]], level: int) -> Graph:
    graph = flow.graph
    names = _group_names(graph, level)
    homes = {o.id: name for interval, name in zip(intervals, names, strict=False) for o in interval}
    crossing = _outputs_read_outside(flow, homes)
    given: dict[str, list[tuple[str, str]]] = {}
    for source in crossing:
        given.setdefault(homes[source[0]], []).append(source)
    outside = _Outside(homes, crossing, given)
    groups = tuple(_group(interval, homes[interval[0].id], flow, outside) for interval in intervals)
    outputs = tuple((name, outside.translate(value)) for name, value in graph.outputs)
    return replace(graph, operations=groups, instances=(), outputs=outputs)


def _group_names(graph: Graph, level: int) -> Iterator[str]:
    taken = {operation.id for operation in graph.operations}
    number = 0
    while True:
        number += 1
        name = f"part-{number}" if level == 1 else f"part-{level}-{number}"
        if name not in taken:
            yield name


def _outputs_read_outside(flow: _Flow, homes: dict[str, str]) -> dict[tuple[str, str], str]:
    """(task, output) read outside its group -> the name it goes by there."""
    names: dict[tuple[str, str], str] = {}
    taken = {parameter.name for parameter in flow.graph.parameters}

    def cross(value: TaskOutput) -> None:
        key = (value.task, value.output)
        if key not in names:
            base = value.task.replace("/", "-") + ("" if value.output == RESULT else f"--{value.output}")
            name, number = base, 1
            while name in taken:
                number += 1
                name = f"{base}-{number}"
            taken.add(name)
            names[key] = name

    for operation in flow.ordered:
        home = homes[operation.id]
        for value in flow.reads[operation.id]:
            if isinstance(value, TaskOutput) and homes[value.task] != home:
                cross(value)
    for _, output in flow.graph.outputs:
        for leaf in leaves(output):
            if isinstance(leaf, TaskOutput):
                cross(leaf)
    return names


@dataclass(frozen=True, slots=True)
class _Outside:
    """How the graph around the groups names what is inside them.

    homes: operation -> its group; names: (task, output) -> its name among the group's outputs;
    given: group -> what it gives out.
    """

    homes: dict[str, str]
    names: dict[tuple[str, str], str]
    given: dict[str, list[tuple[str, str]]]

    def translate(self, value: Value) -> Value:
        """A value of the old graph as the new one says it."""
        if isinstance(value, TaskOutput):
            return TaskOutput(self.homes[value.task], self.names[value.task, value.output], value.path)
        if isinstance(value, Filled):
            return Filled(value.skeleton, tuple((at, self.translate(item)) for at, item in value.holes))
        return value


def _group(interval: Sequence[Operation], name: str, flow: _Flow, outside: _Outside) -> Group:
    inside = _Inside(outside, {operation.id for operation in interval}, {})
    operations = tuple(inside.operation(operation) for operation in interval)
    used = tuple(inside.instance(flow.instances[id_]) for id_ in _instances_of(interval, flow.instances))
    types = {parameter.name: parameter for parameter in flow.graph.parameters}
    body = Graph(
        name,
        tuple(
            Parameter(key, types[key].type if isinstance(value, ParameterValue) else HANDLE)
            for key, value in inside.arguments.items()
        ),
        used,
        operations,
        tuple((outside.names[source], TaskOutput(*source)) for source in outside.given.get(name, ())),
        where=flow.graph.where,
    )
    after = dict.fromkeys(
        outside.homes[needed] for operation in interval for needed in operation.after if needed not in inside.ids
    )
    return Group(name, body, tuple(inside.arguments.items()), tuple(after), flow.graph.where)


def _instances_of(interval: Iterable[Operation], instances: dict[str, Instance]) -> list[str]:
    """The instances that the operations construct, in the order of the graph."""
    found: set[str] = set()
    waiting: list[Value] = []
    for operation in interval:
        if isinstance(operation, Call) and operation.instance:
            waiting.append(InstanceValue(operation.instance))
        waiting.extend(values_of(operation))
    while waiting:
        for leaf in leaves(waiting.pop()):
            if isinstance(leaf, InstanceValue) and leaf.instance not in found:
                found.add(leaf.instance)
                waiting.extend(values_of(instances[leaf.instance]))
    return [id_ for id_ in instances if id_ in found] if found else []


@dataclass(frozen=True, slots=True)
class _Inside:
    """How one group's body names what lies outside it: by parameters, added as they are met."""

    outside: _Outside
    ids: set[str]
    arguments: dict[str, Value]

    def operation(self, operation: Operation) -> Operation:
        after = tuple(id_ for id_ in operation.after if id_ in self.ids)
        if not isinstance(operation, Call):
            return replace(with_values(operation, self.value), after=after)
        args, kwargs = self._arguments(operation)
        if args is operation.args and kwargs is operation.kwargs and len(after) == len(operation.after):
            return operation
        return replace(operation, args=args, kwargs=kwargs, after=after)

    def instance(self, instance: Instance) -> Instance:
        args, kwargs = self._arguments(instance)
        return replace(instance, args=args, kwargs=kwargs)

    def _arguments(self, owner: Call | Instance) -> tuple[tuple[Value, ...], tuple[tuple[str, Value], ...]]:
        args = tuple([self.value(value) for value in owner.args])
        kwargs = tuple([(key, self.value(value)) for key, value in owner.kwargs])
        same = all(map(_is, args, owner.args)) and all(a[1] is b[1] for a, b in zip(kwargs, owner.kwargs, strict=True))
        return (owner.args, owner.kwargs) if same else (args, kwargs)

    def value(self, value: Value) -> Value:
        if isinstance(value, TaskOutput):
            if value.task in self.ids:
                return value
            name = self.outside.names[value.task, value.output]
            if name not in self.arguments:
                self.arguments[name] = self.outside.translate(replace(value, path=()))
            return ParameterValue(name, value.path)
        if isinstance(value, ParameterValue):
            self.arguments.setdefault(value.name, replace(value, path=()) if value.path else value)
        elif isinstance(value, Filled):
            return Filled(value.skeleton, tuple((at, self.value(item)) for at, item in value.holes))
        return value


def _is(one: object, other: object) -> bool:
    return one is other
