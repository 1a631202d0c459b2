"""The functions that users call: run, compile and launch a workflow. Thin: each calls one thing below it.

Everything is imported when it is used, so that `import grandpa_kfp` stays light.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grandpa_kfp_compiler.graph import Call, Graph, TaskOutput
    from grandpa_kfp_compiler.kfp import Compiled
    from grandpa_kfp_runtime.stores import Store

    from .engine.cancelling import CancelToken
    from .engine.events import Subscriber
    from .engine.processes.crew import Crew
    from .engine.run import Run


def run(
    workflow: Any,
    params: Mapping[str, Any] | None = None,
    *,
    processes: int | str | Crew = 0,
    threads: int | None = None,
    memory: str | int | None = None,
    limits: Mapping[str, Any] | None = None,
    store: Store | str | Path | None = None,
    keep_going: bool = False,
    cancel: CancelToken | None = None,
    record: bool = True,
    cache: bool = False,
    force: Sequence[str] = (),
    on_event: Subscriber | None = None,
    listeners: Sequence[Subscriber] = (),
    targets: Sequence[str | TaskOutput] | None = None,
    given: Mapping[str | TaskOutput, Any] | None = None,
    order: Callable[[Call], float] | None = None,
    pdb: bool = False,
    root: str | Path | None = None,
) -> Run:
    """Runs a workflow (or component, node, or Graph) on threads of this process, or on worker processes.

    params: values of its parameters by name. processes: worker processes at most, "auto" for one a core; 0:
    nodes run on threads of this process. threads: tasks at once, by default the number of cores and four;
    with worker processes those of each, by default one. memory: bytes, or a text such as "4Gi", of shared
    memory for values between workers, by default half of the machine's; more goes to disk. limits: how much of
    `cpu`, `memory`, `gpu`, and of tokens (`uses=`) by name, running tasks may hold together, as in
    `{"cpu": 8, "memory": "16Gi", "gpu": 1, "licence": 2}`; by default what the machine has. store: a folder,
    `memory:` or `s3://bucket/prefix?endpoint=...` for the recorded values, by default `.grandpa/store`.
    keep_going: after a failure go on with what does not depend on it. cancel: a `CancelToken`, which stops the
    run from another thread or a callback. record: keep graph, events, times and
    handles in `.grandpa/runs/`. cache: take results of earlier recorded runs for tasks whose code and inputs
    are the same, and leave results for later ones, as `grandpa run` does; without, every task runs. force: tasks
    that run in any case, by task, node or pattern such as `train*`. on_event: told of each event, a function or
    an object with methods such as
    `on_task_finished` (docs/events.md); listeners: several such. targets, given, order: see
    `engine.execute`. pdb: after a failure open the debugger where the code failed. root: where `.grandpa` lies, by
    default the project's root.

    Returns the `Run`: `.value`, `.tasks` by id, `.id`.
    Raises ParameterError, TraceError, GraphError before anything runs, and TaskError for the first task
    that fails, with its report as text, what the node raised as `__cause__`, and the `run` as far as it came;
    RunCancelled for a run that `cancel` stopped.

    >>> from grandpa_kfp import Node, Workflow
    >>> @Node
    ... def square(x: int) -> int:
    ...     return x * x
    >>> @Workflow
    ... def pipeline(x: int = 3):
    ...     return square(square(x))
    >>> run(pipeline, {"x": 2}, record=False).value
    16
    """
    from grandpa_kfp_runtime.errors import ParameterError, TaskError

    from .engine.execute import execute
    from .engine.memo.memo import Caching
    from .engine.workers import own_or_given
    from .loading import refuse_while_loading

    refuse_while_loading("run")
    if pdb and processes:
        raise ParameterError("pdb=True debugs in this process: leave out processes=")
    graph, parameters = _graph_of(workflow, params)
    try:
        with own_or_given(processes, threads, memory) as crew:
            return execute(
                graph,
                parameters,
                targets=targets,
                given=given,
                order=order,
                store=store,
                listeners=_listeners_of(workflow, on_event, listeners),
                threads=threads,
                crew=crew,
                limits=limits,
                keep_going=keep_going,
                cancel=cancel,
                on_failure=getattr(workflow, "on_failure", None),
                record=record,
                caching=Caching(cache, tuple(force)),
                root=Path(root) if root is not None else root_of(workflow),
            )
    except TaskError as error:
        if pdb:
            from .debugging import debug

            debug(error)
        raise


def _graph_of(workflow: Any, params: Mapping[str, Any] | None) -> tuple[Graph, Mapping[str, Any] | None]:
    """The verified graph, and the parameters that it is still to be given: a trace has taken them in."""
    from grandpa_kfp_compiler.graph import Graph
    from grandpa_kfp_compiler.verify import verified

    if isinstance(workflow, Graph):
        return verified(workflow), params
    from .authoring.tracing import trace

    return verified(trace(workflow, params or {})), None


def _listeners_of(
    workflow: Any, on_event: Subscriber | None, listeners: Sequence[Subscriber]
) -> tuple[Subscriber, ...]:
    """Who hears of the run: first the workflow's own."""
    own = () if on_event is None else (on_event,)
    return (*getattr(workflow, "callbacks", ()), *own, *listeners)


def compile(
    workflow: Any,
    path: str | Path | None = None,
    *,
    params: Mapping[str, Any] | None = None,
    root: str | Path | None = None,
    include: Sequence[str] = (),
    force: Sequence[str] = (),
    cache: bool = True,
    **options: Any,
) -> Compiled:
    """Writes a workflow (or component, node, or Graph) as one Kubeflow Pipelines YAML, ready to upload.

    path: the file, whole or not at all; None writes none. params: values of `Static` parameters, and
    defaults of others. root, include: as of `pack`. force: tasks that Kubeflow shall not take from its cache, by
    task, node or pattern; cache: False for all of them. options: those of `CompileOptions` (`code`, `fuse`,
    `image`, `store`, `secret`, `epoch`, `bootstrap`, `pull_policy`, `name`, `outputs`, `print_after`).

    Returns the `Compiled`: `.text`, `.notes`, `.code` (how the code travels), `.tasks`. The same source gives
    the same text, on any machine. Raises TraceError, GraphError, PayloadError, and CompileError for what
    Kubeflow cannot hold as asked, or a file that cannot be written.

    >>> from grandpa_kfp import Node, Workflow
    >>> @Node
    ... def square(x: int) -> int:
    ...     return x * x
    >>> @Workflow
    ... def pipeline(x: int = 3):
    ...     return square(x)
    >>> compile(pipeline).text.splitlines()[1]
    '# Name: pipeline'
    """
    from grandpa_kfp_compiler.kfp import CompileOptions, compile_graph

    from .compiling import packed, upload_code, write_whole
    from .forcing import with_forced
    from .loading import refuse_while_loading

    refuse_while_loading("compile")
    chosen = CompileOptions.of(options)
    graph = packed(workflow, params, root=Path(root) if root is not None else None, include=include)
    graph = with_forced(graph, force, cache=cache)
    compiled = upload_code(compile_graph(graph, chosen), chosen)
    if path is not None:
        write_whole(Path(path), compiled.text)
    return compiled


class TemplateParser:
    """Runs workflows and returns their values: `TemplateParser(threads_per_process=4)(pipeline, a=4)`.

    process_count: worker processes at most, 0 for none: everything runs on threads of this process.
    threads_per_process: tasks at once in each. options: as of `run`. Worker processes are started when there
    is work for them and stay for the next call; `close`, the end of a `with` block, or that of the program ends
    them. Raises ParameterError for numbers that cannot be.

    >>> from grandpa_kfp import Node, Workflow
    >>> @Node
    ... def add(a: int, b: int) -> int:
    ...     return a + b
    >>> @Workflow
    ... def pipeline(a: int = 10, b: int = 2):
    ...     return add(add(a, b), b)
    >>> TemplateParser(threads_per_process=2, record=False)(pipeline, a=4)
    8
    """

    def __init__(self, process_count: int = 0, threads_per_process: int | None = None, **options: Any) -> None:
        from .engine.workers import workers

        self._crew = workers(process_count, threads_per_process, options.pop("memory", None))
        self._options = {"threads": threads_per_process, **options}

    def __call__(self, workflow: Any, /, **params: Any) -> Any:
        """The workflow's value for these parameters. Raises as `run` does."""
        return run(workflow, params, processes=self._crew or 0, **self._options).value

    def __enter__(self) -> TemplateParser:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the worker processes. A later call starts them anew."""
        if self._crew is not None:
            self._crew.close()


def root_of(workflow: Any) -> Path:
    """The root of the project that the workflow is defined in; of a notebook or graph the current folder."""
    from grandpa_kfp_runtime.code.project import find_root

    function = getattr(workflow, "fn", workflow)
    code = getattr(function, "__code__", None)
    file = Path(code.co_filename) if code is not None else None
    return find_root(file if file is not None and file.is_file() else Path.cwd() / "pipeline.py")
