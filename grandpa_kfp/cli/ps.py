"""`grandpa ps`: the newest runs, on this machine and on the server."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import click

from grandpa_kfp_runtime.errors import GrandpaError

from .servers import server_options


@dataclass(frozen=True, slots=True)
class Row:
    """One run. where: `here` or `server`; started: seconds since the epoch."""

    where: str
    id: str
    name: str
    state: str
    started: float
    duration_s: float
    tags: dict[str, str]


@click.command(
    name="ps",
    epilog="""\b
Examples:
  grandpa ps                        the newest runs here and on the server
  grandpa ps --remote --tag team=blue
""",
)
@click.option(
    "-n", "most", type=click.IntRange(min=1), default=20, metavar="N", help="How many of each; 20 by default."
)
@click.option("--local", "only_local", is_flag=True, help="Only runs on this machine.")
@click.option("--remote", "only_remote", is_flag=True, help="Only runs on the server.")
@click.option("--tag", "tags", metavar="NAME=VALUE", multiple=True, help="Only runs on the server with this tag.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@server_options
def command(
    most: int, only_local: bool, only_remote: bool, tags: tuple[str, ...], as_json: bool, **options: Any
) -> None:
    """List the newest runs, those on this machine and those on the server.

    Where no server is known, those on this machine alone.
    """
    from .servers import tags_of

    if only_local and (only_remote or tags):
        raise click.UsageError("--local goes with neither --remote nor --tag")
    wanted = tags_of(tags)
    rows = [] if only_remote or wanted else _local(most)
    if not only_local:
        rows += _remote(most, wanted, options, must=bool(only_remote or wanted or options["endpoint"]))
    rows.sort(key=lambda row: row.started, reverse=True)
    click.echo(json.dumps([asdict(row) for row in rows], ensure_ascii=False) if as_json else table(rows))


def _local(most: int) -> list[Row]:
    from pathlib import Path

    from grandpa_kfp_runtime.code.project import find_root

    from ..engine.record import list_runs, read_run
    from .failures import print_note

    root = find_root(Path.cwd() / "pipeline.py")
    rows = []
    for run_id in reversed(list_runs(root)[-most:]):
        try:
            run = read_run(root, run_id)
        except GrandpaError as error:
            print_note(str(error))
            continue
        rows.append(Row("here", run.id, run.name, run.state, run.started, run.duration_s, {}))
    return rows


def _remote(most: int, tags: dict[str, str], options: dict[str, Any], *, must: bool) -> list[Row]:
    """must: that there is no server is an error, else a note."""
    from ..deployment.remote import list_runs
    from .failures import print_note
    from .servers import connected

    try:
        with connected(options) as (server, _, _):
            return [
                Row(
                    "server",
                    run.id,
                    run.name,
                    run.state.lower(),
                    run.created,
                    run.duration_s,
                    dict(run.provenance.tags),
                )
                for run in list_runs(server, most=most, tags=tags)
            ]
    except GrandpaError as error:
        if must:
            raise
        print_note(str(error))
        return []


def table(rows: Sequence[Row]) -> str:
    """Columns as wide as they need to be."""
    from ..drawing.words import seconds_text

    head = ("WHERE", "RUN", "NAME", "STATE", "STARTED", "TOOK", "TAGS")
    lines = [head]
    for row in rows:
        started = time.strftime("%Y-%m-%d %H:%M", time.localtime(row.started)) if row.started else "-"
        took = seconds_text(row.duration_s) if row.duration_s else "-"
        tags = " ".join(f"{name}={value}" for name, value in sorted(row.tags.items()))
        lines.append((row.where, row.id, row.name, row.state, started, took, tags))
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
