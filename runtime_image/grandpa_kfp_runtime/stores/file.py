"""A store in a folder: what `.grandpa/store` is, and what a shared disk can be for many machines.

    <root>/objects/ab/cdef...      objects
    <root>/runs/...                records
    <root>/tmp/...                 what is being written; renamed into its place when complete

Nothing is synced to disk: an object that a power failure cut short is found when it is read, and
written again when its task runs again.
"""

from __future__ import annotations

import errno
import json
import mmap
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from io import BufferedWriter
from pathlib import Path

from ..errors import ObjectCorrupt, StoreDenied, StoreError, StoreFull
from ..typespec import Json
from ..values.frames import Buffer
from .base import (
    OBJECTS,
    TEMPORARY,
    Data,
    buffers_of,
    check_content,
    gone,
    is_key,
    key_of,
    object_path,
    record_path,
)

MAP_FROM_BYTES = 64 * 1024
"""Larger objects are mapped, copy on write: nothing is read twice, and a reader may change what it gets."""

_TOUCH_AFTER_S = 6 * 3600.0
"""Well below the day for which nothing is collected."""

_HEADER_BYTES = 4096

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}


class FileStore:
    """Objects and records as files below `root`, which is made at the first write."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(os.path.abspath(root))
        self._base = str(self.root)
        self._numbers = iter(range(2**62))
        self._prefix = f"{os.getpid()}-{os.urandom(4).hex()}"

    def __repr__(self) -> str:
        return f"FileStore({self._base!r})"

    @property
    def location(self) -> str:
        return self.root.as_uri()

    def read(self, key: str) -> Buffer:
        data = self.read_unchecked(key)
        check_content(key, data, self._path(object_path(key)))
        return data

    def read_unchecked(self, key: str) -> Buffer:
        """The object's bytes as they lie there: for what this very run has written. Raises as `read` does."""
        path = self._path(object_path(key))
        with self._errors(path):
            try:
                return _load(path)
            except FileNotFoundError:
                raise gone(key, path) from None

    def write(self, data: Data) -> str:
        parts = buffers_of(data)
        key = key_of(parts)
        path = self._path(object_path(key))
        with self._errors(path):
            if _size(path, touch=True) != sum(map(len, parts)):  # absent, or cut short by a power failure
                self._place(path, parts)
        return key

    def exists(self, key: str, *, renew: bool = False) -> bool:
        path = self._path(object_path(key))
        with self._errors(path):
            return _size(path, touch=renew) is not None

    def uri(self, key: str) -> str:
        return (self.root / object_path(key)).as_uri()

    def put_record(self, path: str, record: Json) -> None:
        target = self._path(record_path(path))
        with self._errors(target):
            self._place(target, [json.dumps(record, ensure_ascii=False, indent=1).encode("utf-8", "surrogatepass")])

    def get_record(self, path: str) -> Json:
        source = self._path(record_path(path))
        with self._errors(source):
            try:
                text = Path(source).read_bytes().decode("utf-8", "surrogatepass")
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return None
        try:
            return json.loads(text)
        except ValueError as error:
            raise ObjectCorrupt(f"the record {source} is not JSON ({error}); remove it") from error

    def list_records(self, prefix: str = "") -> list[str]:
        start = self._path(os.path.dirname(prefix)) if "/" in prefix else self._base
        found: list[str] = []
        with self._errors(start):
            for folder, names, files in os.walk(start):
                if folder == self._base:
                    names[:] = [name for name in names if name not in (OBJECTS, TEMPORARY)]
                    files = []
                relative = os.path.relpath(folder, self._base).replace(os.sep, "/")
                found.extend(f"{relative}/{name}" for name in files)
        return sorted(path for path in found if path.startswith(prefix))

    def objects(self) -> Iterator[tuple[str, int, float]]:
        """Every object: key, size in bytes, seconds since the epoch when it was last written."""
        with self._errors(self._path(OBJECTS)):
            for folder in _scanned(self._path(OBJECTS)):
                for entry in _scanned(folder.path):
                    key = folder.name + entry.name
                    if is_key(key):
                        with suppress(FileNotFoundError):
                            found = entry.stat()
                            yield key, found.st_size, found.st_mtime

    def records(self) -> Iterator[tuple[str, float]]:
        """Every record: its path, and seconds since the epoch when it was last written."""
        for path in self.list_records():
            with suppress(FileNotFoundError):
                yield path, os.stat(self._path(path)).st_mtime

    def beginning(self, key: str) -> Buffer:
        """The object's first bytes, unchecked; none where it is gone."""
        path = self._path(object_path(key))
        with self._errors(path):
            try:
                with open(path, "rb") as file:
                    return file.read(_HEADER_BYTES)
            except FileNotFoundError:
                return b""

    def remove(self, key: str, *, older_than: float) -> None:
        """Removes an object, unless it is gone, or was written since `older_than` (seconds since the epoch)."""
        path = self._path(object_path(key))
        with self._errors(path), suppress(FileNotFoundError):
            if os.stat(path).st_mtime < older_than:
                os.unlink(path)

    def remove_record(self, path: str) -> None:
        """Removes a record, and its folder where it was the last one in it."""
        target = Path(self._path(record_path(path)))
        with self._errors(str(target)):
            target.unlink(missing_ok=True)
            for folder in target.parents:
                if folder == self.root or any(_scanned(str(folder))):
                    return
                with suppress(OSError):  # somebody has just put a record there
                    folder.rmdir()

    def remove_left_over(self, *, older_than: float) -> None:
        """Removes what writers that were killed have left."""
        with self._errors(self._path(TEMPORARY)):
            for entry in _scanned(self._path(TEMPORARY)):
                with suppress(FileNotFoundError):
                    if entry.stat().st_mtime < older_than:
                        os.unlink(entry.path)

    def _path(self, relative: str) -> str:
        return f"{self._base}/{relative}"

    def _place(self, path: str, parts: Sequence[Buffer]) -> None:
        """Writes a temporary file and renames it: at every moment `path` is absent, old or complete."""
        thread = threading.get_ident()
        temporary = self._path(f"{TEMPORARY}/{self._prefix}-{os.getpid()}-{thread}-{next(self._numbers)}")
        try:
            with _create(temporary) as file:
                for part in parts:
                    file.write(part)
            try:
                os.replace(temporary, path)
            except FileNotFoundError:
                os.makedirs(os.path.dirname(path), exist_ok=True)
                os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise

    @contextmanager
    def _errors(self, path: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or type(error).__name__
            if error.errno in _FULL:
                raise StoreFull(
                    f"the store {self._base} is full ({reason}); free some space, or choose another one with --store"
                ) from error
            if error.errno in _DENIED:
                raise StoreDenied(
                    f"no right to use {path} in the store {self._base} ({reason}); "
                    "change the folder's owner or mode, or choose another store with --store"
                ) from error
            raise StoreError(
                f"the store {self._base} failed at {path}: {reason}; "
                "see what stands there, or choose another folder with --store"
            ) from error


def _scanned(folder: str) -> list[os.DirEntry[str]]:
    try:
        return list(os.scandir(folder))
    except FileNotFoundError:
        return []


def _create(path: str) -> BufferedWriter:
    try:
        return open(path, "xb")
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return open(path, "xb")


def _load(path: str) -> Buffer:
    with open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        if size >= MAP_FROM_BYTES:
            try:
                return mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY)
            except OSError as error:
                if error.errno != errno.ENOMEM:  # the kernel counts a writable mapping as if all of it were changed
                    raise
                return mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
        return bytearray(file.readall() or b"")


def _size(path: str, *, touch: bool = False) -> int | None:
    """touch: a file that has been there for long counts as written now, so that nobody collects it."""
    try:
        found = os.stat(path)
        if touch and time.time() - found.st_mtime > _TOUCH_AFTER_S:
            with suppress(OSError):  # no right to, or a disk for reading alone
                os.utime(path)
        return found.st_size
    except FileNotFoundError:
        return None
