"""`grandpa run` of a compiled YAML that is killed, which nothing in it can notice: its tasks end all the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import CONSOLE, Project

_PATIENCE_S = 60.0


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_a_killed_run_leaves_no_process_behind(project: Project) -> None:
    """Neither the task's own, which sleeps in C code, nor one that it started."""
    project.flow("""
        import os, subprocess, sys, time
        from pathlib import Path

        @Node
        def waits(file: str) -> int:
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            Path(file + ".new").write_text(f"{os.getpid()} {child.pid}")
            os.replace(file + ".new", file)
            time.sleep(600)
            return 1

        @Workflow
        def flow(file: str = ""):
            return waits(file)
    """)
    assert project.grandpa("compile", "flow.py").code == 0
    pids = project.folder / "pids"
    run = subprocess.Popen(
        [sys.executable, "-c", CONSOLE, "run", "flow.yaml", "-p", f"file={pids}"],
        cwd=project.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert _comes(pids.exists)
    finally:
        run.kill()
        run.wait()
    processes = [int(pid) for pid in pids.read_text().split()]
    try:
        assert _comes(lambda: not any(map(_lives, processes)))
    finally:
        for pid in filter(_lives, processes):
            os.kill(pid, signal.SIGKILL)


def test_a_failure_is_told_once(project: Project) -> None:
    """The task leaves it to the run, whose last words it is; the task's log has it as well."""
    project.flow("""
        @Node
        def fails(x: int) -> int:
            print("before it fails")
            return 1 // x

        @Workflow
        def flow(x: int = 0):
            return fails(x)
    """)
    assert project.grandpa("compile", "flow.py").code == 0
    done = project.process("run", "flow.yaml")
    assert done.code == 3
    assert done.err.count("Traceback (most recent call last)") == 1
    assert "fails | before it fails" in done.err
    assert "fails failed after" in done.err
    (log,) = project.folder.glob(".grandpa/runs/*/tasks/fails/attempt-1/log.txt")
    assert "ZeroDivisionError" in log.read_text()


def _comes(true: Callable[[], bool]) -> bool:
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until:
        if true():
            return True
        time.sleep(0.05)
    return False


def _lives(pid: int) -> bool:
    """A process that has ended but was not waited for counts as gone."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in ("Z", "X")
