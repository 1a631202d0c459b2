"""`packages=` in real containers: read-only, any user, no pip beside the runtime, the archive in a real MinIO."""

from __future__ import annotations

import functools
import http.server
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker_machine as machine
import pytest
from command_line import Ended, Project, says
from servers import S3Endpoint
from wheels import write_wheel

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.server]

FLOW = """
import os, subprocess

@Node(packages=["tinypkg==1.0"])
def shouted(text: str) -> list:
    import tinypkg
    script = subprocess.run(["tiny-shout"], capture_output=True, text=True, check=True).stdout.strip()
    return [tinypkg.shout(text), script, tinypkg.__file__.startswith(os.environ["TMPDIR"] + "/"), os.getuid() != 0]

@Workflow(env={"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "ADDRESS"})
def flow(text: str = "hello"):
    return shouted(text)
"""
NO_PIP = f"grandpa-test-no-pip:{machine.MINOR}"


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        """Nothing: the test's output is its own."""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Path]:
    """A folder with a wheel, and beside it a file with the address under which it is served."""
    folder = tmp_path / "wheels"
    write_wheel(folder)
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        (tmp_path / "address").write_text(f"http://127.0.0.1:{server.server_address[1]}/")
        yield folder
        server.shutdown()
        thread.join()


@pytest.fixture
def project(tmp_path: Path, served: Path, minio_server: S3Endpoint, monkeypatch: pytest.MonkeyPatch) -> Project:
    for name, value in minio_server.env.items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / "project"
    folder.mkdir()
    project = Project(folder)
    project.flow(FLOW.replace("ADDRESS", (tmp_path / "address").read_text()))
    return project


def ran(project: Project, image: str, store: str, *options: str) -> Ended:
    compiled = project.grandpa("compile", "flow.py", "-o", "flow.yaml", "--image", image, *options)
    assert compiled.code == 0, compiled.err
    return project.process("run", "flow.yaml", "--engine", "docker", "--store", store)


def test_a_container_installs_once_and_the_next_takes_it_out_of_the_bucket(
    project: Project, runtime_image: str, served: Path, minio_server: S3Endpoint
) -> None:
    """The runtime's own environment has no pip; the one it was made from has."""
    store = minio_server.uri(minio_server.new_bucket())
    first = ran(project, runtime_image, store)
    assert first.code == 0, first.err
    assert first.value == ["HELLO!", "TINY!", True, True]
    assert "installing tinypkg==1.0" in first.err
    next(served.iterdir()).unlink()
    second = ran(project, runtime_image, store)
    assert second.code == 0, second.err
    assert second.value == ["HELLO!", "TINY!", True, True]
    assert "out of the store" in second.err


def test_bootstrap_uses_the_same_way(project: Project, base_image: str, served: Path, minio_server: S3Endpoint) -> None:
    """The runtime first, then the packages by the runtime, which keeps them for the next task."""
    from grandpa_kfp.images.wheel import write_wheel as write_own_wheel

    write_own_wheel(served)
    source = (project.folder / "flow.py").read_text()
    (project.folder / "flow.py").write_text(source.replace('"PIP_NO_INDEX": "1", ', ""))
    store = minio_server.uri(minio_server.new_bucket())
    first = ran(project, base_image, store, "--bootstrap")
    assert first.code == 0, first.err
    assert first.value == ["HELLO!", "TINY!", True, True]
    (served / "tinypkg-1.0-py3-none-any.whl").unlink()
    second = ran(project, base_image, store, "--bootstrap")
    assert second.code == 0, second.err
    assert second.value == ["HELLO!", "TINY!", True, True]
    assert "out of the store" in second.err


def test_what_pip_says_reaches_the_report(
    project: Project, runtime_image: str, served: Path, minio_server: S3Endpoint
) -> None:
    next(served.iterdir()).unlink()
    ended = ran(project, runtime_image, minio_server.uri(minio_server.new_bucket()))
    says(ended, 3, "tinypkg==1.0 cannot be installed: pip ended with exit code 1", "No matching distribution found")


def test_an_image_without_pip_is_told(
    project: Project, runtime_image: str, minio_server: S3Endpoint, tmp_path: Path
) -> None:
    context = tmp_path / "no-pip"
    context.mkdir()
    (context / "Dockerfile").write_text(
        f"FROM {runtime_image}\nUSER 0\n"
        "RUN rm -rf /usr/lib/python3/dist-packages/pip /usr/local/lib/python3*/site-packages/pip\nUSER 1000\n"
    )
    built = subprocess.run(
        ["docker", "build", "--quiet", "--tag", NO_PIP, str(context)], capture_output=True, text=True, timeout=120
    )
    assert built.returncode == 0, built.stderr
    ended = ran(project, NO_PIP, minio_server.uri(minio_server.new_bucket()))
    says(ended, 3, "has no pip to install them with", "grandpa image build --requirements")
