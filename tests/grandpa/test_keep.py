"""`@Node(keep=True)`: instances that a worker keeps, and ends."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kfp_by_hand import cluster

from grandpa_kfp import Node, TaskError, TemplateParser, TraceError, Workflow, collect, compile, each, run
from grandpa_kfp_runtime.keeping import MOST_IDLE, Keeper

told: list[str] = []


@pytest.fixture(autouse=True)
def nothing_told() -> None:
    told.clear()


@Node(keep=True)
class Model:
    """Tells of its life in `told`, or in a file."""

    def __init__(self, name: str, log: Any = None) -> None:
        self.name, self.log, self.calls = name, log, 0
        self.buffer: list[int] = []
        self.tell("made")

    def tell(self, what: str) -> None:
        text = f"{what} {self.name}"
        told.append(text)
        if self.log is not None:
            with Path(self.log).open("a") as file:
                file.write(f"{text} {os.getpid()}\n")

    def __call__(self, x: int) -> int:
        self.calls += 1
        if x < 0:
            raise ValueError("negative")
        return x + self.calls * 0

    def process(self, x: int) -> list[int]:
        self.buffer.append(x)
        return self.buffer

    def release(self) -> None:
        self.tell("released")


@Node(keep=True)
class Predictor:
    def __init__(self, model: Any) -> None:
        self.model = model
        told.append("made predictor")

    def __call__(self, x: int) -> int:
        return int(self.model(x))


@Node
class Fresh(Model):  # a subclass, marked itself without keep
    pass


@Node
def use(model: Any, x: int) -> int:
    return int(model(x))


@Node
def name() -> str:
    return "of a task"


@Node
def numbers(n: int) -> list[int]:
    return list(range(n))


def value_of(function: Any, **options: Any) -> Any:
    return run(Workflow(function), record=False, **options).value


def test_one_object_for_all_tasks_of_a_run() -> None:
    """By what it is described by: in maps and loops, called and as an argument; released at the end of the run."""

    def flow() -> Any:
        model = Model("a")
        with each([1, 2]) as x:
            inside = Model("a")(x)
        return model.map(numbers(50)), use(model, 3), Model("a")(4), collect(inside), Model("b")(1), Model(name())(1)

    assert value_of(flow, threads=1) == (list(range(50)), 3, 4, [1, 2], 1, 1)
    assert sorted(told) == [f"{what} {of}" for what in ("made", "released") for of in ("a", "b", "of a task")]


def test_threads_never_share_one_at_the_same_time() -> None:
    """Two that run side by side have an object each."""
    meeting = threading.Barrier(2)

    @Node(keep=True)
    class Meeting:
        def __call__(self, x: int) -> int:
            meeting.wait(60)
            return id(self)

    assert len(set(value_of(lambda: Meeting().map([1, 2]), threads=2))) == 2


def test_results_share_nothing_with_the_object() -> None:
    """What it changes later was another result's before; what it changed before, the next task sees."""

    def flow() -> Any:
        model = Model("a")
        first = model.process(1)
        return first, model.options(after=[first]).process(2)

    assert value_of(flow, threads=1) == ([1], [1, 2])


def test_what_only_a_kept_object_holds_is_not_made_again() -> None:
    """Nor is an instance that stands in its description released by itself before it."""
    assert value_of(lambda: Predictor(Model("a")).map(numbers(9)), threads=1) == list(range(9))
    assert told.count("made a") == told.count("made predictor") == 1


def test_a_task_that_fails_drops_its_object() -> None:
    """Nobody knows what state it is in."""
    with pytest.raises(TaskError, match="negative"):
        value_of(lambda: Model("a").map([1, -1, 2, 3]), threads=1, keep_going=True)
    assert told == ["made a", "released a", "made a", "released a"]


def test_without_keep_each_task_makes_its_own() -> None:
    """A subclass that is marked without it too; nobody calls release then."""
    assert value_of(lambda: Fresh("a").map([1, 2]), threads=1) == [1, 2]
    assert told == ["made a", "made a"]


def test_in_worker_processes(tmp_path: Path) -> None:
    """Each worker keeps its own through all runs of a TemplateParser, and releases it at its end."""
    log = tmp_path / "log"

    def flow(n: int = 20) -> Any:
        return Model("a", log=str(log)).map(numbers(n))

    workflow = Workflow(flow)
    with TemplateParser(process_count=1, threads_per_process=1, record=False) as parser:
        for _ in range(3):
            assert parser(workflow) == list(range(20))
        assert len(log.read_text().splitlines()) == 1
    lines = [line.split() for line in log.read_text().splitlines()]
    assert [line[0] for line in lines] == ["made", "released"]
    assert lines[0][2] == lines[1][2] != str(os.getpid())


def test_outside_of_a_workflow() -> None:
    """One `.resolve()` is a run."""
    assert Model("a").map([1, 2, 3]).resolve() == [1, 2, 3]
    assert use(Model("b"), 1).resolve() == 1
    assert told == ["made a", "released a", "made b", "released b"]


def test_in_a_container_it_lives_for_the_task(tmp_path: Path) -> None:
    """A map of one container makes one object."""
    log = tmp_path / "log"

    @Workflow
    def flow() -> Any:
        return Model("a", log=str(log)).map(numbers(5))

    found = cluster(compile(flow, tmp_path / "flow.yaml").text, tmp_path)
    assert found.run({}) == list(range(5))
    assert [line.split()[0] for line in log.read_text().splitlines()] == ["made", "released"]


def test_arguments_that_have_no_content_to_tell_by() -> None:
    """Each task has an object of its own then, and it ends with the task."""

    @Node(keep=True)
    class Holds:
        def __init__(self, what: Any) -> None:
            told.append("made")

        def __call__(self, x: int) -> int:
            return x

        def release(self) -> None:
            told.append("released")
            raise ValueError("what it raises is only logged")

    assert Holds(lambda: 1).map([1, 2]).resolve() == [1, 2]
    assert told == ["made", "released"] * 2
    told.clear()
    assert Holds(np.arange(5000)).map([1, 2]).resolve() == [1, 2]
    assert told == ["made", "released"]


def test_so_many_are_kept() -> None:
    """Those used longest ago go first."""
    ended: list[int] = []

    class Ends:
        def __init__(self, number: int) -> None:
            self.number = number

        def release(self) -> None:
            ended.append(self.number)

    keeper = Keeper()
    for number in range(MOST_IDLE + 2):
        keeper.give_back((number, b""), Ends, Ends(number))
    assert ended == [0, 1]
    assert keeper.take((0, b"")) is None
    taken = keeper.take((5, b""))
    keeper.close()
    assert sorted(ended) == [number for number in range(MOST_IDLE + 2) if number != 5]
    keeper.give_back((5, b""), Ends, taken)
    assert ended[-1] == 5


def test_keep_is_of_a_class() -> None:
    with pytest.raises(TraceError, match=r"test_keep.py:\d+: keep=True is of a class .* marks lone"):

        @Node(keep=True)
        def lone() -> None: ...

    with pytest.raises(TraceError, match="keep belongs to the class"):
        Model("a").options(keep=True)
