"""How a value crosses between parent and worker: as a tuple that begins with its kind.

    (PLAIN, value)                           what cannot be changed and is small, as it is
    (PACKED, codec, frames, meta)            encoded, its bytes in the message
    (SEGMENT, number, layout, codec, meta)   encoded, its bytes in shared memory that goes along as a descriptor
    (STORED, handle, own)                    an object in the run's store or spool; `own`: this run has written it
    (HELD, key, take)                        what this worker has made itself; `take`: nobody else will ask for it
    (KEPT, size_bytes)                       only from a worker: too big for a message, kept there until asked for
    (MISSING,)                               for a task that runs always: what should have made it has not succeeded
    (OUTCOME,)                               how what such a task waits for has ended; the parent sends the value

The parent passes parcels on without a look at what is in them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from grandpa_kfp_runtime.values.codecs import Encoded, decode
from grandpa_kfp_runtime.values.frames import plain

Parcel: TypeAlias = "tuple[Any, ...]"
Key: TypeAlias = "tuple[str, str]"
"""One output: task id and output name."""

PLAIN, PACKED, SEGMENT, STORED, HELD, KEPT, MISSING, OUTCOME = range(8)

INLINE_BYTES = 256 * 1024
"""Larger values go by shared memory: below, two copies through a socket cost less than mapping does."""


@dataclass(frozen=True, slots=True)
class Parceled:
    """A constant that stays encoded: stands among a task's sources where a `Constant` would.

    text: what stands for its value in the task's cache key; None where nothing does, or nobody asks.
    """

    parcel: Parcel
    text: str | None = None


def packed(encoded: Encoded) -> Parcel:
    """The parcel of a small encoded value."""
    frames = tuple([frame if type(frame) is bytes else bytes(plain(frame)) for frame in encoded.frames])
    return (PACKED, encoded.codec, frames, encoded.meta)


def unpacked(parcel: Parcel, scratch: Callable[[], Path] | None) -> Any:
    """A new value from a parcel of kind PACKED."""
    _, codec, frames, meta = parcel
    folder = scratch() if scratch is not None and _may_need_folder(codec) else None
    return decode(Encoded(codec, frames, meta), scratch=folder, given=False)


def in_segment(parcel: Parcel, frames: list[memoryview], scratch: Callable[[], Path] | None) -> Any:
    """The value of a SEGMENT parcel, whose frames have been mapped for this reader alone."""
    codec, meta = parcel[3], parcel[4]
    folder = scratch() if scratch is not None and _may_need_folder(codec) else None
    return decode(Encoded(codec, tuple(frames), meta), scratch=folder, given=True)


def _may_need_folder(codec: str) -> bool:
    """Codecs of this project that never write a file need no folder made for them."""
    return codec not in ("json", "text", "bytes", "pickle")
