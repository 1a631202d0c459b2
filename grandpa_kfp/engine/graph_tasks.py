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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grandpa_kfp_compiler.bind import Bound, bind
from grandpa_kfp_compiler.graph import Call, Constant, Graph, PythonNode, TaskOutput, Value
from grandpa_kfp_runtime.context import TaskContext, put
from grandpa_kfp_runtime.errors import TaskError, TaskTimeout
from grandpa_kfp_runtime.logged.outputs import note_outputs
from grandpa_kfp_runtime.logged.task_log import TaskLog
from grandpa_kfp_runtime.redaction import Redactor
from grandpa_kfp_runtime.task import call as run_call
from grandpa_kfp_runtime.task import perform
from grandpa_kfp_runtime.values.codecs import summary

from . import environment
from .ledger import Ledger, Policy
from .plan import Plan
from .reports import Failing, failure
from .run import Run, TaskRun
from .scratch import Scratch
from .targets import Targets
from .task_logs import ThreadLog
from .values import Values


@dataclass(frozen=True, slots=True)
class Supplies:
    """Where tasks get what they need: values of other tasks, parameters, code, room on disk.

    root: the folder that reports name files from.
    """

    values: Values
    parameters: Mapping[str, Constant]
    code: Targets
    scratch: Scratch
    root: str = ""


class _Attempt:
    """One attempt under way."""

    __slots__ = ("context", "held", "inputs", "thread")

    def __init__(self, context: TaskContext) -> None:
        self.context = context
        self.held: list[Callable[[], None]] = []  # how to let go of the process's environment
        self.inputs: dict[str, Any] = {}
        self.thread = threading.get_ident()


class GraphTasks:
    """The tasks of one run of one graph. wanted: what was asked for, by what it was asked with; None for all."""

    def __init__(
        self, run: Run, graph: Graph, plan: Plan, supplies: Supplies, wanted: Mapping[Any, TaskOutput] | None
    ) -> None:
        self._run = run
        self._graph = graph
        self._plan = plan
        self._supplies = supplies
        self._wanted = wanted
        self._context = contextvars.copy_context()  # what the caller set holds in tasks too, and none leaks
        self._attempts: dict[int, _Attempt] = {}
        env = [dict(item.options.env or ()) for item in plan.calls]
        self._settings = environment.settings(env)
        self.runs = tuple([TaskRun(item.id, item.where) for item in plan.calls])
        self.policies = [policy(item) for item in plan.calls]

    # --- Body --------------------------------------------------------------------------------------

    def connect(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def run(self, task: int, attempt: int) -> dict[str, Any]:
        call, bound = self._plan.calls[task], self._plan.bounds[task]
        context = TaskContext(self._run.id, call.id, attempt, open_log=lambda: self._open_log(task, attempt, call))
        if attempt > 1:
            self._attempts[task].context.close()
        under_way = self._attempts[task] = _Attempt(context)
        self._enter(task, under_way)
        begun = time.perf_counter()
        try:
            again = self.policies[task].retries > 0
            values = under_way.inputs = self._inputs(bound, context, again=again)
            if call.options.verbose:
                _say(call, f"attempt {attempt}: {_listed(values)}")
            load = self._supplies.code.load
            outputs: dict[str, Any] = self._context.copy().run(_perform, context, call.node.key, bound, values, load)
            if call.options.verbose:
                _say(call, f"{_listed(outputs)} after {time.perf_counter() - begun:.3f} s")
            return outputs
        finally:
            self._leave(under_way)

    def publish(self, task: int, result: Mapping[str, Any]) -> Mapping[str, str]:
        handles = self._supplies.values.publish(self._plan.calls[task].id, result)
        note_outputs(self._attempts[task].context.log, result, handles, {})
        return handles

    def report(self, task: int, attempt: int, error: BaseException) -> TaskError:
        under_way = self._attempts[task]
        running = isinstance(error, TaskTimeout)
        return failure(
            Failing.of(self._plan.calls[task]),
            self._run.id,
            attempt,
            error,
            inputs=under_way.inputs,
            handles=self._handles(self._plan.bounds[task]),
            root=self._supplies.root,
            frame=sys._current_frames().get(under_way.thread) if running else None,
        )

    def give_up(self, task: int, attempt: int) -> None:
        """A thread cannot be stopped: it goes on, but it holds nothing that others wait for."""
        self._leave(self._attempts[task])

    def ended(self, task: int) -> None:
        under_way = self._attempts.pop(task, None)
        if under_way is not None:
            log = under_way.context.opened_log
            if log is not None:
                self._ledger.logged(task, log.logged())
            under_way.context.close()
        values = self._supplies.values
        for _, leaf in self._plan.bounds[task].sources:
            if type(leaf) is TaskOutput:
                values.used(leaf.task, leaf.output)

    # --- Work --------------------------------------------------------------------------------------

    def collect(self) -> tuple[Any, Mapping[str, str]]:
        if self._wanted is not None:
            self._run.targets = {key: self._value(str(output.task), output) for key, output in self._wanted.items()}
            return None, {}
        made = {name: self._value(name, value) for name, value in self._graph.outputs}
        handles = {name: self._handle(name, value, made[name]) for name, value in self._graph.outputs}
        return next(iter(made.values())) if len(made) == 1 else made or None, handles

    def close(self) -> None:
        for under_way in tuple(self._attempts.values()):
            self._leave(under_way)
            under_way.context.close()

    def _value(self, name: str, value: Value) -> Any:
        """One output of the workflow: the argument that a task would receive for it."""
        call = Call(name, _RESULT, (value,))
        bound = bind(
            call, {item.id: item for item in self._graph.instances}, {p.name: p for p in self._graph.parameters}
        )
        context = TaskContext(self._run.id, name, folder=self._files())
        inputs = self._inputs(bound, context, again=False)
        load = self._supplies.code.load
        try:
            return run_call(
                _RESULT.key, bound.interface, inputs, lambda key: _same if key == _RESULT.key else load(key)
            )
        except TaskError as error:
            raise TaskError(f"{self._graph.name} ({self._graph.where}): its result: {error}") from error
        finally:
            for _, leaf in bound.sources:
                if type(leaf) is TaskOutput:
                    self._supplies.values.used(leaf.task, leaf.output)

    def _handle(self, name: str, value: Value, made: Any) -> str:
        if isinstance(value, TaskOutput) and not value.path and value.task in self._run.tasks:
            return self._run.tasks[value.task].outputs.get(value.output, "")
        return self._supplies.values.handle(name, made)

    def _files(self) -> Path | None:
        return None if self._run.folder is None else self._run.folder / "files"

    # --- one attempt -------------------------------------------------------------------------------

    def _open_log(self, task: int, attempt: int, call: Call) -> TaskLog:
        redactor = Redactor.from_environment([name for name, _ in call.options.secrets or ()])
        return ThreadLog(lambda take: self._ledger.logs(task, attempt, take), self._supplies.values, redactor).log

    def _inputs(self, bound: Bound, context: TaskContext, *, again: bool) -> dict[str, Any]:
        values = self._supplies.values
        inputs: dict[str, Any] = {}
        for name, leaf in bound.sources:
            if isinstance(leaf, TaskOutput):
                inputs[name] = values.fetch(leaf.task, leaf.output, again=again, scratch=context.scratch_dir)
            else:
                constant = leaf if isinstance(leaf, Constant) else self._supplies.parameters[leaf.name]
                inputs[name] = values.constant(constant, name, scratch=context.scratch_dir)
        return inputs

    def _handles(self, bound: Bound) -> dict[str, str]:
        """The handles of a task's inputs, where the tasks that made them were recorded."""
        found = {}
        for name, leaf in bound.sources:
            maker = self._run.tasks.get(leaf.task) if isinstance(leaf, TaskOutput) else None
            if maker is not None and isinstance(leaf, TaskOutput) and leaf.output in maker.outputs:
                found[name] = maker.outputs[leaf.output]
        return found

    def _enter(self, task: int, under_way: _Attempt) -> None:
        if self._settings is not None and self._settings[task]:
            environment.enter(self._settings[task])
            under_way.held.append(environment.leave)

    def _leave(self, under_way: _Attempt) -> None:
        if under_way.held:
            with contextlib.suppress(IndexError):  # lane and timer may both come here: one of them gets it
                under_way.held.pop()()


def _perform(
    context: TaskContext, key: str, bound: Bound, values: dict[str, Any], load: Callable[[str], Any]
) -> dict[str, Any]:
    put(context)
    return perform(key, bound.interface, values, load)


def policy(call: Call) -> Policy:
    """How often a task is tried, and how long."""
    options = call.options
    if not options.retries and not options.timeout_s:
        return _ONCE
    return Policy(options.retries or 0, options.timeout_s or 0.0)


def _same(value: Any) -> Any:
    return value


_ONCE = Policy()
_RESULT = PythonNode("grandpa_kfp.engine:result", "result")


def _say(call: Call, text: str) -> None:
    print(f"{call.id}: {text}", file=sys.stderr)


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {summary(value)}" for name, value in values.items()) or "no inputs"
