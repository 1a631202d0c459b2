"""`grandpa retry`: runs what failed in a run once more."""

from __future__ import annotations

from typing import Any

import click

from .servers import server_options


@click.command(
    name="retry",
    epilog="""\b
Examples:
  grandpa retry 3f2a --wait
""",
)
@click.argument("run")
@click.option("--wait", is_flag=True, help="Follow the run to its end; the exit code is its outcome.")
@server_options
def command(run: str, wait: bool, **options: Any) -> None:
    """Run the tasks of a run that failed, and those after them, once more in the same run.

    RUN is its id, the beginning of one, or its name.
    """
    from ..deployment.remote import find_run, retry
    from .servers import connected, store_of, tell_end, watch

    with connected(options) as (server, address, settings):
        found = find_run(server, run)
        retry(server, found)
        click.echo(server.run_url(found.id) or found.id)
        if wait:
            with store_of(found, address, settings) as reached:
                tell_end(watch(server, reached, found.id))
