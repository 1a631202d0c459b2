"""Values inside structures: taken out while tracing, put back when a task runs.

A structure is a list, a tuple, a named tuple, the values of a dict, the fields of a dataclass. Tracing
splits Refs out of arguments, the binder turns them into inputs, the task fills the decoded values in.
A position is a tuple of indices from the root down: into a list or tuple, of the entry in a dict, of
the field in `dataclasses.fields()`.
"""

from __future__ import annotations

import copy
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any, TypeAlias

from ..errors import TraceError

At: TypeAlias = "tuple[int, ...]"

ATOMS = frozenset({type(None), bool, int, float, complex, str, bytes, bytearray, type(...), range, type, type(len)})
"""Types whose values are never looked into."""

_DICTS = frozenset({dict, OrderedDict, defaultdict})
_ABSENT = object()


def split(value: Any, is_leaf: Callable[[Any], bool]) -> tuple[Any, list[tuple[At, Any]]]:
    """The value with None in the place of each leaf, and the leaves with their positions, in order.

    is_leaf: asked about everything but atoms (numbers, strings, ...), containers included.
    Containers without a leaf are kept as they are (the same objects); those above a leaf are new, and
    no constructor or `__post_init__` runs for them. Raises TraceError for a leaf that is the key of a
    dict, and for nesting beyond Python's recursion limit.

    >>> split([1, {"a": {2}}, "x"], lambda value: isinstance(value, set))
    ([1, {'a': None}, 'x'], [((1, 0), {2})])
    """
    if type(value) in ATOMS:
        return value, []
    splitter = _Splitter(is_leaf)
    try:
        return splitter.split(value, ()), splitter.found
    except RecursionError:
        raise TraceError("an argument is nested too deeply to look for Refs in it; pass a flatter structure") from None


def fill(skeleton: Any, holes: Sequence[tuple[Sequence[int], Any]]) -> Any:
    """The skeleton with a value in each position; containers above a hole are new, the input stays as it is.

    >>> fill([1, {"a": None}, "x"], [((1, 0), 2.5)])
    [1, {'a': 2.5}, 'x']
    >>> fill([None], [((0,), (None, 2)), ((0, 0), 1)])
    [(1, 2)]
    """
    if not holes:
        return skeleton
    below: dict[int, list[tuple[Sequence[int], Any]]] = {}
    for at, value in holes:
        if at:
            below.setdefault(at[0], []).append((at[1:], value))
        else:
            skeleton = value  # a structure may stand in a hole; the holes of its own come after it
    if not below:
        return skeleton
    children = _children(skeleton)
    if children is None:
        raise TraceError(f"a value of type {type(skeleton).__qualname__} has no places that could be filled")
    for index, inner in below.items():
        children[index] = fill(children[index], inner)
    return _with_children(skeleton, children)


class _Splitter:
    """One walk: what was found, the containers on the path (cycles), those known to hold no leaf (sharing)."""

    __slots__ = ("clean", "found", "is_leaf", "path")

    def __init__(self, is_leaf: Callable[[Any], bool]) -> None:
        self.is_leaf = is_leaf
        self.found: list[tuple[At, Any]] = []
        self.path: set[int] = set()
        self.clean: dict[int, Any] = {}  # holds the objects, so that no id is used twice

    def split(self, value: Any, at: At) -> Any:
        if self.is_leaf(value):
            self.found.append((at, value))
            return None
        children = _children(value)
        if children is None:
            return value
        identity = id(value)
        if identity in self.path or identity in self.clean:
            return value
        if type(value) in _DICTS:
            for key in value:
                if type(key) not in ATOMS:
                    self.check_key(key)
        before = len(self.found)
        self.path.add(identity)
        for index, child in enumerate(children):
            if type(child) not in ATOMS:
                children[index] = self.split(child, (*at, index))
        self.path.discard(identity)
        if len(self.found) == before:
            self.clean[identity] = value
            return value
        return _with_children(value, children)

    def check_key(self, key: Any) -> None:
        if self.is_leaf(key):
            raise TraceError(
                f"a {type(key).__name__} is the key of a dict, and its value is not known yet; "
                "use a plain key, or build the dict inside a node"
            )
        if isinstance(key, tuple):
            for item in key:
                if type(item) not in ATOMS:
                    self.check_key(item)


def _children(value: Any) -> list[Any] | None:
    """A new list of what the container holds, in order of position; None for anything else."""
    kind = type(value)
    if kind is list or kind is tuple:
        return list(value)
    if kind in _DICTS:
        return list(value.values())
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return list(value)
    if hasattr(kind, "__dataclass_fields__"):
        return [getattr(value, item.name, _ABSENT) for item in fields(value)]
    return None


def _with_children(value: Any, children: list[Any]) -> Any:
    kind = type(value)
    if kind is list:
        return children
    if kind is tuple:
        return tuple(children)
    if kind is dict:
        return dict(zip(value, children, strict=True))
    if kind in _DICTS:
        new = copy.copy(value)
        new.update(zip(value, children, strict=True))
        return new
    if issubclass(kind, tuple):
        made = tuple.__new__(kind, children)
        if hasattr(value, "__dict__"):
            vars(made).update(vars(value))
        return made
    made = _shallow_copy(value)
    for item, child in zip(fields(value), children, strict=True):
        if child is not _ABSENT:
            object.__setattr__(made, item.name, child)  # past `frozen` and past the user's own __setattr__
    return made


def _shallow_copy(value: Any) -> Any:
    """A copy of a dataclass instance without running its constructor; works for frozen and slotted ones."""
    kind = type(value)
    try:
        made = object.__new__(kind)
    except TypeError:  # an instance of Exception and the like, which has a __new__ of its own
        return copy.copy(value)
    for base in kind.__mro__:
        slots = vars(base).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else tuple(slots):
            mangled = (
                f"_{base.__name__.lstrip('_')}{name}" if name.startswith("__") and not name.endswith("__") else name
            )
            if mangled not in ("__dict__", "__weakref__") and hasattr(value, mangled):
                object.__setattr__(made, mangled, getattr(value, mangled))
    if hasattr(value, "__dict__"):
        vars(made).update(vars(value))
    return made
