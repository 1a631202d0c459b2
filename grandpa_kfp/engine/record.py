"""The record of a run: the folder `.grandpa/runs/<id>/`, written while it runs, read afterwards.

    run.json        what ran, when, how it ended; written at the start and anew at the end
    graph.json      the graph, as the graph file format has it (of a compiled YAML: pipeline.yaml)
    events.jsonl    one event a line, appended in batches by the journal's thread
    logs/           what each task printed (of a compiled YAML: tasks/)
    results.json    the handles of the workflow's outputs, and how each task went; written at the end

`.grandpa/store` beside it holds the objects that handles name. A record that cannot be written is
given up with one note; the run goes on, and its value is not touched.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import FileIO
from pathlib import Path
from typing import Any

from grandpa_kfp_compiler.graph import Graph
from grandpa_kfp_runtime.errors import CodecError, LoadError
from grandpa_kfp_runtime.events.lines import event_line, handles_text, read_event
from grandpa_kfp_runtime.logged.task_log import Collector

from . import events
from .events import Event
from .printed_logs import PrintedLogs
from .run import Run, TaskRun
from .task_logs import logged_in

FORMAT = 1


def new_id() -> str:
    """`20261121-034512-ab12`: sorts by time, its end are the fractions of the second, in 65,536ths."""
    now = time.time()
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(now))}-{int(now % 1 * 65536):04x}"


def home(root: Path) -> Path:
    """The folder `.grandpa` of a project, made where it is missing, invisible to git. Raises OSError."""
    folder = root / ".grandpa"
    folder.mkdir(parents=True, exist_ok=True)
    ignore = folder / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n", encoding="utf-8")
    return folder


class Record:
    """The folder of one run that is under way.

    note: told once, of the first error, after which nothing is written any more.
    """

    def __init__(self, run: Run, head: Mapping[str, Any], note: Callable[[str], None]) -> None:
        self._run = run
        self._head = dict(head)
        self._note = note
        self._events: FileIO | None = None
        self._logs: PrintedLogs | None = None
        self.alive = True

    @classmethod
    def create(
        cls, run: Run, root: Path, head: Mapping[str, Any], note: Callable[[str], None], *, logs: bool = True
    ) -> Record:
        """Makes the run's folder, which settles its id. head: what run.json says beside the run's own state;
        logs: keep what tasks print."""
        made = cls(run, head, note)
        try:
            run.folder = made._make_folder(home(root) / "runs")
            made._write_head()
            made._events = FileIO(run.folder / "events.jsonl", "a")
            made._logs = PrintedLogs(run.folder) if logs else None
        except Exception as error:
            made.fail(error)
        return made

    def add(self, name: str, text: Callable[[], str]) -> None:
        """One more file in the run's folder."""
        if self.alive and self._run.folder is not None:
            try:
                write_atomically(self._run.folder / name, text())
            except CodecError as error:  # a constant that cannot be stored: the task that takes it will tell
                self._note(f"{name} is not recorded: {error}")
            except Exception as error:
                self.fail(error)

    def write(self, batch: Sequence[Event]) -> None:
        """Appends events; called by the journal's thread alone."""
        if self.alive and self._events is not None:
            try:
                data = "".join(self._lines(batch)).encode("utf-8", "surrogatepass")
                while data:  # an unbuffered file may take a part
                    data = data[self._events.write(data) :]
            except Exception as error:
                self.fail(error)

    def _lines(self, batch: Sequence[Event]) -> Iterator[str]:
        logs = self._logs
        if not any(type(event) is events.TaskPrinted for event in batch):
            return map(event_line, batch)
        if logs is None:  # kept elsewhere
            return (event_line(event) for event in batch if type(event) is not events.TaskPrinted)
        logs.write(batch)
        return (event_line(event) for event in batch if logs.in_events(event))

    def finish(self, outputs: Mapping[str, str]) -> None:
        """The run has ended and the journal is closed. outputs: handles of the workflow's outputs."""
        if self._events is not None:
            self._events.close()
        if self.alive and self._run.folder is not None:
            try:
                tasks = ",".join([f"{_QUOTE(task.id)}:{_task_text(task)}" for task in self._run.tasks.values()])
                text = f'{{"format":{FORMAT},"outputs":{_ENCODE(dict(outputs))},"tasks":{{{tasks}}}}}'
                write_atomically(self._run.folder / "results.json", text)
                self._write_head()
            except Exception as error:
                self.fail(error)

    def fail(self, error: Exception) -> None:
        """Gives the record up: says why, once. Called for any error, since none is worth the run."""
        if self.alive:
            self.alive = False
            reason = f"{error.strerror}: {error.filename}" if isinstance(error, OSError) else str(error)
            self._note(f"the run is not recorded any further ({reason}); its value is not touched")

    def _make_folder(self, runs: Path) -> Path:
        runs.mkdir(exist_ok=True)
        while True:
            folder = runs / self._run.id
            try:
                folder.mkdir()
                return folder
            except FileExistsError:
                self._run.id = new_id()

    def _write_head(self) -> None:
        run = self._run
        assert run.folder is not None
        head = {
            "format": FORMAT,
            "id": run.id,
            "name": run.name,
            "state": run.state,
            "started": run.started,
            "duration_s": round(run.duration_s, 6),
            "python": platform.python_version(),
            "notes": run.notes,
            **self._head,
        }
        write_atomically(run.folder / "run.json", json.dumps(head, indent=1))


def write_atomically(path: Path, text: str) -> None:
    """The whole file or none: by a temporary one beside it. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8", errors="surrogatepass")
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


_ENCODE = json.JSONEncoder(separators=(",", ":")).encode
_QUOTE = json.encoder.encode_basestring_ascii


def _task_text(task: TaskRun) -> str:
    """How the task went as JSON; what most tasks have by the way that is three times as fast."""
    outputs = handles_text(task.outputs)
    most = (
        f'{{"state":"{task.state}","attempts":{task.attempts},"started":{task.started!r},'
        f'"duration_s":{task.duration_s!r},"outputs":{outputs},"where":{_QUOTE(task.where)}'
    )
    more = _more_of(task)
    return f"{most},{_ENCODE(more)[1:]}" if more else f"{most}}}"


def _more_of(task: TaskRun) -> dict[str, Any]:
    data: dict[str, Any] = {}
    if task.parent:
        data["parent"] = task.parent
    if task.error:
        data["error"], data["report"] = task.error, task.report
    if task.fell_back:
        data["fell_back"] = True
    if task.reason:
        data["reason"] = task.reason
    if task.logged:
        data["logged"] = task.logged.to_json()
    return data


def list_runs(root: Path) -> list[str]:
    """The ids of the runs recorded below a project's root, oldest first."""
    runs = root / ".grandpa" / "runs"
    if not runs.is_dir():
        return []
    known = sorted(path.name for path in runs.iterdir() if path.is_dir())
    seconds = Counter(name.rpartition("-")[0] for name in known)

    def began(name: str) -> tuple[str, float]:
        second = name.rpartition("-")[0]
        return second, _started(runs / name) if seconds[second] > 1 else 0.0  # ids tell no more than the second

    return sorted(known, key=began)


def _started(folder: Path) -> float:
    try:
        return float(json.loads((folder / "run.json").read_text(encoding="utf-8"))["started"])
    except (OSError, ValueError, KeyError, TypeError):  # cut short, or a head of another format
        return 0.0


NEWEST = "last"
"""What stands for the id of the newest run."""


def read_run(root: Path, run_id: str = NEWEST) -> Run:
    """A recorded run: its tasks, their states, times and handles; its value stays in the store.

    run_id: `last` for the newest; the beginning of an id is enough where it is the only such one. A run
    that was killed, or that still runs, is read as far as its events go.
    Raises LoadError where there is no such run, or its record cannot be read.
    """
    known = list_runs(root)
    found = known[-1:] if run_id == NEWEST else [name for name in known if name.startswith(run_id)]
    if run_id in known:
        found = [run_id]
    if len(found) != 1:
        newest = ", ".join(reversed(known[-5:])) or "none"
        what = (
            "no run is recorded"
            if not found and run_id == NEWEST
            else f"{len(found) or 'no'} runs begin with {run_id!r}"
        )
        raise LoadError(f"{what} in {root / '.grandpa' / 'runs'}; the newest are: {newest}")
    folder = root / ".grandpa" / "runs" / found[0]
    try:
        head = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        run = Run(head["id"], head["name"], head["state"], started=head["started"], duration_s=head["duration_s"])
        run.folder = folder
        run.notes = list(head.get("notes", ()))
        text = (folder / "events.jsonl").read_text(encoding="utf-8", errors="surrogatepass")
    except (OSError, ValueError, KeyError) as error:
        raise LoadError(f"the record of run {found[0]} in {folder} cannot be read: {error!r}") from error
    logs: dict[str, Collector] = {}
    for event in _events_in(text):
        hear(run, event, logs)
    for name, collector in logs.items():
        run.tasks[name].logged = collector.logged()
    return run


def read_events(run: Run) -> list[Event]:
    """Everything that happened in a recorded run, in order; of what tasks printed only the beginning is there.

    Raises LoadError where the record cannot be read.
    """
    if run.folder is None:
        raise LoadError(f"run {run.id} was not recorded")
    try:
        text = (run.folder / "events.jsonl").read_text(encoding="utf-8", errors="surrogatepass")
    except (OSError, ValueError) as error:
        raise LoadError(f"the record of run {run.id} cannot be read: {error}") from error
    return list(_events_in(text))


def _events_in(text: str) -> Iterator[Event]:
    for line in text.split("\n")[:-1]:  # the last line of a killed run may be cut
        yield read_event(line)


def read_head(run: Run) -> dict[str, Any]:
    """What run.json says: of the workflow, the store. Raises LoadError."""
    if run.folder is None:
        raise LoadError(f"run {run.id} was not recorded")
    try:
        head: dict[str, Any] = json.loads((run.folder / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LoadError(f"the record of run {run.id} cannot be read: {error}") from error
    return head


def read_graph(run: Run) -> Graph:
    """The graph of a recorded run. Raises LoadError where the record has none that can be read."""
    from grandpa_kfp_compiler.json_format import loads

    if run.graph is not None:
        return run.graph
    if run.folder is None:
        raise LoadError(f"run {run.id} was not recorded")
    try:
        run.graph = loads((run.folder / "graph.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise LoadError(f"the record of run {run.id} holds no graph: {error}") from error
    return run.graph


def hear(run: Run, event: Event, logs: dict[str, Collector]) -> None:
    """Brings the run up to date with what happened. logs: what each task's last attempt logged."""
    if isinstance(event, events.RunStarted):
        run.tasks.update((task, TaskRun(task)) for task in event.tasks)
        return
    if isinstance(event, events.RunFinished | events.TaskQueued | events.TaskPrinted):
        return
    task = run.tasks.setdefault(event.task, TaskRun(event.task))  # type: ignore[attr-defined]
    logged = logged_in(event)
    if logged is not None:
        logs.setdefault(task.id, Collector()).add(logged)
    elif isinstance(event, events.TaskStarted):
        logs.pop(task.id, None)
        task.state, task.started, task.attempts = "running", event.at, int(event.attempt)
    elif isinstance(event, events.TaskGrew):
        for child, before in event.children.items():
            run.tasks[child] = TaskRun(child, parent=event.task, waits_for=before)
    elif isinstance(event, events.TaskFinished):
        task.state, task.duration_s, task.outputs = "succeeded", event.duration_s, event.outputs
    elif isinstance(event, events.TaskCached):
        task.state, task.started, task.outputs = "cached", event.at, event.outputs
    elif isinstance(event, events.TaskFailed):
        task.state, task.duration_s = "failed", event.duration_s
        task.error, task.report = event.error, event.report
        task.fell_back, task.outputs = event.fallback is not None, event.fallback or {}
    elif isinstance(event, events.TaskRetried):
        task.state, task.duration_s, task.error = "waiting", event.duration_s, event.error
    elif isinstance(event, events.TaskDropped):
        task.state, task.reason = event.state, event.reason
