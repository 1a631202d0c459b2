"""Pickle protocol 5 with big buffers beside the stream, and registered codecs inside it.

Frames of a pickled value: the stream, its out-of-band buffers (arrays), then what was set apart
(big bytes, frames of codecs). The plain pickler goes first, because it is fast and its result does not
change from run to run; cloudpickle takes over for lambdas, closures and what lives in `__main__`.
"""

from __future__ import annotations

import functools
import io
import pickle
import sys
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

from ..code.marks import unmarked
from ..errors import CodecError, GrandpaError
from ..typespec import Json
from .by_value import dump_by_value
from .frames import Buffer, Frame, own, plain, view
from .ordered_sets import dump_ordered, may_hold_sets
from .registry import Codec, Parts, codec_for, codec_named, module_of
from .sharing import SHARE, shared_form
from .unpicklable import FILES, REFUSED, advice, locate

ClassFingerprint: TypeAlias = "Callable[[Any], str | None]"
"""Asked for every class, function and node that a pickle names: the fingerprint of what is the project's own."""

BESIDE_FROM_BYTES = 4096
"""Larger buffers of arrays leave the stream."""
APART_FROM_BYTES = 64 * 1024
"""Larger bytes inside lists, tuples and dicts leave the stream."""

_LOOK_AT = 1000  # objects looked at when searching for big bytes


class Dump:
    """One value's pickling: what it collects, and what it was told."""

    __slots__ = ("apart", "beside", "classes", "files", "fingerprint", "here", "kept", "last", "unmarked")

    def __init__(self, files: bool, here: bool, fingerprint: ClassFingerprint | None) -> None:
        self.files = files
        self.here = here
        self.fingerprint = fingerprint
        self.beside: list[Frame] = []
        self.apart: list[Frame] = []
        self.kept: dict[int, tuple[int, Any]] = {}
        self.classes: dict[str, str] = {}
        self.last: Any = None
        self.unmarked: set[type] = set()

    def buffer(self, buffer: pickle.PickleBuffer) -> bool:
        """Whether the buffer stays in the stream; called by the pickler."""
        flat = buffer.raw()
        if flat.nbytes < BESIDE_FROM_BYTES:
            return True
        self.beside.append(flat)
        return False

    def reduce(self, obj: Any) -> Any:
        """What every pickler does first with an object that is not of a plain built-in type."""
        self.last = obj
        kind = type(obj)
        if hasattr(kind, SHARE):
            return shared_form(obj, result=self.files)
        codec = codec_for(kind)
        if codec is not None:
            return self.by_codec(codec, obj) if self.files or not issubclass(kind, Path) else (as_path, (str(obj),))
        if kind in REFUSED and not (kind in FILES and obj in (sys.stdout, sys.stderr)):
            raise _Refused
        if kind is types.FunctionType or issubclass(kind, type):
            module = getattr(obj, "__module__", None)
            if module == "__main__" and not self.here:
                raise _ByValue
            if self.fingerprint is not None:
                note_class(obj, self.fingerprint, self.classes)
        elif self.fingerprint is not None and kind not in self.unmarked:
            below = unmarked(obj)
            if below is obj:
                self.unmarked.add(kind)
            else:
                note_class(below, self.fingerprint, self.classes)
        return NotImplemented

    def by_codec(self, codec: Codec, obj: Any) -> Any:
        parts = codec.encode(obj)
        if self.fingerprint is not None:
            note_class(codec.type_, self.fingerprint, self.classes)
        first = len(self.apart)
        self.apart.extend(parts.frames)
        return revive, (codec.name, module_of(codec), parts.meta, first, len(parts.frames))

    def persistent_id(self, obj: Any) -> tuple[int, bool] | None:
        kind = type(obj)
        if (kind is bytes or kind is bytearray) and len(obj) >= APART_FROM_BYTES:
            if id(obj) not in self.kept:
                self.kept[id(obj)] = (len(self.apart), obj)
                self.apart.append(obj)
            return self.kept[id(obj)][0], kind is bytearray
        return None


def note_class(named: Any, fingerprint: ClassFingerprint, classes: dict[str, str]) -> None:
    """Adds the name and fingerprint of a class or function that a pickle names, where it is the project's."""
    found = fingerprint(named)
    if found is not None:
        classes[f"{named.__module__}:{named.__qualname__}"] = found


class _Refused(Exception):
    """The last object is of a type that never crosses."""


class _ByValue(Exception):
    """The last object lives in `__main__`, which no other process has."""


class _Plain(pickle.Pickler):
    def __init__(self, file: io.BytesIO, dump: Dump) -> None:
        super().__init__(file, 5, buffer_callback=dump.buffer)
        self.reduce = dump.reduce

    def reducer_override(self, obj: Any) -> Any:
        return self.reduce(obj)


class _PlainApart(_Plain):
    def __init__(self, file: io.BytesIO, dump: Dump) -> None:
        super().__init__(file, dump)
        self.persistent = dump.persistent_id

    def persistent_id(self, obj: Any) -> Any:
        return self.persistent(obj)


@functools.cache
def _cloud_pickler() -> type:
    import cloudpickle  # type: ignore[import-untyped]  # takes 35 ms, and most programs never need it

    class Cloud(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
        def __init__(self, file: io.BytesIO, dump: Dump) -> None:
            super().__init__(file, 5, buffer_callback=dump.buffer)
            self._dump = dump

        def reducer_override(self, obj: Any) -> Any:
            found = self._dump.reduce(obj)
            return super().reducer_override(obj) if found is NotImplemented else found

        def persistent_id(self, obj: Any) -> Any:
            return self._dump.persistent_id(obj)

    return Cloud


def dump(
    value: Any,
    *,
    name: str = "result",
    files: bool = True,
    here: bool = False,
    fingerprint: ClassFingerprint | None = None,
) -> tuple[tuple[Frame, ...], dict[str, Json], dict[str, str]]:
    """Frames, meta and classes of the value. The arguments are those of `codecs.encode`.

    Raises CodecError naming the part that cannot be pickled; errors of this project (a Ref's
    TraceError) pass as they are.
    """
    session = Dump(files, here, fingerprint)
    file = io.BytesIO()
    meta: dict[str, Json] = {}
    pickler = (_PlainApart if _has_big_bytes(value) else _Plain)(file, session)
    try:
        pickler.dump(value)
    except (_Refused, RecursionError, CodecError) as error:
        _explain(value, session.last, name, error)
    except (GrandpaError, MemoryError):
        raise
    except Exception:  # whatever a user's __reduce__ may raise: cloudpickle shall say it again, or manage
        session, file = _dump_by_cloudpickle(value, name, Dump(files, True, fingerprint), stable=not (files or here))
        meta["python"] = f"{sys.version_info[0]}.{sys.version_info[1]}"  # which alone can read its code
    else:
        if not (files or here) and may_hold_sets(file.getvalue()):  # a constant: the same text every time
            session = Dump(files, here, fingerprint)
            file = io.BytesIO(dump_ordered(value, session.reduce))
    if session.beside:
        meta["beside"] = len(session.beside)
    return (file.getvalue(), *session.beside, *session.apart), meta, session.classes


def _dump_by_cloudpickle(value: Any, name: str, session: Dump, *, stable: bool) -> tuple[Dump, io.BytesIO]:
    file = io.BytesIO()
    try:
        if stable:  # a constant
            file.write(dump_by_value(value, session.reduce))
        else:
            _cloud_pickler()(file, session).dump(value)
    except (_Refused, RecursionError, CodecError) as error:
        _explain(value, session.last, name, error)
    except (GrandpaError, MemoryError):
        raise
    except Exception as error:
        _explain(value, session.last, name, error)
    return session, file


def _explain(value: Any, culprit: Any, name: str, error: Exception) -> NoReturn:
    path = locate(value, culprit, name)
    if isinstance(error, CodecError):
        raise CodecError(f"{path}: {error}") from error.__cause__
    if isinstance(error, RecursionError) or "recursion" in str(error):
        raise CodecError(f"{name}: nested too deeply to be stored; return a flatter structure") from None
    reason = "" if isinstance(error, _Refused) else f" ({type(error).__name__}: {error})"
    raise CodecError(f"{path} cannot be stored: {advice(culprit)}{reason}") from (
        None if isinstance(error, _Refused) else error
    )


def _has_big_bytes(value: Any) -> bool:
    """Whether bytes worth setting apart are near the top; looking at every object would cost more than it saves."""
    waiting = [value]
    left = _LOOK_AT
    while waiting and left > 0:
        left -= 1
        item = waiting.pop()
        kind = type(item)
        if kind is list or kind is tuple:
            waiting.extend(item[:left])
        elif kind is dict:
            if len(item) <= left:
                waiting.extend(item.values())
        elif (kind is bytes or kind is bytearray) and len(item) >= APART_FROM_BYTES:
            return True
    return False


def load(frames: Sequence[Frame], meta: dict[str, Json], scratch: Path | None = None, *, given: bool = False) -> Any:
    """The value of the frames, independent of them. Raises CodecError.

    given: the frames belong to the caller alone, who will not use them again; arrays live in them then.
    """
    _check_python(str(meta.get("python", "")))
    beside = meta.get("beside", 0)
    buffers = [own(frame, given=given) for frame in frames[1 : 1 + beside]]
    stream = plain(frames[0])
    try:
        if len(frames) == 1 + beside:
            return pickle.loads(stream, buffers=buffers)
        return _Loader(stream, buffers, frames[1 + beside :], scratch, given).load()
    except (GrandpaError, MemoryError):
        raise
    except ImportError as error:
        raise CodecError(
            f"a stored value needs what cannot be imported here: {error}; add the module by include=[...] where it "
            "is the project's own, else the distribution to the node's packages=[...] or its image"
        ) from error
    except Exception as error:  # whatever a user's __setstate__ or __init__ may raise
        raise CodecError(f"a stored value cannot be loaded here ({type(error).__name__}: {error})") from error


def _check_python(written_by: str) -> None:
    here = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if written_by and written_by != here:
        raise CodecError(
            f"a stored value holds code that only Python {written_by} can read, which wrote it, and this is Python "
            f"{here}: define its functions and classes in a module, which travels as source, or use one Python for both"
        )


class _Loader(pickle.Unpickler):
    """An unpickler that finds what was set apart."""

    def __init__(
        self, stream: memoryview, buffers: Sequence[Buffer], apart: Sequence[Frame], scratch: Path | None, given: bool
    ) -> None:
        super().__init__(io.BytesIO(stream), buffers=buffers)
        self._apart = apart
        self._scratch = scratch
        self._given = given
        self._made: dict[int, Any] = {}

    def find_class(self, module: str, name: str) -> Any:
        return self._revive if name == revive.__name__ and module == __name__ else super().find_class(module, name)

    def persistent_load(self, pid: tuple[int, bool]) -> Any:
        index, mutable = pid
        if index not in self._made:
            frame = self._apart[index]
            if mutable:
                self._made[index] = bytearray(plain(frame))
            else:
                self._made[index] = frame if type(frame) is bytes else bytes(plain(frame))
        return self._made[index]

    def _revive(self, name: str, module: str, meta: dict[str, Json], first: int, count: int) -> Any:
        codec = codec_named(name, module)
        return decode_by(codec, self._apart[first : first + count], meta, self._scratch, self._given)


def decode_by(
    codec: Codec, frames: Sequence[Frame], meta: dict[str, Json], scratch: Path | None, given: bool = False
) -> Any:
    """The value that a registered codec makes of its frames."""
    if not codec.raw:
        frames = tuple(view(own(frame, given=given)) for frame in frames)
    return codec.decode(Parts(frames, meta, scratch))


def as_path(text: str) -> Path:
    """Stands in a pickle for a path that means itself: the module of Path differs from Python to Python."""
    return Path(text)


def revive(name: str, module: str, meta: dict[str, Json], first: int, count: int) -> Any:
    """Stands in a pickle where a codec's value belongs; `_Loader` puts its own method in this place."""
    raise CodecError("this pickle holds values of registered codecs: decode it by grandpa_kfp_runtime.values.codecs")
