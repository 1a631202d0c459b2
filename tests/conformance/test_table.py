"""The table of conformance: every construct means the same whichever way it is run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conformance.engines import HERE, Machine
from conformance.holding import hold
from conformance.rows import Row
from conformance.table import ROWS

from grandpa_kfp.engine.workers import workers


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    crew = workers(2, 1, None)
    assert crew is not None
    yield Machine(tmp_path_factory.mktemp("conformance"), crew)
    crew.close()


ONCE = ("fused", "kfp.local")
"""Engines that are asked of one row of a workflow, and of all that fail on purpose."""
FIRST = {row.workflow: row for row in reversed(ROWS)}
CELLS = [
    pytest.param(row, engine, id=f"{row.name}-{engine}".replace(" ", "-"))
    for row in ROWS
    for engine in HERE
    if engine not in ONCE or FIRST[row.workflow] is row or row.fails
]


@pytest.mark.parametrize(("row", "engine"), CELLS)
def test_it_means_what_python_means(
    row: Row, engine: str, machine: Machine, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """The same value, and the same tasks executed and skipped."""
    hold(row, engine, machine, tmp_path, record_property)
