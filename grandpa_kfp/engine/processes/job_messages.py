"""What an `Executor` and its processes say to each other: pickles with their big buffers beside them, over a socket.

Functions and classes go by reference where the other end can import them, else by value; the ends trust each other.
"""

from __future__ import annotations

import io
import pickle
import socket
import struct
from collections.abc import Mapping, Sequence
from typing import IO, Any, TypeAlias

CALL, DONE, FAILED, PRINTED = range(4)
"""(CALL, pickled function, arguments, named ones, place); (DONE, result); (FAILED, pickled error, text, traceback);
(PRINTED, stream, text)."""

_HEAD = struct.Struct("<BI")  # kind, frames
_ATOMS = frozenset({type(None), bool, int, float, str, bytes})


def dumps(value: Any, buffers: list[memoryview] | None = None) -> bytes:
    """The pickle. buffers: takes up what is big, in the order in which `loads` wants it."""
    if _is_plain(value) or (type(value) is tuple and all(map(_is_plain, value))):
        return pickle.dumps(value, 5)
    from cloudpickle import Pickler  # type: ignore[import-untyped]  # takes 35 ms, and plain values do without

    file = io.BytesIO()
    Pickler(file, 5, None if buffers is None else lambda buffer: buffers.append(buffer.raw())).dump(value)
    return file.getvalue()


def _is_plain(value: Any) -> bool:
    kind = type(value)
    return kind in _ATOMS or (kind is tuple and all(type(item) in _ATOMS for item in value)) or value is NOTHING


NOTHING: Mapping[str, Any] = {}
"""No arguments by name, no scripts; never changed."""


Packed: TypeAlias = "tuple[bytes, Sequence[memoryview]]"
"""A message as bytes, and the buffers that follow them."""


def pack(kind: int, *parts: Any) -> Packed:
    """A message. Raises what pickling raises."""
    buffers: list[memoryview] = []
    first = dumps(parts, buffers)
    sizes = struct.pack(f"<{1 + len(buffers)}Q", len(first), *[buffer.nbytes for buffer in buffers])
    return _HEAD.pack(kind, 1 + len(buffers)) + sizes + first, buffers


def say(sock: socket.socket, packed: Packed) -> None:
    """Sends a message. Raises OSError where nobody listens."""
    first, buffers = packed
    sock.sendall(first)
    for buffer in buffers:
        sock.sendall(buffer)


class Heard:
    """A message that came whole. kind: of it; `parts` unpickles, and raises what that raises."""

    __slots__ = ("_frames", "kind")

    def __init__(self, kind: int, frames: list[bytearray]) -> None:
        self.kind = kind
        self._frames = frames

    def parts(self) -> Any:
        """What it says."""
        return pickle.loads(self._frames[0], buffers=self._frames[1:])


def hear(reader: IO[bytes]) -> Heard:
    """The next message. Raises EOFError when there is none any more."""
    kind, count = _HEAD.unpack(_read(reader, _HEAD.size))
    sizes = struct.unpack(f"<{count}Q", _read(reader, 8 * count))
    return Heard(kind, [_read(reader, size) for size in sizes])


def _read(reader: IO[bytes], size: int) -> bytearray:
    data = bytearray(size)
    view, at = memoryview(data), 0
    while at < size:
        got = reader.readinto(view[at:])  # type: ignore[attr-defined]
        if not got:
            raise EOFError("the other end is gone")
        at += got
    return data
