"""How large an inline handle of each task may be: the more inputs a consumer has, the smaller."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from grandpa_kfp_runtime.contract import FAN_IN_BUDGET_BYTES, INLINE_LIMIT_BYTES

from ..graph import Call, Graph, Loop, ParameterValue, TaskOutput, Value, bodies_of, inputs_of
from ..passes.order import in_order

ROUNDS = 512
"""How many rounds a loop is taken to have: its results arrive together."""


def inline_limits(graph: Graph) -> dict[str, int]:
    """For each task whose limit is below the usual one, its limit in bytes; nested graphs are looked through.

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


def _visit(graph: Graph, parameters: _Producers, largest: dict[str, int]) -> _Producers:
    """Counts below `graph`; parameters: the tasks whose outputs they carry. Returns its outputs' producers."""
    instances = {instance.id: instance for instance in graph.instances}
    given: dict[tuple[str, str], frozenset[str]] = {}
    nested = {operation.id for operation in graph.operations if not isinstance(operation, Call)}

    def producers(value: Value) -> frozenset[str]:
        if isinstance(value, TaskOutput):
            return given.get((value.task, value.output), _NONE) if value.task in nested else frozenset((value.task,))
        return parameters.get(value.name, _NONE) if isinstance(value, ParameterValue) else _NONE

    def note(sources: Iterable[str], count: int) -> None:
        for source in sources:
            largest[source] = max(largest.get(source, 0), count)

    for operation in in_order(graph) if nested else graph.operations:
        if isinstance(operation, Call):
            values = list(inputs_of(operation, instances))
            for value in values:
                note(producers(value), len(values))
            continue
        inner = {name: producers(value) for name, value in operation.arguments}
        for body in bodies_of(operation):
            for name, made in _visit(body, inner, largest).items():
                given[operation.id, name] = given.get((operation.id, name), _NONE) | made
                if isinstance(operation, Loop):
                    note(made, ROUNDS)
    return {name: producers(value) for name, value in graph.outputs}


_NONE: frozenset[str] = frozenset()
_Producers: TypeAlias = "Mapping[str, frozenset[str]]"
