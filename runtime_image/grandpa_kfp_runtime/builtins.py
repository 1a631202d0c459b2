"""The nodes that the compiler's passes add to a graph; they live here, so every image has them.

Called with values, as the local engine does, each is a plain function. In a container those in
`BY_HANDLE` never see the values: the launcher has them work on handles.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from .conditions import Encoded, decide
from .contract import ABSENT, FAN_IN_BUDGET_BYTES, INLINE_LIMIT_BYTES, INPUTS_LIMIT_BYTES, ROUNDS_LIMIT
from .errors import TaskError
from .prefetch import Prefetch
from .stores.base import Store
from .task import part
from .typespec import Json
from .values.handles import from_handle, read_handles, to_handle, write_handles
from .values.pickling import ClassFingerprint
from .values.summaries import summary
from .values.trees import fill as _fill


def identity(value: Any) -> Any:
    """Its argument: a structure of other tasks' results becomes one result.

    >>> identity([1, 2])
    [1, 2]
    """
    return value


def passed(value: Any) -> Any:
    """Its argument: a value from elsewhere becomes a task's result.

    >>> passed(1)
    1
    """
    return value


def gather(*values: Any) -> list[Any]:
    """The list of other tasks' results.

    >>> gather(1, 2)
    [1, 2]
    """
    return list(values)


def join(*lists: list[Any]) -> list[Any]:
    """One list out of several.

    >>> join([1, 2], [3])
    [1, 2, 3]
    """
    return [item for part in lists for item in part]


def fill(skeleton: Any, positions: Sequence[Sequence[int]], values: Sequence[Any]) -> Any:
    """A structure with values put in at positions.

    >>> fill({"a": None, "b": 2}, [[0]], [1])
    {'a': 1, 'b': 2}
    """
    return _fill(skeleton, [(tuple(at), value) for at, value in zip(positions, values, strict=True)])


def items(stream: Prefetch) -> list[Any]:
    """All items of a generator node that several tasks take.

    >>> items(Prefetch(range, (3,), {}, 1))
    [0, 1, 2]
    """
    return stream.all()


def rows(*lists: Sequence[Any]) -> list[list[Any]]:
    """The elements at each place of lists of one length. Raises TaskError for others.

    >>> rows([1, 2], [3, 4])
    [[1, 3], [2, 4]]
    """
    for place, values in enumerate(lists, 1):
        if not _is_list(values):
            raise TaskError(f"map takes lists, but the value at place {place} is {summary(values)}")
    _same_length(lists)
    return [list(row) for row in zip(*lists, strict=True)]


def choose(conditions: Sequence[Sequence[Json]], *values: Any) -> int:
    """Which arm of a branch is taken: the number of the first condition that holds, or how many there are.

    conditions: as `conditions.encode` writes them, of the values by their places.

    >>> choose([[">", [0], [1]], ["true", [0]]], 2, 3)
    1
    """

    def value(operand: tuple[Json, ...]) -> Any:
        place, *path = operand
        return part(values[place], path, f"value {place} of its condition") if path else values[place]

    held = (decide(Encoded(condition), value) for condition in conditions)
    return next((place for place, holds in enumerate(held) if holds), len(conditions))


def filled(values: Sequence[Any]) -> int:
    """1 for a list that has items, else 0.

    >>> filled([1, 2]), filled([])
    (1, 0)
    """
    return 1 if len(values) else 0


def spread(values: Sequence[Any]) -> list[Any]:
    """The items of a list, for a loop to go over.

    >>> spread((1, 2))
    [1, 2]
    """
    return list(values)


def collected(values: Sequence[Any]) -> list[Any]:
    """What all rounds of a loop gave, as one list.

    >>> collected([1, 2])
    [1, 2]
    """
    return list(values)


def gather_handles(handles: Sequence[str], store: Store, class_fingerprint: ClassFingerprint | None = None) -> str:
    """The handle of the list of these handles' values; no value is read, so no class is asked for."""
    return write_handles(handles, store)


def passed_handle(handles: Sequence[str], store: Store, class_fingerprint: ClassFingerprint | None = None) -> str:
    """The same handle; its value is not read."""
    return handles[0]


def join_handles(handles: Sequence[str], store: Store, class_fingerprint: ClassFingerprint | None = None) -> str:
    """The handle of one list out of several lists' handles; only a list that was not gathered is read.

    class_fingerprint: as in `values.codecs.encode`, for the items of such a list.
    """
    joined: list[str] = []
    for handle in handles:
        inner = read_handles(handle, store)
        if inner is None:
            inner = [to_handle(item, store, class_fingerprint=class_fingerprint) for item in from_handle(handle, store)]
        joined.extend(inner)
    return write_handles(joined, store)


def rows_handles(handles: Sequence[str], store: Store, class_fingerprint: ClassFingerprint | None = None) -> str:
    """The handle of the list of rows; what is a list of handles is not read. Raises TaskError as `rows`."""
    columns = []
    for place, handle in enumerate(handles, 1):
        listed = read_handles(handle, store)
        if listed is None:
            values = from_handle(handle, store)
            if not _is_list(values):
                raise TaskError(f"map takes lists, but the value at place {place} is {summary(values)}")
            listed = [to_handle(values[at], store, class_fingerprint=class_fingerprint) for at in range(len(values))]
        columns.append(listed)
    _same_length(columns)
    return write_handles([write_handles(row, store) for row in zip(*columns, strict=True)], store)


def filled_handle(handles: Sequence[str], store: Store, class_fingerprint: ClassFingerprint | None = None) -> str:
    """`1` or `0`, which are handles. Raises TaskError for what is no list."""
    return str(filled(_items(handles[0], store)))


def spread_handles(handles: Sequence[str], store: Store, class_fingerprint: ClassFingerprint | None = None) -> str:
    """The JSON list of the handles of a list's items, short enough for one argument of a process.

    Raises TaskError for what is no list, and for one of too many items.
    """
    items = _items(handles[0], store)
    if len(items) > ROUNDS_LIMIT:
        raise TaskError(
            f"the loop goes over {len(items):,} items, and Kubeflow has room for some {ROUNDS_LIMIT:,}: {_FEWER_ROUNDS}"
        )
    limit = min(INLINE_LIMIT_BYTES, FAN_IN_BUDGET_BYTES // max(1, len(items)))
    found = []
    for item in items:
        if not isinstance(item, _Handle):
            item = to_handle(item, store, inline_limit=limit, class_fingerprint=class_fingerprint)
        elif len(item) > max(limit, _KEY_LENGTH):
            item = to_handle(from_handle(item, store), store, inline_limit=0, class_fingerprint=class_fingerprint)
        found.append(item)
    text = json.dumps(found, separators=(",", ":"))
    if len(text) > INPUTS_LIMIT_BYTES:
        raise TaskError(
            f"the loop goes over {len(found):,} items, whose handles take {len(text):,} bytes, and Kubeflow carries "
            f"{INPUTS_LIMIT_BYTES:,}: {_FEWER_ROUNDS}"
        )
    return text


_FEWER_ROUNDS = (
    "loop over parts of the list, and over what is in them inside a node; a map with window=... is one task, and so is "
    "all that stands in a @Component(fuse=True)"
)


class _Handle(str):
    """The handle of an item, where the item itself has not been read."""


def _items(handle: str, store: Store) -> Sequence[Any]:
    """The items of a list; of a list of handles these. Raises TaskError for what is no list."""
    handles = read_handles(handle, store)
    if handles is not None:
        return [_Handle(item) for item in handles]
    values = from_handle(handle, store)
    if not _is_list(values):
        raise TaskError(f"it loops over a list, but was given {summary(values)}; make it one in a node")
    return [values[place] for place in range(len(values))]


def _is_list(values: Any) -> bool:
    return hasattr(values, "__len__") and hasattr(values, "__getitem__") and not isinstance(values, _NO_LISTS)


def _same_length(lists: Sequence[Sequence[Any]]) -> None:
    lengths = [len(item) for item in lists]
    if len(set(lengths)) > 1:
        raise TaskError(f"map takes lists of one length, but these have {', '.join(map(str, lengths))} elements")


def collected_handles(handles: Sequence[str], store: Store, class_fingerprint: ClassFingerprint | None = None) -> str:
    """The handle of the list that a JSON list of handles stands for; no value is read."""
    (text,) = handles
    return write_handles(json.loads(text), store)


_KEY_LENGTH = 44
_NO_LISTS = (str, bytes, bytearray, Mapping, set, frozenset)

ByHandle: TypeAlias = "Callable[[Sequence[str], Store, ClassFingerprint | None], str]"


def absent() -> None:
    """What stands for outputs that were not made, for a task that runs always. Only containers meet it."""


def absent_handle(handles: Sequence[str], store: Store, class_fingerprint: ClassFingerprint | None) -> str:
    """`absent` for a container."""
    return ABSENT


BY_HANDLE: Mapping[str, ByHandle] = {
    f"{__name__}:absent": absent_handle,
    f"{__name__}:gather": gather_handles,
    f"{__name__}:join": join_handles,
    f"{__name__}:passed": passed_handle,
    f"{__name__}:filled": filled_handle,
    f"{__name__}:rows": rows_handles,
    f"{__name__}:spread": spread_handles,
    f"{__name__}:collected": collected_handles,
}
"""The nodes that need no values: their inputs' handles, in the call's order, give the result's handle."""
