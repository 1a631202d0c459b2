"""What a worker has made and not yet handed on: outputs, isolated from the tasks to come.

Small ones leave with the report of their task. A big one stays until the parent knows who wants it: the
next task on this worker takes it without a copy, anybody else gets it through shared memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from grandpa_kfp_runtime.code.class_fingerprints import class_fingerprint
from grandpa_kfp_runtime.errors import CodecError, ObjectGone, StoreError
from grandpa_kfp_runtime.stores.base import Store
from grandpa_kfp_runtime.stores.file import FileStore
from grandpa_kfp_runtime.typespec import Json
from grandpa_kfp_runtime.values.codecs import Encoded, decode, encode
from grandpa_kfp_runtime.values.frames import plain, size_of
from grandpa_kfp_runtime.values.handles import from_handle, to_handle
from grandpa_kfp_runtime.values.objects import pack

from ..task_logs import keep_value
from ..values import is_alone, is_plain, is_shareable
from . import segments
from .parcels import INLINE_BYTES, KEPT, PLAIN, STORED, Key, Parcel, packed

SEND = 1
"""Bit of what is wanted of an output: the parent gets it. The bits above count the tasks of this chunk that read it."""


def wanted(send: bool, here: int) -> int:
    """What is wanted of an output: by the parent, and how often by tasks that this lane has been given too.

    >>> wanted(True, 0), wanted(False, 1)
    (1, 2)
    """
    return here << 1 | send


class _Held:
    """value: the original where nobody else has it; encoded: its frames, which may show the original's memory;
    shared: the value cannot be changed; here: tasks of its chunk that are to read it; told: whether the parent
    knows that it is kept, and says when it is not."""

    __slots__ = ("alone", "encoded", "here", "shared", "told", "value")

    def __init__(
        self, value: Any, encoded: Encoded | None, here: int, *, alone: bool, shared: bool, told: bool
    ) -> None:
        self.value = value
        self.encoded = encoded
        self.here = here
        self.alone = alone
        self.shared = shared
        self.told = told


class Holdings:
    """spool: makes the store for what must lie on disk; store: of a recorded run, whose objects get handles."""

    __slots__ = ("_failed", "_held", "_loose", "_spool", "_store")

    def __init__(self, spool: Callable[[], Store], store: Store | None, failed: Callable[[str], None]) -> None:
        self._spool = spool
        self._store = store
        self._failed = failed
        self._held: dict[Key, _Held] = {}
        self._loose: list[_Held] = []

    def publish(
        self, task: str, outputs: Mapping[str, Any], wanted: Sequence[int]
    ) -> tuple[tuple[Parcel | None, ...], dict[str, str]]:
        """Takes over a task's outputs: the parcel of each that the parent wants, and the handles of a recorded run.

        wanted: see there, for each output, in order. Raises CodecError for an output that cannot be encoded.
        """
        parcels: list[Parcel | None] = []
        handles: dict[str, str] = {}
        for name, what in zip(outputs, wanted, strict=True):
            alone = is_alone(outputs, name)
            parcels.append(self._take((task, name), outputs[name], what, alone, handles))
        return tuple(parcels), handles

    def _take(self, key: Key, value: Any, what: int, alone: bool, handles: dict[str, str]) -> Parcel | None:
        name = key[1]
        if is_shareable(value):
            if self._store is not None:
                self._record(key, value, None, handles)
            big = what & SEND and _is_big(value)
            if what > SEND or big:
                self._held[key] = _Held(value, None, what >> 1, alone=True, shared=True, told=bool(big))
            if big:
                return (KEPT, segments.layout_of([_length(value)])[1])
            return (PLAIN, value) if what & SEND else None
        encoded = encode(value, name=name, class_fingerprint=class_fingerprint if self._store is not None else None)
        if not is_plain(encoded):  # its frames may show files, which someone may overwrite
            handle = handles[name] = self._keep_on_disk(encoded)
            return (STORED, handle, True)
        if self._store is not None:
            self._record(key, value, encoded, handles)
        big = what & SEND and encoded.size_bytes > INLINE_BYTES
        if what > SEND or big:
            held = _Held(value if alone else None, encoded, what >> 1, alone=alone, shared=False, told=bool(big))
            self._held[key] = held
            if not alone:
                self._loose.append(held)
        if big:
            return (KEPT, segments.layout_of([size_of(frame) for frame in encoded.frames])[1])
        return packed(encoded) if what & SEND else None

    def keep(self, name: str, value: Any) -> tuple[str, dict[str, Json]]:
        """Stores a value that a task logs, as `Values.keep` does. Raises TaskError for one that cannot be stored."""
        try:
            return keep_value(name, value, self._store)
        except StoreError as error:
            self._give_up(error)
            return "", {}

    def constant(self, value: Any, name: str) -> Parcel:
        """A constant of a task to come, for any worker. Raises CodecError, calling it `name`."""
        encoded = encode(value, name=name, files=False)
        return packed(encoded) if is_plain(encoded) else (STORED, self._keep_on_disk(encoded), True)

    def settle(self) -> None:
        """Before another task runs: what somebody else may still hold and change gets memory of its own."""
        for held in self._loose:
            if held.encoded is not None:
                held.encoded = held.encoded.owned()
        self._loose.clear()

    def fetch(self, key: Key, *, take: bool) -> Any:
        """An output for a task of this worker. take: nobody will ask for it again; else it is one of those `here`."""
        held = self._held[key]
        last = take or self._one_less(key, held)
        if take:
            del self._held[key]
        if held.shared or (last and held.alone):
            return held.value
        assert held.encoded is not None
        return decode(held.encoded, given=last)

    def cancel(self, key: Key) -> None:
        """A task that was to read it here does not run here."""
        held = self._held.get(key)
        if held is not None:
            self._one_less(key, held)

    def _one_less(self, key: Key, held: _Held) -> bool:
        """Whether the output is forgotten with this."""
        held.here -= 1
        if held.here or held.told:
            return False
        del self._held[key]
        return True

    def export(self, key: Key, descriptor: int, *, used_before: bool) -> tuple[segments.Layout, str, Mapping[str, Any]]:
        """Copies an output into shared memory and lets go of it. Raises OSError when the memory is full."""
        held = self._held[key]
        encoded = held.encoded or encode(held.value, name=key[1])
        layout, _ = segments.layout_of([size_of(frame) for frame in encoded.frames])
        frames = [plain(frame) for frame in encoded.frames]
        segments.write(descriptor, layout, frames, used_before=used_before)
        self.drop(key)
        return layout, encoded.codec, encoded.meta

    def store(self, key: Key) -> str:
        """Writes an output to disk and lets go of it: its handle. Raises OSError, StoreError."""
        held = self._held[key]
        handle = self._keep_on_disk(held.encoded or encode(held.value, name=key[1]))
        self.drop(key)
        return handle

    def drop(self, key: Key) -> None:
        """The parent does not ask for it again."""
        held = self._held.get(key)
        if held is not None:
            held.told = False
            if held.here <= 0:
                del self._held[key]
                held.encoded = None  # not copied any more by `settle`

    def clear(self) -> None:
        self._held.clear()
        self._loose.clear()

    def _keep_on_disk(self, encoded: Encoded) -> str:
        parts = pack(encoded)
        if self._store is not None:
            try:
                return f"@{self._store.write(parts)}"
            except StoreError as error:
                self._give_up(error)
        return f"@{self._spool().write(parts)}"

    def _record(self, key: Key, value: Any, encoded: Encoded | None, handles: dict[str, str]) -> None:
        assert self._store is not None
        try:
            if encoded is None or encoded.codec == "json":
                handle = to_handle(value, self._store, name=key[1], class_fingerprint=class_fingerprint)
            else:
                handle = f"@{self._store.write(pack(encoded))}"
            handles[key[1]] = handle
        except StoreError as error:
            self._give_up(error)
        except CodecError as error:
            self._failed(f"an output of {key[0]} is not recorded ({error}); its value is not touched")

    def _give_up(self, error: StoreError) -> None:
        """Nothing is written to the store any more: each try might wait for a server that is gone."""
        self._store = None
        self._failed(f"values are not recorded any further ({error}); the run goes on without")


def read_stored(parcel: Parcel, store: Store | None, spool: Callable[[], Store], scratch: Path | None) -> Any:
    """The value of a STORED parcel, in the run's store or in its spool."""
    _, handle, own = parcel
    if store is not None:
        try:
            return from_handle(handle, _fast(store) if own else store, scratch=scratch)
        except ObjectGone:
            if not spool().exists(handle[1:]):
                raise
    return from_handle(handle, _fast(spool()) if own else spool(), scratch=scratch)


class _Unchecked:
    """A folder's objects without a look at their hash: this run has just written them."""

    def __init__(self, store: FileStore) -> None:
        self.read = store.read_unchecked


def _fast(store: Store) -> Any:
    return _Unchecked(store) if isinstance(store, FileStore) else store


def _is_big(value: Any) -> bool:
    kind = type(value)
    return (kind is bytes or kind is str) and len(value) > INLINE_BYTES


def _length(value: Any) -> int:
    return len(value) if type(value) is bytes else len(value.encode("utf-8", "surrogatepass"))
