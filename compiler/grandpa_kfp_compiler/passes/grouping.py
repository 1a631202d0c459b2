"""Operations of a graph put into groups: what `nest_groups` and `fuse` do when they know which.

A group sees its own parameters alone (of type HANDLE where they come from a task), and gives out what is read
outside. The caller answers for it that no two groups wait for each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

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
from .bodies import with_values
from .builtins import GATHER, free_id
from .order import in_order

_Reader = TypeVar("_Reader", bound="Operation | Instance")


@dataclass(slots=True)
class Flow:
    """A graph with what is asked of it again and again: who reads what, who waits for whom, one order."""

    graph: Graph
    instances: dict[str, Instance] = field(init=False)
    reads: dict[str, list[TaskOutput | ParameterValue]] = field(init=False)
    waits: dict[str, tuple[str, ...]] = field(init=False)
    ordered: tuple[Operation, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.instances = {instance.id: instance for instance in self.graph.instances}
        self.reads = {item.id: list(inputs_of(item, self.instances)) for item in self.graph.operations}
        self.waits = {
            item.id: tuple(
                dict.fromkeys(
                    [
                        *[v.task for v in self.reads[item.id] if isinstance(v, TaskOutput)],
                        *item.after,
                        *(item.needs if isinstance(item, Call) else ()),
                    ]
                )
            )
            for item in self.graph.operations
        }
        self.ordered = in_order(self.graph, self.waits)


@dataclass(frozen=True, slots=True)
class Part:
    """Operations that stand together, in order: those of a group of this name, or one without a group."""

    operations: Sequence[Operation]
    name: str = ""


def grouped(
    flow: Flow, parts: Sequence[Part], finish: Callable[[Group], Group] = lambda group: group, *, bundle: int = 0
) -> Graph:
    """The graph with its operations in groups.

    parts: every operation is in one, and none reads of a later one. finish: of each group what becomes of it. bundle:
    a group that gives out more values than so many gives them as one list; 0 for never.
    """
    homes = {item.id: part.name for part in parts if part.name for item in part.operations}
    outside = _outside(flow, parts, homes, bundle)
    operations: list[Operation] = []
    left: list[Operation] = []
    for part in parts:
        if part.name:
            operations.append(finish(_group(part, flow, outside)))
        else:
            left.extend(part.operations)
            operations.extend(map(outside.operation, part.operations))
    instances = [outside.translated(flow.instances[name]) for name in _instances_of(left, flow.instances)]
    outputs = tuple([(name, outside.value(value)) for name, value in flow.graph.outputs])
    return replace(flow.graph, operations=tuple(operations), instances=tuple(instances), outputs=outputs)


@dataclass(frozen=True, slots=True)
class _Outside:
    """How the graph around the groups names what is inside them.

    homes: operation -> its group; names: (task, output) -> its name among the group's outputs;
    given: group -> what it gives out; bundled: of those whose group gives a list, the place in it.
    """

    homes: Mapping[str, str]
    names: Mapping[tuple[str, str], str]
    given: Mapping[str, list[tuple[str, str]]]
    bundled: Mapping[tuple[str, str], int]

    def value(self, value: Value) -> Value:
        """A value of the old graph as the new one says it."""
        if isinstance(value, TaskOutput):
            home = self.homes.get(value.task)
            if home is None:
                return value
            key = (value.task, value.output)
            place = self.bundled.get(key)
            if place is None:
                return TaskOutput(home, self.names[key], value.path)
            return TaskOutput(home, RESULT, (place, *value.path))
        if isinstance(value, Filled):
            return Filled(value.skeleton, tuple([(at, self.value(item)) for at, item in value.holes]))
        return value

    def after(self, names: Iterable[str]) -> tuple[str, ...]:
        return tuple(dict.fromkeys([self.homes.get(name, name) for name in names]))

    def operation(self, item: Operation) -> Operation:
        """One that stays where it is."""
        if not self.homes:
            return item
        moved = replace(self.translated(item), after=self.after(item.after))
        return replace(moved, needs=self.after(moved.needs)) if isinstance(moved, Call) and moved.needs else moved

    def translated(self, item: _Reader) -> _Reader:
        return with_values(item, self.value)


def _outside(flow: Flow, parts: Sequence[Part], homes: Mapping[str, str], bundle: int) -> _Outside:
    taken = {parameter.name for parameter in flow.graph.parameters}

    def free(base: str) -> str:
        name, number = base, 1
        while name in taken:
            number += 1
            name = f"{base}-{number}"
        taken.add(name)
        return name

    names: dict[tuple[str, str], str] = {}
    given: dict[str, list[tuple[str, str]]] = {}
    for key in _read_outside(flow, parts, homes):
        names[key] = free(key[0].replace("/", "-") + ("" if key[1] == RESULT else f"--{key[1]}"))
        if key[0] in homes:
            given.setdefault(homes[key[0]], []).append(key)
    bundled: dict[tuple[str, str], int] = {}
    for home, keys in given.items():
        if bundle and len(keys) > bundle:
            bundled.update({key: place for place, key in enumerate(keys)})
            names.update(dict.fromkeys(keys, free(home.replace("/", "-"))))
    return _Outside(homes, names, given, bundled)


def _read_outside(flow: Flow, parts: Sequence[Part], homes: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    """(task, output) of all that is read in another part, each once, in order."""
    found: dict[tuple[str, str], None] = {}
    for part in parts:
        for item in part.operations:
            home = homes.get(item.id)
            for value in flow.reads[item.id]:
                if isinstance(value, TaskOutput) and (home is None or homes.get(value.task) != home):
                    found[value.task, value.output] = None
    for _, output in flow.graph.outputs:
        for leaf in leaves(output):
            if isinstance(leaf, TaskOutput):
                found[leaf.task, leaf.output] = None
    return found


def _group(part: Part, flow: Flow, outside: _Outside) -> Group:
    inside = _Inside(outside, {item.id for item in part.operations}, {})
    operations = [inside.operation(item) for item in part.operations]
    used = [inside.instance(flow.instances[name]) for name in _instances_of(part.operations, flow.instances)]
    given = outside.given.get(part.name, [])
    outputs: list[tuple[str, Value]] = [(outside.names[key], TaskOutput(*key)) for key in given]
    types = {parameter.name: parameter for parameter in flow.graph.parameters}
    body = Graph(
        part.name,
        tuple([
            Parameter(key, types[key].type if isinstance(value, ParameterValue) else HANDLE)
            for key, value in inside.arguments.items()
        ]),
        tuple(used),
        tuple(operations),
        tuple(outputs),
        where=flow.graph.where,
    )  # fmt: skip
    if given and given[0] in outside.bundled:
        listed = Call(free_id(body, "results"), GATHER, tuple([value for _, value in outputs]), where=flow.graph.where)
        body = replace(body, operations=(*operations, listed), outputs=((RESULT, TaskOutput(listed.id)),))
    after = outside.after([name for item in part.operations for name in item.after if name not in inside.ids])
    return Group(part.name, body, tuple(inside.arguments.items()), after, flow.graph.where)


def _instances_of(operations: Iterable[Operation], instances: dict[str, Instance]) -> list[str]:
    """The instances that the operations construct, in the order of the graph."""
    found: set[str] = set()
    waiting: list[Value] = []
    for item in operations:
        if isinstance(item, Call) and item.instance:
            waiting.append(InstanceValue(item.instance))
        waiting.extend(values_of(item))
    while waiting:
        for leaf in leaves(waiting.pop()):
            if isinstance(leaf, InstanceValue) and leaf.instance not in found:
                found.add(leaf.instance)
                waiting.extend(values_of(instances[leaf.instance]))
    return [name for name in instances if name in found] if found else []


@dataclass(frozen=True, slots=True)
class _Inside:
    """How one group's body names what lies outside it: by parameters, added as they are met."""

    outside: _Outside
    ids: set[str]
    arguments: dict[str, Value]

    def operation(self, item: Operation) -> Operation:
        after = tuple([name for name in item.after if name in self.ids])
        if not isinstance(item, Call):
            return replace(with_values(item, self.value), after=after)
        args, kwargs = self._arguments(item)
        if args is item.args and kwargs is item.kwargs and len(after) == len(item.after):
            return item
        return replace(item, args=args, kwargs=kwargs, after=after)

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
            return value if value.task in self.ids else self._given(value)
        if isinstance(value, ParameterValue):
            self.arguments.setdefault(value.name, replace(value, path=()) if value.path else value)
        elif isinstance(value, Filled):
            return Filled(value.skeleton, tuple([(at, self.value(item)) for at, item in value.holes]))
        return value

    def _given(self, value: TaskOutput) -> ParameterValue:
        """An output of another part, as one of the parameters; of a list of outputs the whole list is one."""
        found = self.outside.value(value)
        assert isinstance(found, TaskOutput)
        name = self.outside.names[value.task, value.output]
        self.arguments.setdefault(name, replace(found, path=()))
        return ParameterValue(name, found.path)


def _is(one: object, other: object) -> bool:
    return one is other
