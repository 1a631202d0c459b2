"""What a task logs, as events, both directions: engines and containers tell it so, whatever runs the task."""

from __future__ import annotations

import time

from ..logged.entries import Logged
from .kinds import ArtifactLogged, Event, MetricsLogged, ParamsLogged, ProgressMade


def events_of(task: str, attempt: int | str, logged: Logged) -> list[Event]:
    """The events that tell of it: one for its metrics, its parameters, its progress bars, one an artifact.

    >>> events_of("train", 1, Logged(params={"rate": 0.1}))[0].params
    {'rate': 0.1}
    """
    at = time.time()
    told: list[Event] = []
    if logged.metrics:
        told.append(MetricsLogged(at, task, attempt, logged.metrics))
    if logged.params:
        told.append(ParamsLogged(at, task, attempt, logged.params))
    if logged.bars:
        told.append(ProgressMade(at, task, attempt, logged.bars))
    told += [ArtifactLogged(at, task, attempt, name, artifact) for name, artifact in logged.artifacts.items()]
    return told


def logged_in(event: Event) -> Logged | None:
    """What one of these events tells of; None for any other event."""
    if isinstance(event, MetricsLogged):
        return Logged(metrics=event.metrics)
    if isinstance(event, ParamsLogged):
        return Logged(params=event.params)
    if isinstance(event, ProgressMade):
        return Logged(bars=event.bars)
    if isinstance(event, ArtifactLogged):
        return Logged(artifacts={event.name: event.artifact})
    return None
