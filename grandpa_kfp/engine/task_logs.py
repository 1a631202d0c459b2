"""What tasks log, as events: while a task runs on a thread here, or at its end from the record that it left.

Every engine tells it by `events_of`, also one that takes a result from an earlier run: what that had logged is
read back with its record (`TaskRun.logged`, `Logged.of_record`) and told again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from grandpa_kfp_runtime.logged.entries import Artifact, Logged
from grandpa_kfp_runtime.logged.task_log import TaskLog
from grandpa_kfp_runtime.redaction import Redactor

from .events import ArtifactLogged, Event, MetricsLogged, ParamsLogged
from .values import Values


def events_of(task: str, attempt: int, logged: Logged) -> list[Event]:
    """The events that tell of it: one for its metrics, one for its parameters, one an artifact.

    >>> events_of("train", 1, Logged(params={"rate": 0.1}))[0].params
    {'rate': 0.1}
    """
    at = time.time()
    told: list[Event] = []
    if logged.metrics:
        told.append(MetricsLogged(at, task, attempt, logged.metrics))
    if logged.params:
        told.append(ParamsLogged(at, task, attempt, logged.params))
    told += [ArtifactLogged(at, task, attempt, name, artifact) for name, artifact in logged.artifacts.items()]
    return told


def logged_in(event: Event) -> Logged | None:
    """What one of these events tells of; None for any other event."""
    if isinstance(event, MetricsLogged):
        return Logged(metrics=event.metrics)
    if isinstance(event, ParamsLogged):
        return Logged(params=event.params)
    if isinstance(event, ArtifactLogged):
        return Logged(artifacts={event.name: event.artifact})
    return None


class ThreadLog:
    """`Sink` of the log of a task that runs on a thread here.

    tell: takes a function that returns what is new, to be asked soon, on another thread; values: where artifacts go.
    """

    def __init__(self, tell: Callable[[Callable[[], Logged]], None], values: Values, redactor: Redactor) -> None:
        self._tell = tell
        self._values = values
        self.log = TaskLog(self, redactor)

    def wake(self) -> None:
        self._tell(self.log.take)

    def keep(self, name: str, value: Any) -> Artifact:
        from grandpa_kfp_runtime.launch.stored_log import form_kept, kept_value

        kept = kept_value(value)
        handle, facts = self._values.keep(name, kept)
        return Artifact(form_kept(kept), handle, facts)
