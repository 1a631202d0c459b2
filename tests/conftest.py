"""What all tests share: `--update` for golden files, servers last, a project of the test's own, no haste."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from command_line import Project
from hypothesis import HealthCheck, settings

pytest_plugins = ["servers", "conformance.report"]  # tests/ is on pytest's own path

# The same examples every time, and as slowly as it takes: a busy machine is no fault. A soak draws its own.
settings.register_profile(
    "tests",
    deadline=None,
    derandomize="SOAK_EXAMPLES" not in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("tests")

# A shell that puts `make test` into the background has Ctrl-C ignored, by the processes that tests start as well.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


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
