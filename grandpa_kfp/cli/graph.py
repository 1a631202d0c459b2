"""`grandpa graph`: draws a workflow, or a run of it, and writes the graph file."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..drawing import FORMATS
from .parameters import parameter_options
from .sources import Launched, WorkflowCommand, file_argument

if TYPE_CHECKING:
    from grandpa_kfp_compiler.graph import Graph

    from ..engine.run import Run

_BY_SUFFIX = {
    ".txt": "text", ".mmd": "mermaid", ".mermaid": "mermaid", ".dot": "dot", ".gv": "dot", ".svg": "svg",
    ".png": "png", ".json": "json",
}  # fmt: skip


@click.command(
    cls=WorkflowCommand,
    name="graph",
    epilog="""\b
Examples:
  grandpa graph pipeline.py                    a tree on the terminal
  grandpa graph pipeline.py -o graph.svg       or .png .mmd .dot .txt .json
  grandpa graph pipeline.py --run last         what became of each task
""",
)
@file_argument(required=False)
@parameter_options
@click.option(
    "-o", "--output", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help="The file to write."
)
@click.option(
    "-f", "--format", "format_", type=click.Choice(FORMATS), help="By default that of -o's suffix, else text."
)
@click.option(
    "--include", multiple=True, metavar="GLOB", help="More files of the project that a graph file carries along."
)
@click.option("--run", "run_id", metavar="RUN", help="Draw a recorded run: its id, the beginning of it, or `last`.")
@click.pass_context
def command(
    ctx: click.Context,
    spec: str | None,
    pairs: tuple[str, ...],
    params_file: Path | None,
    output: Path | None,
    format_: str | None,
    include: tuple[str, ...],
    run_id: str | None,
) -> None:
    """Draw a workflow: components as boxes in boxes, tasks, what flows between them.

    The nodes that a node's body refers to stand in it, dashed; nothing runs to find them. With --run, states
    and durations of a recorded run are shown too, and FILE only says whose runs (by default those of the
    current folder's project). json is no picture but the graph file: it holds the code too, and every verb
    takes it in the place of FILE.
    """
    from .run import output_to_stderr

    chosen = _format(format_, output)
    if spec is None and run_id is None:
        raise click.UsageError("Missing argument 'FILE[:NAME]'.", ctx)
    if run_id is not None and (pairs or params_file):
        raise click.UsageError("--run draws a run that has been, so -p and --params cannot change it", ctx)
    if chosen == "png" and output is None and sys.stdout.isatty():
        raise click.UsageError("a picture on a terminal cannot be read; name a file: -o graph.png", ctx)
    with output_to_stderr():
        run = None if run_id is None else _read_run(spec, run_id)
        if run is not None:
            graph = _graph_of_run(run)
        else:
            graph = _graph_of(spec, ctx.obj, pairs, params_file, include if chosen == "json" else None)
        data = _rendered(graph, run, chosen)
    _write(data, output, chosen)


def _format(format_: str | None, output: Path | None) -> str:
    if format_ is not None:
        return format_
    if output is None:
        return "text"
    found = _BY_SUFFIX.get(output.suffix.lower())
    if found is None:
        raise click.UsageError(f"-o {output}: say which format by --format, or by a suffix of {', '.join(_BY_SUFFIX)}")
    return found


def _graph_of(
    spec: str | None,
    launched: Launched | None,
    pairs: tuple[str, ...],
    params_file: Path | None,
    include: Sequence[str] | None,
) -> Graph:
    """The graph as it is drawn; packed, with the project's `include` too, where `include` is not None."""
    from grandpa_kfp_compiler.graph import Graph

    from ..authoring.tracing import trace
    from ..compiling import packed
    from .configured import settings_of
    from .parameters import as_workflow, given_parameters, of_target, place_of
    from .sources import load, source_of

    assert spec is not None
    source = source_of(spec)
    target = load(source, launched)
    if isinstance(target, Graph):
        if pairs or params_file:
            raise click.UsageError("a graph file's parameters are set when it is run")
        return target
    workflow = as_workflow(target)
    graph = trace(workflow, given_parameters(of_target(target), pairs, params_file, place_of(workflow)))
    if include is None:
        return graph
    settings = settings_of(source, workflow, None, {"include": tuple(include)})
    return packed(graph, include=settings.given("include").get("include", ()))


def _read_run(spec: str | None, run_id: str) -> Run:
    from grandpa_kfp_runtime.code.project import find_root

    from ..engine.record import read_run
    from .sources import source_of

    start = Path.cwd() / "pipeline.py" if spec is None else source_of(spec).file
    return read_run(find_root(start), run_id)


def _graph_of_run(run: Run) -> Graph:
    from ..engine.record import read_graph

    return read_graph(run)


def _rendered(graph: Graph, run: Run | None, format_: str) -> str | bytes:
    if format_ == "json":
        from grandpa_kfp_compiler.json_format import dumps

        from ..compiling import packed

        return dumps(packed(graph))
    from ..drawing import drawing_of, render

    drawing = drawing_of(graph, run)
    if format_ == "text":
        from ..drawing.text import to_text

        return to_text(drawing)
    return render(drawing, format_)


def _write(data: str | bytes, output: Path | None, format_: str) -> None:
    if output is None:
        click.echo(data, nl=isinstance(data, str) and not data.endswith("\n"))
        return
    from ..compiling import write_whole

    write_whole(output, data)
    from ..drawing.words import size_text
    from .failures import styled

    size = size_text(output.stat().st_size)
    click.echo(f"{styled(str(output), 'green', bold=True)}: {format_}, {size}", err=True)
