"""`grandpa terminate`: ends a run on a server."""

from __future__ import annotations

from typing import Any

import click

from .servers import server_options


@click.command(
    name="terminate",
    epilog="""\b
Examples:
  grandpa terminate 3f2a
""",
)
@click.argument("run")
@server_options
def command(run: str, **options: Any) -> None:
    """End a run that is under way.

    RUN is its id, the beginning of one, or its name.
    """
    from ..deployment.remote import find_run, terminate
    from .servers import connected

    with connected(options) as (server, _, _):
        found = find_run(server, run)
        terminate(server, found)
    click.echo(f"{found.name} ({found.id}) is asked to end", err=True)
