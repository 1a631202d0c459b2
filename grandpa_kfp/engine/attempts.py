"""One task on one lane: its attempts, its timeout, its retries, and how it ended.

Between the dispatcher, which says what runs, and a `Body`, which knows how. The same for every engine.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from grandpa_kfp_runtime.errors import TaskError, TaskTimeout

from .dispatch import Dispatcher, Executor
from .events import Journal, TaskFailed, TaskFinished, TaskRetried, TaskStarted
from .run import TaskRun
from .timers import Timer, Timers

LONGEST_PAUSE_S = 60.0


def pause_s(attempt: int, first_s: float = 1.0, factor: float = 2.0) -> float:
    """Seconds to wait after a failed attempt (from 1): doubled each time, up to a minute, and up to a tenth more.

    >>> 4.0 <= pause_s(3) <= 4.4
    True
    """
    return float(min(first_s * factor ** min(attempt - 1, 64), LONGEST_PAUSE_S)) * (1 + random.random() / 10)


@dataclass(frozen=True, slots=True)
class Policy:
    """timeout_s: of one attempt, 0 for none."""

    retries: int = 0
    timeout_s: float = 0.0
    pause_s: Callable[[int], float] = pause_s


class Body(Protocol):
    """How the tasks of a run are run. Called on lanes, several at a time."""

    def run(self, task: int, attempt: int) -> Any:
        """Run one attempt; what it returns goes to `publish`. Raises whatever the task raises."""
        ...

    def publish(self, task: int, result: Any) -> Mapping[str, str]:
        """Hand the result on; the outputs' handles. Raises where that cannot be done, which fails the attempt.

        Not called for an attempt that was given up.
        """
        ...

    def report(self, task: int, attempt: int, error: BaseException) -> TaskError:
        """What the run raises for a task that failed, the whole report as its text."""
        ...

    def give_up(self, task: int, attempt: int) -> None:
        """The attempt ran out of time: end it if that is possible. Its `run` may still be under way."""
        ...

    def ended(self, task: int) -> None:
        """The task has succeeded or failed for good: no attempt follows."""
        ...


class Attempts:
    """`work` is what lanes do. errors: what failed tasks raised, in the order they failed."""

    def __init__(
        self,
        body: Body,
        runs: Sequence[TaskRun],
        policies: Sequence[Policy],
        journal: Journal,
        timers: Timers,
    ) -> None:
        self._body = body
        self._runs = runs
        self._policies = policies
        self._journal = journal
        self._timers = timers
        self._lock = threading.Lock()
        self._closed = False
        self.errors: list[TaskError] = []

    def connect(self, dispatcher: Dispatcher, executor: Executor) -> None:
        """Before the first `work`."""
        self._dispatcher = dispatcher
        self._executor = executor

    def close(self) -> None:
        """What ends from now on changes nothing any more."""
        with self._lock:
            self._closed = True

    def work(self, task: int) -> int | None:
        """Run one attempt of the task; returns the task that this lane runs next."""
        run, policy, journal = self._runs[task], self._policies[task], self._journal
        run.attempts = attempt = run.attempts + 1
        run.state = "running"
        run.started = time.time()
        if journal.active and run.id:
            journal.tell(TaskStarted(run.started, run.id, attempt))
        timer = self._watch(task, attempt, policy) if policy.timeout_s else None
        begun = time.perf_counter()
        claimed = timer is None
        try:
            result = self._body.run(task, attempt)
            claimed = self._claim(timer)
            if not claimed:
                return None  # given up; another lane has taken this one's place
            outputs = self._body.publish(task, result)
        except BaseException as error:
            if not claimed and not self._claim(timer):
                return None
            return self._fail(task, attempt, error, time.perf_counter() - begun)
        run.duration_s = time.perf_counter() - begun
        if self._closed:
            return None
        run.outputs = outputs
        run.state = "succeeded"
        self._body.ended(task)
        if journal.active and run.id:
            journal.tell(TaskFinished(time.time(), run.id, attempt, run.duration_s, outputs))
        return self._dispatcher.done(task)

    def _watch(self, task: int, attempt: int, policy: Policy) -> Timer:
        def give_up() -> None:
            if not self._claim(timer):
                return
            self._body.give_up(task, attempt)
            error = TaskTimeout(f"it ran longer than its timeout_s of {policy.timeout_s:g} s")
            following = self._fail(task, attempt, error, policy.timeout_s)
            if following is not None:  # the timed-out task keeps its lane, so this one needs another
                self._executor.submit(following)

        timer = self._timers.after(policy.timeout_s, give_up)
        return timer

    def _claim(self, timer: Timer | None) -> bool:
        """Whether this caller is the first to end the timed attempt: the lane, or the timer."""
        if timer is None:
            return True
        with self._lock:
            first = not timer.claimed
            timer.claimed = True
        timer.cancel()
        return first

    def _fail(self, task: int, attempt: int, error: BaseException, duration_s: float) -> int | None:
        run, policy = self._runs[task], self._policies[task]
        if self._closed:
            return None
        run.duration_s = duration_s
        run.error = one_line(error)
        if attempt <= policy.retries:
            wait_s = policy.pause_s(attempt)
            if self._journal.active:
                self._journal.tell(TaskRetried(time.time(), run.id, attempt, duration_s, wait_s, run.error))
            run.state = "waiting"
            self._timers.after(wait_s, lambda: self._dispatcher.resume(task))
            return self._dispatcher.paused(task)
        report = self._body.report(task, attempt, error)
        run.state = "failed"
        run.report = str(report)
        with self._lock:
            if self._closed:
                return None
            self.errors.append(report)
        self._body.ended(task)
        if self._journal.active:
            self._journal.tell(TaskFailed(time.time(), run.id, attempt, duration_s, run.error, run.report))
        return self._dispatcher.failed(task)


def one_line(error: BaseException) -> str:
    """`ValueError: what it says`, the first line of it.

    >>> one_line(ValueError("bad\\nworse")), one_line(KeyError())
    ('ValueError: bad', 'KeyError')
    """
    try:
        text = str(error)
    except Exception:  # a user's __str__ may be broken
        text = "(its text cannot be shown)"
    first = text.strip().partition("\n")[0]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
