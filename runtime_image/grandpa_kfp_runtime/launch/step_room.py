"""The launcher's side of a fused step: where its inputs come from, its outputs, events and logs go to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from ..contract import FUSED_TASKS, TaskCall
from ..errors import GrandpaError, TaskError
from ..logged.entries import Logged
from ..typespec import Json
from .executor_io import ExecutorInput
from .exporting import Exported, export_outputs
from .outputs import Output, store_output, with_preview
from .records import Records
from .step import Argument, Room, Step, StepFailed, drawn_tasks, open_step
from .stored_log import StoredLog
from .task_code import check_by_value

if TYPE_CHECKING:
    from ..code.loader import Loader
    from .task_code import InstalledCode
    from .told_events import ToldEvents

Drawn = dict[str, tuple[dict[str, Any], str]]


@dataclass(slots=True)
class StepRoom:
    """One attempt at a step. folder: of the attempt; told: takes events; exported: what containers of others read."""

    records: Records
    given: ExecutorInput
    call: TaskCall
    folder: Path
    code: Loader | InstalledCode
    inline_limit: int
    told: ToldEvents
    say: Callable[[str], None]
    warn: Callable[[str], None]
    exported: Exported = field(default_factory=Exported)
    _outputs: dict[str, Output] = field(default_factory=dict)
    _step: Step | None = None
    _logs: StoredLog | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def open(self, env: Mapping[str, str]) -> str:
        """Reads the step's graph and looks whether the code of its tasks can run here; the step's file:line.

        Raises PayloadError, LoadError.
        """
        place = self.records.place
        step = self._step = open_step(
            self.call.node,
            Room(
                place.run_id,
                place.task,
                self.records.attempt,
                self.folder,
                self.records.store,
                self.code.load,
                self.records.redactor,
                self.code.class_fingerprint,
                self._leave,
                self._keep,
                self.told.tell,
                self.say,
                self.warn,
            ),
        )
        check_by_value(step.nodes, env)
        for difference in self.code.check(step.nodes):
            self.warn(difference)
        return step.where

    def run(self, values: Mapping[str, Any]) -> tuple[list[Output], Drawn]:
        """Runs the step; its outputs, and the artifacts of what it tells. values: of inputs that are no handles.

        Raises StepFailed, StoreError, CodecError.
        """
        assert self._step is not None
        interface = self.call.interface
        arguments: list[Argument] = [
            (None, values[item.source]) if item.source in values else (str(self.given.values[item.source]), None)
            for item in interface.call.positional
        ]
        self._step.run(arguments)
        logged = self._step.logged()
        drawn: Drawn = self._log().artifacts(self.given.artifacts, logged) if logged else {}
        if FUSED_TASKS in self.given.artifacts:
            drawn[FUSED_TASKS] = self._tasks_drawn()
        return [self._outputs[name] for name in interface.outputs], drawn

    def told_of(self, error: BaseException, frame: FrameType | None) -> tuple[BaseException, FrameType | None]:
        """An error that ended the step from outside, with the tasks that ran, and where the longest of them was."""
        running, place = ("", None) if self._step is None else self._step.stopped()
        if not running or not isinstance(error, TaskError):
            return error, frame
        return type(error)(f"{error}; {running}"), place or frame

    def keep(self) -> None:
        """What has finished is there for the next attempt. Where it cannot be, that one runs it again."""
        if self._step is not None:
            try:
                self._step.keep()
            except GrandpaError as error:
                self.warn(f"what had finished is not kept for the next attempt: {error}")

    def logged(self) -> Logged:
        return Logged() if self._step is None else self._step.logged()

    def tasks(self) -> dict[str, Json]:
        """For the step's record."""
        return {} if self._step is None else {"tasks": self._step.tasks()}

    def close(self) -> None:
        if self._logs is not None:
            self._logs.close()
        if self._step is not None:
            self._step.close()

    def _leave(self, name: str, value: Any) -> str:
        stored = store_output(name, value, self.records.store, self.inline_limit, self.code.class_fingerprint)
        exports = [item for item in self.call.interface.exports if item.output == name]
        made = export_outputs(exports, {name: value}, self.given) if exports else Exported()
        with self._lock:  # what draws figures is not made for threads
            self.exported = Exported({**self.exported.texts, **made.texts}, {**self.exported.facts, **made.facts})
            self._outputs[name] = with_preview(stored, value, self.given, self.records.redactor, self.warn)
        return stored.handle

    def _keep(self, name: str, value: Any) -> tuple[str, Mapping[str, Json]]:
        with self._lock:
            kept = self._log().keep(name, value)
        return kept.handle, kept.facts

    def _log(self) -> StoredLog:
        if self._logs is None:
            self._logs = StoredLog(
                self.records, self.given, self.records.redactor, self.code.class_fingerprint, self.warn, self.told.logs
            )
        return self._logs

    def _tasks_drawn(self) -> tuple[dict[str, Any], str]:
        assert self._step is not None
        tasks: list[dict[str, Json]] = self.records.redactor.json(self._step.tasks())
        return drawn_tasks(tasks)


def record_of(error: BaseException) -> dict[str, Json] | None:
    """The record of a step's failure, which is that of its task; None for any other error."""
    return dict(error.record) if isinstance(error, StepFailed) and error.record else None
