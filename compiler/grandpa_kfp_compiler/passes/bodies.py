"""Walks that several passes share: into the bodies of an operation, and over the values that it reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias, TypeVar

from ..graph import (
    Arm,
    Branch,
    Call,
    Filled,
    Graph,
    Group,
    Instance,
    Loop,
    Predicate,
    Value,
    bodies_of,
    with_bodies,
)

Change: TypeAlias = Callable[[Value], Value]
_Reader = TypeVar("_Reader", bound="Call | Instance | Group | Branch | Loop")


def in_bodies(one: Callable[[Graph], Graph], graph: Graph) -> Graph:
    """The graph with a pass run over the bodies of its operations; the graph itself where it has none."""
    if all(isinstance(item, Call) for item in graph.operations):
        return graph
    operations = [
        item if isinstance(item, Call) else with_bodies(item, [one(body) for body in bodies_of(item)])
        for item in graph.operations
    ]
    return replace(graph, operations=tuple(operations))


def with_values(reader: _Reader, change: Change) -> _Reader:
    """The operation or instance with other values, those that it decides by included; bodies stay."""
    if isinstance(reader, Call | Instance):
        args = tuple([changed(value, change) for value in reader.args])
        return replace(reader, args=args, kwargs=tuple([(name, changed(item, change)) for name, item in reader.kwargs]))
    arguments = tuple([(name, changed(value, change)) for name, value in reader.arguments])
    if isinstance(reader, Branch):
        arms = [
            Arm(None if arm.predicate is None else _predicate(arm.predicate, change), arm.body) for arm in reader.arms
        ]
        return replace(reader, arguments=arguments, arms=tuple(arms))
    if isinstance(reader, Loop):
        return replace(reader, arguments=arguments, items=changed(reader.items, change))
    return replace(reader, arguments=arguments)


def changed(value: Value, change: Change) -> Value:
    """The value changed; in a structure each of its holes."""
    if isinstance(value, Filled):
        return Filled(value.skeleton, tuple([(at, changed(item, change)) for at, item in value.holes]))
    return change(value)


def _predicate(predicate: Predicate, change: Change) -> Predicate:
    operands = [
        _predicate(item, change) if isinstance(item, Predicate) else changed(item, change)
        for item in predicate.operands
    ]
    return Predicate(predicate.operator, tuple(operands))
