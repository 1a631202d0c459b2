"""Shared memory without a name: made by the parent, handed over as descriptors, gone with the last of them.

So nothing is left behind, however a process ends. A value's frames are written into a segment once and
mapped copy-on-write by each process that reads them.
"""

from __future__ import annotations

import errno
import mmap
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

ALIGNMENT = 64
_MOST_AT_ONCE = 1 << 30  # the kernel takes less than 2 GiB a call
_POPULATE = getattr(mmap, "MAP_POPULATE", 0)

Layout: TypeAlias = "tuple[tuple[int, int], ...]"
"""Offset and size of each frame, in bytes."""


def create(size_bytes: int, folder: Path | None = None) -> int:
    """A descriptor of new memory, or of a file without a name below `folder`. Raises OSError."""
    if folder is None and hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("grandpa", os.MFD_CLOEXEC)
    else:
        with tempfile.TemporaryFile(dir=folder) as file:
            descriptor = os.dup(file.fileno())
    try:
        os.ftruncate(descriptor, size_bytes)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def create_small(size_bytes: int) -> int:
    """The same where memory need not be fast: a file where the kernel gives none. Raises OSError."""
    try:
        return create(size_bytes)
    except OSError:
        return create(size_bytes, Path(tempfile.gettempdir()))


def layout_of(sizes: Sequence[int]) -> tuple[Layout, int]:
    """Where frames of these sizes lie, and how long the segment is.

    >>> layout_of([3, 100])
    (((0, 3), (64, 100)), 192)
    """
    at = 0
    places: list[tuple[int, int]] = []
    for size in sizes:
        places.append((at, size))
        at += size + -size % ALIGNMENT
    return tuple(places), at


def write(descriptor: int, layout: Layout, frames: Sequence[memoryview], *, used_before: bool = False) -> None:
    """Copies frames to their places. Raises OSError when memory is full.

    used_before: the memory is there already, and copying through a mapping is faster then; else the kernel
    copies, which makes each page once, and leaves the interpreter free meanwhile.
    """
    if used_before and _POPULATE and layout:
        size = max(at + length for at, length in layout)
        kind = mmap.MAP_SHARED | _POPULATE
        with mmap.mmap(descriptor, size, kind, mmap.PROT_READ | mmap.PROT_WRITE) as mapped:
            for (at, length), frame in zip(layout, frames, strict=True):
                mapped[at : at + length] = frame
        return
    for (at, size), frame in zip(layout, frames, strict=True):
        done = 0
        while done < size:
            done += os.pwrite(descriptor, frame[done : done + _MOST_AT_ONCE], at + done)


class Mapping(mmap.mmap):
    """A mapped segment. `lease` is let go of when nothing refers to the mapping any more."""

    lease: object = None


def map_frames(descriptor: int, layout: Layout, lease: object = None, *, shared: bool = False) -> list[memoryview]:
    """The frames, writable: changes are seen by this mapping alone, or, `shared`, go into the segment."""
    size = max((at + length for at, length in layout), default=0)
    if not size:
        return [memoryview(b"") for _ in layout]
    kind = mmap.MAP_SHARED if shared else mmap.MAP_PRIVATE
    try:
        mapped = Mapping(descriptor, size, kind, mmap.PROT_READ | mmap.PROT_WRITE)
    except OSError as error:
        if error.errno != errno.ENOMEM:  # the kernel counts a private mapping as if all of it were changed
            raise
        mapped = Mapping(descriptor, size, mmap.MAP_SHARED, mmap.PROT_READ)
    mapped.lease = lease
    whole = memoryview(mapped)
    return [whole[at : at + length] for at, length in layout]


class Lease:
    """What a reader of a segment holds as long as it may look at it; `ended` is told when it is let go of."""

    __slots__ = ("_ended", "_segment")

    def __init__(self, segment: int, ended: Callable[[int], None]) -> None:
        self._segment = segment
        self._ended = ended

    def __del__(self) -> None:
        self._ended(self._segment)
