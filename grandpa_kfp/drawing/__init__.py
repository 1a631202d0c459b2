"""Pictures of graphs and runs.

    model.py      what a drawing shows: boxes inside boxes, tasks, ovals, arrows
    grown.py      the tasks that bodies became, of a run
    body_refs.py  the nodes that a node's body refers to, found without running it
    code_names.py what a function names, found in its compiled code
    text.py  mermaid.py  dot.py  svg.py  png.py    one format each
    layout.py  blocks.py    places and sizes, for SVG
    words.py  palette.py    values as few characters; colours

`grandpa graph`, and `display(graph)` in a notebook, come through here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grandpa_kfp_compiler.graph import Graph

    from ..engine.run import Run
    from .model import Drawing, State

FORMATS = ("text", "mermaid", "dot", "svg", "png", "json")
"""What `grandpa graph` writes; json is the graph file, no picture."""


def drawing_of(graph: Graph, run: Run | None = None) -> Drawing:
    """The drawing of a graph, with the nodes inside bodies; of a run, with what became of each task."""
    from .body_refs import insides
    from .grown import with_grown
    from .model import State, draw

    if run is None:
        return draw(graph, insides=insides(graph))
    states = {
        task.id: State(task.state, task.duration_s if task.state in ("succeeded", "failed") else None)
        for task in run.tasks.values()
    }
    return with_grown(draw(graph, insides=insides(graph), states={**_of_rounds(states), **states}), run.tasks, states)


def _of_rounds(states: Mapping[str, State]) -> dict[str, State]:
    """What became of the tasks in loops, which are drawn once: the worst of what became of them in each round."""
    worst = ("failed", "stopped", "running", "waiting", "succeeded", "skipped")
    found: dict[str, State] = {}
    for task, state in states.items():
        drawn = _ROUND.sub("/", task)
        known = found.get(drawn)
        if drawn != task and (known is None or worst.index(state.name) < worst.index(known.name)):
            found[drawn] = type(state)(state.name)
    return found


_ROUND = re.compile(r"/\d+/")


def render(drawing: Drawing, format_: str) -> str | bytes:
    """The drawing in one of FORMATS (but json). Raises DrawingError where a renderer is missing."""
    if format_ == "mermaid":
        from .mermaid import to_mermaid

        return to_mermaid(drawing)
    if format_ == "dot":
        from .dot import to_dot

        return to_dot(drawing)
    if format_ == "svg":
        from .svg import to_svg

        return to_svg(drawing)
    if format_ == "png":
        from .png import to_png

        return to_png(drawing)
    from .text import to_text

    return to_text(drawing)


def graph_svg(graph: Graph) -> str:
    """A graph as SVG. Raises DrawingError where no Graphviz is there."""
    from .svg import to_svg

    return to_svg(drawing_of(graph))


def run_svg(run: Run) -> str:
    """A run as SVG: its graph, coloured by what became of each task."""
    from ..engine.record import read_graph
    from .svg import to_svg

    return to_svg(drawing_of(read_graph(run), run))


def graph_html(graph: Graph) -> str:
    """A graph for a notebook: SVG, or the text tree where no Graphviz is there."""
    return _html(drawing_of(graph))


def run_html(run: Run) -> str:
    """A run for a notebook."""
    from ..engine.record import read_graph

    return _html(drawing_of(read_graph(run), run))


def _html(drawing: Drawing) -> str:
    from html import escape

    from .layout import DrawingError
    from .svg import to_svg
    from .text import to_text

    try:
        return f'<div style="overflow-x:auto">{to_svg(drawing)}</div>'
    except DrawingError as error:
        text = escape(to_text(drawing))
        return f'<pre style="line-height:1.25">{text}</pre><small>{escape(str(error))}</small>'


def register_formatters(shell: Any) -> None:
    """Makes `display(graph)` and `display(run)` draw in an IPython shell; nothing is imported until then."""
    formatter = shell.display_formatter.formatters["text/html"]
    formatter.for_type_by_name("grandpa_kfp_compiler.graph", "Graph", graph_html)
    formatter.for_type_by_name("grandpa_kfp.engine.run", "Run", run_html)
