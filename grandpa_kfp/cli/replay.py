"""`grandpa replay`: runs one task of a run here, with the inputs that it had, under a debugger if wished."""

from __future__ import annotations

import json
import sys
from typing import Any, Literal

import click

from .completing import runs, tasks
from .servers import server_options


@click.command(
    name="replay",
    epilog="""\b
Examples:
  grandpa replay 20261121 train                 the task with your code as it stands now
  grandpa replay last train --pdb               stop where it fails
  grandpa replay 4f2a train --set rate=0.01     a run of the server, one input changed
  grandpa replay 4f2a train --code run          the code that the run had
""",
)
@click.argument("run", shell_complete=runs)
@click.argument("task", shell_complete=tasks)
@click.option("--pdb", is_flag=True, help="After an error open the debugger where your code failed.")
@click.option(
    "--set", "pairs", metavar="NAME=VALUE", multiple=True, help="Another value of an input: JSON, else a text."
)
@click.option(
    "--code",
    type=click.Choice(["current", "run"]),
    default="current",
    show_default=True,
    help="The project's code as it stands now, or the run's own.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the value as JSON.")
@click.option("--store", metavar="URI", help="Where the run's values are, where its record does not say.")
@server_options
def command(
    run: str, task: str, pdb: bool, pairs: tuple[str, ...], code: Literal["current", "run"], as_json: bool,
    store: str | None, **options: Any,
) -> None:  # fmt: skip
    """Run one task of a run here, with the inputs that it had, and print its value.

    RUN is an id or the beginning of one, of a run on this machine or on the server, or `last`, the newest here; TASK a
    name that `grandpa inspect RUN` shows. The task runs in this process, so breakpoint() and your editor's debugger
    work, by default with the code as it stands now: mend it and try again. Without its retries and time limit.
    Nothing of the run changes. The names for --set are the inputs that `grandpa inspect RUN TASK` shows.
    """
    from grandpa_kfp_runtime.errors import TaskError

    from .inspect import inspected
    from .run import output_to_stderr
    from .values import value_json, value_line

    given = dict(map(_pair, pairs))
    with inspected(run, store, options) as found:
        chosen = found.task(task)
        with output_to_stderr():
            try:
                value = chosen.replay(given, code=code)
            except TaskError as error:
                if pdb:
                    from ..debugging import debug

                    debug(error, sys.stderr)  # standard output is for the task's value
                    raise click.exceptions.Exit(error.exit_code) from error
                raise
            text = value_json(value) if as_json else value_line(value)
    click.echo(text)


def _pair(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise click.UsageError(f"--set {text}: write it as --set NAME=VALUE")
    try:
        return name.strip(), json.loads(value)
    except ValueError:  # no JSON, so it is the text itself
        return name.strip(), value
