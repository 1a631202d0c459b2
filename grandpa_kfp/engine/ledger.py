"""The books of a run: how each task goes, what is told of it, whether it is tried again.

Executors of every kind keep them: threads (`attempts.py`) from many lanes at once, worker processes
(`processes/`) from one thread. Who runs next is not written here; `dispatch.py` and its peers decide that.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from grandpa_kfp_runtime.errors import TaskError
from grandpa_kfp_runtime.events.kinds import Stream
from grandpa_kfp_runtime.logged.entries import NOTHING_LOGGED, Logged
from grandpa_kfp_runtime.printed.task_output import TaskOutput

from .events import (
    Event,
    Journal,
    TaskCached,
    TaskDropped,
    TaskFailed,
    TaskFinished,
    TaskGrew,
    TaskPrinted,
    TaskRetried,
    TaskStarted,
)
from .run import TaskRun
from .task_logs import events_of

if TYPE_CHECKING:
    from .memo.memo import Memo
    from .memo.results import Result

LONGEST_PAUSE_S = 60.0


def pause_s(attempt: int, first_s: float = 1.0, factor: float = 2.0, longest_s: float = LONGEST_PAUSE_S) -> float:
    """Seconds to wait after a failed attempt (from 1): times the factor each time, up to the longest, and up to a
    tenth more, so that many tasks do not come back at the same moment.

    >>> 4.0 <= pause_s(3) <= 4.4
    True
    """
    try:
        pause = first_s * factor ** (attempt - 1)
    except OverflowError:
        pause = longest_s
    return float(min(pause, longest_s)) * (1 + random.random() / 10)


@dataclass(frozen=True, slots=True)
class Policy:
    """timeout_s: of one attempt, 0 for none; fallback: handle of the result of a task that has failed for good."""

    retries: int = 0
    timeout_s: float = 0.0
    pause_s: Callable[[int], float] = pause_s
    fallback: str | None = None


class Ledger:
    """errors: what failed tasks raised, in the order they failed. A task without an id is told to nobody.

    memo: told of results, None for nobody.
    """

    __slots__ = ("_closed", "_journal", "_lock", "_memo", "errors", "policies", "runs")

    def __init__(
        self, runs: Sequence[TaskRun], policies: Sequence[Policy], journal: Journal, memo: Memo | None = None
    ) -> None:
        self.runs = runs
        self._memo = memo
        self.policies = policies
        self._journal = journal
        self._lock = threading.Lock()
        self._closed = False
        self.errors: list[TaskError] = []

    @property
    def closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        """What ends from now on is not written down any more."""
        with self._lock:
            self._closed = True

    def begun(self, task: int) -> int:
        """Another attempt at the task; its number, from 1."""
        run, journal = self.runs[task], self._journal
        run.attempts = attempt = run.attempts + 1
        run.state = "running"
        run.started = time.time()
        run.logged = NOTHING_LOGGED
        if journal.active and run.id:
            journal.tell(TaskStarted(run.started, run.id, attempt))
        return attempt

    def logs(self, task: int, attempt: int, take: Callable[[], Logged]) -> None:
        """The task logs something: `take` is asked soon for what is new, which is told then."""
        run, journal = self.runs[task], self._journal
        if journal.active and run.id:
            journal.tell_later(lambda: events_of(run.id, attempt, take()))

    def logged(self, task: int, logged: Logged) -> None:
        """All that the attempt logged. What of it was not yet given to `logs` is told by the caller that way."""
        self.runs[task].logged = logged

    def output(self, task: int, attempt: int) -> TaskOutput:
        """Where the attempt's prints go, when it runs in this process: they are told soon."""
        name, journal = self.runs[task].id, self._journal

        def told() -> list[TaskPrinted]:
            at = time.time()
            return [TaskPrinted(at, name, attempt, stream, text) for stream, text in output.take()]

        output = TaskOutput(lambda: journal.tell_later(told))
        return output

    def printed(self, task: int, attempt: int, stream: Stream, text: str) -> None:
        """The attempt has printed that: whole lines."""
        self._journal.tell(TaskPrinted(time.time(), self.runs[task].id, attempt, stream, text))

    def tell(self, event: Event) -> None:
        """What a task's container has told of tasks that nobody here knows."""
        if self._journal.active:
            self._journal.tell(event)

    def not_begun(self, task: int) -> None:
        """What was told of as begun never ran: its worker ended before."""
        run = self.runs[task]
        run.attempts -= 1
        run.state = "waiting"

    def succeeded(self, task: int, duration_s: float, outputs: Mapping[str, str]) -> None:
        run, journal = self.runs[task], self._journal
        run.duration_s = duration_s
        run.outputs = outputs
        run.state = "succeeded"
        if journal.active and run.id:
            journal.tell(TaskFinished(time.time(), run.id, run.attempts, duration_s, outputs))
        if self._memo is not None:
            self._memo.remember(task, duration_s, outputs, run.logged)

    def leaving(self, task: int) -> None:
        """The task's inputs are about to be forgotten."""
        if self._memo is not None:
            self._memo.leaving(task)

    def cached(self, task: int, result: Result) -> None:
        """The result of an earlier run stands for the task; what that had logged is told again."""
        run, journal = self.runs[task], self._journal
        run.started = time.time()
        run.outputs = result.outputs
        run.logged = result.logged
        run.state = "cached"
        if journal.active:
            for event in events_of(run.id, 0, result.logged):
                journal.tell(event)
            journal.tell(TaskCached(run.started, run.id, result.outputs, result.run))

    def grew(self, task: int, added: Sequence[int], skipped: Sequence[TaskRun] = ()) -> None:
        """The task goes on as others, which are in the books already. skipped: others that it might have become."""
        if self._journal.active:
            children = {run.id: run.waits_for for run in (*map(self.runs.__getitem__, added), *skipped)}
            self._journal.tell(TaskGrew(time.time(), self.runs[task].id, children))
            for run in skipped:
                self._journal.tell(TaskDropped(time.time(), run.id, "skipped"))

    def skipped(self, task: int, reason: str) -> None:
        """The task will not run, and nothing has failed."""
        run = self.runs[task]
        run.state, run.reason = "skipped", reason
        if self._journal.active and run.id:
            self._journal.tell(TaskDropped(time.time(), run.id, "skipped", reason))

    def retried(self, task: int, error: str, duration_s: float, *, again: bool = True) -> float | None:
        """The attempt failed, `error` in one line. Seconds until the next one, None when there is none.

        again: whether another one could go better at all.
        """
        run, policy = self.runs[task], self.policies[task]
        run.duration_s = duration_s
        run.error = error
        if run.attempts > policy.retries or not again:
            return None
        wait_s = policy.pause_s(run.attempts)
        run.state = "waiting"
        if self._journal.active:
            self._journal.tell(TaskRetried(time.time(), run.id, run.attempts, duration_s, wait_s, error))
        return wait_s

    def failed(self, task: int, report: TaskError) -> bool:
        """The task failed for good, after `retried` said so. False when the books are closed already."""
        run = self.runs[task]
        with self._lock:
            if self._closed:
                return False
            self.errors.append(report)
        run.state = "failed"
        run.report = str(report)
        if self._journal.active:
            self._journal.tell(TaskFailed(time.time(), run.id, run.attempts, run.duration_s, run.error, run.report))
        return True

    def fell_back(self, task: int, report: TaskError, outputs: Mapping[str, str]) -> None:
        """The task failed for good, but its fallback is its result, and what waits for it goes on."""
        run = self.runs[task]
        run.state, run.fell_back, run.report, run.outputs = "failed", True, str(report), outputs
        if self._memo is not None:
            self._memo.fell_back(task)
        if self._journal.active:
            at = time.time()
            self._journal.tell(
                TaskFailed(at, run.id, run.attempts, run.duration_s, run.error, run.report, fallback=outputs)
            )


def one_line(error: BaseException) -> str:
    """`ValueError: what it says`, the first line of it; of a report about a task what failed in it.

    >>> one_line(ValueError("bad\\nworse")), one_line(KeyError())
    ('ValueError: bad', 'KeyError')
    """
    try:
        text = str(error)
    except Exception:  # a user's __str__ may be broken
        text = "(its text cannot be shown)"
    first = text.strip().partition("\n")[0]
    if isinstance(error, TaskError) and " failed: " in first:
        return first.partition(" failed: ")[2]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
