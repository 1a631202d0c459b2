"""Resolving: each call once, in any depth, every consumer with a copy of its own."""

from __future__ import annotations

import asyncio
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from grandpa_kfp import Component, Node, Workflow, resolve
from grandpa_kfp.authoring.calls import UnusedCallWarning
from grandpa_kfp.authoring.growing import resolve_all
from grandpa_kfp_runtime.errors import TaskError, TraceError

runs: list[Any] = []


@pytest.fixture(autouse=True)
def _fresh_runs():
    runs.clear()


@Node
def add(a: Any, b: Any) -> Any:
    runs.append(("add", a, b))
    return a + b


@Node(cache=False)
def identity(value: Any) -> Any:
    runs.append("identity")
    return value


@Node
def fib(n: int) -> int:
    return n if n < 2 else add(fib(n - 1), fib(n - 2))


@Node
def count_down(n: int) -> int:
    return 0 if n == 0 else count_down(n - 1)


@Node
def sum_to(n: int) -> int:
    return 0 if n == 0 else add(n, sum_to(n - 1))


@Node
def fail(value: Any) -> Any:
    runs.append("fail")
    raise ValueError(f"no {value}")


@Node(outputs=("low", "high"))
def bounds(values: Any) -> tuple[Any, Any]:
    return min(values), max(values)


# --- the first engines' examples -----------------------------------------------------------------


def test_nested_arithmetic():
    """A node inside a node inside a node; order of arguments kept."""

    @Node
    def _add(a, b):
        return a + b

    @Node()
    def plus(a, b):
        return _add(a, b)

    @Node()
    def minus(a, b):
        return a - b

    @Node()
    def times(a, b, c):
        return a * b * c

    @Node()
    def pipeline(a, b, c, d):
        return times(plus(a, b), c, minus(c, d))

    future = pipeline(10, 2, 5, 6)
    assert future.resolve() == -60
    assert future.resolve() == -60
    assert minus(10, plus(1, 2)).resolve() == 7


def test_recursion_in_bodies():
    """A node that returns calls of itself."""
    assert fib(10).resolve() == 55


def test_components_and_classes():
    """A remainder of nodes; a class with init arguments that are outputs."""

    @Node("example")
    class Example:
        def __init__(self, a, b):
            self.a, self.b = a, b

        def __call__(self, c):
            return self.a + self.b + c

    @Component("example-component")
    def component(a, b):
        node = Example(a, b)
        return node(identity(4))()

    assert component(1, identity(2))().resolve() == 7


def test_seven_nodes_run_once_each():
    """A to G: 108, seven executions."""
    calls: list[str] = []

    def named(name, function):
        def body(*args):
            calls.append(name)
            return function(*args)

        return Node(name=name)(body)

    a = named("A", lambda v: v)(10)
    b = named("B", lambda x: x)(a)
    c, d = named("C", lambda x: x - 2)(a), named("D", lambda x: x - 2)(a)
    e, f = named("E", lambda x, y: x - y)(c, d), named("F", lambda x: x * 10)(b)
    assert named("G", lambda x, y, z: x + y - z)(f, c, e).resolve() == 108
    assert sorted(calls) == list("ABCDEFG")


# --- each once -----------------------------------------------------------------------------------


def test_a_ladder_runs_each_step_once():
    """x = add(x, x), thirty times: thirty executions."""
    x: Any = 1
    for _ in range(30):
        x = add(x, x)
    assert x.resolve() == 2**30
    assert len(runs) == 30


def test_a_resolved_ref_keeps_its_value():
    """Resolving it again, or a neighbour, runs nothing twice."""
    shared = identity(5)
    left, right = add(shared, 1), add(shared, 2)
    assert left.resolve() == 6
    assert right.resolve() == 7
    assert (left.resolve(), shared.resolve()) == (6, 5)
    assert runs == ["identity", ("add", 5, 1), ("add", 5, 2)]


def test_only_what_is_needed_runs():
    """A call that the value does not need is left alone."""
    identity(1)
    other = fail(2)
    assert add(1, 2).resolve() == 3
    assert runs == [("add", 1, 2)]
    assert repr(other).startswith("<Ref fail")


def test_after_runs_first():
    """Order without data."""
    first = identity("x")
    assert add.options(after=[first])(1, 2).resolve() == 3
    assert runs == ["identity", ("add", 1, 2)]


def test_several_refs_share_what_they_need():
    """`resolve` of a structure is one evaluation."""
    shared = identity(1)
    assert resolve([add(shared, 1), add(shared, 2), shared]) == [2, 3, 1]
    assert runs.count("identity") == 1


# --- depth ---------------------------------------------------------------------------------------


def test_recursion_2000_deep():
    """Of returned Refs: no recursion of Python's."""
    assert count_down(2000).resolve() == 0
    assert sum_to(2000).resolve() == 2001000


def test_a_chain_of_2000():
    """Built first, resolved at its end."""
    x: Any = 0
    for index in range(2000):
        x = add(x, index)
    assert x.resolve() == sum(range(2000))
    del x


def test_nested_resolve_up_to_the_limit():
    """A body may resolve; two hundred may wait for each other, on Python's default stack."""

    @Node
    def nested(n: int) -> int:
        return 0 if n == 0 else 1 + nested(n - 1).resolve()

    limit = sys.getrecursionlimit()
    assert nested(199).resolve() == 199
    with pytest.raises(TaskError, match=r"200 bodies wait .* return the Ref instead"):
        nested(200).resolve()
    assert sys.getrecursionlimit() == limit


def test_growth_without_end_is_stopped():
    """At the limit, showing the path that repeats."""

    @Node
    def ping(n: int) -> int:
        return pong(n + 1)

    @Node
    def pong(n: int) -> int:
        return ping(n + 1)

    with pytest.raises(TaskError, match=r"grew beyond 500 tasks: .*(ping → pong → ping|pong → ping → pong) → \.\.\."):
        resolve_all([ping(0)], max_tasks=500)


def test_the_limit_comes_from_the_environment(monkeypatch):
    """So that a run in a container can set it."""
    monkeypatch.setenv("GRANDPA_MAX_TASKS", "10")
    with pytest.raises(TaskError, match="grew beyond 10 tasks: count_down → count_down"):
        count_down(20).resolve()


def test_a_cycle_is_found():
    """A body that returns what needs its own result."""
    refs: list[Any] = []

    @Node
    def knot() -> Any:
        return add(refs[0], 1)

    refs.append(knot())
    with pytest.raises(TaskError, match=r"waits for itself: .*(add → knot|knot → add)"):
        refs[0].resolve()

    @Node
    def self_made() -> Any:
        return refs[1]

    refs.append(self_made())
    with pytest.raises(TaskError, match="self_made → self_made"):
        refs[1].resolve()

    @Node
    def asks_itself() -> Any:
        return refs[2].resolve()

    refs.append(asks_itself())
    with pytest.raises(TaskError, match="asks_itself → asks_itself"):
        refs[2].resolve()


# --- what bodies return --------------------------------------------------------------------------


def test_refs_at_any_depth_of_a_result():
    """They are replaced; the rest stays."""

    @Node
    def structure() -> Any:
        return {"a": [add(1, 2), 5], "b": (identity("x"),)}

    assert structure()["a"][0].resolve() == 3
    assert structure().resolve() == {"a": [3, 5], "b": ("x",)}


def test_declared_outputs_of_a_grown_result():
    """The outputs are split after growing."""

    @Node(outputs=("a", "b"))
    def grown():
        return add(1, 1), 5

    @Node(outputs=("a", "b"))
    def whole():
        return grown()

    assert resolve([grown().a, whole().b, whole()]) == [2, 5, (2, 5)]
    assert bounds([3, 1, 2]).high.resolve() == 3


def test_wrong_outputs_are_the_nodes_fault():
    """Named with what it returned and declares."""

    @Node(outputs=("a", "b"))
    def wrong():
        return 1, 2, 3

    with pytest.raises(TaskError, match=r"wrong \(tests/.*:\d+\): it returned tuple of 3.* declares the outputs a, b"):
        wrong().a.resolve()


def test_a_missing_part_is_told():
    """Which value, which key."""
    with pytest.raises(TaskError, match=r"\['b'\], is missing: the value is dict of 1 and has no \['b'\]"):
        identity({"a": 1})["b"].resolve()


def test_unused_calls_in_a_body_are_warned_of_once():
    """They do not run; the place is named, once a node."""

    @Node
    def careless(n: int) -> Any:
        identity(n)
        return add(n, 1)

    with pytest.warns(UnusedCallWarning, match=r"careless calls identity \(tests/.*:\d+\) .* does not run"):
        assert careless(1).resolve() == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert careless(2).resolve() == 3
    assert "identity" not in runs


def test_unused_calls_in_a_tasks_body_are_warned_of():
    """Where an engine runs the outer body as well, even if it returns no Ref at all."""
    from grandpa_kfp import run

    @Node
    def careless(n: int) -> int:
        identity(n)
        return n

    @Node
    def careful(n: int) -> int:
        return identity(n).resolve() + resolve(add(n, identity(1)))

    with pytest.warns(UnusedCallWarning, match=r"careless calls identity \(tests/.*:\d+\) .* does not run"):
        assert run(careless, {"n": 1}, record=False).value == 1
    assert runs == []
    assert run(careful, {"n": 1}, record=False).value == 3


def test_a_run_inside_a_body_records_for_itself():
    """Calls in its tasks are not those of the body around."""
    from grandpa_kfp import run

    @Node
    def inner(n: int) -> Any:
        return identity(n)

    @Node
    def outer(n: int) -> Any:
        return run(inner, {"n": n}, record=False).value

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert outer(3).resolve() == 3


def test_used_calls_are_not_warned_of():
    """Those that a returned one needs, or that were resolved."""

    @Node
    def careful(n: int) -> Any:
        used = identity(n)
        assert identity(n).resolve() == n
        return add(used, 1)

    assert careful(1).resolve() == 2


def test_async_bodies():
    """They run to their end, inside a running loop too, and may return Refs."""

    @Node
    async def later(n: int) -> int:
        await asyncio.sleep(0)
        return add(n, 1)

    async def in_a_loop() -> Any:
        return later(2).resolve()

    assert later(1).resolve() == 2
    assert asyncio.run(in_a_loop()) == 3


# --- isolation -----------------------------------------------------------------------------------


@Node
def grow_list(values: Any) -> Any:
    values.append(len(values))
    return values


def test_no_task_sees_anothers_changes():
    """Lists, arrays, objects: every consumer has its own."""
    shared = identity([0])
    assert resolve([grow_list(shared), grow_list(shared), shared]) == [[0, 1], [0, 1], [0]]

    @Node
    def increase(array: Any) -> Any:
        array += 1
        return array

    array = np.zeros(3)
    made = identity(array)
    assert [value.tolist() for value in resolve([increase(made), increase(made), made])] == [
        [1.0] * 3,
        [1.0] * 3,
        [0.0] * 3,
    ]


def test_constants_are_not_changed():
    """A task gets a copy of the caller's list and array."""
    values, array = [0], np.zeros(2)

    @Node
    def change(values: Any, array: Any) -> Any:
        values.append(1)
        array += 1
        return len(values), float(array[0])

    assert change(values, array).resolve() == (2, 1.0)
    assert (values, array.tolist()) == ([0], [0.0, 0.0])


def test_a_result_kept_by_its_body_does_not_change():
    """The value is what was returned, not what it became later."""
    kept: list[Any] = []

    @Node
    def leaky() -> Any:
        kept.append(np.zeros(2))
        return kept[0]

    ref = leaky()
    ref.resolve()
    kept[0] += 1
    assert ref.resolve().tolist() == [0.0, 0.0]


def test_a_resolved_value_is_the_callers_own():
    """Changing it changes no later one."""
    ref = identity([1])
    ref.resolve().append(2)
    assert ref.resolve() == [1]


def test_instances_are_constructed_for_each_task():
    """From their description, constants copied."""

    @Node
    class Collector:
        def __init__(self, seen: list[int]) -> None:
            self.seen = seen

        def process(self, value: int) -> list[int]:
            self.seen.append(value)
            return self.seen

    collector = Collector([0])
    assert resolve([collector.process(1), collector(2)]) == [[0, 1], [0, 2]]


def test_files_are_values(tmp_path):
    """A path that a node returns stands for its content; one that is passed stands for itself."""

    @Node
    def write(folder: Path) -> Path:
        path = folder / "a.txt"
        path.write_text("content")
        return path

    @Node
    def read(path: Path) -> str:
        return path.read_text()

    written = write(tmp_path)
    assert read(written).resolve() == "content"
    (tmp_path / "a.txt").unlink()
    assert read(written).resolve() == "content"
    (tmp_path / "b.txt").write_text("given")
    assert read(tmp_path / "b.txt").resolve() == "given"


@pytest.mark.parametrize("result", [lambda: (i for i in range(3)), lambda: threading.Lock()])
def test_a_result_that_cannot_be_encoded(result):
    """Is a TaskError that names the fix, here as on every engine."""

    @Node
    def make() -> Any:
        return {"inner": [result()]}

    with pytest.raises(TaskError, match=r"make \(tests/.*:\d+\): result\['inner'\]\[0\]|result\[\"inner\"\]\[0\]"):
        make().resolve()


# --- failures ------------------------------------------------------------------------------------


def test_a_failing_body():
    """Node, place, error, inputs; the original as the cause."""
    with pytest.raises(TaskError) as caught:
        add(fail([1, 2]), 1).resolve()
    message = str(caught.value)
    assert message.startswith("fail (tests/grandpa/test_growing.py:")
    assert "ValueError: no [1, 2]" in message
    assert "value = list of 2" in message
    assert "(at tests/grandpa/test_growing.py:" in message
    assert isinstance(caught.value.__cause__, ValueError)
    assert caught.value.task == "fail"


def test_a_failure_inside_a_grown_call():
    """Names the inner call."""

    @Node
    def outer() -> Any:
        return add(1, fail("x"))

    with pytest.raises(TaskError, match=r"^fail \("):
        outer().resolve()


def test_a_failed_call_can_be_resolved_again():
    """It runs anew; what was done before stays done."""
    attempts: list[int] = []

    @Node
    def flaky(value: int) -> int:
        attempts.append(value)
        if len(attempts) == 1:
            raise OSError("once")
        return value

    @Node
    def outer(value: int) -> Any:
        return flaky(value)

    ref = outer(identity(7))
    with pytest.raises(TaskError, match="OSError: once"):
        ref.resolve()
    assert ref.resolve() == 7
    assert runs == ["identity"]


def test_retries():
    """A node is tried again as often as it says, with fresh inputs."""
    seen: list[list[int]] = []

    @Node(retries=2)
    def flaky(values: list[int]) -> int:
        seen.append(list(values))
        values.append(1)
        if len(seen) < 3:
            raise OSError("not yet")
        return len(values)

    assert flaky([0]).resolve() == 2
    assert seen == [[0], [0], [0]]


def test_a_ref_used_as_a_value_in_a_body():
    """The body fails with the Ref's own message."""

    @Node
    def wrong(n: int) -> int:
        return identity(n) + 1

    with pytest.raises(TaskError, match=r"wrong .* TraceError: .*`\+`") as caught:
        wrong(1).resolve()
    assert isinstance(caught.value.__cause__, TraceError)


def test_an_interrupt_passes_through():
    """Ctrl-C is no failure of a node."""

    @Node
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted().resolve()


# --- threads -------------------------------------------------------------------------------------


def test_two_threads_resolve_one_ref():
    """The body runs once; the other one waits for it."""
    started, release = threading.Event(), threading.Event()
    ran: list[int] = []

    @Node
    def slow() -> int:
        ran.append(1)
        started.set()
        assert release.wait(60)
        return 7

    ref = slow()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(ref.resolve)
        assert started.wait(60)
        second = pool.submit(ref.resolve)
        release.set()
        assert (first.result(60), second.result(60)) == (7, 7)
    assert ran == [1]


# --- workflows -----------------------------------------------------------------------------------


@Workflow
def flow(a: int = 10, b: int = 2):
    identity("unused")
    return add(a, b)


def test_a_workflow_called_in_a_body():
    """Its value grows as any call's does; every call in it runs, consumed or not."""

    @Node
    def outer(n: int) -> Any:
        return [flow(a=n), flow(b=n)]

    assert outer(5).resolve() == [7, 15]
    assert runs.count("identity") == 2


def test_a_workflow_outside_a_trace(tmp_path, monkeypatch):
    """A Ref, lazy; `.resolve()` for the value, `.run()` for the run, Refs among the parameters resolved first."""
    monkeypatch.chdir(tmp_path)
    ref = flow(identity(1), b=4)
    assert runs == []
    run = ref.run(record=False)
    assert run.value == 5
    assert flow(a=2.0).resolve() == 4
    assert add(flow(a=1), 1).resolve() == 4
    assert flow().run(record=False, store="memory:").value == 12
