"""What the housekeeping of a bucket needs beside reading and writing: how old things are, and their removal."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from .base import OBJECTS, TEMPORARY, is_key, object_path
from .s3_bucket import Bucket
from .s3_errors import MISSING, code_of

TOUCH_AFTER_S = 6 * 3600.0
"""An object that is older, and wanted again, counts as new from then on: well below the day in which nothing goes."""
_HEADER_BYTES = 4096


def touch(bucket: Bucket, name: str) -> None:
    """The object counts as written now: it is copied onto itself by the server. Without the right to it nothing is."""
    from minio.commonconfig import REPLACE, CopySource

    copy = partial(
        bucket.client.copy_object,
        bucket_name=bucket.name,
        object_name=name,
        source=CopySource(bucket_name=bucket.name, object_name=name),
        metadata={"Content-Type": "application/octet-stream"},
        metadata_directive=REPLACE,
    )
    try:
        bucket.call(copy)
    except Exception as error:
        if code_of(error) not in ("AccessDenied", *MISSING):
            raise


def objects(bucket: Bucket, base: str) -> Iterator[tuple[str, int, float]]:
    """Every object: key, size in bytes, seconds since the epoch when it was last written."""
    for name, size, at in _listed(bucket, f"{base}{OBJECTS}/"):
        key = name[len(base) + len(OBJECTS) + 1 :].replace("/", "", 1)
        if is_key(key) and name == base + object_path(key):
            yield key, size, at


def records(bucket: Bucket, base: str) -> Iterator[tuple[str, float]]:
    """Every record: its path, and when it was last written. The space of objects is not listed."""
    for item in bucket.call(lambda: list(bucket.client.list_objects(bucket_name=bucket.name, prefix=base))):
        room = str(item.object_name)
        if item.is_dir and room[len(base) :].rstrip("/") not in (OBJECTS, TEMPORARY):
            for name, _, at in _listed(bucket, room):
                yield name[len(base) :], at


def _listed(bucket: Bucket, prefix: str) -> Iterator[tuple[str, int, float]]:
    """Name, size and time of all that is below a prefix: a page after the other, none of which is asked for twice."""
    after = ""
    while True:
        page = bucket.call(partial(_page, bucket, prefix, after))
        yield from page
        if len(page) < _PAGE:
            return
        after = page[-1][0]


_PAGE = 1_000


def _page(bucket: Bucket, prefix: str, after: str) -> list[tuple[str, int, float]]:
    from itertools import islice

    found = bucket.client.list_objects(
        bucket_name=bucket.name, prefix=prefix, recursive=True, start_after=after or None
    )
    return [
        (str(item.object_name), int(item.size or 0), item.last_modified.timestamp() if item.last_modified else 0.0)
        for item in islice(found, _PAGE)
    ]


def beginning(bucket: Bucket, name: str) -> bytes:
    """The first bytes of an object, which hold its header; empty where it is gone, or holds nothing."""

    def read() -> bytes:
        response = bucket.client.get_object(bucket_name=bucket.name, object_name=name, offset=0, length=_HEADER_BYTES)
        try:
            return bytes(response.read(_HEADER_BYTES))
        finally:
            response.close()
            response.release_conn()

    try:
        return bucket.call(read)
    except Exception as error:
        if code_of(error) in ("InvalidRange", *MISSING):
            return b""
        raise


def remove(bucket: Bucket, name: str, older_than: float) -> None:
    """Removes what was last written before that, unless it is gone."""
    found = bucket.stat(name)
    if found is not None and found[1] < older_than:
        bucket.call(partial(bucket.client.remove_object, bucket_name=bucket.name, object_name=name))
