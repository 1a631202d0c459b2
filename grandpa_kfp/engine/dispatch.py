"""The scheduler behind a lock: ready tasks go to the free lanes of an executor.

Whoever sees a task end calls `done` or `failed`, and is given the task that its lane runs next: so a chain
of tiny tasks stays on one thread. More lanes are brought in by the thread that waits in `run`, and only
for tasks that last: threads of one interpreter that all run tiny tasks would only get in each other's way.
`session.py` starts it and waits; `attempts.py` reports to it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

from .cancelling import CancelToken
from .scheduler import Schedule

_HEAR_SIGNALS_EVERY_S = 0.25
"""Python hears of a signal that comes just before its main thread blocks only when that wakes up."""
_LOOK_EVERY_S = 0.0005
_TINY_S = 0.00005
"""Ready tasks wait for the lanes at work while tasks take less than this, overhead included."""


class Executor(Protocol):
    """How tasks are run: threads, processes, whatever comes. A lane runs one task at a time.

    For each task it was given, by `submit` or as the answer to its own report, an executor reports one end
    to the dispatcher.
    """

    @property
    def lanes(self) -> int:
        """How many tasks may run at once."""
        ...

    def submit(self, task: int) -> None:
        """Run the task on a lane that is free, which the caller knows there is. Must not wait."""
        ...

    def close(self) -> None:
        """Nothing more comes. Ends what still runs where that is possible, and does not wait for it."""
        ...


class Dispatcher:
    """Hands out a schedule's tasks until all have ended, or until it is told to stop.

    cancel: looked at whenever a task ends, and every now and then. ready: told of each task that is ready, while the
    lock is held: it must not wait nor call back. succeeded: whether a task has, for those that run always.
    """

    __slots__ = (
        "_cancel", "_defect", "_done", "_executor", "_free", "_held", "_keep_going", "_lock", "_over", "_paused",
        "_ready", "_schedule", "_stopped", "_succeeded", "_wake", "lost",
    )  # fmt: skip

    def __init__(
        self,
        schedule: Schedule,
        executor: Executor,
        *,
        keep_going: bool = False,
        ready: Callable[[int], None] | None = None,
        cancel: CancelToken | None = None,
        succeeded: Callable[[int], bool] = lambda task: False,
    ) -> None:
        self._schedule = schedule
        self._succeeded = succeeded
        self._paused: set[int] = set()
        self._held = False
        self._cancel = cancel or CancelToken()
        self._executor = executor
        self._keep_going = keep_going
        self._ready = ready
        self._free = executor.lanes
        self._lock = threading.Lock()
        self._wake = threading.Event()  # `run` has something to do: lanes to bring in, or to return
        self._over = False
        self._stopped = False
        self._done = 0
        self._defect: BaseException | None = None
        self.lost: list[int] = []  # tasks that can never run, because one before them failed

    def run(self) -> None:
        """Start, and return when every task has ended, or the first has failed and nothing is to go on.

        Raises what `crash` was told. KeyboardInterrupt passes through; `stop` is the caller's.
        """
        with self._lock:
            self._look_at_cancel()
            self._tell_ready(self._schedule.ready())
            self._bring_in(1)
            self._end_if_idle()
            self._ask_for_lanes()
        while not self._over:
            if self._wake.wait(_HEAR_SIGNALS_EVERY_S):
                self._watch()
            with self._lock:
                self._look_at_cancel()
        if self._defect is not None:
            raise self._defect

    def _watch(self) -> None:
        """Brings in all free lanes as soon as ready tasks wait for tasks that last."""
        looked, done = time.perf_counter(), self._done
        while not self._over:
            time.sleep(_LOOK_EVERY_S)
            with self._lock:
                self._look_at_cancel()
                now = time.perf_counter()
                if now - looked > (self._done - done) * _TINY_S:
                    self._bring_in(self._free)
                if not (self._schedule.has_ready and self._free):
                    if not self._over:
                        self._wake.clear()
                    return
                looked, done = now, self._done

    def done(self, task: int) -> int | None:
        """The task succeeded. Returns the task that the same lane runs next, None when there is none."""
        with self._lock:
            schedule = self._schedule
            self._done += 1
            ready = schedule.finish(task)
            if self._ready is not None:
                self._tell_ready(ready)
            if self._cancel.cancelled or (self._held and not schedule.has_always):
                self._stop()
            if self._stopped:
                return None
            following = schedule.take()
            if following is None:
                self._free += 1
                self._end_if_idle()
            else:
                self._ask_for_lanes()
            return following

    def failed(self, task: int) -> int | None:
        """The task failed for good. Returns as `done` does."""
        with self._lock:
            self.lost.extend(self._schedule.fail(task))
            if not self._keep_going:
                self._hold()
            return self._next()

    def grew(self, extend: Callable[[Schedule], list[int]]) -> int | None:
        """A task's body has ended, and the task goes on as others. Returns as `done` does.

        extend: adds them to the schedule, which it alone uses meanwhile, and says which are ready. What it raises
        passes through, and the task runs on.
        """
        with self._lock:
            if not self._stopped:
                ready = extend(self._schedule)
                self._done += 1
                self._tell_ready(ready)
            return self._next()

    def paused(self, task: int) -> int | None:
        """The task's lane is free though the task has not ended: it waits for `resume`. Returns as `done` does."""
        with self._lock:
            self._schedule.rest(task)
            if self._held:
                self._schedule.put_back(task)
            else:
                self._paused.add(task)
            return self._next()

    def resume(self, task: int) -> None:
        """A paused task is ready again."""
        with self._lock:
            if task not in self._paused:
                return
            self._paused.discard(task)
            self._schedule.put_back(task)
            if not self._stopped:
                self._bring_in(1)

    def stop(self) -> None:
        """Hand out nothing more and let `run` return, whatever still runs."""
        with self._lock:
            self._stop()

    def crash(self, defect: BaseException) -> None:
        """An executor or the engine itself failed: `run` raises this at once."""
        with self._lock:
            if self._defect is None:
                self._defect = defect
            self._stop()

    def _look_at_cancel(self) -> None:
        if self._cancel.cancelled and not self._over:
            self._stop()

    def _hold(self) -> None:
        """The first task has failed: what runs may end, then those that run always are given out."""
        if not self._schedule.has_always:
            self._stop()
        elif not self._held:
            self._held = True
            self._schedule.hold()
            for task in sorted(self._paused):
                self._schedule.put_back(task)
            self._paused.clear()

    def _next(self) -> int | None:
        self._look_at_cancel()
        if self._held and not self._schedule.has_always:
            self._stop()
        following = None if self._stopped else self._schedule.take()
        if following is None:
            self._free += 1
            self._end_if_idle()
        else:
            self._ask_for_lanes()
        return following

    def _tell_ready(self, tasks: list[int]) -> None:
        if self._ready is not None:
            for task in tasks:
                self._ready(task)

    def _ask_for_lanes(self) -> None:
        if self._free and self._schedule.has_ready and not self._wake.is_set():
            self._wake.set()

    def _bring_in(self, lanes: int) -> None:
        while lanes and self._free and (task := self._schedule.take()) is not None:
            self._free -= 1
            lanes -= 1
            self._executor.submit(task)

    def _end_if_idle(self) -> None:
        schedule = self._schedule
        if schedule.has_ready or (schedule.running and not (self._held and not schedule.is_held_up)):
            return
        ready: list[int] = []
        if not self._stopped and self._schedule.has_always:
            ready, lost = self._schedule.wind_up(self._succeeded)
            self.lost.extend(lost)
        if ready:
            self._tell_ready(ready)
            self._ask_for_lanes()
        elif self._stopped or not (schedule.running and schedule.has_always):
            self._end()

    def _end(self) -> None:
        self._over = True
        self._wake.set()

    def _stop(self) -> None:
        self._stopped = True
        self._schedule.stop()
        self._end()
