"""Values between the tasks of a step: in memory, and nothing of them in the store unless the step fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from contextlib import nullcontext
from typing import cast

from grandpa_kfp_runtime.errors import ObjectCorrupt, ObjectGone
from grandpa_kfp_runtime.stores.base import Store
from grandpa_kfp_runtime.values.frames import Buffer
from grandpa_kfp_runtime.values.handles import to_handle
from grandpa_kfp_runtime.values.objects import pack
from grandpa_kfp_runtime.values.pickling import ClassFingerprint

from ..values import Values


class StepValues(Values):
    """often: keys of objects that several tasks read: they are fetched from the store once. run_id: whose records may
    tell who made an object that is gone."""

    def __init__(
        self,
        uses: dict[tuple[str, str], int],
        store: Store,
        spool: Callable[[], Store],
        often: Collection[str],
        failed: Callable[[str], None],
        run_id: str,
    ) -> None:
        near = cast(Store, _Near(store, spool, often, run_id))
        super().__init__(uses, spool=spool, store=near, writable=False, failed=failed)
        self._far = store

    def stored(self, task: str, output: str, class_fingerprint: ClassFingerprint) -> str:
        """The handle of an output that some task has yet to read, its value in the store; empty for any other.

        Raises StoreError, CodecError.
        """
        with self._lock:
            slot = self._slots.get((task, output))
            if slot is None or (slot.value is not None and not slot.shared and not slot.original):
                return ""  # a task has the value itself, and may have changed it
            handle, encoded, value = slot.handle, slot.encoded, slot.value
        if handle:
            if handle.startswith("@") and ":" not in handle and not self._far.exists(handle[1:]):
                self._far.write(self._spool().read(handle[1:]))
            return handle
        if encoded is not None:
            return f"@{self._far.write(pack(encoded))}"
        return to_handle(value, self._far, name=output, class_fingerprint=class_fingerprint)


class _Near:
    """A store to read from, with another one nearby for what is read often, and for what is only there."""

    def __init__(self, store: Store, spool: Callable[[], Store], often: Collection[str], run_id: str) -> None:
        self._store = store
        self._run_id = run_id
        self._spool = spool
        self._locks = {key: threading.Lock() for key in often}

    def read(self, key: str) -> Buffer:
        with self._locks.get(key) or nullcontext():
            return self._read(key)

    def _read(self, key: str) -> Buffer:
        spool = self._spool()
        if spool.exists(key):
            return spool.read(key)
        try:
            data = self._store.read(key)
        except (ObjectGone, ObjectCorrupt) as error:
            from grandpa_kfp_runtime.launch.inputs import whence

            raise type(error)(f"{error}{whence(self._store, self._run_id, f'@{key}')}") from error
        if key not in self._locks:
            return data
        spool.write(data)
        return spool.read(key)
