"""`grandpa inspect`: what the tasks of a run took and gave."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from grandpa_kfp_runtime.errors import GrandpaError

from .completing import runs, tasks
from .servers import SERVER_KEYS, server_options

if TYPE_CHECKING:
    from ..deployment.inspecting import InspectedRun, InspectedTask, StoredValue


@click.command(
    name="inspect",
    epilog="""\b
Examples:
  grandpa inspect                   the newest run here, a line a task
  grandpa inspect 3f2a train        what one task took and gave
""",
)
@click.argument("run", required=False, default="last", shell_complete=runs)
@click.argument("task", required=False, shell_complete=tasks)
@click.option("--store", metavar="URI", help="Where the run's values are, where its record does not say.")
@server_options
def command(run: str, task: str | None, store: str | None, **options: Any) -> None:
    """Show inputs and outputs of a run's tasks, with their types, sizes and previews.

    RUN is an id or the beginning of one, of a run on this machine or on the server; `last`, the default, is the newest
    here.
    Without TASK a line for each. In Python: inspect_run(RUN).task(TASK).output() loads a value.
    """
    with inspected(run, store, options) as found:
        click.echo(_of_run(found) if task is None else _of_task(found.task(task)))


def inspected(run: str, store: str | None, options: Mapping[str, Any]) -> InspectedRun:
    """The run by a verb's options. Raises LoadError, DeployError."""
    from ..config import settings_for
    from ..deployment.inspecting import inspect_run
    from .servers import address_of

    settings = settings_for(None, profile=options["profile"], given={name: options[name] for name in SERVER_KEYS})
    address = address_of(settings, options)
    chosen = {"endpoint": address.endpoint, "namespace": address.namespace, "context": address.context}
    return inspect_run(
        run, store=store or "", secret=settings.get("secret"), ca_cert=address.ca_cert, insecure=address.insecure,
        **chosen,
    )  # fmt: skip


_MOST_INNER = 20
_DEEPEST = 12
"""What is shown of the tasks that a task became: how many, how far to the right."""


def _of_run(run: InspectedRun) -> str:
    from ..drawing.logged_words import metrics_text
    from ..drawing.words import seconds_text

    below: dict[str, list[InspectedTask]] = {}
    for task in run.tasks.values():
        below.setdefault(task.parent, []).append(task)
    lines = [f"{run.name} ({run.id}) {run.state}"]
    waiting = [("  ", task) for task in reversed(below.get("", ()))]
    while waiting:
        indent, task = waiting.pop()
        took = f", {seconds_text(task.duration_s)}" if task.duration_s else ""
        metrics = metrics_text(task.logged.last())
        inner = below.get(task.name, ())
        more = (
            f", became {len(inner):,} tasks" if len(inner) > _MOST_INNER or (inner and len(indent) > _DEEPEST) else ""
        )
        lines.append(f"{indent}{task.name} {_state(task)}{took}{more}" + (f": {metrics}" if metrics else ""))
        if not more:
            waiting += [(f"{indent}  ", item) for item in reversed(inner)]
    return "\n".join(lines)


def _state(task: InspectedTask) -> str:
    if task.reason:
        return f"{task.state}: {task.reason}"
    return f"{task.state}, fell back" if task.fell_back else task.state


def _of_task(task: InspectedTask) -> str:
    from ..drawing.logged_words import logged_lines

    lines = [f"{task.name} {_state(task)}"]
    for title, values in (("inputs", task.inputs), ("outputs", task.outputs)):
        if values:
            lines.append(f"{title}:")
            lines += [line for stored in values.values() for line in _told(stored)]
    if task.seen:
        lines += ["outputs:", *(f"  {name}: {text}, not kept" for name, text in task.seen.items())]
    if task.logged:
        lines += ["logged:", *(f"  {line}" for line in logged_lines(task.logged))]
    if task.report:
        lines += ["", task.report]
    return "\n".join(lines)


def _told(stored: StoredValue) -> list[str]:
    """Name, type, size and preview; of a value that cannot be read, why."""
    from grandpa_kfp_runtime.launch.previews import preview
    from grandpa_kfp_runtime.values.summaries import summary

    from ..drawing.words import size_text

    try:
        value = stored.value()
        head = f"  {stored.name}: {summary(value)}, {size_text(stored.size_bytes)}"
    except GrandpaError as error:
        return [f"  {stored.name}: {error}"]
    try:
        shown = preview(value).text.splitlines()
    except Exception as error:  # a user's __repr__ may raise anything; what it is has been said
        shown = ["", f"(no preview: {type(error).__name__}: {error})"]
    return [head, *(f"      {line}" for line in shown)] if len(shown) > 1 else [head]
