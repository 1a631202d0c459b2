"""What a lane does for one task of a compiled YAML, whoever runs its container's command.

`YamlTasks` gives each attempt folders of its own, writes the ExecutorInput that KFP would give it, and takes
outputs and failure from what the task wrote. A `Runner` does the rest: `subprocesses.py` starts the command as
a process of this machine, `containers.py` in a container of the task's own image.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol
from uuid import uuid4

from grandpa_kfp_runtime.errors import GrandpaError, TaskError, TaskTimeout
from grandpa_kfp_runtime.events.kinds import Event
from grandpa_kfp_runtime.events.of_logged import logged_in
from grandpa_kfp_runtime.failure import BEGIN_MARKER, END_MARKER, format_report, reports_in
from grandpa_kfp_runtime.logged.entries import Logged
from grandpa_kfp_runtime.printed.task_output import TaskOutput
from grandpa_kfp_runtime.stores import Store

from .executor_inputs import Folders, Start, start_of
from .following import Following
from .inner_tasks import InnerTasks
from .kfp_containers import Container
from .kfp_pipeline import YamlPipeline, YamlTask
from .ledger import Ledger
from .resources import Budget
from .run import Run
from .scheduler import Schedule
from .yaml_loops import Extension, YamlGrowth
from .yaml_table import YamlTable

_LAST_LINES = 20
_PIPE_S = 1.0

Echo = Callable[[str, str], None]
"""Takes a task's name and a line that it printed."""


def to_stderr(task: str, line: str) -> None:
    """`train | epoch 1`, whole lines, on standard error."""
    sys.stderr.write(f"{task} | {line}\n")


@dataclass(frozen=True, slots=True)
class Place:
    """Where the tasks of a run write. folder: of the run; store: of the values."""

    folder: Path
    store: Store


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a task, ready to start. key: the task's number and the attempt's, from 1.

    work: its own folder, for the log and scratch space; outputs, artifacts: the folders it writes into;
    devices: the GPUs that it holds; threads: how many numeric libraries are to use, 0 for as many as they like.
    """

    key: tuple[int, int]
    task: str
    container: Container
    start: Start
    work: Path
    outputs: Path
    artifacts: Path
    devices: tuple[str, ...] = ()
    threads: int = 0

    @property
    def log(self) -> Path:
        return self.work / "log.txt"


@dataclass(frozen=True, slots=True)
class Ended:
    """How an attempt's command ended: nothing in `how` for success, else what a person is told of it.

    certain: `how` is the whole truth, whatever else was reported.
    """

    how: str = ""
    certain: bool = False


class Runner(Protocol):
    """Runs the commands of attempts, several at a time, between `open` and `close`; both may come again."""

    def open(self) -> None:
        """Before the first of them."""
        ...

    def sees(self, path: Path) -> str:
        """The name by which a command knows a path in the run's folder."""
        ...

    def run(self, attempt: Attempt) -> Ended:
        """Runs the command to its end. Raises TaskError where it cannot even be started."""
        ...

    def give_up(self, key: tuple[int, int]) -> None:
        """Ends the attempt if it still runs; its `run` returns soon."""
        ...

    def close(self) -> None:
        """Ends all that still runs, and starts nothing more."""
        ...


class YamlTasks:
    """The tasks of one run of one compiled pipeline; `Body` for `attempts.py`, and host of its loops."""

    def __init__(self, run: Run, pipeline: YamlPipeline, table: YamlTable, place: Place, runner: Runner) -> None:
        self._run = run
        self._pipeline = pipeline
        self._table = table
        self._place = place
        self._runner = runner
        self._fallen: dict[int, Mapping[str, str]] = {}  # outputs of tasks that have failed, and left their fallback
        self._printing: dict[str, TaskOutput] = {}
        self._uuids: dict[int, str] = {}
        self._following = Following(place.store, self._heard)
        self.budget = Budget(table.limits)

    def connect(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._inner = InnerTasks(self._run, ledger.tell)
        self._runner.open()
        self._following.open()

    def printed(self, task: str, line: str) -> None:
        """The task under way has printed a line, to whichever of its streams; or the runner, for no task."""
        if task in self._printing:
            self._printing[task].write("stderr", f"{line}\n")
        else:
            to_stderr(task, line)

    def skips(self, task: int) -> bool:
        """Whether the task has ended without having run: its condition does not hold, or one before it was skipped."""
        try:
            why = self._table.why_skipped(task)
        except GrandpaError:
            return False  # `run` raises it again
        if why:
            self._ledger.skipped(task, why)
        return bool(why)

    def run(self, task: int, attempt: int) -> Mapping[str, str] | YamlGrowth:
        table = self._table
        found = table.task(task)
        if found.condition is not None:
            table.why_skipped(task)
        if found.loop is not None:
            return YamlGrowth(self, table.items(task), found.loop.parallelism)
        if found.container is None:
            return {}
        ready = self._prepare(task, attempt, found, found.container)
        output = self._printing[ready.task] = self._ledger.output(task, attempt)
        self._following.begin(ready.key, self._records(ready))
        told = False
        try:
            ended = self._runner.run(ready)
        finally:
            told = self._following.end(ready.key)
            self._inner.end(ready.task)
            output.close()
            shutil.rmtree(ready.work / "tmp", ignore_errors=True)
        self._note_logged(ready, "failure" if ended.how else "done", tell=not told)
        if ended.how:
            raise self._failure(ready, ended)
        outputs = {name: _read_output(ready.outputs / name, name) for name, _ in found.outputs}
        if table.policies[task].fallback is not None and self._fell_back(ready):
            self._fallen[task] = outputs
            raise self._failure(ready, Ended("fell back"))
        return outputs

    def publish(self, task: int, result: Mapping[str, str]) -> Mapping[str, str]:
        self._table.publish(task, result, self._files(task))
        return result

    def fall_back(self, task: int) -> Mapping[str, str]:
        """The launcher has made it, in the task's own process."""
        outputs = self._fallen.pop(task, None)
        if outputs is None:
            raise TaskError("its process ended before it could leave it")
        return self.publish(task, outputs)

    def extend(self, schedule: Schedule, task: int, growth: YamlGrowth, extension: Extension) -> list[int]:
        """The next rounds of a loop."""
        if schedule.is_lost(task):
            return schedule.add(task, (), ())
        added = self._table.add_rounds(task, extension.items)
        ready = schedule.add(task, added.waits_for, added.needs, extension.left, added.always, lasting=extension.more)
        self._ledger.grew(task, [number for number in added.numbers if self._table.runs[number].id])
        return ready

    def gather(self, task: int, growth: YamlGrowth) -> Mapping[str, str]:
        return self.publish(task, self._table.collected(task))

    def report(self, task: int, attempt: int, error: BaseException) -> TaskError:
        name = self._table.id(task)
        if isinstance(error, TaskTimeout) and not error.task:
            return TaskTimeout(f"{name} failed: {error}", task=name)
        if isinstance(error, TaskError) and str(error).startswith(name):
            error.task = name
            return error
        kind = "" if isinstance(error, GrandpaError) else f"{type(error).__name__}: "
        made = TaskError(f"{name} failed: {kind}{error}", task=name)
        made.__cause__ = error
        return made

    def give_up(self, task: int, attempt: int) -> None:
        self._runner.give_up((task, attempt))

    def ended(self, task: int) -> None:
        """Nothing is kept for a task alone."""

    def close(self) -> None:
        self._following.close()
        self._runner.close()

    # --- one attempt -------------------------------------------------------------------------------

    def _prepare(self, number: int, attempt: int, task: YamlTask, container: Container) -> Attempt:
        id_ = self._table.id(number)
        inputs = self._table.inputs(number)
        folder = self._place.folder / "tasks" / id_
        outputs = folder / "outputs"
        shutil.rmtree(outputs, ignore_errors=True)
        work = folder / f"attempt-{attempt}"
        self._uuids.setdefault(number, str(uuid4()))
        artifacts = self._artifacts(number)
        start = start_of(task, container, inputs, Folders(outputs, artifacts, self._runner.sees))
        for made in (outputs, work / "tmp", artifacts):
            made.mkdir(parents=True, exist_ok=True)
        request = self._table.requests[number]
        threads = 0 if request is None else request.threads
        devices = self.budget.devices(number)
        return Attempt((number, attempt), id_, container, start, work, outputs, artifacts, devices, threads)

    def _artifacts(self, number: int) -> Path:
        """The folder of a task's artifacts, in which each has its name."""
        place = self._place.folder / "artifacts" / self._pipeline.name / self._run.id
        return place / self._table.id(number) / self._uuids[number]

    def _files(self, number: int) -> dict[str, str]:
        """The artifacts of a task that has run, whether it left their files or not."""
        declared = self._table.task(number).artifacts
        return {name: str(self._artifacts(number) / name) for name, _ in declared}

    def _records(self, attempt: Attempt) -> str:
        """Where the attempt's records are."""
        task, number = attempt.key
        return f"runs/{self._run.id}/{attempt.task}/{self._uuids[task]}/{number}"

    def _heard(self, task: int, attempt: int, events: Sequence[Event]) -> None:
        """What the task tells of itself; how it starts and ends is known here already."""
        own = self._inner.heard(self._table.runs[task].id, events)
        logged = [found for event in own if (found := logged_in(event)) is not None]
        for item in logged:
            self._ledger.logs(task, attempt, lambda item=item: item)  # type: ignore[misc]

    def _note_logged(self, attempt: Attempt, name: str, *, tell: bool) -> None:
        """What the attempt logged, from its last record; where it was killed, from the one before. tell: it has not
        been told yet."""
        task, number = attempt.key
        place = self._records(attempt)
        try:
            record = self._place.store.get_record(f"{place}/{name}.json")
            if record is None:
                record = self._place.store.get_record(f"{place}/logged.json")
        except GrandpaError:
            return  # a store that is gone is told where values are missed
        logged = Logged.of_record(record)
        if logged:
            self._ledger.logged(task, logged)
            if tell:
                self._ledger.logs(task, number, lambda: logged)

    def _failure(self, attempt: Attempt, ended: Ended) -> TaskError:
        """The launcher's own report where there is one, else how it ended and the end of what it printed."""
        text = attempt.log.read_text(encoding="utf-8", errors="replace") if attempt.log.exists() else ""
        records = reports_in(text) or self._stored_failures(attempt)
        if records:
            record = {**records[-1], "task": attempt.task}
            told = format_report(record)
            if ended.certain:
                told += f"\n{attempt.task}: its process {ended.how}"
            with attempt.log.open("a", encoding="utf-8") as file:  # the task left the telling to us
                file.write(f"{told}\n")
            kind = TaskTimeout if record.get("exception") == TaskTimeout.__name__ else TaskError
            return kind(told, task=attempt.task)
        lines = "\n".join(f"  {line}" for line in text.splitlines()[-_LAST_LINES:])
        printed = f"; it printed last:\n{lines}\nAll of it is in {attempt.log}" if lines else ""
        return TaskError(f"{attempt.task} failed: its process {ended.how}{printed}")

    def _fell_back(self, attempt: Attempt) -> bool:
        """Whether the attempt failed, and what it left is its fallback."""
        task, number = attempt.key
        record = self._place.store.get_record(
            f"runs/{self._run.id}/{attempt.task}/{self._uuids[task]}/{number}/done.json"
        )
        return bool(record and record.get("fell_back"))

    def _stored_failures(self, attempt: Attempt) -> list[Any]:
        store, number = self._place.store, attempt.key[1]
        try:
            paths = [
                path
                for path in store.list_records(f"runs/{self._run.id}/{attempt.task}/")
                if path.endswith(f"/{number}/failure.json")
            ]
            return [store.get_record(path) for path in paths]
        except GrandpaError:
            return []  # the store is what failed: the log says so


class Copied:
    """A thread that copies what a command prints into its log and to the echo, line by line."""

    def __init__(self, attempt: Attempt, stream: IO[bytes], echo: Echo) -> None:
        self._thread = threading.Thread(target=self._copy, args=(attempt, stream, echo), daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """For the rest of it; not for ever, since a process that was left behind may hold the pipe."""
        self._thread.join(_PIPE_S)

    def _copy(self, attempt: Attempt, stream: IO[bytes], echo: Echo) -> None:
        with stream, attempt.log.open("wb", buffering=0) as file:
            marked = False  # a failure's record, which a task without a store leaves: it will be told in words
            for line in stream:
                file.write(line)
                text = line.decode("utf-8", "replace").rstrip("\r\n")
                marked = marked or text == BEGIN_MARKER
                if not marked:
                    echo(attempt.task, text)
                marked = marked and text != END_MARKER


def _read_output(path: Path, name: str) -> str:
    """The file's text. A link is no output: it could lead out of the task's folder."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.reason if isinstance(error, UnicodeDecodeError) else error.strerror
        raise TaskError(f"its process left no output {name} ({reason})") from error
