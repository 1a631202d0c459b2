"""No way out hangs: Ctrl-C, a failure beside a sleeper, sys.exit in a node, a defect of the engine."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from engine_graphs import call, graph

from grandpa_kfp.engine import graph_tasks
from grandpa_kfp.engine.execute import execute
from grandpa_kfp.engine.record import read_run

LIMIT_S = 120.0

SCRIPT = """
import asyncio, sys, time
from grandpa_kfp import Node, Workflow, run

@Node
def sleeper(seconds):
    print("started", flush=True)
    time.sleep(seconds)

@Node
async def waiter(seconds):
    print("started", flush=True)
    await asyncio.sleep(seconds)

@Node
def fails(seconds):
    time.sleep(seconds)
    raise ValueError("no")

@Node
def leaves():
    sys.exit(5)

@Node
def spins():
    print("started", flush=True)
    while True:
        pass

@Workflow
def flow():
"""


def start(body: str, folder: Path) -> subprocess.Popen[str]:
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    text = f"{SCRIPT}{lines}\nrun(flow, root={str(folder)!r})\n"
    (folder / "flow.py").write_text(text)
    return subprocess.Popen(
        [sys.executable, "flow.py"], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def interrupt(process: subprocess.Popen[str], started: int) -> str:
    """Ctrl-C once the nodes have started; what the process said until its end."""
    assert process.stdout is not None
    for _ in range(started):
        assert process.stdout.readline().endswith("started\n")
    process.send_signal(signal.SIGINT)
    return process.communicate(timeout=LIMIT_S)[1]


@pytest.mark.parametrize(
    ("body", "started"),
    [("sleeper(600)\nsleeper(600)", 2), ("waiter(600)", 1), ("spins()", 1)],
    ids=["sleeping", "async", "busy"],
)
def test_ctrl_c_ends_a_run(body: str, started: int, tmp_path: Path) -> None:
    """Whatever the nodes do, and for however long; the record says that the run was stopped."""
    errors = interrupt(start(body, tmp_path), started)
    assert "KeyboardInterrupt" in errors
    stopped = read_run(tmp_path)
    assert stopped.state == "stopped"
    assert {task.state for task in stopped.tasks.values()} == {"stopped"}


def test_a_failure_ends_the_process_beside_a_sleeper(tmp_path: Path) -> None:
    """The error comes at once, and the process does not wait for the node that sleeps."""
    process = start("sleeper(600)\nfails(0.1)", tmp_path)
    _, errors = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 1
    assert "fails (flow.py:" in errors
    assert "ValueError: no" in errors


def test_sys_exit_in_a_node_is_a_failed_task_and_not_the_end_of_the_process(tmp_path: Path) -> None:
    """The report tells what to do instead."""
    process = start("leaves()", tmp_path)
    _, errors = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 1
    assert "leaves (flow.py:" in errors
    assert "sys.exit(5)" in errors


def test_a_defect_of_the_engine_is_raised_and_does_not_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception on a lane, outside any task, ends the run as itself."""

    def broken(*args: Any, **options: Any) -> None:
        raise LookupError("a defect")

    monkeypatch.setattr(graph_tasks, "failure", broken)

    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(LookupError, match="a defect"):
        execute(graph(call("fail", fail)), record=False)


def test_idle_threads_end_with_the_run() -> None:
    """A thousand runs in one process leave no thousand threads."""
    barrier = threading.Barrier(4, timeout=LIMIT_S)
    before = threading.active_count()
    made = graph(*(call(f"t{index}", lambda: barrier.wait() >= 0, timeout_s=LIMIT_S) for index in range(4)))
    for _ in range(5):
        execute(made, record=False, threads=4)
    until = time.monotonic() + LIMIT_S
    while threading.active_count() > before and time.monotonic() < until:
        time.sleep(0.01)
    assert threading.active_count() <= before
