"""Groups, so that no DAG holds more than 100 tasks nor more bytes than one argument may have.

Before: a graph of any number of operations.
After: at most `ROOT_TASKS` operations at the top (room is left for the tasks that carry the code), at
    most `DAG_TASKS` in every group, and about `DAG_BYTES` in each, as far as its single tasks allow.
    A group is an interval of a topological order, so groups never wait for each other in a circle; it
    sees its own parameters alone (of type HANDLE where they come from a task), and gives out what is
    needed outside. Groups stand in groups where there are too many.
Why: Argo with its full CRDs holds 200 Argo tasks in one DAG, two for each of ours, and the specification
    of a DAG is one argument of its driver.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ..graph import Call, ContainerNode, Graph, Operation
from .bodies import in_bodies
from .container_values import container_values
from .grouping import Flow, Part, grouped
from .weights import TASK_BYTES, input_bytes

DAG_TASKS = 100
ROOT_TASKS = 96
DAG_BYTES = 96 * 1024
DAG_INPUTS = 300
"""What one group may read from outside; its own inputs are one argument too."""


def nest_groups(graph: Graph) -> Graph:
    """The graph in groups where it is too large for one DAG; see the module."""
    graph = in_bodies(nest_groups, graph)
    level, inputs = 1, DAG_INPUTS
    while True:
        weights, beside = _weights(graph), _beside(graph)
        whole = weights if beside == 1 else _weights(container_values(graph))
        if len(whole) <= ROOT_TASKS and sum(whole.values()) <= DAG_BYTES:
            return graph
        flow = Flow(graph)
        longest = DAG_TASKS // beside or 1 if level == 1 else -(-len(weights) // ROOT_TASKS)
        intervals = list(_intervals(flow, weights, longest, inputs))
        if len(intervals) < len(weights) or any(isinstance(operation, Call) for operation in graph.operations):
            names = _group_names(graph, level)
            graph = grouped(flow, [Part(interval, next(names)) for interval in intervals])
            level += 1
        elif len(weights) > ROOT_TASKS:
            inputs *= 2  # the count is the cluster's law, the width may do
        else:
            return graph  # single operations are too large: the lowering names them


def _weights(graph: Graph) -> dict[str, int]:
    instances = {instance.id: instance for instance in graph.instances}
    return {item.id: TASK_BYTES + input_bytes(item, instances) for item in graph.operations}


def _beside(graph: Graph) -> int:
    """How many tasks one may become, at most: `container_values` puts some beside containers of other images."""
    nodes = [item.node for item in graph.operations if isinstance(item, Call)]
    return max([1 + len(node.inputs) + len(node.gives) for node in nodes if isinstance(node, ContainerNode)], default=1)


def _intervals(flow: Flow, weights: Mapping[str, int], longest: int, inputs: int) -> Iterator[Sequence[Operation]]:
    """Of about equal length, each within the bounds (a single operation may be above them)."""
    operations = flow.ordered
    count = -(-len(operations) // longest)
    length = -(-len(operations) // count)
    start = total = 0
    inside: set[str] = set()
    outside: set[str] = set()
    for index, operation in enumerate(operations):
        weight = weights[operation.id]
        reads = {needed for needed in flow.waits[operation.id] if needed not in inside}
        full = index - start == length or total + weight > DAG_BYTES or len(outside | reads) > inputs
        if index > start and full:
            yield operations[start:index]
            start, total = index, 0
            inside, outside, reads = set(), set(), set(flow.waits[operation.id])
        total += weight
        inside.add(operation.id)
        outside |= reads
    yield operations[start:]


def _group_names(graph: Graph, level: int) -> Iterator[str]:
    taken = {operation.id for operation in graph.operations}
    number = 0
    while True:
        number += 1
        name = f"part-{number}" if level == 1 else f"part-{level}-{number}"
        if name not in taken:
            yield name
