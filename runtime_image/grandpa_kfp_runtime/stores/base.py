"""The store's protocol, and what all stores share: keys, paths, hashing, checking.

Objects are immutable and named by the hash of their bytes; records are JSON under a name of their own.
The launcher, the local engine and the handles are the callers; `open_store` makes a store from a URI.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol, TypeAlias

from ..errors import ObjectCorrupt, ObjectGone, StoreError
from ..typespec import Json
from ..values.frames import Buffer, view
from .keys import digest_of, spelled

Data: TypeAlias = "Buffer | Sequence[Buffer]"
"""What a store writes: one buffer, or several that follow each other; none is joined or copied whole."""


class Store(Protocol):
    """Objects by key and records by path. Every method raises StoreError or one of its kinds, nothing else.

    All methods may be called from several threads at once. Credentials appear in no message, repr or URI.
    """

    @property
    def location(self) -> str:
        """The URI that `open_store` finds this store by."""
        ...

    def read(self, key: str) -> Buffer:
        """The object's bytes, checked against the key: the caller's own, writable where that costs nothing.

        Raises ObjectGone, ObjectCorrupt.
        """
        ...

    def write(self, data: Data) -> str:
        """Stores the bytes whole or not at all, and returns their key. What is there already is not written again.

        Raises StoreFull.
        """
        ...

    def exists(self, key: str, *, renew: bool = False) -> bool:
        """Whether the object is there; its content is not looked at.

        renew: who asks is going to need it: it counts as written now, so that nobody collects it meanwhile.
        """
        ...

    def uri(self, key: str) -> str:
        """Where the object lies, for people and tools."""
        ...

    def put_record(self, path: str, record: Json) -> None:
        """Writes a record whole or not at all, over one that is there. `path` is relative, `runs/x/done.json`."""
        ...

    def get_record(self, path: str) -> Json:
        """The record, None where there is none."""
        ...

    def list_records(self, prefix: str = "") -> list[str]:
        """The paths of all records that begin with `prefix`, sorted."""
        ...


_KEY = re.compile(r"[A-Za-z0-9_-]{43}")
OBJECTS = "objects"
TEMPORARY = "tmp"


def buffers_of(data: Data) -> list[memoryview]:
    """The data as flat views of bytes, empty ones left out."""
    parts = data if isinstance(data, list | tuple) else (data,)
    return [part for part in map(view, parts) if len(part)]


def key_of(data: Data) -> str:
    """The key of an object with these bytes, 43 characters: base64url of their SHA-256, in parts where it is large.

    >>> key_of(b"abc")
    'ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0'
    """
    return spelled(digest_of(buffers_of(data)))


def is_key(text: str) -> bool:
    return _KEY.fullmatch(text) is not None


def object_path(key: str) -> str:
    """`objects/ab/cdef...`. Raises StoreError for what is no key, so that no key can lead anywhere else."""
    if not is_key(key):
        raise StoreError(f"{key[:60]!r} is not the key of an object: 43 characters of base64url are")
    return f"{OBJECTS}/{key[:2]}/{key[2:]}"


def record_path(path: str) -> str:
    """The path itself. Raises StoreError where it is not relative and clean, or lies among the objects."""
    parts = path.split("/")
    if len(parts) < 2 or not all(parts) or any(part in (".", "..") or "\\" in part or "\0" in part for part in parts):
        raise StoreError(
            f"{path!r} is not the path of a record: a relative path with a folder, without `.` and `..`, is"
        )
    if parts[0] in (OBJECTS, TEMPORARY):
        raise StoreError(f"{path!r} is not the path of a record: {parts[0]}/ belongs to the store")
    return path


def check_content(key: str, data: Buffer, where: str) -> None:
    """Raises ObjectCorrupt, naming the key, where the bytes are not those that the key names."""
    if key_of(data) != key:
        raise damaged(key, len(view(data)), where)


def damaged(key: str, size: int, where: str) -> ObjectCorrupt:
    return ObjectCorrupt(
        f"object {key} is damaged: the {size:,} bytes at {where} have another hash; "
        "remove it there and run the task that made it again"
    )


def check_reachable(store: Store) -> None:
    """Asks the store for what cannot be there: what is wrong with it shall show at once, not after an hour.

    Raises StoreError: for wrong credentials, a server that does not answer, a bucket that is not there.
    """
    store.exists("A" * 43)
    store.get_record("runs/none/asked.json")  # the answer to `exists` does not tell a missing bucket


def gone(key: str, where: str) -> ObjectGone:
    return ObjectGone(f"object {key} is gone: nothing is at {where}; run the task that made it again")
