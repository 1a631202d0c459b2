"""What all tests share: `--update` for golden files, servers last, a project of the test's own."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import Project

pytest_plugins = ["servers", "conformance.report"]  # tests/ is on pytest's own path


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update", action="store_true", help="write golden files anew instead of comparing")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """First what needs no server, then what does; the slow ones at the end of each."""
    items.sort(
        key=lambda item: (item.get_closest_marker("server") is not None, item.get_closest_marker("slow") is not None)
    )


@pytest.fixture
def project(tmp_path: Path) -> Project:
    folder = tmp_path / "project"
    folder.mkdir()
    return Project(folder)
