"""A drawing as SVG: painted here, placed by layout.py. It stands alone or within a page."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from html import escape as escape_html

from .blocks import Block, Line, text_width
from .layout import BOX_TITLE_SIZE, LABEL_SIZE, Layout, Rectangle, Route, lay_out
from .model import Box, Drawing, Item, Task
from .palette import BOXES, FAINT, FONT, INK, INSIDE, LINE, PAPER, PARAMETER, RESULT, Colours, colours_of

_MARGIN = 20.0
_TITLE_SIZE, _SUBTITLE_SIZE = 16.0, 11.0
_HEAD_LENGTH, _HEAD_WIDTH = 7.0, 5.6
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\ud800-\udfff\ufffe\uffff]")


def to_svg(drawing: Drawing) -> str:
    """The text of an SVG file. Raises DrawingError where no Graphviz is there."""
    return "\n".join(_paint(drawing, lay_out(drawing))) + "\n"


def _paint(drawing: Drawing, layout: Layout) -> Iterator[str]:
    subtitle = drawing.description.partition("\n")[0]
    head = _TITLE_SIZE * 1.5 + (_SUBTITLE_SIZE * 1.5 if subtitle else 0) + 8
    titles = text_width(drawing.name, _TITLE_SIZE) * 1.1, text_width(subtitle, _SUBTITLE_SIZE)
    width = math.ceil(max(layout.width, *titles) + 2 * _MARGIN)
    height = math.ceil(layout.height + head + 2 * _MARGIN)
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img" aria-label="{_escape(drawing.name)}" font-family="{FONT}">'
    )
    yield f'<rect width="{width}" height="{height}" rx="10" fill="{PAPER}"/>'
    yield _text(drawing.name, _MARGIN, _MARGIN + _TITLE_SIZE, _TITLE_SIZE, INK, bold=True, anchor="start")
    if subtitle:
        below = _MARGIN + _TITLE_SIZE * 1.35 + _SUBTITLE_SIZE
        yield _text(subtitle, _MARGIN, below, _SUBTITLE_SIZE, FAINT, anchor="start")
    left = (width - layout.width) / 2
    yield f'<g transform="translate({_number(left)} {_number(_MARGIN + head)})">'
    for item in drawing.items:
        yield from _boxes(item, layout, 0)
    for route in layout.routes:
        yield from _arrow(route)
    for item in drawing.items:
        yield from _box_titles(item, layout, 0)
    for oval in drawing.parameters:
        yield from _shape("parameter", oval.id, layout, PARAMETER, oval.id)
    for task in drawing.tasks():
        yield from _task(task, layout)
    for oval in drawing.results:
        yield from _shape("result", oval.id, layout, RESULT, oval.id)
    yield from (_label(route) for route in layout.routes if route.label_at is not None)
    yield "</g>"
    yield "</svg>"


def _boxes(item: Item, layout: Layout, depth: int) -> Iterator[str]:
    """The components' frames, outer ones first; their tasks are painted later, over the arrows."""
    if not isinstance(item, Box):
        return
    colours, place = BOXES[depth % len(BOXES)], layout.places[item.id]
    yield f'<g class="component"><title>{_escape(item.id.strip())}</title>'
    yield _rectangle(place, 10, colours)
    yield "</g>"
    for inner in item.items:
        yield from _boxes(inner, layout, depth + 1)


def _box_titles(item: Item, layout: Layout, depth: int) -> Iterator[str]:
    """Over the arrows, which pass between a title's letters otherwise."""
    if not isinstance(item, Box):
        return
    colours, place = BOXES[depth % len(BOXES)], layout.places[item.id]
    halo = _halo(colours.fill)
    yield _text(
        item.name, place.x + 12, place.y + 18, BOX_TITLE_SIZE, colours.ink, bold=True, anchor="start", extra=halo
    )
    for inner in item.items:
        yield from _box_titles(inner, layout, depth + 1)


def _task(task: Task, layout: Layout) -> Iterator[str]:
    tip = "\n".join(filter(None, (task.id, task.where, task.description.partition("\n")[0])))
    kind = "task" if task.state is None else f"task {task.state.name}"
    yield from _shape(kind, task.id, layout, colours_of(task.state), tip)


def _shape(kind: str, id_: str, layout: Layout, colours: Colours, tip: str) -> Iterator[str]:
    place, block = layout.places[id_], layout.blocks[id_]
    yield f'<g class="{kind}"><title>{_escape(tip)}</title>'
    yield _rectangle(place, 7 if kind.startswith("task") else place.height / 2, colours)
    yield from _block(block, place.x, place.y)
    yield "</g>"


def _block(block: Block, x: float, y: float) -> Iterator[str]:
    lines, frames = block.placed(x, y)
    for line, centre, baseline in lines:
        yield _line(line, centre, baseline)
    for frame, left, top in frames:
        yield _rectangle(Rectangle(left, top, frame.width, frame.height), 5, INSIDE, dashed=True)
        yield from _block(frame, left, top)


def _arrow(route: Route) -> Iterator[str]:
    points, (tip_x, tip_y) = route.points, route.tip
    last_x, last_y = points[-1]
    dashed = ' stroke-dasharray="4 3"' if route.arrow.ordered else ""
    arrow = route.arrow
    length = math.hypot(tip_x - last_x, tip_y - last_y) or 1.0
    along_x, along_y = (tip_x - last_x) / length, (tip_y - last_y) / length
    back_x, back_y = tip_x - along_x * _HEAD_LENGTH, tip_y - along_y * _HEAD_LENGTH
    way = f"M{_pair(points[0])}C{' '.join(map(_pair, points[1:]))}L{_pair((back_x, back_y))}"
    told = f"{arrow.source} → {arrow.target}" + (f": {arrow.label}" if arrow.label else "")
    yield f'<g class="{"order" if arrow.ordered else "value"}"><title>{_escape(told)}</title>'
    yield f'<path d="{way}" fill="none" stroke="{LINE}" stroke-width="1.2"{dashed}/>'
    side_x, side_y = -along_y * _HEAD_WIDTH / 2, along_x * _HEAD_WIDTH / 2
    corners = ((tip_x, tip_y), (back_x + side_x, back_y + side_y), (back_x - side_x, back_y - side_y))
    yield f'<path d="M{"L".join(map(_pair, corners))}Z" fill="{LINE}"/></g>'


def _label(route: Route) -> str:
    assert route.label_at is not None
    x, y = route.label_at
    return _text(route.arrow.label, x, y + LABEL_SIZE * 0.35, LABEL_SIZE, FAINT, extra=_halo(PAPER))


def _halo(colour: str) -> str:
    """A rim around letters that stand on a line."""
    return f'paint-order="stroke" stroke="{colour}" stroke-width="3" stroke-linejoin="round"'


def _rectangle(place: Rectangle, radius: float, colours: Colours, *, dashed: bool = False) -> str:
    corner = f'x="{_number(place.x)}" y="{_number(place.y)}"'
    size = f'width="{_number(place.width)}" height="{_number(place.height)}" rx="{_number(radius)}"'
    dashes = ' stroke-dasharray="4 3"' if dashed else ""
    return f'<rect {corner} {size} fill="{colours.fill}" stroke="{colours.border}" stroke-width="1.2"{dashes}/>'


def _line(line: Line, x: float, y: float) -> str:
    return _text(line.text, x, y, line.size, line.ink, bold=line.bold)


def _text(
    text: str, x: float, y: float, size: float, ink: str, *, bold: bool = False, anchor: str = "middle", extra: str = ""
) -> str:
    weight = ' font-weight="600"' if bold else ""
    where = f'x="{_number(x)}" y="{_number(y)}" text-anchor="{anchor}" font-size="{_number(size)}"'
    return f'<text {where} fill="{ink}"{weight}{" " if extra else ""}{extra}>{_escape(text)}</text>'


def _escape(text: str) -> str:
    """As text or attribute of XML, which holds no control characters even escaped."""
    return escape_html(_UNPRINTABLE.sub(" ", text))


def _pair(point: tuple[float, float]) -> str:
    return f"{_number(point[0])},{_number(point[1])}"


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
