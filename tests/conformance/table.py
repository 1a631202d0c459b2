"""All rows of the table of conformance, in the order in which they are printed."""

from __future__ import annotations

from . import conditions, ends, foreign, fused, local_constructs, loops
from .rows import Row

ROWS: list[Row] = [*conditions.ROWS, *loops.ROWS, *ends.ROWS, *local_constructs.ROWS, *foreign.ROWS, *fused.ROWS]
