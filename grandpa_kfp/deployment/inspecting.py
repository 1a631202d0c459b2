"""`inspect_run`: what the tasks of a run took and gave, of a run on this machine or on a server.

Inputs and outputs come from the records that tasks leave in the store, those of a run on threads from its own
record. Nothing is read of a value before it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grandpa_kfp_runtime.contract import RESULT
from grandpa_kfp_runtime.errors import DeployError, LoadError
from grandpa_kfp_runtime.stores import Store, open_store
from grandpa_kfp_runtime.values.handles import from_handle

from .connecting import Address, connect
from .reaching import reach_store
from .remote import RemoteRun, find_run


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
    """One task. state: as its run has it, in small letters. report: of its failure, empty for none."""

    name: str
    state: str
    duration_s: float
    inputs: Mapping[str, StoredValue]
    outputs: Mapping[str, StoredValue]
    report: str = ""

    def output(self, name: str = RESULT) -> Any:
        """The value of an output. Raises LoadError where the task left none of that name."""
        return self._of(self.outputs, name, "output").value()

    def input(self, name: str) -> Any:
        """The value of an input as the task got it."""
        return self._of(self.inputs, name, "input").value()

    def _of(self, values: Mapping[str, StoredValue], name: str, kind: str) -> StoredValue:
        if name not in values:
            known = ", ".join(values) or f"no {kind}s on record (it {self.state})"
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
        if name in self.tasks:
            return self.tasks[name]
        found = [task for key, task in self.tasks.items() if key.rpartition("/")[2] == name]
        if len(found) != 1:
            raise LoadError(f"run {self.id} has no task {name}; it has {', '.join(self.tasks) or 'none'}")
        return found[0]


def inspect_run(
    run: str = "", *, root: str | Path | None = None, store: str = "", secret: str = "", **address: Any
) -> InspectedRun:
    """A run by its id or the beginning of one; one on this machine first, by default its newest.

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

    from ..engine.record import list_runs

    place = Path(root) if root is not None else find_root(Path.cwd() / "pipeline.py")
    here = [name for name in list_runs(place) if name.startswith(run)]
    if here or not run:
        return _of_this_machine(place, run, store)
    where = Address(**address)
    with connect(where) as server:
        found = find_run(server, run)
    uri = found.provenance.store or store
    if not uri:
        raise DeployError(f"run {found.name} does not say which store its tasks use; give it by store=")
    reached = reach_store(uri, secret=secret, address=where)
    if reached.store is None:
        raise DeployError(f"the store of run {found.name} cannot be reached: {reached.why}")
    return _of_server(found, reached.store, reached.close)


def _of_server(run: RemoteRun, store: Store, close: Callable[[], None]) -> InspectedRun:
    from grandpa_kfp_runtime.failure import format_report

    from .failures import failure_records

    done = _done_records(store, run.id)
    failed = {str(record.get("task")): format_report(record) for record in failure_records(store, run.id)}
    tasks = {
        task.name: _task(
            task.name, task.state.lower(), task.duration_s, done.get(task.name, {}), store, failed.get(task.name, "")
        )
        for task in run.tasks
    }
    return InspectedRun(run.id, run.name, run.state.lower(), tasks, close)


def _of_this_machine(root: Path, run_id: str, uri: str) -> InspectedRun:
    from ..engine.record import read_run

    run = read_run(root, run_id)
    store = open_store(uri or root / ".grandpa" / "store")
    done = _done_records(store, run.id)
    tasks = {}
    for item in run.tasks.values():
        record = done.get(item.id) or {"outputs": dict(item.outputs)}
        tasks[item.id] = _task(item.id, item.state, item.duration_s, record, store, item.report)
    return InspectedRun(run.id, run.name, run.state, tasks)


def _done_records(store: Store, run_id: str) -> dict[str, dict[str, Any]]:
    """The newest `done` record of each task."""
    found = {}
    for path in store.list_records(f"runs/{run_id}/"):
        if path.endswith("/done.json"):
            record = store.get_record(path)
            if isinstance(record, dict):
                found[str(record.get("task", ""))] = record
    return found


def _task(
    name: str, state: str, duration_s: float, record: Mapping[str, Any], store: Store, report: str
) -> InspectedTask:
    inputs, outputs = (
        {key: StoredValue(key, str(handle), store) for key, handle in (record.get(kind) or {}).items()}
        for kind in ("inputs", "outputs")
    )
    return InspectedTask(name, state, float(record.get("duration_s") or duration_s), inputs, outputs, report)
