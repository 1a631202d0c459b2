"""Values as frames of bytes, and back: what every value goes through between two tasks.

Strings, bytes and small JSON values by themselves, registered types by their codec, all else by
pickle. Handles, stores and the engines call `encode` and `decode`; users call `register_codec`.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import CodecError, GrandpaError
from ..typespec import Json
from . import files as _files  # noqa: F401  # registers the codec of paths
from .frames import Frame, own, plain, size_of
from .pickling import ClassFingerprint, decode_by, dump, load, note_class
from .registry import Codec, Parts, codec_for, codec_named, module_of, register_codec
from .summaries import summary

__all__ = [
    "Codec", "Encoded", "Parts", "decode", "encode", "is_json_exact", "json_text", "register_codec", "summary",
]  # fmt: skip

_JSON_ITEMS = 10_000  # pickle is faster for more, and nobody reads them
_INT_BITS = 4096  # Python refuses to parse much longer numbers


@dataclass(frozen=True, slots=True)
class Encoded:
    """A value as bytes.

    Frames may show the memory of the value they were made from (an array's buffer, a mapped file); use
    `owned` to keep them while that may change.
    """

    codec: str
    frames: tuple[Frame, ...]
    meta: dict[str, Json] = field(default_factory=dict)
    classes: dict[str, str] = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        return sum(map(size_of, self.frames))

    def owned(self) -> Encoded:
        """The same with frames of its own: whatever happens to the value no longer shows."""
        frames = tuple(frame if type(frame) is bytes else bytes(plain(frame)) for frame in self.frames)
        return Encoded(self.codec, frames, self.meta, self.classes)


def encode(
    value: Any,
    *,
    name: str = "result",
    files: bool = True,
    here: bool = False,
    class_fingerprint: ClassFingerprint | None = None,
) -> Encoded:
    """The value as frames.

    name: how messages call the value. files: a pathlib.Path stands for what lies there (a task's result),
    else for itself (a constant). here: decoded in this process only, so that classes of `__main__` may go
    by reference. class_fingerprint: asked for every class, function and node that a pickle names, and for
    the type of a registered codec; None leaves it out.

    Raises CodecError naming the part that cannot be stored; a Ref inside raises its own TraceError.

    >>> decode(encode({"a": (1, float("inf"))}))
    {'a': (1, inf)}
    """
    kind = type(value)
    if kind is str:
        return Encoded("text", (value.encode("utf-8", "surrogatepass"),))
    if kind is bytes:
        return Encoded("bytes", (value,))
    if kind is bytearray:
        return Encoded("bytes", (value,), {"mutable": True})
    if _exact(value, set(), [_JSON_ITEMS]):
        return Encoded("json", (json_text(value).encode("ascii"),))
    codec = codec_for(kind)
    if codec is not None and (files or not issubclass(kind, Path)):
        return _by_codec(codec, value, name, class_fingerprint)
    frames, meta, classes = dump(value, name=name, files=files, here=here, fingerprint=class_fingerprint)
    return Encoded("pickle", frames, meta, classes)


def decode(encoded: Encoded, *, scratch: Path | None = None, given: bool = False) -> Any:
    """A new value, independent of the frames and of every other value decoded from them.

    scratch: the folder for values that lie on disk, by default one that goes with the process.
    given: the frames were read for this call alone, so that arrays may live in them without a copy.
    Raises CodecError.
    """
    codec, frames = encoded.codec, encoded.frames
    try:
        if codec == "json":
            return _DECODE(str(plain(frames[0]), "ascii"))
        if codec == "text":
            return str(plain(frames[0]), "utf-8", "surrogatepass")
        if codec == "bytes":
            return _bytes(frames[0], encoded.meta, given)
    except (ValueError, IndexError) as error:
        raise CodecError(f"a stored value is not what its codec {codec} writes: {error}") from error
    if codec == "pickle":
        return load(frames, encoded.meta, scratch, given=given)
    meta = dict(encoded.meta)
    return decode_by(codec_named(codec, meta.pop(_MODULE, "")), frames, meta, scratch, given)


def is_json_exact(value: Any) -> bool:
    """Whether JSON gives back exactly this value: types, order, no container twice.

    >>> is_json_exact({"a": [1, 2.5, None]}), is_json_exact((1,)), is_json_exact(float("nan"))
    (True, False, False)
    """
    return _exact(value, set(), [2**62])


def json_text(value: Any) -> str:
    """The shortest JSON of a value that is JSON exact, in ASCII."""
    return _ENCODE(value)


_ENCODE = json.JSONEncoder(allow_nan=False, check_circular=False, separators=(",", ":")).encode
_DECODE = json.JSONDecoder().decode
_MODULE = "module"  # in meta: where a registered codec is found


def _exact(value: Any, seen: set[int], left: list[int]) -> bool:
    """As is_json_exact, False too for more than `left[0]` items in all."""
    kind = type(value)
    if kind is str:
        return value.isascii() or _is_unicode(value)
    if kind is bool or value is None:
        return True
    if kind is int:
        return bool(value.bit_length() <= _INT_BITS)
    if kind is float:
        return math.isfinite(value)
    if kind is not list and kind is not dict:
        return False
    left[0] -= len(value)
    if left[0] < 0 or id(value) in seen or len(seen) > _JSON_ITEMS * 10:
        return False
    seen.add(id(value))
    try:
        if kind is list:
            return all(_exact(item, seen, left) for item in value)
        return all(
            type(key) is str and (key.isascii() or _is_unicode(key)) and _exact(item, seen, left)
            for key, item in value.items()
        )
    except RecursionError:
        return False


def _is_unicode(text: str) -> bool:
    """Without lone surrogates: two of them, one after the other, would come back as one character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _by_codec(codec: Codec, value: Any, name: str, class_fingerprint: ClassFingerprint | None) -> Encoded:
    try:
        parts = codec.encode(value)
    except CodecError as error:
        raise CodecError(f"{name}: {error}") from error.__cause__
    except (GrandpaError, MemoryError):
        raise
    except Exception as error:
        raise CodecError(f"{name}: the codec {codec.name} failed ({type(error).__name__}: {error})") from error
    module = module_of(codec)
    meta = {**parts.meta, _MODULE: module} if not module.startswith(_OURS) else parts.meta
    classes: dict[str, str] = {}
    if class_fingerprint is not None:
        note_class(codec.type_, class_fingerprint, classes)
    return Encoded(codec.name, tuple(parts.frames), meta, classes)


_OURS = __name__.rpartition(".")[0] + "."


def _bytes(frame: Frame, meta: dict[str, Json], given: bool) -> bytes | bytearray:
    if not meta.get("mutable"):
        return frame if type(frame) is bytes else bytes(plain(frame))
    owned = own(frame, given=given)
    return owned if isinstance(owned, bytearray) else bytearray(owned)
