"""The tasks of a run by number, and how a task becomes more of them while the run goes on.

A body that returns calls has grown: the graph of those calls (`authoring.grown`) is planned like any other,
its tasks stand below the body's task, `fib/fib-2`, and when they have ended the task's own outputs are made of
theirs. Executors of every kind use it: a `Growth` says what comes next, `extend` adds it to table, schedule and
books. No threads here: whoever calls `extend` sees to it that nobody else does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import islice
from typing import Any, Protocol, TypeAlias

from grandpa_kfp_compiler.bind import Bound, bind
from grandpa_kfp_compiler.graph import NO_OPTIONS, Call, Constant, Graph, Options, PythonNode, TaskOutput, Value
from grandpa_kfp_runtime.contract import Interface
from grandpa_kfp_runtime.errors import ParameterError, TaskError
from grandpa_kfp_runtime.failure_info import FailureInfo

from .control import Control
from .environment import Setting, merged
from .ledger import LONGEST_PAUSE_S, Ledger, Policy, pause_s
from .outcomes import outcome_of
from .plan import Plan, make_plan
from .resources import Limits, Request
from .run import Run, TaskRun
from .scheduler import Schedule

_LONGEST_PREFIX = 120
"""Characters of an id before the name: below, a hash stands for the way there, so that ids of deep tasks stay short."""

AS_IT_IS = PythonNode("grandpa_kfp.engine:result", "result")
"""The node of a call that is made of its argument alone: a workflow's result, that of a grown task."""


@dataclass(frozen=True, slots=True)
class Extension:
    """Tasks to come below a grown one, in their own names.

    needs: the tasks of the plan that its result is made of; left: how many of all that it needs may be missing
    when it goes on; targets: what the keys of nodes stand for; skipped: tasks that would stand there, and never run;
    more: whether others come after these.
    """

    plan: Plan
    needs: tuple[int, ...]
    targets: Mapping[str, Any]
    left: int = 0
    skipped: tuple[Call, ...] = ()
    more: bool = False


@dataclass(frozen=True, slots=True)
class Scope:
    """Where tasks stand: below which other (-1: none), what begins their ids, what their nodes' keys stand for."""

    parent: int = -1
    prefix: str = ""
    targets: Mapping[str, Any] | None = None


Parts: TypeAlias = "Iterator[tuple[Graph, int]]"
"""Graphs of what a grown task becomes, one after the other, each with `Extension.left`."""


class Host(Protocol):
    """Who knows the tasks of a run, for lanes that know none."""

    def extend(self, schedule: Schedule, task: int, growth: Any, extension: Any) -> list[int]:
        """Add tasks below a grown one; those that are ready. Nobody else uses the schedule meanwhile.

        extension: what the growth's `more` has given.
        """
        ...

    def gather(self, task: int, growth: Any) -> Mapping[str, str]:
        """Make and hand on a grown task's outputs, when all that it has become has ended; their handles."""
        ...


class Growing:
    """A task that goes on as others. A lane takes it up again whenever the schedule says so.

    host: who knows the run's tasks, where the lanes do not.
    """

    __slots__ = ("host",)

    def __init__(self, host: Host | None) -> None:
        self.host = host

    def more(self) -> Any:
        """What comes next, None when all has been given."""
        raise TypeError(f"{type(self).__name__} does not say what comes next")


class Growth(Growing):
    """A task whose body has returned calls.

    outputs: the names it declares; parts: see `Parts`; listed: the parts' results are lists, which make one list,
    in order; control: of a branch or loop, whose parts name tasks as the run does. results: what the parts so far come
    to, each an output as it is, or an argument bound to outputs; scope: of the tasks below it, once it has some.
    """

    __slots__ = ("_ahead", "_parts", "control", "listed", "outputs", "results", "scope")

    def __init__(
        self,
        outputs: tuple[str, ...],
        parts: Parts,
        *,
        listed: bool,
        host: Host | None = None,
        control: Control | None = None,
    ) -> None:
        super().__init__(host)
        self.control = control
        self._parts = parts
        self._ahead: list[tuple[Graph, int]] = []
        self.outputs = outputs
        self.listed = listed
        self.results: list[TaskOutput | Bound] = []
        self.scope = TOP

    def has_more(self) -> bool:
        """Whether `more` will give something. Raises as that does."""
        if not self._ahead:
            self._ahead.extend(islice(self._parts, 1))
        return bool(self._ahead)

    def more(self) -> Extension | None:
        """What comes next, None when all has been given: then the outputs are made of `results`.

        Raises CodecError, TaskError where what the body returned makes no graph.
        """
        if not self.has_more():
            return None
        graph, left = self._ahead.pop()
        plan = make_plan(graph, None, ())
        result = _bound_result(graph, graph.outputs[0][1])
        skipped = () if self.control is None or self.results else self.control.skipped()
        self.results.append(result)
        number = {call.id: index for index, call in enumerate(plan.calls)}
        leaves = [result] if isinstance(result, TaskOutput) else [leaf for _, leaf in result.sources]
        needs = dict.fromkeys(
            number[leaf.task] for leaf in leaves if isinstance(leaf, TaskOutput) and leaf.task in number
        )
        awaited = {task for before in plan.waits_for for task in before}
        needs.update(dict.fromkeys(task for task in range(len(plan.calls)) if task not in awaited))
        targets = {key: node.target for key, node in graph.nodes().items()}
        more = left > 0 or self.has_more()  # only where all has to end first is the next part made by now
        return Extension(plan, tuple(needs), targets, left, skipped, more)


def _bound_result(graph: Graph, value: Value) -> TaskOutput | Bound:
    if isinstance(value, TaskOutput) and not value.path:
        return value
    instances, parameters = {item.id: item for item in graph.instances}, {item.name: item for item in graph.parameters}
    return bind(Call(graph.name, AS_IT_IS, (value,)), instances, parameters)


def as_bound(result: TaskOutput | Bound) -> Bound:
    """An output as it is, as an argument bound to it."""
    return bind(Call("", AS_IT_IS, (result,)), {}, {}) if isinstance(result, TaskOutput) else result


class TaskTable:
    """Every task of a run, by number; those that are added, and have ended, leave no more than their `runs`."""

    __slots__ = (
        "_limits", "_run", "_static", "_waits_for", "bounds", "calls", "guarded", "policies", "requests", "runs",
        "scopes", "settings",
    )  # fmt: skip

    def __init__(self, run: Run, plan: Plan, limits: Limits) -> None:
        self._limits = limits
        self._run = run
        self._static = len(plan.calls)
        self._waits_for = plan.waits_for
        self.calls = list(plan.calls)
        self.bounds = list(plan.bounds)
        self.runs = [TaskRun(call.id, call.where) for call in plan.calls]
        self.policies: list[Policy] = [policy(call) for call in plan.calls]
        self.requests: list[Request | None] = [limits.of(call) for call in plan.calls]
        self.settings: list[Setting] = [merged((), call.options.env) for call in plan.calls]
        self.scopes = [TOP] * len(plan.calls)
        self.guarded: dict[int, frozenset[str]] = {}  # of tasks that run always: all tasks that they come after
        self._note_guarded(plan, 0)

    def _note_guarded(self, plan: Plan, first: int) -> None:
        for task in plan.always:
            found: set[int] = set()
            waiting = list(plan.waits_for[task])
            while waiting:
                before = waiting.pop()
                if before not in found:
                    found.add(before)
                    waiting.extend(plan.waits_for[before])
            self.guarded[first + task] = frozenset([self.runs[first + before].id for before in found])

    @property
    def own(self) -> int:
        """How many tasks are the graph's own; those that were added have higher numbers."""
        return self._static

    @property
    def grown(self) -> int:
        """How many tasks were added."""
        return len(self.calls) - self._static

    def add(self, parent: int, scope: Scope, plan: Plan) -> range:
        """The numbers of the plan's tasks, which stand below `parent`.

        Raises TaskError where one of them asks for what it can never have.
        """
        calls = _elements(self.calls[parent], plan.calls)
        try:
            requests = [self._limits.of(call) for call in calls]
        except ParameterError as error:
            raise TaskError(str(error)) from error
        first, prefix, above = len(self.calls), scope.prefix, self.runs[parent].id
        ids = [prefix + call.id for call in calls]
        for call, id_, before in zip(calls, ids, plan.waits_for, strict=True):
            self.runs.append(
                TaskRun(id_, call.where, parent=above, waits_for=tuple([ids[number] for number in before]))
            )
        self._run.tasks.update(zip(ids, self.runs[first:], strict=True))
        self.calls += calls
        self.bounds += plan.bounds
        self.policies += [policy(call) for call in calls]
        self.requests += requests
        self.settings += [merged(self.settings[parent], call.options.env) for call in calls]
        self.scopes += [scope] * len(calls)
        self._note_guarded(plan, first)
        return range(first, len(self.calls))

    def skip(self, parent: int, calls: Iterable[Call]) -> list[TaskRun]:
        """Tasks that would stand below `parent`, and never run; they get no numbers."""
        above = self.runs[parent].id
        runs = [TaskRun(call.id, call.where, "skipped", parent=above) for call in calls]
        self._run.tasks.update((run.id, run) for run in runs)
        return runs

    def handles(self, id_: str) -> Mapping[str, str]:
        """The handles of a task's outputs."""
        run = self._run.tasks.get(id_)
        return {} if run is None else run.outputs

    def is_added(self, task: int) -> bool:
        """Whether a task has become it, among others."""
        return task >= self._static

    def forget_inputs(self, task: int) -> None:
        """The task needs them no more, though it may not have ended."""
        self.bounds[task] = _NO_INPUTS
        if task >= self._static:
            call = self.calls[task]
            self.calls[task] = Call(
                call.id, call.node, (), (), call.options, (), call.scope, call.where, "", call.method
            )

    def forget(self, task: int) -> None:
        """The task has ended; a graph's own tasks are kept."""
        self.guarded.pop(task, None)
        if task >= self._static:
            self.calls[task], self.bounds[task], self.scopes[task] = _ENDED, _NO_INPUTS, TOP

    def outcome(self, task: int, errors: Sequence[TaskError], parameters: Mapping[str, Constant]) -> FailureInfo | None:
        """How what a task waits for that runs always has ended."""
        return outcome_of(self._run, self.guarded.get(task, ()), errors, parameters)

    def way_to(self, task: int) -> str:
        """How the run came to a task, for its report: the bodies that called it, else the tasks before it.

        Empty for a task that waited for none. Of several before a task, the first.
        """
        above = self.scopes[task].parent
        if above >= 0:
            from ..authoring.bodies import path_text

            return f"Called by: {path_text(self.path(above))}"
        names = [self.runs[task].name]
        while (before := self._waits_for[task]) and len(names) <= _MOST_SHOWN:
            task = before[0]
            names.append(self.runs[task].name if len(names) < _MOST_SHOWN else "...")
        return f"Comes after: {' → '.join(names[::-1])}" if len(names) > 1 else ""

    def path(self, task: int) -> list[str]:
        """The names of the tasks that led to this one, from the outside in."""
        names: list[str] = []
        while task >= 0 and len(names) < _MOST_NAMES:
            names.append(self.runs[task].name)
            task = self.scopes[task].parent
        return names[::-1]


def extend(
    table: TaskTable, schedule: Schedule, ledger: Ledger, parent: int, growth: Growth, extension: Extension
) -> list[int]:
    """A running task goes on as others, which are added; those that are ready.

    Raises TaskError at the limit of tasks. A task that another's failure has lost meanwhile gets none.
    """
    plan = extension.plan
    if schedule.is_lost(parent):
        return schedule.add(parent, (), ())
    _check_limit(table, parent, len(plan.calls))
    if growth.scope is TOP:
        prefix = prefix_below(table.runs[parent].id) if growth.control is None else ""
        growth.scope = Scope(parent, prefix, extension.targets)
    added = table.add(parent, growth.scope, plan)
    ready = schedule.add(parent, plan.waits_for, extension.needs, extension.left, plan.always, lasting=extension.more)
    ledger.grew(parent, added, table.skip(parent, extension.skipped))
    return ready


def _check_limit(table: TaskTable, parent: int, more: int) -> None:
    from ..authoring.growing import most_tasks

    most = most_tasks()
    if table.grown + more > most:
        from ..authoring.bodies import path_text

        run = table.runs[parent]
        raise TaskError(
            f"{run.name} ({run.where}): the graph grew beyond {most:,} tasks: {path_text(table.path(parent))}; "
            "is there a body that returns its own call without end? GRANDPA_MAX_TASKS allows more",
            task=run.id,
        )


def prefix_below(task: str) -> str:
    """What the ids of the tasks below a task begin with.

    >>> prefix_below("fib/fib-2")
    'fib/fib-2/'
    >>> prefix_below("down/" * 30 + "down")
    'down/~7f866fcb7045/'
    """
    if len(task) < _LONGEST_PREFIX:
        return f"{task}/"
    return f"{task.partition('/')[0]}/~{blake2b(task.encode('utf-8', 'surrogatepass'), digest_size=6).hexdigest()}/"


def is_map(call: Call) -> bool:
    """Whether the task is a map, whose elements are tasks of another node."""
    return call.node.name.endswith(".map")


def _elements(above: Call, calls: tuple[Call, ...]) -> tuple[Call, ...]:
    """What a task has become: elements of a map have the options that its workflow and components gave the map."""
    base = replace(above.options, always=None)
    if not is_map(above) or base == NO_OPTIONS:
        return calls
    known: dict[int, Options] = {}
    made = []
    for call in calls:
        own = call.options
        options = known.get(id(own))
        if options is None:
            options = own.over(base)
            options = known[id(own)] = own if options == own else options
        made.append(call if options is own else replace(call, options=options))
    return tuple(made)


def policy(call: Call) -> Policy:
    """How a task is tried again, and how long it may take."""
    options = call.options
    timeout_s = 0.0 if is_map(call) else options.timeout_s or 0.0
    if not options.retries and not timeout_s and options.fallback is None:
        return _ONCE
    if options.backoff_s is None and options.backoff_factor is None and options.backoff_max_s is None:
        return Policy(options.retries or 0, timeout_s, fallback=options.fallback)
    first_s = 1.0 if options.backoff_s is None else options.backoff_s
    factor = 2.0 if options.backoff_factor is None else options.backoff_factor
    longest_s = max(LONGEST_PAUSE_S, first_s) if options.backoff_max_s is None else options.backoff_max_s
    return Policy(
        options.retries or 0,
        timeout_s,
        lambda attempt: pause_s(attempt, first_s, factor, longest_s),
        options.fallback,
    )


_ONCE = Policy()
TOP = Scope()
_MOST_NAMES = 64
_MOST_SHOWN = 8
_NO_INPUTS = Bound(Interface(), (), {})
_ENDED = Call("", AS_IT_IS)
