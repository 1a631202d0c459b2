"""Runs on worker processes: the same values as on threads, in other processes, and nothing left behind."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from process_flows import (
    MIB,
    Point,
    Scale,
    add,
    chatty,
    die,
    environ,
    fail,
    first_and_pid,
    forks,
    inc,
    inverse,
    leave,
    mark,
    meet,
    moved,
    moves,
    nested,
    ones,
    pid,
    read_file,
    sleep,
    spoil,
    stubborn,
    total,
    unpicklable,
    write_file,
)

from grandpa_kfp import TemplateParser, Workflow, run
from grandpa_kfp.engine.processes.crew import Crew
from grandpa_kfp.engine.workers import workers
from grandpa_kfp_runtime.errors import ParameterError, TaskError, TaskTimeout


@pytest.fixture(scope="module")
def pair() -> Iterator[Crew]:
    """Two processes for many runs."""
    crew = workers(2, 1, None)
    assert crew is not None
    yield crew
    crew.close()


@pytest.fixture(autouse=True)
def nothing_left(pair: Crew) -> Iterator[None]:
    """No process but those of the crew that stays, and nothing in shared memory."""
    yield
    gc.collect()
    deadline = time.monotonic() + 60
    while (left := children() - {hand.process.pid for hand in pair.hands}) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left
    assert not pair.memory._segments


def children() -> set[int]:
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                command = (entry / "cmdline").read_text()
            except OSError:
                continue
            if int(fields[1]) == os.getpid() and "grandpa_kfp.engine.processes" in command:
                found.add(int(entry.name))
    return found


def value_of(workflow: Any, crew: Crew | int = 2, **params: Any) -> Any:
    return run(workflow, params, processes=crew, record=False).value


# --- values ----------------------------------------------------------------------------------------


@Workflow
def diamond(n: int = 1) -> Any:
    left, right = inc(n), inc(inc(n))
    return {"sum": add(left, right), "both": [left, (right, n)]}


def test_the_value_is_that_of_threads(pair: Crew) -> None:
    """Structures around Refs, parameters, tuples and all."""
    expected = run(diamond, {"n": 4}, record=False).value
    assert expected == value_of(diamond, pair, n=4) == {"sum": 11, "both": [5, (6, 4)]}


@Workflow
def places() -> Any:
    return [pid(), pid(1)]


def test_bodies_run_in_workers_never_here(pair: Crew) -> None:
    """And in those of this crew."""
    assert os.getpid() not in value_of(places, pair)


@Workflow
def chain(length: int = 300) -> Any:
    x: Any = length
    for _ in range(300):
        x = inc(x)
    return [x, pid(x)]


def test_a_chain_starts_one_process() -> None:
    """There is never work for a second one."""
    with TemplateParser(process_count=4, record=False) as parser:
        assert parser(chain, length=1)[0] == 301
        assert parser._crew is not None
        assert len(parser._crew.hands) == 1


@Workflow
def together(folder: Path) -> Any:
    return [meet(folder, "a", "b"), meet(folder, "b", "a")]


def test_independent_tasks_run_at_the_same_time(pair: Crew, tmp_path: Path) -> None:
    """Each waits for the other."""
    assert value_of(together, pair, folder=tmp_path) == [True, True]


def test_threads_of_one_process_run_at_the_same_time(tmp_path: Path) -> None:
    """With a single process."""
    assert run(together, {"folder": tmp_path}, processes=1, threads=2, record=False).value == [True, True]


@Workflow
def wide() -> Any:
    return total([add(inc(i), inc(i + 1)) for i in range(500)])


def test_many_tiny_tasks(pair: Crew) -> None:
    """Several times over, as chunks grow."""
    for _ in range(3):
        assert value_of(wide, pair) == sum(2 * i + 3 for i in range(500))


@Workflow
def counted(folder: Path) -> Any:
    last: list[Any] = []
    for index in range(150):
        last = [mark(folder, f"{index}-{side}", *last[:1]) for side in range(2)]
    return last


def test_each_body_runs_exactly_once(pair: Crew, tmp_path: Path) -> None:
    """300 of them, in chunks."""
    value_of(counted, pair, folder=tmp_path)
    assert {path.read_text() for path in tmp_path.iterdir()} == {"ran\n"}
    assert len(list(tmp_path.iterdir())) == 300


@Workflow
def ladder() -> Any:
    x: Any = 1
    for _ in range(30):
        x = add(x, x)
    return x


def test_a_ladder(pair: Crew) -> None:
    """An output that one task reads twice."""
    assert value_of(ladder, pair) == 2**30


@Workflow
def instances(factor: int = 3) -> Any:
    scale = Scale(factor)
    return [scale(2), scale(inc(2))]


def test_class_nodes(pair: Crew) -> None:
    """Constructed where they are called."""
    assert value_of(instances, pair) == [6, 9]


@Workflow
def classes() -> Any:
    return [moved(Point(1, 2)), moved(moved(Point(3, 4)))]


def test_instances_of_the_projects_classes_cross(pair: Crew) -> None:
    """And are of the same class here."""
    assert value_of(classes, pair) == [Point(2, 1), Point(3, 4)]


@Workflow
def files() -> Any:
    path = write_file("hello")
    return [read_file(path), read_file(path)]


def test_files_cross(pair: Crew) -> None:
    """Though the writer removes its own."""
    assert value_of(files, pair) == ["hello", "hello"]


def test_lambdas_and_closures(pair: Crew) -> None:
    """They travel by value."""
    from grandpa_kfp import Node

    by = 5
    more = Node(lambda x: x + by)

    @Workflow
    def flow(n: int = 1) -> Any:
        return more(more(n))

    assert value_of(flow, pair) == 11


# --- big values --------------------------------------------------------------------------------------


@Workflow
def spoiled(count: int = 4 * MIB) -> Any:
    array = ones(count)
    return [spoil(array), spoil(array), first_and_pid(array, 0.05)]


def test_no_task_sees_what_another_did_to_an_array(pair: Crew) -> None:
    """Each reader has pages of its own."""
    for _ in range(3):
        one, other, (last, _) = value_of(spoiled, pair)
        assert (one, other, last) == (1, 1, 1)


@Workflow
def followed(count: int = 4 * MIB) -> Any:
    array = ones(count)
    return [first_and_pid(array), spoil(ones(count))]


def test_the_only_reader_follows_its_producer(pair: Crew) -> None:
    """No shared memory is made for it."""
    before = pair.memory._last
    assert value_of(followed, pair)[1] == 1
    assert pair.memory._last == before


@Workflow
def big(count: int = 3 * MIB) -> Any:
    return ones(count)


def test_a_big_value_comes_back_and_stays_after_the_workers_end() -> None:
    """It lives in memory of its own, and may be changed."""
    array = value_of(big, 1)
    array += 1
    assert int(array.sum()) == 6 * MIB


@Workflow
def constant_array(array: Any) -> Any:
    return [spoil(array), spoil(array)]


def test_a_big_constant_is_sent_once(pair: Crew) -> None:
    """And each task may change it."""

    @Workflow
    def flow() -> Any:
        array = np.full(2 * MIB, 3, dtype=np.uint8)
        return [spoil(array), spoil(array)]

    before = pair.memory._last
    assert value_of(flow, pair) == [3, 3]
    assert pair.memory._last <= before + 2


@Workflow
def many_arrays() -> Any:
    return total([first_and_pid(ones(MIB))[0] for _ in range(12)] + [spoil(add(ones(MIB), ones(MIB)))])


def test_values_beyond_the_limit_go_to_disk() -> None:
    """The run neither fails nor takes the memory."""
    with TemplateParser(process_count=2, record=False, memory=MIB) as parser:
        array = parser(spoiled)
        assert [array[0], array[1]] == [1, 1]
        assert parser._crew is not None
        assert parser._crew.memory.used_bytes <= MIB


def test_shared_memory_is_used_again(pair: Crew) -> None:
    """Run after run takes no more of it."""
    for _ in range(2):
        value_of(spoiled, pair)
    used = pair.memory.used_bytes
    for _ in range(5):
        value_of(spoiled, pair)
    assert pair.memory.used_bytes <= max(used, 8 * MIB)


@Workflow
def gathered() -> Any:
    return total([ones(300_000)[0] for _ in range(230)])


def test_a_task_reads_more_segments_than_one_message_carries(pair: Crew) -> None:
    """230 arrays in shared memory."""

    @Workflow
    def flow() -> Any:
        arrays = [ones(300_000) for _ in range(230)]
        return [pid(*arrays), pid(*arrays)]

    assert len(value_of(flow, pair)) == 2


# --- the record ----------------------------------------------------------------------------------------


def test_a_recorded_run_is_as_on_threads(pair: Crew, tmp_path: Path) -> None:
    """Handles, states and values, big ones too."""
    runs = [run(spoiled, processes=crew, root=tmp_path, cache=False) for crew in (0, pair)]
    assert [item.value[:2] for item in runs] == [[1, 1], [1, 1]]
    assert runs[0].tasks["ones"].outputs == runs[1].tasks["ones"].outputs
    assert [task.state for task in runs[1].tasks.values()] == ["succeeded"] * 4


def test_given_outputs_and_targets(pair: Crew) -> None:
    """Only what is wanted runs, from what is known."""
    from grandpa_kfp import trace

    done = run(
        trace(diamond, {"n": 1}), processes=pair, record=False, targets=["add"], given={"inc": 100}, params={"n": 1}
    )
    assert done.targets == {"add": 103}


def test_a_store_that_only_this_process_has_is_refused(pair: Crew) -> None:
    """With what to do."""
    with pytest.raises(ParameterError, match="give store= a folder"):
        run(diamond, processes=pair, store="memory:")


# --- failures ------------------------------------------------------------------------------------------


def test_a_failing_task_is_reported_as_on_threads(pair: Crew) -> None:
    """The user's frames, the inputs, what the node raised as cause."""

    @Workflow
    def flow() -> Any:
        return fail("no such luck")

    with pytest.raises(TaskError, match="no such luck") as caught:
        value_of(flow, pair)
    assert "process_flows.py" in str(caught.value)
    assert "text = 'no such luck'" in str(caught.value)
    assert type(caught.value.__cause__) is ValueError


def test_what_went_to_the_worker_behind_a_failing_task_was_never_begun(pair: Crew) -> None:
    """Tiny tasks that follow on each other go out together; behind the failure they are skipped, as on threads."""

    @Workflow
    def flow(x: int) -> Any:
        return inc(inc(inverse(x)))

    for _ in range(50):  # until the nodes are known to be tiny
        run(flow, {"x": 1}, processes=pair, record=False)
    for _ in range(5):
        heard: list[Any] = []
        with pytest.raises(TaskError, match="by zero") as caught:
            run(flow, {"x": 0}, processes=pair, record=False, listeners=[heard.append])
        assert caught.value.run is not None
        tasks = {id_: (task.state, task.attempts) for id_, task in caught.value.run.tasks.items()}
        assert tasks == {"inverse": ("failed", 1), "inc": ("skipped", 0), "inc-2": ("skipped", 0)}
        assert {event.task for event in heard if type(event).__name__ == "TaskStarted"} == {"inverse"}


@pytest.mark.parametrize(
    ("node", "text"),
    [
        (stubborn, "cannot be pickled"),
        (unpicklable, "lock"),
        (leave, "SystemExit"),
    ],
)
def test_what_does_not_pickle_and_sys_exit_are_failures_of_the_task(pair: Crew, node: Any, text: str) -> None:
    """The worker stays."""

    @Workflow
    def flow() -> Any:
        return node()

    with pytest.raises(TaskError, match=text):
        value_of(flow, pair)
    assert value_of(diamond, pair)["sum"] == 5


@pytest.mark.parametrize(
    ("how", "text"), [("kill", "killed by SIGKILL"), ("exit", "exit code 3"), ("segfault", "killed by SIGSEGV")]
)
def test_a_dead_worker_is_told_by_its_signal(pair: Crew, how: str, text: str) -> None:
    """And the next run has a new one."""

    @Workflow
    def flow() -> Any:
        return die(how)

    with pytest.raises(TaskError, match=text):
        value_of(flow, pair)
    assert value_of(diamond, pair)["sum"] == 5


@pytest.mark.parametrize("how", ["kill", "exit"])
def test_a_killed_task_runs_again_where_the_node_allows_it(pair: Crew, how: str, tmp_path: Path) -> None:
    """The second attempt succeeds; the rest of the run goes on."""

    @Workflow
    def flow() -> Any:
        return add(die.options(retries=2, backoff_s=0.01)(how, tmp_path), inc(inc(1)))

    assert value_of(flow, pair) == 10


def test_the_rest_goes_on_when_a_worker_dies(pair: Crew, tmp_path: Path) -> None:
    """With keep_going all that does not depend on the killed task runs, each once."""

    @Workflow
    def flow() -> Any:
        die("kill")
        return [mark(tmp_path, str(index)) for index in range(60)]

    with pytest.raises(TaskError, match="SIGKILL"):
        run(flow, processes=pair, record=False, keep_going=True)
    assert [(tmp_path / str(index)).read_text() for index in range(60)] == ["ran\n"] * 60


def test_a_timeout_stops_the_work(pair: Crew) -> None:
    """The process that sleeps is gone, the report says where it was."""

    @Workflow
    def flow() -> Any:
        return sleep.options(timeout_s=0.2)(600)

    with pytest.raises(TaskTimeout, match=r"timeout_s of 0\.2 s") as caught:
        value_of(flow, pair)
    assert "time.sleep(seconds)" in str(caught.value)


def test_retries(pair: Crew, tmp_path: Path) -> None:
    """The pauses are those of threads."""

    @Workflow
    def flow() -> Any:
        return fail.options(retries=2, backoff_s=0.01)("again")

    with pytest.raises(TaskError, match="again") as caught:
        value_of(flow, pair)
    run_ = caught.value.run
    assert run_ is not None
    assert run_.tasks["fail"].attempts == 3


def test_keep_going_runs_what_does_not_depend_on_it(pair: Crew, tmp_path: Path) -> None:
    """And names what never ran."""

    @Workflow
    def flow() -> Any:
        return [inc(fail("broken")), mark(tmp_path, "other")]

    with pytest.raises(TaskError, match="broken") as caught:
        run(flow, processes=pair, record=False, keep_going=True)
    assert (tmp_path / "other").exists()
    assert caught.value.run is not None
    assert caught.value.run.tasks["inc"].state == "skipped"


# --- what tasks do to their process -------------------------------------------------------------------


@pytest.mark.parametrize("node", [forks, lambda: chatty(5000), nested])
def test_tasks_that_fork_print_and_run_workflows(pair: Crew, node: Any) -> None:
    """Their results arrive once."""

    @Workflow
    def flow() -> Any:
        return [node(), inc(1)]

    assert value_of(flow, pair)[1] == 2


def test_a_task_may_change_the_folder(pair: Crew, tmp_path: Path) -> None:
    """This process stays where it is."""

    @Workflow
    def flow() -> Any:
        return moves(tmp_path)

    here = os.getcwd()
    assert value_of(flow, pair) == str(tmp_path)
    assert os.getcwd() == here


def test_environment_of_a_task(pair: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own variables hold for it alone; this process's hold for all, as they are now."""
    monkeypatch.setenv("GRANDPA_TEST_NOW", "now")

    @Workflow
    def flow() -> Any:
        return [environ("A"), environ.options(env={"A": "1"})("A"), environ("GRANDPA_TEST_NOW")]

    assert value_of(flow, pair)[1:] == ["1", "now"]


@pytest.mark.parametrize(("processes", "threads", "memory"), [
    (-1, None, None), (True, None, None), (1, 0, None), ("many", None, None), (1, 1, "much"), (1, 1, 0),
])  # fmt: skip
def test_numbers_that_cannot_be_are_refused(processes: Any, threads: Any, memory: Any) -> None:
    """Before anything starts."""
    with pytest.raises(ParameterError, match="must be"):
        workers(processes, threads, memory)
