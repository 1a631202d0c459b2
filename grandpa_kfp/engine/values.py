"""What tasks hand to each other inside one process, isolated: a task may change what it receives.

Immutable values are shared. Any other is encoded once, when its task ends, and decoded for each
consumer; so what could not cross between processes fails here too. The last consumer of an array takes
the original where nothing else holds it. A value is forgotten with its last use.
"""

from __future__ import annotations

import datetime
import decimal
import fractions
import sys
import threading
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path, PosixPath, PurePosixPath, PureWindowsPath, WindowsPath
from typing import Any

from grandpa_kfp_compiler.graph import Constant
from grandpa_kfp_runtime.code.class_fingerprints import class_fingerprint
from grandpa_kfp_runtime.errors import CodecError, ObjectGone, StoreError
from grandpa_kfp_runtime.stores.base import Store
from grandpa_kfp_runtime.typespec import Json
from grandpa_kfp_runtime.values.codecs import Encoded, decode, encode
from grandpa_kfp_runtime.values.frames import plain
from grandpa_kfp_runtime.values.handles import from_handle, to_handle
from grandpa_kfp_runtime.values.objects import pack
from grandpa_kfp_runtime.values.sharing import staying

from .task_logs import keep_value

_ATOMS = frozenset({
    type(None), bool, int, float, complex, str, bytes, type(...), type(NotImplemented), range,
    datetime.date, datetime.datetime, datetime.time, datetime.timedelta, datetime.timezone,
    decimal.Decimal, fractions.Fraction, uuid.UUID, PurePosixPath, PureWindowsPath,
})  # fmt: skip
_GROUPS = frozenset({tuple, frozenset})
_PATHS = frozenset({PosixPath, WindowsPath})
_PLAIN_CODECS = frozenset({"json", "text", "bytes", "pickle"})


def is_shareable(value: Any, *, paths: bool = False) -> bool:
    """Whether tasks may share the value: it cannot be changed, however deep one looks.

    paths: a pathlib.Path stands for itself and not for the file.

    >>> is_shareable((1, "a", (2.5, None))), is_shareable((1, [2]))
    (True, False)
    """
    kind = type(value)
    if kind in _ATOMS or (paths and kind in _PATHS):
        return True
    if kind not in _GROUPS:
        return False
    try:
        return all(is_shareable(item, paths=paths) for item in value)
    except RecursionError:
        return False


class _Slot:
    """One output of a task. uses: consumers that have not yet ended."""

    __slots__ = ("encoded", "handle", "original", "shared", "uses", "value")

    def __init__(self, uses: int) -> None:
        self.uses = uses
        self.shared = False
        self.original = False  # whether `value` is nobody else's
        self.value: Any = None
        self.encoded: Encoded | None = None
        self.handle = ""

    def copy(self) -> _Slot:
        """The same value with consumers of its own."""
        other = _Slot(0)
        other.shared, other.value, other.encoded, other.handle = self.shared, self.value, self.encoded, self.handle
        return other


class Values:
    """The outputs of a run's tasks, from their end to their last use.

    uses: how often each (task, output) will be fetched. store: of a recorded run; every output gets a
    handle in it, where it is writable. failed: told of an error on the way there, after which the value is kept.
    spool: makes the store for what must not stay in memory alone: files, which someone may overwrite.
    """

    __slots__ = ("_constants", "_failed", "_lock", "_slots", "_spool", "_store", "_uses", "_writable")

    def __init__(
        self,
        uses: dict[tuple[str, str], int],
        *,
        spool: Callable[[], Store],
        store: Store | None = None,
        writable: bool = True,
        failed: Callable[[str], None],
    ) -> None:
        self._uses = uses
        self._store = store
        self._writable = store is not None and writable
        self._failed = failed
        self._slots: dict[tuple[str, str], _Slot] = {}
        self._constants: dict[int, Encoded] = {}
        self._lock = threading.Lock()
        self._spool = spool

    def publish(self, task: str, outputs: Mapping[str, Any]) -> dict[str, str]:
        """Takes over a task's outputs; their handles where the run is recorded.

        Raises CodecError for an output that cannot be encoded.
        """
        handles: dict[str, str] = {}
        made: list[tuple[tuple[str, str], _Slot]] = []
        for name in outputs:
            alone = is_alone(outputs, name)
            value = outputs[name]
            key = (task, name)
            slot = _Slot(self._uses.get(key, 0))
            slot.shared = is_shareable(value)
            if slot.shared:
                slot.value = value
            else:
                self._encode(slot, name, value, alone)
            if self._writable:
                handle = self._record(slot, name, value)
                if handle:
                    handles[name] = handle
            if slot.uses:
                made.append((key, slot))
        self._slots.update(made)
        return handles

    def give(self, task: str, output: str, value: Any) -> str:
        """An output that is known before the run; a Constant with a handle is read when it is used. Its handle."""
        slot = _Slot(self._uses.get((task, output), 0))
        if isinstance(value, Constant):
            if value.handle is not None:
                slot.handle = value.handle
                self._slots[task, output] = slot
                return slot.handle
            value = value.value
        slot.shared = is_shareable(value)
        if slot.shared:
            slot.value = value
        else:
            self._encode(slot, output, value, alone=False)
        self._slots[task, output] = slot
        return self._record(slot, output, value) if self._writable else ""

    def recalled(self, task: str, handles: Mapping[str, str]) -> None:
        """A task's outputs as an earlier run has stored them; read when they are wanted."""
        for name, handle in handles.items():
            if self._uses.get((task, name)):
                self.give(task, name, Constant(handle=handle))

    def expect(self, uses: Mapping[tuple[str, str], int]) -> None:
        """More outputs to come, or more uses of those that are there: how often each will be fetched."""
        with self._lock:
            for key, count in uses.items():
                slot = self._slots.get(key)
                if slot is None:
                    self._uses[key] = count
                else:
                    slot.uses += count

    def share(self, task: str, output: str, maker: str, made: str) -> None:
        """An output is that of another task as it is, which is used once less."""
        with self._lock:
            slot = self._slots[maker, made]
            if slot.uses > 1:
                slot.uses -= 1
                slot.original = False  # the frames of both are its memory
                slot = slot.copy()
            else:
                del self._slots[maker, made]
                self._uses.pop((maker, made), None)
        slot.uses = self._uses.get((task, output), 0)
        if slot.uses:
            self._slots[task, output] = slot

    def fetch(self, task: str, output: str, *, again: bool, scratch: Callable[[], Path]) -> Any:
        """The output for one consumer. again: it may be fetched once more for the same use (a retry)."""
        slot = self._slots[task, output]
        if slot.shared:
            return slot.value
        with self._lock:
            if slot.uses == 1 and slot.original and not again:
                slot.original = False
                return slot.value
        if slot.encoded is not None:
            return decode(slot.encoded)
        return self._read(slot.handle, scratch())

    def has(self, task: str, output: str) -> bool:
        """Whether the output is there for one more consumer."""
        return (task, output) in self._slots

    def used(self, task: str, output: str) -> None:
        """A consumer of the output has ended for good, be it one that runs always and found none."""
        with self._lock:
            slot = self._slots.get((task, output))
            if slot is None:
                return
            slot.uses -= 1
            if not slot.uses:
                del self._slots[task, output]
                self._uses.pop((task, output), None)

    def handle(self, name: str, value: Any) -> str:
        """The handle of a value made of several; empty where the run is not recorded."""
        slot = _Slot(0)
        return self._record(slot, name, value) if self._writable else ""

    def keep(self, name: str, value: Any) -> tuple[str, dict[str, Json]]:
        """Stores a value that a task logs: its handle, empty where the run is not recorded, and facts about it.

        Raises TaskError for one that cannot be stored.
        """
        try:
            return keep_value(name, value, self._store if self._writable else None)
        except StoreError as error:
            self._give_up(error)
            return "", {}

    def constant(self, leaf: Constant, name: str, *, scratch: Callable[[], Path]) -> Any:
        """A constant for one consumer. Raises CodecError, calling it `name`."""
        if leaf.handle is not None:
            return self._read(leaf.handle, scratch())
        value = leaf.value
        if is_shareable(value, paths=True):
            return value
        encoded = self._constants.get(id(leaf))
        if encoded is None:
            with staying():
                encoded = self._constants[id(leaf)] = encode(value, name=name, files=False, here=True)
        return decode(encoded, scratch=None if is_plain(encoded) else scratch())

    def used_constant(self, leaf: Constant) -> None:
        """Its consumer has ended for good."""
        self._constants.pop(id(leaf), None)

    def _encode(self, slot: _Slot, name: str, value: Any, alone: bool) -> None:
        asked = class_fingerprint if self._writable else None  # it is part of a key, and only a store has keys
        encoded = encode(value, name=name, here=True, class_fingerprint=asked)
        if not is_plain(encoded):  # frames of other codecs may show files, which someone may overwrite
            slot.handle = self._keep(encoded)
        elif alone:
            slot.encoded, slot.value, slot.original = encoded, value, True
        else:  # whoever else holds the value may change it
            slot.encoded = encoded.owned() if slot.uses else encoded

    def _keep(self, encoded: Encoded) -> str:
        parts = pack(encoded)
        if self._store is not None and self._writable:
            try:
                return f"@{self._store.write(parts)}"
            except StoreError as error:
                self._give_up(error)
        return f"@{self._spool().write(parts)}"

    def _read(self, handle: str, scratch: Path) -> Any:
        if self._store is not None:
            try:
                return from_handle(handle, self._store, scratch=scratch)
            except ObjectGone:
                if not self._spool().exists(handle[1:]):
                    raise
        return from_handle(handle, self._spool(), scratch=scratch)

    def _record(self, slot: _Slot, name: str, value: Any) -> str:
        if slot.handle:
            return slot.handle
        assert self._store is not None
        encoded = slot.encoded
        try:
            if encoded is None or encoded.codec == "json" or _names_main(encoded):
                return to_handle(value, self._store, name=name, class_fingerprint=class_fingerprint)
            return f"@{self._store.write(pack(encoded))}"
        except StoreError as error:
            self._give_up(error)
        except CodecError as error:
            self._failed(f"an output is not recorded ({error}); its value is not touched")
        return ""

    def _give_up(self, error: StoreError) -> None:
        """Nothing is written to the store any more: each try might wait for a server that is gone."""
        with self._lock:
            first, self._writable = self._writable, False
        if first:
            self._failed(f"values are not recorded any further ({error}); the run goes on without")


def _references(outputs: Mapping[str, Any], name: str) -> int:
    return sys.getrefcount(outputs[name])


_SOLE = _references({"": object()}, "")
"""What is counted of a value that the dict of outputs alone holds; the interpreter's own share in it varies."""


def is_alone(outputs: Mapping[str, Any], name: str) -> bool:
    """Whether an output is an array whose memory nothing but `outputs` can reach: no other name, no view."""
    kind = type(outputs[name])
    if kind.__name__ != "ndarray" or kind.__module__ != "numpy" or _references(outputs, name) > _SOLE:
        return False
    return outputs[name].base is None and not outputs[name].dtype.hasobject


def is_plain(encoded: Encoded) -> bool:
    """Whether no registered codec had a part in it: then no frame shows a file."""
    inside = 1 + int(encoded.meta.get("beside", 0))
    return encoded.codec in _PLAIN_CODECS and len(encoded.frames) <= inside


def _names_main(encoded: Encoded) -> bool:
    """Whether the pickle may name classes of `__main__`, which no later process would find."""
    return encoded.codec == "pickle" and b"__main__" in bytes(plain(encoded.frames[0]))
