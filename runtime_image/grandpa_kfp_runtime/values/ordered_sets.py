"""Pickling with sets in an order of their own, so that a constant is the same text in every hash seed.

Python iterates over a set of strings in an order that changes from process to process, and equal strings
are one object or two as it happens. `pickling` uses this for constants that hold a set, `by_value` builds
upon it; results of tasks are not worth the slower pickler.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from typing import Any, ClassVar

Reduce = Callable[[Any], Any]

PLAIN = frozenset({type(None), bool, int, float, str, bytes, bytearray, tuple, list, dict, set, frozenset})
"""Types that the pickler in C never asks `reducer_override` about."""

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

    dispatch: ClassVar[dict[Any, Callable[..., None]]] = dict(_PythonPickler.dispatch)

    def __init__(self, file: io.BytesIO, reduce: Reduce) -> None:
        super().__init__(file, 5)
        self._reduce = reduce
        self._shared: dict[tuple[type, Any], Any] = {}

    def fresh(self, file: io.BytesIO) -> OrderedPickler:
        """A pickler like this one that has seen nothing yet."""
        return OrderedPickler(file, _leave)

    def reducer_override(self, obj: Any) -> Any:
        return NotImplemented if type(obj) in PLAIN else self._reduce(obj)

    def _save_shared(self, obj: str | bytes) -> None:
        first = self._shared.setdefault((type(obj), obj), obj)
        known = self.memo.get(id(first))
        if known is None:
            _PythonPickler.dispatch[type(obj)](self, first)
        else:
            self.write(self.get(known[0]))

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
        kind = type(item)
        if kind is str:
            return "str", item.encode("utf-8", "surrogatepass")
        file = io.BytesIO()
        try:
            self.fresh(file).dump(item)
        except Exception:  # an item that only a registered codec can store has no rank of its own
            return kind.__qualname__, b""
        return kind.__qualname__, file.getvalue()

    dispatch[str] = _save_shared
    dispatch[bytes] = _save_shared
    dispatch[set] = _save_set
    dispatch[frozenset] = _save_frozenset


def _leave(_: Any) -> Any:
    return NotImplemented
