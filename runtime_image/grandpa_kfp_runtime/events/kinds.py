"""Every kind of event. Engines make them, listeners and records take them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ..logged.entries import Artifact, Bar, Series
from ..typespec import Json

Dropped: TypeAlias = Literal["waiting", "running", "succeeded", "failed", "skipped", "stopped"]
Stream: TypeAlias = Literal["stdout", "stderr"]


@dataclass(frozen=True, slots=True)
class Event:
    """Base of all events. at: seconds since the epoch."""

    at: float


@dataclass(frozen=True, slots=True)
class RunStarted(Event):
    run: str
    name: str
    tasks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TaskQueued(Event):
    """All that the task waited for is there; it runs as soon as there is room for it."""

    task: str


@dataclass(frozen=True, slots=True)
class TaskStarted(Event):
    """attempt: counts from 1; on Kubeflow time and pod."""

    task: str
    attempt: int | str


@dataclass(frozen=True, slots=True)
class TaskGrew(Event):
    """The task's body has returned calls of nodes, which are tasks now; it ends when they have.

    children: the new tasks, in the order of the calls, each with those of them that it waits for. A `map` grows
    several times, a few elements at a time.
    """

    task: str
    children: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class TaskFinished(Event):
    """outputs: handles by name, empty where the run is not recorded."""

    task: str
    attempt: int | str
    duration_s: float
    outputs: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class TaskCached(Event):
    """The task did not run: its outputs are those of an earlier run. outputs: handles by name; run: that run's id."""

    task: str
    outputs: Mapping[str, str]
    run: str = ""


@dataclass(frozen=True, slots=True)
class TaskRetried(Event):
    """An attempt failed, and another follows after a pause. attempt: the one that failed."""

    task: str
    attempt: int | str
    duration_s: float
    pause_s: float
    error: str


@dataclass(frozen=True, slots=True)
class TaskFailed(Event):
    """The last attempt failed. error: one line; report: the whole of it; fallback: handles of the outputs that the
    task's `fallback` has left in place of its own, None where it has none, and what waits for the task is lost."""

    task: str
    attempt: int | str
    duration_s: float
    error: str
    report: str
    fallback: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class TaskDropped(Event):
    """The task did not run to its end: `skipped` or `stopped`. reason: why it was skipped, where that is known."""

    task: str
    state: Dropped
    reason: str = ""


@dataclass(frozen=True, slots=True)
class TaskPrinted(Event):
    """What the task has written to standard output or standard error since the event before: whole lines, the last of
    an attempt excepted."""

    task: str
    attempt: int | str
    stream: Stream
    text: str


@dataclass(frozen=True, slots=True)
class ProgressMade(Event):
    """How far the task's `ProgressBar`s are that have moved since the event before, by name; a few a second."""

    task: str
    attempt: int | str
    bars: Mapping[str, Bar]


@dataclass(frozen=True, slots=True)
class MetricsLogged(Event):
    """Values that a task logged since the event before, by metric. Told in batches, so that no loop floods the run."""

    task: str
    attempt: int | str
    metrics: Mapping[str, Series]


@dataclass(frozen=True, slots=True)
class ParamsLogged(Event):
    """params: a number, a boolean, None or a short text each."""

    task: str
    attempt: int | str
    params: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class ArtifactLogged(Event):
    """Something to look at, logged or returned; its value is in the store, where the run is recorded."""

    task: str
    attempt: int | str
    name: str
    artifact: Artifact


@dataclass(frozen=True, slots=True)
class RunFinished(Event):
    """state: `succeeded`, `failed` or `stopped`."""

    run: str
    state: str
    duration_s: float
    error: str


KINDS: tuple[type[Event], ...] = (
    RunStarted, TaskQueued, TaskStarted, TaskGrew, TaskFinished, TaskCached, TaskRetried, TaskFailed, TaskDropped,
    TaskPrinted, ProgressMade, MetricsLogged, ParamsLogged, ArtifactLogged, RunFinished,
)  # fmt: skip
