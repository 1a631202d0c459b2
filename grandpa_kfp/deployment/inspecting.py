"""`inspect_run`: what the tasks of a run took and gave, of a run on this machine or on a server.

Inputs and outputs come from the records that tasks leave in the store (`task_records.py`), those of a run on
threads from its own record. Nothing is read of a value before it is asked for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from grandpa_kfp_runtime.contract import RESULT
from grandpa_kfp_runtime.errors import DeployError, GrandpaError, LoadError
from grandpa_kfp_runtime.logged.entries import NOTHING_LOGGED, Logged
from grandpa_kfp_runtime.stores import Store, open_store
from grandpa_kfp_runtime.values.handles import from_handle

from .cached import add_cached
from .connecting import Address, connect
from .reaching import reach_store
from .recorded import GraphRun, YamlRun
from .remote import find_run, pipeline_of
from .replaying import Made
from .server import Server
from .task_records import TaskRecords, numbered, read_records

if TYPE_CHECKING:
    from ..engine.kfp_pipeline import YamlPipeline


@dataclass(frozen=True, slots=True)
class StoredValue:
    """A value by its handle."""

    name: str
    handle: str
    store: Store = field(repr=False)

    def value(self) -> Any:
        """The value, a copy of your own. Raises ObjectGone, CodecError."""
        return from_handle(self.handle, self.store)

    @property
    def size_bytes(self) -> int:
        """Of the stored object, else of the handle's own text."""
        if not self.handle.startswith("@") or self.handle.startswith("@inline:"):
            return len(self.handle.encode())
        return len(memoryview(self.store.read(self.handle[1:])))


@dataclass(frozen=True, slots=True)
class InspectedTask:
    """One task. state: as its run has it, in small letters. report: of its failure, empty for none.
    logged: metrics, parameters and artifacts by name; `logged.last()` are the metrics' last values.

    made: how it was made, for `replay`. Raises LoadError where nobody knows. parent: the task that became this one.
    fell_back: it failed, and its fallback is its output. reason: why it was skipped, where that is known. seen: of a
    task of a fused step, its `parent` then, a short text about each output, which the step has not handed on.
    """

    name: str
    state: str
    duration_s: float
    inputs: Mapping[str, StoredValue]
    outputs: Mapping[str, StoredValue]
    report: str = ""
    made: Callable[[], Made] = field(default=lambda: _unknown(), repr=False)
    logged: Logged = NOTHING_LOGGED
    artifacts: Mapping[str, StoredValue] = field(default_factory=dict)
    parent: str = ""
    fell_back: bool = False
    reason: str = ""
    seen: Mapping[str, str] = field(default_factory=dict)

    def output(self, name: str = RESULT) -> Any:
        """The value of an output. Raises LoadError where the task left none of that name."""
        return self._of(self.outputs, name, "output").value()

    def input(self, name: str) -> Any:
        """The value of an input as the task got it."""
        return self._of(self.inputs, name, "input").value()

    def artifact(self, name: str) -> Any:
        """The value of what was logged by `log_artifact`, or of a page or figure that is an output."""
        return self._of(self.artifacts, name, "artifact").value()

    def replay(self, inputs: Mapping[str, Any] | None = None, *, code: Literal["current", "run"] = "current") -> Any:
        """Runs the task again in this process, with the inputs that it had, and returns its value.

        inputs: values that take the place of the run's, by name. code: the project's as it stands now, or the
        run's own. Nothing of the run changes. Raises TaskError with the report, what the node raised as its
        `__cause__`; LoadError for code that is gone, StoreError for an input that is.
        """
        from .replaying import replay

        return replay(self.made(), inputs or {}, code)

    def _of(self, values: Mapping[str, StoredValue], name: str, kind: str) -> StoredValue:
        if name not in values:
            known = ", ".join(values) or f"no {kind}s on record (it {self.state})"
            if self.seen:
                known = f"none that left {self.parent}, in which it ran"
            raise LoadError(f"task {self.name} has no {kind} {name}; it has {known}")
        return values[name]


@dataclass(slots=True)
class InspectedRun:
    """A run and its tasks, in the order in which they began. Close it: it may hold a forwarded port."""

    id: str
    name: str
    state: str
    tasks: Mapping[str, InspectedTask]
    close: Callable[[], None] = field(default=lambda: None, repr=False)

    def __enter__(self) -> InspectedRun:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def task(self, name: str) -> InspectedTask:
        """The task of an id, or of a name that only one task has. Raises LoadError."""
        import difflib

        if name in self.tasks:
            return self.tasks[name]
        found = [key for key in self.tasks if key.rpartition("/")[2] == name]
        if len(found) == 1:
            return self.tasks[found[0]]
        if found:
            raise LoadError(f"run {self.id} has {len(found)} tasks {name}; say which: {', '.join(found)}")
        near = difflib.get_close_matches(name, self.tasks, 1)
        has = f"did you mean {near[0]}?" if near else f"it has {', '.join(self.tasks) or 'none'}"
        raise LoadError(f"run {self.id} has no task {name}; {has}")


def inspect_run(
    run: str = "last", *, root: str | Path | None = None, store: str = "", secret: str = "", **address: Any
) -> InspectedRun:
    """A run by its id or the beginning of one; one on this machine first; `last`, the default, is its newest.

    root: of the project whose runs on this machine are meant. store, secret: where the values of a run on a
    server are, where its record does not say. address: as of `deploy` (`endpoint`, `namespace`, ...).
    Raises LoadError and DeployError where there is no such run.

    >>> import tempfile
    >>> from grandpa_kfp import Node, Workflow, run
    >>> @Node
    ... def square(x: int) -> int:
    ...     return x * x
    >>> @Workflow
    ... def pipeline(x: int = 3):
    ...     return square(x)
    >>> folder = tempfile.mkdtemp()
    >>> inspect_run(run(pipeline, root=folder).id, root=folder).task("square").output()
    9
    """
    from grandpa_kfp_runtime.code.project import find_root

    from ..engine.record import NEWEST, list_runs

    place = Path(root) if root is not None else find_root(Path.cwd() / "pipeline.py")
    known = list_runs(place)
    if run == NEWEST or any(name.startswith(run) for name in known):
        return _of_this_machine(place, run, store)
    where = Address(**address)
    try:
        server = connect(where)
    except DeployError as error:
        raise LoadError(f"{_no_such_run(run, known, place)}; and it can be no run of a server: {error}") from error
    try:
        return _of_server(server, run, place, store, secret, where)
    except BaseException:
        server.close()
        raise


def _no_such_run(run: str, known: list[str], root: Path) -> str:
    import difflib

    near = difflib.get_close_matches(run, known, 1, cutoff=0.8)
    if near:
        return f"no run {run} is recorded in {root / '.grandpa'}; did you mean {near[0]}?"
    return f"no run {run} is recorded in {root / '.grandpa'}; the newest are: {', '.join(known[:-4:-1]) or 'none'}"


def _of_server(server: Server, wanted: str, root: Path, uri: str, secret: str, where: Address) -> InspectedRun:
    run = find_run(server, wanted)
    uri = run.provenance.store or uri
    if not uri:
        raise DeployError(f"run {run.name} does not say which store its tasks use; give it by store=")
    reached = reach_store(uri, secret=secret, address=where)
    if reached.store is None:
        raise DeployError(f"the store of run {run.name} cannot be reached: {reached.why}")
    store, records = reached.store, read_records(reached.store, run.id)

    @cache
    def pipeline() -> YamlPipeline:
        return pipeline_of(server, run)

    def close() -> None:
        reached.close()
        server.close()

    cached = [view.name for view in run.tasks if view.state == "CACHED"]
    if cached:
        with suppress(DeployError, LoadError):  # a pipeline that is gone, or not ours: no more is known then
            add_cached(records, cached, pipeline(), run.parameters, store)
    views = sorted(run.tasks, key=lambda view: view.started or float("inf"))
    names = numbered([view.name for view in views])
    yaml = YamlRun(run.id, pipeline, records.started, store, root)
    tasks = {
        name: _task(name, view.state.lower(), view.duration_s, records, store, partial(yaml.made, name))
        for name, view in zip(names, views, strict=True)
    }
    for name in names:
        tasks.update(_inside(name, records, store))
    return InspectedRun(run.id, run.name, run.state.lower(), tasks, close)


def _of_this_machine(root: Path, run_id: str, uri: str) -> InspectedRun:
    from ..engine.kfp_reading import read_pipeline
    from ..engine.record import read_head, read_run

    run = read_run(root, run_id)
    assert run.folder is not None
    store = open_store(uri or str(read_head(run).get("store") or root / ".grandpa" / "store"))
    records = read_records(store, run.id)
    file = run.folder / "pipeline.yaml"
    yaml = YamlRun(run.id, cache(lambda: read_pipeline(file)), records.started, store, root)
    graph = GraphRun(run, store, root)
    inside = {name: task for step in run.tasks for name, task in _inside(step, records, store).items()}
    tasks = {}
    for item in run.tasks.values():
        made = partial(yaml.made if file.exists() else graph.made, item.id)
        task = _task(item.id, item.state, item.duration_s, records, store, made, item.report, item.logged)
        task = replace(task, parent=item.parent, fell_back=item.fell_back, reason=item.reason)
        known = inside.get(item.id)
        if known is not None:
            task = replace(task, made=known.made, seen=known.seen)
        if not file.exists():
            outputs = {name: StoredValue(name, handle, store) for name, handle in item.outputs.items()}
            task = replace(task, inputs=_inputs_of(graph, item.id), outputs=outputs)
        tasks[item.id] = task
    return InspectedRun(run.id, run.name, run.state, tasks)


def _inputs_of(graph: GraphRun, task: str) -> dict[str, StoredValue]:
    try:
        return {name: StoredValue(name, *found) for name, found in graph.inputs(task).items()}
    except GrandpaError:  # a graph that was not recorded: the outputs are there all the same
        return {}


def _task(
    name: str, state: str, duration_s: float, records: TaskRecords, store: Store, made: Callable[[], Made],
    report: str = "", logged: Logged = NOTHING_LOGGED,
) -> InspectedTask:  # fmt: skip
    from .failures import formatted

    done, failed = records.done.get(name, {}), records.failure.get(name, {})
    outputs = {key: StoredValue(key, str(handle), store) for key, handle in (done.get("outputs") or {}).items()}
    given = records.started.get(name, {}).get("inputs") or {}
    raw = records.started.get(name, {}).get("raw") or ()
    inputs = {
        key: StoredValue(key, value if isinstance(value, str) and key not in raw else json.dumps(value), store)
        for key, value in given.items()
    }
    told = report or (formatted(dict(failed)) if failed else "")
    took_s = float(done.get("duration_s") or duration_s)
    logged = logged or Logged.of_record(done or failed or records.logged.get(name))
    artifacts = {key: StoredValue(key, item.handle, store) for key, item in logged.artifacts.items() if item.handle}
    return InspectedTask(name, state, took_s, inputs, outputs, told, made, logged, artifacts)


def _inside(step: str, records: TaskRecords, store: Store) -> dict[str, InspectedTask]:
    """The tasks of a fused step, as its last record tells of them; none for any other task."""

    def made() -> Made:
        raise LoadError(f"it ran inside the step {step}, which keeps nothing of it: replay {step}")

    found = {}
    for told in (records.done.get(step) or records.failure.get(step) or {}).get("tasks", ()):
        name, logged = f"{step}/{told['task']}", Logged.of_record(told)
        artifacts = {key: StoredValue(key, item.handle, store) for key, item in logged.artifacts.items() if item.handle}
        parent = f"{step}/{told['parent']}" if told.get("parent") else step
        state, took_s = str(told["state"]), float(told["duration_s"])
        found[name] = InspectedTask(
            name, state, took_s, {}, {}, str(told.get("error", "")), made, logged, artifacts, parent,
            seen=told.get("outputs", {}),
        )  # fmt: skip
    return found


def _unknown() -> Made:
    raise LoadError("nobody knows how this task was made")
