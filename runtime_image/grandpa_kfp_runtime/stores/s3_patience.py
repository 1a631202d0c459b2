"""How long a request is repeated before its error is believed. The S3 store's requests all go through here."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from .s3_errors import is_passing, reason

PATIENCE_S = 60.0
"""One request is repeated for so long: a server that is gone for half a minute costs the time, not the run."""
FIRST_PATIENCE_S = 2.0
"""The same while the server has never answered: most likely its address is wrong, and somebody waits."""
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 4.0
_TELL_FROM_S = 1.0  # shorter interruptions are nobody's concern

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")


class Patience:
    """Repeats what failed for a reason that passes, with growing pauses, within a bounded time.

    One for each store: a server that has not answered to the end once gets little time the next time,
    so that the report of a failure does not wait as long as the failed work did.
    """

    def __init__(self, where: str, *, total_s: float = PATIENCE_S, first_s: float = FIRST_PATIENCE_S) -> None:
        self.where = where
        self._total_s = total_s
        self._left_s = min(first_s, total_s)
        self._told = False

    def repeat(self, act: Callable[[], _Result], stop: threading.Event | None = None) -> _Result:
        """What `act` returns, or the error that no repetition helps against. `stop` ends the waiting at once."""
        deadline: float | None = None
        pause = FIRST_PAUSE_S
        while True:
            try:
                result = act()
            except Exception as error:
                if not is_passing(error):
                    self._answered()
                    raise
                deadline = deadline or time.monotonic() + self._left_s
                wait = pause * random.uniform(0.5, 1.0)  # so that many tasks do not come back at the same moment
                if time.monotonic() + wait > deadline:
                    self._left_s = min(FIRST_PATIENCE_S, self._total_s)
                    raise
                if pause >= _TELL_FROM_S:
                    self._tell(error, deadline)
                if (stop or threading.Event()).wait(wait):
                    raise
                pause = min(2 * pause, LONGEST_PAUSE_S)
            else:
                self._answered()
                return result

    def _answered(self) -> None:
        self._left_s = self._total_s
        self._told = False

    def _tell(self, error: Exception, deadline: float) -> None:
        if not self._told:
            self._told = True
            left = deadline - time.monotonic()
            _log.warning("%s: no answer (%s); trying again for %.0f s", self.where, reason(error), left)
