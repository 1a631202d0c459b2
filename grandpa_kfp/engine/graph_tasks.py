"""What a lane does for one task of a graph: inputs, the node's body, outputs, all in this process.

`Body` for `attempts.py` and `Work` for `session.py`. The body itself runs in `grandpa_kfp_runtime.task`,
as it does in a container.
"""

from __future__ import annotations

import contextlib
import contextvars
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from grandpa_kfp_compiler.bind import Bound, bind
from grandpa_kfp_compiler.graph import RESULT, Call, Constant, Graph, Instance, Outcome, TaskOutput, Value
from grandpa_kfp_runtime.context import TaskContext, leave, put
from grandpa_kfp_runtime.errors import TaskError, TaskTimeout
from grandpa_kfp_runtime.keeping import Keeper
from grandpa_kfp_runtime.keeping import put as keep_in
from grandpa_kfp_runtime.logged.outputs import note_outputs
from grandpa_kfp_runtime.logged.task_log import TaskLog
from grandpa_kfp_runtime.recording import TaskBody
from grandpa_kfp_runtime.redaction import Redactor
from grandpa_kfp_runtime.task import call as run_call
from grandpa_kfp_runtime.task import perform, split_outputs
from grandpa_kfp_runtime.values.codecs import summary
from grandpa_kfp_runtime.values.handles import from_constant

from ..authoring.grown import graph_of_result
from ..authoring.mapping import Series
from . import environment
from .control import Control, columns, control_of
from .growth import AS_IT_IS, Extension, Growth, Parts, Scope, TaskTable, as_bound, extend
from .interrupting import Stay
from .ledger import Ledger
from .memo.results import Result
from .plan import Plan
from .reports import Failing, failure
from .resources import Budget, Limits
from .run import Run
from .scheduler import Schedule
from .scratch import Scratch
from .targets import Targets
from .task_logs import LaneLog
from .values import Values


@dataclass(frozen=True, slots=True)
class Supplies:
    """Where tasks get what they need: values of other tasks, parameters, code, room on disk.

    budget: who holds what of the machine. root: the folder that reports name files from. lanes: how many tasks run
    at once.
    """

    values: Values
    parameters: Mapping[str, Constant]
    code: Targets
    scratch: Scratch
    limits: Limits
    budget: Budget
    root: str = ""
    lanes: int = 1


class Earlier(Protocol):
    """Who knows results of earlier runs."""

    def recall(self, task: int) -> Result | None:
        """The one that stands for running the task, None for none."""
        ...


class _Attempt:
    """One attempt under way."""

    __slots__ = ("context", "held", "inputs", "stay", "thread")

    def __init__(self, context: TaskContext) -> None:
        self.context = context
        self.held: list[Callable[[], None]] = []  # how to let go of the process's environment
        self.inputs: dict[str, Any] = {}
        self.thread = threading.get_ident()
        self.stay = Stay()


class GraphTasks:
    """The tasks of one run of one graph. wanted: what was asked for, by what it was asked with; None for all."""

    def __init__(
        self, run: Run, graph: Graph, plan: Plan, supplies: Supplies, wanted: Mapping[Any, TaskOutput] | None
    ) -> None:
        self._run = run
        self._graph = graph
        self.table = self._table = TaskTable(run, plan, supplies.limits)
        self._supplies = supplies
        self._wanted = wanted
        self._context = contextvars.copy_context()  # what the caller set holds in tasks too, and none leaks
        self._keeper = Keeper()
        self._context.run(keep_in, self._keeper)
        self._attempts: dict[int, _Attempt] = {}
        self.runs, self.policies, self.requests = self._table.runs, self._table.policies, self._table.requests

    # --- Body --------------------------------------------------------------------------------------

    def connect(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def run(self, task: int, attempt: int) -> dict[str, Any] | Growth:
        table = self._table
        call, bound, scope, name = table.calls[task], table.bounds[task], table.scopes[task], table.runs[task].id
        output = self._ledger.output(task, attempt)
        context = TaskContext(
            self._run.id, name, attempt, open_log=lambda: self._open_log(task, attempt), output=output
        )
        if attempt > 1:
            _close(self._attempts[task].context)
        under_way = self._attempts[task] = _Attempt(context)
        self._enter(task, under_way)
        begun = time.perf_counter()
        try:
            control = control_of(call)
            if control is not None:
                return self._controlled(task, control)
            again = self.policies[task].retries > 0
            values = under_way.inputs = self._inputs(bound, context, scope.prefix, again=again, always=task)
            if call.options.verbose:
                output.write("stderr", f"attempt {attempt}: {_listed(values)}\n")
            with under_way.stay:
                outputs: dict[str, Any] | Growth = self._context.copy().run(
                    _perform, context, call.node.key, bound, values, self._load(scope), partial(self._grown, task)
                )
            if call.options.verbose:
                shown = "more calls" if isinstance(outputs, Growth) else _listed(outputs)
                output.write("stderr", f"{shown} after {time.perf_counter() - begun:.3f} s\n")
            return outputs
        finally:
            output.close()
            self._leave(under_way)

    def give(self, task: str, output: str, value: Any) -> str:
        """An output that is known before the run; its handle, empty where it has none."""
        return self._supplies.values.give(task, output, value)

    def publish(self, task: int, result: Mapping[str, Any]) -> Mapping[str, str]:
        handles = self._supplies.values.publish(self._table.runs[task].id, result)
        note_outputs(self._attempts[task].context.log, result, handles, {})
        return handles

    def fall_back(self, task: int) -> Mapping[str, str]:
        fallback = self.policies[task].fallback
        assert fallback is not None
        return self.publish(task, split_outputs(from_constant(fallback), self._table.calls[task].node.outputs))

    def report(self, task: int, attempt: int, error: BaseException) -> TaskError:
        under_way = self._attempts[task]
        running = isinstance(error, TaskTimeout)
        return failure(
            self._failing(task),
            self._run.id,
            attempt,
            error,
            inputs=under_way.inputs,
            handles=self._handles(self._table.bounds[task], self._table.scopes[task].prefix),
            root=self._supplies.root,
            frame=sys._current_frames().get(under_way.thread) if running else None,
        )

    def give_up(self, task: int, attempt: int) -> None:
        """Python code of the body is interrupted; what waits in C goes on, but holds nothing that others wait for."""
        under_way = self._attempts[task]
        self._leave(under_way)
        under_way.stay.interrupt()

    def ended(self, task: int) -> None:
        under_way = self._attempts.pop(task, None)
        if under_way is not None:
            log = under_way.context.opened_log
            if log is not None:
                self._ledger.logged(task, log.logged())
            _close(under_way.context)
        self._ledger.leaving(task)
        self._release(self._table.bounds[task], self._table.scopes[task].prefix)
        self._table.forget(task)

    def recall(self, memo: Earlier, task: int) -> bool:
        """Whether the result of an earlier run stands for the task, whose outputs are there then."""
        result = memo.recall(task)
        if result is None:
            return False
        self._supplies.values.recalled(self._table.runs[task].id, result.outputs)
        self._release(self._table.bounds[task], self._table.scopes[task].prefix)
        self._table.forget(task)
        self._ledger.cached(task, result)
        return True

    # --- growing -----------------------------------------------------------------------------------

    def extend(self, schedule: Schedule, task: int, growth: Growth, extension: Extension) -> list[int]:
        ready = extend(self._table, schedule, self._ledger, task, growth, extension)
        prefix = growth.scope.prefix
        self._supplies.values.expect({(prefix + of, name): uses for (of, name), uses in extension.plan.uses.items()})
        if growth.control is not None and growth.control.once:
            self._release(self._table.bounds[task], prefix)
            self._table.forget_inputs(task)
        return ready

    def gather(self, task: int, growth: Growth) -> Mapping[str, str]:
        first = growth.results[0] if growth.results else None
        prefix, id_ = growth.scope.prefix, self._table.runs[task].id
        if isinstance(first, TaskOutput) and growth.outputs == (RESULT,):
            self._supplies.values.share(id_, RESULT, prefix + first.task, first.output)
            handle = self._table.handles(prefix + first.task).get(first.output)
            return {} if handle is None else {RESULT: handle}
        if not growth.outputs:
            return self.publish(task, {})
        context, load = self._attempts[task].context, self._load(growth.scope)
        made = [self._argument(as_bound(result), context, prefix, load) for result in growth.results]
        value = columns([row for part in made for row in part], growth.outputs) if growth.listed else made[0]
        return self.publish(task, split_outputs(value, growth.outputs))

    def _controlled(self, task: int, control: Control) -> Growth:
        """What a branch or a loop goes on as."""
        call = self._table.calls[task]
        context, load = self._attempts[task].context, self._load(self._table.scopes[task])
        parameters = {item.name: item for item in self._graph.parameters}

        def evaluate(value: Value, instances: tuple[Instance, ...]) -> Any:
            bound = bind(Call(call.id, AS_IT_IS, (value,)), {item.id: item for item in instances}, parameters)
            return _called(bound, self._inputs(bound, context, "", again=True), load)

        parts = control.parts(evaluate, self._window)
        return Growth(call.node.outputs, parts, listed=control.listed, host=self, control=control)

    @property
    def _window(self) -> int:
        return max(_LEAST_WINDOW, 4 * self._supplies.lanes)

    def _grown(self, task: int, result: Any, body: TaskBody) -> Growth | None:
        """What a task goes on as whose body returned that; None where it is its result."""
        call = self._table.calls[task]
        if isinstance(result, Series):
            parts = result.graphs(self._window, where=call.where, body=call.node.name)
            return Growth(call.node.outputs, self._parts(task, parts), listed=True, host=self)
        if not body.calls:
            return None
        graph = graph_of_result(result, body.calls, body=call.node.name)
        if graph is None:
            return None
        return Growth(call.node.outputs, self._parts(task, _popped([(graph, 0)])), listed=False, host=self)

    def _parts(self, task: int, parts: Parts) -> Parts:
        """Lets go of the inputs before the first: the attempt is known to count then, and needs them no more."""
        under_way = self._attempts[task]
        under_way.inputs = {}
        self._ledger.leaving(task)
        self._release(self._table.bounds[task], self._table.scopes[task].prefix)
        self._table.forget_inputs(task)
        yield from parts

    # --- Work --------------------------------------------------------------------------------------

    def collect(self) -> tuple[Any, Mapping[str, str]]:
        if self._wanted is not None:
            self._run.targets = {key: self._value(str(output.task), output) for key, output in self._wanted.items()}
            return None, {}
        made = {name: self._value(name, value) for name, value in self._graph.outputs}
        handles = {name: self._handle(name, value, made[name]) for name, value in self._graph.outputs}
        return next(iter(made.values())) if len(made) == 1 else made or None, handles

    def close(self) -> None:
        left = tuple(self._attempts.values())
        for under_way in left:
            under_way.stay.interrupt()
        until = time.monotonic() + _ENDS_WITHIN_S
        for under_way in left:
            while under_way.stay.lasts and time.monotonic() < until:
                time.sleep(_LOOK_EVERY_S)
            self._leave(under_way)
            under_way.context.close()
        self._keeper.close()

    def _value(self, name: str, value: Value) -> Any:
        """One output of the workflow: the argument that a task would receive for it."""
        call = Call(name, AS_IT_IS, (value,))
        bound = bind(
            call, {item.id: item for item in self._graph.instances}, {p.name: p for p in self._graph.parameters}
        )
        context = TaskContext(self._run.id, name, folder=self._files())
        try:
            return self._argument(bound, context, "", self._supplies.code.load)
        except TaskError as error:
            raise TaskError(f"{self._graph.name} ({self._graph.where}): its result: {error}") from error

    def _handle(self, name: str, value: Value, made: Any) -> str:
        if isinstance(value, TaskOutput) and not value.path and value.task in self._run.tasks:
            return self._run.tasks[value.task].outputs.get(value.output, "")
        return self._supplies.values.handle(name, made)

    def _files(self) -> Path | None:
        return None if self._run.folder is None else self._run.folder / "files"

    # --- one attempt -------------------------------------------------------------------------------

    def _failing(self, task: int) -> Failing:
        table = self._table
        return replace(Failing.of(table.calls[task]), id=table.runs[task].id, way=table.way_to(task))

    def _load(self, scope: Scope) -> Callable[[str], Any]:
        load, targets = self._supplies.code.load, scope.targets
        if targets is None:
            return load

        def find(key: str) -> Any:
            target = targets.get(key)
            return load(key) if target is None else target

        return find

    def _argument(self, bound: Bound, context: TaskContext, prefix: str, load: Callable[[str], Any]) -> Any:
        """What a task bound so would receive as its only argument; one use of all that it is made of."""
        inputs = self._inputs(bound, context, prefix, again=False)
        try:
            return _called(bound, inputs, load)
        finally:
            self._release(bound, prefix)

    def _release(self, bound: Bound, prefix: str) -> None:
        """A consumer of these has ended."""
        for _, leaf in bound.sources:
            if type(leaf) is TaskOutput:
                self._supplies.values.used(prefix + leaf.task, leaf.output)
            elif type(leaf) is Constant:
                self._supplies.values.used_constant(leaf)

    def _open_log(self, task: int, attempt: int) -> TaskLog:
        redactor = Redactor.from_environment([name for name, _ in self._table.calls[task].options.secrets or ()])
        return LaneLog(lambda take: self._ledger.logs(task, attempt, take), self._supplies.values.keep, redactor).log

    def _inputs(
        self, bound: Bound, context: TaskContext, prefix: str, *, again: bool, always: int = -1
    ) -> dict[str, Any]:
        """always: the task whose inputs these are, which lack what was not made where it is one that runs always."""
        values = self._supplies.values
        guarded = self._table.guarded.get(always)
        inputs: dict[str, Any] = {}
        for name, leaf in bound.sources:
            if isinstance(leaf, TaskOutput):
                if guarded is not None and not values.has(prefix + leaf.task, leaf.output):
                    continue
                inputs[name] = values.fetch(prefix + leaf.task, leaf.output, again=again, scratch=context.scratch_dir)
            elif isinstance(leaf, Outcome):
                inputs[name] = self._table.outcome(always, self._ledger.errors, self._supplies.parameters)
            else:
                constant = leaf if isinstance(leaf, Constant) else self._supplies.parameters[leaf.name]
                inputs[name] = values.constant(constant, name, scratch=context.scratch_dir)
        return inputs

    def _handles(self, bound: Bound, prefix: str) -> dict[str, str]:
        """The handles of a task's inputs, where the tasks that made them were recorded."""
        found = {}
        for name, leaf in bound.sources:
            maker = self._run.tasks.get(prefix + leaf.task) if isinstance(leaf, TaskOutput) else None
            if maker is not None and isinstance(leaf, TaskOutput) and leaf.output in maker.outputs:
                found[name] = maker.outputs[leaf.output]
        return found

    def _enter(self, task: int, under_way: _Attempt) -> None:
        setting = self._table.settings[task]
        if self._table.requests[task] is not None:
            setting = environment.merged(self._supplies.budget.env(task), setting)
        if setting:
            environment.enter(setting)
            under_way.held.append(partial(environment.leave, setting))

    def _leave(self, under_way: _Attempt) -> None:
        if under_way.held:
            with contextlib.suppress(IndexError):  # lane and timer may both come here: one of them gets it
                under_way.held.pop()()


def _perform(
    context: TaskContext,
    key: str,
    bound: Bound,
    values: dict[str, Any],
    load: Callable[[str], Any],
    extend: Callable[[Any, TaskBody], Growth | None],
) -> Any:
    put(context)
    try:
        return perform(key, bound.interface, values, load, extend=extend)
    finally:
        leave(context)


def _called(bound: Bound, inputs: dict[str, Any], load: Callable[[str], Any]) -> Any:
    """What a task bound so would receive as its only argument."""
    return run_call(AS_IT_IS.key, bound.interface, inputs, lambda key: _same if key == AS_IT_IS.key else load(key))


def _popped(parts: list[tuple[Graph, int]]) -> Parts:
    """The only reference to each is the one that is given away: it holds every constant of the calls."""
    while parts:
        yield parts.pop()


def _same(value: Any) -> Any:
    return value


_ENDS_WITHIN_S = 0.25
"""How long a run that has failed or been stopped waits for interrupted bodies to leave what they hold."""
_LOOK_EVERY_S = 0.005
_LEAST_WINDOW = 64
"""Elements of a map, or rounds of a loop, that are under way at once, at least."""


def _close(context: TaskContext) -> None:
    """The attempt has ended. What threads that it left behind still print goes the process's own way."""
    output, context.output = context.output, None
    if output is not None:
        output.close()
    context.close()


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {summary(value)}" for name, value in values.items()) or "no inputs"
