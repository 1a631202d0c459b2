"""Tasks that run always, in the form that Kubeflow has: an exit handler is the hook of one DAG task.

Before: a task with `always` waits for any operations, and others may wait for it.
After: it waits for one group and for nothing else. It is the only one that does, reads of other operations that group's
    outputs alone, and nobody in its graph waits for it: where one did, both stand in a group of their own. Outputs that
    it reads are those of calls right in its group, behind a task `absent`, whose output stands for those that were not
    made; where it asks how the group has ended, that has a task `ended` behind all others. A task that waits for
    nothing is one like any other.
Why: Kubeflow makes one hook a task, the last wins; a hook of several tasks would run several times; a task of another
    graph's can be no hook; what waits for a hook is refused by Argo. Its driver finds no output of a task that never
    began, but takes the first that is there of several (`valueFromOneof`).
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import replace

from ..graph import (
    Call,
    Constant,
    Graph,
    Group,
    Operation,
    Outcome,
    TaskOutput,
    dependencies,
    inputs_of,
    leaves,
    values_of,
)
from .bodies import in_bodies
from .builtins import ABSENT, IDENTITY, PASSED, free_id, options_like
from .grouping import Flow, Part, grouped
from .nest_groups import DAG_BYTES, ROOT_TASKS
from .order import in_order
from .weights import TASK_BYTES, input_bytes

ENDED = "ended"
"""The group's output that is there when all of it has succeeded."""
_ROOM = 4
"""Later passes may make up to so many tasks of one."""


def always_groups(graph: Graph) -> Graph:
    """The graph whose tasks that run always are exit handlers; see the module."""
    graph = in_bodies(always_groups, graph)
    hooks: set[str] = set()
    for id_ in [item.id for item in in_order(graph) if isinstance(item, Call) and item.options.always]:
        graph = _guarded(graph, id_, hooks)
        hooks.add(id_)
    return graph


def _guarded(graph: Graph, id_: str, hooks: Set[str]) -> Graph:
    """hooks: the tasks that run always and have their form."""
    call = _call(graph, id_)
    waits = dependencies(graph)
    before = [task for task in waits[id_] if task not in call.needs]
    if not before:
        plain = replace(call, options=replace(call.options, always=None), after=(*call.after, *call.needs), needs=())
        return _with(graph, plain)
    outside = _above(call.needs, waits)
    inside = _above(before, waits) - outside
    hooked = [item.id for item in graph.operations if item.id in hooks and inside & set(item.after)]
    inside |= _above(hooked, waits) - outside
    group = next(iter(inside)) if len(inside) == 1 else ""
    if not group or not _is_plain_group(graph, group):
        graph, group = _together(graph, inside, f"before-{call.name}")
        call = _call(graph, id_)
    graph = _with(graph, _after_all(_group(graph, group), call.needs))
    graph = _with(graph, replace(call, after=(group,), needs=()))
    graph = _with_absent(graph, id_, group)
    if _stands_alone(graph, id_, group):
        return graph
    return _together(graph, {group, id_}, f"{call.name}-around")[0]


def _together(graph: Graph, ids: Set[str], name: str) -> tuple[Graph, str]:
    """The graph with these operations in a group, and its id. No path leaves them and comes back."""
    flow = Flow(graph)
    behind = set(ids)
    first: list[Operation] = []
    last: list[Operation] = []
    for item in flow.ordered:
        if item.id not in ids and behind.isdisjoint(flow.waits[item.id]):
            first.append(item)
        elif item.id not in ids:
            last.append(item)
            behind.add(item.id)
    id_ = free_id(graph, name)
    own = Part([item for item in flow.ordered if item.id in ids], id_)
    parts = [*([Part(first)] if first else []), own, *([Part(last)] if last else [])]
    return grouped(flow, parts), id_


def _after_all(group: Group, needs: Iterable[str]) -> Group:
    """What the handler needs is needed by the group: without it neither begins."""
    return replace(group, after=tuple(dict.fromkeys((*group.after, *needs))))


def _above(tasks: Iterable[str], waits: dict[str, tuple[str, ...]]) -> set[str]:
    """The tasks and all that they come after."""
    found: set[str] = set()
    waiting = list(tasks)
    while waiting:
        task = waiting.pop()
        if task not in found:
            found.add(task)
            waiting.extend(waits[task])
    return found


def _is_plain_group(graph: Graph, id_: str) -> bool:
    return any(isinstance(item, Group) and item.id == id_ and not item.fused for item in graph.operations)


def _stands_alone(graph: Graph, id_: str, group: str) -> bool:
    """Whether the two may stand in the graph as they are."""
    instances = {instance.id: instance for instance in graph.instances}
    if any(id_ in before for before in dependencies(graph).values()):
        return False
    if any(leaf.task == id_ for _, value in graph.outputs for leaf in leaves(value) if isinstance(leaf, TaskOutput)):
        return False
    read = inputs_of(_call(graph, id_), instances)
    if any(value.task != group for value in read if isinstance(value, TaskOutput)):
        return False
    weight = sum(TASK_BYTES + input_bytes(item, instances) for item in graph.operations)
    return len(graph.operations) * _ROOM <= ROOT_TASKS and weight * _ROOM <= DAG_BYTES


# --- what the handler is given ---------------------------------------------------------------------


def _with_absent(graph: Graph, id_: str, group: str) -> Graph:
    """The group with what stands for outputs that were not made, where the handler reads some."""
    instances = {instance.id: instance for instance in graph.instances}
    call = _call(graph, id_)
    read = {value.output for value in inputs_of(call, instances) if isinstance(value, TaskOutput)}
    asks = any(isinstance(leaf, Outcome) for value in values_of(call) for leaf in leaves(value))
    if not read and not asks:
        return graph
    guard = _group(graph, group)
    body = guard.body
    if len(body.operations) * _ROOM > ROOT_TASKS:
        body = _together(body, {item.id for item in body.operations}, body.name)[0]
    if asks:
        waits, hooks = dependencies(body), _hooks(body)
        awaited = {task for id_, before in waits.items() if id_ not in hooks for task in before}
        last = tuple(item.id for item in body.operations if item.id not in awaited | hooks)
        ended = Call(free_id(body, ENDED), IDENTITY, (Constant(True),), after=last, where=call.where)
        body = replace(
            body, operations=(*body.operations, ended), outputs=(*body.outputs, (ENDED, TaskOutput(ended.id)))
        )
    body = _made_by_calls(body, read)
    absent = Call(free_id(body, "absent"), ABSENT, where=call.where)
    waits = dependencies(body)
    # first of all: after a failure Argo starts nothing more in the DAG
    behind = [item if waits[item.id] else replace(item, after=(absent.id,)) for item in body.operations]
    return _with(graph, replace(guard, body=replace(body, operations=(absent, *behind))))


def _hooks(graph: Graph) -> set[str]:
    return {item.id for item in graph.operations if isinstance(item, Call) and item.options.always}


def _made_by_calls(body: Graph, names: Set[str]) -> Graph:
    """These outputs are: Kubeflow knows of calls, not of graphs, how they have ended."""
    calls = {item.id for item in body.operations if isinstance(item, Call)}
    for name, value in body.outputs:
        if name in names and isinstance(value, TaskOutput) and value.task not in calls:
            options = options_like(body, [value.task])
            passed = Call(free_id(body, f"{value.task}-passed"), PASSED, (value,), options=options, where=body.where)
            outputs = [(key, TaskOutput(passed.id) if key == name else old) for key, old in body.outputs]
            body = replace(body, operations=(*body.operations, passed), outputs=tuple(outputs))
    return body


# --- one of a graph's operations -------------------------------------------------------------------


def _call(graph: Graph, id_: str) -> Call:
    return next(item for item in graph.operations if isinstance(item, Call) and item.id == id_)


def _group(graph: Graph, id_: str) -> Group:
    return next(item for item in graph.operations if isinstance(item, Group) and item.id == id_)


def _with(graph: Graph, changed: Call | Group) -> Graph:
    """The graph with another operation in the place of the one of that id."""
    return replace(graph, operations=tuple(changed if item.id == changed.id else item for item in graph.operations))
