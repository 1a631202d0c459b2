"""Writes what a run leaves: results in batches, by a thread of their own.

A batch that is not full is written again with what has come, so that a long run leaves few records, and a killed one
loses little.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from grandpa_kfp_runtime.errors import StoreError
from grandpa_kfp_runtime.stores.base import Store

from .identity import Identity
from .results import Batch, Result, folder_of

_WRITE_EVERY_S = 2.0
"""What a killed run loses at most."""
_FULL = 1_000
"""Results in a record."""


class ResultWriter:
    """run: the run's id; failed: told of the store's failure, after which nothing is written any more."""

    def __init__(self, store: Store, run: str, failed: Callable[[StoreError], None]) -> None:
        self._store = store
        self._run = run
        self._failed = failed
        self._lock = threading.Lock()
        self._open: dict[tuple[str, str], tuple[str, Batch]] = {}
        self._changed: dict[str, Batch] = {}
        self._records = 0
        self._alive = True
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, identity: Identity, parts: Mapping[str, str], result: Result) -> None:
        """Keeps a result. parts: what the code consists of."""
        of = identity.node, identity.fingerprint
        with self._lock:
            path, batch = self._open.get(of) or self._next(of, parts)
            batch.results[identity.key] = result
            self._changed[path] = batch
            if len(batch.results) >= _FULL:
                del self._open[of]
            if self._thread is None and not self._closing.is_set():
                self._thread = threading.Thread(target=self._write_often, name="grandpa-memo", daemon=True)
                self._thread.start()

    def _next(self, of: tuple[str, str], parts: Mapping[str, str]) -> tuple[str, Batch]:
        self._records += 1
        node, fingerprint = of
        path = f"{folder_of(node)}{self._run}-{self._records}.json"
        found = self._open[of] = path, Batch(node, fingerprint, parts, self._run)
        return found

    def close(self) -> None:
        """All that was added is written when this returns."""
        with self._lock:  # a task that the run left behind may add until now
            self._closing.set()
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()
        self._write()

    def _write_often(self) -> None:
        while not self._closing.wait(_WRITE_EVERY_S):
            self._write()

    def _write(self) -> None:
        with self._lock:
            changed, self._changed = self._changed, {}
            written = [(path, batch, dict(batch.results)) for path, batch in changed.items()]
        for path, batch, results in written if self._alive else ():
            record = Batch(batch.node, batch.fingerprint, batch.parts, batch.run, results).to_json()
            try:
                self._store.put_record(path, record)
            except StoreError as error:
                self._alive = False
                self._failed(error)
                return
