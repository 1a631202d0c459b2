"""The tasks of fused steps, of which nobody here knows but what their containers tell: `step/train`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from grandpa_kfp_runtime.events.kinds import Event, TaskDropped, TaskGrew
from grandpa_kfp_runtime.logged.task_log import Collector

from .record import hear
from .run import Run


class InnerTasks:
    """Keeps them in the run, and hands their events on to `tell`."""

    def __init__(self, run: Run, tell: Callable[[Event], None]) -> None:
        self._run = run
        self._tell = tell
        self._logs: dict[str, Collector] = {}
        self._lock = threading.Lock()

    def heard(self, step: str, events: Sequence[Event]) -> list[Event]:
        """The events that are the step's own; those of tasks in it are taken in."""
        own: list[Event] = []
        for event in events:
            task = str(getattr(event, "task", ""))
            if isinstance(event, TaskGrew) or task.startswith(f"{step}/"):
                with self._lock:
                    hear(self._run, event, self._logs)
                self._tell(event)
            else:
                own.append(event)
        return own

    def end(self, step: str) -> None:
        """The step's container has ended: what had not ended in it has been stopped."""
        with self._lock:
            inside = [task for name, task in self._run.tasks.items() if name.startswith(f"{step}/")]
            for task in inside:
                logged = self._logs.pop(task.id, None)
                if logged is not None:
                    task.logged = logged.logged()
        for task in inside:
            if task.state in ("waiting", "running"):
                task.state = "stopped"
                self._tell(TaskDropped(time.time(), task.id, "stopped"))
