"""`grandpa schedules`: runs by the clock on the server."""

from __future__ import annotations

import json
from typing import Any

import click

from .servers import server_options


@click.group(
    name="schedules",
    epilog="""\b
Examples:
  grandpa schedules ls
  grandpa schedules pause nightly
  grandpa schedules rm nightly
""",
)
def command() -> None:
    """List, pause, resume and remove schedules; `grandpa deploy --schedule CRON` makes one."""


@command.command(name="ls")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@server_options
def ls(as_json: bool, **options: Any) -> None:
    """List all schedules, the newest first."""
    from ..deployment.schedules import list_schedules
    from .servers import connected

    with connected(options) as (server, _, _):
        found = list_schedules(server)
    if as_json:
        rows = [{"id": item.id, "name": item.name, "cron": item.cron, "enabled": item.enabled} for item in found]
        click.echo(json.dumps(rows, ensure_ascii=False))
        return
    for item in found:
        click.echo(f"{item.id}  {'on ' if item.enabled else 'off'}  {item.cron:16}  {item.name}")


def _change(name: str, change: str, told: str, summary: str) -> None:
    @command.command(name=name, help=f"{summary} SCHEDULE is its id, the beginning of one, or its name.")
    @click.argument("schedule")
    @server_options
    def verb(schedule: str, **options: Any) -> None:
        from ..deployment.schedules import find_schedule
        from .servers import connected

        with connected(options) as (server, _, _):
            found = find_schedule(server, schedule)
            server.change_schedule(found.id, change)
        click.echo(f"schedule {found.name} ({found.id}) is {told}", err=True)


_change("pause", "disable", "paused", "Start no more runs for a while.")
_change("resume", "enable", "on again", "Start runs again.")
_change("rm", "delete", "removed", "Remove a schedule; its runs stay.")
