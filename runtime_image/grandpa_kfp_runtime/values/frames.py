"""Buffers of bytes that make up an encoded value, plain or compressed.

Codecs make and read frames, `objects` lays them out in an object, stores write them one after the
other. A frame is never copied on its way unless someone needs an own, writable copy of it.
"""

from __future__ import annotations

import io
import mmap
import pickle
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, TypeAlias

from ..errors import CodecError

if TYPE_CHECKING:
    import zstandard

Buffer: TypeAlias = "bytes | bytearray | memoryview | mmap.mmap | pickle.PickleBuffer"

COMPRESS_FROM_BYTES = 4096
_SAMPLE_BYTES = 64 * 1024
_WORTH = 0.9
_SPOOL_FROM_BYTES = 32 * 1024 * 1024  # a larger compressed frame goes through a temporary file, not memory
_CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Compressed:
    """A frame as it lies in the object: zstd of `size` bytes."""

    data: memoryview = field(repr=False)
    size: int


Frame: TypeAlias = "Buffer | Compressed"


def view(buffer: Buffer) -> memoryview:
    """A flat view of the buffer's bytes; C and Fortran order both, nothing copied."""
    if type(buffer) is memoryview and buffer.format == "B" and buffer.ndim == 1 and buffer.contiguous:
        return buffer
    return pickle.PickleBuffer(buffer).raw()


def size_of(frame: Frame) -> int:
    """Bytes of the frame when it is not compressed."""
    return frame.size if isinstance(frame, Compressed) else view(frame).nbytes


def plain(frame: Frame) -> memoryview:
    """The frame's bytes, decompressed where needed; to be read, not changed."""
    return memoryview(_decompress(frame)) if isinstance(frame, Compressed) else view(frame)


def own(frame: Frame, *, given: bool = False) -> bytearray | memoryview:
    """The frame's bytes for the caller alone, writable.

    given: the caller owns the frame already, so that a writable one needs no copy.
    """
    if isinstance(frame, Compressed):
        return _decompress(frame)
    flat = view(frame)
    return flat if given and not flat.readonly else bytearray(flat)


def reader(frame: Frame) -> IO[bytes]:
    """A stream over the frame's bytes that never holds them whole in memory."""
    if isinstance(frame, Compressed):
        stream: IO[bytes] = _zstd().ZstdDecompressor().stream_reader(frame.data)
        return stream
    return reader_of(view(frame))


def copy_to(frame: Frame, file: IO[bytes]) -> None:
    """Writes the frame's bytes, piece by piece."""
    if isinstance(frame, Compressed):
        _zstd().ZstdDecompressor().copy_stream(reader_of(frame.data), file)
        return
    flat = view(frame)
    for start in range(0, flat.nbytes, _CHUNK_BYTES):
        file.write(flat[start : start + _CHUNK_BYTES])


def reader_of(*data: memoryview) -> io.BufferedReader:
    """A file over views that follow each other."""
    return io.BufferedReader(JoinedReader(data))


def compressed(frame: Buffer) -> Compressed | None:
    """The frame compressed by zstd, None where that would save less than a tenth. The same bytes every time."""
    flat = view(frame)
    if flat.nbytes < COMPRESS_FROM_BYTES:
        return None
    try:
        zstd = _zstd()
    except CodecError:
        return None  # writing works without it, only larger
    compressor = zstd.ZstdCompressor(level=1)
    middle = max(0, flat.nbytes // 2 - _SAMPLE_BYTES // 2)
    samples = [flat] if flat.nbytes <= 3 * _SAMPLE_BYTES else [
        flat[:_SAMPLE_BYTES], flat[middle : middle + _SAMPLE_BYTES], flat[-_SAMPLE_BYTES:]
    ]  # fmt: skip
    small = [compressor.compress(sample) for sample in samples]
    if sum(map(len, small)) > _WORTH * sum(map(len, samples)):
        return None
    if len(samples) == 1:
        return Compressed(memoryview(small[0]), flat.nbytes)
    whole = _spooled(compressor, flat) if flat.nbytes > _SPOOL_FROM_BYTES else memoryview(compressor.compress(flat))
    return Compressed(whole, flat.nbytes) if len(whole) <= _WORTH * flat.nbytes else None


def _spooled(compressor: zstandard.ZstdCompressor, flat: memoryview) -> memoryview:
    with tempfile.TemporaryFile() as file:
        compressor.copy_stream(reader_of(flat), file, size=flat.nbytes)
        file.flush()
        return memoryview(mmap.mmap(file.fileno(), file.tell(), access=mmap.ACCESS_READ))


def _decompress(frame: Compressed) -> bytearray:
    made = bytearray(frame.size)
    target = memoryview(made)
    with _zstd().ZstdDecompressor().stream_reader(frame.data) as stream:
        done = 0
        while done < frame.size:
            count = stream.readinto(target[done:])
            if not count:
                raise CodecError("a compressed frame is shorter than its header says")
            done += count
        if stream.read(1):
            raise CodecError("a compressed frame is longer than its header says")
    return made


def _zstd() -> Any:
    try:
        import zstandard
    except ImportError as error:
        raise CodecError("this value is compressed by zstd; `pip install zstandard` to read it") from error
    return zstandard


class JoinedReader(io.RawIOBase):
    """A file over buffers that follow each other, from the first byte to the last; nothing is joined."""

    def __init__(self, parts: Sequence[memoryview]) -> None:
        self._parts = parts
        self._starts: list[int] = []
        self._size = 0
        for part in parts:
            self._starts.append(self._size)
            self._size += part.nbytes
        self._part = 0
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = min(max(base + offset, 0), self._size)
        self._part = 0
        return self._at

    def readinto(self, target: Any) -> int:
        into = memoryview(target).cast("B")
        done = 0
        while done < len(into) and self._at < self._size:
            while self._at >= self._starts[self._part] + self._parts[self._part].nbytes:
                self._part += 1
            start = self._at - self._starts[self._part]
            piece = self._parts[self._part][start : start + len(into) - done]
            into[done : done + len(piece)] = piece
            done += len(piece)
            self._at += len(piece)
        return done
