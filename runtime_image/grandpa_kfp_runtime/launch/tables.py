"""The first rows of a frame or of a confusion matrix, as Markdown and as HTML; used by previews alone."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

from ..logged.kinds import ClassificationMetrics

_ROWS = 20
_COLUMNS = 20
_CELL_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class Table:
    """Cells as short texts. all_columns: every column's name, those not shown included; more: rows not shown."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    all_columns: tuple[str, ...]
    more: int

    def markdown(self) -> str:
        """
        >>> print(Table(("", "a|b"), (("0", "x"),), ("a|b",), 0).markdown())
        |   | a\\|b |
        | --- | --- |
        | 0 | x |
        """
        lines = [self.columns, ("---",) * len(self.columns), *self.rows]
        text = "\n".join("| " + " | ".join(map(_markdown_cell, cells)) + " |" for cells in lines)
        return f"{text}\n\n{self._rest()}" if self._rest() else text

    def html(self) -> str:
        head = "".join(f"<th>{html.escape(name)}</th>" for name in self.columns)
        rows = "\n".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in self.rows
        )
        rest = f"\n<p>{html.escape(self._rest())}</p>" if self._rest() else ""
        return f"<table>\n<tr>{head}</tr>\n{rows}\n</table>{rest}"

    def _rest(self) -> str:
        hidden = len(self.all_columns) - _COLUMNS
        parts = (f"{self.more:,} more rows" if self.more else "", f"{hidden} more columns" if hidden > 0 else "")
        return ", ".join(filter(None, parts))


def table_of(value: Any) -> Table | None:
    """The table of a DataFrame, a Series or a confusion matrix; None for any other value."""
    kind = type(value)
    if kind is ClassificationMetrics:
        return _matrix(value) if value.matrix else None
    home = kind.__module__.partition(".")[0]
    if home == "pandas" and kind.__name__ in ("DataFrame", "Series"):
        return _pandas(value.to_frame() if kind.__name__ == "Series" else value)
    if home == "polars" and kind.__name__ in ("DataFrame", "Series"):
        return _polars(value.to_frame() if kind.__name__ == "Series" else value)
    return None


def _pandas(frame: Any) -> Table:
    shown = frame.iloc[:_ROWS, :_COLUMNS]
    names = tuple(str(name) for name in frame.columns)
    rows = tuple(tuple(map(_cell, row)) for row in shown.itertuples(index=True, name=None))
    return Table((" ", *map(_cell, names[:_COLUMNS])), rows, names, len(frame) - len(shown))


def _polars(frame: Any) -> Table:
    names = tuple(frame.columns)
    shown = frame.head(_ROWS).select(names[:_COLUMNS])
    rows = tuple(tuple(map(_cell, row)) for row in shown.rows())
    return Table(tuple(map(_cell, names[:_COLUMNS])), rows, names, len(frame) - len(shown))


def _matrix(value: ClassificationMetrics) -> Table:
    """Rows are true classes, columns predicted ones."""
    rows = tuple(
        (_cell(label), *map(_cell, row[:_COLUMNS])) for label, row in zip(value.labels, value.matrix, strict=True)
    )
    heads = tuple(map(_cell, value.labels[:_COLUMNS]))
    return Table((" ", *heads), rows[:_ROWS], value.labels, max(0, len(rows) - _ROWS))


def _cell(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _CELL_CHARACTERS else text[: _CELL_CHARACTERS - 1] + "…"


def _markdown_cell(text: str) -> str:
    text = text.replace("\\", "\\\\").replace("|", "\\|").replace("&", "&amp;").replace("<", "&lt;")
    return " ".join(text.split()) or " "
