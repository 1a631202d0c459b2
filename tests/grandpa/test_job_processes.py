"""`Executor(processes=N)`: the interface of concurrent.futures on processes of its own."""

from __future__ import annotations

import concurrent.futures
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from job_functions import boom, double, odd

from grandpa_kfp import Executor, Node, ParameterError, TaskError, Workflow, current, run, sync
from grandpa_kfp.engine import events
from grandpa_kfp.loading import load_file

LONG_S = 60


def test_it_is_one() -> None:
    """As the standard library knows them: wait, as_completed, callbacks, map with chunks."""
    seen: list[Any] = []
    with Executor(processes=2) as pool:
        futures = [pool.submit(pow, 2, exponent) for exponent in range(5)]
        futures[0].add_done_callback(seen.append)
        done, left = concurrent.futures.wait(futures, timeout=LONG_S)
        assert not left
        assert {future.result() for future in concurrent.futures.as_completed(done)} == {1, 2, 4, 8, 16}
        assert list(pool.map(pow, range(10), [2] * 8, chunksize=3)) == [n * n for n in range(8)]
        assert list(pool.map(double, range(4), chunksize=2)) == [0, 2, 4, 6]
        assert list(pool.map(double, range(4))) == [0, 2, 4, 6]
    assert seen == [futures[0]]
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(int)


def test_calls_run_in_other_processes_side_by_side() -> None:
    """Two that wait for each other, by what both can see; processes start at need and are used again."""
    both = sync.Semaphore(0), sync.Semaphore(0)

    def meet(mine: Any, other: Any) -> int:
        other.release()
        assert mine.acquire(timeout=LONG_S)
        return os.getpid()

    with Executor(processes=2) as pool:
        assert len({pool.submit(os.getpid).result(LONG_S) for _ in range(5)}) == 1
        found = [pool.submit(meet, *both), pool.submit(meet, *reversed(both))]
        assert len({os.getpid(), *(future.result(LONG_S) for future in found)}) == 3


def test_what_functions_may_be() -> None:
    """Lambdas and closures by value, nodes as their plain functions, coroutines run to their end; big arrays."""
    base = 10

    async def later(x: int) -> int:
        return x + base

    with Executor(processes=1) as pool:
        assert pool.submit(lambda x: x + base, 1).result(LONG_S) == 11
        assert pool.submit(double, 4).result(LONG_S) == 8
        assert pool.submit(later, 2).result(LONG_S) == 12
        array = np.arange(1 << 20)
        back = pool.submit(lambda a: a + 1, array).result(LONG_S)
        assert np.array_equal(back, array + 1)
        back += 1  # its own


def test_a_closure_goes_as_it_is_at_each_call() -> None:
    box = [1]
    with Executor(processes=1) as pool:
        assert pool.submit(lambda: box[0]).result(LONG_S) == 1
        reader = lambda: box[0]  # noqa: E731
        first = pool.submit(reader).result(LONG_S)
        box[0] = 2
        assert (first, pool.submit(reader).result(LONG_S)) == (1, 2)


def test_errors_are_the_functions_own() -> None:
    """Of their class, with the traceback of the other process as their cause; else a TaskError of the same words."""
    with Executor(processes=1) as pool:
        with pytest.raises(KeyError, match="no") as caught:
            pool.submit(boom, "no").result(LONG_S)
        assert "in boom" in str(caught.value.__cause__)
        with pytest.raises(TaskError, match="Odd: odd 1 2"):
            pool.submit(odd).result(LONG_S)
        with pytest.raises(TaskError, match="its result cannot be pickled"):
            pool.submit(threading.Lock).result(LONG_S)
        with pytest.raises(TypeError, match="pickle"):
            pool.submit(len, threading.Lock()).result(LONG_S)
        with pytest.raises(SystemExit):
            pool.submit(sys.exit, 3).result(LONG_S)
        assert pool.submit(len, "abc").result(LONG_S) == 3


def test_a_process_that_dies_fails_its_call_alone() -> None:
    """With the signal's name; another one takes its place."""
    with Executor(processes=1) as pool:
        dies = pool.submit(lambda: os.kill(os.getpid(), signal.SIGKILL))
        after = pool.submit(len, "abc")
        with pytest.raises(TaskError, match=r"the process that ran .*<lambda> was killed by SIGKILL"):
            dies.result(LONG_S)
        assert after.result(LONG_S) == 3


def test_what_has_not_begun_can_be_cancelled() -> None:
    go = sync.Event()
    pool = Executor(processes=1)
    first = pool.submit(go.wait, LONG_S)
    while not first.running():
        time.sleep(0.001)
    second, third = pool.submit(int), pool.submit(int)
    assert not first.cancel()
    assert second.cancel()
    pool.shutdown(wait=False, cancel_futures=True)
    assert third.cancelled()
    go.set()
    assert first.result(LONG_S) is True


def test_no_process_is_left() -> None:
    """After shutdown, and after the last reference to one that was not shut down."""
    with Executor(processes=1) as pool:
        first = pool.submit(os.getpid).result(LONG_S)
    pool = Executor(processes=1)
    second = pool.submit(os.getpid).result(LONG_S)
    del pool
    for pid in (first, second):
        deadline = time.monotonic() + LONG_S
        while _lives(pid):
            assert time.monotonic() < deadline
            time.sleep(0.01)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_ctrl_c_ends_what_runs() -> None:
    """A `with` block that is left by KeyboardInterrupt does not wait."""
    with pytest.raises(KeyboardInterrupt), Executor(processes=1) as pool:  # noqa: PT012
        future = pool.submit(time.sleep, 600)
        waits = pool.submit(int)
        while not future.running():
            time.sleep(0.001)
        raise KeyboardInterrupt
    with pytest.raises(TaskError, match="SIGKILL"):
        future.result(LONG_S)
    assert waits.cancelled()


def test_initializer() -> None:
    """Called in each process first; its error is the call's."""
    with Executor(processes=1, initializer=sys.setrecursionlimit, initargs=(1234,)) as pool:
        assert pool.submit(sys.getrecursionlimit).result(LONG_S) == 1234
    with Executor(processes=1, initializer=boom, initargs=("first",)) as pool, pytest.raises(KeyError, match="first"):
        pool.submit(int).result(LONG_S)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"processes": 0}, "processes must be a whole number of at least 1, but is 0"),
        ({"processes": "many"}, "but is 'many'"),
        ({"processes": True}, "but is True"),
        ({"processes": 1, "threads": 1}, "either threads or processes"),
        ({"initializer": print}, "initializer is for processes"),
    ],
)
def test_wrong_options(options: Any, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        Executor(**options)


def test_inside_a_task() -> None:
    """The call knows the task, and what it prints is the task's."""

    @Node
    def body(n: int) -> Any:
        def told(x: int) -> tuple[int, str]:
            print(f"call {x}")
            return x, current().task

        with Executor(processes=2) as pool:
            return list(pool.map(told, range(n)))

    told: list[events.Event] = []
    done = run(Workflow(lambda: body(2)), record=False, listeners=[told.append])
    assert done.value == [(0, "body"), (1, "body")]
    printed = [(event.task, event.text) for event in told if isinstance(event, events.TaskPrinted)]
    assert "".join(sorted("".join(text for task, text in printed if task == "body").splitlines())) == "call 0call 1"


def test_from_a_script_without_a_guard_and_from_standard_input(tmp_path: Path) -> None:
    """Functions and classes of the main module go by value, and nobody runs it again."""
    text = textwrap.dedent(
        """
        from dataclasses import dataclass
        from grandpa_kfp import Executor

        @dataclass
        class Point:
            x: int

        def move(point, by):
            print("moving")
            return Point(point.x + by)

        print("main")
        with Executor(processes=2) as pool:
            assert list(pool.map(move, [Point(1), Point(2)], [10, 20])) == [Point(11), Point(22)]
        """
    )
    file = tmp_path / "script.py"
    file.write_text(text)
    for command in ([str(file)], ["-"]):
        done = subprocess.run(
            [sys.executable, *command], input=text, cwd=tmp_path, capture_output=True, text=True, timeout=LONG_S
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert sorted(done.stdout.splitlines()) == ["main", "moving", "moving"]


def test_functions_of_a_file_that_no_import_finds(tmp_path: Path) -> None:
    """Such as one whose name is none for a module."""
    file = tmp_path / "my-flow.py"
    file.write_text("def triple(x):\n    return 3 * x\n\nclass Kept:\n    pass\n\ndef keep():\n    return Kept()\n")
    module = load_file(file)
    with Executor(processes=1) as pool:
        assert pool.submit(module.triple, 3).result(LONG_S) == 9
        assert type(pool.submit(module.keep).result(LONG_S)) is module.Kept


def test_at_the_top_level_of_an_imported_module_it_is_refused(tmp_path: Path) -> None:
    """A process that imports the module would start the next one, without end."""
    (tmp_path / "starts_at_once.py").write_text(
        textwrap.dedent(
            """
            from grandpa_kfp import Executor

            def inc(x):
                return x + 1

            with Executor(processes=1) as pool:
                print(pool.submit(inc, 1).result())
            """
        )
    )
    done = subprocess.run(
        [sys.executable, "-c", "import starts_at_once"], cwd=tmp_path, capture_output=True, text=True, timeout=LONG_S
    )
    assert done.returncode == 1
    assert re.search(
        r"LoadError: starts_at_once.py:7: Executor\(processes=...\) is called at the top level", done.stderr
    )


def test_processes_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    """`kill -9`, in the middle of a call."""
    script = textwrap.dedent(
        """
        import os, time
        from grandpa_kfp import Executor

        pool = Executor(processes=1)
        print(pool.submit(os.getpid).result(), flush=True)
        pool.submit(time.sleep, 600)
        time.sleep(600)
        """
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=tmp_path) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
    deadline = time.monotonic() + LONG_S
    while _lives(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)
