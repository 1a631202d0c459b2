"""Takes an argument apart: a snapshot without Refs, and the Refs and instances with their places.

A call sees its arguments as they are at that moment, as a Python call does, though the task runs later:
lists, dicts, sets and dataclasses are copied, so that a loop may go on filling its list. What an
argument can never be (a class that was not initialised, a comparison) is refused here, with the place.
"""

from __future__ import annotations

import copy
import dataclasses
from typing import Any, TypeAlias

from grandpa_kfp_runtime.errors import TraceError
from grandpa_kfp_runtime.values.trees import ATOMS, At, split

from .conditions import Condition
from .refs import Promise
from .where import here

Opened: TypeAlias = "tuple[Any, list[tuple[At, Any]]]"
"""A skeleton, and the promises that belong into it: `trees.fill` puts values in their places."""

_PLAIN = ATOMS - {type, bytearray}


def open_argument(value: Any) -> Opened:
    """The value at this moment, taken apart. Raises TraceError, with the place, for what cannot be passed."""
    if type(value) in _PLAIN:
        return value, []
    if isinstance(value, Promise):
        return None, [((), value)]
    try:
        snapshot = _snapshot(value, {})
    except RecursionError:
        raise TraceError(f"{here()}: an argument is nested too deeply; pass a flatter structure") from None
    return split(snapshot, _is_promise)


def _is_promise(value: Any) -> bool:
    return isinstance(value, Promise)


def _snapshot(value: Any, memo: dict[int, Any]) -> Any:
    kind = type(value)
    if kind in _PLAIN or isinstance(value, Promise):
        return value
    if kind is list:
        if id(value) in memo:
            return memo[id(value)]
        new: list[Any] = []
        memo[id(value)] = new
        new.extend([_snapshot(item, memo) for item in value])
        return new
    if kind is dict:
        return _snapshot_dict(value, memo)
    if isinstance(value, tuple) and (kind is tuple or hasattr(kind, "_fields")):
        items = [_snapshot(item, memo) for item in value]
        same = all(new is old for new, old in zip(items, value, strict=True))
        return value if same else tuple.__new__(kind, items)
    if isinstance(value, type):
        _refuse_class(value)
        return value
    if kind in (set, frozenset, bytearray):
        return _snapshot_set(value)
    if isinstance(value, Condition):
        raise TraceError(
            f"{here()}: the comparison {value!r} was passed as an argument; compare inside a node, pass its operands"
        )
    if hasattr(kind, "__dataclass_fields__"):
        return _snapshot_dataclass(value, memo)
    return value


def _snapshot_dict(value: dict[Any, Any], memo: dict[int, Any]) -> dict[Any, Any]:
    if id(value) in memo:
        found: dict[Any, Any] = memo[id(value)]
        return found
    new: dict[Any, Any] = {}
    memo[id(value)] = new
    for key, item in value.items():
        if isinstance(key, Promise):
            raise TraceError(
                f"{here()}: {key!r} is a key of a dict, and its value is not known yet; build the dict inside a node"
            )
        new[key] = _snapshot(item, memo)
    return new


def _snapshot_set(value: Any) -> Any:
    if not isinstance(value, bytearray) and any(isinstance(item, Promise) for item in value):
        raise TraceError(
            f"{here()}: a set that holds Refs was passed as an argument; pass a list, and make the set inside the node"
        )
    return value if isinstance(value, frozenset) else copy.copy(value)


def _snapshot_dataclass(value: Any, memo: dict[int, Any]) -> Any:
    if id(value) in memo:
        return memo[id(value)]
    frozen = type(value).__dataclass_params__.frozen
    changed = {}
    memo[id(value)] = value  # a cycle through a dataclass ends here
    for field in dataclasses.fields(value):
        old = getattr(value, field.name, None)
        new = _snapshot(old, memo)
        if new is not old:
            changed[field.name] = new
    if frozen and not changed:
        return value
    made = copy.copy(value)
    for name, new in changed.items():
        object.__setattr__(made, name, new)
    memo[id(value)] = made
    return made


def _refuse_class(cls: type) -> None:
    if "__grandpa_node__" in vars(cls):
        raise TraceError(
            f"{here()}: the node class {cls.__name__} was passed as an argument without being initialised; "
            f"pass an instance, {cls.__name__}(...), to hand over the live object"
        )
