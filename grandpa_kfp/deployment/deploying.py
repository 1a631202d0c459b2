"""`grandpa_kfp.deploy`: from a workflow to a run on a server, in an order that leaves nothing half-deployed.

compile -> preflight -> code into the store -> pipeline version -> experiment -> run -> follow
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from grandpa_kfp_compiler.graph import Code, Graph
from grandpa_kfp_compiler.kfp import Compiled, CompileOptions, compile_graph
from grandpa_kfp_runtime.errors import DeployError, ParameterError, StoreError
from grandpa_kfp_runtime.events.subscribers import Subscriber, as_listener

from ..forcing import with_forced
from .connecting import Address, connect
from .failures import reports
from .follow import Follower, Told, raise_outcome
from .git import commit_of
from .preflight import Finding, preflight, raise_errors
from .reaching import Reached, reach_store
from .remote import RemoteRun
from .remote_events import RemoteEvents
from .schedules import create_schedule, cron_line
from .server import Server
from .start import DEFAULT_EXPERIMENT, DEFAULT_RUN_NAME, Provenance, ensure_experiment, run_name, start_run
from .upload import ensure_version, yaml_hash


@dataclass(frozen=True, slots=True)
class DeployOptions:
    """What `deploy` may be told beside the options of `compile` and of the server's address.

    experiment: made if it is not there. run_name: a template, see `start.run_name`. tags: on the run. wait:
    until the run has ended. dry_run: send nothing, say what would be. schedule: a cron line; instead of one run
    there is one each time. store_here: the store's URI from this machine, where it is another than the
    tasks'. force: tasks that Kubeflow shall not take from its cache, by task, node or pattern. tell: called with
    each line of what happens. on_event: with `wait`, told of the run's events, those that tasks left in the store
    included (docs/events.md).
    """

    experiment: str = DEFAULT_EXPERIMENT
    run_name: str = DEFAULT_RUN_NAME
    tags: Mapping[str, str] = field(default_factory=dict)
    wait: bool = False
    dry_run: bool = False
    schedule: str = ""
    store_here: str = ""
    force: Sequence[str] = ()
    tell: Callable[[Told], object] = lambda told: None
    on_event: Subscriber | None = None
    interval_s: float = 2.0


@dataclass(frozen=True, slots=True)
class Deployment:
    """What was deployed, or of a dry run what would be: then the ids are empty.

    version: the name of the pipeline's version; uploaded: whether it was new. params: as sent, JSON.
    run: as it ended, where it was waited for. schedule_id: where it is to run by the clock.
    """

    pipeline: str
    version: str
    uploaded: bool
    experiment: str
    name: str
    params: Mapping[str, Any]
    findings: Sequence[Finding]
    compiled: Compiled = field(repr=False)
    run_id: str = ""
    url: str = ""
    run: RemoteRun | None = None
    schedule_id: str = ""


def deploy(workflow: Any, params: Mapping[str, Any] | None = None, **options: Any) -> Deployment:
    """Deploys a workflow (or component, node, or Graph) to a Kubeflow Pipelines server and starts a run.

    params: values of its parameters; those that are `Static` are fixed in the pipeline, others go with the run,
    so that the pipeline stays the same. options: those of `DeployOptions` (`experiment`, `run_name`, `tags`,
    `wait`, `dry_run`, `schedule`), of `Address` (`endpoint`, `namespace`, `context`, ...), of `compile`
    (`image`, `store`, `code`, ...), and `root` and `include` as of `compile`.

    Returns the `Deployment`: `.run_id`, `.url`, `.findings`. Raises what `compile` raises; DeployError with
    all findings where nothing can be sent, or what the server says; and, with `wait`, TaskError for a run
    that fails, RunCancelled for one that was cancelled.

    >>> from grandpa_kfp import Workflow, Node
    >>> @Node
    ... def square(x: int) -> int:
    ...     return x * x
    >>> @Workflow
    ... def pipeline(x: int = 3):
    ...     return square(x)
    >>> deploy(pipeline, endpoint="http://127.0.0.1:1", dry_run=True).params
    Traceback (most recent call last):
    ...
    grandpa_kfp_runtime.errors.DeployError: server: cannot reach the server: nothing answers at http://127.0.0.1:1 ...
    """
    from ..loading import refuse_while_loading

    refuse_while_loading("deploy")
    chosen, address, compile_options, rest = _split(options)
    if chosen.schedule:
        cron_line(chosen.schedule)
    if chosen.on_event is not None:
        as_listener(chosen.on_event)
    root = Path(rest["root"]) if rest.get("root") is not None else None
    graph, sent = _graph_and_params(workflow, params or {}, root, rest.get("include", ()))
    graph = with_forced(graph, chosen.force)
    compiled = compile_graph(graph, compile_options)
    values = _as_kfp(graph, compiled, sent)
    with ExitStack() as stack:
        server = stack.enter_context(connect(address))
        reached = reach_store(
            compile_options.store, here=chosen.store_here, secret=compile_options.secret, address=address
        )
        stack.callback(reached.close)
        return _deploy(server, reached, graph, compiled, compile_options, chosen, values, _folder(workflow, root))


def _deploy(
    server: Server,
    reached: Reached,
    graph: Graph,
    compiled: Compiled,
    compile_options: CompileOptions,
    chosen: DeployOptions,
    values: Mapping[str, Any],
    folder: Path,
) -> Deployment:
    code = graph.code
    assert code is not None
    compiled, findings = _checked(server, reached, graph, code, compiled, compile_options, chosen)
    for finding in findings:
        if finding.level != "error":
            chosen.tell(Told(str(finding), finding.level.upper()))
    raise_errors(findings)
    for note in compiled.notes:
        chosen.tell(Told(note))
    commit = commit_of(folder)
    pipeline = compiled.pipeline.name
    name = run_name(chosen.run_name, pipeline, values, commit, time.time())
    provenance = Provenance(dict(chosen.tags), commit, _version(), compile_options.store)
    planned = Deployment(
        pipeline, f"{pipeline}-{yaml_hash(compiled.text)}", False, chosen.experiment, name, values, findings, compiled
    )
    if chosen.dry_run:
        return planned
    _send_code(reached, compiled)
    version = ensure_version(server, pipeline, compiled.text, description=graph.description)
    chosen.tell(Told(f"pipeline {pipeline}, version {version.name}{'' if version.new else ' (was there already)'}"))
    experiment_id = ensure_experiment(server, chosen.experiment)
    planned = replace(planned, version=version.name, uploaded=version.new)
    if chosen.schedule:
        schedule_id = create_schedule(server, experiment_id, version, name, values, provenance, chosen.schedule)
        return replace(planned, schedule_id=schedule_id)
    run_id = start_run(server, experiment_id, version, name, values, provenance)
    url = server.run_url(run_id)
    chosen.tell(Told(f"run {name}: {url or run_id}", "STARTED"))
    deployed = replace(planned, run_id=run_id, url=url)
    if not chosen.wait:
        return deployed
    ended = wait_for(server, reached, run_id, chosen.tell, on_event=chosen.on_event, interval_s=chosen.interval_s)
    return replace(deployed, run=ended)


def wait_for(
    server: Server,
    reached: Reached,
    run_id: str,
    tell: Callable[[Told], object],
    *,
    on_event: Subscriber | None = None,
    interval_s: float = 2.0,
) -> RemoteRun:
    """The run when it has ended well. Raises TaskError with the reports of what failed, RunCancelled, DeployError."""
    follower = Follower(server, run_id, tell, interval_s=interval_s)
    if on_event is not None:
        follower.asked = heard = RemoteEvents(reached.store, [on_event])
    run = follower.wait()
    if on_event is not None:
        for note in heard.notes:
            tell(Told(note))
    conclude(server, reached, run)
    return run


def conclude(server: Server, reached: Reached, run: RemoteRun) -> None:
    """Nothing for a run that ended well. Raises TaskError with the reports of what failed, RunCancelled."""
    failed = run.state == "FAILED"
    raise_outcome(run, reports(server, reached.store, run.id, run.tasks, reached.why) if failed else [])


def _checked(
    server: Server,
    reached: Reached,
    graph: Graph,
    code: Code,
    compiled: Compiled,
    options: CompileOptions,
    chosen: DeployOptions,
) -> tuple[Compiled, list[Finding]]:
    """The findings; and where code tasks would carry the code, but the store is at hand, the store does."""
    write = not chosen.dry_run
    findings = preflight(server, reached, compiled, code, needs_store=bool(compiled.upload), write=write)
    store_is_right = any(finding.about == "store" and finding.level == "ok" for finding in findings)
    if compiled.code == "task" and options.code == "auto" and store_is_right:
        compiled = compile_graph(graph, replace(options, code="store"))
        findings = preflight(server, reached, compiled, code, needs_store=True, write=write)
    return compiled, findings


def _send_code(reached: Reached, compiled: Compiled) -> None:
    """Puts the code into the store, which keeps what it has: objects are named by their content."""
    for item in compiled.upload:
        if reached.store is None:
            raise DeployError(f"the code cannot be put into the store: {reached.why}")
        try:
            if not reached.store.exists(item.key):
                reached.store.write(item.buffers)
        except StoreError as error:
            raise DeployError(f"the code cannot be put into the store: {error}") from None


def _split(options: Mapping[str, Any]) -> tuple[DeployOptions, Address, CompileOptions, dict[str, Any]]:
    """The options by whose they are. Raises DeployError for one that nobody knows."""
    kinds: dict[str, Any] = {"root": None, "include": None}
    for kind in (DeployOptions, Address, CompileOptions):
        kinds.update((item.name, kind) for item in fields(kind) if item.init)
    given: dict[Any, dict[str, Any]] = {kind: {} for kind in (DeployOptions, Address, CompileOptions, None)}
    for name, value in options.items():
        if name not in kinds:
            from difflib import get_close_matches

            near = get_close_matches(name, kinds, 1)
            raise DeployError(f"deploy has no option {name!r}" + (f"; did you mean {near[0]}?" if near else ""))
        given[kinds[name]][name] = value
    compile_options = CompileOptions.of(given[CompileOptions])
    return DeployOptions(**given[DeployOptions]), Address(**given[Address]), compile_options, given[None]


def _graph_and_params(
    workflow: Any, params: Mapping[str, Any], root: Path | None, include: Sequence[str]
) -> tuple[Graph, dict[str, Any]]:
    """The packed graph, and the parameters that go with the run, checked, as Python values."""
    from grandpa_kfp_runtime.typespec import TypeSpec

    from ..compiling import packed
    from ..engine.parameters import bind_parameters

    sent = dict(params)
    fixed: dict[str, Any] = {}
    if not isinstance(workflow, Graph):
        from ..authoring.workflows import as_workflow

        workflow = as_workflow(workflow)
        own = {item.name: item for item in workflow.parameters}
        fixed = {name: sent.pop(name) for name in list(sent) if name in own and own[name].static}
        sent = {name: own[name].convert(value) if name in own else value for name, value in sent.items()}
        replaced = {name: value for name, value in sent.items() if isinstance(value, str) and _is_rewritten(value)}
        fixed |= replaced  # as a default it travels so that the cluster leaves it alone
        sent = {name: value for name, value in sent.items() if name not in replaced}
    graph = packed(workflow, fixed, root=root, include=include)
    bound = bind_parameters(graph, sent, _loader(sent))
    for name, value in sent.items():
        spec: TypeSpec = next(item.type for item in graph.parameters if item.name == name)
        if isinstance(value, str) and _is_rewritten(value):
            raise ParameterError(f"parameter {name} ({spec}) holds `{{{{`, `}}}}` or `$$(`, which the cluster replaces")
    return graph, {name: bound[name].value for name in sent}


def _loader(sent: Mapping[str, Any]) -> Callable[[str], Any]:
    """Classes by name: those of the values themselves first, which may be of a file that is no module."""
    from grandpa_kfp_runtime.parameters import load_class

    own = {f"{type(value).__module__}:{type(value).__qualname__}": type(value) for value in sent.values()}
    return lambda name: own[name] if name in own else load_class(name)


def _is_rewritten(text: str) -> bool:
    return "{{" in text or "}}" in text or "$$(" in text


def _as_kfp(graph: Graph, compiled: Compiled, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values as KFP carries them: its own type where there is one, else JSON text."""
    from grandpa_kfp_runtime.parameters import kfp_type, to_json

    declared = {item.name: item.type for item in compiled.pipeline.root.parameters}
    specs = {item.name: item.type for item in graph.parameters}
    sent = {}
    for name, value in values.items():
        data = to_json(value, specs[name])
        sent[name] = data if kfp_type(specs[name]) == declared.get(name) else json.dumps(data, ensure_ascii=False)
    return sent


def _folder(workflow: Any, root: Path | None) -> Path:
    """Where to ask git: the folder of the workflow's file, else the project's."""
    code = getattr(getattr(workflow, "fn", None), "__code__", None)
    file = Path(code.co_filename) if code is not None else None
    if file is not None and file.is_file():
        return file.parent
    return root or Path.cwd()


def _version() -> str:
    from .. import __version__

    return __version__
