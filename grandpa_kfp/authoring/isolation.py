"""Keeps a task's result so that every consumer gets a copy of its own.

What cannot change is shared; everything else is encoded once, which also shows that it can be, and
decoded for each consumer. The evaluator of free Refs uses it.
"""

from __future__ import annotations

from typing import Any

from grandpa_kfp_runtime.values.codecs import Encoded, decode, encode
from grandpa_kfp_runtime.values.sharing import staying

_IMMUTABLE = frozenset({type(None), bool, int, float, complex, str, bytes})


def is_immutable(value: Any) -> bool:
    """Whether the value can be shared: an atom, or a tuple or frozenset of such.

    >>> is_immutable((1, ("a", None))), is_immutable((1, []))
    (True, False)
    """
    kind = type(value)
    if kind in _IMMUTABLE:
        return True
    return kind in (tuple, frozenset) and all(map(is_immutable, value))


class Kept:
    """A value that was kept; `get` gives it, shared where it cannot change, else a new copy."""

    __slots__ = ("_encoded", "_value")

    def __init__(self, value: Any, encoded: Encoded | None) -> None:
        self._value = value
        self._encoded = encoded

    def get(self) -> Any:
        return self._value if self._encoded is None else decode(self._encoded)


def keep(value: Any, *, name: str = "result") -> Kept:
    """Keeps a result; a `pathlib.Path` stands for the file's content. Raises CodecError for what cannot be encoded.

    >>> kept = keep([1, 2])
    >>> kept.get().append(3)
    >>> kept.get()
    [1, 2]
    """
    if is_immutable(value):
        return Kept(value, None)
    return Kept(None, encode(value, name=name, here=True).owned())


def copy_constant(value: Any, *, name: str) -> Any:
    """A constant for one call alone; paths stand for themselves. Raises CodecError for what cannot be encoded."""
    if is_immutable(value):
        return value
    with staying():
        return decode(encode(value, name=name, files=False, here=True).owned())
