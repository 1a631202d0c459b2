"""What is to run: a graph, what is wanted of it and what is known already, as numbered tasks.

`execute.py` makes one plan a run. Linear in tasks and edges.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from grandpa_kfp_compiler.bind import Bound, bind_all
from grandpa_kfp_compiler.graph import Call, Graph, PythonNode, TaskOutput, inputs_of
from grandpa_kfp_runtime.errors import GraphError

Key = tuple[str, str]
"""One output: task id and output name."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Task i is `calls[i]`, bound by `bounds[i]`, and waits for the tasks `waits_for[i]`.

    uses: how often each output is read, the run's own targets included. always: the tasks that run whatever became of
    what they wait for, and what of it has to succeed all the same.
    """

    calls: tuple[Call, ...]
    bounds: tuple[Bound, ...]
    waits_for: tuple[tuple[int, ...], ...]
    uses: dict[Key, int]
    always: Mapping[int, tuple[int, ...]] = field(default_factory=dict)


def make_plan(graph: Graph, targets: Sequence[TaskOutput] | None, given: Collection[Key]) -> Plan:
    """graph: flat and verified. targets: None for every task of the graph.

    Raises GraphError for a target or a given output that the graph does not have.
    """
    calls = {operation.id: operation for operation in graph.operations if isinstance(operation, Call)}
    _check_outputs(calls, [*(targets or ()), *(TaskOutput(*key) for key in given)])
    instances = {instance.id: instance for instance in graph.instances}
    parameters = {parameter.name: parameter for parameter in graph.parameters}
    wanted = calls.keys() if targets is None and not given else _needed(graph, calls, targets, given)
    chosen = [call for call in calls.values() if call.id in wanted]
    number = {call.id: index for index, call in enumerate(chosen)}
    bounds = bind_all(chosen, instances, parameters)
    waits_for: list[tuple[int, ...]] = []
    uses: dict[Key, int] = {}
    always: dict[int, tuple[int, ...]] = {}
    for call, bound in zip(chosen, bounds, strict=True):
        before: dict[int, None] = {}
        for _, leaf in bound.sources:
            if type(leaf) is TaskOutput:
                key = (leaf.task, leaf.output)
                uses[key] = uses.get(key, 0) + 1
                maker = number.get(leaf.task)  # None for a task of the run that is not the graph's: it has ended
                if maker is not None and key not in given:
                    before[maker] = None
        for task in (*call.after, *call.needs):
            if task in number:
                before[number[task]] = None
        waits_for.append(tuple(before))
        if call.options.always:
            always[len(waits_for) - 1] = tuple([number[task] for task in call.needs if task in number])
    for target in _final(graph) if targets is None else targets:
        key = (target.task, target.output)
        uses[key] = uses.get(key, 0) + 1
    return Plan(tuple(chosen), tuple(bounds), tuple(waits_for), uses, always)


def _final(graph: Graph) -> list[TaskOutput]:
    """What the workflow's own value is made of, through the instances in it too."""
    result = Call("", _NO_NODE, tuple([value for _, value in graph.outputs]))
    instances = {instance.id: instance for instance in graph.instances}
    return [leaf for leaf in inputs_of(result, instances) if isinstance(leaf, TaskOutput)]


_NO_NODE = PythonNode("", "")


def _needed(
    graph: Graph, calls: Mapping[str, Call], targets: Sequence[TaskOutput] | None, given: Collection[Key]
) -> set[str]:
    """The tasks that have to run: backwards from the targets, stopping at what is given."""
    reads = _reads(graph)
    if targets is None:  # all but those whose every output is given
        known = {id_ for id_, call in calls.items() if all((id_, name) in given for name in call.node.outputs)}
        return calls.keys() - known
    waiting = [target.task for target in targets if (target.task, target.output) not in given]
    needed: set[str] = set()
    while waiting:
        id_ = waiting.pop()
        if id_ not in needed:
            needed.add(id_)
            waiting.extend(task for task, output in reads[id_] if (task, output) not in given)
            waiting.extend(
                task
                for task in (*calls[id_].after, *calls[id_].needs)
                if not all((task, name) in given for name in calls[task].node.outputs)
            )
    return needed


def _reads(graph: Graph) -> dict[str, list[Key]]:
    instances = {instance.id: instance for instance in graph.instances}
    return {
        operation.id: [
            (item.task, item.output) for item in inputs_of(operation, instances) if isinstance(item, TaskOutput)
        ]
        for operation in graph.operations
    }


def _check_outputs(calls: Mapping[str, Call], outputs: Sequence[TaskOutput]) -> None:
    faults = []
    for output in outputs:
        call = calls.get(output.task)
        if call is None:
            faults.append(f"{output.task}: no such task; the graph has {', '.join(list(calls)[:20]) or 'none'}")
        elif output.output not in call.node.outputs:
            has = ", ".join(call.node.outputs)
            faults.append(f"{output.task} ({call.where}): no output {output.output!r}; it has {has}")
    if faults:
        raise GraphError(faults)
