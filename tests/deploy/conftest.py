"""The KFP server that deployment is tested against."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import Project
from deploy.kfp_server import KfpServer


@pytest.fixture
def kfp(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[KfpServer]:
    """A server of the test's own; every request and answer must fit KFP's published models."""
    for name in (
        "KF_PIPELINES_ENDPOINT",
        "KF_PIPELINES_UI_ENDPOINT",
        "KUBECONFIG",
        "GRANDPA_KFP_TOKEN",
        "GRANDPA_STORE_HERE",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    server = KfpServer()
    yield server
    server.close()
    assert not server.wrong


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project whose tasks share a folder as store, so that no server of objects is needed."""
    made = Project(tmp_path / "project")
    made.write("grandpa.toml", f'store = "{tmp_path / "store"}"\nimage = "python:{_minor()}-slim"\n')
    return made


def _minor() -> str:
    import sys

    return f"{sys.version_info[0]}.{sys.version_info[1]}"
