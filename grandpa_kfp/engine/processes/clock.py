"""Calls to come, made by the thread that waits for workers."""

from __future__ import annotations

import time
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count


class Clock:
    """Nothing happens by itself: `ring` makes the calls that are due."""

    __slots__ = ("_due", "_numbers")

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        heappush(self._due, (time.monotonic() + seconds, next(self._numbers), call))

    def wait_s(self, longest_s: float) -> float:
        """Seconds until the next call is due, no more than the longest."""
        if not self._due:
            return longest_s
        return max(0.0, min(longest_s, self._due[0][0] - time.monotonic()))

    def ring(self) -> None:
        now = time.monotonic()
        while self._due and self._due[0][0] <= now:
            heappop(self._due)[2]()
