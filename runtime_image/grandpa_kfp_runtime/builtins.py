"""The nodes that the compiler's passes add to a graph; they live here, so every image has them.

Called with values, as the local engine does, each is a plain function. In a container `gather` and
`join` never see the values: the launcher has them work on handles, through `BY_HANDLE`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from .prefetch import Prefetch
from .stores.base import Store
from .values.handles import from_handle, read_handles, to_handle, write_handles
from .values.pickling import ClassFingerprint
from .values.trees import fill as _fill


def identity(value: Any) -> Any:
    """Its argument: a structure of other tasks' results becomes one result.

    >>> identity([1, 2])
    [1, 2]
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


def gather_handles(handles: Sequence[str], store: Store, class_fingerprint: ClassFingerprint | None = None) -> str:
    """The handle of the list of these handles' values; no value is read, so no class is asked for."""
    return write_handles(handles, store)


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


ByHandle: TypeAlias = "Callable[[Sequence[str], Store, ClassFingerprint | None], str]"

BY_HANDLE: Mapping[str, ByHandle] = {
    f"{__name__}:gather": gather_handles,
    f"{__name__}:join": join_handles,
}
"""The nodes that need no values: their inputs' handles, in the call's order, give the result's handle."""
