"""What a step tells of its tasks: their events under the step's name, how each went, what all of them logged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
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
)
from grandpa_kfp_runtime.logged.entries import Logged
from grandpa_kfp_runtime.typespec import Json

from ..run import TaskRun

Waits = Mapping[str, tuple[str, ...]]
"""For each task those that it waits for."""


def renamed(event: Event, step: str, waits: Waits) -> Event | None:
    """A run's event as one of the step `step`, whose tasks are those of the run; None for what is not told.

    >>> renamed(TaskFinished(1.0, "load", 1, 0.5, {"result": "@"}), "part", {}).task
    'part/load'
    """
    if isinstance(event, RunStarted):
        children = {f"{step}/{task}": tuple([f"{step}/{name}" for name in waits[task]]) for task in event.tasks}
        return TaskGrew(event.at, step, children)
    if isinstance(event, RunFinished | TaskPrinted | TaskQueued):
        return None  # the step's own end is told by the launcher, and what is printed stands in the container's log
    task = f"{step}/{event.task}"  # type: ignore[attr-defined]
    if isinstance(event, TaskGrew):
        children = {
            f"{step}/{name}": tuple([f"{step}/{before}" for before in waited])
            for name, waited in event.children.items()
        }
        return replace(event, task=task, children=children)
    if isinstance(event, TaskFinished | TaskCached):
        return replace(event, task=task, outputs={})
    changed: Event = replace(event, task=task)  # type: ignore[call-arg]
    return changed


def told(run: TaskRun, seen: Mapping[str, str]) -> dict[str, Json]:
    """How one task went. seen: a short text about each output."""
    data: dict[str, Json] = {"task": run.id, "state": run.state, "duration_s": round(run.duration_s, 6)}
    more: dict[str, Any] = {
        "where": run.where,
        "outputs": dict(seen),
        "error": run.error,
        "parent": run.parent,
        "logged": run.logged.to_json(),
    }
    return {**data, **{name: item for name, item in more.items() if item}}


def merged(runs: Iterable[TaskRun]) -> Logged:
    """What several tasks logged as that of one; names that two of them use have the task's before them."""
    logs = [(run.id, run.logged) for run in runs if run.logged]
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
