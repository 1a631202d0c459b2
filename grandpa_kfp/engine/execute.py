"""One entry for a graph: `execute` runs its tasks on threads of this process.

What the pieces do: `plan.py` numbers what has to run, `session.py` conducts it, `graph_tasks.py` is what a
lane does for one task, by the same `perform` that the container's launcher calls.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grandpa_kfp_compiler.graph import Call, Constant, Graph, TaskOutput
from grandpa_kfp_runtime.printed.stand_in import captured
from grandpa_kfp_runtime.stores import Store, check_reachable, open_store
from grandpa_kfp_runtime.stores.file import FileStore

from ..forcing import Forced, forced
from .at_end import OnFailure
from .cancelling import CancelToken
from .events import Subscriber, as_listener
from .flatten import flatten
from .graph_tasks import GraphTasks, Supplies
from .growth import TaskTable
from .memo.code import GraphCode
from .memo.identity import Identities
from .memo.memo import NO_CACHING, Caching, Memo
from .packages import check_packages
from .parameters import bind_parameters
from .plan import Plan, make_plan
from .record import Record, new_id
from .resources import Budget, Limits
from .run import Run
from .scratch import Scratch
from .session import OpenLanes, Settings, Tasks, conduct, note, on_threads
from .targets import Targets
from .threads import default_lanes
from .values import Values

if TYPE_CHECKING:
    from .processes.crew import Crew
    from .processes.work import ProcessWork


def execute(
    graph: Graph,
    parameters: Mapping[str, Any] | None = None,
    *,
    targets: Sequence[str | TaskOutput] | None = None,
    given: Mapping[str | TaskOutput, Any] | None = None,
    order: Callable[[Call], float] | None = None,
    store: Store | str | Path | None = None,
    listeners: Sequence[Subscriber] = (),
    threads: int | None = None,
    crew: Crew | None = None,
    limits: Mapping[str, Any] | None = None,
    keep_going: bool = False,
    cancel: CancelToken | None = None,
    on_failure: Any = None,
    record: bool = True,
    caching: Caching = NO_CACHING,
    root: Path | None = None,
) -> Run:
    """Runs a verified graph on this machine and returns when it has ended.

    parameters: values by name, checked and converted by type. targets: task ids or outputs that are wanted;
    only what they need runs, and `Run.targets` holds them (by default every task runs). given: outputs that
    are known (a task id means its `result`), as values or as `Constant(handle=...)`. order: of ready tasks
    the one with the lowest goes first, by default the one with the longest path behind it. store: where
    values of a recorded run go, by default `.grandpa/store`. listeners: told of each event. threads: how
    many tasks run at once. crew: worker processes, which then run every task. limits: what
    running tasks may hold together of `cpu`, `memory`, `gpu` and of tokens, by name. keep_going: after a failure go
    on with what does not depend on it. cancel: stops the run when somebody calls its `cancel`.
    on_failure: a node that is called with a FailureInfo when the run has failed. record: write
    `.grandpa/runs/<id>/`; without it the run leaves nothing behind. caching: whether results of earlier recorded runs
    stand for tasks that are the same. root: the folder of `.grandpa`.

    Raises TaskError (the report of the first failure; `run` is how far it came), RunCancelled, ParameterError,
    GraphError, and StoreError for a `store` that cannot be used. Running tasks are ended at the first failure, by
    `cancel` and on Ctrl-C: processes by SIGTERM, then SIGKILL; on threads Python code is interrupted, and what a
    call that waits in C still returns is dropped.

    >>> from grandpa_kfp_compiler.graph import Constant, NodeParameter, PythonNode, Signature
    >>> node = PythonNode("operator:neg", "negate", signatures=(("", Signature((NodeParameter("a"),))),),
    ...                   target=lambda a: -a)
    >>> graph = Graph("flow", operations=(Call("negate", node, (Constant(2),)),
    ...               Call("negate-2", node, (TaskOutput("negate"),))), outputs=(("result", TaskOutput("negate-2")),))
    >>> execute(graph, record=False).value
    2
    """
    heard = tuple(map(as_listener, listeners))
    asked = _asked(graph, targets, given, crew, root)
    run = asked.run
    counted = _checked(asked, limits)
    force = forced(asked.graph, caching.force)
    opened = _open(store, for_workers=crew is not None and record)
    scratch = Scratch()
    code = Targets(asked.graph, lambda: scratch.folder("code"))
    try:
        bound = bind_parameters(asked.flat, parameters or {}, code.load_type)
        kept = _record(run, _given(graph, parameters, bound), root, opened) if record else None
        if opened is None and run.folder is not None:
            opened = FileStore(run.folder.parent.parent / "store")
        means = _Means(
            bound, code, scratch, opened if record else None, counted, Budget(counted), str(root or Path.cwd())
        )
        settings = Settings(threads or default_lanes(), keep_going, cancel=cancel, listeners=heard)
        if on_failure is not None:
            given_parameters = {name: item.value for name, item in bound.items() if item.handle is None}
            settings = replace(settings, at_end=(OnFailure(on_failure, given_parameters, crew, root),))
        work = _work(asked, means, crew, settings.lanes, caching=caching.on)
        if caching.on and means.store is not None:
            settings = replace(settings, memo=_memo(asked, work.table, means, means.store, force, root))
        lanes = _lanes(work, settings)
        _give(work, asked.known, settings.memo)
        plan = asked.plan
        priority = None if order is None else [-order(call) for call in plan.calls]
        tasks = Tasks(work.runs, plan.waits_for, work.policies, work.requests, means.budget, priority, plan.always)
        with captured() if crew is None else nullcontext():
            return conduct(run, tasks, work, lanes, settings, kept)
    finally:
        code.close()
        scratch.close()


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is to run. graph: as workers know it; flat: without its groups; wanted, known: targets and what is given,
    None where every task is wanted; calls: those whose requirements have to be met."""

    run: Run
    graph: Graph
    flat: Graph
    plan: Plan
    wanted: Mapping[Any, TaskOutput] | None
    known: Mapping[TaskOutput, Any]
    calls: tuple[Call, ...]


def _asked(
    graph: Graph,
    targets: Sequence[str | TaskOutput] | None,
    given: Mapping[str | TaskOutput, Any] | None,
    crew: Crew | None,
    root: Path | None,
) -> _Asked:
    """Raises GraphError, PayloadError."""
    known_to_all = graph if crew is None else crew.prepare(graph, root)
    flat = flatten(known_to_all)
    known = {_output(key): value for key, value in (given or {}).items()}
    wanted = None if targets is None else {target: _output(target) for target in targets}
    plan = make_plan(
        flat,
        None if wanted is None else tuple(wanted.values()),
        {(output.task, output.output) for output in known},
    )
    run = Run(new_id(), graph.name, started=time.time(), graph=graph)
    calls = plan.calls if targets is not None else tuple(graph.calls())
    return _Asked(run, known_to_all, flat, plan, wanted, known, calls)


def _checked(asked: _Asked, limits: Mapping[str, Any] | None) -> Limits:
    """What tasks may hold together. Raises ParameterError where one of them asks for what it can never have."""
    counted = Limits(limits, lambda text: note(asked.run, text))
    counted.check(asked.calls)
    check_packages(asked.calls, lambda text: note(asked.run, text))
    return counted


@dataclass(frozen=True, slots=True)
class _Means:
    """parameters: of the run; code: in this process; scratch: room on disk; store: None where nothing is recorded;
    limits, budget: what tasks may hold of the machine, and who does; root: the folder that reports name files from."""

    parameters: Mapping[str, Constant]
    code: Targets
    scratch: Scratch
    store: Store | None
    limits: Limits
    budget: Budget
    root: str


def _work(asked: _Asked, means: _Means, crew: Crew | None, lanes: int, *, caching: bool) -> GraphTasks | ProcessWork:
    """The run's tasks, on threads or on the crew's worker processes."""
    run, parameters, code, scratch, store = asked.run, means.parameters, means.code, means.scratch, means.store
    if crew is None:
        values = Values(asked.plan.uses, spool=scratch.spool, store=store, failed=lambda text: note(run, text))
        supplies = Supplies(values, parameters, code, scratch, means.limits, means.budget, means.root, lanes)
        return GraphTasks(run, asked.flat, asked.plan, supplies, asked.wanted)
    from .processes.work import ProcessSupplies, ProcessWork

    keyed = caching and store is not None
    theirs = ProcessSupplies(parameters, code, scratch, store, means.root, means.limits, means.budget, keyed)
    return ProcessWork(run, asked.flat, asked.plan, crew, theirs, asked.wanted)


def _give(work: GraphTasks | ProcessWork, known: Mapping[TaskOutput, Any], memo: Memo | None) -> None:
    """Outputs that are known before the run."""
    for output, value in known.items():
        handle = work.give(output.task, output.output, value)
        if memo is not None and handle:
            memo.given[output.task, output.output] = handle


def _memo(asked: _Asked, table: TaskTable, means: _Means, store: Store, force: Forced, root: Path | None) -> Memo:
    identities = Identities(GraphCode(asked.graph, root), means.parameters)
    return Memo(asked.run, table, identities, store, force, lambda text: note(asked.run, text))


def _lanes(work: GraphTasks | ProcessWork, settings: Settings) -> OpenLanes:
    if not isinstance(work, GraphTasks):
        return work.lanes(settings)
    memo = settings.memo
    return on_threads(work, settings, None if memo is None else partial(work.recall, memo))


def _record(run: Run, graph: Graph, root: Path | None, store: Store | None) -> Record:
    head = {"where": graph.where} | ({} if store is None else {"store": store.location})
    record = Record.create(run, root or Path.cwd(), head, lambda text: note(run, text))
    record.add("graph.json", lambda: _graph_text(graph))
    return record


def _given(graph: Graph, given: Mapping[str, Any] | None, bound: Mapping[str, Constant]) -> Graph:
    """The graph with what it was given as its parameters' defaults, so that its record is all of the run."""
    if not given:
        return graph
    parameters = [replace(item, default=bound[item.name]) for item in graph.parameters]
    return replace(graph, parameters=tuple(parameters))


def _output(key: str | TaskOutput) -> TaskOutput:
    return TaskOutput(key) if isinstance(key, str) else key


def _open(store: Store | str | Path | None, *, for_workers: bool) -> Store | None:
    """The store, asked once whether it answers. Raises StoreError; ParameterError for one that workers cannot open."""
    opened = None
    if store is not None:
        opened = open_store(store) if isinstance(store, str | Path) else store
        check_reachable(opened)
    if for_workers:
        from .processes.work import store_uri

        store_uri(opened)
    return opened


def _graph_text(graph: Graph) -> str:
    from grandpa_kfp_compiler.json_format import dumps

    return dumps(graph, compact=True)
