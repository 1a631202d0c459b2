"""The parent's account of shared memory: which segments there are, who may look at them, how many bytes they take.

A segment that nobody reads any more is used again: writing into memory that the kernel has given already
is several times as fast. Beyond the limit, segments are files without a name on disk.
"""

from __future__ import annotations

import errno
import os
import resource
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ..machine import memory_bytes
from . import segments

_KEEP_FOR_REUSE = 0.25
"""The share of the limit that segments without readers may take."""


@dataclass(slots=True)
class _Segment:
    descriptor: int
    size_bytes: int
    on_disk: bool
    used_before: bool = False
    wanted: bool = True
    readers: Counter[int] = field(default_factory=Counter)


class Memory:
    """limit_bytes: of shared memory; folder: where files go beyond it."""

    def __init__(self, limit_bytes: int, folder: Callable[[], Path]) -> None:
        self.limit_bytes = limit_bytes
        self._folder = folder
        self._segments: dict[int, _Segment] = {}
        self._free: list[_Segment] = []
        self._last = 0
        self._most = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 3  # a reader may have two files for each
        self.used_bytes = 0

    def create(self, size_bytes: int, *, on_disk: bool = False) -> int:
        """A segment of at least that size; its number.

        Raises OSError when neither memory nor disk have room, and when too many files are open.
        """
        while self._free and len(self._segments) + len(self._free) >= self._most:
            self._close(self._free.pop(0))
        if len(self._segments) >= self._most:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        segment = None if on_disk else self._reused(size_bytes)
        if segment is None:
            on_disk = on_disk or not self._make_room(size_bytes)
            segment = self._new(size_bytes, on_disk)
        self._last += 1
        self._segments[self._last] = segment
        return self._last

    def descriptor(self, number: int) -> int:
        return self._segments[number].descriptor

    def used_before(self, number: int) -> bool:
        """Whether the segment's memory has been written once already."""
        return self._segments[number].used_before

    def lend(self, number: int, reader: int) -> None:
        """The reader, a worker's number, gets the segment to look at, once more."""
        self._segments[number].readers[reader] += 1

    def returned(self, number: int, reader: int) -> None:
        segment = self._segments.get(number)
        if segment is not None:
            segment.readers[reader] -= 1
            if segment.readers[reader] <= 0:
                del segment.readers[reader]
            self._settle(number, segment)

    def reader_gone(self, reader: int) -> None:
        for number, segment in tuple(self._segments.items()):
            if segment.readers.pop(reader, 0):
                self._settle(number, segment)

    def release(self, number: int) -> None:
        """Nobody will be given the segment any more."""
        segment = self._segments.get(number)
        if segment is not None:
            segment.wanted = False
            self._settle(number, segment)

    def clear(self) -> None:
        """A run has ended: what is left of it goes."""
        for segment in self._segments.values():
            self._close(segment)
        self._segments.clear()

    def close(self) -> None:
        self.clear()
        for segment in self._free:
            self._close(segment)
        self._free.clear()

    def _new(self, size_bytes: int, on_disk: bool) -> _Segment:
        try:
            descriptor = segments.create(size_bytes, self._folder() if on_disk else None)
        except OSError:
            if on_disk:
                raise
            return self._new(size_bytes, True)
        if not on_disk:
            self.used_bytes += size_bytes
        return _Segment(descriptor, size_bytes, on_disk)

    def _reused(self, size_bytes: int) -> _Segment | None:
        fitting = [item for item in self._free if size_bytes <= item.size_bytes <= 2 * size_bytes]
        if not fitting:
            return None
        found = min(fitting, key=lambda item: item.size_bytes)
        self._free.remove(found)
        return _Segment(found.descriptor, found.size_bytes, False, used_before=True)

    def _make_room(self, size_bytes: int) -> bool:
        while self._free and self.used_bytes + size_bytes > self.limit_bytes:
            self._close(self._free.pop(0))
        return self.used_bytes + size_bytes <= self.limit_bytes

    def _settle(self, number: int, segment: _Segment) -> None:
        if segment.wanted or segment.readers:
            return
        del self._segments[number]
        kept = sum(item.size_bytes for item in self._free)
        if segment.on_disk or kept + segment.size_bytes > self.limit_bytes * _KEEP_FOR_REUSE:
            self._close(segment)
        else:
            self._free.append(segment)

    def _close(self, segment: _Segment) -> None:
        if not segment.on_disk:
            self.used_bytes -= segment.size_bytes
        with suppress(OSError):
            os.close(segment.descriptor)


def default_limit_bytes() -> int:
    """Half of what the machine has, or of what the container may use.

    >>> default_limit_bytes() > 0
    True
    """
    return memory_bytes() // 2
