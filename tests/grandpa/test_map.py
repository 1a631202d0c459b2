"""`node.map`: a call for each element of lists, pulled a window at a time."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grandpa_kfp import Node, Workflow, compile, resolve, run, trace
from grandpa_kfp.engine import events
from grandpa_kfp.packing import pack
from grandpa_kfp_runtime.errors import TaskError, TraceError


@Node
def square(x: int) -> int:
    return x * x


@Node
def add(a: int, b: int) -> int:
    return a + b


@Node
def numbers(n: int) -> list[int]:
    return list(range(n))


@Node(outputs=("quotient", "rest"))
def divide(a: int, b: int) -> tuple[int, int]:
    return divmod(a, b)


@Node
class Scale:
    def __init__(self, factor: int, *, shift: int = 0) -> None:
        self.factor, self.shift = factor, shift
        self.calls = 0

    def __call__(self, x: int) -> int:
        self.calls += 1
        return self.factor * x + self.shift * self.calls


@Node
class Own:
    def __call__(self, x: int) -> int:
        return x

    @Node
    def map(self, x: int) -> int:
        return 100 + x


@Workflow
def flow(n: int = 5) -> Any:
    found = numbers(n)
    return add.map(square.map(found), Scale(add(1, 1), shift=n).map(found))


# --- values --------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 2, 63, 64, 65, 10_000])
def test_results_in_order(count: int) -> None:
    """Of a list that only the run knows; empty, of one element, around the window, long."""

    @Workflow
    def squares(n: int) -> Any:
        return square.map(numbers(n))

    assert run(squares, {"n": count}, record=False).value == [x * x for x in range(count)]


def test_maps_of_maps_and_of_instances() -> None:
    """Several lists; each element's task constructs its own object, from init arguments that are Refs."""
    done = run(flow, record=False)
    assert done.value == [x * x + 2 * x + 5 for x in range(5)]
    assert [task.id for task in done.tasks.values() if task.parent == "Scale.map"] == [
        "Scale.map/Scale", "Scale.map/Scale-2", "Scale.map/Scale-3", "Scale.map/Scale-4", "Scale.map/Scale-5",
    ]  # fmt: skip


def test_outside_of_a_workflow() -> None:
    """`.resolve()`, over values and over Refs, and in a node's body."""
    assert square.map([1, 2, 3]).resolve() == [1, 4, 9]
    assert square.map([]).resolve() == []
    assert resolve(add.map((1, 2), numbers(2))) == [1, 3]
    assert Scale(3).map(range(3)).resolve() == [0, 3, 6]

    @Node
    def total(n: int) -> int:
        return sum(square.map(numbers(n)).resolve())

    @Node
    def nested(n: int) -> Any:
        return [square.map(numbers(n)), total(n)]

    assert nested(4).resolve() == [[0, 1, 4, 9], 14]
    assert run(Workflow(lambda: nested(4)), record=False).value == [[0, 1, 4, 9], 14]


def test_what_is_a_list() -> None:
    """Tuples, ranges, generators, arrays, lists with Refs in them."""
    assert square.map((1, 2)).resolve() == [1, 4]
    assert square.map(x for x in (1, 2)).resolve() == [1, 4]
    assert square.map(np.arange(3)).resolve() == [0, 1, 4]
    assert square.map([1, add(1, 1)]).resolve() == [1, 4]
    assert run(Workflow(lambda: square.map([1, add(1, 1)])), record=False).value == [1, 4]


def test_declared_outputs_and_elements_that_grow() -> None:
    """A tuple for each element of several outputs; what an element's body returns runs too."""

    @Node
    def growing(n: int) -> Any:
        return square.map(numbers(n))

    found = run(Workflow(lambda: (divide.map([7, 9], [2, 5]), growing.map([0, 1, 3]))), record=False).value
    assert found == ([(3, 1), (1, 4)], [[], [0], [0, 1, 4]])


def test_elements_are_isolated() -> None:
    """One object at two places of a list: each task gets its own."""

    @Node
    def grow(values: Any) -> Any:
        values.append(1)
        return values

    @Node
    def pair() -> Any:
        one: list[int] = []
        return [one, one]

    assert run(Workflow(lambda: grow.map(pair())), record=False).value == [[1], [1]]


def test_each_element_gets_its_own_value() -> None:
    """Lists that are made, used and forgotten by the hundred: none is taken for another."""

    @Node
    def rows(n: int) -> Any:
        return [[place] for place in range(n)]

    @Node
    def first(row: Any) -> int:
        return int(row[0])

    assert run(Workflow(lambda: first.map(rows(500), window=4)), record=False).value == list(range(500))


@given(st.lists(st.integers(-9, 9), max_size=40), st.integers(1, 9), st.sampled_from([1, 3]))
@settings(max_examples=40, deadline=None)
def test_any_window_gives_what_evaluation_in_place_gives(values: list[int], window: int, threads: int) -> None:
    """Also where elements become more tasks."""

    @Node
    def twice(x: int) -> Any:
        return add(x, square(x)) if x % 2 else x

    expected = twice.map(values, window=window).resolve()
    found = run(Workflow(lambda: twice.map(values, window=window)), record=False, threads=threads).value
    assert found == expected == [x + x * x if x % 2 else x for x in values]


# --- tasks ---------------------------------------------------------------------------------------


def outstanding(told: list[events.Event], task: str) -> list[int]:
    """How many elements were under way, right behind each growth of the map."""
    live, found = set[str](), []
    for event in told:
        if isinstance(event, events.TaskGrew) and event.task == task:
            live.update(event.children)
            found.append(len(live))
        elif isinstance(event, events.TaskFinished):
            live.discard(event.task)
    return found


@pytest.mark.parametrize(("window", "most"), [(1, 1), (2, 2), (7, 7), (None, 64)])
def test_no_more_than_the_window_is_under_way(window: int | None, most: int) -> None:
    """However long the list is; and it does grow again before all are done."""
    told: list[events.Event] = []
    done = run(
        Workflow(lambda: square.map(list(range(300)), window=window)), record=False, threads=2, listeners=[told.append]
    )
    assert done.value == [x * x for x in range(300)]
    found = outstanding(told, "square.map")
    assert max(found) == most
    assert len(found) >= 300 // most


def test_the_first_elements_run_first() -> None:
    """On one lane in the order of the list, though later ones are added while earlier ones wait."""
    order: list[int] = []

    @Node
    def note(x: int) -> int:
        order.append(x)
        return x

    assert run(Workflow(lambda: note.map(list(range(200)), window=8)), record=False, threads=1).value == order
    assert order == list(range(200))


def test_elements_run_side_by_side() -> None:
    """Four that wait for each other."""
    meeting = threading.Barrier(4)

    @Node
    def meet(x: int) -> int:
        meeting.wait(60)
        return x

    assert run(Workflow(lambda: meet.map([1, 2, 3, 4])), record=False, threads=4).value == [1, 2, 3, 4]


def test_options_hold_for_each_element(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries and environment of the node as it is mapped; its name and what it waits for are the map's."""
    monkeypatch.setattr("grandpa_kfp.engine.ledger.LONGEST_PAUSE_S", 0.01)
    tried: list[int] = []

    @Node
    def flaky(x: int) -> int:
        tried.append(x)
        if tried.count(x) == 1:
            raise ValueError("not yet")
        return x

    @Workflow
    def retried() -> Any:
        first = add(1, 1)
        return flaky.options(retries=1, name="all", after=[first]).map([1, 2])

    done = run(retried, record=False)
    assert done.value == [1, 2]
    assert [(task.id, task.attempts) for task in done.tasks.values()] == [
        ("add", 1), ("all", 1), ("all/flaky", 2), ("all/flaky-2", 2),
    ]  # fmt: skip
    call = next(call for call in trace(retried).calls() if call.id == "all")
    assert (call.options.retries, call.after) == (1, ("add",))


def test_an_own_method_called_map_stays_the_classs() -> None:
    """A node class with one of its own."""
    assert Own().map(1).resolve() == 101


# --- compiled ------------------------------------------------------------------------------------


def test_a_compiled_map_runs_inside_its_one_task(tmp_path: Path) -> None:
    """The same value by the containers' commands."""
    from grandpa_kfp.engine.pipeline_yaml import run_pipeline_yaml

    file = tmp_path / "flow.yaml"
    compile(flow, file)
    done = run_pipeline_yaml(file, {"n": 3}, root=tmp_path)
    assert done.value == [3, 6, 11]
    assert len(done.tasks) == 5


def test_the_code_of_a_map_is_the_nodes() -> None:
    """Its fingerprint follows the body of what is mapped, and nothing else."""

    def fingerprint(body: Any) -> str:
        @Workflow
        def mapped() -> Any:
            return Node(name="body")(body).map([1])

        return next(iter(pack(trace(mapped)).nodes().values())).fingerprint

    first, same, other = (fingerprint(body) for body in (lambda x: x + 1, lambda x: x + 1, lambda x: x + 2))
    assert first == same != other


# --- what it must withstand ----------------------------------------------------------------------


def test_lists_of_different_lengths() -> None:
    """One error that names the lengths, with the map's place; known at the call or not."""
    for wrong in (lambda: add.map([1, 2], [1]), lambda: add.map(numbers(2), [1])):
        with pytest.raises(TaskError, match=r"lists of one length, but these have 2, 1 elements"):
            resolve(wrong())
        with pytest.raises(TaskError, match=r"^add\.map \(tests/.*\) failed: .*these have 2, 1 elements"):
            run(Workflow(wrong), record=False)


@pytest.mark.parametrize("value", ["text", {"a": 1}, {1, 2}, 5, None])
def test_what_is_no_list(value: Any) -> None:
    """Refused at the call where it is known, else by the task."""

    @Node
    def made() -> Any:
        return value

    with pytest.raises(TraceError, match=r"square\.map \(tests/.*\): it takes lists, but the value at place 1 is"):
        square.map(value)
    with pytest.raises(TaskError, match="map takes lists, but the value at place 1 is"):
        run(Workflow(lambda: square.map(made())), record=False)


def test_wrong_calls() -> None:
    """No list, a list too many, a window that is none; a class that cannot be called."""
    with pytest.raises(TraceError, match="it takes a list for each argument of the node, and was given none"):
        square.map()
    with pytest.raises(TraceError, match=r"square\.map .*: 2 arguments are given by position"):
        square.map([1], [2])
    for window in (0, -1, 2.5, True):
        with pytest.raises(TraceError, match="window must be a whole number above 0"):
            square.map([1], window=window)  # type: ignore[arg-type]

    @Node
    class Silent:
        pass

    with pytest.raises(TraceError, match="no method __call__, process or apply to map"):
        Silent().map([1])  # type: ignore[attr-defined]


def test_a_failing_element() -> None:
    """Its own report, the path, no further elements."""
    begun: list[int] = []

    @Node
    def picky(x: int) -> int:
        begun.append(x)
        if x == 3:
            raise ValueError("three")
        return x

    with pytest.raises(TaskError) as caught:
        run(Workflow(lambda: picky.map(list(range(500)), window=4)), record=False, threads=1)
    assert caught.value.task == "picky.map/picky-4"
    assert str(caught.value).endswith("Called by: picky.map")
    assert len(begun) == 4


@Node
def trips_once(x: int, folder: str) -> int:
    mark = Path(folder) / str(x)
    if not mark.exists():
        mark.touch()
        raise ValueError("once")
    return x


@pytest.mark.parametrize("processes", [0, 1])
def test_a_workflows_defaults_reach_the_elements(tmp_path: Path, processes: int) -> None:
    """Each is tried again by itself, and has the time that every task has; the map as a whole has no limit."""

    @Workflow(defaults={"retries": 1, "backoff_s": 0.001, "timeout_s": 300.0})
    def tries(folder: str) -> Any:
        return trips_once.map(list(range(3)), [folder] * 3, window=3)

    done = run(tries, {"folder": str(tmp_path)}, record=False, processes=processes)
    assert done.value == [0, 1, 2]
    assert [task.attempts for task in done.tasks.values()] == [1, 2, 2, 2]
