"""Isolation on threads: a task may change what it receives, and no other task sees it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_graphs import call, graph, node, of

from grandpa_kfp.engine.execute import execute
from grandpa_kfp.engine.values import Values, is_shareable
from grandpa_kfp_compiler.graph import Constant
from grandpa_kfp_runtime.context import current
from grandpa_kfp_runtime.errors import TaskError
from grandpa_kfp_runtime.stores.memory import MemoryStore


def run(*calls: Any, result: Any = None, **options: Any) -> Any:
    return execute(graph(*calls, result=result), record=False, **options)


def change(items: list[int]) -> list[int]:
    items.append(99)
    return items


@pytest.mark.parametrize("value", [1, "a", b"a", None, (1, ("a", 2.5)), frozenset({1}), 1j])
def test_what_cannot_change_is_shared(value: Any) -> None:
    """Atoms, and tuples of them."""
    assert is_shareable(value)


@pytest.mark.parametrize("value", [[1], {}, (1, []), {1}, bytearray(), object(), Path("x"), np.zeros(1)])
def test_what_can_change_is_not_shared(value: Any) -> None:
    """A path among them: it stands for the file."""
    assert not is_shareable(value)


def test_two_consumers_get_lists_of_their_own() -> None:
    """Each appends to what it got; neither sees the other, nor does the workflow's value."""
    done = run(
        call("make", lambda: [1, 2]),
        call("left", change, of("make")),
        call("right", change, of("make")),
        call("after", lambda x, y, z: (x, y, z), of("make"), of("left"), of("right")),
        result="after",
    )
    assert done.value == ([1, 2], [1, 2, 99], [1, 2, 99])


def test_a_constant_is_every_tasks_own() -> None:
    """The same list as an argument of two calls, and the caller's own list stays as it was."""
    given = [1]
    shared = Constant(given)
    done = run(
        call("a", change, shared),
        call("b", change, shared),
        call("c", lambda x, y: (x, y), of("a"), of("b")),
        result="c",
    )
    assert done.value == ([1, 99], [1, 99])
    assert given == [1]


def test_one_task_that_gets_a_value_twice_gets_two() -> None:
    """As in a container, where each input is decoded by itself."""
    done = run(
        call("make", lambda: [1]), call("both", lambda x, y: (change(x), y), of("make"), of("make")), result="both"
    )
    assert done.value == ([1, 99], [1])


def address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


def test_a_sole_consumer_takes_the_original_array() -> None:
    """No copy of a large array where nobody else can see it, and one fewer than consumers otherwise."""
    made: list[int] = []

    def make() -> np.ndarray:
        array = np.ones(100_000)
        made.append(address(array))
        return array

    assert run(call("make", make), call("take", address, of("make")), result="take").value == made[0]
    done = run(
        call("make", make),
        call("a", address, of("make")),
        call("b", lambda x, wait: address(x), of("make"), of("a")),
        call("both", lambda a, b: [a, b], of("a"), of("b")),
        result="both",
    )
    assert [place == made[1] for place in done.value] == [False, True]


KEPT_LIST = [1]
KEPT_ARRAY = np.zeros(10_000)


def test_a_value_that_a_module_holds_on_to_is_not_handed_out() -> None:
    """A node returns a global: what its consumer does to it, the next node that returns it does not see."""

    def fill(x: np.ndarray) -> float:
        x += 1
        return float(KEPT_ARRAY[0] + KEPT_ARRAY[:10].sum())

    done = run(
        call("list", lambda: {"kept": KEPT_LIST}),
        call("change", lambda x: change(x["kept"]), of("list")),
        call("array", lambda: KEPT_ARRAY),
        call("fill", fill, of("array")),
        call("view", lambda: KEPT_ARRAY[:10]),
        call("fill-view", fill, of("view")),
        call("all", lambda a, b, c: (a, b, c), of("change"), of("fill"), of("fill-view")),
        result="all",
    )
    assert done.value == ([1, 99], 0.0, 0.0)
    assert KEPT_LIST == [1]


def test_a_value_is_what_it_was_when_its_task_ended() -> None:
    """A module's array that a later task changes: consumers get it as the first task returned it."""
    counter = np.zeros(10_000)

    def step() -> np.ndarray:
        nonlocal counter
        counter += 1
        return counter

    done = run(
        call("one", step),
        call("two", lambda wait: step(), 0, after=("one",)),
        call("read", lambda x, wait: float(x[0]), of("one"), of("two")),
        result="read",
    )
    assert done.value == 1.0


def test_arrays_are_writable_copies() -> None:
    """`x += 1` in one task leaves the other's array alone."""

    def add(x: np.ndarray) -> float:
        x += 1
        return float(x.sum())

    done = run(
        call("make", lambda: np.zeros(10_000)),
        call("a", add, of("make")),
        call("b", add, of("make")),
        call("sums", lambda a, b: (a, b), of("a"), of("b")),
        result="sums",
    )
    assert done.value == (10_000.0, 10_000.0)


def test_two_outputs_that_share_a_part_do_not_share_it_any_more() -> None:
    """One array returned under two names: changing one leaves the other."""

    def twice() -> tuple[Any, Any]:
        array = np.zeros(10_000)
        return array, array

    def add(x: np.ndarray) -> float:
        x += 1
        return float(x[0])

    done = run(
        call("twice", node(twice, outputs=("a", "b"), name="twice")),
        call("first", add, of("twice", "a")),
        call("second", lambda x, wait: float(x[0]), of("twice", "b"), of("first")),
        result="second",
    )
    assert done.value == 0.0


@pytest.fixture(scope="module")
def open_file() -> Iterator[Any]:
    with open(__file__) as file:
        yield file


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda file: (x for x in ()), "result"),
        (lambda file: {"model": [threading.Lock()]}, r'result\["model"\]\[0\]'),
        (lambda file: file, "result"),
    ],
)
def test_what_could_not_cross_fails_in_threads_too(make: Any, names: str, open_file: Any) -> None:
    """A generator, a lock, an open file: a TaskError that says where in the value, though nobody reads it."""
    with pytest.raises(TaskError, match=rf"make \(flow.py:4\)(.|\n)*{names}"):
        run(call("make", lambda: make(open_file)))


def test_a_constant_that_could_not_cross_names_the_argument() -> None:
    """The consumer's report says which argument."""
    with pytest.raises(TaskError, match=r"use \(flow.py:3\)(.|\n)*lock"):
        run(call("use", lambda lock: 1, threading.Lock()))


def test_a_returned_path_reaches_each_consumer_as_a_file_of_its_own(tmp_path: Path) -> None:
    """What one consumer writes into it, and what becomes of the original, the other does not see."""
    source = tmp_path / "data.txt"

    def write() -> Path:
        source.write_text("original")
        return source

    def spoil(path: Path) -> str:
        source.write_text("overwritten")
        path.write_text("spoilt")
        return "done"

    done = run(
        call("write", write),
        call("spoil", spoil, of("write")),
        call("read", lambda path, wait: path.read_text(), of("write"), of("spoil")),
        result="read",
    )
    assert done.value == "original"


def test_a_folder_in_scratch_is_stored_before_scratch_goes(tmp_path: Path) -> None:
    """A Path below scratch_dir() may be returned; the scratch folder itself is gone after the run."""
    seen: list[Path] = []

    def make() -> dict[str, Any]:
        folder = current().scratch_dir() / "report"
        folder.mkdir()
        (folder / "a.txt").write_text("A")
        seen.append(folder)
        return {"at": folder}

    done = run(call("make", make), call("read", lambda x: (x["at"] / "a.txt").read_text(), of("make")), result="read")
    assert done.value == "A"
    assert not seen[0].exists()


def test_a_path_in_the_workflows_value_can_be_read_after_the_run(tmp_path: Path) -> None:
    """With a record and without one."""

    def make() -> Path:
        path = current().scratch_dir() / "a.txt"
        path.write_text("kept")
        return path

    made = graph(call("make", make), result="make")
    assert execute(made, record=False).value.read_text() == "kept"
    assert execute(made, root=tmp_path).value.read_text() == "kept"


def test_values_are_forgotten_with_their_last_use() -> None:
    """A chain over large values holds no more than two of them at a time."""
    values = Values({("a", "result"): 2}, spool=MemoryStore, failed=lambda text: None)
    values.publish("a", {"result": [1]})
    assert values.fetch("a", "result", again=False, scratch=Path) == [1]
    values.used("a", "result")
    values.used("a", "result")
    with pytest.raises(KeyError):
        values.fetch("a", "result", again=False, scratch=Path)
    values.publish("b", {"result": [1]})
    with pytest.raises(KeyError):
        values.fetch("b", "result", again=False, scratch=Path)
