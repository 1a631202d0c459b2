"""Worker processes and their parents killed at any moment: the values are the same, and nothing is left behind.

`SOAK_S=60` makes the random kills last as many seconds.
"""

from __future__ import annotations

import gc
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import process_flows
import pytest
from command_line import Project
from process_counts import comes, lives, open_files, resident_mib, workers_of
from process_flows import inc, mark, ones, total

from grandpa_kfp import TemplateParser, Workflow, run
from grandpa_kfp.engine.processes.crew import Crew
from grandpa_kfp.engine.scratch import Scratch
from grandpa_kfp.engine.workers import workers

AGAIN: dict[str, Any] = {"retries": 1000, "backoff_s": 0.001, "backoff_factor": 1}


NODES: Any = (
    process_flows.inc,
    process_flows.add,
    process_flows.ones,
    process_flows.total,
    process_flows.sleep,
    process_flows.first_and_pid,
)


def new_crew(count: int) -> Crew:
    crew = workers(count, 1, None)
    assert crew is not None
    return crew


# --- workers ---------------------------------------------------------------------------------------------


@Workflow
def of_all_kinds() -> Any:
    """Tiny tasks, big values, tasks that take a while, maps that are walked as they go."""
    inc, add, ones, total, sleep, first_and_pid = (node.options(**AGAIN) for node in NODES)
    xs = [inc(number) for number in range(60)]
    xs = [add(a, b) for a, b in zip(xs, xs[1:] + xs[:1], strict=True)]
    arrays = [ones(500_000) for _ in range(4)]
    sums = [add(a, b) for a, b in zip(arrays, arrays[1:] + arrays[:1], strict=True)]
    return {
        "tiny": xs,
        "big": [first_and_pid(item, 0.01)[0] for item in sums],
        "slow": [sleep(0.02, number) for number in range(4)],
        "map": total(inc.map(inc.map(list(range(200))))),
    }


@contextmanager
def killed_at_random(crew: Crew, every_s: float) -> Iterator[list[int]]:
    """Kills one of the crew's workers again and again, mostly one that works; the list gets their ids.

    every_s: about so often, on a slow machine seldom enough for something to be done in between.
    """
    ended = threading.Event()
    killed: list[int] = []
    dice = random.Random(5)

    def kill() -> None:
        while not ended.wait(2 * dice.random() * every_s):
            mostly = dice.random() < 0.8  # on a slow machine none would get as far as working else
            hands = [hand for hand in list(crew.hands) if hand.ready or not mostly]
            if hands:
                pid = dice.choice(hands).process.pid
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield killed
    finally:
        ended.set()
        thread.join()


def test_workers_killed_at_random_change_no_value() -> None:
    """Where nodes may be run again; and no process, file, memory or segment stays."""
    expected = run(of_all_kinds, record=False).value
    seconds = float(os.environ.get("SOAK_S", "5"))
    files, memory = open_files(), resident_mib()
    crew = new_crew(3)
    begun = time.monotonic()
    run(of_all_kinds, processes=crew, record=False)  # workers are started too
    with killed_at_random(crew, (time.monotonic() - begun) / 3) as killed:
        until = time.monotonic() + seconds
        while time.monotonic() < until or len(killed) < 5:
            assert run(of_all_kinds, processes=crew, record=False).value == expected
    assert not crew.memory._segments
    crew.close()
    gc.collect()
    assert not workers_of(os.getpid())
    assert open_files() <= files + 2
    assert resident_mib() - memory < 150


@pytest.mark.parametrize("moment", [1, 40, 130, 220])
def test_a_map_goes_on_when_its_worker_is_gone(moment: int, tmp_path: Path) -> None:
    """All workers are killed once; no element is left out, and none that had ended runs twice."""
    crew = new_crew(2)
    ended: list[str] = []

    def kill(event: Any) -> None:
        if type(event).__name__ == "TaskFinished" and event.task.startswith("mark.map/"):
            ended.append(event.task)
            if len(ended) == moment:
                for hand in crew.hands:
                    hand.kill()

    @Workflow
    def flow() -> Any:
        names = [str(number) for number in range(300)]
        again = mark.options(**AGAIN)
        return again.map([tmp_path] * 300, names, names, window=20)

    try:
        value = run(flow, processes=crew, record=False, on_event=kill).value
    finally:
        crew.close()
    assert value == [str(number) for number in range(300)]
    assert len(ended) == len(set(ended)) == 300
    counts = [len((tmp_path / str(number)).read_text().splitlines()) for number in range(300)]
    assert sum(counts) <= 300 + 60  # what was under way, or told together with it


# --- crews -----------------------------------------------------------------------------------------------


@Workflow
def short() -> Any:
    return [inc(1), total([ones(400_000)[0], inc(2)])]


def test_short_runs_in_a_row_leave_nothing() -> None:
    """A crew of its own for each."""
    run(short, processes=2, record=False)
    gc.collect()
    files, threads, memory = open_files(), threading.active_count(), resident_mib()
    for _ in range(int(os.environ.get("SOAK_RUNS", "6"))):
        assert run(short, processes=2, record=False).value == [2, 4]
    gc.collect()
    assert not workers_of(os.getpid())
    assert open_files() <= files
    assert threading.active_count() <= threads
    assert resident_mib() - memory < 30


def test_a_worker_that_ended_with_its_run_is_replaced_in_the_next() -> None:
    """The run has read the end of what it printed by then, and not its death."""
    crew = new_crew(1)
    try:
        assert run(process_flows.inner, {"n": 1}, processes=crew, record=False).value == 3
        (hand,) = crew.hands
        hand.kill()
        hand.process.wait()
        hand.prints.read()
        assert not hand.prints.is_open
        assert run(process_flows.inner, {"n": 2}, processes=crew, record=False).value == 4
    finally:
        crew.close()


def test_a_parser_that_is_dropped_ends_its_workers() -> None:
    """Without close."""
    parser = TemplateParser(process_count=2, record=False)
    assert parser(short) == [2, 4]
    assert len(workers_of(os.getpid())) >= 1
    del parser
    gc.collect()
    assert comes(lambda: not workers_of(os.getpid()))


# --- parents ---------------------------------------------------------------------------------------------

WAITS = """
    import os, signal, subprocess, sys, time
    from pathlib import Path
    from grandpa_kfp import run

    @Node
    def waits(folder: str, name: str) -> int:
        from grandpa_kfp import current
        current().scratch_dir()
        child = subprocess.Popen(["sleep", "600"])
        if name == "deaf":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        (Path(folder) / f"{name}.new").write_text(f"{os.getpid()} {child.pid}")
        (Path(folder) / f"{name}.new").rename(Path(folder) / name)
        time.sleep(600)
        return 1

    @Workflow
    def flow(folder: str = "", name: str = "a"):
        return [waits(folder, name), waits(folder, "b")]

    if __name__ == "__main__":
        run(flow, {"folder": sys.argv[1], "name": sys.argv[2]}, processes=2)
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "project").mkdir()
    made = Project(tmp_path / "project")
    made.flow(WAITS)
    return made


def start(project: Project, *command: str, temporary: Path | None = None) -> subprocess.Popen[str]:
    environ = os.environ | ({} if temporary is None else {"TMPDIR": str(temporary)})
    return subprocess.Popen(
        [sys.executable, *command], cwd=project.folder, env=environ, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip


def started(folder: Path, *names: str) -> list[int]:
    """The ids of the workers that run these tasks, and of what they have started."""
    assert comes(lambda: all((folder / name).exists() for name in names))
    return [int(pid) for name in names for pid in (folder / name).read_text().split()]


def test_nothing_outlives_a_killed_parent(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its workers and what they started end; its temporary folder goes when another run makes one."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    shared = set(os.listdir("/dev/shm"))
    parent = start(project, "flow.py", str(tmp_path), "a", temporary=temporary)
    try:
        pids = started(tmp_path, "a", "b")
    finally:
        parent.kill()
        parent.communicate()
    assert comes(lambda: not any(map(lives, pids)))
    assert set(os.listdir("/dev/shm")) <= shared
    assert {re.sub("-[^-]*$", "", path.name) for path in temporary.iterdir()} <= {"grandpa-work"}
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    other, another = Scratch(), Scratch()
    kept = {other.folder("x").parent, another.folder("x").parent}
    assert set(temporary.iterdir()) == kept  # neither removes the other's
    other.close()
    another.close()
    assert not list(temporary.iterdir())


@pytest.mark.parametrize("name", ["working", "deaf"])
@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_ends_everything(project: Project, tmp_path: Path, name: str, times: int) -> None:
    """Once or twice, whatever the workers do: the command ends with 130, and no process is left."""
    from command_line import CONSOLE

    parent = start(
        project, "-c", CONSOLE, "run", "flow.py", "-p", f"folder={tmp_path}", "-p", f"name={name}", "--processes", "2"
    )
    try:
        pids = started(tmp_path, name, "b")
        for _ in range(times):
            os.killpg(parent.pid, signal.SIGINT)
            time.sleep(0.05)
        _, errors = parent.communicate(timeout=120)
    finally:
        parent.kill()
    codes = (130, -signal.SIGINT)  # the second may come when Python has ended already: a shell says 130 then, too
    assert parent.returncode in codes[:times], errors
    assert "Traceback" not in errors
    assert comes(lambda: not any(map(lives, pids)))


def test_ctrl_c_while_workers_start(project: Project, tmp_path: Path) -> None:
    """Whenever it comes, no worker stays."""
    for pause_s in (0.25, 0.4, 0.6):
        parent = start(project, "flow.py", str(tmp_path), "a")
        time.sleep(pause_s)
        below = workers_of(parent.pid)
        os.killpg(parent.pid, signal.SIGINT)
        parent.communicate(timeout=120)
        assert parent.returncode
        assert comes(lambda below=below: not any(map(lives, below)))


def test_two_parents_at_once_do_not_meet(tmp_path: Path) -> None:
    """Each has workers, memory and folders of its own."""
    made = Project(tmp_path)
    made.flow("""
        from grandpa_kfp import run

        @Node
        def size(data: bytes) -> int:
            return len(data)

        @Node
        def data(count: int) -> bytes:
            return bytes(count)

        @Workflow
        def flow():
            big = data(1_000_000)
            return [size(big), size(big)]

        if __name__ == "__main__":
            for _ in range(3):
                print(run(flow, processes=2, record=False).value)
    """)
    parents = [start(made, "flow.py") for _ in range(2)]
    for parent in parents:
        out, errors = parent.communicate(timeout=120)
        assert (out, errors) == ("[1000000, 1000000]\n" * 3, "")
