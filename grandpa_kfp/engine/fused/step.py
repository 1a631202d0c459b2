"""One fused step, from its graph file to its outputs: what the container's launcher calls in place of a node."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import FrameType

from grandpa_kfp_compiler.graph import ANY, HANDLE, Constant, Graph, ParameterValue
from grandpa_kfp_compiler.json_format import loads
from grandpa_kfp_runtime.errors import TaskError
from grandpa_kfp_runtime.events.kinds import Event
from grandpa_kfp_runtime.launch.step import Argument, Room, StepFailed
from grandpa_kfp_runtime.logged.entries import Logged
from grandpa_kfp_runtime.printed.stand_in import captured
from grandpa_kfp_runtime.typespec import Json

from .. import machine
from ..flatten import flatten
from ..graph_tasks import Supplies
from ..parameters import bind_parameters
from ..plan import Plan, make_plan
from ..resources import Budget
from ..run import Run, TaskRun
from ..scratch import Scratch
from ..session import Settings, Tasks, conduct, on_threads
from ..targets import Targets
from .kept import Kept
from .tasks import StepLimits, StepTasks
from .telling import Names, line_of, merged, renamed, told
from .values import StepValues


def open_step(text: bytes, room: Room) -> Step:
    """The step of a graph file's text. Raises LoadError, PayloadError."""
    return Step(loads(text, source=f"the graph of {room.task}"), room)


class Step:
    """`Step` of the launcher. Closed by whoever opened it."""

    def __init__(self, graph: Graph, room: Room) -> None:
        self._graph = graph
        self._room = room
        self._scratch = Scratch()
        self._work: StepTasks | None = None
        self._values: StepValues | None = None
        self._kept: Kept | None = None
        self._run: Run | None = None
        self.nodes = tuple(graph.nodes())
        self.where = graph.where
        self._names = Names(room.task, graph.name)

    def run(self, arguments: Sequence[Argument]) -> None:
        """Runs all tasks, side by side as far as the container's cores allow; the outputs have left then."""
        room = self._room
        live = self._live()
        code = Targets(live, lambda: self._scratch.folder("code"))
        flat = flatten(live)
        plan = make_plan(flat, None, ())
        parameters = self._parameters(arguments, code)
        run = self._run = Run(room.run_id, self._graph.name, started=time.time(), graph=self._graph)
        limits = StepLimits(live.calls(), room.warn)
        budget = Budget(limits)
        values = self._values = StepValues(
            plan.uses, room.store, self._scratch.spool, _read_often(plan, parameters), room.warn, room.run_id
        )
        waits = {call.id: tuple([plan.calls[number].id for number in before])
                 for call, before in zip(plan.calls, plan.waits_for, strict=True)}  # fmt: skip

        def hear(event: Event) -> None:
            mine = renamed(event, self._names, waits)
            if mine is not None:
                room.tell(mine)
            line = line_of(event, self._names)
            if line:
                room.say(line)

        settings = Settings(min(_MOST_LANES, machine.whole_cores() + _WAITING), listeners=(hear,))
        root = str(room.folder / "code")
        supplies = Supplies(values, parameters, code, self._scratch, limits, budget, root, settings.lanes)
        work = self._work = StepTasks(run, flat, plan, supplies, room, self._names)
        kept = self._kept = Kept(room, flatten(self._graph), plan, parameters)
        recall = partial(work.recall, kept) if kept.look() else None
        tasks = Tasks(work.runs, plan.waits_for, work.policies, work.requests, budget, None, plan.always)
        try:
            with captured():
                conduct(run, tasks, work, on_threads(work, settings, recall), settings, None)
        except TaskError as error:
            record = work.failures.get(error.task)
            if record is None:
                raise
            failed = StepFailed(str(error), task=error.task)
            failed.record = record
            raise failed from error.__cause__

    def stopped(self) -> tuple[str, FrameType | None]:
        running = [] if self._work is None else self._work.running()
        if not running:
            return "", None
        shown = [
            f"{self._names.short(item.task)}{f' ({item.where})' if item.where else ''} for {item.seconds:.1f} s"
            for item in running[:_SHOWN]
        ]
        more = f" and {len(running) - _SHOWN:,} more" if len(running) > _SHOWN else ""
        return f"then ran {', '.join(shown)}{more}", running[0].frame

    def keep(self) -> None:
        if self._kept is not None and self._work is not None and self._values is not None:
            self._kept.keep(self._work, self._values)

    def tasks(self) -> list[dict[str, Json]]:
        seen = {} if self._work is None else self._work.seen
        return [told(run, self._names, seen.get(run.id, {})) for run in self._runs()]

    def logged(self) -> Logged:
        return merged(self._runs(), self._names)

    def close(self) -> None:
        self._scratch.close()

    def _runs(self) -> list[TaskRun]:
        return [] if self._run is None else list(self._run.tasks.values())

    def _live(self) -> Graph:
        """The graph with its nodes' functions and classes."""
        nodes = {key: replace(node, target=self._room.load(key)) for key, node in self._graph.nodes().items()}
        return self._graph.with_nodes(nodes)

    def _parameters(self, arguments: Sequence[Argument], code: Targets) -> Mapping[str, Constant]:
        """An argument for each of the first parameters, which have no default; a handle stays what it is."""
        given = dict(zip([item.name for item in self._graph.parameters], arguments, strict=False))
        handles = {name: Constant(handle=handle) for name, (handle, _) in given.items() if handle is not None}
        others = [
            replace(item, type=ANY) if item.type == HANDLE else item
            for item in self._graph.parameters
            if item.name not in handles
        ]
        values = {name: value for name, (handle, value) in given.items() if handle is None}
        return {**handles, **bind_parameters(replace(self._graph, parameters=tuple(others)), values, code.load_type)}


def _read_often(plan: Plan, parameters: Mapping[str, Constant]) -> frozenset[str]:
    """The keys of inputs that more than one task reads."""
    counts = Counter(
        leaf.name for bound in plan.bounds for _, leaf in bound.sources if isinstance(leaf, ParameterValue)
    )
    handles = (parameters[name].handle for name, count in counts.items() if count > 1)
    return frozenset(handle[1:] for handle in handles if handle and handle.startswith("@") and ":" not in handle)


_MOST_LANES = 32
_WAITING = 4
"""Tasks beyond the cores: some wait for disks and networks."""
_SHOWN = 5
