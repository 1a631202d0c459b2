"""How large an inline handle of each task may be: the more inputs a consumer has, the smaller."""

from __future__ import annotations

from grandpa_kfp_runtime.contract import FAN_IN_BUDGET_BYTES, INLINE_LIMIT_BYTES

from ..graph import Call, Graph, Group, ParameterValue, TaskOutput, Value, inputs_of
from ..passes.order import in_order


def inline_limits(graph: Graph) -> dict[str, int]:
    """For each task whose limit is below the usual one, its limit in bytes; groups are looked through.

    A power of two, so that tasks of one node whose consumers differ a little still share a component.
    """
    largest: dict[str, int] = {}
    _visit(graph, {}, largest)
    return {task: limit for task, count in largest.items() if (limit := limit_for(count)) < INLINE_LIMIT_BYTES}


def limit_for(fan_in: int) -> int:
    """The limit for an output whose widest consumer has so many inputs.

    >>> limit_for(2), limit_for(24), limit_for(100), limit_for(200)
    (2048, 2048, 256, 128)
    """
    budget = FAN_IN_BUDGET_BYTES // max(1, fan_in)
    return INLINE_LIMIT_BYTES if budget >= INLINE_LIMIT_BYTES else 1 << (budget.bit_length() - 1)


def _visit(graph: Graph, parameters: dict[str, str], largest: dict[str, int]) -> dict[str, str]:
    """Counts below `graph`; parameters: those that carry a task's output. Returns its outputs' producers."""
    instances = {instance.id: instance for instance in graph.instances}
    given: dict[tuple[str, str], str] = {}
    nested = any(isinstance(operation, Group) for operation in graph.operations)

    def producer(value: Value) -> str:
        if isinstance(value, TaskOutput):
            return given.get((value.task, value.output), "") if value.task in groups else value.task
        return parameters.get(value.name, "") if isinstance(value, ParameterValue) else ""

    groups = {operation.id for operation in graph.operations if isinstance(operation, Group)}
    for operation in in_order(graph) if nested else graph.operations:
        if isinstance(operation, Call):
            sources = [producer(value) for value in inputs_of(operation, instances)]
            count = len(sources)
            for source in sources:
                if source and largest.get(source, 0) < count:
                    largest[source] = count
        elif isinstance(operation, Group):
            inner = {name: made for name, value in operation.arguments if (made := producer(value))}
            for name, made in _visit(operation.body, inner, largest).items():
                given[operation.id, name] = made
    return {name: made for name, value in graph.outputs if (made := producer(value))}
