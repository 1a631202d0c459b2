"""What a fault is, and how faults name places and suggest names. All of `verify` uses it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from ..graph import Graph, Instance, Operation

_MOST_CHOICES = 1000  # looking for the nearest of more names takes longer than the suggestion is worth


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong. where: the task and the user's file:line; message: what, and what to do.

    >>> str(Fault("subtract-2 (calc.py:14)", "argument b is missing; the node takes (a, b)"))
    'subtract-2 (calc.py:14): argument b is missing; the node takes (a, b)'
    """

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


def place(name: str, where: str) -> str:
    """`subtract-2 (calc.py:14)`, the name alone where the line is not known."""
    return f"{name} ({where})" if where else name


def place_of(item: Operation | Instance) -> str:
    return place(item.id, item.where)


def place_of_graph(graph: Graph) -> str:
    return place(graph.name, graph.where)


def nearest(name: str, known: Iterable[str], *, listed: bool = False) -> str:
    """`; did you mean "load"?`, or nothing. listed: else what there is, where that is not too much.

    >>> nearest("laod", ["load", "train"]), nearest("x", ["load"]), nearest("x", ["load"], listed=True)
    ('; did you mean "load"?', '', '; there is load')
    """
    choices = list(known)
    if len(choices) > _MOST_CHOICES:
        return ""
    found = difflib.get_close_matches(name, choices, n=1, cutoff=0.6)
    if found:
        return f'; did you mean "{found[0]}"?'
    if listed and 0 < len(choices) <= 12:
        return f"; there {'is' if len(choices) == 1 else 'are'} {', '.join(choices)}"
    return ""
