"""A run on worker processes: what `execute` puts together for it, and its value at the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grandpa_kfp_compiler.bind import bind
from grandpa_kfp_compiler.graph import Call, Constant, Graph, Instance, Outcome, TaskOutput, Value
from grandpa_kfp_runtime.context import TaskContext
from grandpa_kfp_runtime.errors import ParameterError, TaskError
from grandpa_kfp_runtime.stores import Store
from grandpa_kfp_runtime.stores.file import FileStore
from grandpa_kfp_runtime.task import call as run_call
from grandpa_kfp_runtime.values.handles import to_handle

from .. import numeric
from ..growth import AS_IT_IS, TaskTable
from ..main_module import main_by_its_name, main_name
from ..plan import Plan
from ..resources import Budget, Limits
from ..run import Run
from ..scratch import Scratch
from ..session import Lanes, OpenLanes, Settings, note
from ..targets import Targets
from . import segments
from .briefs import Briefs
from .conductor import Conductor
from .crew import Crew
from .holdings import read_stored
from .manners import current_folder
from .outputs import Outputs
from .parcels import PACKED, PLAIN, SEGMENT, STORED, Key, in_segment, unpacked
from .specs import Setting
from .state import State


@dataclass(frozen=True, slots=True)
class ProcessSupplies:
    """What a run has: its parameters, its code in this process, its folders, its store (None: not recorded), and what
    its tasks may hold of the machine. caching: whether results of earlier runs are taken, and left for later ones."""

    parameters: Mapping[str, Constant]
    code: Targets
    scratch: Scratch
    store: Store | None
    root: str
    limits: Limits
    budget: Budget
    caching: bool = False


class ProcessWork:
    """The tasks of one run of one graph. wanted: what was asked for, by what it was asked with; None for all."""

    def __init__(
        self,
        run: Run,
        graph: Graph,
        plan: Plan,
        crew: Crew,
        supplies: ProcessSupplies,
        wanted: Mapping[Any, TaskOutput] | None,
    ) -> None:
        self._run = run
        self._graph = graph
        self._crew = crew
        self._supplies = supplies
        self._wanted = wanted
        self.table = self._table = table = TaskTable(run, plan, supplies.limits)
        self._outputs = Outputs(plan.uses, crew.memory)
        setting = Setting(
            run.id,
            store_uri(supplies.store),
            str(supplies.scratch.folder("spool")),
            supplies.root,
            main_name(),
            max(_LEAST_WINDOW, 4 * crew.processes * crew.threads),
            numeric.environ(crew.processes * crew.threads),
            current_folder(),
            supplies.caching,
        )
        self._briefs = Briefs(
            table,
            supplies.parameters,
            setting,
            crew.memory,
            supplies.scratch.spool,
            shares_store=isinstance(supplies.store, FileStore),
        )
        self.runs, self.policies, self.requests = table.runs, table.policies, table.requests

    def lanes(self, settings: Settings) -> OpenLanes:
        """The conductor, for `session.conduct`."""

        def open_lanes(schedule: Any, ledger: Any, ready: Any, cancel: Any) -> Lanes:
            budget, evaluate = self._supplies.budget, self._evaluate
            state = State(
                self._crew, self._table, self._briefs, self._outputs, schedule, ledger, budget, evaluate, settings.memo
            )
            return Conductor(
                state,
                keep_going=settings.keep_going,
                ready=ready,
                note=lambda text: note(self._run, text),
                cancel=cancel,
            )

        return open_lanes

    def give(self, task: str, output: str, value: Any) -> str:
        """An output that is known before the run; its handle, empty where it has none."""
        key = (task, output)
        constant = value if isinstance(value, Constant) else Constant(value)
        if not self._outputs.uses.get(key):
            return constant.handle or ""
        self._outputs.put(
            key,
            (STORED, constant.handle, False)
            if constant.handle is not None
            else self._briefs.parcel(constant.value, output),
        )
        return constant.handle or ""

    def collect(self) -> tuple[Any, Mapping[str, str]]:
        with main_by_its_name():
            if self._wanted is not None:
                self._run.targets = {key: self._value(str(output.task), output) for key, output in self._wanted.items()}
                return None, {}
            made = {name: self._value(name, value) for name, value in self._graph.outputs}
            handles = {name: self._handle(name, value, made[name]) for name, value in self._graph.outputs}
        return next(iter(made.values())) if len(made) == 1 else made or None, handles

    def close(self) -> None:
        """What the run left with its workers is theirs to forget."""

    def _value(self, name: str, value: Value) -> Any:
        """One output of the workflow."""
        try:
            return self._argument(name, value, self._graph.instances)
        except TaskError as error:
            raise TaskError(f"{self._graph.name} ({self._graph.where}): its result: {error}") from error

    def _evaluate(self, value: Value, instances: tuple[Instance, ...]) -> Any:
        """What a branch or loop decides by."""
        with main_by_its_name():
            return self._argument("control", value, instances)

    def _argument(self, name: str, value: Value, instances: tuple[Instance, ...]) -> Any:
        """The argument that a task would receive for the value."""
        parameters = {item.name: item for item in self._graph.parameters}
        bound = bind(Call(name, AS_IT_IS, (value,)), {item.id: item for item in instances}, parameters)
        context = TaskContext(self._run.id, name, folder=self._files())
        inputs: dict[str, Any] = {}
        for input_name, leaf in bound.sources:
            if isinstance(leaf, TaskOutput):
                inputs[input_name] = self._fetch((leaf.task, leaf.output), context)
            else:
                assert not isinstance(leaf, Outcome)  # of tasks that run always alone
                constant = leaf if isinstance(leaf, Constant) else self._supplies.parameters[leaf.name]
                inputs[input_name] = self._constant(constant, context)
        load = self._supplies.code.load
        return run_call(AS_IT_IS.key, bound.interface, inputs, lambda key: _same if key == AS_IT_IS.key else load(key))

    def _fetch(self, key: Key, context: TaskContext) -> Any:
        parcel = self._outputs.parcel(key)
        kind = parcel[0]
        if kind == PLAIN:
            return parcel[1]
        if kind == PACKED:
            return unpacked(parcel, context.scratch_dir)
        if kind == SEGMENT:
            frames = segments.map_frames(self._crew.memory.descriptor(parcel[1]), parcel[2])
            self._crew.memory.lend(parcel[1], _THIS_PROCESS)  # never written again: the caller may keep the value
            return in_segment(parcel, frames, context.scratch_dir)
        assert kind == STORED
        return read_stored(parcel, self._supplies.store, self._supplies.scratch.spool, context.scratch_dir())

    def _constant(self, constant: Constant, context: TaskContext) -> Any:
        from ..values import Values

        values = Values({}, spool=self._supplies.scratch.spool, store=self._supplies.store, failed=lambda _: None)
        return values.constant(constant, "result", scratch=context.scratch_dir)

    def _handle(self, name: str, value: Value, made: Any) -> str:
        if isinstance(value, TaskOutput) and not value.path and value.task in self._run.tasks:
            return self._run.tasks[value.task].outputs.get(value.output, "")
        return to_handle(made, self._supplies.store, name=name) if self._supplies.store is not None else ""

    def _files(self) -> Path | None:
        return None if self._run.folder is None else self._run.folder / "files"


def store_uri(store: Store | None) -> str:
    """How a worker opens the store. Raises ParameterError for one that lives in this process alone."""
    if store is None:
        return ""
    uri = getattr(store, "location", "")
    if not uri or str(uri).startswith("memory"):
        raise ParameterError(
            f"worker processes cannot use {store!r}, which this process alone can see: give store= a folder or an "
            "s3:// URI, or record=False"
        )
    return str(uri)


_THIS_PROCESS = 0
_LEAST_WINDOW = 64


def _same(value: Any) -> Any:
    return value
