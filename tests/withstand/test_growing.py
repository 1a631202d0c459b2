"""Bodies that return calls in every wrong way: one report each, that names the task and the user's line; no hang."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from command_line import MARK, Project, says

from grandpa_kfp import Node, Workflow, run
from grandpa_kfp_runtime.errors import TaskError

NODES = """
import sys
import threading

@Node
def add(a: int, b: int) -> int:
    return a + b

@Node
def same(x):
    return x

class Holder:
    def __init__(self, value):
        self.value = value
"""

BODIES = {
    "a Ref as a key": ("return {add(1, 2): 1}", "is the key of a dict"),
    "a set of Refs": ("return {add(1, 2)}", "was pickled"),
    "a Ref in an object": ("return Holder(add(1, 2))", "was pickled"),
    "a Ref in a tuple in a set": ("return {(add(1, 2), 1)}", "was pickled"),
    "arguments that do not fit": ("return add(1)", "argument b is missing"),
    "an unknown option": ("return add.options(retrys=2)(1, 2)", "retries"),
    "a Ref used as a value": ("return add(1, 2) + 1", "the operator `+`"),
    "a truth value": ("return 1 if add(1, 2) else 2", "truth value"),
    "lists of two lengths": ("return add.map([1, 2], [1])", "2, 1 elements"),
    "a map of no list": ("return same.map(5)", "it takes lists"),
    "an inner task that exits": ("return leave()", "SystemExit"),
    "an inner task that cannot be encoded": ("return lock()", "lock"),
    "an argument that cannot be encoded": ("return same(threading.Lock())", "lock"),
    "a part that is not there": ("return [same([1])[3]]", "[3]"),
}


@pytest.mark.filterwarnings(
    "ignore::grandpa_kfp.authoring.calls.UnusedCallWarning"
)  # where a Ref hides, it is told too
@pytest.mark.parametrize(("body", "text"), BODIES.values(), ids=BODIES)
def test_a_wrong_body_is_told(project: Project, body: str, text: str) -> None:
    """Exit code 3, the task and what was wrong; nothing of ours is shown."""
    project.flow(f"""
{NODES}
@Node
def leave():
    sys.exit(4)

@Node
def lock():
    return threading.Lock()

@Node
def wrong():
    {body}  {MARK}

@Workflow
def flow():
    return same(wrong())
""")
    says(project.grandpa("run", "flow.py"), 3, "wrong", text)


def test_growth_without_end(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that returns its own call, in turns with another one, and one that maps itself."""
    monkeypatch.setenv("GRANDPA_MAX_TASKS", "200")
    project.flow(f"""
{NODES}
@Node
def ping(n):
    return pong(n)

@Node
def pong(n):
    return same(ping(n))

@Node
def spread(xs):
    return spread.map([xs, xs, xs])

@Workflow
def flow():
    return ping(1)

@Workflow
def wide():
    return spread([1])
""")
    says(project.grandpa("run", "flow.py:flow"), 3, "grew beyond 200 tasks", "ping → pong", "GRANDPA_MAX_TASKS")
    says(project.grandpa("run", "flow.py:wide"), 3, "grew beyond 200 tasks", "spread")


kept: list[Any] = []


@Node
def add(a: int, b: int) -> int:
    return a + b


def test_refs_that_leave_their_body() -> None:
    """Through a global, or made in a thread of the body: the value is right all the same."""
    kept.clear()

    @Node
    def leaves() -> Any:
        kept.append(add(1, 2))
        return add(kept[0], 1)

    @Node
    def uses(before: int) -> Any:
        return add(kept[0], before)

    @Node
    def threaded() -> Any:
        made: list[Any] = []
        thread = threading.Thread(target=lambda: made.append(add(1, 2)))
        thread.start()
        thread.join()
        return add(made[0], 1)

    assert run(Workflow(lambda: uses(leaves())), record=False).value == 7
    assert run(Workflow(lambda: threaded()), record=False).value == 4


def test_a_body_that_returns_its_callers_call_is_a_cycle() -> None:
    """It would wait for itself: told, in place, not waited for."""
    kept.clear()

    @Node
    def knot() -> Any:
        return add(kept[0], 1)

    @Node
    def outer() -> Any:
        kept.append(knot())
        return kept[0]

    with pytest.raises(TaskError, match="waits for itself"):
        run(Workflow(lambda: outer()), record=False)


def test_a_run_inside_an_inner_task() -> None:
    """An engine in a node of an engine, both growing, on one lane."""

    @Node
    def twice(n: int) -> Any:
        return add(n, n)

    @Node
    def nested(n: int) -> Any:
        return run(Workflow(lambda: [twice(n), twice.map([n, n])]), record=False, threads=1).value

    @Node
    def outer() -> Any:
        return nested.map([1, 2])

    assert run(Workflow(lambda: outer()), record=False, threads=1).value == [[2, [2, 2]], [4, [4, 4]]]


def test_many_failures_at_once() -> None:
    """Forty inner tasks that all fail: one error, and the run ends."""
    meeting = threading.Barrier(8)

    @Node
    def fails(n: int) -> int:
        meeting.wait(60)
        raise ValueError(n)

    @Node
    def outer() -> Any:
        return [fails(n) for n in range(8)]

    for keep_going in (False, True):
        with pytest.raises(TaskError, match=r"outer/fails(-\d)? "):
            run(Workflow(lambda: outer()), record=False, threads=8, keep_going=keep_going)
