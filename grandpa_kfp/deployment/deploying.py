"""`grandpa_kfp.deploy`: from a workflow to a run on a server, in an order that leaves nothing half-deployed.

compile -> preflight -> code into the store -> pipeline version -> experiment -> run -> follow
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from grandpa_kfp_compiler.kfp import Compiled, compile_graph
from grandpa_kfp_runtime.errors import DeployError, StoreError
from grandpa_kfp_runtime.events.subscribers import Subscriber

from .code_parts import put_parts
from .connecting import connect
from .failures import reports
from .follow import Follower, Told, raise_outcome
from .git import commit_of
from .preflight import Finding, preflight, raise_errors
from .preparing import Prepared, prepare
from .reaching import Reached, reach_store
from .remote import RemoteRun
from .remote_events import RemoteEvents
from .schedules import create_schedule
from .server import Server
from .start import Provenance, ensure_experiment, run_name, start_run
from .upload import ensure_version, yaml_hash


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
    ready = prepare(workflow, params, options)
    with ExitStack() as stack:
        server = stack.enter_context(connect(ready.address))
        reached = reach_store(
            ready.options.store, here=ready.chosen.store_here, secret=ready.options.secret, address=ready.address
        )
        stack.callback(reached.close)
        return _deploy(server, reached, ready, _folder(workflow, ready.root))


def _deploy(server: Server, reached: Reached, ready: Prepared, folder: Path) -> Deployment:
    chosen, values = ready.chosen, ready.values
    compiled, findings = _checked(server, reached, ready)
    for finding in findings:
        if finding.level != "error":
            chosen.tell(Told(str(finding), finding.level.upper()))
    raise_errors(findings)
    for note in compiled.notes:
        chosen.tell(Told(note))
    commit = commit_of(folder)
    pipeline = compiled.pipeline.name
    name = run_name(chosen.run_name, pipeline, values, commit, time.time())
    provenance = Provenance(dict(chosen.tags), commit, _version(), ready.options.store)
    planned = Deployment(
        pipeline, f"{pipeline}-{yaml_hash(compiled.text)}", False, chosen.experiment, name, values, findings, compiled
    )
    if chosen.dry_run:
        return planned
    _send_code(reached, compiled)
    version = ensure_version(server, pipeline, compiled.text, description=ready.graph.description)
    chosen.tell(Told(f"pipeline {pipeline}, version {version.name}{'' if version.new else ' (was there already)'}"))
    if reached.store is not None:
        put_parts(reached.store, version.version_id, ready.graph, compiled, ready.root)
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


def _checked(server: Server, reached: Reached, ready: Prepared) -> tuple[Compiled, list[Finding]]:
    """The findings; and where code tasks would carry the code, but the store is at hand, the store does."""
    compiled, options, code = ready.compiled, ready.options, ready.graph.code
    assert code is not None
    write = not ready.chosen.dry_run
    findings = preflight(server, reached, compiled, code, needs_store=bool(compiled.upload), write=write)
    store_is_right = any(finding.about == "store" and finding.level == "ok" for finding in findings)
    if compiled.code == "task" and options.code == "auto" and store_is_right:
        compiled = compile_graph(ready.graph, replace(options, code="store"))
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
