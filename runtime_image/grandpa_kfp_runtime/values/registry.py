"""The registry of codecs by type: ours for files, users' own for whatever they register.

`codecs` looks a whole value up here, `pickling` every object inside one, so that a registered type
works in lists, dicts and objects without further ado.
"""

from __future__ import annotations

import atexit
import importlib
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import CodecError
from ..typespec import Json
from .frames import Frame


@dataclass(frozen=True, slots=True)
class Parts:
    """What a codec makes of a value: buffers of bytes, and a small JSON object beside them.

    In `decode` the frames are flat, writable memoryviews that belong to the new value alone.
    scratch: where `folder` makes folders.
    """

    frames: Sequence[Frame] = ()
    meta: dict[str, Json] = field(default_factory=dict)
    scratch: Path | None = None

    def folder(self) -> Path:
        """A new, empty folder for a value that must lie on disk; it lives as long as the task."""
        return Path(tempfile.mkdtemp(prefix="value-", dir=self.scratch or _process_scratch()))


@dataclass(frozen=True, slots=True)
class Codec:
    """How values of exactly one type are stored.

    name: unique, part of every stored object; `encode` may raise CodecError, `decode` gets what it made.
    raw: decode takes frames as they lie in the store (`frames.reader`, `frames.copy_to`).
    module: where a decoder finds this registration, by default the module of `encode`.
    """

    name: str
    type_: type
    encode: Callable[[Any], Parts]
    decode: Callable[[Parts], Any]
    raw: bool = False
    module: str = ""


_BY_TYPE: dict[type, Codec] = {}
_BY_NAME: dict[str, Codec] = {}
_RESERVED = frozenset({"json", "text", "bytes", "pickle", "handles", "object"})

codec_for = _BY_TYPE.get
"""The codec of a type, None where there is none."""


def register_codec(codec: Codec) -> None:
    """Stores values of `codec.type_` by this codec from now on, on their own and inside others.

    Register at the top of the module that defines the type or its codec: a worker imports that module
    before it decodes. Registering a name again replaces it (a notebook's cell may run twice). Raises
    CodecError for a name of a built-in codec.

    >>> class Celsius:
    ...     def __init__(self, degrees): self.degrees = degrees
    >>> register_codec(Codec(
    ...     "celsius", Celsius,
    ...     encode=lambda value: Parts([str(value.degrees).encode()]),
    ...     decode=lambda parts: Celsius(float(bytes(parts.frames[0]))),
    ... ))
    """
    if codec.name in _RESERVED or not codec.name.isascii() or not codec.name.replace("-", "_").isidentifier():
        raise CodecError(f"{codec.name!r} cannot be a codec's name: letters, digits, - and _, none of ours")
    known = _BY_NAME.get(codec.name)
    if known is not None and known.type_ is not codec.type_ and known.decode is not codec.decode:
        _BY_TYPE.pop(known.type_, None)
    _BY_TYPE[codec.type_] = codec
    _BY_NAME[codec.name] = codec


def module_of(codec: Codec) -> str:
    return codec.module or getattr(codec.encode, "__module__", "") or ""


def codec_named(name: str, module: str = "") -> Codec:
    """The codec of that name; imports the module that registers it where need be. Raises CodecError."""
    codec = _BY_NAME.get(name)
    if codec is None and module and module != "__main__":
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise CodecError(f"the codec {name!r} of this value is registered by {module}: {error}") from error
        codec = _BY_NAME.get(name)
    if codec is None:
        where = f" by {module}" if module else ""
        raise CodecError(
            f"the codec {name!r} of this value is not registered here; call register_codec at the top of a module "
            f"of the project that nodes import (it was registered{where})"
        )
    return codec


_folders: list[str] = []


def _process_scratch() -> Path:
    """One temporary folder for the whole process, removed when it ends."""
    if not _folders:
        _folders.append(tempfile.mkdtemp(prefix="grandpa-"))
        atexit.register(shutil.rmtree, _folders[0], ignore_errors=True)
    return Path(_folders[0])
