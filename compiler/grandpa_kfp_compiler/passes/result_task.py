"""The workflow's value as the output of one task.

Before: the graph's `result` is any value: a constant, a parameter, a part of an output, a structure
    with outputs in it, or one task's whole output.
After: it is one task's whole output. Where it was not, a builtin task `result` makes it.
Why: a pipeline's root has an output only where a task has one.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import replace

from ..graph import HANDLE, Call, Graph, ParameterValue, TaskOutput, Value, leaves
from .builtins import IDENTITY, PASSED, free_id, options_like


def result_task(graph: Graph) -> Graph:
    """Every output of the graph is a task's whole output; see the module."""
    return made_by(graph, {operation.id for operation in graph.operations})


def made_by(graph: Graph, producers: Set[str]) -> Graph:
    """The graph with tasks added that make each output which is not the whole output of a producer."""
    for name, value in graph.outputs:
        if not (isinstance(value, TaskOutput) and not value.path and value.task in producers):
            graph = _add_task(graph, name, value)
    return graph


def _add_task(graph: Graph, name: str, value: Value) -> Graph:
    producers = [leaf.task for leaf in leaves(value) if isinstance(leaf, TaskOutput)]
    node = PASSED if is_handle(value, graph) else IDENTITY
    call = Call(free_id(graph, name), node, (value,), options=options_like(graph, producers), where=graph.where)
    return replace(
        graph,
        operations=(*graph.operations, call),
        outputs=tuple((key, TaskOutput(call.id) if key == name else old) for key, old in graph.outputs),
    )


def is_handle(value: Value, graph: Graph) -> bool:
    """Whether the value travels as a handle that is right as it is."""
    if isinstance(value, ParameterValue):
        return not value.path and any(item.name == value.name and item.type == HANDLE for item in graph.parameters)
    return isinstance(value, TaskOutput) and not value.path
