"""Instances of `@Node(keep=True)` classes that a worker keeps: constructed at first need, used again by later tasks.

`task.call` and the evaluation of free calls borrow them, under what they were described by. Who runs tasks has a
`Keeper` in place around them: an engine for a run, a worker process for its life, a container for its task.
"""

from __future__ import annotations

import copy
import hashlib
import pickle
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeAlias

from .context import current
from .values.trees import ATOMS, fill, split

KEEP = "__grandpa_keep__"
"""Attribute of a class whose instances are kept."""

MOST_IDLE = 8
"""A keeper has no more objects than this that no task uses; the one that was used longest ago goes first."""

Key: TypeAlias = "tuple[int, bytes]"


@dataclass(frozen=True, slots=True)
class Nested:
    """Stands for an instance among the init arguments of another one, when their key is made."""

    key: Key | None

    def __reduce__(self) -> Any:
        if self.key is None:
            raise TypeError("what it stands for has no key")
        return Nested, (self.key,)


def is_kept(cls: Any) -> bool:
    """Whether instances of a class are kept: of one that is marked so itself, not of its subclasses."""
    return isinstance(cls, type) and vars(cls).get(KEEP) is True


def key_of(cls: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Key | None:
    """What an instance is found under: its class and the content of its init arguments, None where that is not known.

    args, kwargs: with a `Nested` for each instance among them.
    """
    if not isinstance(cls, type):  # a generator's items, which are taken once
        return None
    content = hashlib.sha256()
    buffers: list[pickle.PickleBuffer] = []
    try:
        data = pickle.dumps((list(args), dict(kwargs)), 5, buffer_callback=buffers.append)
        for buffer in buffers:
            content.update(buffer.raw())
    except Exception:  # whatever a user's argument does to be pickled: each task has an object of its own then
        return None
    content.update(data)
    return id(cls), content.digest()


class Keeper:
    """Kept objects that no task uses at the moment. All of its threads may borrow."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[tuple[Key, Any, Any]] = []  # the one used last comes last; the class keeps its id taken
        self._closed = False

    def take(self, key: Key) -> Any:
        """An object that was described so, None where there is none; nobody else gets it before `give_back`."""
        with self._lock:
            for place in range(len(self._idle) - 1, -1, -1):
                if self._idle[place][0] == key:
                    return self._idle.pop(place)[2]
        return None

    def give_back(self, key: Key, cls: Any, made: Any) -> None:
        """The task that used it has ended well. May release another one."""
        with self._lock:
            if not self._closed:
                self._idle.append((key, cls, made))
            left = [made] if self._closed else [item for _, _, item in self._idle[:-MOST_IDLE]]
            del self._idle[:-MOST_IDLE]
        for item in left:
            release(item)

    def close(self) -> None:
        """Releases all that are idle; what is given back later is released then."""
        with self._lock:
            self._closed = True
            left, self._idle = self._idle, []
        for _, _, made in reversed(left):
            release(made)


def release(made: Any) -> None:
    """Calls its `release()`, where it has one. What that raises is logged: the results are there."""
    end = getattr(made, "release", None)
    if not callable(end):
        return
    try:
        end()
    except Exception as error:  # whatever a user's method may raise
        current().logger.warning("%s.release() failed: %s: %s", type(made).__qualname__, type(error).__name__, error)


_keeper: ContextVar[Keeper | None] = ContextVar("grandpa_keeper", default=None)


@contextmanager
def keeping(keeper: Keeper | None = None) -> Iterator[None]:
    """Tasks inside borrow from the keeper; without one, from one that ends here, unless there is one already."""
    if keeper is None and _keeper.get() is not None:
        yield
        return
    own = keeper or Keeper()
    token = _keeper.set(own)
    try:
        yield
    finally:
        _keeper.reset(token)
        if keeper is None:
            own.close()


def put(keeper: Keeper) -> None:
    """As `keeping`, for code that runs in a `contextvars.Context` of its own: it ends with that."""
    _keeper.set(keeper)


class Borrowed:
    """The kept objects of one task: `make` at its begin, `give_back` or `drop` at its end."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: list[tuple[Key | None, Any, Any]] = []

    def make(self, cls: Any, key: Key | None, construct: Callable[[], Any]) -> Any:
        """The kept object of that key, else a new one."""
        keeper = _keeper.get()
        found = keeper.take(key) if keeper is not None and key is not None else None
        made = construct() if found is None else found
        self._held.append((key, cls, made))
        return made

    def give_back(self, result: Any, is_ref: Callable[[Any], bool]) -> Any:
        """The task has ended well: the objects may be used again. The result, which shares nothing with them."""
        if not self._held:
            return result
        result = _own(result, is_ref)
        keeper, held = _keeper.get(), self._held
        self._held = []
        for key, cls, made in held:
            if keeper is None or key is None:
                release(made)
            else:
                keeper.give_back(key, cls, made)
        return result

    def drop(self) -> None:
        """The task has failed: what state the objects are in is not known."""
        held, self._held = self._held, []
        for _, _, made in reversed(held):
            release(made)


def _own(result: Any, is_ref: Callable[[Any], bool]) -> Any:
    """A copy where the result may share something with an object that goes on to other tasks."""
    if type(result) in ATOMS:
        return result
    skeleton, found = split(result, is_ref)
    try:
        skeleton = copy.deepcopy(skeleton)
    except Exception:  # what cannot be copied cannot be stored either, and that tells why
        return result
    return fill(skeleton, found) if found else skeleton
