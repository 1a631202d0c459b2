"""The column `docker` of the table of conformance: a row of each workflow, every task in a container."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import control_flows as flows
import pytest
from conformance.engines import Machine
from conformance.holding import hold
from conformance.rows import Row
from conformance.table import ROWS

from grandpa_kfp.engine.workers import workers

pytestmark = pytest.mark.docker

WITHOUT_NUMPY = [row for row in ROWS if row.workflow is not flows.big]
A_ROW_OF_EACH = list({row.workflow: row for row in reversed(WITHOUT_NUMPY)}.values())[::-1]


@pytest.fixture(scope="module")
def machine(runtime_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    crew = workers(1, 1, None)
    assert crew is not None
    yield Machine(tmp_path_factory.mktemp("conformance"), crew, runtime_image)
    crew.close()


@pytest.mark.parametrize("row", A_ROW_OF_EACH, ids=lambda row: row.name.replace(" ", "-"))
def test_it_means_what_python_means(
    row: Row, machine: Machine, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """The same value, and the same tasks executed and skipped."""
    hold(row, "docker", machine, tmp_path, record_property)
