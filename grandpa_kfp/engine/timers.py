"""One thread that calls back at given times: the timeouts of tasks and the pauses before a retry.

The thread is started with the first timer, sleeps until the next one is due, and polls nothing.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from heapq import heappop, heappush


class Timer:
    """One call to come. `cancel` keeps it from being made."""

    __slots__ = ("call", "claimed")

    def __init__(self, call: Callable[[], None]) -> None:
        self.call: Callable[[], None] | None = call
        self.claimed = False  # for the owner: whether what was timed has ended

    def cancel(self) -> None:
        self.call = None


class Timers:
    """The timers of one run.

    crashed: told of an exception that a call raises.
    """

    __slots__ = ("_changed", "_closed", "_crashed", "_due", "_number", "_started")

    def __init__(self, crashed: Callable[[BaseException], None]) -> None:
        self._crashed = crashed
        self._changed = threading.Condition()
        self._due: list[tuple[float, int, Timer]] = []
        self._number = itertools.count()
        self._started = False
        self._closed = False

    def after(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Call that many seconds from now, on the timers' thread."""
        timer = Timer(call)
        with self._changed:
            heappush(self._due, (time.monotonic() + seconds, next(self._number), timer))
            if not self._started:
                self._started = True
                threading.Thread(target=self._loop, name="grandpa-timers", daemon=True).start()
            elif self._due[0][2] is timer:
                self._changed.notify()
        return timer

    def close(self) -> None:
        """No timer calls any more, and the thread ends."""
        with self._changed:
            self._closed = True
            self._due.clear()
            self._changed.notify()

    def _loop(self) -> None:
        try:
            while (timer := self._next()) is not None:
                if timer.call is not None:
                    timer.call()
        except BaseException as defect:
            self._crashed(defect)

    def _next(self) -> Timer | None:
        with self._changed:
            while not self._closed:
                while self._due and self._due[0][2].call is None:
                    heappop(self._due)
                if not self._due:
                    self._changed.wait()
                    continue
                wait_s = self._due[0][0] - time.monotonic()
                if wait_s <= 0:
                    return heappop(self._due)[2]
                self._changed.wait(min(wait_s, threading.TIMEOUT_MAX))
        return None
