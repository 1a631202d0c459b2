"""Bodies that return calls, on the local engine: the calls become tasks of the run, side by side."""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grandpa_kfp import Component, Node, Workflow, run
from grandpa_kfp.authoring.calls import UnusedCallWarning
from grandpa_kfp.engine import events
from grandpa_kfp.engine.growth import prefix_below
from grandpa_kfp.engine.record import read_run
from grandpa_kfp_runtime.errors import TaskError

MEET_S = 60.0
ran: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def _fresh() -> None:
    ran.clear()


@Node
def add(a: Any, b: Any) -> Any:
    ran["add"] += 1
    return a + b


@Node
def identity(value: Any) -> Any:
    ran["identity"] += 1
    return value


@Node
def fib(n: int) -> int:
    ran["fib"] += 1
    return n if n < 2 else add(fib(n - 1), fib(n - 2))


@Node
def down(n: int) -> int:
    return 0 if n == 0 else down(n - 1)


@Node
def sum_to(n: int) -> int:
    return 0 if n == 0 else add(n, sum_to(n - 1))


@Node(outputs=("low", "high"))
def bounds(values: Any) -> tuple[Any, Any]:
    return min(values), max(values)


@Node
class Scale:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    def __call__(self, x: int) -> int:
        return self.factor * x


def value_of(node: Any, *args: Any, **options: Any) -> Any:
    """The node's value by a run."""

    @Workflow
    def flow() -> Any:
        return node(*args)

    return run(flow, record=False, **options).value


# --- side by side --------------------------------------------------------------------------------


def test_inner_tasks_of_one_body_run_at_the_same_time() -> None:
    """Three tasks that wait for each other end only if they run side by side."""
    meeting = threading.Barrier(3)

    @Node
    def meet(n: int) -> int:
        meeting.wait(MEET_S)
        return n

    @Node
    def outer() -> Any:
        return [meet(1), meet(2), meet(3)]

    assert value_of(outer, threads=3) == [1, 2, 3]


def test_a_grown_task_holds_no_lane() -> None:
    """Two bodies that return calls of tasks which meet: two lanes are enough for all four."""
    meeting = threading.Barrier(2)

    @Node
    def meet(n: int) -> int:
        meeting.wait(MEET_S)
        return n

    @Node
    def outer(n: int) -> Any:
        return meet(n)

    @Workflow
    def flow() -> Any:
        return outer(1), outer(2)

    assert run(flow, record=False, threads=2).value == (1, 2)


def test_tasks_of_the_graph_run_beside_inner_ones() -> None:
    """What does not wait for a grown task meets what that has become."""
    meeting = threading.Barrier(2)

    @Node
    def meet(n: int) -> int:
        meeting.wait(MEET_S)
        return n

    @Node
    def outer() -> Any:
        return add(meet(1), 1)

    @Workflow
    def flow() -> Any:
        return outer(), meet(5)

    assert run(flow, record=False, threads=2).value == (2, 5)


# --- values --------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 4])
def test_recursion_runs_each_body_once(threads: int) -> None:
    """fib(10): 177 calls of fib, 88 of add, on one lane as on four."""
    assert value_of(fib, 10, threads=threads) == 55
    assert ran == {"fib": 177, "add": 88}


def test_tasks_have_their_place_in_the_run() -> None:
    """Ids below the task whose body called them, parents, what they wait for, all succeeded."""

    @Workflow
    def flow() -> Any:
        return fib(2)

    done = run(flow, record=False)
    assert [(task.id, task.parent, task.waits_for) for task in done.tasks.values()] == [
        ("fib", "", ()),
        ("fib/fib", "fib", ()),
        ("fib/fib-2", "fib", ()),
        ("fib/add", "fib", ("fib/fib", "fib/fib-2")),
    ]
    assert {task.state for task in done.tasks.values()} == {"succeeded"}
    outer = done.tasks["fib"]
    assert all(outer.started <= task.started for task in done.tasks.values())


def test_refs_at_any_depth_of_a_result() -> None:
    """Structures are filled; parts, declared outputs and live objects are what they would be in place."""

    @Node
    def made() -> Any:
        ordered = bounds(identity([3, 1, 2]))
        return {"a": [add(1, 2), 5], "b": (ordered.high, ordered), "c": identity({"x": [7]})["x"][0], "d": None}

    @Node(outputs=("a", "b"))
    def declared() -> Any:
        return add(1, 1), [identity(5)]

    @Node(outputs=("a", "b"))
    def whole() -> Any:
        return declared()

    @Node(outputs=("only",))
    def single() -> Any:
        return identity({"only": 3})

    @Node
    def factor(scale: Scale) -> int:
        return scale.factor

    @Node
    def instances() -> Any:
        return [factor(Scale(add(1, 2))), Scale(identity(4))(5)]

    assert value_of(made) == {"a": [3, 5], "b": (3, (1, 3)), "c": 7, "d": None}
    assert value_of(whole) == (2, [5])
    assert value_of(single) == 3
    assert value_of(instances) == [3, 20]


def test_an_instance_that_a_body_returns_is_a_live_object() -> None:
    """With an init argument that is a call: constructed where it is used."""

    @Node
    def described() -> Any:
        return Scale(add(1, 2))

    @Node
    def factor(scale: Any) -> int:
        return scale.factor

    @Node
    def outer() -> Any:
        return factor(described())

    assert value_of(outer) == 3


def test_files_in_a_grown_result(tmp_path: Path) -> None:
    """Those that the body wrote, and those of inner tasks, are kept for the consumer."""
    from grandpa_kfp import current

    @Node
    def write(text: str) -> Path:
        path = current().scratch_dir() / "text"
        path.write_text(text, encoding="utf-8")
        return path

    @Node
    def read(path: Path) -> str:
        return path.read_text(encoding="utf-8")

    @Node
    def outer() -> Any:
        own = current().scratch_dir() / "own"
        own.write_text("own", encoding="utf-8")
        return [own, write("inner"), read(own)]

    @Node
    def texts(found: Any) -> Any:
        return [found[0].read_text(encoding="utf-8"), found[1].read_text(encoding="utf-8"), found[2]]

    @Workflow
    def flow() -> Any:
        return texts(outer())

    assert run(flow, record=False).value == ["own", "inner", "own"]
    assert run(flow, root=tmp_path).value == ["own", "inner", "own"]


class Counted:
    """Counts how often it is encoded."""

    encoded = 0

    def __reduce__(self) -> Any:
        Counted.encoded += 1
        return Counted, ()


def test_a_value_that_is_passed_up_is_encoded_once() -> None:
    """However deep the recursion is."""

    @Node
    def deep(n: int) -> Any:
        return Counted() if n == 0 else deep(n - 1)

    @Node
    def kind(value: Any) -> str:
        return type(value).__name__

    @Workflow
    def flow() -> Any:
        return kind(deep(20))

    Counted.encoded = 0
    assert run(flow, record=False).value == "Counted"
    assert Counted.encoded == 1


def test_consumers_get_copies_of_a_shared_value() -> None:
    """The inner task's value and the outer one's are the same bytes; who changes one changes no other."""

    @Node
    def numbers() -> Any:
        return [1]

    @Node
    def outer() -> Any:
        return numbers()

    @Node
    def grow(values: Any) -> Any:
        values.append(len(values))
        return values

    @Node
    def both() -> Any:
        shared = outer()
        return grow(shared), grow(shared), shared

    assert value_of(both) == ([1, 1], [1, 1], [1])


def test_what_was_resolved_in_the_body_is_not_run_again() -> None:
    """It enters the tasks as a value, with its part."""

    @Node
    def outer() -> Any:
        known = identity({"x": [4]})
        assert known["x"][0].resolve() == 4
        return add(known["x"][0], 1), known

    assert value_of(outer) == (5, {"x": [4]})
    assert ran["identity"] == 1


def test_components_workflows_and_options_in_bodies() -> None:
    """A component's calls are tasks; a workflow is evaluated in place; after, name and retries hold."""

    @Component
    def plus_two(a: Any) -> Any:
        return add(add(a, 1), 1)

    @Workflow
    def doubled(n: int) -> Any:
        return add(n, n)

    @Node
    def with_component() -> Any:
        first = identity.options(name="first")(1)
        return plus_two(5), add.options(after=[first], name="last")(1, 2)

    @Node
    def with_workflow() -> Any:
        return add(doubled(4), 1)

    @Workflow
    def flow() -> Any:
        return with_component(), with_workflow()

    done = run(flow, record=False)
    assert done.value == ((7, 3), 9)
    assert [(task.id, task.waits_for) for task in done.tasks.values() if task.parent] == [
        ("with_component/first", ()),
        ("with_component/add", ()),
        ("with_component/add-2", ("with_component/add",)),
        ("with_component/last", ("with_component/first",)),
    ]


def test_variables_of_the_environment_hold_for_inner_tasks() -> None:
    """Those of the body's task, and their own on top."""

    @Node
    def seen(name: str) -> str:
        return os.environ.get(name, "")

    @Node(env={"GROWN_A": "outer", "GROWN_B": "outer"})
    def outer() -> Any:
        return [seen("GROWN_A"), seen.options(env={"GROWN_B": "inner"})("GROWN_B")]

    assert value_of(outer) == ["outer", "inner"]
    assert "GROWN_A" not in os.environ


def test_unused_calls_are_warned_of() -> None:
    """They do not run; those that are returned do."""

    @Node
    def careless(n: int) -> Any:
        identity(n)
        return add(n, 1)

    with pytest.warns(UnusedCallWarning, match=r"careless calls identity \(tests/.*:\d+\) .* does not run"):
        assert value_of(careless, 1) == 2
    assert ran == {"add": 1}


# --- depth and size ------------------------------------------------------------------------------


def test_recursion_2000_deep() -> None:
    """Of a Ref as it is, and of one that something is done with."""
    assert value_of(down, 2000, threads=2) == 0
    assert value_of(sum_to, 2000, threads=2) == 2001000


def test_returned_refs_5000_deep() -> None:
    """A body that builds a chain and returns its end."""

    @Node
    def chain(n: int) -> Any:
        x: Any = 0
        for _ in range(n):
            x = add(x, 1)
        return x

    assert value_of(chain, 5000) == 5000


def test_ids_stay_short() -> None:
    """Deep down a hash stands for the way there; ids are distinct, and the same in every run."""

    @Workflow
    def flow() -> Any:
        return down(300)

    first, second = run(flow, record=False), run(flow, record=False)
    assert len(first.tasks) == 301
    assert list(first.tasks) == list(second.tasks)
    assert max(map(len, first.tasks)) < 200
    assert prefix_below("a/b") == "a/b/"


@pytest.mark.parametrize("threads", [1, 2])
def test_bodies_that_resolve_do_not_wait_for_lanes(threads: int) -> None:
    """199 bodies wait for each other, on one lane."""

    @Node
    def nested(n: int) -> int:
        return 0 if n == 0 else 1 + nested(n - 1).resolve()

    @Node
    def outer(n: int) -> Any:
        return nested(n)

    assert value_of(outer, 150, threads=threads) == 150
    with pytest.raises(TaskError, match=r"200 bodies wait for each other .* return the Ref"):
        value_of(outer, 250, threads=threads)


def test_growth_without_end_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the limit, showing the path that repeats; the tasks that led there have failed."""

    @Node
    def ping(n: int) -> Any:
        return pong(n + 1)

    @Node
    def pong(n: int) -> Any:
        return ping(n + 1)

    monkeypatch.setenv("GRANDPA_MAX_TASKS", "300")
    with pytest.raises(TaskError, match=r"grew beyond 300 tasks: .*(ping → pong → ping|pong → ping → pong) → \.\.\."):
        value_of(ping, 0)


class Live:
    """Counts how many of its kind there are at once."""

    now = most = 0

    def __init__(self) -> None:
        self.payload = bytes(1000)
        Live.born()

    def __setstate__(self, state: Any) -> None:
        self.__dict__.update(state)
        Live.born()

    def __del__(self) -> None:
        Live.now -= 1

    @classmethod
    def born(cls) -> None:
        cls.now += 1
        cls.most = max(cls.most, cls.now)


def test_values_are_let_go_on_the_way_down() -> None:
    """A value that 100 bodies hand on, each to the next, is there a few times only, not a hundred."""

    @Node
    def handed_on(value: Any, n: int) -> Any:
        return type(value).__name__ if n == 0 else handed_on(value, n - 1)

    @Node
    def start() -> Any:
        return handed_on(Live(), 100)

    Live.now = Live.most = 0
    assert value_of(start) == "Live"
    assert Live.most < 20


# --- failures ------------------------------------------------------------------------------------


def test_a_failing_inner_task_fails_the_run_with_its_own_report() -> None:
    """And with the path that led to it; the tasks above have failed by it."""

    @Node
    def broken(n: int) -> int:
        raise ValueError(f"no {n}")

    @Node
    def middle(n: int) -> Any:
        return add(broken(n), 1)

    @Node
    def outer(n: int) -> Any:
        return middle(n + 1)

    told: list[events.Event] = []
    with pytest.raises(TaskError) as caught:
        value_of(outer, 1, listeners=[told.append])
    text = str(caught.value)
    assert text.startswith("outer/middle/broken (tests/grandpa/test_growing_parallel.py")
    assert "ValueError: no 2" in text
    assert "n = 2" in text
    assert text.endswith("Called by: outer → middle")
    tasks = caught.value.run.tasks
    assert {task.id: task.state for task in tasks.values()} == {
        "outer": "failed",
        "outer/middle": "failed",
        "outer/middle/broken": "failed",
        "outer/middle/add": "skipped",
    }
    assert tasks["outer"].error == "outer/middle/broken failed"
    failed = [event.task for event in told if isinstance(event, events.TaskFailed)]
    assert sorted(failed) == ["outer", "outer/middle", "outer/middle/broken"]


def test_keep_going_runs_what_does_not_need_the_failed_task() -> None:
    """Siblings of the inner task, and tasks of the graph; what waits for the grown task is skipped."""

    @Node
    def broken() -> int:
        raise ValueError("no")

    @Node
    def outer() -> Any:
        return [broken(), identity(1)]

    @Workflow
    def flow() -> Any:
        return identity(outer()), identity(2)

    with pytest.raises(TaskError) as caught:
        run(flow, record=False, keep_going=True, threads=1)
    states = {task.id: task.state for task in caught.value.run.tasks.values()}
    assert states == {
        "outer": "failed",
        "identity": "skipped",
        "identity-2": "succeeded",
        "outer/broken": "failed",
        "outer/identity": "succeeded",
    }


def test_retries_of_an_inner_task_are_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The body above runs once; the value comes from the second attempt."""
    monkeypatch.setattr("grandpa_kfp.engine.ledger.LONGEST_PAUSE_S", 0.01)

    @Node(retries=1)
    def flaky(n: int) -> int:
        ran["flaky"] += 1
        if ran["flaky"] == 1:
            raise ValueError("not yet")
        return n

    @Node(retries=3)
    def outer(n: int) -> Any:
        ran["outer"] += 1
        return add(flaky(n), 1)

    assert value_of(outer, 4) == 5
    assert ran == {"flaky": 2, "outer": 1, "add": 1}


def test_a_timeout_covers_the_body_alone() -> None:
    """What the body has become may last longer."""

    @Node
    def long() -> int:
        time.sleep(2.5)
        return 1

    @Node(timeout_s=2)
    def outer() -> Any:
        return long()

    assert value_of(outer) == 1


def test_a_result_that_does_not_fit_is_the_outer_tasks_fault() -> None:
    """Outputs are split once the inner tasks have ended; a missing part is told."""

    @Node(outputs=("a", "b"))
    def wrong() -> Any:
        return [identity(1), 2, 3]

    @Node(retries=2)
    def missing() -> Any:
        return [identity({"x": 1})["y"]]

    with pytest.raises(TaskError, match=r"wrong .*it returned list of 3.*declares the outputs a, b") as caught:
        value_of(wrong)
    assert caught.value.task == "wrong"
    with pytest.raises(TaskError, match=r"has no \['y'\]") as caught:
        value_of(missing)
    assert caught.value.task == "missing"
    assert ran["identity"] == 2


def test_an_inner_result_that_cannot_be_encoded_is_told() -> None:
    """As one of a task of the graph is."""

    @Node
    def lock() -> Any:
        return threading.Lock()

    @Node
    def outer() -> Any:
        return lock()

    with pytest.raises(TaskError, match="lock") as caught:
        value_of(outer)
    assert caught.value.task == "outer/lock"


# --- events and record ---------------------------------------------------------------------------


def test_growth_is_told_before_what_it_adds_runs() -> None:
    """TaskGrew names the new tasks with what they wait for; each of them is queued, started, finished once."""
    told: list[events.Event] = []
    assert value_of(fib, 3, listeners=[told.append]) == 2
    grew = [event for event in told if isinstance(event, events.TaskGrew)]
    assert grew[0].task == "fib"
    assert grew[0].children == {"fib/fib": (), "fib/fib-2": (), "fib/add": ("fib/fib", "fib/fib-2")}
    known = {"fib"}
    for event in told:
        if isinstance(event, events.TaskGrew):
            known.update(event.children)
        elif isinstance(event, events.TaskQueued | events.TaskStarted | events.TaskFinished):
            assert event.task in known
    for kind in (events.TaskQueued, events.TaskStarted, events.TaskFinished):
        assert Counter(event.task for event in told if isinstance(event, kind)) == Counter(known)
    finished = [event.task for event in told if isinstance(event, events.TaskFinished)]
    assert finished[-1] == "fib"


def test_the_record_shows_what_tasks_have_become(tmp_path: Path) -> None:
    """Read back from events alone: parents, what was waited for, handles of every value."""

    @Workflow
    def flow() -> Any:
        return fib(3)

    done = run(flow, root=tmp_path)
    back = read_run(tmp_path)
    assert {task.id: (task.parent, task.waits_for, task.state, task.outputs) for task in back.tasks.values()} == {
        task.id: (task.parent, task.waits_for, task.state, task.outputs) for task in done.tasks.values()
    }
    assert back.tasks["fib"].outputs == {"result": "2"}
    assert done.folder is not None
    results = json.loads((done.folder / "results.json").read_text(encoding="utf-8"))
    assert results["tasks"]["fib/add"]["parent"] == "fib"


# --- the same as in place ------------------------------------------------------------------------


@Node
def built(spec: Any) -> Any:
    """A body that returns what a random description says."""
    ran["built"] += 1
    return build(spec)


def build(spec: Any) -> Any:
    kind, *inner = spec
    if kind == "value":
        return inner[0]
    if kind == "list":
        return [build(item) for item in inner]
    if kind == "dict":
        return {str(place): build(item) for place, item in enumerate(inner)}
    if kind == "twice":
        shared = identity(build(inner[0]))
        return identity([shared, (shared,)])
    if kind == "size":
        return size(build(inner[0]))
    if kind == "resolved":
        return identity(build(inner[0])).resolve()
    if kind == "resolved ref":
        ref = identity(build(inner[0]))
        ref.resolve()
        return [ref, ref]
    if kind == "part":
        return identity([build(inner[0]), 7])[0]
    if kind == "ordered":
        ordered = bounds([size(build(item)) for item in inner])
        return ordered.high
    if kind == "scaled":
        return Scale(size(build(inner[0])))(size(build(inner[0])))
    assert kind == "built"
    return built(inner[0])


@Node
def size(value: Any) -> int:
    ran["size"] += 1
    return len(repr(value))


specs = st.recursive(
    st.tuples(st.just("value"), st.one_of(st.integers(-5, 5), st.text("ab", max_size=3), st.none())),
    lambda below: st.one_of(
        st.tuples(st.just("list"), below, below),
        st.tuples(st.just("dict"), below, below),
        st.tuples(st.just("ordered"), below, below),
        st.tuples(
            st.sampled_from(["twice", "size", "resolved", "resolved ref", "part", "scaled", "built", "built"]), below
        ),
    ),
    max_leaves=8,
)


@given(specs, st.sampled_from([1, 3]))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_run_gives_what_evaluation_in_place_gives(spec: Any, threads: int) -> None:
    """The same value, and each body as often."""
    ran.clear()
    expected = built(spec).resolve()
    in_place = dict(ran)
    ran.clear()
    assert value_of(built, spec, threads=threads) == expected
    assert dict(ran) == in_place
