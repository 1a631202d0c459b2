"""Operations in an order in which every producer stands before its consumers."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence

from ..graph import Graph, Operation, dependencies


def in_order(graph: Graph, waits: Mapping[str, Sequence[str]] | None = None) -> tuple[Operation, ...]:
    """The graph's operations in topological order, as recorded where that is one.

    waits: what `dependencies(graph)` says, where the caller has it already. The graph has no cycle.
    """
    waits = dependencies(graph) if waits is None else waits
    seen: set[str] = set()
    for operation in graph.operations:
        if not seen.issuperset(waits[operation.id]):
            return _sorted(graph, waits)
        seen.add(operation.id)
    return graph.operations


def _sorted(graph: Graph, waits: Mapping[str, Sequence[str]]) -> tuple[Operation, ...]:
    place = {operation.id: index for index, operation in enumerate(graph.operations)}
    missing = {id_: len(needed) for id_, needed in waits.items()}
    followers: dict[str, list[str]] = {id_: [] for id_ in waits}
    for id_, needed in waits.items():
        for producer in needed:
            followers[producer].append(id_)
    ready = [place[id_] for id_, count in missing.items() if count == 0]
    heapq.heapify(ready)
    found: list[Operation] = []
    while ready:
        operation = graph.operations[heapq.heappop(ready)]
        found.append(operation)
        for id_ in followers[operation.id]:
            missing[id_] -= 1
            if missing[id_] == 0:
                heapq.heappush(ready, place[id_])
    return tuple(found)
