"""Ids, references and cycles: what holds a graph together, whatever its nodes are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from ..graph import (
    Call,
    Filled,
    Graph,
    Instance,
    InstanceValue,
    Node,
    Operation,
    ParameterValue,
    PythonNode,
    TaskOutput,
    Value,
    dependencies,
    leaves,
    outputs_of,
    values_of,
)
from .faults import Fault, nearest, place_of, place_of_graph


def structure_faults(graph: Graph, *, may_be_empty: bool = False) -> list[Fault]:
    """Empty graphs, duplicate and unknown ids, outputs that do not exist, cycles, nodes that contradict each other."""
    references = [*_References(graph).faults()]
    return [
        *([] if may_be_empty else _empty(graph)),
        *_duplicates(graph),
        *_nodes(graph),
        *references,
        *_instance_cycles(graph),
        *_cycles(graph),
    ]


def _empty(graph: Graph) -> Iterator[Fault]:
    if not graph.operations:
        yield Fault(
            place_of_graph(graph), "it calls no node, so there is nothing to run; call at least one @Node in it"
        )


def _duplicates(graph: Graph) -> Iterator[Fault]:
    for what, items in (("task", graph.operations), ("instance", graph.instances)):
        if len({item.id for item in items}) < len(items):
            yield from _repeated_ids(what, items)
        for item in items:
            if not item.id:
                yield Fault(place_of_graph(graph), f"a {what} has an empty id ({item.where})")
    yield from _repeated_names(graph, "parameter", [parameter.name for parameter in graph.parameters])
    yield from _repeated_names(graph, "output", [name for name, _ in graph.outputs])


def _repeated_ids(what: str, items: tuple[Operation, ...] | tuple[Instance, ...]) -> Iterator[Fault]:
    first: dict[str, Operation | Instance] = {}
    for item in items:
        if item.id in first:
            other = first[item.id].where
            yield Fault(place_of(item), f"another {what} has this name too{f' ({other})' if other else ''}")
        first.setdefault(item.id, item)


def _repeated_names(graph: Graph, what: str, names: Iterable[str]) -> Iterator[Fault]:
    for name, count in Counter(names).items():
        if count > 1:
            yield Fault(place_of_graph(graph), f"{what} {name} is declared {count} times")


def _nodes(graph: Graph) -> Iterator[Fault]:
    known: dict[str, Node] = {}
    told: set[str] = set()
    for item in (*graph.instances, *graph.operations):
        if not isinstance(item, Call | Instance):
            continue
        node = item.node
        first = known.get(node.key)
        if first is None:
            known[node.key] = node
            unnamed = not node.outputs and isinstance(node, PythonNode)  # a container may leave nothing
            if len(set(node.outputs)) < len(node.outputs) or unnamed:
                shown = ", ".join(node.outputs) or "none"
                yield Fault(place_of(item), f"the outputs of {node.name} must be different names, but are: {shown}")
        elif first is not node and first != node and node.key not in told:
            told.add(node.key)
            yield Fault(place_of(item), f"two different nodes are both known as {node.key}; give one another name")


class _References:
    """Everything that names something else in the graph, looked up."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.place = place_of_graph(graph)
        self.operations = {operation.id: operation for operation in graph.operations}
        self.parameters = {parameter.name for parameter in graph.parameters}
        self.instances = {instance.id: instance for instance in graph.instances}

    def faults(self) -> Iterator[Fault]:
        for instance in self.graph.instances:
            if not instance.node.is_class:
                yield Fault(place_of(instance), f"{instance.node.name} is no class, so it has no instances")
            yield from self.values(instance, values_of(instance))
        for operation in self.graph.operations:
            if isinstance(operation, Call):
                yield from self.receiver(operation)
            for task in (*operation.after, *(operation.needs if isinstance(operation, Call) else ())):
                if task not in self.operations:
                    hint = nearest(task, self.operations)
                    yield Fault(place_of(operation), f'is called after "{task}", but there is no such task{hint}')
            yield from self.values(operation, values_of(operation))
        for name, value in self.graph.outputs:
            for message in self.value(value):
                yield Fault(self.place, f"output {name}: {message}")

    def receiver(self, call: Call) -> Iterator[Fault]:
        if call.instance:
            if call.instance not in self.instances:
                hint = nearest(call.instance, self.instances)
                yield Fault(
                    place_of(call), f'calls the instance "{call.instance}", but there is no such instance{hint}'
                )
        elif call.node.is_class:
            yield Fault(
                place_of(call),
                f"calls the class {call.node.name} without an instance; write {call.node.name}(...)(...)",
            )

    def values(self, item: Operation | Instance, values: Iterable[Value]) -> Iterator[Fault]:
        for value in values:
            for message in self.value(value):
                yield Fault(place_of(item), message)

    def value(self, value: Value) -> Iterator[str]:
        if isinstance(value, TaskOutput):
            yield from self.task_output(value)
        elif isinstance(value, ParameterValue):
            if value.name not in self.parameters:
                hint = nearest(value.name, self.parameters, listed=True)
                yield f'uses the parameter "{value.name}", but there is no such parameter{hint}'
        elif isinstance(value, InstanceValue):
            if value.instance not in self.instances:
                hint = nearest(value.instance, self.instances)
                yield f'uses the instance "{value.instance}", but there is no such instance{hint}'
        elif isinstance(value, Filled):
            for leaf in leaves(value):
                yield from self.value(leaf)

    def task_output(self, value: TaskOutput) -> Iterator[str]:
        producer = self.operations.get(value.task)
        if producer is None:
            yield f'uses the result of "{value.task}", but there is no such task{nearest(value.task, self.operations)}'
            return
        names = outputs_of(producer)
        if not names and isinstance(producer, Call):
            yield f"uses what {place_of(producer)} leaves, which is nothing: name it in after=[...] to wait for it"
        elif value.output not in names:
            hint = nearest(value.output, names, listed=True)
            yield f'uses the output "{value.output}" of {place_of(producer)}, which has no such output{hint}'


def _instance_cycles(graph: Graph) -> Iterator[Fault]:
    waits = {
        instance.id: tuple(
            leaf.instance for value in values_of(instance) for leaf in leaves(value) if isinstance(leaf, InstanceValue)
        )
        for instance in graph.instances
    }
    for cycle in cycles(waits):
        yield Fault(place_of_graph(graph), f"instances need each other: {' → '.join(cycle)}")


def _cycles(graph: Graph) -> Iterator[Fault]:
    instances = {instance.id for instance in graph.instances}
    used = (
        leaf for item in (*graph.instances, *graph.operations) for value in values_of(item) for leaf in leaves(value)
    )
    unknown = any(isinstance(leaf, InstanceValue) and leaf.instance not in instances for leaf in used)
    if unknown or any(
        isinstance(item, Call) and item.instance and item.instance not in instances for item in graph.operations
    ):
        return  # told already, and what such a task waits for is not known
    for cycle in cycles(dependencies(graph)):
        places = {operation.id: operation.where for operation in graph.operations}
        where = ", ".join(dict.fromkeys(places[task] for task in cycle if places[task]))
        yield Fault(
            place_of_graph(graph), f"tasks wait for each other: {' → '.join(cycle)}{f' ({where})' if where else ''}"
        )


def cycles(waits_for: Mapping[str, tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    """Cycles in the order in which values flow, the first element repeated; each shows something new.

    >>> list(cycles({"a": ("b",), "b": ("a",), "c": ("a",)}))
    [('a', 'b', 'a')]
    """
    if _in_order(waits_for):
        return
    rank = {name: index for index, name in enumerate(waits_for)}
    done: set[str] = set()
    shown: set[str] = set()
    for start in waits_for:
        path: dict[str, Iterator[str]] = {} if start in done else {start: iter(waits_for[start])}
        while path:
            current = next(reversed(path))
            following = next(path[current], None)
            if following is None:
                done.add(current)
                del path[current]
            elif following in path:
                names = list(path)
                loop = names[names.index(following) :][::-1]
                if not shown.issuperset(loop):
                    shown.update(loop)
                    first = loop.index(min(loop, key=rank.__getitem__))
                    yield (*loop[first:], *loop[:first], loop[first])
            elif following not in done and following in waits_for:
                path[following] = iter(waits_for[following])


def _in_order(waits_for: Mapping[str, tuple[str, ...]]) -> bool:
    """Whether everything stands behind what it waits for, as tracing leaves it: then there is no cycle."""
    seen: set[str] = set()
    for name, others in waits_for.items():
        for other in others:
            if other not in seen and other in waits_for:
                return False
        seen.add(name)
    return True
