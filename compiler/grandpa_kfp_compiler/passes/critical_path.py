"""The longest path through a graph, in tasks: what no number of cores makes shorter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..graph import Branch, Call, Graph, Group, Operation, bodies_of, dependencies
from .builtins import is_builtin
from .order import in_order


@dataclass(frozen=True, slots=True, order=True)
class Length:
    """tasks: one after the other; containers: that run them."""

    tasks: int = 0
    containers: int = 0

    def __add__(self, other: Length) -> Length:
        return Length(self.tasks + other.tasks, self.containers + other.containers)


def critical_path(graph: Graph, inside: Mapping[str, int] | None = None) -> Length:
    """The longest path, where what is nested begins when all that it reads is there, and ends as a whole.

    inside: calls that are several tasks -> the longest path in them. Rounds of a loop run side by side.
    What passes add does not count.

    >>> from ..graph import PythonNode, TaskOutput
    >>> add = PythonNode("m:add", "add")
    >>> critical_path(Graph("g", operations=(Call("a", add), Call("b", add, (TaskOutput("a"),)), Call("c", add))))
    Length(tasks=2, containers=2)
    """
    inside = inside or {}
    waits = dependencies(graph)
    ends: dict[str, Length] = {}
    for item in in_order(graph, waits):
        before = max([ends[name] for name in waits[item.id]], default=Length())
        ends[item.id] = before + _length(item, inside)
    return max(ends.values(), default=Length())


def _length(item: Operation, inside: Mapping[str, int]) -> Length:
    if isinstance(item, Call):
        return Length() if is_builtin(item.node) else Length(inside.get(item.id, 1), 1)
    lengths = [critical_path(body, inside) for body in bodies_of(item)]
    longest = max(lengths, default=Length())
    if isinstance(item, Group) and item.fused:
        return Length(longest.tasks, 1)
    return longest if isinstance(item, Branch) else lengths[0]
