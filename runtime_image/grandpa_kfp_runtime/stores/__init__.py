"""Stores of objects and records: in memory, in a folder, in an S3 bucket; `open_store` finds the one a URI names."""

from __future__ import annotations

import os
from urllib.parse import unquote, urlsplit

from ..errors import StoreError
from .base import Data, Store, check_reachable, key_of

__all__ = ["Data", "Store", "check_reachable", "key_of", "open_store"]


def open_store(uri: str | os.PathLike[str], *, patient: bool = False) -> Store:
    """The store that a URI names.

    `memory:` is a new one in this process; a path or `file:///path` a folder; and
    `s3://bucket/prefix?endpoint=http://host:port&region=name` a bucket, with credentials from
    GRANDPA_STORE_ACCESS_KEY and GRANDPA_STORE_SECRET_KEY, else AWS_ACCESS_KEY_ID and
    AWS_SECRET_ACCESS_KEY, which are read now and never again.

    patient: waits for a server that has not answered yet as long as for one that goes away meanwhile:
    right for a task of a run, where nobody sits before it who could have mistyped the address.

    Raises StoreError for a URI of another kind.

    >>> open_store("memory:")
    MemoryStore(0 objects)
    """
    text = os.fspath(uri)
    scheme, colon, rest = text.partition(":")
    if scheme == "memory" and colon and not rest.strip("/"):
        from .memory import MemoryStore

        return MemoryStore()
    if scheme == "s3" and colon:
        from .s3 import S3Store

        return S3Store.from_uri(text, patient=patient)
    if scheme == "file" and colon:
        parts = urlsplit(text)
        if parts.netloc not in ("", "localhost") or not parts.path:
            raise StoreError(f"{text!r} is not the URI of a folder: file:///the/path is")
        text = unquote(parts.path)
    elif "://" in text or not text:
        raise StoreError(
            f"no store is known for {scheme + '://' if colon else text!r}; "
            "use a folder, s3://bucket/prefix?endpoint=http://host:port, or memory:"
        )
    from .file import FileStore

    return FileStore(text)
