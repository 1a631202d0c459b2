"""`grandpa ide`: run configurations for VS Code and PyCharm."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .configured import profile_option
from .sources import FileType, WorkflowCommand

if TYPE_CHECKING:
    from ..ide import Written
    from .sources import Launched, Source


@click.command(
    cls=WorkflowCommand,
    name="ide",
    epilog="""\b
Examples:
  grandpa ide pipeline.py                             for the editor whose project this is
  grandpa ide vscode pipeline.py --profile staging    Compile and Deploy use that profile
  grandpa ide pycharm flows/train.py:train
""",
)
@click.argument("words", metavar="[vscode|pycharm] FILE[:NAME]", type=FileType(), nargs=-1)
@profile_option
@click.option(
    "--folder",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The folder that the editor opens; by default found from FILE upward.",
)
@click.pass_context
def command(ctx: click.Context, words: tuple[str, ...], profile: str | None, folder: Path | None) -> None:
    """Write Run, Debug, Compile and Deploy for each workflow of a file into the editor's own files.

    Writes .vscode/launch.json and .vscode/tasks.json, or .run/*.run.xml. What is there stays, comments and all; an
    entry that is there by its name is never changed, so running this twice changes nothing.
    """
    from ..ide import write_for
    from .run import output_to_stderr
    from .sources import source_of

    editors, spec = _taken_apart(ctx, words)
    source = source_of(spec)
    with output_to_stderr():
        workflows = _workflows(source, ctx.obj)
        if profile is not None:
            from ..config import settings_for

            settings_for(source.file, workflows, profile=profile)  # refuses a profile that is not there
    for editor in editors or _in_use(ctx, source.file):
        _tell(editor, write_for(editor, source.file, workflows, profile=profile or "", folder=folder))


def _taken_apart(ctx: click.Context, words: tuple[str, ...]) -> tuple[Any, str]:
    """The editors that were named, and FILE[:NAME]. A launched script puts its file in front."""
    from ..ide import EDITORS

    editors = tuple(word for word in words if word in EDITORS)
    files = [word for word in words if word not in EDITORS]
    if not files:
        raise click.UsageError("Missing argument 'FILE[:NAME]'.", ctx)
    if len(files) > 1:
        wrong = files[1] if Path(files[0]).exists() else files[0]
        raise click.UsageError(f"{wrong!r} is neither {' nor '.join(EDITORS)}, and there is one FILE", ctx)
    return editors, files[0]


def _in_use(ctx: click.Context, file: Path) -> Any:
    from ..ide import editors_in_use

    found = editors_in_use(file, os.environ)
    if not found:
        raise click.UsageError("say which editor: grandpa ide vscode FILE, or grandpa ide pycharm FILE", ctx)
    return found


def _workflows(source: Source, launched: Launched | None) -> list[str]:
    """The names of the file's workflows; of a graph file an empty one. Raises LoadError."""
    from ..loading import load_file, workflows_in
    from .sources import load

    if source.name or source.kind != "python":
        load(source, launched)
        return [source.name]
    found = list(workflows_in(load_file(source.file)))
    if not found:
        load(source, launched)  # says what there is instead
    return found


def _tell(editor: str, written: Written) -> None:
    from .failures import print_faint, styled

    for path in written.files:
        click.echo(f"{styled(os.path.relpath(path), 'green', bold=True)}", err=True)
    for name in written.added:
        click.echo(f"  {name}", err=True)
    if written.kept:
        print_faint(f"{editor}: {len(written.kept)} there already, left as they are")
