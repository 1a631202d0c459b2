"""One run from start to end, whatever its tasks are: what the graph engine and the YAML engine share.

Sets up lanes, dispatcher, timers and journal, waits, and leaves a `Run` behind on every way out:
success, the first failure, Ctrl-C, a defect of ours.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
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


OpenLanes: TypeAlias = "Callable[[Schedule, Ledger, Callable[[int], None] | None], Lanes]"


@dataclass(frozen=True, slots=True)
class Tasks:
    """Task i waits for `waits_for[i]`, and holds `requests[i]` of the budget while it runs.

    A run whose id is empty is no task of the user's, and told to nobody.
    """

    runs: Sequence[TaskRun]
    waits_for: Sequence[tuple[int, ...]]
    policies: Sequence[Policy]
    requests: Sequence[Request | None]
    budget: Budget
    priority: Sequence[float] | None = None


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
    return lambda schedule, ledger, ready: ThreadLanes(
        work,
        settings.lanes,
        schedule,
        ledger,
        keep_going=settings.keep_going,
        ready=ready,
        cancel=settings.cancel,
        recall=recall,
    )


def conduct(
    run: Run, tasks: Tasks, work: Work, open_lanes: OpenLanes, settings: Settings, record: Record | None
) -> Run:
    """Runs the tasks and completes `run`.

    Raises the first TaskError, its `run` set; KeyboardInterrupt; and whatever `collect` raises.
    """
    # before anything starts: raises for a cycle
    schedule = RationedSchedule(tasks.waits_for, tasks.priority, tasks.requests, tasks.budget)
    write = record.write if record is not None and record.alive else None
    journal = Journal(settings.listeners, run.notes.append, write, echo=echo)
    ledger = Ledger(tasks.runs, tasks.policies, journal, settings.memo)

    def queued(task: int) -> None:
        if tasks.runs[task].id:
            journal.tell(TaskQueued(time.time(), tasks.runs[task].id))

    lanes = open_lanes(schedule, ledger, queued if journal.active else None)
    run.tasks.update((task.id, task) for task in tasks.runs if task.id)
    begun = time.perf_counter()
    outputs: Mapping[str, str] = {}
    error: BaseException | None = None
    try:
        if journal.active:
            journal.tell(RunStarted(run.started, run.id, run.name, tuple(run.tasks)))
        lanes.run()
        if ledger.errors:
            raise _first_of(ledger.errors, run)
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


def _first_of(errors: Sequence[TaskError], run: Run) -> TaskError:
    """The first failure; what else happened is said at its end."""
    first = errors[0]
    if len(errors) == 1:
        return first
    lines = [f"  {error.task}: {run.tasks[error.task].error}" for error in errors[1 : _MOST_SUMMED_UP + 1]]
    if len(errors) > _MOST_SUMMED_UP + 1:
        lines.append(f"  and {len(errors) - _MOST_SUMMED_UP - 1:,} more")
    text = "\n".join((f"{first}\n\n{len(errors) - 1:,} more failed:", *lines))
    error = type(first)(text, task=first.task)
    error.__cause__ = first.__cause__
    return error
