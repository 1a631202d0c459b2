"""Runs one task in a container: `python -m grandpa_kfp_runtime task|code ...`.

A task is, in this order: its call read from the args, the store opened and the credentials taken out of
the environment, `started` recorded, the code unpacked, the inputs decoded, the node performed, the
outputs' objects written, `done` recorded, previews and output parameters written. What fails before
`done` leaves a `failure` record, or, where the store does not take it, one on standard error.

Exit codes: 0, 3 when the user's code failed, 1 for an error of ours that says what to do, 143 after
SIGTERM, 70 for a defect of ours, 2 for wrong usage.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, MutableMapping, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from .. import contract
from ..builtins import BY_HANDLE
from ..context import TaskContext, activate_process
from ..contract import CodeCall, Input, Interface, TaskCall
from ..errors import GrandpaError, RunCancelled, StoreDenied, StoreUnavailable
from ..keeping import keeping
from ..redaction import Redactor
from ..stores import open_store
from ..task import perform
from ..values.pickling import ClassFingerprint
from .by_handle import run_by_handle
from .executor_io import ExecutorInput, Place
from .exporting import Exported, export_outputs
from .inputs import decode_inputs, given_handles
from .leaving import check_outputs, leave_files
from .outputs import Output, store_output, with_preview
from .process import StandardError, hide_credentials, parent_of, set_up_streams, tell, timeout_s_of
from .records import Records, attempt_name
from .task_code import check_by_value, open_code, put_code, where_of
from .watchdog import Watchdog

if TYPE_CHECKING:
    from ..code.loader import Loader
    from ..logged.task_log import TaskLog
    from .step_room import StepRoom
    from .stored_log import StoredLog
    from .task_code import InstalledCode
    from .told_events import ToldEvents

_DEFECT = 70
_NO_RUN = "unknown"


def main(argv: Sequence[str]) -> int:
    """Runs what the args say; the process's exit code. Only what is wrong with the args' verb is told here."""
    if not argv or argv[0] not in ("task", "code"):
        tell("usage: python -m grandpa_kfp_runtime task|code --contract 1 ... (written by grandpa compile)")
        return 2
    set_up_streams()
    return run_task(argv) if argv[0] == "task" else run_code(argv)


def run_task(argv: Sequence[str], env: MutableMapping[str, str] = os.environ) -> int:
    """Runs one task to its end, whatever that is, and says so in every place that should know."""
    attempt = _Attempt(env)
    try:
        watchdog = Watchdog(timeout_s_of(env), attempt.give_up, parent_of(env))
    except GrandpaError as error:
        return attempt.give_up(error)
    watchdog.start()
    try:
        try:
            attempt.prepare(argv)
            outputs = attempt.run()
        except BaseException as error:
            watchdog.claim_or_wait()
            return attempt.fail(error)
        watchdog.claim_or_wait()
        try:
            attempt.leave(outputs)
        except BaseException as error:
            return attempt.fail(error)
        return 0
    finally:
        attempt.close()


def run_code(argv: Sequence[str], env: MutableMapping[str, str] = os.environ) -> int:
    """Puts one part of the workflow's code into the store."""
    try:
        call, _ = CodeCall.from_argv(argv)
        handle = put_code(call, env, open_store(env.get(contract.ENV_STORE) or call.store, patient=True))
    except GrandpaError as error:
        tell(f"code failed: {error}")
        return error.exit_code
    tell(f"code: part {call.part} of {call.parts} is in the store, {handle}")
    return 0


class _Attempt:
    """One attempt at one task: what is known of it so far, so that a failure at any point can tell it."""

    def __init__(self, env: MutableMapping[str, str]) -> None:
        self.env = env
        self.redactor = Redactor.from_environment(env=env)
        self.folder = Path(tempfile.mkdtemp(prefix="grandpa-"))
        self.name = attempt_name(env)
        self.verbose = env.get(contract.ENV_VERBOSE) == "1"
        self.started = time.time()
        self.task = env.get(contract.ENV_TASK_NAME, "")
        self.run_id = self.node = ""
        self.where = env.get(contract.ENV_WHERE, "")
        self.records: Records | None = None
        self.logs: StoredLog | None = None
        self.told: ToldEvents | None = None
        self.step: StepRoom | None = None
        self.drawn: dict[str, tuple[dict[str, Any], str]] = {}  # artifacts of what was logged: metadata and file
        self.inputs: dict[str, str] = {}
        self.handles: dict[str, str] = {}
        self.exported = Exported()
        self.phase = "start"  # then "code", "body" or "step", "outputs"

    # --- the steps -------------------------------------------------------------------------------

    def prepare(self, argv: Sequence[str]) -> None:
        """Reads the call, opens the store and hides its credentials, records `started`."""
        self.call, text = TaskCall.from_argv(argv)
        self.node = self.call.node
        self.task = self.task or self.node.rpartition(":")[2]
        self.given = ExecutorInput.from_text(text)
        check_outputs(self.call.interface, self.given)
        place = Place.of(self.given, self.env.get(contract.ENV_TASK_NAME, ""))
        place = place or Place(_NO_RUN, self.task, self.name)
        self.run_id, self.task = place.run_id, place.task
        location = self.env.get(contract.ENV_STORE) or self.call.store
        try:
            self.store = open_store(location, patient=True)
        finally:
            hide_credentials(self.env, location)
        self.records = Records(self.store, place, self.name, self.redactor)
        self.records.put("started", {**self._about(), "started_at": self.started, **self._given()})

    def run(self) -> list[Output]:
        """Everything up to the outputs' objects in the store."""
        interface = self.call.interface
        nodes = [self.node, *(instance.node for instance in interface.instances)]
        check_by_value(nodes, self.env)
        folder = self.folder / "code"
        code = open_code(self.env, self.store, folder)
        for name in (contract.ENV_CODE, contract.ENV_CODE_SHA256):
            self.env.pop(name, None)  # of no use to the user's code, and children would inherit it
        by_handle = BY_HANDLE.get(self.node)
        if by_handle is not None:
            self.handles = given_handles(self.call.interface, self.given)
            return [run_by_handle(by_handle, interface, self.handles, self.store, code.class_fingerprint)]
        self.phase = "code"
        if self.env.get(contract.ENV_PACKAGES):
            from .installing import provide

            provide(self.env, self.store, self.folder, lambda text: tell(f"{self.task}: {self.redactor.text(text)}"))
        if self.node.startswith(contract.FUSED):
            return self._run_step(code)
        for difference in code.check(nodes):
            self._warn(difference)
        target = code.load(interface.instances[int(interface.receiver[1:])].node if interface.receiver else self.node)
        self.where = self.where or where_of(target, str(folder))
        from .told_events import callbacks_of

        self._tell_events(callbacks_of(self.env, self.store, self._warn))
        values = self._decode(interface.inputs, code.load)
        self.phase = "body"
        context = TaskContext(
            self.run_id,
            self.task,
            self.name,
            folder=self.folder / "scratch",
            open_log=lambda: self._open_log(code.class_fingerprint),
        )
        activate_process(context)
        begun = time.perf_counter()
        with keeping():
            works = self._told_how_ended(interface, values)
            results = perform(self.node, interface, values, code.load) if works else dict.fromkeys(interface.outputs)
        self._say(f"the node took {time.perf_counter() - begun:.3f} s")
        self.phase = "outputs"
        from ..logged.outputs import note_outputs

        stored = [
            store_output(name, value, self.store, self._inline_limit, code.class_fingerprint)
            for name, value in results.items()
        ]
        self.exported = export_outputs(interface.exports, results, self.given)
        if self.logs is not None:
            self.drawn = self.logs.artifacts(self.given.artifacts)
        note_outputs(
            context.log,
            results,
            {item.name: item.handle for item in stored},
            {item.name: item.facts for item in stored},
        )
        return [with_preview(item, results[item.name], self.given, self.redactor, self._warn) for item in stored]

    def _run_step(self, code: Loader | InstalledCode) -> list[Output]:
        """As `run`, of a container whose task is a graph."""
        from .step_room import StepRoom
        from .told_events import callbacks_of

        assert self.records is not None
        told = self._tell_events(callbacks_of(self.env, self.store, self._warn))
        self.step = StepRoom(
            self.records, self.given, self.call, self.folder, code, self._inline_limit, told, self._log, self._warn
        )
        self.where = self.step.open(self.env)
        values = self._decode([item for item in self.call.interface.inputs if item.kind != "handle"], code.load)
        self.phase = "step"
        outputs, self.drawn = self.step.run(values)
        self.phase, self.exported = "outputs", self.step.exported
        return outputs

    def leave(self, outputs: Sequence[Output], *, fell_back: bool = False) -> None:
        """The task has its outputs: the record first, then what KFP's launcher picks up, parameters last.

        fell_back: it has failed, and these are its fallback.
        """
        assert self.records is not None
        ended = time.time()
        self.records.put(
            "done",
            {
                **self._about(),
                "started_at": self.started,
                "ended_at": ended,
                "duration_s": round(ended - self.started, 6),
                "inputs": self.handles,
                "outputs": {item.name: item.handle for item in outputs},
                "sizes_bytes": {item.name: item.facts["size_bytes"] for item in outputs},
                **({"fell_back": True} if fell_back else {}),
                **self._logged(),
            },
        )
        if self.told is not None:
            self.told.finished(round(ended - self.started, 6), {item.name: item.handle for item in outputs})
        leave_files(self.given, outputs, self.drawn, self.exported, self._warn)
        for item in outputs:
            self._say(f"output {item.name}: {item.facts['size_bytes']:,} bytes, {item.handle[:44]}")

    def fail(self, error: BaseException, frame: FrameType | None = None) -> int:
        """Says how the task failed, on standard error and in a record; the exit code, 0 where it has fallen back."""
        from ..failure import error_line, format_report, write_marked

        record = self._report(error, frame)
        record["exit_code"] = self._exit_code(error, record["exit_code"])
        if record["exit_code"] == _DEFECT:
            record["hint"] = "this is a defect of grandpa-kfp itself; please report it with all of the above"
        told_by_engine = self.env.get(contract.ENV_TELL) == "record"
        if not told_by_engine:
            tell(format_report(record))
        nameless = told_by_engine and self.run_id == _NO_RUN  # no engine would find its record
        down = isinstance(error, StoreUnavailable | StoreDenied)
        if nameless or down or self.records is None or not self.records.put_failure({**record, **self._logged()}):
            write_marked(record, StandardError())
        elif not down:
            told = self.told or self._tell_events([])
            outputs = self._fallback(error)
            handles = None if outputs is None else {item.name: item.handle for item in outputs}
            told.failed(round(time.time() - self.started, 6), error_line(record), format_report(record), handles)
            if outputs is not None:
                self.leave(outputs, fell_back=True)
                tell(f"{self.task}: fell back")
                return 0
        if self.step is not None:
            self.step.keep()
        return int(record["exit_code"])

    def _report(self, error: BaseException, frame: FrameType | None) -> dict[str, Any]:
        from ..failure import report

        if self.step is not None and self.phase == "step":
            from .step_room import record_of

            record = record_of(error)
            if record is not None:
                return record
            error, frame = self.step.told_of(error, frame)
        return report(
            error,
            task=self.task,
            node=self.node,
            where=self.where,
            inputs=self.inputs,
            handles=self.handles,
            run_id=self.run_id,
            attempt=self.name,
            root=str(self.folder / "code"),
            frame=frame,
            in_container=True,
            redactor=self.redactor,
        )

    def _fallback(self, error: BaseException) -> list[Output] | None:
        """The outputs that take the place of the task's own, None for none."""
        from .fallback import fallback

        if self.phase == "start" or self.records is None:
            return None
        try:
            values = fallback(error, self.call.interface.outputs, self.records, self.env)
            if values is None:
                return None
            stored = [store_output(name, value, self.store, self._inline_limit, None) for name, value in values.items()]
            self.exported = export_outputs(self.call.interface.exports, values, self.given)
            return [with_preview(item, values[item.name], self.given, self.redactor, self._warn) for item in stored]
        except GrandpaError as unfit:
            self._warn(f"its fallback cannot take the place of its result: {unfit}")
            return None

    def give_up(self, error: BaseException, frame: FrameType | None = None) -> int:
        """Says how the task failed, for a caller that ends the process with the code that is returned."""
        try:
            return self.fail(error, frame)
        finally:
            self.close()

    def close(self) -> None:
        activate_process(None)
        if self.logs is not None:
            self.logs.close()
        if self.step is not None:
            self.step.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    # --- within them -----------------------------------------------------------------------------

    @property
    def _inline_limit(self) -> int:
        return int(self.env.get(contract.ENV_INLINE_BYTES) or contract.INLINE_LIMIT_BYTES)

    def _decode(self, inputs: Sequence[Input], load: Callable[[str], Any]) -> dict[str, Any]:
        def tell(item: Input, told: str, seconds: float) -> None:
            self.inputs[item.name] = told
            self._say(f"input {item.name}: {told}, read in {seconds:.3f} s")

        self.handles = given_handles(self.call.interface, self.given)
        folder = self.folder / "inputs"
        folder.mkdir()
        given = {**self.given.values, **self.given.files}
        return decode_inputs(inputs, given, self.store, load, folder, self.run_id, tell)

    def _told_how_ended(self, interface: Interface, values: dict[str, Any]) -> bool:
        """Tells an exit handler how the tasks before it have ended; whether there is anything to do."""
        if all(item.kind not in ("outcome", "failure") for item in interface.inputs):
            return True
        from .ended import tell_how_ended

        return tell_how_ended(interface, values, self.store, self.run_id, self.given.uris, self.env)

    def _open_log(self, class_fingerprint: ClassFingerprint) -> TaskLog:
        from .stored_log import StoredLog

        assert self.records is not None
        assert self.told is not None
        self.logs = StoredLog(
            self.records, self.given, self.redactor, class_fingerprint, self._warn, tell=self.told.logs
        )
        return self.logs.log

    def _tell_events(self, callbacks: Sequence[Any]) -> ToldEvents:
        from .told_events import ToldEvents

        assert self.records is not None
        self.told = ToldEvents(self.records, self.task, list(callbacks), self._warn, self.env)
        self.told.started(self.started)
        return self.told

    def _logged(self) -> dict[str, Any]:
        """What the task logged, for its last record; of a step how each of its tasks went, too."""
        tasks = {}
        logged = None if self.logs is None else self.logs.log.logged().to_json()
        if self.step is not None:
            logged, tasks = self.step.logged().to_json(), self.step.tasks()
        return {"logged": logged, **tasks} if logged else tasks

    def _exit_code(self, error: BaseException, code: int) -> int:
        if self.phase == "body" and not isinstance(error, RunCancelled):
            return 3  # a misuse of ours inside the body is the user's code failing, too
        ours = isinstance(error, GrandpaError | SystemExit | KeyboardInterrupt) or self.phase not in ("start", "step")
        return code if ours else _DEFECT

    def _given(self) -> dict[str, Any]:
        """What came in, whole, so that the task can be run again; `raw`: the names of what is no handle."""
        inputs = [item for item in self.call.interface.inputs if item.name in self.given.values]
        return {
            "inputs": {item.name: self.given.values[item.name] for item in inputs},
            "raw": [item.name for item in inputs if item.kind == "raw"],
        }

    def _about(self) -> dict[str, Any]:
        return {
            "task": self.task,
            "node": self.node,
            "fingerprint": self.call.fingerprint,
            "attempt": self.name,
            "python": sys.version.partition(" ")[0],
            "contract": contract.CONTRACT,
        }

    def _log(self, text: str) -> None:
        """A line of the log, where no engine on this machine tells the same."""
        if self.env.get(contract.ENV_TELL) != "record":
            tell(f"{self.task}: {self.redactor.text(text)}")

    def _say(self, text: str) -> None:
        if self.verbose:
            tell(f"{self.task}: {self.redactor.text(text)}")

    def _warn(self, text: str) -> None:
        tell(f"{self.task}: warning: {self.redactor.text(text)}")
