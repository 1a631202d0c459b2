"""Tells the parent what tasks log while they run: soon, on a thread of its own, started by the first that logs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import SimpleQueue

_SOON_S = 0.05
"""What a task logs within this goes in one message."""


class Teller:
    """Calls what it is given, a little later."""

    __slots__ = ("_calls", "_lock", "_started")

    def __init__(self) -> None:
        self._calls: SimpleQueue[tuple[float, Callable[[], None]]] = SimpleQueue()
        self._lock = threading.Lock()
        self._started = False

    def tell(self, say: Callable[[], None]) -> None:
        self._calls.put((time.monotonic() + _SOON_S, say))
        with self._lock:
            if self._started:
                return
            self._started = True
        threading.Thread(target=self._loop, name="grandpa-teller", daemon=True).start()

    def _loop(self) -> None:
        while True:
            due, say = self._calls.get()
            time.sleep(max(0.0, due - time.monotonic()))
            say()
