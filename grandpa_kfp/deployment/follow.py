"""Waits for the end of a run on a server, and tells each change of a task. Deploy and `logs -f` call it.

kfp.Client's own loop takes a cancelled run for one that goes on, and ends at the first break of the network.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from grandpa_kfp_runtime.errors import DeployError, RunCancelled, TaskError

from .answers import LOG_IN
from .remote import ENDED, RemoteRun, TaskView, run_of
from .server import Server

_INTERVAL_S = 2.0
_LONGEST_INTERVAL_S = 10.0
_LONGEST_PAUSE_S = 30.0
_PATIENCE_S = 900.0

_TOLD = {
    "PENDING": "waits",
    "RUNNING": "runs",
    "SUCCEEDED": "succeeded",
    "CACHED": "cached",
    "SKIPPED": "skipped",
    "FAILED": "failed",
    "CANCELING": "is being cancelled",
    "CANCELED": "cancelled",
    "PAUSED": "paused",
}


@dataclass(frozen=True, slots=True)
class Told:
    """One line of what happens. task: None for what concerns the run; state: KFP's, or `NOTE`."""

    text: str
    state: str = "NOTE"
    task: TaskView | None = None


@dataclass(slots=True)
class Follower:
    """patience_s: how long a server may be silent. interval_s: between two questions, growing while nothing changes.
    asked: called with each answer."""

    server: Server
    run_id: str
    tell: Callable[[Told], object]
    patience_s: float = _PATIENCE_S
    interval_s: float = _INTERVAL_S
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], object] = time.sleep
    asked: Callable[[RemoteRun], object] = lambda run: None
    _states: dict[str, str] = field(default_factory=dict)
    _run_state: str = ""

    def wait(self) -> RemoteRun:
        """Until the run has ended. Raises DeployError where the server is silent for long, or the run is gone."""
        interval = self.interval_s
        while True:
            run = self._ask()
            changed = self._tell_changes(run)
            self.asked(run)
            if run.state in ENDED:
                return run
            interval = self.interval_s if changed else min(interval * 1.3, max(_LONGEST_INTERVAL_S, self.interval_s))
            self.sleep(interval)

    def _ask(self) -> RemoteRun:
        """The run as it is now; breaks of the network are waited out."""
        since, pause, told = self.clock(), min(1.0, self.interval_s), False
        while True:
            try:
                run = run_of(self.server.run(self.run_id, tries=1))
                if told:
                    self.tell(Told("the server answers again"))
                return run
            except DeployError as error:
                silent = self.clock() - since
                if not _may_pass(error) or silent > self.patience_s:
                    raise DeployError(self._last_word(error), status=error.status) from None
                if not told:
                    self.tell(Told(f"{error}; asking again for up to {self.patience_s / 60:.0f} minutes"))
                    told = True
                self.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_S)

    def _last_word(self, error: DeployError) -> str:
        if error.status == 404:
            return f"run {self.run_id} is gone: someone deleted it meanwhile"
        again = f"The run goes on; follow it again by: grandpa logs {self.run_id} -f"
        if error.status == 401:
            return f"the session at {self.server.host} has expired; {LOG_IN}. {again}"
        return f"{error}. {again}"

    def _tell_changes(self, run: RemoteRun) -> bool:
        changed = False
        for task in run.tasks:
            if self._states.get(task.id) != task.state:
                self._states[task.id] = task.state
                changed = True
                if task.state not in ("PENDING", "RUNTIME_STATE_UNSPECIFIED"):
                    self.tell(Told(task_line(task), task.state, task))
        if run.state != self._run_state:
            self._run_state = run.state
            changed = True
            if run.state == "CANCELING":
                self.tell(Told("the run is being cancelled", run.state))
        return changed


def _may_pass(error: DeployError) -> bool:
    """A server that starts anew answers 500 for a while."""
    return error.transient or error.status >= 500


def task_line(task: TaskView) -> str:
    """`train failed after 12.0 s: exit code 3`."""
    from ..drawing.words import seconds_text

    told = _TOLD.get(task.state, task.state.lower())
    if task.state in ("SUCCEEDED", "CACHED", "CANCELED") and task.duration_s:
        return f"{task.name} {told}, {seconds_text(task.duration_s)}"
    if task.state == "FAILED":
        after = f" after {seconds_text(task.duration_s)}" if task.duration_s else ""
        because = f": {task.error.splitlines()[0]}" if task.error else ""
        return f"{task.name} {told}{after}{because}"
    return f"{task.name} {told}"


def raise_outcome(run: RemoteRun, reports: list[str]) -> None:
    """Nothing for a run that succeeded, else TaskError with the reports, or RunCancelled."""
    if run.state in ("SUCCEEDED", "SKIPPED"):
        return
    if run.state == "CANCELED":
        raise RunCancelled(f"run {run.name} was cancelled")
    first = next((task.name for task in run.tasks if task.state == "FAILED"), "")
    reason = run.error or "the server tells no reason; the run's page may"
    raise TaskError("\n\n".join(reports) or f"run {run.name} failed: {reason}", task=first)
