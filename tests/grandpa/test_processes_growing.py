"""Bodies that return calls, on worker processes: the same values as on threads, in parallel, each once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from process_flows import (
    MIB,
    Scale,
    add,
    bounds,
    deeper,
    die,
    fails_below,
    fib,
    grows_big,
    inc,
    mark,
    meeting,
    pair_up,
    resolves,
    spoil,
    total,
    with_array,
    with_lambda,
)

from grandpa_kfp import Workflow, run
from grandpa_kfp.engine.processes.crew import Crew
from grandpa_kfp.engine.workers import workers
from grandpa_kfp_runtime.errors import TaskError


@pytest.fixture(scope="module")
def pair() -> Iterator[Crew]:
    """Two processes for many runs."""
    crew = workers(2, 1, None)
    assert crew is not None
    yield crew
    crew.close()


def value_of(workflow: Any, crew: Crew, **params: Any) -> Any:
    return run(workflow, params, processes=crew, record=False).value


@Workflow
def recursion(n: int = 10) -> Any:
    return fib(n)


def test_recursion(pair: Crew) -> None:
    """fib(10) are 177 calls of fib, and 88 of add."""
    done = run(recursion, {"n": 10}, processes=pair, record=False)
    assert done.value == 55
    assert sum(task.name.startswith("fib") for task in done.tasks.values()) == 177


def test_returned_refs_have_no_limit_of_depth(pair: Crew) -> None:
    """3,000 bodies, each of which returns a call of the next."""

    @Workflow
    def flow() -> Any:
        return deeper(3000)

    assert value_of(flow, pair) == 0


@Workflow
def structures() -> Any:
    low, high = bounds(10)
    return [pair_up(1), low, add(low, high), pair_up(3)["both"]]


def test_refs_inside_structures_and_declared_outputs(pair: Crew) -> None:
    """They are filled where they stood."""
    expected = run(structures, record=False).value
    assert value_of(structures, pair) == expected
    assert expected[0] == {"both": [2, (3, 1)], "same": 2}


def test_calls_of_one_body_run_at_the_same_time(pair: Crew, tmp_path: Path) -> None:
    """On both workers."""

    @Workflow
    def flow() -> Any:
        return meeting(tmp_path)

    assert value_of(flow, pair) == [True, True]


@Workflow
def closures() -> Any:
    return [with_lambda(n) for n in range(4)]


def test_nodes_made_inside_a_body(pair: Crew) -> None:
    """Their code goes to whichever worker runs them."""
    assert value_of(closures, pair) == [n * (n + 1) for n in range(4)]


@Workflow
def arrays() -> Any:
    big = grows_big(2 * MIB)
    return [with_array(100), with_array(2 * MIB), spoil(big), spoil(big)]


def test_big_values_of_grown_tasks(pair: Crew) -> None:
    """Constants of a body, and the value of a task that is another's."""
    assert value_of(arrays, pair) == [5, 5, 1, 1]
    assert not pair.memory._segments


@Workflow
def maps(count: int = 300) -> Any:
    items = inc.map(list(range(300)))
    return [total(inc.map(items)), inc.map([]), Scale(3).map([1, 2]), add.map([1, 2], [3, 4])]


def test_maps(pair: Crew) -> None:
    """Over values, over a Ref, over nothing, of a class node, of two lists."""
    assert value_of(maps, pair) == [sum(range(2, 302)), [], [3, 6], [4, 6]]


def test_each_element_of_a_map_runs_once(pair: Crew, tmp_path: Path) -> None:
    """400 of them, a few at a time."""

    @Workflow
    def flow() -> Any:
        return mark.map([tmp_path] * 400, [str(number) for number in range(400)], list(range(400)))

    assert value_of(flow, pair) == list(range(400))
    assert {path.read_text() for path in tmp_path.iterdir()} == {"ran\n"}
    assert len(list(tmp_path.iterdir())) == 400


def test_resolve_in_a_body(pair: Crew) -> None:
    """It runs in place."""

    @Workflow
    def flow() -> Any:
        return resolves(1)

    assert value_of(flow, pair) == 3


def test_a_failure_below_tells_the_way_there(pair: Crew) -> None:
    """And is the task's that failed."""

    @Workflow
    def flow() -> Any:
        return fails_below()

    with pytest.raises(TaskError, match="down there") as caught:
        value_of(flow, pair)
    assert caught.value.task == "fails_below/fail"
    assert "Called by: fails_below" in str(caught.value)


def test_an_element_whose_worker_dies_runs_again(pair: Crew, tmp_path: Path) -> None:
    """The map goes on."""

    @Workflow
    def flow() -> Any:
        return die.options(retries=3, backoff_s=0.01).map(["kill"] * 2, [tmp_path] * 2)

    assert value_of(flow, pair) == [7, 7]
    assert len(list(tmp_path.glob("try-*"))) >= 2


def test_the_limit_of_tasks(pair: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that returns its own call without end."""
    monkeypatch.setenv("GRANDPA_MAX_TASKS", "50")

    @Workflow
    def flow() -> Any:
        return deeper(1000)

    with pytest.raises(TaskError, match="grew beyond 50 tasks"):
        value_of(flow, pair)


def test_a_recorded_run_shows_what_tasks_became(pair: Crew, tmp_path: Path) -> None:
    """The same tasks with the same handles as on threads."""
    here, there = (run(recursion, {"n": 4}, processes=crew, root=tmp_path, cache=False) for crew in (0, pair))
    assert set(here.tasks) == set(there.tasks)
    assert {task.id: dict(task.outputs) for task in here.tasks.values()} == {
        task.id: dict(task.outputs) for task in there.tasks.values()
    }
    assert there.tasks["fib/add"].parent == "fib"
