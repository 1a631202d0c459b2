"""Generators whose items one task takes become part of that task.

Before: every call of a generator node is a task `items`, which takes the generator's instance and gives the
    list of its items.
After: where exactly one task takes the whole of it, once, that task takes the instance itself, and walks the
    items while they are made; the other `items` tasks are left.
Why: a generator runs once, and one consumer needs no list. Tracing ends with this pass, so that every engine
    and every file has the same graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from ..graph import (
    OPTION_NAMES,
    Call,
    Filled,
    Graph,
    Instance,
    InstanceValue,
    Operation,
    Options,
    TaskOutput,
    Value,
    bodies_of,
    inputs_of,
    leaves,
    values_of,
    with_bodies,
)
from .builtins import ITEMS

_HARMLESS = frozenset({"cache", "keep", "verbose", "version"})
"""Options that a generator may have and its consumer not: they do not tell where or how often it runs."""


def inline_generators(graph: Graph) -> Graph:
    """The graph with each generator of one consumer inside it; see the module."""
    if not any(not isinstance(item, Call) or is_items(item) for item in graph.operations):
        return graph
    inner = [
        item if isinstance(item, Call) else with_bodies(item, [inline_generators(body) for body in bodies_of(item)])
        for item in graph.operations
    ]
    graph = replace(graph, operations=tuple(inner))
    streams = {item.id: item for item in graph.operations if isinstance(item, Call) and is_items(item)}
    takers = _takers(graph, streams)
    inlined = {
        name: call
        for name, call in streams.items()
        if (consumer := takers.get(name)) is not None and not _lacking(call.options, consumer.options)
    }
    if not inlined:
        return graph
    after: dict[str, list[str]] = {}
    for name, call in inlined.items():
        after.setdefault(_final(name, takers, inlined).id, []).extend(call.after)
    return replace(
        graph,
        instances=_ordered([_without(item, inlined) for item in graph.instances]),
        operations=tuple(
            _after(_without(item, inlined), after.get(item.id, ())) if isinstance(item, Call) else item
            for item in graph.operations
            if item.id not in inlined
        ),
    )


def is_items(item: Operation) -> bool:
    """Whether the task makes the list of a generator's items."""
    return isinstance(item, Call) and item.node.key == ITEMS.key


def listed(graph: Graph) -> Iterator[tuple[Call, str]]:
    """After the pass: each generator that tasks take the items of, but as a list, and why."""
    consumers: dict[str, list[Call]] = {}
    instances = {item.id: item for item in graph.instances}
    for item in graph.operations:
        for leaf in inputs_of(item, instances):
            if isinstance(leaf, TaskOutput) and isinstance(item, Call):
                consumers.setdefault(leaf.task, []).append(item)
    for call in graph.operations:
        if isinstance(call, Call) and is_items(call) and (takers := consumers.get(call.id)):
            names = dict.fromkeys(item.id for item in takers)
            lacking = [] if len(names) > 1 else _lacking(call.options, takers[0].options)
            if lacking:
                wanted = ", ".join(f"{name}={getattr(call.options, name)!r}" for name in lacking)
                yield call, f"{takers[0].id} does not have its {wanted}"
            else:
                yield call, f"{len(names)} tasks take its items" if len(names) > 1 else "its items are not taken once"


def _takers(graph: Graph, streams: Mapping[str, Call]) -> dict[str, Call | None]:
    """For each stream that is used: the one call that takes it whole; None where there is no such one."""
    users = _users_of_instances(graph)
    found: dict[str, Call | None] = {}

    def note(name: str, call: Call | None) -> None:
        if name in streams:
            found[name] = None if name in found else call

    for item in (*graph.instances, *graph.operations):
        for leaf in (leaf for value in values_of(item) for leaf in leaves(value)):
            if isinstance(leaf, TaskOutput):
                call = users.get(item.id) if isinstance(item, Instance) else item
                note(leaf.task, call if isinstance(call, Call) and not leaf.path else None)
        for name in () if isinstance(item, Instance) else item.after:
            note(name, None)
    for leaf in (leaf for _, value in graph.outputs for leaf in leaves(value)):
        if isinstance(leaf, TaskOutput):
            note(leaf.task, None)
    return found


def _users_of_instances(graph: Graph) -> dict[str, Call | None]:
    """For each instance the one call that constructs it; None for several: each would run the generator anew."""
    instances = {item.id: item for item in graph.instances}
    found: dict[str, Call | None] = {}
    for call in graph.operations:
        if not isinstance(call, Call):
            continue
        waiting = [call.instance] if call.instance else []
        waiting.extend(_instances_in(values_of(call)))
        seen: set[str] = set()
        while waiting:
            name = waiting.pop()
            if name not in seen:
                seen.add(name)
                found[name] = None if name in found else call
                waiting.extend(_instances_in(values_of(instances[name])))
    return found


def _instances_in(values: Iterable[Value]) -> list[str]:
    return [leaf.instance for value in values for leaf in leaves(value) if isinstance(leaf, InstanceValue)]


def _lacking(stream: Options, consumer: Options) -> list[str]:
    """Options that keep the generator from running where its consumer does."""
    return [
        name
        for name in OPTION_NAMES
        if name not in _HARMLESS
        and getattr(stream, name) is not None
        and getattr(stream, name) != getattr(consumer, name)
    ]


def _final(name: str, takers: Mapping[str, Call | None], inlined: Mapping[str, Call]) -> Call:
    """The task that a generator ends up in: its consumer may be one too."""
    call = takers[name]
    assert call is not None
    return _final(call.id, takers, inlined) if call.id in inlined else call


def _without(item: Call | Instance, inlined: Mapping[str, Call]) -> Call | Instance:
    args = tuple([_swap(value, inlined) for value in item.args])
    kwargs = tuple([(name, _swap(value, inlined)) for name, value in item.kwargs])
    return replace(item, args=args, kwargs=kwargs)


def _swap(value: Value, inlined: Mapping[str, Call]) -> Value:
    if isinstance(value, TaskOutput) and value.task in inlined:
        return inlined[value.task].args[0]
    if isinstance(value, Filled):
        return replace(value, holes=tuple([(at, _swap(inner, inlined)) for at, inner in value.holes]))
    return value


def _after(call: Call | Instance, added: Iterable[str]) -> Call:
    assert isinstance(call, Call)
    return replace(call, after=tuple(dict.fromkeys((*call.after, *added))))


def _ordered(instances: Iterable[Call | Instance]) -> tuple[Instance, ...]:
    """Instances behind those that their arguments hold, otherwise as they were."""
    left = {item.id: item for item in instances if isinstance(item, Instance)}
    done: list[Instance] = []

    def add(name: str) -> None:
        item = left.pop(name, None)
        if item is not None:
            for inner in _instances_in(values_of(item)):
                add(inner)
            done.append(item)

    for name in list(left):
        add(name)
    return tuple(done)
