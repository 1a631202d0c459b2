"""All rows of the table of conformance, in the order in which they are printed."""

from __future__ import annotations

from . import conditions, ends, loops
from .rows import Row

ROWS: list[Row] = [*conditions.ROWS, *loops.ROWS, *ends.ROWS]
