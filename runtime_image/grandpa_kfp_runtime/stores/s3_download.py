"""Reading one object by parts side by side, straight to where it stays, each hashed as it arrives."""

from __future__ import annotations

import hashlib
import mmap
import os
import re
import tempfile
import threading
from contextlib import suppress
from functools import partial
from typing import Any, TypeAlias

from ..errors import StoreError
from . import keys
from .s3_bucket import Bucket
from .s3_errors import MISSING, code_of
from .s3_transfer import side_by_side

FILE_FROM_BYTES = 512 * 1024 * 1024
"""Larger objects lie in a temporary file, which the system may write out where memory gets scarce."""
_CHUNK_BYTES = 1024 * 1024

Space: TypeAlias = "bytearray | mmap.mmap"


def get(bucket: Bucket, name: str) -> tuple[Space, bytes] | None:
    """The object's bytes and the digest that its key spells, None where nothing is."""
    return _Download(bucket, name).run()


class _Download:
    """An object on its way here."""

    def __init__(self, bucket: Bucket, name: str) -> None:
        self._bucket = bucket
        self._name = name
        self._stop = threading.Event()
        self._size = 0
        self._target = memoryview(b"")

    def run(self) -> tuple[Space, bytes] | None:
        """The first part tells the size; the others begin while it is still on its way."""
        try:
            first = self._bucket.call(partial(self._ask, 0, keys.PART_BYTES))
        except Exception as error:
            if code_of(error) in MISSING:
                return None
            if code_of(error) == "InvalidRange":  # an object of no bytes has none
                return bytearray(), keys.digest_of([])
            raise
        try:
            self._size = _whole_size(first)
            made = space(self._size)
            self._target = memoryview(made)
            return made, self._receive(first)
        finally:
            first.close()
            self._target.release()

    def _receive(self, first: Any) -> bytes:
        part = keys.PART_BYTES
        if first.status == 200 and self._size > part:  # a server without ranged reads sends all of it
            self._fill(0, self._size, first)
            return keys.digest_of([self._target])
        with side_by_side(self._fill, range(part, self._size, part), self._stop) as others:
            return keys.combined([self._fill(0, 0, first), *others])

    def _fill(self, start: int, end: int = 0, response: Any = None) -> bytes:
        """Fills one part, going on after an interruption where it stopped, and returns its SHA-256."""
        end = end or min(start + keys.PART_BYTES, self._size)
        at = start
        digest = hashlib.sha256()

        def read() -> None:
            nonlocal at, response
            here = response or self._ask(at, end)
            response = None
            try:
                while at < end:
                    chunk = self._target[at : min(at + _CHUNK_BYTES, end)]
                    count = here._fp.readinto(chunk)  # what urllib3 itself offers copies
                    if not count:
                        raise ConnectionResetError(f"the answer ended {end - at} bytes early")
                    digest.update(chunk[:count])  # while the processor's cache still holds it
                    at += count
            except BaseException:
                here.close()  # else the rest of this answer would be taken for the next one's beginning
                raise
            finally:
                here.release_conn()

        self._bucket.call(read, self._stop)
        return digest.digest()

    def _ask(self, start: int, end: int) -> Any:
        response = self._bucket.client.get_object(
            bucket_name=self._bucket.name, object_name=self._name, offset=start, length=end - start
        )
        if self._size and ((response.status == 200 and start) or _whole_size(response) != self._size):
            response.close()
            raise StoreError(
                f"the server sent another object than was asked for: {self._name} in bucket {self._bucket.name} was "
                "replaced meanwhile, or the server knows no ranged reads, which large objects need"
            )
        return response


def space(size: int) -> Space:
    """Memory for an object, writable, the caller's own."""
    if size >= FILE_FROM_BYTES:
        with suppress(OSError), tempfile.TemporaryFile() as file:  # else no disk to write to: memory it is
            _allocate(file.fileno(), size)
            return mmap.mmap(file.fileno(), size)  # the file has no name, so nobody else sees it
    return bytearray(size)  # huge pages would halve its cost, or treble it where memory is in pieces


def _allocate(file: int, size: int) -> None:
    """Takes the disk's space now: where it is full, writing to a page of it later would end the process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
    else:
        os.truncate(file, size)


def _whole_size(response: Any) -> int:
    """The object's size: `Content-Range: bytes 0-99/12345` where a range came, else what came is all."""
    found = re.fullmatch(r"bytes \d+-\d+/(\d+)", response.headers.get("Content-Range", ""))
    return int(found[1] if found else response.headers["Content-Length"])
