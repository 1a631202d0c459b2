"""A fused step: a task whose container runs a graph. What the launcher lends to the engine that does, and asks of it.

The engine is `grandpa_kfp.engine.fused`, in the same wheel. It is named by the step's key, as the user's code is by a
node's, and loaded as that is: nothing of the runtime imports it.
"""

from __future__ import annotations

import html
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from ..contract import FUSED, fused_member
from ..errors import PayloadError, TaskError
from ..events.kinds import Event
from ..logged.entries import Logged
from ..redaction import Redactor
from ..stores.base import Store
from ..typespec import Json
from ..values.pickling import ClassFingerprint
from .drawn import page

Argument = tuple["str | None", Any]
"""An argument of a step: its handle, or, where it has none, its value."""

MOST_TOLD = 200
"""Of a step's tasks in the metadata of an artifact: those that took longest."""


class StepFailed(TaskError):
    """A task of a step failed. record: as `failure.report` makes it, of that task."""

    record: Mapping[str, Json] = {}


@dataclass(frozen=True, slots=True)
class Room:
    """What an engine gets that runs a step.

    task: the step's own name; folder: of the attempt, in which the code is unpacked into `code`; load: finds a node's
    function or class; leave: takes an output of the step as soon as it is there, and gives its handle; keep: stores
    what a task logs, its handle and facts; tell: takes events of the step's tasks; say, warn: lines of the container's
    log.
    """

    run_id: str
    task: str
    attempt: str
    folder: Path
    store: Store
    load: Callable[[str], Any]
    redactor: Redactor
    class_fingerprint: ClassFingerprint
    leave: Callable[[str, Any], str]
    keep: Callable[[str, Any], tuple[str, Mapping[str, Json]]]
    tell: Callable[[Event], None]
    say: Callable[[str], None]
    warn: Callable[[str], None]


class Step(Protocol):
    """A step under way. nodes: the keys of all that its tasks call; where: the user's file:line."""

    nodes: tuple[str, ...]
    where: str

    def run(self, arguments: Sequence[Argument]) -> None:
        """Runs all tasks; the outputs have left when it returns. Raises StepFailed; PayloadError, StoreError."""
        ...

    def stopped(self) -> tuple[str, FrameType | None]:
        """Which tasks run, in words, and where the one that has run longest is: the step is ended from outside."""
        ...

    def keep(self) -> None:
        """Stores the results of what has finished, for the next attempt. Raises StoreError."""
        ...

    def tasks(self) -> list[dict[str, Json]]:
        """How each task went, in the order of the graph."""
        ...

    def logged(self) -> Logged:
        """What all of them logged; where two used one name, with the task's before it."""
        ...

    def close(self) -> None:
        """Removes what is temporary."""
        ...


def open_step(node: str, room: Room) -> Step:
    """The step of a key. Raises PayloadError where its graph or the engine is not there."""
    file = room.folder / "code" / fused_member(node.removeprefix(FUSED))
    try:
        text = file.read_bytes()
    except OSError as error:
        raise PayloadError(f"the graph of the step {room.task} is not in the code: {error.strerror}") from error
    try:
        engine = importlib.import_module(FUSED.rstrip(":"))
    except ModuleNotFoundError as error:
        raise PayloadError(
            f"the step {room.task} needs the whole of grandpa-kfp, and the image lacks {error.name}: use the released "
            "runtime image, or one that `grandpa image build` has made"
        ) from error
    step: Step = engine.open_step(text, room)
    return step


def drawn_tasks(tasks: Sequence[Mapping[str, Json]]) -> tuple[dict[str, Json], str]:
    """Metadata and file of the artifact that shows a step's tasks.

    >>> drawn_tasks([{"task": "load", "state": "succeeded", "duration_s": 1.25, "outputs": {"result": "list of 3"}}])[0]
    {'tasks': {'load': {'state': 'succeeded', 'duration_s': 1.25, 'outputs': {'result': 'list of 3'}}}}
    """
    longest = sorted(tasks, key=lambda item: -float(item["duration_s"]))[:MOST_TOLD]
    told = {item["task"]: {name: item[name] for name in _TOLD if item.get(name)} for item in longest}
    head = "".join(f"<th>{name}</th>" for name in ("task", "state", "seconds", "outputs"))
    rows = "".join(map(_row, tasks[:_MOST_ROWS]))
    more = f"<p>and {len(tasks) - _MOST_ROWS:,} more</p>" if len(tasks) > _MOST_ROWS else ""
    return {"tasks": told}, page(f"<table><tr>{head}</tr>{rows}</table>{more}")


_TOLD = ("state", "duration_s", "outputs")
_MOST_ROWS = 2_000


def _row(task: Mapping[str, Json]) -> str:
    outputs = ", ".join(f"{name}: {text}" for name, text in (task.get("outputs") or {}).items())
    cells = (task["task"], task["state"], f"{float(task['duration_s']):.3f}", outputs)
    return f"<tr>{''.join(f'<td>{html.escape(str(cell))}</td>' for cell in cells)}</tr>"
