"""Images for the tests in containers, built once a session; without Docker everything here is skipped, and told."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import docker_machine as machine
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
RUNTIME = f"grandpa-test-runtime:{machine.MINOR}"
DIGITS = f"grandpa-test-digits:{machine.MINOR}"
_skipped: list[str] = []


@pytest.fixture(scope="session")
def base_image() -> str:
    """A plain Python image of this minor version."""
    reason = "" if machine.answers() else "no Docker answers; `make test-docker` starts one where it can"
    if not reason:
        try:
            return machine.base_image()
        except machine.NoDocker as error:
            reason = str(error)
    _skipped.append(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def tidied(base_image: str) -> Iterator[None]:
    """What tests have built is gone at the end, but for the images that the next session starts from."""
    yield
    kept = {machine.BASE, machine.PLAIN_BASE, RUNTIME, DIGITS}
    made = machine.docker("images", "--format", "{{.Repository}}:{{.Tag}}", "grandpa-test-*").split()
    for name in sorted(set(made) - kept):
        machine.docker("rmi", "--force", name)


@pytest.fixture(scope="session")
def runtime_image(base_image: str, tidied: None) -> str:
    """What `make image` builds, on the test's base."""
    done = subprocess.run(
        ["make", "image", f"IMAGE={RUNTIME}", f"BASE_IMAGE={base_image}", "BUILD_OPTIONS=--network host --quiet"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return RUNTIME


@pytest.fixture(scope="session")
def digits_image(runtime_image: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The runtime with what the digits sample imports, in the versions that are here, by `grandpa image build`."""
    folder = tmp_path_factory.mktemp("digits-image")
    names = ("numpy", "scikit-learn", "matplotlib")
    (folder / "requirements.txt").write_text("".join(f"{name}=={metadata.version(name)}\n" for name in names))
    done = subprocess.run(
        [
            *(sys.executable, "-c", "from grandpa_kfp.cli import main; main()", "image", "build", "--tag", DIGITS),
            *("--requirements", "requirements.txt", "--base", runtime_image, "--network", "host", "--no-save"),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == f"{DIGITS}\n"
    return DIGITS


@pytest.fixture(autouse=True)
def nothing_left_behind(base_image: str) -> Iterator[None]:
    """No container of ours outlives its test."""
    yield
    assert containers() == []


def containers(*conditions: str) -> list[str]:
    """Names of containers that runs have made."""
    filters = [part for condition in ("label=grandpa-kfp.owner", *conditions) for part in ("--filter", condition)]
    return machine.docker("ps", "--all", *filters, "--format", "{{.Names}}").split()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for reason in dict.fromkeys(_skipped):
        terminalreporter.write_line(f"NOT TESTED in containers: {reason}", yellow=True, bold=True)
