"""Handles: the short text by which a value crosses from task to task.

    JSON text                       the value itself, where JSON gives back exactly that and it is short
    @<43 characters>                the key of a stored object
    @inline:<codec>:<base64>        a small constant that JSON cannot hold

No JSON text begins with `@`. No handle holds `{{`, `}}` or `$`, which KFP, Argo or Kubernetes would
rewrite. Tasks' outputs are made here, constants by the compiler, and both are read here.
"""

from __future__ import annotations

import json
import math
import re
from base64 import b64decode, b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from ..contract import INLINE_LIMIT_BYTES, json_for_args
from ..errors import CodecError
from ..stores.base import Store, is_key
from .codecs import Encoded, decode, encode, is_json_exact, json_text
from .files import File
from .frames import plain
from .objects import pack, unpack
from .pickling import ClassFingerprint

CONSTANT_LIMIT_BYTES = 16 * 1024
"""A constant's text may be this long; it is part of the YAML."""

HANDLES = "handles"
"""Codec of a stored list of handles, which `gather` writes and a reader resolves item by item."""

_INLINE = "@inline:"
_OBJECT = "object"  # codec of an inline constant of several frames: a whole object
_PLAIN_INT = 2**53


def to_handle(
    value: Any,
    store: Store,
    *,
    inline_limit: int = INLINE_LIMIT_BYTES,
    name: str = "result",
    class_fingerprint: ClassFingerprint | None = None,
) -> str:
    """The value's handle; writes an object where the value is not short and JSON exact.

    inline_limit: bytes that a handle may have when it is the value itself; 0 stores everything.
    name, class_fingerprint: as in `codecs.encode`. Raises CodecError, StoreError.

    >>> from grandpa_kfp_runtime.stores.memory import MemoryStore
    >>> store = MemoryStore()
    >>> to_handle({"a": 1}, store)
    '{"a":1}'
    >>> from_handle(to_handle((1, 2), store), store)
    (1, 2)
    """
    kind = type(value)
    if kind is int and -_PLAIN_INT < value < _PLAIN_INT:
        text = str(value)
        if len(text) <= inline_limit:
            return text
    elif _may_be_short(value, inline_limit) and is_json_exact(value):
        text = _handle_json(value)
        if len(text) <= inline_limit:
            return text
    encoded = encode(value, name=name, class_fingerprint=class_fingerprint)
    return f"@{store.write(pack(encoded))}"


def from_handle(text: str, store: Store, *, scratch: Path | None = None) -> Any:
    """The value of a handle, the caller's own. scratch: as in `codecs.decode`.

    Raises ObjectGone and the store's other errors, CodecError for what is no handle.
    """
    if not text.startswith("@"):
        return _from_json(text)
    if text.startswith(_INLINE):
        return decode(_inline_encoded(text), scratch=scratch)
    encoded = _stored(text, store)
    if encoded.codec == HANDLES:
        return [from_handle(item, store, scratch=scratch) for item in _handles_of(encoded)]
    return decode(encoded, scratch=scratch, given=True)


def write_handles(handles: Sequence[str], store: Store) -> str:
    """The handle of a stored list of handles: it reads as the list of their values."""
    text = json.dumps(list(handles), separators=(",", ":")).encode("ascii")
    return f"@{store.write(pack(Encoded(HANDLES, (text,))))}"


def read_handles(text: str, store: Store) -> list[str] | None:
    """The handles in a list that `write_handles` wrote, None for any other handle; no value is decoded."""
    if not text.startswith("@") or text.startswith(_INLINE):
        return None
    encoded = _stored(text, store)
    return _handles_of(encoded) if encoded.codec == HANDLES else None


def inline_constant(
    value: Any,
    *,
    name: str = "the constant",
    limit: int | None = CONSTANT_LIMIT_BYTES,
    class_fingerprint: ClassFingerprint | None = None,
) -> str:
    """The handle of a constant, which holds all of it. The same text every time.

    limit: bytes that the text may have, None for any (a graph file holds constants of every size).
    class_fingerprint: as in `codecs.encode`; with it the text changes with the project's classes in it.
    Raises CodecError for a constant of more than the limit, and for one that cannot be encoded.

    >>> inline_constant([1, 2]), inline_constant((1,))[:15]
    ('[1,2]', '@inline:pickle:')
    """
    if is_json_exact(value):
        text = _handle_json(value)
    else:
        encoded = encode(value, name=name, files=False, class_fingerprint=class_fingerprint)
        _check_size(encoded.size_bytes, value, name, limit)
        single = len(encoded.frames) == 1 and not encoded.meta and not encoded.classes
        data = plain(encoded.frames[0]) if single else b"".join(pack(encoded))
        text = f"{_INLINE}{encoded.codec if single else _OBJECT}:{b64encode(data).decode('ascii')}"
    _check_size(len(text), value, name, limit)
    return text


def from_constant(text: str) -> Any:
    """The value of a handle that holds all of it. Raises CodecError for any other.

    >>> from_constant(inline_constant((1, 2)))
    (1, 2)
    """
    return decode(_inline_encoded(text)) if text.startswith(_INLINE) else _from_json(text)


def is_constant_handle(text: Any) -> bool:
    """Whether it is a handle that holds all of its value, and no longer than a constant may be."""
    if not isinstance(text, str) or len(text) > CONSTANT_LIMIT_BYTES:
        return False
    try:
        _inline_encoded(text) if text.startswith(_INLINE) else json.loads(text)
    except (CodecError, ValueError, RecursionError):
        return False
    return True


def raw_or_handle(
    value: Any, *, name: str = "the constant", class_fingerprint: ClassFingerprint | None = None
) -> tuple[Literal["raw", "handle"], Any]:
    """How a constant goes into the YAML: as it is where KFP brings it unchanged, else as a handle.

    Raw are bool, int up to 2**53, finite float but -0.0, and strings without what KFP, Argo or Kubernetes
    rewrite and without control characters. Raises CodecError as `inline_constant` does.

    >>> raw_or_handle("plain"), raw_or_handle("{{x}}")
    (('raw', 'plain'), ('handle', '"\\\\u007b\\\\u007bx\\\\u007d\\\\u007d"'))
    """
    kind = type(value)
    if kind is bool or (kind is int and -_PLAIN_INT <= value <= _PLAIN_INT):
        return "raw", value
    if kind is float and math.isfinite(value) and (value or math.copysign(1.0, value) > 0):
        return "raw", value
    if kind is str and not _REWRITTEN.search(value):
        _check_size(len(value.encode()), value, name)
        return "raw", value
    return "handle", inline_constant(value, name=name, class_fingerprint=class_fingerprint)


_REWRITTEN = re.compile(
    "\\{\\{|\\}\\}|\\$\\$\\(|[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]"
)


def _handle_json(value: Any) -> str:
    text = json_text(value)
    return json_for_args(value) if "{" in text or "}" in text or "$" in text else text


def _may_be_short(value: Any, limit: int) -> bool:
    """False where the JSON is longer than the limit for sure, so that nobody walks a large value for it."""
    kind = type(value)
    if kind is str or kind is list or kind is dict:
        return len(value) < limit
    return limit > 0


def _from_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        shown = repr(text if len(text) <= 60 else text[:59] + "…")
        why = "it is empty: its task left no output" if not text else f"{shown} is neither JSON nor @ and a key"
        raise CodecError(f"not a handle: {why}") from error


def _stored(text: str, store: Store) -> Encoded:
    key = text[1:]
    if not is_key(key):
        raise CodecError(f"not a handle: {text[:60]!r} is neither JSON nor @ and a key of 43 characters")
    return unpack(store.read(key))


def _inline_encoded(text: str) -> Encoded:
    codec, _, content = text[len(_INLINE) :].partition(":")
    try:
        data = b64decode(content, validate=True)
    except ValueError as error:
        raise CodecError(f"not a handle: the base64 of {text[:60]!r} is damaged ({error})") from error
    return unpack(data) if codec == _OBJECT else Encoded(codec, (data,))


def _handles_of(encoded: Encoded) -> list[str]:
    try:
        handles = json.loads(bytes(plain(encoded.frames[0])))
    except (ValueError, IndexError) as error:
        raise CodecError(f"a stored list of handles is damaged: {error}") from error
    return [str(item) for item in handles]


def _check_size(size: int, value: Any, name: str, limit: int | None = CONSTANT_LIMIT_BYTES) -> None:
    if limit is None or size <= limit:
        return
    ways = (
        "deploy uploads it, a node can download it from its own place, or name it in the node's packages or image"
        if isinstance(value, File)
        else "make it in a node and pass its result, or pass File(path) and let deploy upload it"
    )
    raise CodecError(
        f"{name} takes {size:,} bytes, and a constant is part of the YAML: at most {CONSTANT_LIMIT_BYTES:,} fit; {ways}"
    )
