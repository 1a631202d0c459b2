"""The tasks of a step on threads: as those of any graph, but what leaves the step is stored at once.

`report` keeps each failure as a record too, for the launcher to write down.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Any

from grandpa_kfp_compiler.graph import Call, Graph, TaskOutput
from grandpa_kfp_runtime.errors import TaskError, TaskTimeout
from grandpa_kfp_runtime.failure import describe_inputs, format_report, report
from grandpa_kfp_runtime.launch.step import Room
from grandpa_kfp_runtime.logged.outputs import note_outputs
from grandpa_kfp_runtime.logged.task_log import TaskLog
from grandpa_kfp_runtime.redaction import Redactor
from grandpa_kfp_runtime.typespec import Json
from grandpa_kfp_runtime.values.summaries import summary

from ..control import control_of
from ..graph_tasks import GraphTasks, Supplies
from ..plan import Key, Plan
from ..resources import CPU, GPU, MEMORY, Limits, Request, asked_by
from ..run import Run
from ..task_logs import LaneLog
from .telling import Names


class StepLimits(Limits):
    """What the step's container was given: the compiler asks for as much as the largest of its tasks.

    Tokens (`uses=`) count within one run on one machine: Kubeflow knows none.
    """

    def __init__(self, calls: Iterable[Call], note: Callable[[str], None]) -> None:
        super().__init__(None, note)
        asked = [asked_by(call.options) for call in calls]
        for name in (CPU, MEMORY):
            most = max((item.get(name, 0) for item in asked), default=0)
            if most:
                self._given[name] = min(most, self.limit(name))

    def of(self, call: Call) -> Request | None:
        asked = {name: count for name, count in asked_by(call.options).items() if name in (CPU, MEMORY, GPU)}
        return self.request(asked, call.name) if asked else None


@dataclass(frozen=True, slots=True)
class Running:
    """A task under way: for how long, and where its thread is."""

    task: str
    where: str
    seconds: float
    frame: FrameType | None


class StepTasks(GraphTasks):
    """seen: by task a short text about each output; failures: by task the record of its failure;
    left: by output the handle of what has left the step."""

    def __init__(self, run: Run, graph: Graph, plan: Plan, supplies: Supplies, room: Room, names: Names) -> None:
        super().__init__(run, graph, plan, supplies, None)
        self._names = names
        self._room = room
        self._uses = plan.uses
        self._leaving = leaving(graph)
        self.seen: dict[str, dict[str, str]] = {}
        self.failures: dict[str, Mapping[str, Json]] = {}
        self.left: dict[Key, str] = {}

    def publish(self, task: int, result: Mapping[str, Any]) -> Mapping[str, str]:
        """What nobody in the step reads is not encoded for them."""
        id_ = self.table.runs[task].id
        values = dict(result) if not isinstance(result, dict) else result
        self.seen[id_] = {name: summary(value) for name, value in values.items()}
        gone: dict[str, Any] = {}
        for output in tuple(values):
            names = self._leaving.get((id_, output), ())
            for name in names:
                self.left[id_, output] = self._room.leave(name, values[output])
            if names and self._uses.get((id_, output), 0) == len(names):
                gone[output] = values.pop(output)
        note_outputs(self._attempts[task].context.log, gone, {name: self.left[id_, name] for name in gone}, {})
        handles = super().publish(task, values)
        for output in values:
            for _ in self._leaving.get((id_, output), ()):
                self._supplies.values.used(id_, output)
        return handles

    def collect(self) -> tuple[Any, Mapping[str, str]]:
        """The rest of what leaves: parts and structures of outputs, and those of branches, loops and grown tasks."""
        for name, value in self._graph.outputs:
            if not (isinstance(value, TaskOutput) and not value.path and (value.task, value.output) in self.left):
                self._room.leave(name, self._value(name, value))
        return None, {}

    def report(self, task: int, attempt: int, error: BaseException) -> TaskError:
        under_way, failing = self._attempts[task], self._failing(task)
        record = report(
            error,
            task=self._room.task,
            inner=self._names.short(failing.id),
            node=failing.node,
            where=failing.where,
            inputs=describe_inputs(under_way.inputs),
            handles=self._handles(self.table.bounds[task], self.table.scopes[task].prefix),
            run_id=self._room.run_id,
            attempt=self._room.attempt,
            root=self._supplies.root,
            frame=sys._current_frames().get(under_way.thread) if isinstance(error, TaskTimeout) else None,
            in_container=True,
            redactor=self._room.redactor,
        )
        if record["raised_at"]:
            record["exit_code"] = 3  # a misuse of ours inside a body is the user's code failing, too
        self.failures[failing.id] = record
        made = TaskError(format_report(record), task=failing.id)
        made.__cause__ = error
        return made

    def ended(self, task: int) -> None:
        """What a task that failed has read is kept: the next attempt goes on from there."""
        run, under_way = self.table.runs[task], self._attempts.get(task)
        if run.state != "failed" or run.fell_back or under_way is None:
            super().ended(task)
            return
        log = under_way.context.opened_log
        if log is not None:
            self._ledger.logged(task, log.logged())
        under_way.context.close()

    def running(self) -> list[Running]:
        """The tasks under way, the one that has run longest first."""
        frames, now = sys._current_frames(), time.time()
        found = []
        for task, under_way in tuple(self._attempts.items()):
            run = self.table.runs[task]
            if run.state == "running" and control_of(self.table.calls[task]) is None:
                frame = frames.get(under_way.thread) if under_way.stay.lasts else None
                found.append(Running(run.id, run.where, now - run.started, frame))
        return sorted(found, key=lambda item: -item.seconds)

    def _open_log(self, task: int, attempt: int) -> TaskLog:
        name = self._names.short(self.table.runs[task].id)
        secrets = [key for key, _ in self.table.calls[task].options.secrets or ()]
        return LaneLog(
            lambda take: self._ledger.logs(task, attempt, take),
            lambda artifact, value: self._room.keep(f"{name}/{artifact}", value),
            Redactor.from_environment(secrets),
        ).log


def leaving(graph: Graph) -> dict[Key, list[str]]:
    """Whole outputs of tasks that are outputs of the graph, with their names there."""
    calls = {call.id: call for call in graph.operations if isinstance(call, Call)}
    found: dict[Key, list[str]] = {}
    for name, value in graph.outputs:
        if isinstance(value, TaskOutput) and not value.path and control_of(calls[value.task]) is None:
            found.setdefault((value.task, value.output), []).append(name)
    return found
