"""Parts of a directed acyclic graph that may become one node each: the arithmetic of `fuse`, on plain numbers.

Every function here leaves the graph of the parts acyclic, because parts are intervals of a topological order: none
waits for a later one. So each part is convex too: no path leaves it and comes back.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

Labels: TypeAlias = "list[Hashable]"
"""For each node what it belongs to; None for a node that stays alone."""

CORES = 4
"""Of a step: so many of its tasks are taken to run at once."""

START = 2
"""What starting a step takes, in the time of a task."""


@dataclass(frozen=True, slots=True)
class Dag:
    """Nodes are numbers in a topological order. before: for each the nodes it waits for, all smaller than itself."""

    before: Sequence[Sequence[int]]

    def __len__(self) -> int:
        return len(self.before)

    def after(self) -> list[list[int]]:
        """For each node those that wait for it."""
        found: list[list[int]] = [[] for _ in self.before]
        for node, needed in enumerate(self.before):
            for producer in needed:
                found[producer].append(node)
        return found


def parts_of(dag: Dag, labels: Labels) -> list[list[int]]:
    """The nodes in parts of one label each, in an order in which no part waits for a later one.

    Nodes of a label are one part where they can be; where another node stands between some of them, several.

    >>> parts_of(Dag([[], [0], [1], [0, 2]]), ["a", None, "a", "a"])
    [[0], [1], [2, 3]]
    """
    return _Parting(dag, labels).parts()


class _Parting:
    """Nodes are taken in topological order. A label is begun when all that it waits for outside of it is done, so
    that it ends as one part; only where no label and no single node can go on, the first ready node's is split."""

    __slots__ = ("_after", "_found", "_labels", "_members", "_missing", "_outside", "_split", "_whole")

    def __init__(self, dag: Dag, labels: Labels) -> None:
        self._labels = labels
        self._after = dag.after()
        self._missing = [len(needed) for needed in dag.before]
        self._members: dict[Hashable, list[int]] = {}
        self._outside: dict[Hashable, int] = {}
        for node, label in enumerate(labels):
            if label is not None:
                self._members.setdefault(label, []).append(node)
                outside = sum(1 for producer in dag.before[node] if labels[producer] != label)
                self._outside[label] = self._outside.get(label, 0) + outside
        self._whole: list[int] = []  # single nodes, and of each label that may be taken whole its first node
        self._split: list[int] = []  # ready nodes of labels that may not
        self._found: list[list[int]] = []

    def parts(self) -> list[list[int]]:
        for node, missing in enumerate(self._missing):
            if not missing:
                self._ready(node)
        for label, count in self._outside.items():
            if not count:
                heapq.heappush(self._whole, self._members[label][0])
        while True:
            if self._whole:
                node = heapq.heappop(self._whole)
                if self._labels[node] is None:
                    self._take([node], None)
                elif members := self._members.pop(self._labels[node], None):
                    self._take(members, self._labels[node])
            elif not self._take_some():
                return self._found

    def _ready(self, node: int) -> None:
        heapq.heappush(self._whole if self._labels[node] is None else self._split, node)

    def _take_some(self) -> bool:
        """Of the first ready node's label all that can go now, the others stay for later."""
        while self._split:
            label = self._labels[heapq.heappop(self._split)]
            left = self._members.get(label, [])
            missing = {node: self._missing[node] for node in left}
            taken = [node for node in left if not missing[node]]
            if not taken:
                continue  # it has gone with others
            for node in taken:  # grows
                for consumer in self._after[node]:
                    if consumer in missing:
                        missing[consumer] -= 1
                        if not missing[consumer]:
                            taken.append(consumer)
            gone = set(taken)
            self._members[label] = [node for node in left if node not in gone]
            self._take(sorted(taken), label)
            return True
        return False

    def _take(self, part: list[int], label: Hashable) -> None:
        self._found.append(part)
        inside = set(part)
        for node in part:
            for consumer in self._after[node]:
                self._missing[consumer] -= 1
                other = self._labels[consumer]
                if other is not None and other != label:
                    self._outside[other] -= 1
                    if not self._outside[other] and self._members.get(other):
                        heapq.heappush(self._whole, self._members[other][0])
                if not self._missing[consumer] and consumer not in inside:
                    self._ready(consumer)


def contracted(dag: Dag, parts: Sequence[Sequence[int]]) -> Dag:
    """The graph whose nodes are the parts, in the order of `parts_of`."""
    home = [0] * len(dag)
    for place, part in enumerate(parts):
        for node in part:
            home[node] = place
    return Dag([
        sorted({home[producer] for node in part for producer in dag.before[node]} - {place})
        for place, part in enumerate(parts)
    ])  # fmt: skip


def chains(dag: Dag, keys: Sequence[Hashable]) -> Labels:
    """Labels for linear chains: each node waits for the one before alone, and is all that waits for it.

    keys: nodes of different ones are not chained, those of None not at all.

    >>> chains(Dag([[], [0], [1], [1]]), ["k"] * 4)
    [0, 0, None, None]
    """
    after = dag.after()
    labels: Labels = [None] * len(dag)
    for node, needed in enumerate(dag.before):
        if len(needed) == 1 and len(after[needed[0]]) == 1 and keys[node] is not None:
            producer = needed[0]
            if keys[producer] == keys[node]:
                labels[producer] = producer if labels[producer] is None else labels[producer]
                labels[node] = labels[producer]
    return labels


def longest_path(dag: Dag, weights: Sequence[float]) -> float:
    """The largest sum of weights along one path."""
    ends: list[float] = []
    for node, needed in enumerate(dag.before):
        ends.append(weights[node] + max([ends[producer] for producer in needed], default=0))
    return max(ends, default=0)


def path_in(dag: Dag, part: Sequence[int], weights: Sequence[float]) -> float:
    """The longest path that stays within a part."""
    ends: dict[int, float] = {}
    for node in part:
        ends[node] = weights[node] + max([ends.get(producer, 0) for producer in dag.before[node]], default=0)
    return max(ends.values(), default=0)


def bands(dag: Dag, keys: Sequence[Hashable], weights: Sequence[int], band: Sequence[int], most: int) -> Labels | None:
    """Labels for at most about `most` parts: bands of levels, in each of which what hangs together stays together.

    The connected components in a band, of nodes of one key, are packed in order into as many parts as the band's
    share of tasks is. None where there are more bands than parts.
    weights: how many tasks a node is; band: of each node, none smaller than that of a node it waits for.
    """
    cells: dict[tuple[int, Hashable], list[list[int]]] = {}
    for members in _components(dag, keys, band):
        cells.setdefault((band[members[0]], keys[members[0]]), []).append(members)
    spare = most - sum(1 for key in keys if key is None) - len(cells)
    if spare < 0:
        return None
    more = sum(len(cell) - 1 for cell in cells.values())
    share = min(1.0, spare / more) if more else 0.0
    labels: Labels = [None] * len(dag)
    for number, cell in enumerate(cells.values()):
        count = 1 + int((len(cell) - 1) * share)
        total = sum(weights[node] for members in cell for node in members)
        passed = 0
        for members in cell:
            own = sum(weights[node] for node in members)
            label = (number, min(count - 1, int((passed + own / 2) * count / total)))
            passed += own
            for node in members:
                labels[node] = label
    return labels


def _levels(dag: Dag) -> list[int]:
    """For each node the length of the longest path to it."""
    found: list[int] = []
    for needed in dag.before:
        found.append(1 + max([found[producer] for producer in needed], default=-1))
    return found


def _bands_of(levels: Sequence[int], height: int) -> list[int]:
    """For each node its band: `height` levels, or as many as follow each other with no more nodes than cores, which
    would have one part each anyway."""
    widths = Counter(levels)
    band, height_so_far, narrow_before = -1, 0, False
    of_level = []
    for level in range(len(widths)):
        narrow = widths[level] <= CORES
        if band < 0 or narrow != narrow_before or (not narrow and height_so_far == height):
            band, height_so_far = band + 1, 0
        height_so_far += 1
        narrow_before = narrow
        of_level.append(band)
    return [of_level[level] for level in levels]


def _components(dag: Dag, keys: Sequence[Hashable], band: Sequence[int]) -> list[list[int]]:
    """What is connected within a band by nodes of one key; nodes without a key are in none."""
    root = list(range(len(dag)))

    def find(node: int) -> int:
        while root[node] != node:
            root[node] = root[root[node]]
            node = root[node]
        return node

    for node, needed in enumerate(dag.before):
        for producer in needed:
            if band[producer] == band[node] and keys[producer] == keys[node] and keys[node] is not None:
                one, other = find(producer), find(node)
                root[max(one, other)] = min(one, other)
    found: dict[int, list[int]] = {}
    for node in range(len(dag)):
        if keys[node] is not None:
            found.setdefault(find(node), []).append(node)
    return list(found.values())


def partition(dag: Dag, keys: Sequence[Hashable], weights: Sequence[int], most: int) -> list[list[int]]:
    """At most about `most` parts, so that the path through them is short.

    Level-wise clustering: clusters of nodes of neighbouring levels cannot make a circle (Herrmann, Özkaya, Uçar, Kaya,
    Çatalyürek, "Multilevel algorithms for acyclic partitioning of directed acyclic graphs", SIAM J. Sci. Comput.
    41(4), 2019, whose coarsening rests on it). Heights of a band are tried in growing steps, and that with the
    shortest path is taken, where a part takes as long as its longest path, or as its tasks on `CORES` cores, and
    `START` to begin with. Linear in nodes and edges for each height; there are logarithmically many.
    """
    levels = _levels(dag)
    best: tuple[float, int, list[list[int]]] | None = None
    height = 1
    last = max(levels, default=0) + 1
    while True:
        labels = bands(dag, keys, weights, _bands_of(levels, height), most)
        if labels is not None:
            parts = parts_of(dag, labels)
            if len(parts) <= most:
                cost = path_of_parts(dag, parts, weights)
                if best is None or (cost, len(parts)) < best[:2]:
                    best = cost, len(parts), parts
        if height >= last:
            break
        height = min(last, height + max(1, height // 2))
    return best[2] if best is not None else parts_of(dag, list(keys))


def path_of_parts(dag: Dag, parts: Sequence[Sequence[int]], weights: Sequence[int]) -> float:
    """The longest path through the parts, in the time of a task: their own times, and `START` for each."""
    times = [max(path_in(dag, part, weights), sum(weights[node] for node in part) / CORES) + START for part in parts]
    return longest_path(contracted(dag, parts), times)
