"""The rows of the table of conformance: a workflow, what it means in plain Python, and which tasks run for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Refusal:
    """says: a pattern of the engine's message, empty where it is not even asked. why: for the table's reader."""

    says: str
    why: str


@dataclass(frozen=True)
class Row:
    """name: what it shows, at most 34 characters. plain: the same by Python's own `if`, `for` and `try`, nodes called
    by `by_hand`. ran, skipped: names of the nodes whose tasks run, or are told not to, each as often as it does.
    fails: a pattern of the message, where a task fails on purpose. refused: by engine, where one cannot run it."""

    name: str
    workflow: Any
    plain: Callable[..., Any]
    params: Mapping[str, Any] = field(default_factory=dict)
    ran: str = ""
    skipped: str = ""
    fails: str = ""
    refused: Mapping[str, Refusal] = field(default_factory=dict)

    @property
    def expected(self) -> tuple[Counter[str], Counter[str]]:
        return counted(self.ran), counted(self.skipped)


def counted(names: str) -> Counter[str]:
    """`"double plus*3"` counts one double, and three of plus."""
    found: Counter[str] = Counter()
    for word in names.split():
        name, _, times = word.partition("*")
        found[name] += int(times or 1)
    return found
