"""The graph engine on threads: order, failure, retries, timeouts, what is given and what is wanted."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from engine_graphs import call, graph, node, of

from grandpa_kfp.engine import ledger
from grandpa_kfp.engine.events import TaskDropped, TaskFailed, TaskFinished, TaskRetried, TaskStarted
from grandpa_kfp.engine.execute import execute
from grandpa_kfp_compiler.graph import Constant, Filled, Graph, Parameter, ParameterValue, TypeSpec
from grandpa_kfp_runtime.context import current
from grandpa_kfp_runtime.errors import GraphError, ParameterError, TaskError, TaskTimeout


def run(made: Graph, parameters: Any = None, **options: Any) -> Any:
    return execute(made, parameters, record=False, **options)


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow at once."""
    monkeypatch.setattr(ledger.Policy.__init__, "__defaults__", (0, 0.0, lambda attempt: 0.0, None))


def test_values_flow_along_edges_and_structures() -> None:
    """A diamond, a path into a result, a structure with a hole."""
    made = graph(
        call("two", lambda: {"a": [1, 2]}),
        call("left", lambda x: x + 1, of("two", "result", "a", 1)),
        call("right", lambda x: x["a"][0], of("two")),
        call("both", lambda x: x, Filled(Constant([None, {"k": None}]), (((0,), of("left")), ((1, 0), of("right"))))),
        result="both",
    )
    assert run(made).value == [3, {"k": 1}]


def test_tasks_run_side_by_side_as_far_as_the_graph_allows() -> None:
    """Three tasks wait for each other: they can only end when all three run at once."""
    barrier = threading.Barrier(3, timeout=60)
    made = graph(*(call(f"t{index}", lambda: barrier.wait() >= 0) for index in range(3)))
    assert {"succeeded"} == {task.state for task in run(made, threads=3).tasks.values()}


def test_no_more_tasks_run_at_once_than_threads() -> None:
    """With two threads never three tasks at a time."""
    now, most, lock = [0], [0], threading.Lock()

    def busy() -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.002)
        with lock:
            now[0] -= 1

    run(graph(*(call(f"t{index}", busy) for index in range(20))), threads=2)
    assert most[0] <= 2


def test_a_chain_stays_on_one_thread() -> None:
    """The lane that ended a task runs what that made ready: nothing is handed over."""
    made = graph(
        call("t0", lambda: [threading.get_ident()]),
        *(call(f"t{i}", lambda before: [*before, threading.get_ident()], of(f"t{i - 1}")) for i in range(1, 50)),
        result="t49",
    )
    assert len(set(run(made).value)) == 1


def test_a_chain_of_five_thousand_needs_no_recursion() -> None:
    """Depth of a graph is no depth of the stack."""
    calls = [call("t0", lambda: 0)]
    inc = node(lambda x: x + 1, name="inc")
    calls += [call(f"t{i}", inc, of(f"t{i - 1}")) for i in range(1, 5000)]
    assert run(graph(*calls, result="t4999")).value == 4999


def test_a_failure_says_task_place_and_inputs_and_keeps_the_cause() -> None:
    """The text is the whole report; the exception of the node is the cause; the run tells the rest."""

    def divide(a: int, b: int) -> float:
        return a / b

    made = graph(call("one", lambda: 1), call("divide", divide, of("one"), 0), call("last", lambda x: x, of("divide")))
    with pytest.raises(TaskError) as caught:
        run(made)
    text = str(caught.value)
    assert "divide (flow.py:6) failed: ZeroDivisionError: division by zero" in text
    assert "a = 1" in text
    assert "b = 0" in text
    assert f"{Path(__file__).name}" in text
    assert "attempts.py" not in text
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert caught.value.task == "divide"
    states = {name: task.state for name, task in caught.value.run.tasks.items()}
    assert states == {"one": "succeeded", "divide": "failed", "last": "skipped"}
    assert caught.value.exit_code == 3


def test_the_first_failure_stops_what_has_not_started() -> None:
    """One thread: the failing task goes first by order, and the other two never start."""
    started: list[str] = []

    def fail() -> None:
        raise ValueError("no")

    made = graph(call("a", fail), call("b", lambda: started.append("b")), call("c", lambda: started.append("c")))
    with pytest.raises(TaskError) as caught:
        run(made, threads=1)
    assert started == []
    assert {k: t.state for k, t in caught.value.run.tasks.items()} == {"a": "failed", "b": "stopped", "c": "stopped"}


def test_the_first_failure_does_not_wait_for_what_runs() -> None:
    """The error comes although another task would wait for ever."""
    running, never = threading.Event(), threading.Event()

    def wait() -> None:
        running.set()
        never.wait()

    def fail() -> None:
        running.wait(60)
        raise ValueError("no")

    with pytest.raises(TaskError) as caught:
        run(graph(call("waiting", wait), call("failing", fail)), threads=2)
    never.set()
    assert caught.value.run.tasks["waiting"].state == "stopped"


def test_keep_going_runs_what_does_not_depend_on_the_failure() -> None:
    """Two fail, the rest runs; the error names both."""

    def fail(x: int) -> None:
        raise ValueError("no")

    ran: list[int] = []
    made = graph(
        call("bad", fail, 1),
        call("after-bad", lambda x: x, of("bad")),
        call("worse", fail, 2),
        call("good", lambda x: ran.append(x), 3),
    )
    with pytest.raises(TaskError, match=r"1 more failed:\n  worse: ValueError: no$") as caught:
        run(made, threads=1, keep_going=True)
    assert ran == [3]
    states = {name: task.state for name, task in caught.value.run.tasks.items()}
    assert states == {"bad": "failed", "after-bad": "skipped", "worse": "failed", "good": "succeeded"}


@pytest.mark.parametrize("raised", [SystemExit(7), KeyboardInterrupt(), GeneratorExit(), BaseException("odd")])
def test_whatever_a_node_raises_is_a_failed_task(raised: BaseException) -> None:
    """sys.exit in a node ends its task, not the process; nothing hangs."""

    def fail() -> None:
        raise raised

    with pytest.raises(TaskError) as caught:
        run(graph(call("fail", fail)))
    assert raised is caught.value.__cause__


def test_a_task_is_tried_again_with_fresh_inputs(no_pause: None) -> None:
    """Two failures, then success; what an attempt did to its input the next one does not see."""
    seen: list[Any] = []

    def flaky(items: list[int]) -> int:
        seen.append((list(items), current().attempt))
        items.append(99)
        if len(seen) < 3:
            raise OSError("not yet")
        return len(items)

    events: list[Any] = []
    made = graph(call("make", lambda: [1]), call("flaky", flaky, of("make"), retries=2), result="flaky")
    done = run(made, listeners=[events.append])
    assert done.value == 2
    assert seen == [([1], 1), ([1], 2), ([1], 3)]
    assert done.tasks["flaky"].attempts == 3
    retried = [event for event in events if isinstance(event, TaskRetried)]
    assert [(item.attempt, item.error) for item in retried] == [(1, "OSError: not yet"), (2, "OSError: not yet")]


def test_after_the_last_retry_the_task_has_failed(no_pause: None) -> None:
    """retries=1 are two attempts."""
    tried: list[int] = []

    def fail() -> None:
        tried.append(1)
        raise OSError("never")

    with pytest.raises(TaskError):
        run(graph(call("fail", fail, retries=1)))
    assert len(tried) == 2


def test_the_pause_before_a_retry_doubles_and_is_bounded() -> None:
    """1 s, 2 s, 4 s, at most a minute, and up to a tenth more, so that tasks do not come back in step."""
    assert all(1 <= ledger.pause_s(1) <= 1.1 for _ in range(20))
    assert all(4 <= ledger.pause_s(3) <= 4.4 for _ in range(20))
    assert ledger.pause_s(500) <= 66


def test_a_task_beyond_its_timeout_fails_at_once_and_its_lane_is_replaced() -> None:
    """The only lane hangs; with keep_going the other task runs all the same."""
    never = threading.Event()
    made = graph(call("hangs", lambda: never.wait(), timeout_s=0.05), call("other", lambda: 1))
    with pytest.raises(TaskTimeout, match=r"hangs.*timeout_s of 0\.05") as caught:
        run(made, threads=1, keep_going=True)
    never.set()
    assert {k: t.state for k, t in caught.value.run.tasks.items()} == {"hangs": "failed", "other": "succeeded"}


def test_a_timed_out_attempt_is_retried_and_its_late_result_dropped(no_pause: None) -> None:
    """The first attempt ends after the second: its value goes nowhere."""
    first_may_end = threading.Event()

    def slow_first() -> str:
        if current().attempt == 1:
            first_may_end.wait(60)
            return "late"
        first_may_end.set()
        return "right"

    assert run(graph(call("t", slow_first, timeout_s=2.0, retries=1), result="t"), threads=1).value == "right"


def test_a_task_within_its_timeout_is_left_alone() -> None:
    """The timer of a task that ended never fires."""
    assert run(graph(call("t", lambda: 5, timeout_s=60), result="t")).value == 5


def test_only_what_the_targets_need_runs() -> None:
    """`targets` by task id or output; what was asked for comes back, the rest never starts."""
    ran: list[str] = []

    def step(name: str, before: int = 0) -> int:
        ran.append(name)
        return before + 1

    made = graph(
        call("a", step, "a", 0),
        call("b", step, "b", of("a")),
        call("c", step, "c", of("a")),
        call("d", step, "d", of("b")),
        result="d",
    )
    done = run(made, targets=["b"])
    assert ran == ["a", "b"]
    assert done.targets == {"b": 2}
    assert list(done.tasks) == ["a", "b"]


def test_given_outputs_take_the_place_of_running() -> None:
    """A value, or a constant's handle; only tasks that still have an output to make run."""
    ran: list[str] = []

    def step(name: str, before: Any) -> Any:
        ran.append(name)
        return before + 1

    made = graph(call("a", step, "a", 0), call("b", step, "b", of("a")), call("c", step, "c", of("b")), result="c")
    assert run(made, given={"b": 10}).value == 11
    assert ran == ["a", "c"]
    ran.clear()
    assert run(made, given={"b": Constant(handle="40")}, targets=["c"]).targets["c"] == 41
    assert ran == ["c"]


def test_a_target_that_is_not_there_is_named() -> None:
    """All that is wrong, in one go."""
    with pytest.raises(GraphError, match=r"x: no such task(.|\n)*no output 'no'"):
        run(graph(call("a", lambda: 1)), targets=["x", of("a", "no")])


def test_order_ranks_ready_tasks() -> None:
    """Lowest first, against the order of the calls."""
    ran: list[str] = []
    made = graph(*(call(name, lambda n: ran.append(n), name) for name in "abc"))
    run(made, threads=1, order=lambda task: -ord(task.id))
    assert ran == ["c", "b", "a"]


def test_after_orders_without_passing_a_value() -> None:
    """`after` is an edge too."""
    ran: list[str] = []
    made = graph(call("last", lambda: ran.append("last"), after=("first",)), call("first", lambda: ran.append("first")))
    run(made, threads=4)
    assert ran == ["first", "last"]


def test_parameters_are_converted_and_checked() -> None:
    """By type; what is unknown, missing or wrong is told all at once."""
    made = Graph(
        "flow",
        (Parameter("n", TypeSpec("float"), Constant(2.0)), Parameter("k", TypeSpec("int"))),
        operations=(call("t", lambda n, k: (type(n).__name__, k)),),
        outputs=(("result", of("t")),),
    )
    bound = call("t", lambda n, k: (type(n).__name__, k))
    made = Graph(
        "flow", made.parameters, outputs=made.outputs,
        operations=(type(bound)("t", bound.node, (ParameterValue("n"), ParameterValue("k"))),),
    )  # fmt: skip
    assert run(made, {"n": 1, "k": 3}).value == ("float", 3)
    with pytest.raises(ParameterError, match=r"did you mean 'k'(.|\n)*k \(int\) is missing"):
        run(made, {"kk": 3})
    with pytest.raises(ParameterError, match="parameter k"):
        run(made, {"k": "three"})


def test_several_outputs_are_split_and_a_wrong_number_is_told() -> None:
    """The message names the task and what it declares."""
    good = call("pair", node(lambda: (1, 2), outputs=("low", "high"), name="pair"))
    assert run(graph(good, result=of("pair", "high"))).value == 2
    bad = call("pair", node(lambda: (1, 2, 3), outputs=("low", "high"), name="pair"))
    with pytest.raises(TaskError, match=r"pair \(flow.py:4\) failed(.|\n)*low, high"):
        run(graph(bad))


def test_an_empty_graph_runs() -> None:
    """Nothing to do, and no value."""
    assert run(graph()).value is None


def test_events_tell_the_whole_story_in_order() -> None:
    """Listeners hear of each task, one event at a time, before run returns."""

    def fail(x: int) -> None:
        raise ValueError("no")

    heard: list[Any] = []
    made = graph(call("good", lambda: 1), call("bad", fail, of("good")), call("lost", lambda x: x, of("bad")))
    with pytest.raises(TaskError):
        run(made, listeners=[heard.append])
    kinds = [type(event).__name__ for event in heard]
    assert kinds[0] == "RunStarted"
    assert kinds[-1] == "RunFinished"
    told = [(type(event), event.task) for event in heard if hasattr(event, "task")]
    wanted = [
        (TaskStarted, "good"), (TaskFinished, "good"), (TaskStarted, "bad"), (TaskFailed, "bad"), (TaskDropped, "lost"),
    ]  # fmt: skip
    assert wanted == [item for item in told if item[0].__name__ != "TaskQueued"]


def test_a_listener_that_raises_is_told_of_once_and_the_run_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    """Its failure is a note of the run; the other listener hears everything."""
    heard: list[Any] = []

    def broken(event: Any) -> None:
        raise RuntimeError("deaf")

    done = run(graph(call("t", lambda: 1), result="t"), listeners=[broken, heard.append])
    assert done.value == 1
    assert len(done.notes) == 1
    assert "deaf" in done.notes[0]
    assert len(caplog.records) == 1
    assert len(heard) == 5


def test_verbose_tasks_say_what_they_got_and_gave(capsys: pytest.CaptureFixture[str]) -> None:
    """On standard error, so that standard output is the workflow's value alone."""
    run(graph(call("loud", lambda x: x * 2, 21, verbose=True)))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "loud | attempt 1: x = 21" in captured.err
    assert "result = 42" in captured.err


def test_a_task_knows_its_run_and_name() -> None:
    """current() inside the body."""
    done = run(graph(call("t", lambda: (current().run_id, current().task)), result="t"))
    assert (done.id, "t") == done.value


def test_recursion_in_a_node_fails_that_task() -> None:
    """A RecursionError is a failure like any other."""

    def deep(x: int) -> int:
        return deep(x + 1)

    with pytest.raises(TaskError, match="RecursionError"):
        run(graph(call("deep", deep, 0)))
    assert sys.getrecursionlimit() > 0
