"""A run on threads of this process: dispatcher, lanes, timers, attempts, put together for `session.py`."""

from __future__ import annotations

from collections.abc import Callable

from .attempts import Attempts, Body
from .cancelling import CancelToken
from .dispatch import Dispatcher
from .ledger import Ledger
from .scheduler import Schedule
from .threads import ThreadExecutor
from .timers import Timers


class ThreadLanes:
    """body: how a lane runs a task. ready: told of each task that is ready; None for nobody. recall: see `Attempts`."""

    def __init__(
        self,
        body: Body,
        lanes: int,
        schedule: Schedule,
        ledger: Ledger,
        *,
        keep_going: bool,
        ready: Callable[[int], None] | None,
        cancel: CancelToken | None = None,
        recall: Callable[[int], bool] | None = None,
    ) -> None:
        self._timers = Timers(lambda defect: self._dispatcher.crash(defect))
        attempts = Attempts(body, ledger, self._timers, recall)
        self._executor = ThreadExecutor(lanes, attempts.work, lambda defect: self._dispatcher.crash(defect))
        self._dispatcher = Dispatcher(
            schedule,
            self._executor,
            keep_going=keep_going,
            ready=ready,
            cancel=cancel,
            succeeded=lambda task: ledger.runs[task].succeeded,
        )
        attempts.connect(self._dispatcher, self._executor)

    @property
    def lost(self) -> list[int]:
        return self._dispatcher.lost

    def run(self) -> None:
        self._dispatcher.run()

    def stop(self) -> None:
        self._dispatcher.stop()

    def close(self) -> None:
        self._executor.close()
        self._timers.close()
