"""Tells what tasks of a compiled YAML say of themselves while they run: the events that they leave in the store."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from grandpa_kfp_runtime.errors import GrandpaError
from grandpa_kfp_runtime.events.kinds import Event
from grandpa_kfp_runtime.events.stored import EventReader
from grandpa_kfp_runtime.stores import Store
from grandpa_kfp_runtime.stores.file import FileStore

_HERE_S = 0.2
_ELSEWHERE_S = 2.0


class Following:
    """Looks at the tasks under way, some times a second, on a thread of its own while there are any.

    tell: called with the number of a task, its attempt, and what is new of it; never twice with the same.
    """

    def __init__(self, store: Store, tell: Callable[[int, int, Sequence[Event]], None]) -> None:
        self._store = store
        self._tell = tell
        self._every_s = _HERE_S if isinstance(store, FileStore) else _ELSEWHERE_S
        self._lock = threading.Lock()
        self._under_way: dict[tuple[int, int], EventReader] = {}
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()

    def open(self) -> None:
        """Also after `close`."""
        with self._lock:
            if self._closed.is_set():
                self._closed, self._thread = threading.Event(), None

    def begin(self, key: tuple[int, int], place: str) -> None:
        """An attempt starts. place: of its records."""
        with self._lock:
            self._under_way[key] = EventReader(self._store, place)
            if self._thread is None and not self._closed.is_set():
                self._thread = threading.Thread(target=self._loop, name="grandpa-following", daemon=True)
                self._thread.start()

    def end(self, key: tuple[int, int]) -> bool:
        """It has ended: the rest is told. Whether it left events at all."""
        with self._lock:
            reader = self._under_way.pop(key)
            self._look(key, reader)
            return reader.read > 0

    def close(self) -> None:
        self._closed.set()

    def _loop(self) -> None:
        closed = self._closed
        while not closed.wait(self._every_s):
            with self._lock:
                if not self._under_way:
                    self._thread = None
                    return
                for key, reader in self._under_way.items():
                    self._look(key, reader)

    def _look(self, key: tuple[int, int], reader: EventReader) -> None:
        try:
            found = reader.new()
        except GrandpaError:
            return  # asked again; a store that is gone is told where values are missed
        if found:
            self._tell(*key, found)
