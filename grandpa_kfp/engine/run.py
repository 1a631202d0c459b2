"""What a run leaves its caller: the value, and how each task went."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from grandpa_kfp_compiler.graph import Graph
from grandpa_kfp_runtime.logged.entries import NOTHING_LOGGED, Logged

State: TypeAlias = Literal["waiting", "running", "succeeded", "cached", "failed", "skipped", "stopped"]
"""cached: the result of an earlier run stands for it; skipped: a task before it failed, or it is in a branch that was
not taken; stopped: the run ended while it ran, or before it could start."""


@dataclass(slots=True)
class TaskRun:
    """How one task went.

    started: seconds since the epoch, 0 before; duration_s: of the last attempt. outputs: the handle of each
    output, where the run was recorded. error: one line; report: the whole of it. logged: metrics, parameters and
    artifacts of the last attempt. parent: of a task that another one's body called, or that is in a branch or loop,
    that other one, whose duration includes it; waits_for: what such a task waited for. fell_back: it failed, and its
    `fallback` is its result. reason: why it was skipped, where that is known.
    """

    id: str
    where: str = ""
    state: State = "waiting"
    attempts: int = 0
    started: float = 0.0
    duration_s: float = 0.0
    outputs: Mapping[str, str] = field(default_factory=dict)
    error: str = ""
    report: str = ""
    logged: Logged = NOTHING_LOGGED
    parent: str = ""
    waits_for: tuple[str, ...] = ()
    fell_back: bool = False
    reason: str = ""

    @property
    def name(self) -> str:
        return self.id.rpartition("/")[2]

    @property
    def has_result(self) -> bool:
        return self.state in ("succeeded", "cached")

    @property
    def succeeded(self) -> bool:
        """Whether what waits for it goes on: it has a result, its own or its fallback."""
        return self.has_result or self.fell_back


@dataclass(slots=True)
class Run:
    """A run that has ended.

    id: sorts by time. value: what the workflow returned. tasks: by id, in the graph's order.
    targets: the values that were asked for, by what they were asked with. folder: its record, None
    when it was not recorded. notes: what went wrong without harming the value (a full disk, a listener).
    """

    id: str
    name: str
    state: Literal["running", "succeeded", "failed", "stopped"] = "running"
    value: Any = None
    tasks: dict[str, TaskRun] = field(default_factory=dict)
    targets: dict[Any, Any] = field(default_factory=dict)
    started: float = 0.0
    duration_s: float = 0.0
    folder: Path | None = None
    notes: list[str] = field(default_factory=list)
    graph: Graph | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        return f"<Run {self.id} of {self.name}: {self.state}, {len(self.tasks)} tasks, {self.duration_s:.3f} s>"
