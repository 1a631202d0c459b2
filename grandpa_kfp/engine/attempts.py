"""One task on one lane of threads: its attempts, its timeout, and how it ended.

Between the dispatcher, which says what runs, a `Body`, which knows how, and the ledger, which keeps the books.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from grandpa_kfp_runtime.errors import TaskError, TaskTimeout

from .dispatch import Dispatcher, Executor
from .growth import Growing
from .ledger import Ledger, Policy, one_line
from .reports import fallback_failed
from .timers import Timer, Timers


class Body(Protocol):
    """How the tasks of a run are run. Called on lanes, several at a time."""

    def connect(self, ledger: Ledger) -> None:
        """Before the first `run`: the books where what tasks log goes."""
        ...

    def run(self, task: int, attempt: int) -> Any:
        """Run one attempt; what it returns goes to `publish`, if it is no `Growing`. Raises whatever the task
        raises."""
        ...

    def publish(self, task: int, result: Any) -> Mapping[str, str]:
        """Hand the result on; the outputs' handles. Raises where that cannot be done, which fails the attempt.

        Not called for an attempt that was given up.
        """
        ...

    def fall_back(self, task: int) -> Mapping[str, str]:
        """Hand on the policy's fallback in place of a result; the outputs' handles. Raises where that cannot be."""
        ...

    def report(self, task: int, attempt: int, error: BaseException) -> TaskError:
        """What the run raises for a task that failed, the whole report as its text."""
        ...

    def give_up(self, task: int, attempt: int) -> None:
        """The attempt ran out of time, and has been reported: end it if that is possible. Its `run` may go on."""
        ...

    def ended(self, task: int) -> None:
        """The task has succeeded or failed for good: no attempt follows."""
        ...


class Attempts:
    """`work` is what lanes do. recall: whether the result of an earlier run stands for a task, which has ended then."""

    def __init__(self, body: Body, ledger: Ledger, timers: Timers, recall: Callable[[int], bool] | None = None) -> None:
        self._recall = recall
        self._body = body
        self._ledger = ledger
        self._timers = timers
        self._lock = threading.Lock()
        self._growing: dict[int, Growing] = {}
        body.connect(ledger)

    def connect(self, dispatcher: Dispatcher, executor: Executor) -> None:
        """Before the first `work`."""
        self._dispatcher = dispatcher
        self._executor = executor

    def work(self, task: int) -> int | None:
        """Run one attempt of the task; returns the task that this lane runs next."""
        growth = self._growing.get(task)
        if growth is not None:
            return self._go_on(task, growth)
        if self._recall is not None and self._recall(task):
            return None if self._ledger.closed else self._dispatcher.done(task)
        ledger = self._ledger
        policy = ledger.policies[task]
        attempt = ledger.begun(task)
        timer = self._watch(task, attempt, policy) if policy.timeout_s else None
        begun = time.perf_counter()
        claimed = timer is None
        try:
            result = self._body.run(task, attempt)
            claimed = self._claim(timer)
            if not claimed:
                return None  # given up; another lane has taken this one's place
            outputs = None if isinstance(result, Growing) else self._body.publish(task, result)
        except BaseException as error:
            if not claimed and not self._claim(timer):
                return None
            return self._fail(task, attempt, error, time.perf_counter() - begun)
        if outputs is None:
            self._growing[task] = result
            return self._go_on(task, result)
        return self._succeed(task, time.perf_counter() - begun, outputs)

    def _go_on(self, task: int, growth: Growing) -> int | None:
        """A grown task, whose body has ended, or tasks of which have: it becomes more tasks, or ends as well."""
        try:
            host, extension = growth.host, growth.more()
            assert host is not None
            if extension is not None:
                return self._dispatcher.grew(lambda schedule: host.extend(schedule, task, growth, extension))
            outputs = host.gather(task, growth)
        except BaseException as error:
            return self._fail(task, self._ledger.runs[task].attempts, error, self._since_start_s(task), again=False)
        del self._growing[task]
        return self._succeed(task, self._since_start_s(task), outputs)

    def _since_start_s(self, task: int) -> float:
        return max(0.0, time.time() - self._ledger.runs[task].started)

    def _succeed(self, task: int, duration_s: float, outputs: Mapping[str, str]) -> int | None:
        if self._ledger.closed:
            return None
        self._body.ended(task)
        self._ledger.succeeded(task, duration_s, outputs)
        return self._dispatcher.done(task)

    def _watch(self, task: int, attempt: int, policy: Policy) -> Timer:
        def give_up() -> None:
            if not self._claim(timer):
                return
            error = TaskTimeout(f"it ran longer than its timeout_s of {policy.timeout_s:g} s")
            told = self._body.report(task, attempt, error)  # where it is now
            self._body.give_up(task, attempt)
            following = self._fail(task, attempt, error, policy.timeout_s, told=told)
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

    def _fail(
        self,
        task: int,
        attempt: int,
        error: BaseException,
        duration_s: float,
        *,
        again: bool = True,
        told: TaskError | None = None,
    ) -> int | None:
        if self._ledger.closed:
            return None
        wait_s = self._ledger.retried(task, one_line(error), duration_s, again=again)
        if wait_s is not None:
            following = self._dispatcher.paused(task)
            self._timers.after(wait_s, lambda: self._dispatcher.resume(task))
            return following
        told = told or self._body.report(task, attempt, error)
        if self._ledger.policies[task].fallback is not None:
            try:
                outputs = self._body.fall_back(task)
            except BaseException as unfit:
                told = fallback_failed(told, unfit)
            else:
                self._ledger.fell_back(task, told, outputs)
                self._growing.pop(task, None)
                self._body.ended(task)
                return self._dispatcher.done(task)
        if not self._ledger.failed(task, told):
            return None
        self._body.ended(task)
        return self._dispatcher.failed(task)
