"""What a lane does for one task of a compiled YAML: its container's command as a process of its own.

Each process leads a group, gets the ExecutorInput that KFP's launcher would give it, with files in the
run's folder, and is killed with all its children when nobody wants it any more.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from grandpa_kfp_runtime.contract import ENV_ATTEMPT, ENV_STORE, ENV_TASK_NAME, EXECUTOR_INPUT
from grandpa_kfp_runtime.errors import GrandpaError, TaskError, TaskTimeout
from grandpa_kfp_runtime.stores import Store
from grandpa_kfp_runtime.typespec import Json

from .attempts import Policy, pause_s
from .kfp_pipeline import Container, FromConstant, FromRoot, Source, YamlPipeline, YamlTask
from .kfp_values import arrives, from_output_file
from .run import Run, TaskRun

_LAST_LINES = 20
_GRACE_S = 0.4
_PIPE_S = 1.0

Echo = Callable[[str, str], None]
"""Takes a task's name and a line that it printed."""


def to_stderr(task: str, line: str) -> None:
    """`train | epoch 1`, whole lines, on standard error."""
    sys.stderr.write(f"{task} | {line}\n")


@dataclass(frozen=True, slots=True)
class Place:
    """Where the processes of a run write. folder: of the run; store: of the values."""

    folder: Path
    store: Store


class Processes:
    """The tasks of one run of one compiled pipeline; `Body` for `attempts.py`."""

    def __init__(
        self, run: Run, pipeline: YamlPipeline, parameters: Mapping[str, Json], place: Place, echo: Echo
    ) -> None:
        self._run = run
        self._pipeline = pipeline
        self._parameters = parameters
        self._place = place
        self._echo = echo
        self._lock = threading.Lock()
        self._processes: dict[tuple[int, int], subprocess.Popen[bytes]] = {}
        self._closed = False
        self._texts: dict[tuple[int, str], str] = {}
        self._uuids = [str(uuid.uuid4()) for _ in pipeline.tasks]
        self.runs = tuple(TaskRun(task.id if task.container else "") for task in pipeline.tasks)
        self.policies = tuple(map(_policy, pipeline.tasks))

    def run(self, task: int, attempt: int) -> Mapping[str, str]:
        found = self._pipeline.tasks[task]
        if found.container is None:
            return {}
        folder = self._place.folder / "tasks" / found.id
        outputs = folder / "outputs"
        shutil.rmtree(outputs, ignore_errors=True)
        outputs.mkdir(parents=True)
        work = folder / f"attempt-{attempt}"
        (work / "tmp").mkdir(parents=True, exist_ok=True)
        executor_input = self._executor_input(task, found, outputs)
        argv = [sys.executable, "-m", "grandpa_kfp_runtime", *_filled(found.container.args, executor_input)]
        status = self._run_process((task, attempt), found, argv, work)
        shutil.rmtree(work / "tmp", ignore_errors=True)
        if status:
            raise self._failure(found, attempt, status, work / "log.txt")
        return {name: _read_output(outputs / name, name, type_) for name, type_ in found.outputs}

    def publish(self, task: int, result: Mapping[str, str]) -> Mapping[str, str]:
        for name, text in result.items():
            self._texts[task, name] = text
        return result

    def report(self, task: int, attempt: int, error: BaseException) -> TaskError:
        name = self._pipeline.tasks[task].id
        if isinstance(error, TaskTimeout):
            return TaskTimeout(f"{name} failed: {error}", task=name)
        if isinstance(error, TaskError):
            error.task = name
            return error
        made = TaskError(f"{name} failed: {type(error).__name__}: {error}", task=name)
        made.__cause__ = error
        return made

    def give_up(self, task: int, attempt: int) -> None:
        with self._lock:
            process = self._processes.get((task, attempt))
        if process is not None:
            end([process])

    def ended(self, task: int) -> None:
        """Nothing is kept for a task alone."""

    def close(self) -> None:
        with self._lock:
            self._closed = True
            left = list(self._processes.values())
        end(left)

    def value_of(self, source: Source) -> Json:
        """What a source holds, as a container receives it."""
        if isinstance(source, FromConstant):
            return source.value
        if isinstance(source, FromRoot):
            return self._parameters[source.name]
        text = self._texts[source.task, source.output]
        return from_output_file(text, dict(self._pipeline.tasks[source.task].outputs)[source.output])

    # --- one attempt -------------------------------------------------------------------------------

    def _executor_input(self, number: int, task: YamlTask, outputs: Path) -> str:
        values = {name: arrives(self.value_of(source), type_) for name, (type_, source) in task.inputs}
        uri = self._place.folder / "artifacts" / self._pipeline.name / self._run.id / task.id / self._uuids[number]
        artifacts = {
            name: {
                "artifacts": [
                    {"name": name, "type": schema, "uri": str(uri / name), "metadata": {}},
                ]
            }
            for name, schema in task.artifacts
        }
        given = {
            "inputs": {"parameterValues": values},
            "outputs": {
                "parameters": {name: {"outputFile": str(outputs / name)} for name, _ in task.outputs},
                "artifacts": artifacts,
                "outputFile": str(outputs / "executor_output.json"),
            },
        }
        return json.dumps(given, ensure_ascii=False)

    def _run_process(self, key: tuple[int, int], task: YamlTask, argv: list[str], work: Path) -> int:
        assert task.container is not None
        with self._lock:
            if self._closed:
                raise TaskError("the run was stopped")
            process = subprocess.Popen(
                argv,
                cwd=work,
                env=self._environment(task.id, key[1], task.container, work),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self._processes[key] = process
        assert process.stdout is not None
        reader = threading.Thread(target=self._copy, args=(task.id, process.stdout, work / "log.txt"), daemon=True)
        reader.start()
        try:
            _wait(process)
            _signal(process, signal.SIGKILL)  # children that it left behind hold the pipe
            status = process.wait()
        finally:
            with self._lock:
                del self._processes[key]
            reader.join(_PIPE_S)
        return status

    def _environment(self, name: str, attempt: int, container: Container, work: Path) -> dict[str, str]:
        """This process's own, the container's, and what a pod would bring: store, scratch space, the task's name."""
        return {
            **os.environ,
            **dict(container.env),
            ENV_STORE: self._place.store.location,
            ENV_TASK_NAME: name,
            ENV_ATTEMPT: str(attempt),
            "TMPDIR": str(work / "tmp"),
            "PYTHONUNBUFFERED": "1",
        }

    def _copy(self, name: str, stream: IO[bytes], log: Path) -> None:
        """Until the last of the processes that hold the pipe has ended."""
        with stream, log.open("wb", buffering=0) as file:
            for line in stream:
                file.write(line)
                self._echo(name, line.decode("utf-8", "replace").rstrip("\r\n"))

    def _failure(self, task: YamlTask, attempt: int, status: int, log: Path) -> TaskError:
        """The launcher's own report where there is one, else the end of what the process printed."""
        from grandpa_kfp_runtime.failure import format_report, reports_in

        text = log.read_text(encoding="utf-8", errors="replace")
        records = reports_in(text) or self._stored_failures(task.id)
        if records:
            return TaskError(format_report({**records[-1], "task": task.id}))
        how = f"was killed by signal {-status}" if status < 0 else f"ended with exit code {status}"
        lines = "\n".join(f"  {line}" for line in text.splitlines()[-_LAST_LINES:])
        return TaskError(f"{task.id} failed: its process {how}; it printed last:\n{lines}\nAll of it is in {log}")

    def _stored_failures(self, task: str) -> list[Any]:
        store = self._place.store
        try:
            paths = [
                path
                for path in store.list_records(f"runs/{self._run.id}/{task}/")
                if path.endswith("/failure.json")
            ]  # fmt: skip
            return [store.get_record(path) for path in paths]
        except GrandpaError:
            return []  # the store is what failed: the log says so


def end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Ends processes and all their children: asks them, and kills those that are still there a moment later."""
    for process in processes:
        _signal(process, signal.SIGTERM)
    until = time.monotonic() + _GRACE_S
    for process in processes:
        try:
            process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            continue
    for process in processes:
        _signal(process, signal.SIGKILL)


def _wait(process: subprocess.Popen[bytes]) -> None:
    """Returns when the process has ended, and leaves it unreaped, so that its group's number stays its own."""
    try:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    except ChildProcessError:
        return  # another thread has ended it


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    """To the process's whole group, of which it is the leader."""
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        return  # nobody is left in it


def _filled(args: Sequence[str], executor_input: str) -> list[str]:
    return [executor_input if arg == EXECUTOR_INPUT else arg for arg in args]


def _read_output(path: Path, name: str, type_: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise TaskError(f"its process left no output {name} ({error.strerror})") from error


def _policy(task: YamlTask) -> Policy:
    container = task.container
    if container is None:
        return Policy()
    first_s = task.pause_s or 1.0
    return Policy(task.retries, container.deadline_s, lambda attempt: pause_s(attempt, first_s))
