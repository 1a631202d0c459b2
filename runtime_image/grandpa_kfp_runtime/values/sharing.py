"""Values that tasks share instead of each having its own: what pickling does with them.

Such a type (`grandpa_kfp.sync` has them) has a method `__grandpa_share__(how)`, which gives its reduction:
`here` for this process alone, `reference` for others on this machine, `description` for text that outlives
the process, such as a pipeline's YAML: it makes a new object of the same content. Arguments may hold them,
results may not.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from ..errors import CodecError

SHARE = "__grandpa_share__"


class Described:
    """The shared objects that were described so far, and for which tasks. place: the task under way."""

    __slots__ = ("_found", "place")

    def __init__(self) -> None:
        self.place = ""
        self._found: dict[int, tuple[Any, dict[str, None]]] = {}

    def note(self, value: Any) -> None:
        if self.place:
            self._found.setdefault(id(value), (value, {}))[1][self.place] = None

    @property
    def any(self) -> bool:
        """Whether there were such."""
        return bool(self._found)

    def faults(self) -> list[str]:
        """One for each object that more than one task got, with every task's place."""
        return [
            f"{places[0]}: the argument {value!r} goes to {_listed(places[1:])} too, but on Kubeflow each task is a "
            "process of its own, on any machine: let one task do what they share it for, or pass values from task to "
            "task"
            for value, noted in self._found.values()
            if len(places := list(noted)) > 1
        ]


def _listed(places: list[str]) -> str:
    return places[0] if len(places) == 1 else f"{', '.join(places[:-1])} and {places[-1]}"


_describing: ContextVar[Described | None] = ContextVar("grandpa_describing", default=None)


@contextmanager
def describing(place: str = "") -> Iterator[Described]:
    """What is pickled inside outlives this process; blocks inside one another have one record.

    place: the task for which it is pickled.
    """
    described = _describing.get() or Described()
    token = _describing.set(described)
    before = described.place
    described.place = place or before
    try:
        yield described
    finally:
        described.place = before
        _describing.reset(token)


_staying: ContextVar[bool] = ContextVar("grandpa_staying", default=False)


@contextmanager
def staying() -> Iterator[None]:
    """What is pickled inside is read by this process alone."""
    token = _staying.set(True)
    try:
        yield
    finally:
        _staying.reset(token)


def is_shared(value: Any) -> bool:
    """Whether tasks share the value."""
    return hasattr(type(value), SHARE)


def shared_form(value: Any, *, result: bool) -> Any:
    """Its reduction for a pickle. Raises CodecError for a result."""
    if result:
        raise CodecError(
            f"{value!r} is shared, not handed on: make it in the workflow's body, or in the body of one node, and "
            "pass it as an argument to all that use it"
        )
    described = _describing.get()
    if described is not None:
        described.note(value)
        return value.__grandpa_share__("description")
    return value.__grandpa_share__("here" if _staying.get() else "reference")
