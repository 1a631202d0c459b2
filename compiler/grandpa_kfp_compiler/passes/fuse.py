"""Tasks that need not be apart become one step: one container on Kubeflow, which runs them by the local engine.

Before: each call of a node would be a container; `graph.components` says what was asked for.
After: some operations are in groups marked `fused`, with the options of their container. A group is convex, the graph
    stays acyclic, each task is in one place, and `components` is empty.
Why: a container costs Kubeflow two pods and some 20 s, and Argo's object for a run holds some 400 of them.

`chains`: tasks of which each is the sole consumer of the one before. `components`: each call of a component. `auto`:
what `@Component(fuse=True)` asks for; where the graph would have more than `most` steps also chains, then components,
then parts of it (`clusters.partition`), until it has not. `none`: nothing at all. docs/fusion.md tells the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias, TypeGuard

from ..graph import Branch, Call, ComponentCall, ContainerNode, Graph, Group, Loop, Operation, bodies_of, with_bodies
from .bodies import in_bodies
from .clusters import Dag, Labels, chains, contracted, partition, parts_of
from .gather_inputs import WIDE, gather_lists
from .grouping import Flow, Part, grouped
from .rounds import rounds_of
from .sharing import Key, may_share, merged, share_key

Mode: TypeAlias = Literal["none", "chains", "components", "auto"]
MODES: tuple[Mode, ...] = ("none", "chains", "components", "auto")

MOST_STEPS = 400
"""What Argo's object for a run holds, about."""

STEP_COST = 2
"""A fused step takes so much of what a plain task takes: it has a component of its own, and more inputs."""

ROOM = 0.8
"""Of the steps that there may be so many are made: gathering and grouping add some."""

ROUND_SHARE = 0.4
"""A task of a further round of a loop takes so much of what the first one takes: it is in the status alone."""

Path: TypeAlias = "tuple[str, ...]"


@dataclass(frozen=True, slots=True)
class _Stage:
    """What is fused. every: components of which nothing is said, too; chained: chains."""

    every: bool = False
    chained: bool = False


_STAGES: Mapping[str, tuple[_Stage, ...]] = {
    "chains": (_Stage(chained=True),),
    "components": (_Stage(every=True),),
    "auto": (_Stage(), _Stage(chained=True), _Stage(every=True, chained=True)),
}


def fuse(graph: Graph, mode: str = "auto", most: int = MOST_STEPS) -> Graph:
    """The graph with fused groups; see the module. most: steps, beyond which `auto` does more than it is asked for."""
    if mode == "none":
        return _plain(graph)
    stages = _STAGES[mode]
    for stage in stages:
        if not (stage.chained or stage.every or _asks(graph)):
            if steps(graph) <= most:
                return _plain(graph)
            continue
        level = _level(graph, stage, False, None)
        if mode != "auto" or level.cost() <= most:
            return level.built()
    return _fused(graph, stages[-1], False, int(most * ROOM) or 1)


def steps(graph: Graph) -> float:
    """How many containers Kubeflow runs for the graph, about; rounds of a loop that are not known count as one."""
    return sum([_cost(item, graph) for item in graph.operations])


def _cost(item: Operation, graph: Graph) -> float:
    if isinstance(item, Call):
        return 1
    if _is_step(item):
        return STEP_COST
    inside = [1 + steps(body) for body in bodies_of(item)]
    if isinstance(item, Loop):
        further = (rounds_of(item, graph) or 1) - 1
        return 3 + inside[0] + ROUND_SHARE * further * inside[0]
    return sum(inside) + (2 if isinstance(item, Branch) else 0)


def _plain(graph: Graph) -> Graph:
    """The graph as it is; steps that it came with stay."""
    graph = in_bodies(_plain, graph)
    return replace(graph, components=()) if graph.components else graph


# --- one graph, and those in it -------------------------------------------------------------------


def _fused(graph: Graph, stage: _Stage, kept: bool, most: int | None) -> Graph:
    """kept: whether an outer component keeps its tasks apart; most: as many steps as there may be, None for any."""
    if not (stage.chained or stage.every or _asks(graph)):
        return _plain(graph)
    return _level(graph, stage, kept, most).built()


def _level(graph: Graph, stage: _Stage, kept: bool, most: int | None) -> _Level:
    if most is not None and len(graph.operations) > most:
        graph = gather_lists(graph, max(WIDE, -(-len(graph.operations) // max(1, most))))
    level = _Level(graph, stage, kept, 0 if most is None else WIDE)
    level.merge_components()
    if stage.chained:
        level.merge_chains()
    for place, item in enumerate(level.items):
        if not (isinstance(item, Call) or _is_step(item) or place in level.whole):
            bodies = [_fused(body, stage, level.kept[place], None) for body in bodies_of(item)]
            level.inner[place] = with_bodies(item, bodies)
    if most is not None:
        level.fit(most)
    return level


def _asks(graph: Graph) -> bool:
    inner = (body for item in graph.operations for body in bodies_of(item))
    return bool(graph.components) or any(map(_asks, inner))


@dataclass(slots=True)
class _Level:
    """The operations of one graph by number, and the parts that they are in so far.

    keys: who may share a container, None for whoever stays alone; kept: whom `fuse=False` keeps apart; whole: branches
    and loops that go into a step with all that is in them; inner: those that stay, as they are by now. bundle: as of
    `grouped`.
    """

    graph: Graph
    stage: _Stage
    outer: bool
    bundle: int
    flow: Flow = field(init=False)
    items: tuple[Operation, ...] = field(init=False)
    dag: Dag = field(init=False)
    keys: list[Key | None] = field(init=False)
    kept: list[bool] = field(init=False)
    asked: list[Path | None] = field(init=False)
    parts: list[list[int]] = field(init=False)
    whole: set[int] = field(default_factory=set)
    inner: dict[int, Group | Branch | Loop] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.flow = Flow(self.graph)
        self.items = self.flow.ordered
        places = {item.id: place for place, item in enumerate(self.items)}
        self.dag = Dag([sorted({places[name] for name in self.flow.waits[item.id]}) for item in self.items])
        said = {item.path: item.fuse for item in self.graph.components}
        found = [_component_of(item, said, self.stage.every, self.outer) for item in self.items]
        self.asked = [path for path, _ in found]
        self.kept = [kept for _, kept in found]
        alone = _alone(self.items, self.flow)
        self.keys = [
            None if kept or item.id in alone or _is_step(item) else share_key(item)
            for item, kept in zip(self.items, self.kept, strict=True)
        ]
        self.parts = [[place] for place in range(len(self.items))]

    def merge_components(self) -> None:
        labels: Labels = [
            None if path is None or key is None else (path, key)
            for path, key in zip(self.asked, self.keys, strict=True)
        ]
        self.whole.update([place for place, label in enumerate(labels) if label is not None])
        self._merge(labels)

    def merge_chains(self) -> None:
        self._merge(chains(contracted(self.dag, self.parts), self._part_keys()))

    def _merge(self, labels: Labels) -> None:
        """labels: of the parts so far."""
        if any(label is not None for label in labels):
            merged_parts = parts_of(contracted(self.dag, self.parts), labels)
            self.parts = [sorted([place for one in part for place in self.parts[one]]) for part in merged_parts]

    def _part_keys(self) -> list[Key | None]:
        """Of a part with a branch or loop that is not fused: None."""
        return [
            self.keys[part[0]] if all(isinstance(self.items[at], Call) or at in self.whole for at in part) else None
            for part in self.parts
        ]

    # --- fitting into a number of steps ---

    def fit(self, most: int) -> None:
        """Merges until there are at most so many steps, as far as tasks may share."""
        room = max(most - (len(self.parts) - len(self.inner)), most // 2)
        costs = {place: _cost(item, self.graph) for place, item in self.inner.items()}
        while costs and self._inner_cost() > room:
            costliest = max(costs, key=lambda place: (costs[place], -place))
            if self._shrink(costliest, room - self._inner_cost()) and costliest in self.inner:
                costs[costliest] = _cost(self.inner[costliest], self.graph)
            else:
                del costs[costliest]
        left = max(1, int(most - self._inner_cost()) // STEP_COST) + len(self.inner)
        if len(self.parts) > left:
            weights = [sum(_tasks(self.items[place]) for place in part) for part in self.parts]
            found = partition(contracted(self.dag, self.parts), self._part_keys(), weights, left)
            self.parts = [sorted([place for one in part for place in self.parts[one]]) for part in found]

    def _inner_cost(self) -> float:
        return sum([_cost(item, self.graph) for item in self.inner.values()])

    def _shrink(self, place: int, excess: float) -> bool:
        """Makes a branch, loop or group cheaper: fewer steps in its bodies, then the whole of it in a step.

        excess: what there is room for beside all of them, below zero. False where nothing can be done.
        """
        item = self.inner[place]
        cost = _cost(item, self.graph)
        bodies = bodies_of(self.items[place])
        most = max(1, int(cost + excess) // max(1, len(bodies)) - 1) if isinstance(item, Group) else 1
        smaller = with_bodies(item, [_fused(body, self.stage, self.kept[place], most) for body in bodies])
        self.inner[place] = smaller
        if _cost(smaller, self.graph) < cost:
            return True
        if self.keys[place] is not None:
            del self.inner[place]
            self.whole.add(place)
            return True
        return False

    # --- the result ---

    def _is_single(self, part: list[int]) -> bool:
        """Whether a part is what it was."""
        return len(part) == 1 and (isinstance(self.items[part[0]], Call) or part[0] not in self.whole)

    def cost(self) -> float:
        """The steps of what it will be."""
        plain = sum([1 if self._is_single(part) else STEP_COST for part in self.parts])
        return plain - len(self.inner) + self._inner_cost()

    def built(self) -> Graph:
        """The graph that it comes to."""
        names = _Names(self.items)
        parts = []
        for part in self.parts:
            items = [self.inner.get(place, self.items[place]) for place in part]
            parts.append(Part(items, "" if self._is_single(part) else names.of(items)))
        if not any(part.name for part in parts) and not self.inner:
            return replace(self.graph, components=()) if self.graph.components else self.graph
        return replace(grouped(self.flow, parts, _as_step, bundle=self.bundle), components=())


def _as_step(group: Group) -> Group:
    operations = group.body.operations
    return replace(group, fused=True, options=merged(operations), where=operations[0].where)


def _tasks(item: Operation) -> int:
    return (
        1 if isinstance(item, Call) else max(1, sum(_tasks(one) for body in bodies_of(item) for one in body.operations))
    )


# --- who belongs together, and who stays alone ----------------------------------------------------


def scope_of(item: Operation) -> Path:
    """The component that an operation stands in, as its id tells."""
    return tuple(item.id.split("/")[:-1])


def _component_of(item: Operation, said: Mapping[Path, bool], every: bool, outer: bool) -> tuple[Path | None, bool]:
    """The component whose step it belongs to, the outermost of those that ask; and whether it is kept apart.

    The nearest component that says something decides. every: those that say nothing ask too.
    """
    scope = scope_of(item)
    asking: Path | None = None
    kept = outer
    for depth in range(1, len(scope) + 1):
        path = scope[:depth]
        wanted = said.get(path)
        if wanted is None and every and not kept:
            wanted = True
        if wanted is not None:
            kept = not wanted
            asking = None if kept else asking or path
    return asking, kept


def _alone(items: Iterable[Operation], flow: Flow) -> set[str]:
    """Neighbours that a step could not serve: of a container of any image, which speaks Kubeflow's own types, and of
    a task that always runs, which is told of each as it is."""
    found: set[str] = set()
    foreign = {item.id for item in items if isinstance(item, Call) and isinstance(item.node, ContainerNode)}
    for item in items:
        if isinstance(item, Call) and (item.id in foreign or item.options.always):
            found.update(flow.waits[item.id])
        elif foreign.intersection(flow.waits[item.id]):
            found.add(item.id)
    return found


class _Names:
    """Ids of steps: that of a component which one is all of, else `first-to-last`."""

    __slots__ = ("_sizes", "_taken")

    def __init__(self, items: Iterable[Operation]) -> None:
        self._taken: set[str] = set()
        self._sizes: Counter[Path] = Counter()
        for item in items:
            self._taken.add(item.id)
            scope = scope_of(item)
            self._sizes.update([scope[:depth] for depth in range(1, len(scope) + 1)])

    def of(self, items: list[Operation]) -> str:
        common = scope_of(items[0])
        for item in items:
            scope = scope_of(item)
            while common != scope[: len(common)]:
                common = common[:-1]
        last = items[-1].id.rpartition("/")[2]
        whole = common and self._sizes[common] == len(items)
        name = "/".join(common) if whole else items[0].id if len(items) == 1 else f"{items[0].id}-to-{last}"
        if len(items) == 1 and not whole:
            return name  # the branch or loop that it is made of gives it its id
        found, number = name, 1
        while found in self._taken:
            number += 1
            found = f"{name}-{number}"
        self._taken.add(found)
        return found


def fused_groups(graph: Graph) -> Iterator[Group]:
    """After the pass: each step that is a group, in nested graphs too."""
    for item in graph.operations:
        if _is_step(item):
            yield item
        else:
            for body in bodies_of(item):
                yield from fused_groups(body)


def component_parts(graph: Graph, fused: Graph) -> Iterator[tuple[ComponentCall, int, str]]:
    """Components that asked to be one step and are several: how many, and why. fused: the graph after the pass."""
    homes = {inner.id: item.id for item in fused.operations if _is_step(item) for inner in item.body.operations}
    said = {item.path: item.fuse for item in graph.components}
    for component in graph.components:
        path = component.path
        inside = [
            item
            for item in graph.operations
            if scope_of(item)[: len(path)] == path and _component_of(item, said, False, False)[0] is not None
        ]
        parts = {homes.get(item.id, item.id) for item in inside}
        if component.fuse and len(parts) > 1:
            yield component, len(parts), _why_apart(inside)
    left = {item.id: item for item in fused.operations if not _is_step(item)}
    for item in graph.operations:
        if item.id in left:
            for body, other in zip(bodies_of(item), bodies_of(left[item.id]), strict=True):
                yield from component_parts(body, other)


def _is_step(item: Operation) -> TypeGuard[Group]:
    return isinstance(item, Group) and item.fused


def _why_apart(items: Iterable[Operation]) -> str:
    calls = [call for item in items for call in ([item] if isinstance(item, Call) else _calls_in(item))]
    for other in calls[1:]:
        if reason := may_share(calls[0], other):
            return reason
    return "tasks outside of it stand between some of its tasks, or read what Kubeflow must see"


def _calls_in(item: Operation) -> Iterator[Call]:
    for body in bodies_of(item):
        yield from body.calls()
