"""What the conditions of branches mean; decided by the local engine, and by a task of a compiled pipeline."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from .errors import TaskError
from .typespec import Json
from .values.summaries import summary

_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


class Condition(Protocol):
    """A predicate of a graph: operands of `&`, `|`, `~` are conditions, those of all others are values."""

    @property
    def operator(self) -> str: ...

    @property
    def operands(self) -> tuple[Any, ...]: ...


def decide(condition: Condition, value: Callable[[Any], Any]) -> bool:
    """Whether the condition holds. value: of each operand that it comes to. Raises TaskError for wrong types.

    >>> from types import SimpleNamespace
    >>> decide(SimpleNamespace(operator="<", operands=(1, 2)), lambda operand: operand)
    True
    """
    kind, operands = condition.operator, condition.operands
    if kind in "&|~":
        held = (decide(item, value) for item in operands)
        return all(held) if kind == "&" else any(held) if kind == "|" else not next(held)
    if kind == "in":
        options = value(operands[1])
        return _tested(value(operands[0])) in options
    found = [_tested(value(item)) for item in operands]
    if kind == "true":
        return bool(found[0])
    try:
        return bool(_COMPARE[kind](*found))
    except TypeError:
        raise TaskError(
            f"its condition orders what has no order: {summary(found[0])} {kind} {summary(found[1])}"
        ) from None


class Encoded:
    """A condition as JSON has it: `["&", [">", [0]], ...]`, an operand by its place and the keys into its value."""

    __slots__ = ("operands", "operator")

    def __init__(self, data: Sequence[Json]) -> None:
        self.operator = str(data[0])
        joins = self.operator in "&|~"
        self.operands = tuple([Encoded(item) if joins else tuple(item) for item in data[1:]])


def encode(condition: Condition, place: Callable[[Any], list[Json]]) -> list[Json]:
    """What `Encoded` reads. place: an operand's place among the values, and the keys of its path.

    >>> from types import SimpleNamespace
    >>> encode(SimpleNamespace(operator="<", operands=("x", "y")), lambda operand: ["xy".index(operand)])
    ['<', [0], [1]]
    """
    joins = condition.operator in "&|~"
    return [condition.operator, *[encode(item, place) if joins else place(item) for item in condition.operands]]


def _tested(value: Any) -> Any:
    """A value that conditions know. Raises TaskError."""
    if type(value).__module__ == "numpy" and hasattr(value, "item") and not getattr(value, "shape", ()):
        value = value.item()
    if value is not None and not isinstance(value, bool | int | float | str):
        raise TaskError(
            f"its condition tests booleans, numbers and texts, but was given {summary(value)}; compare it inside a "
            "node that returns a bool"
        )
    return value
