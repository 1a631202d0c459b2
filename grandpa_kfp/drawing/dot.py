"""A drawing as DOT, the language of Graphviz, for `dot` and the many tools that read it."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from .model import Arrow, Box, Drawing, Inside, Item, Oval, Task
from .palette import BOXES, DOT_FONT, FAINT, INSIDE, LINE, PAPER, PARAMETER, RESULT, Colours, colours_of

_SMALL = "9.5"


def to_dot(drawing: Drawing) -> str:
    """The text of a DOT file."""
    return "\n".join(_Writer(drawing).lines()) + "\n"


class _Writer:
    """Writes one drawing; gives every shape a short id."""

    def __init__(self, drawing: Drawing) -> None:
        self._drawing = drawing
        self._ids: dict[str, str] = {}

    def lines(self) -> Iterator[str]:
        drawing = self._drawing
        yield f"digraph {_quoted(drawing.name)} {{"
        yield f'  graph [rankdir=TB, bgcolor="{PAPER}", pad=0.3, nodesep=0.3, ranksep=0.45, fontname="{DOT_FONT}",'
        yield f"         fontsize=15, labelloc=t, labeljust=l, newrank=true, tooltip={_quoted(drawing.name)},"
        yield f"         label=<{_title(drawing)}>]"
        yield f'  node [shape=box, style="rounded,filled", fontname="{DOT_FONT}", fontsize=11.5, penwidth=1.1,'
        yield '        margin="0.13,0.07", height=0.36, width=0.6]'
        yield f'  edge [color="{LINE}", fontname="{DOT_FONT}", fontsize={_SMALL}, fontcolor="{FAINT}",'
        yield "        arrowsize=0.65, penwidth=1.1]"
        for oval in drawing.parameters:
            yield f"  {self._oval(oval, PARAMETER)}"
        for item in drawing.items:
            yield from self._item(item, "  ", 0)
        for oval in drawing.results:
            yield f"  {self._oval(oval, RESULT)}"
        for arrow in drawing.arrows:
            yield f"  {self._arrow(arrow)}"
        yield "}"

    def _id(self, of: str) -> str:
        return self._ids.setdefault(of, f"n{len(self._ids)}")

    def _item(self, item: Item, indent: str, depth: int) -> Iterator[str]:
        if isinstance(item, Box):
            yield from self._box(item, indent, depth)
        else:
            yield f"{indent}{self._task(item)}"

    def _box(self, box: Box, indent: str, depth: int) -> Iterator[str]:
        colours = BOXES[depth % len(BOXES)]
        yield f"{indent}subgraph cluster_{self._id(box.id)} {{"
        yield (
            f'{indent}  graph [style="rounded,filled", fillcolor="{colours.fill}", color="{colours.border}",'
            f" penwidth=1, margin=14, fontsize=11, labeljust=l, tooltip={_quoted(box.id.strip())},"
            f' label=<<font color="{colours.ink}"><b>{_html(box.name)}</b></font>>]'
        )
        for item in box.items:
            yield from self._item(item, indent + "  ", depth + 1)
        yield f"{indent}}}"

    def _task(self, task: Task) -> str:
        colours = colours_of(task.state)
        rows = [f'<b><font color="{colours.ink}">{_html(task.name)}</font></b>']
        if task.call:
            rows.append(f'<font point-size="10" color="{colours.ink}">{_html(task.call)}</font>')
        if task.state is not None:
            rows.append(f'<font point-size="{_SMALL}" color="{colours.accent}">{_html(task.state.text)}</font>')
        rows += [f'<font point-size="{_SMALL}" color="{FAINT}">{_html(line)}</font>' for line in task.lines]
        label = "<br/>".join(rows)
        if task.inside:
            label = _table([label], task.inside)
        tooltip = "\n".join(filter(None, (task.id, task.where, task.description.partition("\n")[0])))
        return f"{self._id(task.id)} [{_filled(colours)}, tooltip={_quoted(tooltip)}, label=<{label}>]"

    def _oval(self, oval: Oval, colours: Colours) -> str:
        label = f'<b><font point-size="10.5" color="{colours.ink}">{_html(oval.name)}</font></b>'
        if oval.detail:
            label += f'<br/><font point-size="{_SMALL}" color="{FAINT}">{_html(oval.detail)}</font>'
        shape = 'shape=ellipse, style=filled, margin="0.02,0.0", height=0.3'
        return f"{self._id(oval.id)} [{shape}, {_filled(colours)}, tooltip={_quoted(oval.id)}, label=<{label}>]"

    def _arrow(self, arrow: Arrow) -> str:
        settings = []
        if arrow.label:
            settings.append(f"label={_quoted(f' {arrow.label} ')}")
        if arrow.ordered:
            settings.append("style=dashed, arrowhead=vee")
        source, target = self._id(arrow.source), self._id(arrow.target)
        tooltip = f"{arrow.source} → {arrow.target}" + (f": {arrow.label}" if arrow.label else "")
        settings.append(f"tooltip={_quoted(tooltip)}, labeltooltip={_quoted(tooltip)}")
        return f"{source} -> {target} [{', '.join(settings)}]"


def _title(drawing: Drawing) -> str:
    title = f'<b><font color="{BOXES[0].ink}">{_html(drawing.name)}</font></b>'
    first = drawing.description.partition("\n")[0]
    if first:
        title += f'<br align="left"/><font point-size="10.5" color="{FAINT}">{_html(first)}</font>'
    return f'{title}<br align="left"/> <br align="left"/>'


def _table(rows: list[str], inside: tuple[Inside, ...]) -> str:
    """The rows, and below them a dashed frame for each node inside, frames inside frames."""
    cells = "".join(f"<td>{_frame(item)}</td>" for item in inside)
    head = "".join(f"<tr><td>{row}</td></tr>" for row in rows)
    nested = f'<table border="0" cellborder="0" cellspacing="2" cellpadding="0"><tr>{cells}</tr></table>'
    return f'<table border="0" cellborder="0" cellspacing="0" cellpadding="2">{head}<tr><td>{nested}</td></tr></table>'


def _frame(item: Inside) -> str:
    name = f"{item.name} (again)" if item.repeats else item.name
    text = f'<font point-size="10" color="{INSIDE.ink}">{_html(name)}</font>'
    body = _table([text], item.inside) if item.inside else text
    return (
        f'<table border="1" style="rounded,dashed" color="{INSIDE.border}" bgcolor="{INSIDE.fill}" cellborder="0" '
        f'cellspacing="0" cellpadding="4"><tr><td>{body}</td></tr></table>'
    )


def _filled(colours: Colours) -> str:
    return f'fillcolor="{colours.fill}", color="{colours.border}"'


def _html(text: str) -> str:
    """Text in an HTML label, where Graphviz reads a backslash too (`\\N` is the node's name)."""
    return escape(text).replace("\\", "&#92;&#92;")


def _quoted(text: str) -> str:
    """A DOT string. Graphviz replaces no `\\N` and the like in it, and reads HTML entities in it: both are escaped."""
    return '"' + escape(text, quote=False).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
