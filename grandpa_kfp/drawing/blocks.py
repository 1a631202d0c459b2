"""How large the text of a shape is: blocks of lines, with framed blocks inside blocks.

layout.py gives the sizes to Graphviz, svg.py paints the blocks; both ask here.
"""

from __future__ import annotations

from dataclasses import dataclass
from unicodedata import east_asian_width

from .model import Inside, Oval, Task
from .palette import FAINT, INSIDE, PARAMETER, RESULT, colours_of

# widths of Helvetica's ASCII characters from space to tilde, in thousandths of the font's size
_WIDTHS = (
    278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278, 556, 556, 556, 556,
    556, 556, 556, 556, 556, 556, 278, 278, 584, 584, 584, 556, 1015, 667, 667, 722, 722, 667, 611, 778,
    722, 278, 500, 667, 556, 833, 722, 778, 667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 278,
    278, 278, 469, 556, 333, 556, 556, 500, 556, 556, 278, 556, 556, 222, 222, 500, 222, 833, 556, 556,
    556, 556, 333, 500, 278, 556, 500, 722, 500, 500, 500, 334, 260, 334, 584,
)  # fmt: skip
_SLACK = 1.03  # the viewer's font is only like Helvetica
_BOLD = 1.07
_LEADING = 1.32
_GAP = 5.0
_PADDING_X, _PADDING_Y = 11.0, 7.0
_FRAMES_A_ROW = 3


@dataclass(frozen=True, slots=True)
class Line:
    """One line of text; size in points."""

    text: str
    size: float
    ink: str
    bold: bool = False

    @property
    def width(self) -> float:
        return text_width(self.text, self.size) * (_BOLD if self.bold else 1)

    @property
    def height(self) -> float:
        return self.size * _LEADING


@dataclass(frozen=True, slots=True)
class Block:
    """Lines below each other, and under them rows of framed blocks; width and height hold the padding."""

    lines: tuple[Line, ...]
    rows: tuple[tuple[Block, ...], ...] = ()
    padding_x: float = _PADDING_X
    padding_y: float = _PADDING_Y

    @property
    def width(self) -> float:
        widest = max([line.width for line in self.lines] + [_row_width(row) for row in self.rows])
        return widest + 2 * self.padding_x

    @property
    def height(self) -> float:
        rows = sum(max(block.height for block in row) + _GAP for row in self.rows)
        return sum(line.height for line in self.lines) + rows + 2 * self.padding_y

    def placed(self, x: float, y: float) -> tuple[list[tuple[Line, float, float]], list[tuple[Block, float, float]]]:
        """With the block's upper left corner at x, y: (line, its centre, its baseline), (block, its corner)."""
        centre = x + self.width / 2
        y += self.padding_y
        lines = []
        for line in self.lines:
            lines.append((line, centre, y + line.size * 1.02))
            y += line.height
        blocks = []
        for row in self.rows:
            y += _GAP
            left = centre - _row_width(row) / 2
            for block in row:
                blocks.append((block, left, y))
                left += block.width + _GAP
            y += max(block.height for block in row)
        return lines, blocks


def _row_width(row: tuple[Block, ...]) -> float:
    return sum(block.width for block in row) + _GAP * (len(row) - 1)


def text_width(text: str, size: float) -> float:
    """About how wide the text is, in points."""
    return sum(map(_character_width, text)) * size * _SLACK / 1000


def _character_width(character: str) -> int:
    place = ord(character) - 32
    if 0 <= place < len(_WIDTHS):
        return _WIDTHS[place]
    return 1000 if east_asian_width(character) in "WF" else 600


def task_block(task: Task) -> Block:
    """Name, what it calls, what became of it, constants and options; the nodes inside framed below."""
    colours = colours_of(task.state)
    lines = [Line(task.name, 12, colours.ink, bold=True)]
    if task.call:
        lines.append(Line(task.call, 10, colours.ink))
    if task.state is not None:
        lines.append(Line(task.state.text, 9.5, colours.accent, bold=True))
    lines += [Line(text, 9.5, FAINT) for text in task.lines]
    return Block(tuple(lines), _rows(task.inside))


def _rows(inside: tuple[Inside, ...]) -> tuple[tuple[Block, ...], ...]:
    frames = [_frame(item) for item in inside]
    return tuple(tuple(frames[at : at + _FRAMES_A_ROW]) for at in range(0, len(frames), _FRAMES_A_ROW))


def _frame(item: Inside) -> Block:
    name = f"{item.name} (again)" if item.repeats else item.name
    return Block((Line(name, 10, INSIDE.ink),), _rows(item.inside), 7, 4)


def parameter_block(oval: Oval) -> Block:
    """Name and `int = 10`."""
    return _oval_block(oval, PARAMETER.ink)


def result_block(oval: Oval) -> Block:
    """Name and type."""
    return _oval_block(oval, RESULT.ink)


def _oval_block(oval: Oval, ink: str) -> Block:
    detail = (Line(oval.detail, 9, FAINT),) if oval.detail else ()
    return Block((Line(oval.name, 10.5, ink, bold=True), *detail), (), 14, 4)
