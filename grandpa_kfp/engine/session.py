"""One run from start to end, whatever its tasks are: what the graph engine and the YAML engine share.

Sets up lanes, dispatcher, timers and journal, waits, and leaves a `Run` behind on every way out:
success, the first failure, Ctrl-C, a defect of ours.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from grandpa_kfp_runtime.errors import GrandpaError, RunCancelled, TaskError

from .at_end import AtEnd
from .attempts import Body
from .cancelling import CancelToken, deaf_to_ctrl_c
from .echo import echo
from .events import Journal, RunFinished, RunStarted, Subscriber, TaskDropped, TaskFailed, TaskQueued
from .lanes import ThreadLanes
from .ledger import Ledger, Policy
from .rationing import RationedSchedule
from .record import Record
from .resources import Budget, Request
from .run import Run, TaskRun
from .scheduler import Schedule

if TYPE_CHECKING:
    from .memo.memo import Memo

_LOG = logging.getLogger("grandpa_kfp.engine")
_LISTENERS_MAY_TAKE_S = 10.0
_AFTER_CTRL_C_S = 0.5
_MOST_SUMMED_UP = 20
ALWAYS_MAY_TAKE_S = 30.0
"""After Ctrl-C; as long as Kubernetes gives a pod that it ends."""


class Work(Protocol):
    """What a run is for: its value."""

    def collect(self) -> tuple[Any, Mapping[str, str]]:
        """The workflow's value, and its outputs' handles. Called once, when every task has succeeded."""
        ...

    def close(self) -> None:
        """Nothing of the run is wanted any more: end what still runs, remove what was temporary."""
        ...


class ThreadWork(Work, Body, Protocol):
    """Work whose tasks run on threads of this process."""


class Lanes(Protocol):
    """Where tasks run, and who hands them out."""

    @property
    def lost(self) -> list[int]:
        """Tasks that can never run, because one before them failed."""
        ...

    def run(self) -> None:
        """Return when every task has ended, or the first has failed and nothing is to go on."""
        ...

    def stop(self) -> None:
        """Hand out nothing more."""
        ...

    def close(self) -> None:
        """End what still runs, where that is possible. Called once, after `stop`."""
        ...


OpenLanes: TypeAlias = "Callable[[Schedule, Ledger, Callable[[int], None] | None, CancelToken | None], Lanes]"
"""Given the schedule, the books, who is told of tasks that are ready, and what cancels."""


@dataclass(frozen=True, slots=True)
class Tasks:
    """Task i waits for `waits_for[i]`, and holds `requests[i]` of the budget while it runs.

    A run whose id is empty is no task of the user's, and told to nobody. always: the tasks that run whatever became of
    what they wait for, and what of it has to succeed all the same.
    """

    runs: Sequence[TaskRun]
    waits_for: Sequence[tuple[int, ...]]
    policies: Sequence[Policy]
    requests: Sequence[Request | None]
    budget: Budget
    priority: Sequence[float] | None = None
    always: Mapping[int, Collection[int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Settings:
    """How to run: lanes (tasks at once), keep_going after a failure, listeners of events, a token to cancel by,
    what runs at the end, and the results of earlier runs."""

    lanes: int
    keep_going: bool = False
    listeners: tuple[Subscriber, ...] = ()
    cancel: CancelToken | None = None
    at_end: tuple[AtEnd, ...] = ()
    memo: Memo | None = None


def on_threads(work: ThreadWork, settings: Settings, recall: Callable[[int], bool] | None = None) -> OpenLanes:
    """Lanes that are threads of this process. recall: see `Attempts`."""
    return lambda schedule, ledger, ready, cancel: ThreadLanes(
        work,
        settings.lanes,
        schedule,
        ledger,
        keep_going=settings.keep_going,
        ready=ready,
        cancel=cancel,
        recall=recall,
    )


def conduct(
    run: Run, tasks: Tasks, work: Work, open_lanes: OpenLanes, settings: Settings, record: Record | None
) -> Run:
    """Runs the tasks and completes `run`.

    Raises the first TaskError, its `run` set; KeyboardInterrupt; and whatever `collect` raises.
    """
    # before anything starts: raises for a cycle
    schedule = RationedSchedule(tasks.waits_for, tasks.priority, tasks.requests, tasks.budget, tasks.always)
    write = record.write if record is not None and record.alive else None
    journal = Journal(settings.listeners, run.notes.append, write, echo=echo)
    ledger = Ledger(tasks.runs, tasks.policies, journal, settings.memo)

    def queued(task: int) -> None:
        if tasks.runs[task].id:
            journal.tell(TaskQueued(time.time(), tasks.runs[task].id))

    ready = queued if journal.active else None
    lanes = open_lanes(schedule, ledger, ready, settings.cancel)
    run.tasks.update((task.id, task) for task in tasks.runs if task.id)
    begun = time.perf_counter()
    outputs: Mapping[str, str] = {}
    error: BaseException | None = None
    stopped = False
    try:
        if journal.active:
            journal.tell(RunStarted(run.started, run.id, run.name, tuple(run.tasks)))
        lanes.run()
        if ledger.errors:
            raise _first_of(ledger.errors, run, schedule, tasks.runs)
        _raise_if_cancelled(settings.cancel, run)
        run.value, outputs = work.collect()
        run.state = "succeeded"
    except BaseException as caught:
        error = caught
        stopped = isinstance(caught, RunCancelled) or not isinstance(caught, Exception)
        run.state = "stopped" if stopped else "failed"
        if isinstance(caught, KeyboardInterrupt):
            _LOG.warning("%s: stopping; what runs is asked to end, Ctrl-C again ends it at once", run.name)
        if isinstance(caught, TaskError):
            caught.run = run
        raise
    finally:
        try:
            lanes.stop()
            ledger.close()
            lanes.close()
            work.close()
            if stopped and schedule.has_always:
                try:
                    _run_always(run, tasks, schedule, open_lanes, Ledger(tasks.runs, tasks.policies, journal), ready)
                finally:
                    work.close()
            if settings.memo is not None:
                settings.memo.close()
        finally:  # even when Ctrl-C has come again meanwhile
            with deaf_to_ctrl_c() if run.state == "stopped" else nullcontext():
                run.duration_s = time.perf_counter() - begun
                _settle(tasks.runs, lanes.lost, journal)
                try:
                    _run_at_end(settings.at_end, run, error, journal)
                finally:
                    _leave(run, error, journal)
                    if record is not None:
                        record.finish(outputs)
    return run


def _run_always(
    run: Run,
    tasks: Tasks,
    schedule: RationedSchedule,
    open_lanes: OpenLanes,
    ledger: Ledger,
    ready: Callable[[int], None] | None,
) -> None:
    """After a run was stopped: the tasks that run always, as far as they go within a bounded time."""
    _, lost = schedule.wind_up(lambda task: tasks.runs[task].succeeded)
    if not schedule.has_ready:
        return
    _LOG.warning(
        "%s: tasks that run always follow, for at most %.0f s; Ctrl-C ends them at once", run.name, ALWAYS_MAY_TAKE_S
    )
    over = CancelToken()
    timer = threading.Timer(ALWAYS_MAY_TAKE_S, over.cancel)
    timer.daemon = True
    timer.start()
    lanes = open_lanes(schedule, ledger, ready, over)
    try:
        lanes.run()
    finally:
        timer.cancel()
        lanes.stop()
        ledger.close()
        lanes.close()
        for number in (*lost, *lanes.lost):
            tasks.runs[number].state = "skipped"
        for error in ledger.errors:
            note(run, str(error))


def _run_at_end(at_end: Sequence[AtEnd], run: Run, error: BaseException | None, journal: Journal) -> None:
    """What runs once after all tasks. Its failure is told behind the run's own."""
    for each in at_end:
        problem = each(run, error, journal.tell)
        if problem and isinstance(error, TaskError):
            error.args = (f"{error}\n\n{problem}",)
        elif problem:
            note(run, problem)


def _leave(run: Run, error: BaseException | None, journal: Journal) -> None:
    if journal.active:
        text = "" if error is None else str(error) or type(error).__name__
        journal.tell(RunFinished(time.time(), run.id, run.state, run.duration_s, text))
    journal.close(_LISTENERS_MAY_TAKE_S if error is None or isinstance(error, GrandpaError) else _AFTER_CTRL_C_S)


def note(run: Run, text: str) -> None:
    """Something went wrong that does no harm to the run's value: kept with the run, and logged."""
    run.notes.append(text)
    _LOG.warning("%s", text)


def _raise_if_cancelled(cancel: CancelToken | None, run: Run) -> None:
    """Raises RunCancelled for a run that its token has kept from its end."""
    if (
        cancel is not None
        and cancel.cancelled
        and not all(task.has_result or task.fell_back or task.state == "skipped" for task in run.tasks.values())
    ):
        raise RunCancelled(f"{run.name} was cancelled" + (f": {cancel.reason}" if cancel.reason else ""))


def _settle(runs: Sequence[TaskRun], lost: Sequence[int], journal: Journal) -> None:
    """No task stays waiting or running in a run that has ended. One that has grown fails with what it became."""
    for number in lost:
        runs[number].state = "skipped" if runs[number].state == "waiting" else "failed"
    above = {task.id: task for task in runs} if any(task.parent for task in runs) else {}
    for task in tuple(runs):
        at = task
        while task.report and not task.fell_back and at.parent and not above[at.parent].error:
            at = above[at.parent]
            at.error, at.duration_s = f"{task.id} failed", max(0.0, time.time() - at.started)
            if at.state == "failed" and journal.active:
                journal.tell(TaskFailed(time.time(), at.id, at.attempts, at.duration_s, at.error, ""))
    for task in runs:
        if task.state in ("waiting", "running"):
            task.state = "stopped"
        if task.state in ("skipped", "stopped") and task.id and not task.reason and journal.active:
            journal.tell(TaskDropped(time.time(), task.id, task.state))


def _first_of(errors: Sequence[TaskError], run: Run, schedule: Schedule, runs: Sequence[TaskRun]) -> TaskError:
    """The first failure; what else happened is said at its end, of tasks that run always all of it."""
    first = errors[0]
    if len(errors) == 1:
        return first
    always = {one.id for number, one in enumerate(runs) if schedule.runs_always(number)}
    handlers = [error for error in errors[1:] if error.task in always][:_MOST_SUMMED_UP]
    others = [error for error in errors[1:] if error.task not in always]
    lines = [str(first)]
    if others:
        lines.append(f"\n{len(others):,} more failed:")
        lines += [f"  {error.task}: {run.tasks[error.task].error}" for error in others[:_MOST_SUMMED_UP]]
    if len(others) > _MOST_SUMMED_UP:
        lines.append(f"  and {len(others) - _MOST_SUMMED_UP:,} more")
    lines += [f"\nA task that runs always has failed too:\n{error}" for error in handlers]
    error = type(first)("\n".join(lines), task=first.task)
    error.__cause__ = first.__cause__
    return error
