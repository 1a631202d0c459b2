"""What tasks do to their worker process, and values that do not want to cross."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from process_counts import comes, lives, resident_mib, workers_of
from process_flows import inc, total
from rough_flows import (
    array,
    breaks_writes,
    child_raises,
    current_folder,
    deaf_to_sigterm,
    ends,
    folder_gone,
    forked_child,
    lingering_child,
    lingering_thread,
    makes,
    pools,
    prints,
    raises,
    reads,
)

from grandpa_kfp import Workflow, run, trace
from grandpa_kfp.engine.processes import segments
from grandpa_kfp.engine.processes.crew import Crew
from grandpa_kfp.engine.workers import workers
from grandpa_kfp_runtime.errors import GrandpaError, TaskError


@pytest.fixture(scope="module")
def one() -> Iterator[Crew]:
    """A single process, so that the next task comes to the same one."""
    crew = workers(1, 1, None)
    assert crew is not None
    yield crew
    crew.close()


def value_of(body: Any, crew: Crew | int) -> Any:
    @Workflow
    def flow() -> Any:
        return body()

    return run(flow, processes=crew, record=False).value


def still_works(crew: Crew) -> bool:
    return bool(value_of(lambda: inc(inc(1)), crew) == 3)


# --- values and exceptions -----------------------------------------------------------------------------


@pytest.mark.parametrize(("what", "text"), [("reduce", "cannot be pickled"), ("generator", "only once")])
def test_a_result_that_does_not_pickle_is_its_tasks_failure(one: Crew, what: str, text: str) -> None:
    """Named with its task; the worker stays."""
    before = value_of(lambda: deaf_to_sigterm(), one)
    with pytest.raises(TaskError, match=rf"(?s)makes \(.*{text}"):
        value_of(lambda: makes(what), one)
    assert value_of(lambda: deaf_to_sigterm(), one) == before


def test_a_result_that_does_not_come_back_is_its_readers_failure(one: Crew) -> None:
    """And an error, no crash, where the workflow itself reads it."""
    with pytest.raises(TaskError, match=r"(?s)reads \(.*does not want to come back"):
        value_of(lambda: [reads(makes("return")), reads(makes("return"))], one)
    with pytest.raises(GrandpaError, match="does not want to come back"):
        value_of(lambda: makes("return"), one)
    assert still_works(one)


@pytest.mark.parametrize(
    ("what", "text"),
    [("two", "TwoArguments: 1 and 2"), ("bad", "BadException: the user's words"), ("interrupt", "KeyboardInterrupt"),
     ("exit", "GeneratorExit")],
)  # fmt: skip
def test_exceptions_that_do_not_cross_are_told(one: Crew, what: str, text: str) -> None:
    """In the user's words, with the place; only the cause is left out where it cannot come back."""
    with pytest.raises(TaskError, match=rf"(?s)raises \(.*{text}") as caught:
        value_of(lambda: raises(what), one)
    assert (caught.value.__cause__ is None) == (what in ("two", "bad"))
    assert still_works(one)


# --- what tasks do to their process ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["fork", "spawn", "forkserver"])
def test_pools_inside_a_node(one: Crew, kind: str) -> None:
    """Though a task before has left SIGTERM blocked and ignored, which pools end their processes by."""
    if kind == "fork" and hasattr(os, "process_cpu_count"):
        pytest.skip("3.13 warns of forks beside threads, and the node's warnings are errors here")
    value_of(lambda: deaf_to_sigterm(), one)
    assert value_of(lambda: pools(kind), one) == [1, 2]
    assert still_works(one)


def test_the_next_task_is_in_the_folder_of_the_run(one: Crew, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever folder the one before it has gone to, and though that is gone; the parent's, as it is now."""
    monkeypatch.setenv("TMPDIR_OF_TEST", str(tmp_path))
    assert value_of(lambda: folder_gone(), one) == "gone"
    assert value_of(lambda: current_folder(), one) == os.getcwd()
    monkeypatch.chdir(tmp_path)
    assert value_of(lambda: current_folder(), one) == str(tmp_path)


def test_what_a_forked_child_raises_is_not_the_tasks_end(one: Crew) -> None:
    """The child ends, the task goes on."""
    assert value_of(lambda: child_raises(), one) == 1
    assert still_works(one)


@pytest.mark.parametrize("node", [lingering_child, forked_child])
def test_what_a_task_has_started_ends_with_its_worker(node: Any) -> None:
    """At the latest when the run has ended."""
    child = value_of(lambda: node(), 1)
    assert comes(lambda: not lives(child))


def test_a_thread_that_never_ends_holds_nobody_up() -> None:
    """The worker is ended beside it."""
    begun = time.monotonic()
    assert not lives(value_of(lambda: lingering_thread(), 1))
    assert time.monotonic() - begun < 300  # the thread sleeps for 600 s


def test_prints_in_bulk_hold_nobody_up(one: Crew, capfd: pytest.CaptureFixture[str]) -> None:
    """16 MiB, and memory does not grow with them."""
    still_works(one)
    before = resident_mib()
    assert value_of(lambda: prints(16), one) == 16
    assert resident_mib() - before < 200
    capfd.readouterr()
    assert still_works(one)


# --- no room -------------------------------------------------------------------------------------------------


def spread(count: int = 4, mib: int = 2) -> Any:
    arrays = [array(mib, place) for place in range(count)]
    return [[ends(item), ends(item)] for item in arrays]


SPREAD = [[[place, place, 2 << 20]] * 2 for place in range(4)]


def full(code: int) -> Any:
    def create(*args: Any) -> Any:
        raise OSError(code, os.strerror(code))

    return create


@pytest.mark.parametrize("code", [errno.ENOMEM, errno.ENOSPC, errno.EMFILE], ids=errno.errorcode.get)
def test_values_go_to_disk_where_there_is_no_shared_memory(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """The kernel gives none; the run does not notice."""
    monkeypatch.setattr(os, "memfd_create", full(code))
    assert value_of(spread, 2) == SPREAD


@pytest.mark.parametrize("code", [errno.ENOMEM, errno.ENOSPC, errno.EMFILE], ids=errno.errorcode.get)
def test_values_become_objects_where_no_segment_can_be_made(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """Neither in memory nor as a file without a name, as where too many files are open."""
    monkeypatch.setattr(segments, "create", _only_boards(full(code)))
    assert value_of(spread, 2) == SPREAD
    assert value_of(lambda: [ends(np.full(2 << 20, 3, dtype=np.uint8))] * 2, 2) == [[3, 3, 2 << 20]] * 2


def _only_boards(refuse: Any) -> Any:
    """Segments are refused; the page that a worker counts on is not."""
    create = segments.create

    def some(size_bytes: int, folder: Path | None = None) -> int:
        return int(create(size_bytes) if size_bytes <= 1 << 16 else refuse())

    return some


def test_a_write_that_fails_in_the_worker_goes_to_disk() -> None:
    """And is a clear failure where the disk is full as well."""

    def flow(everywhere: bool) -> Any:
        made = array(2, breaks_writes(errno.ENOSPC, everywhere))
        return [ends(made), ends(made)]

    assert value_of(lambda: flow(False), 1) == [[7, 7, 2 << 20]] * 2
    with pytest.raises(TaskError, match=r"(?s)array \(.*no room in shared memory, nor on disk.*No space left"):
        value_of(lambda: flow(True), 1)


# --- much --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_hundred_thousand_tasks_take_memory_in_proportion() -> None:
    """Ten times as many tasks take about ten times as long, no more than 4 KiB each, and none of it in workers."""

    def timed(count: int, crew: Crew) -> float:
        @Workflow
        def flow() -> Any:
            return total([inc(number) for number in range(count)])

        graph = trace(flow, {})
        begun = time.process_time()
        assert run(graph, processes=crew, record=False).value == count * (count + 1) // 2
        return time.process_time() - begun

    crew = workers(2, 1, None)
    assert crew is not None
    try:
        timed(1_000, crew)
        small = timed(10_000, crew)
        before = resident_mib()
        assert timed(100_000, crew) < 40 * small
        assert resident_mib() - before < 800
        assert all(resident_mib(pid) < 400 for pid in workers_of(os.getpid()))
    finally:
        crew.close()


@pytest.mark.slow
def test_a_value_of_3_gb() -> None:
    """Beyond what one write or one message takes; given to two readers, it is copied once."""
    room = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    if room < 12:
        pytest.skip(f"a value of 3 GB needs 12 GB of free memory, and {room:.0f} GB are free")

    def flow() -> Any:
        big = array(3_000, 7)
        return [ends(big), ends(big)]

    assert value_of(flow, 2) == [[7, 7, 3_000 << 20]] * 2
