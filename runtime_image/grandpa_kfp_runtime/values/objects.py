"""The bytes of a stored object: a header that says what it is, then its frames.

    8 bytes         GRANDPA1
    4 bytes         length of the header, little endian
    header          JSON, padded by spaces: {"codec", "sizes", "raw"?, "meta"?, "classes"?}
    frames          each at a multiple of 64 bytes, so that arrays may live in a mapped object

`sizes` are the frames' sizes in the object; `raw`, where a frame is compressed (zstd), its size before
or null for the others. `classes` maps project classes that a pickle names to their fingerprints: they
are in the bytes, so they are in the key. The same value gives the same bytes.
"""

from __future__ import annotations

import json
from typing import Any

from ..errors import CodecError
from .codecs import Encoded
from .frames import Buffer, Compressed, Frame, compressed, view

MAGIC = b"GRANDPA1"
ALIGNMENT = 64
_PREFIX = len(MAGIC) + 4
_ZEROS = bytes(ALIGNMENT)


def pack(encoded: Encoded) -> list[Buffer]:
    """The object as buffers that follow each other; frames that shrink by a tenth or more are compressed."""
    frames: list[Frame] = [
        frame if isinstance(frame, Compressed) else compressed(frame) or view(frame) for frame in encoded.frames
    ]
    stored = [frame.data if isinstance(frame, Compressed) else view(frame) for frame in frames]
    header: dict[str, Any] = {"codec": encoded.codec, "sizes": [part.nbytes for part in stored]}
    if any(isinstance(frame, Compressed) for frame in frames):
        header["raw"] = [frame.size if isinstance(frame, Compressed) else None for frame in frames]
    if encoded.meta:
        header["meta"] = encoded.meta
    if encoded.classes:
        header["classes"] = encoded.classes
    text = json.dumps(header, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")
    text += b" " * (-(_PREFIX + len(text)) % ALIGNMENT)
    parts: list[Buffer] = [MAGIC + len(text).to_bytes(4, "little") + text]
    for part in stored:
        parts.append(part)
        if part.nbytes % ALIGNMENT:
            parts.append(_ZEROS[: -part.nbytes % ALIGNMENT])
    return parts


def unpack(data: Buffer) -> Encoded:
    """The encoded value, its frames views into the data. Raises CodecError for what is no object of ours."""
    whole = view(data)
    header, at = _header(whole)
    try:
        sizes, raw = header["sizes"], header.get("raw") or [None] * len(header["sizes"])
        frames: list[Frame] = []
        for size, before in zip(sizes, raw, strict=True):
            part = whole[at : at + size]
            if part.nbytes != size:
                raise CodecError(f"a stored object ends after {whole.nbytes:,} bytes, in the middle of a frame")
            frames.append(part if before is None else Compressed(part, before))
            at += size + -size % ALIGNMENT
        return Encoded(header["codec"], tuple(frames), header.get("meta", {}), header.get("classes", {}))
    except (KeyError, TypeError, ValueError) as error:
        raise CodecError(f"the header of a stored object is not one of ours: {error!r}") from error


def read_header(data: Buffer) -> dict[str, Any]:
    """The header alone: codec, sizes, meta, classes. Raises CodecError."""
    return _header(view(data))[0]


def _header(whole: memoryview) -> tuple[dict[str, Any], int]:
    if whole[: len(MAGIC)] != MAGIC:
        newer = bytes(whole[:7]) == MAGIC[:7]
        raise CodecError(
            "a stored object was written by another version of grandpa-kfp; use the same one to read it"
            if newer
            else "the bytes under this key are not a stored value of grandpa-kfp"
        )
    end = _PREFIX + int.from_bytes(whole[len(MAGIC) : _PREFIX], "little")
    try:
        header = json.loads(bytes(whole[_PREFIX:end]))
    except ValueError as error:
        raise CodecError(f"the header of a stored object is not one of ours: {error}") from error
    if not isinstance(header, dict):
        raise CodecError("the header of a stored object is not one of ours")
    return header, end
