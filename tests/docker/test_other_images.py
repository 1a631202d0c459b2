"""Containers of other images in a compiled YAML: `grandpa run --engine docker` runs them between nodes of ours."""

from __future__ import annotations

from pathlib import Path

import docker_machine as machine
import pytest
from command_line import Project, says

pytestmark = [pytest.mark.docker, pytest.mark.server]

FLOW = f"""
import tempfile
from pathlib import Path
from typing import Annotated
from grandpa_kfp import ContainerNode

SHELL = ["sh", "-ec"]

@ContainerNode(image="{machine.BASE}", outputs=("copies", "about"),
    args=["{{text}}", "{{times}}", "{{copies}}", "{{about}}"],
    command=[*SHELL, '''for i in $(seq "$1"); do cat "$0" >> "$2"; done; touch /written
        printf '["%s", "%s"]' "$(id -u)" "$(env | grep -c -e GRANDPA_STORE -e SECRET || true)" > "$3"
        (echo x >> "$0") 2>/dev/null && exit 9; echo "copied $1 times"'''])
def copies(text: Annotated[Path, "Dataset"], times: int) -> tuple[Annotated[Path, "Dataset"], list[str]]: ...

@ContainerNode(image="{machine.BASE}", command=[*SHELL, "echo in vain; exit $0"], args=["{{code}}"])
def fail(code: int) -> None: ...

@Node
def write(n: int) -> Path:
    place = Path(tempfile.mkdtemp()) / "text.txt"
    place.write_text("ja" * n)
    return place

@Node
def read(text: Path, about: list[str]) -> list:
    return [text.read_text(), *about]

@Workflow
def flow(n: int = 2):
    made = copies(write(n), n)
    return read(made.copies, made.about)

@Workflow
def failing(code: int = 7):
    fail(code)
"""


@pytest.fixture
def project(tmp_path: Path, runtime_image: str) -> Project:
    project = Project(tmp_path)
    project.flow(FLOW)
    for name in ("flow", "failing"):
        ended = project.grandpa("compile", f"flow.py:{name}", "-o", f"{name}.yaml", "--image", runtime_image)
        assert ended.code == 0, ended.err
    return project


def test_files_and_values_cross_between_images(project: Project) -> None:
    """The other image runs as it says, writes where it likes but into its inputs, and is told nothing of the store."""
    ended = project.grandpa("run", "flow.yaml", "--engine", "docker")
    assert ended.code == 0, ended.err
    assert ended.value == ["jajajaja", "0", "0"]
    assert "copies | copied 2 times" in ended.err


def test_a_container_that_fails_is_told_with_what_it_printed(project: Project) -> None:
    ended = project.grandpa("run", "failing.yaml", "--engine", "docker")
    assert ended.code == 3
    assert "fail failed: its process ended with exit code 7; it printed last:\n  in vain" in ended.errors[0]


def test_as_processes_they_are_refused_before_anything_runs(project: Project) -> None:
    says(project.grandpa("run", "flow.yaml"), 1, "flow.yaml", "exec-copies runs `sh -ec", "use --engine docker")
    assert not (project.folder / ".grandpa" / "runs").exists()
