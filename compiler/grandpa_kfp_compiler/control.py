"""Control flow in the IR: branches, loops, and the predicates that choose. `graph.py` has everything else.

Their bodies are graphs, which see their own parameters alone, as a `Group`'s does: what they read of the graph
around them comes in as arguments, what others read of them goes out as outputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from .graph import Graph, Value

COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")
JOINS = ("&", "|")
OPERATORS = (*COMPARISONS, *JOINS, "~", "in", "true")


@dataclass(frozen=True, slots=True)
class Predicate:
    """A test of booleans, numbers and texts that is made when the graph runs.

    operator: a comparison of two values; `in`: whether a value is one of a constant list; `true`: whether one value
    is true, not zero or not empty; `&`, `|`: of predicates, from left to right, no further than needed; `~`: of one.
    """

    operator: str
    operands: tuple[Operand, ...]

    def values(self) -> Iterator[Value]:
        """The values it tests, from left to right."""
        for operand in self.operands:
            if isinstance(operand, Predicate):
                yield from operand.values()
            else:
                yield operand


Operand: TypeAlias = "Predicate | Value"


@dataclass(frozen=True, slots=True)
class Arm:
    """One way that a branch may take. predicate: None for the one that is taken where no other is."""

    predicate: Predicate | None
    body: Graph


@dataclass(frozen=True, slots=True)
class Branch:
    """The first arm whose predicate holds runs, the others are skipped.

    arguments: for the bodies' parameters; each body takes those it needs. Its outputs are those of the body that
    ran: each arm has all of them, and one arm has no predicate, else there are none.
    """

    id: str
    arms: tuple[Arm, ...]
    arguments: tuple[tuple[str, Value], ...] = ()
    after: tuple[str, ...] = ()
    where: str = ""


@dataclass(frozen=True, slots=True)
class Loop:
    """The body runs once for each of the items, several at the same time; each output is the list of the body's.

    item: the body's parameter that is one of the items; parallelism: how many run at once, None for the engine's
    choice.
    """

    id: str
    items: Value
    item: str
    body: Graph
    arguments: tuple[tuple[str, Value], ...] = ()
    parallelism: int | None = None
    after: tuple[str, ...] = ()
    where: str = ""
