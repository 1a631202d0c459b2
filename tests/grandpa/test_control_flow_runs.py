"""Branches and loops on the local engine, on threads and on worker processes; what they mean: `tests/conformance`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import control_flows as flows
import numpy as np
import pytest

from grandpa_kfp import Node, TaskError, Workflow, collect, each, either, otherwise, run, trace, when
from grandpa_kfp.deployment.recorded import GraphRun
from grandpa_kfp.engine import events
from grandpa_kfp.engine.execute import execute
from grandpa_kfp.engine.processes.crew import Crew
from grandpa_kfp.engine.record import read_run
from grandpa_kfp.engine.workers import workers
from grandpa_kfp.packing import pack
from grandpa_kfp_compiler.json_format import dumps, loads
from grandpa_kfp_runtime.errors import LoadError
from grandpa_kfp_runtime.stores.memory import MemoryStore


@pytest.fixture(scope="module")
def pair() -> Iterator[Crew]:
    crew = workers(2, 1, None)
    assert crew is not None
    yield crew
    crew.close()


@pytest.fixture(params=["threads", "processes"])
def engine(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What `run` is told beside the workflow."""
    chosen: dict[str, Any] = {"record": False}
    return chosen if request.param == "threads" else {**chosen, "processes": request.getfixturevalue("pair")}


@pytest.mark.parametrize(
    "workflow", [flows.three_ways, flows.loops, flows.mixed, flows.big], ids=lambda item: item.name
)
def test_a_graph_file_runs_the_same(workflow: Any) -> None:
    graph = loads(dumps(pack(trace(workflow))))
    assert execute(graph, {}, record=False).value == run(workflow, record=False).value


@Workflow
def many(n: int = 1000) -> Any:
    with each(flows.count_to(n)) as x:
        doubled = flows.double(x)
    return flows.total(collect(doubled))


def test_a_thousand_rounds(engine: dict[str, Any]) -> None:
    done = run(many, **engine)
    assert done.value == 999_000
    assert sum(task.name == "double" for task in done.tasks.values()) == 1000


@Workflow
def bounded() -> Any:
    with each(range(20), parallelism=3) as x:
        count = flows.note_how_many(x)
    return collect(count)


def test_no_more_rounds_at_once_than_asked_for() -> None:
    assert max(run(bounded, record=False, threads=8).value) <= 3


def test_skipped_tasks_are_told_and_recorded(tmp_path: Path) -> None:
    """To listeners as they happen, in the record for later."""
    heard: list[events.Event] = []
    done = execute(trace(flows.three_ways), {"x": 0}, root=tmp_path, listeners=[heard.append])
    dropped = {event.task: event.state for event in heard if isinstance(event, events.TaskDropped)}
    assert dropped == {"when/double": "skipped", "when/double-2": "skipped", "when/double-3": "skipped"}
    again = read_run(tmp_path)
    assert {id_: task.state for id_, task in again.tasks.items()} == {id_: t.state for id_, t in done.tasks.items()}
    assert again.tasks["when/double"].parent == "when"
    with pytest.raises(LoadError, match=r"when \(.*control_flows.py:\d+\) is a branch or a loop"):
        GraphRun(again, MemoryStore(), tmp_path).made("when")


@Workflow
def compares(x: Any = None) -> Any:
    with when(flows.no_list(x) > 3):
        a = flows.double(1)
    return either(a, 0)


@pytest.mark.parametrize("x", [[1], {"a": 1}])
def test_a_condition_on_what_it_cannot_test(x: Any, engine: dict[str, Any]) -> None:
    with pytest.raises(
        TaskError, match=r"when \(.*test_control_flow_runs.py:\d+\).*tests booleans, numbers and texts"
    ) as caught:
        run(compares, {"x": x}, **engine)
    assert caught.value.task == "when"


def test_a_condition_on_what_has_no_order(engine: dict[str, Any]) -> None:
    with pytest.raises(TaskError, match=r"orders what has no order: .*text.* > 3"):
        run(compares, {"x": "text"}, **engine)


@Node
def measured(x: float) -> Any:
    return np.float32(x)


@Workflow
def compares_numpy(x: float = 4.5) -> Any:
    with when((measured(x) > 3) & (measured(x) == x)):
        a = flows.double(1)
    return either(a, 0)


def test_a_numpy_number_is_a_number(engine: dict[str, Any]) -> None:
    assert run(compares_numpy, **engine).value == 2
    assert run(compares_numpy, {"x": 1.0}, **engine).value == 0


@Workflow
def loops_over(x: Any = 3) -> Any:
    with each(flows.no_list(x)) as item:
        flows.double(item)


@pytest.mark.parametrize("x", [3, "abc", {"a": 1}])
def test_a_loop_over_no_list(x: Any, engine: dict[str, Any]) -> None:
    with pytest.raises(TaskError, match=r"each \(.*\).*loops over a list, but was given"):
        run(loops_over, {"x": x}, **engine)


@Workflow
def fails(bad: int = 2) -> Any:
    with each(range(4), parallelism=1) as x:
        y = flows.fail_at(x, bad)
    return flows.total(collect(y))


def test_a_failure_in_a_round_names_the_round(engine: dict[str, Any]) -> None:
    """And the loop has failed; what waits for it is skipped; the rounds before it are kept."""
    with pytest.raises(TaskError, match="2 is bad") as caught:
        run(fails, **engine)
    assert caught.value.task == "each/2/fail_at"
    done = caught.value.run
    assert done is not None
    states = {id_: task.state for id_, task in done.tasks.items()}
    assert states["each/1/fail_at"] == "succeeded"
    assert (states["each/2/fail_at"], states["each"], states["total"]) == ("failed", "failed", "skipped")


@Node
def prints(x: int) -> None:
    print(x)


@Workflow
def without_values(x: int = 1) -> None:
    with when(x > 0):
        prints(x)
    with otherwise():
        prints(x)
    with each([]) as item:
        prints(item)


def test_branches_and_loops_that_give_nothing(engine: dict[str, Any]) -> None:
    done = run(without_values, **engine)
    assert done.value is None
    assert {id_: task.state for id_, task in done.tasks.items()} == {
        "when": "succeeded", "when/prints": "succeeded", "when/prints-2": "skipped", "each": "succeeded",
    }  # fmt: skip


@Workflow
def waits(x: int = 1) -> Any:
    first = flows.double(x)
    with when(x > 0):
        inner = flows.double.options(after=first)(x)
    return flows.double.options(after=inner)(5)


def test_after_reaches_into_and_out_of_branches(engine: dict[str, Any]) -> None:
    """A task in a branch waits for one before it, one behind it for the whole branch, taken or not."""
    done = run(waits, **engine)
    begun = {id_: task.started for id_, task in done.tasks.items()}
    assert begun["double"] <= begun["when/double"] <= begun["double-2"]
    assert run(waits, {"x": -1}, **engine).value == 10
