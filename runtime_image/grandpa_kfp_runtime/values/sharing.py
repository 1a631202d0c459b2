"""Values that tasks share instead of each having its own: what pickling does with them.

Such a type (`grandpa_kfp.sync` has them) has a method `__grandpa_share__(how)`, which gives its reduction:
`here` for this process alone, `reference` for others on this machine, `description` for text that outlives
the process, such as a pipeline's YAML: it makes a new object of the same content. Arguments may hold them,
results may not.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from ..errors import CodecError

SHARE = "__grandpa_share__"


class Described:
    """The shared objects that were described so far, and for which tasks.

    place: the task under way; container: what runs it, where that is not itself; rounds: the loop in each of whose
    rounds it runs; together: what is described now is read by one process, where an object of several tasks is one.
    """

    __slots__ = ("_found", "container", "numbers", "place", "rounds", "together")

    def __init__(self) -> None:
        self.place = self.container = self.rounds = ""
        self.together = False
        self.numbers: dict[int, int] = {}
        self._found: dict[int, tuple[Any, dict[str, tuple[str, str]]]] = {}

    def note(self, value: Any) -> None:
        if self.place:
            containers = self._found.setdefault(id(value), (value, {}))[1]
            containers[self.place] = (self.container or self.place, self.rounds)

    @property
    def any(self) -> bool:
        """Whether there were such."""
        return bool(self._found)

    def within(self, container: str) -> bool:
        """Whether tasks of the container got such."""
        return any(name == container for _, noted in self._found.values() for name, _ in noted.values())

    def faults(self) -> list[str]:
        """One for each object that more than one container gets, with every task's place."""
        found = []
        for value, noted in self._found.values():
            places, containers = list(noted), set(noted.values())
            rounds = next((loop for _, loop in noted.values() if loop), "")
            if rounds:
                goes = f"goes to every round of the loop {rounds}, but on Kubeflow each is a process of its own"
            elif len(containers) > 1:
                goes = f"goes to {_listed(places[1:])} too, but on Kubeflow each task is a process of its own"
            else:
                continue
            found.append(
                f"{places[0]}: the argument {value!r} {goes}, on any machine: let one task do what they share it for, "
                "have them fused into one container, or pass values from task to task"
            )
        return found


def _listed(places: list[str]) -> str:
    return places[0] if len(places) == 1 else f"{', '.join(places[:-1])} and {places[-1]}"


_describing: ContextVar[Described | None] = ContextVar("grandpa_describing", default=None)


@contextmanager
def describing(
    place: str = "", *, container: str = "", rounds: str = "", together: bool = False
) -> Iterator[Described]:
    """What is pickled inside outlives this process; blocks inside one another have one record.

    Arguments: as of `Described`; what is not given is as around.
    """
    described = _describing.get() or Described()
    token = _describing.set(described)
    before = described.place, described.container, described.rounds, described.together, described.numbers
    described.place = place or described.place
    described.container = container or described.container
    described.rounds = rounds or described.rounds
    if together:
        described.together, described.numbers = True, {}
    try:
        yield described
    finally:
        described.place, described.container, described.rounds, described.together, described.numbers = before
        _describing.reset(token)


_made: dict[tuple[int, type], Any] = {}
_making = threading.Lock()


def made_once(number: int, kind: type, content: tuple[Any, ...]) -> Any:
    """The object of that number in this process, which runs one graph; made of its content at the first time."""
    with _making:
        found = _made.get((number, kind))
        if found is None:
            found = _made[number, kind] = kind(*content)
        return found


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
        kind, content = value.__grandpa_share__("description")
        if described.together:
            return made_once, (described.numbers.setdefault(id(value), len(described.numbers)), kind, content)
        return kind, content
    return value.__grandpa_share__("here" if _staying.get() else "reference")
