"""What a step tells of its tasks: their events under the step's name, how each went, what all of them logged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from grandpa_kfp_runtime.events.kinds import (
    Event,
    RunFinished,
    RunStarted,
    TaskCached,
    TaskFinished,
    TaskGrew,
    TaskPrinted,
    TaskQueued,
    TaskRetried,
)
from grandpa_kfp_runtime.logged.entries import Logged
from grandpa_kfp_runtime.typespec import Json

from ..run import TaskRun


@dataclass(frozen=True, slots=True)
class Names:
    """The names of a step's tasks. step: its own in the run; body: its graph's. A fused component's tasks are
    called after it already.

    >>> names = Names("part-1/train", "train")
    >>> names.short("train/load"), names.full("train/load"), names.full("load")
    ('load', 'part-1/train/load', 'part-1/train/load')
    """

    step: str
    body: str

    def short(self, task: str) -> str:
        """As it is called inside the step."""
        return task.removeprefix(f"{self.body}/")

    def full(self, task: str) -> str:
        """As the run knows it."""
        return f"{self.step}/{self.short(task)}"


def renamed(event: Event, names: Names, waits: Mapping[str, tuple[str, ...]]) -> Event | None:
    """A run's event as one of a step whose tasks are those of the run; None for what is not told.

    waits: for each task those that it waits for.

    >>> renamed(TaskFinished(1.0, "load", 1, 0.5, {"result": "@"}), Names("part", "part"), {}).task
    'part/load'
    """
    if isinstance(event, RunStarted):
        return TaskGrew(event.at, names.step, _children({task: waits[task] for task in event.tasks}, names))
    if isinstance(event, RunFinished | TaskPrinted | TaskQueued):
        return None  # the step's own end is told by the launcher, and what is printed stands in the container's log
    task = names.full(event.task)  # type: ignore[attr-defined]
    if isinstance(event, TaskGrew):
        return replace(event, task=task, children=_children(event.children, names))
    if isinstance(event, TaskFinished | TaskCached):
        return replace(event, task=task, outputs={})
    changed: Event = replace(event, task=task)  # type: ignore[call-arg]
    return changed


def _children(waits: Mapping[str, tuple[str, ...]], names: Names) -> dict[str, tuple[str, ...]]:
    return {names.full(task): tuple(map(names.full, before)) for task, before in waits.items()}


def line_of(event: Event, names: Names) -> str:
    """What the container's log says of it: that a task that lasted has ended, or was tried again; empty for nothing.

    >>> line_of(TaskFinished(1.0, "load", 1, 1.25, {}), Names("part", "part"))
    'load took 1.2 s'
    """
    if isinstance(event, TaskFinished) and event.duration_s >= _LASTS_S:
        return f"{names.short(event.task)} took {event.duration_s:.1f} s"
    if isinstance(event, TaskRetried):
        return f"{names.short(event.task)} failed, and is tried again in {event.pause_s:.1f} s: {event.error}"
    if isinstance(event, TaskCached):
        return f"{names.short(event.task)} is taken from an earlier attempt"
    return ""


def told(run: TaskRun, names: Names, seen: Mapping[str, str]) -> dict[str, Json]:
    """How one task went. seen: a short text about each output."""
    data: dict[str, Json] = {
        "task": names.short(run.id),
        "state": run.state,
        "duration_s": round(run.duration_s, 6),
    }
    more: dict[str, Any] = {
        "where": run.where,
        "outputs": dict(seen),
        "error": run.error,
        "parent": names.short(run.parent),
        "logged": run.logged.to_json(),
    }
    return {**data, **{name: item for name, item in more.items() if item}}


def merged(runs: Iterable[TaskRun], names: Names) -> Logged:
    """What several tasks logged as that of one; names that two of them use have the task's before them."""
    logs = [(names.short(run.id), run.logged) for run in runs if run.logged]
    metrics = Counter(name for _, logged in logs for name in logged.metrics)
    params = Counter(name for _, logged in logs for name in logged.params)

    def name_of(task: str, name: str, known: Counter[str]) -> str:
        return name if known[name] == 1 else f"{task}/{name}"

    return Logged(
        {name_of(task, name, metrics): item for task, logged in logs for name, item in logged.metrics.items()},
        {name_of(task, name, params): item for task, logged in logs for name, item in logged.params.items()},
        {f"{task}/{name}": item for task, logged in logs for name, item in logged.artifacts.items()},
        {f"{task}/{name}": item for task, logged in logs for name, item in logged.bars.items()},
    )


_LASTS_S = 1.0
"""A task that ends sooner has no line of its own in the container's log."""
