"""`grandpa store`: what lies in the project's store, and the removal of what no run needs."""

from __future__ import annotations

from pathlib import Path

import click

from .completing import runs

_store = click.option(
    "--store",
    metavar="URI",
    help="A folder, or s3://bucket/prefix?endpoint=URL; by default the project's .grandpa/store.",
)


@click.group(
    name="store",
    epilog="""\b
Examples:
  grandpa store ls                          the runs recorded here, with their objects
  grandpa store ls 20261121-034512-ab12     the objects of one run
  grandpa store du
  grandpa store gc --dry-run                what would be removed
  grandpa store gc --keep-days 7
""",
)
def command() -> None:
    """List what the project's store holds, and remove what no run needs."""


@command.command(name="ls")
@click.argument("run", required=False, shell_complete=runs)
@_store
def ls(run: str | None, store: str | None) -> None:
    """List the runs recorded here with the number and size of their objects; of one RUN its objects."""
    from ..drawing.words import size_text
    from ..storekeeping import contents, kept_store, objects_of_run

    root = _root()
    found = contents(kept_store(store, root), root)
    if run is not None:
        for key, stored in objects_of_run(found, run):
            click.echo(f"{key}  {size_text(stored.size_bytes)}")
        return
    for item in reversed(found.runs):
        size = size_text(found.size_of(item.objects))
        click.echo(f"{item.id}  {item.state:<9}  {_count(len(item.objects), 'object'):>13}  {size:>10}  {item.name}")


@command.command(name="du")
@_store
def du(store: str | None) -> None:
    """Tell how much the store holds, and how much of it nothing names that is recorded."""
    from ..drawing.words import size_text
    from ..storekeeping import contents, kept_store

    root = _root()
    found = contents(kept_store(store, root), root)
    by_runs = {key for run in found.runs for key in run.objects}
    rows = (
        ("objects", set(found.objects)),
        ("of runs recorded here", by_runs),
        ("of other records alone", set(found.named) - by_runs),
        ("of none", found.objects.keys() - by_runs - found.named),
    )
    for what, keys in rows:
        click.echo(f"{what:<23}  {len(keys):>8,}  {size_text(found.size_of(keys)):>10}")


@command.command(name="gc")
@click.option(
    "--keep-days",
    type=click.FloatRange(min=1),
    default=30.0,
    show_default=True,
    metavar="N",
    help="Keep runs that ended in the last N days, at least one, and results of them.",
)
@click.option("--dry-run", is_flag=True, help="Remove nothing, tell what would be removed.")
@_store
def gc(keep_days: float, dry_run: bool, store: str | None) -> None:
    """Remove old runs recorded here, and the objects that nothing else names.

    What a kept run names stays, and so do results of earlier runs that are as young as kept runs, installed
    packages, and whatever is younger than a day. Safe while runs go on. Of a store that is not the project's own, such
    as a bucket, nothing goes that was written, or taken from an earlier run, in the last N days: others use it too.
    """
    from ..drawing.words import size_text
    from ..storekeeping import collect, garbage, kept_store

    root = _root()
    opened = kept_store(store, root)
    found = garbage(opened, root, keep_days)
    if not dry_run:
        collect(opened, root, found)
    parts = (_count(len(found.runs), "run"), _count(len(found.records), "record"), _count(len(found.objects), "object"))
    verb = "would remove" if dry_run else "removed"
    click.echo(f"{verb} {', '.join(parts)} ({size_text(found.size_bytes)})")


def _count(number: int, what: str) -> str:
    return f"1 {what}" if number == 1 else f"{number:,} {what}s"


def _root() -> Path:
    from .run import root_of_file

    return root_of_file(Path.cwd() / "pipeline.py")
