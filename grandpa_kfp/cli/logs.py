"""`grandpa logs`: what the tasks of a run printed, on a server or on this machine."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from grandpa_kfp_runtime.errors import DeployError, LoadError

from .servers import server_options

if TYPE_CHECKING:
    from ..deployment.remote import RemoteRun, TaskView
    from ..deployment.server import Server

_POLL_S = 2.0


@click.command(
    name="logs",
    epilog="""\b
Examples:
  grandpa logs 3f2a                 every task of the run whose id begins so
  grandpa logs 3f2a train -f        one task, until it has ended
  grandpa logs 20261121 train       of a run on this machine
  grandpa logs last                 of the newest run on this machine
""",
)
@click.argument("run")
@click.argument("task", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on until the run, or the task, has ended.")
@server_options
def command(run: str, task: str | None, follow: bool, **options: Any) -> None:
    """Print what the tasks of a run printed.

    RUN is its id, the beginning of one, or its name. With -f and no TASK: a line for each change of a task, and the
    reports of those that fail. Of a run on this machine (`grandpa ps --local`): what TASK printed; without TASK how
    each went, and what it printed.
    """
    if _is_local(run):
        _print_local(run, task)
        return
    from ..deployment.remote import find_run
    from .servers import connected, store_of, tell_end, watch

    with connected(options) as (server, address, settings):
        found = find_run(server, run)
        if task is None and follow:
            with store_of(found, address, settings) as reached:
                tell_end(watch(server, reached, found.id))
            return
        for view in _wanted(server, found, task, follow):
            _print_log(server, found, view, follow=follow, alone=task is not None)


def _wanted(server: Server, run: RemoteRun, task: str | None, follow: bool) -> list[TaskView]:
    """The tasks that are asked for; one that is not there yet is waited for. Raises DeployError."""
    from ..deployment.remote import ENDED, run_of

    if task is None:
        return [view for view in run.tasks if view.pods]
    while True:
        found = [view for view in run.tasks if task in (view.name, view.id)]
        if found and (found[0].state not in ("PENDING",) or not follow):
            return found
        if not follow or run.state in ENDED:
            names = ", ".join(view.name for view in run.tasks) or "none yet"
            raise DeployError(f"run {run.name} has no task {task}; it has {names}")
        time.sleep(_POLL_S)
        run = run_of(server.run(run.id))


def _print_log(server: Server, run: RemoteRun, view: TaskView, *, follow: bool, alone: bool) -> None:
    from .failures import print_note

    if view.state == "CACHED":
        print_note(f"{view.name} was taken from the cache; it printed nothing in this run")
        return
    for pod in view.pods:
        try:
            for line in server.log(run.id, pod, follow=follow):
                click.echo(line if alone else f"{view.name}: {line}")
        except DeployError as error:
            if alone and len(view.pods) == 1:
                raise
            print_note(str(error))


def _is_local(run: str) -> bool:
    from ..engine.record import NEWEST, list_runs

    return run == NEWEST or any(name.startswith(run) for name in list_runs(_root()))


def _print_local(run_id: str, task: str | None) -> None:
    from ..drawing.words import seconds_text
    from ..engine.echo import prefixed
    from ..engine.printed_logs import printed_by
    from ..engine.record import read_run

    run = read_run(_root(), run_id)
    tasks = [item for item in run.tasks.values() if task in (None, item.id, item.name)]
    if not tasks:
        raise LoadError(f"run {run.id} has no task {task}; it has {', '.join(run.tasks) or 'none'}")
    assert run.folder is not None
    for item in tasks:
        told = f"{item.id} {item.state}" + (f", {seconds_text(item.duration_s)}" if item.duration_s else "")
        told += f": {item.reason}" if item.reason else ""
        printed = printed_by(run.folder, item.id)
        if task is None:
            click.echo(told)
            printed = prefixed(item.id, printed) if printed else ""
        elif not printed:
            click.echo(f"{told}; it printed nothing", err=True)
        click.echo(printed, nl=False)
        if item.report and item.report not in printed:
            click.echo(item.report)


def _root() -> Any:
    from pathlib import Path

    from grandpa_kfp_runtime.code.project import find_root

    return find_root(Path.cwd() / "pipeline.py")
