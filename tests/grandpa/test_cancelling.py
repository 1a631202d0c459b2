"""Runs that are stopped: by a token, by a time limit, by Ctrl-C once and twice; on threads and worker processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from grandpa_kfp import CancelToken, Node, RunCancelled, Static, TaskError, Workflow, run
from grandpa_kfp.engine.record import read_run

LONG_S = 120.0


@Node
def touch(path: str) -> str:
    Path(path).touch()
    return path


@Node
def spin(path: str, cleaned: str) -> None:
    """Pure Python without end."""
    try:
        Path(path).touch()
        while True:
            sum(range(100))
    finally:
        Path(cleaned).touch()


@Node
def doze(path: str) -> None:
    Path(path).touch()
    time.sleep(LONG_S)


@Workflow
def dozing(folder: Static[str]):
    first = doze(f"{folder}/begun")
    return touch.options(after=[first])(f"{folder}/after")


@Workflow
def spinning(folder: Static[str]):
    return spin(f"{folder}/begun", f"{folder}/cleaned")


def wait_for(path: Path) -> None:
    until = time.monotonic() + LONG_S
    while not path.exists():
        assert time.monotonic() < until, f"{path} never came"
        time.sleep(0.01)


def cancel_when(path: Path, token: CancelToken, reason: str = "") -> threading.Thread:
    def act() -> None:
        wait_for(path)
        token.cancel(reason)

    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("processes", [0, 1])
def test_a_token_stops_a_run_from_another_thread(processes: int, tmp_path: Path) -> None:
    """What waits does not start, what runs is ended, the record says so, and the error has the reason."""
    token = CancelToken()
    canceller = cancel_when(tmp_path / "begun", token, "the user went home")
    begun = time.monotonic()
    with pytest.raises(RunCancelled, match=r"^dozing was cancelled: the user went home$") as caught:
        run(dozing, {"folder": str(tmp_path)}, processes=processes, cancel=token, root=tmp_path)
    canceller.join()
    assert time.monotonic() - begun < LONG_S / 2
    assert {task.state for task in caught.value.run.tasks.values()} == {"stopped"}
    assert caught.value.run.state == "stopped"
    recorded = read_run(tmp_path)
    assert recorded.state == "stopped"
    assert {task.state for task in recorded.tasks.values()} == {"stopped"}
    assert not (tmp_path / "after").exists()


@pytest.mark.parametrize("processes", [0, 1])
def test_a_cancelled_token_keeps_a_run_from_beginning(processes: int, tmp_path: Path) -> None:
    """No task starts."""
    token = CancelToken()
    token.cancel()
    with pytest.raises(RunCancelled, match=r"^touch was cancelled$"):
        run(touch, {"path": str(tmp_path / "never")}, processes=processes, cancel=token, record=False)
    assert not (tmp_path / "never").exists()


@pytest.mark.parametrize("processes", [0, 1])
def test_a_callback_may_cancel(processes: int) -> None:
    """A listener that has seen enough stops a long row of tasks."""
    token = CancelToken()

    def enough(event: Any) -> None:
        if type(event).__name__ == "TaskFinished" and event.task.endswith("link-20"):
            token.cancel("enough")

    with pytest.raises(RunCancelled, match="enough") as caught:
        run(chain, processes=processes, threads=1, cancel=token, listeners=[enough], record=False)
    states = [task.state for task in caught.value.run.tasks.values()]
    assert states[:20] == ["succeeded"] * 20
    assert states[-1] == "stopped"


@Node
def link(x: int) -> int:
    time.sleep(0.002)
    return x + 1


@Workflow
def chain():
    value = 0
    for _ in range(2000):
        value = link(value)
    return value


def test_a_token_that_comes_too_late_changes_nothing() -> None:
    """Every task had ended."""
    token = CancelToken()

    def late(event: Any) -> None:
        if type(event).__name__ == "RunFinished":
            token.cancel()

    assert run(link, {"x": 1}, cancel=token, listeners=[late], record=False).value == 2
    assert token.cancelled


def test_the_first_failure_counts_more_than_a_token() -> None:
    """A callback that cancels because of a failure does not hide it."""
    token = CancelToken()

    def on_failure(event: Any) -> None:
        if type(event).__name__ == "TaskFailed":
            token.cancel()

    @Node
    def fails() -> None:
        raise ValueError("the reason")

    with pytest.raises(TaskError, match="the reason") as caught:
        run(fails, cancel=token, listeners=[on_failure], record=False)
    assert not isinstance(caught.value, RunCancelled)


def test_python_code_on_a_thread_is_interrupted_when_its_run_is_cancelled(tmp_path: Path) -> None:
    """It does not go on behind the scenes, and its `finally` has run when `run` returns."""
    token = CancelToken()
    canceller = cancel_when(tmp_path / "begun", token)
    with pytest.raises(RunCancelled):
        run(spinning, {"folder": str(tmp_path)}, cancel=token, record=False)
    canceller.join()
    wait_for(tmp_path / "cleaned")


def test_timeout_s_interrupts_python_code_on_a_thread(tmp_path: Path) -> None:
    """The report says where it was; the thread does not spin on."""

    @Workflow
    def limited(folder: Static[str]):
        return spin.options(timeout_s=1.0)(f"{folder}/begun", f"{folder}/cleaned")

    with pytest.raises(TaskError, match=r"timeout_s of 1 s(?s:.*)sum\(range\(100\)\)"):
        run(limited, {"folder": str(tmp_path)}, record=False)
    wait_for(tmp_path / "cleaned")


def test_an_interrupted_attempt_is_followed_by_the_next(tmp_path: Path) -> None:
    """The lane of the first is not needed for the second, and no interrupt strays into it."""
    attempts = []

    @Node(retries=1, timeout_s=1.5, backoff_s=0.01)
    def slow_once() -> str:
        attempts.append(1)
        while len(attempts) == 1:
            sum(range(100))
        return "done"

    @Node
    def after(text: str) -> int:
        return sum(1 for _ in range(200_000)) and len(text)

    @Workflow
    def flow():
        return after(slow_once())

    ended = run(flow, threads=1, record=False)
    assert ended.value == 4
    assert ended.tasks["slow_once"].attempts == 2


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_interrupts_do_not_stray() -> None:
    """Timeouts that fall upon the end of a body, again and again: each task succeeds or times out, and none else.

    One may come up in a weak reference's callback, where Python can only report it.
    """

    @Node(timeout_s=0.01)
    def close_call(n: int) -> int:
        until = time.perf_counter() + 0.0098
        while time.perf_counter() < until:
            pass
        return n

    @Workflow
    def calls():
        return [close_call(n) for n in range(60)]

    try:
        ended = run(calls, threads=2, keep_going=True, record=False)
    except TaskError as error:
        ended = error.run
    reports = {task.state: task.error for task in ended.tasks.values()}
    assert set(reports) <= {"succeeded", "failed"}
    assert "timeout_s" in reports.get("failed", "timeout_s")


SCRIPT = """
import signal, sys, time
from pathlib import Path
from grandpa_kfp import Node, Workflow, run

@Node
def stubborn(folder: str):
    def say(number, frame):
        Path(folder, "asked").touch()
    signal.signal(signal.SIGTERM, say)
    Path(folder, "begun").touch()
    while True:
        time.sleep(0.05)

@Node
def polite(folder: str):
    import subprocess
    program = "import signal, sys, time, pathlib\\ndef end(*_):\\n" \\
        "    pathlib.Path(sys.argv[1], 'asked').touch()\\n    sys.exit()\\n" \\
        "signal.signal(signal.SIGTERM, end)\\npathlib.Path(sys.argv[1], 'begun').touch()\\ntime.sleep(60)"
    subprocess.run([sys.executable, "-c", program, folder])

@Workflow
def flow(folder: str, name: str):
    return {"stubborn": stubborn, "polite": polite}[NAME](folder)

if __name__ == "__main__":
    run(flow, {"folder": sys.argv[1], "name": ""}, processes=1, root=sys.argv[1])
"""


def start(node: str, folder: Path) -> subprocess.Popen[str]:
    (folder / "flow.py").write_text(SCRIPT.replace("NAME", repr(node)))
    (folder / "pyproject.toml").touch()
    process = subprocess.Popen(
        [sys.executable, "flow.py", str(folder)], cwd=folder, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    wait_for(folder / "begun")
    return process


def test_ctrl_c_once_asks_worker_processes_and_what_they_started_to_end(tmp_path: Path) -> None:
    """SIGTERM first: a child has time for its last words. A line says what goes on."""
    process = start("polite", tmp_path)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=LONG_S)
    assert (tmp_path / "asked").exists()
    assert "flow: stopping; what runs is asked to end, Ctrl-C again ends it at once" in errors
    assert "KeyboardInterrupt" in errors
    assert read_run(tmp_path).state == "stopped"


@pytest.mark.parametrize("times", [1, 2])
def test_a_task_that_does_not_hear_sigterm_is_killed(times: int, tmp_path: Path) -> None:
    """After a while, or at once when Ctrl-C comes again; the record is written either way."""
    process = start("stubborn", tmp_path)
    process.send_signal(signal.SIGINT)
    wait_for(tmp_path / "asked")
    if times == 2:
        process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=LONG_S)
    assert "KeyboardInterrupt" in errors
    assert read_run(tmp_path).state == "stopped"
