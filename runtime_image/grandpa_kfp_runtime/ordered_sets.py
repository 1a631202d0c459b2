"""Pickling with sets in an order of their own, so that a constant is the same text in every hash seed.

Python iterates over a set of strings in an order that changes from process to process. `pickling` uses
this for constants that hold a set; results of tasks are not worth the slower pickler.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from typing import Any, ClassVar

Reduce = Callable[[Any], Any]

_SET_OPCODES = (pickle.EMPTY_SET, pickle.FROZENSET)


def may_hold_sets(stream: bytes) -> bool:
    """Whether a pickle's bytes may build a set; a text that happens to hold such a byte counts too."""
    return any(opcode in stream for opcode in _SET_OPCODES)


def dump_ordered(value: Any, reduce: Reduce) -> bytes:
    """The pickle, protocol 5, everything in the stream. reduce: as a pickler's `reducer_override`.

    >>> dump_ordered({"b", "a"}, lambda item: NotImplemented) == dump_ordered({"a", "b"}, lambda item: NotImplemented)
    True
    """
    file = io.BytesIO()
    OrderedPickler(file, reduce).dump(value)
    return file.getvalue()


_PythonPickler: Any = pickle._Pickler  # the type stubs leave out what its subclasses need


class OrderedPickler(_PythonPickler):  # type: ignore[misc]
    """The pickler in Python, which lets the saving of built-in types be replaced."""

    dispatch: ClassVar[dict[type, Any]] = dict(_PythonPickler.dispatch)

    def __init__(self, file: io.BytesIO, reduce: Reduce) -> None:
        super().__init__(file, 5)
        self._reduce = reduce

    def reducer_override(self, obj: Any) -> Any:
        return self._reduce(obj)

    def _save_set(self, obj: set[Any]) -> None:
        self.write(pickle.EMPTY_SET)  # from here on Python's own save_set, in order
        self.memoize(obj)
        if obj:
            self._save_items(obj)
            self.write(pickle.ADDITEMS)

    def _save_frozenset(self, obj: frozenset[Any]) -> None:
        self._save_items(obj)
        if id(obj) in self.memo:  # an item holds the set itself, and has saved it
            self.write(pickle.POP_MARK + self.get(self.memo[id(obj)][0]))
            return
        self.write(pickle.FROZENSET)
        self.memoize(obj)

    def _save_items(self, items: set[Any] | frozenset[Any]) -> None:
        self.write(pickle.MARK)
        for item in sorted(items, key=self._rank):
            self.save(item)

    def _rank(self, item: Any) -> tuple[str, bytes]:
        file = io.BytesIO()
        name = type(item).__qualname__
        try:
            type(self)(file, _leave).dump(item)
        except Exception:  # an item that only a registered codec can store has no rank of its own
            return name, b""
        return name, file.getvalue()

    dispatch[set] = _save_set
    dispatch[frozenset] = _save_frozenset


def _leave(_: Any) -> Any:
    return NotImplemented
