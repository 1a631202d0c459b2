"""Environment variables of tasks that share a process."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest
from engine_graphs import call, graph, of

from grandpa_kfp.engine.execute import execute


def run(*calls: Any, **options: Any) -> Any:
    return execute(graph(*calls, result="last"), record=False, **options)


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GRANDPA_TEST_A", raising=False)
    monkeypatch.setenv("GRANDPA_TEST_B", "before")


def read(*names: str) -> tuple[str | None, ...]:
    return tuple(os.environ.get(f"GRANDPA_TEST_{name}") for name in names)


def test_a_tasks_variables_are_set_while_it_runs_and_put_back_after() -> None:
    """New ones vanish, changed ones get their value again."""
    done = run(call("last", lambda: read("A", "B"), env=(("GRANDPA_TEST_A", "1"), ("GRANDPA_TEST_B", "2"))))
    assert done.value == ("1", "2")
    assert read("A", "B") == (None, "before")


def test_tasks_of_one_setting_run_side_by_side() -> None:
    """Two tasks with the same variables meet at a barrier."""
    barrier = threading.Barrier(2, timeout=60)
    env = (("GRANDPA_TEST_A", "1"),)
    made = [call(name, lambda: (barrier.wait(), 1)[1], env=env) for name in ("a", "b")]
    done = run(*made, call("last", lambda a, b: a + b, of("a"), of("b"), env=env), threads=2)
    assert done.value == 2


def test_tasks_of_different_settings_never_run_at_once() -> None:
    """Each sees its own value from start to end, however many threads there are."""

    def look() -> bool:
        first = read("A")
        threading.Event().wait(0.002)
        return first == read("A")

    seen: list[bool] = []
    made = [call(f"t{i}", lambda: seen.append(look()), env=(("GRANDPA_TEST_A", str(i % 3)),)) for i in range(12)]
    run(*made, call("last", lambda: 1), threads=8)
    assert seen == [True] * 12


def test_a_failed_task_leaves_the_environment_as_it_was() -> None:
    """Also by its timeout, while its thread still runs."""
    never = threading.Event()
    with pytest.raises(Exception, match="timeout_s"):
        run(call("last", lambda: never.wait(), env=(("GRANDPA_TEST_A", "1"),), timeout_s=0.05))
    assert read("A", "B") == (None, "before")
    never.set()


def test_a_tasks_variables_are_nobody_elses() -> None:
    """Neither of what comes after it, nor of what asks for others, which may run beside it."""
    first = (("GRANDPA_TEST_A", "1"),)
    other = (("GRANDPA_TEST_B", "2"),)
    barrier = threading.Barrier(2, timeout=60)

    def meet(*names: str) -> tuple[str | None, ...]:
        barrier.wait()
        return read(*names)

    done = run(
        call("a", lambda: meet("A"), env=first),
        call("b", lambda: meet("B"), env=other),
        call("last", lambda a, b: (a, b, read("A", "B")), of("a"), of("b")),
        threads=2,
    )
    assert done.value == (("1",), ("2",), (None, "before"))
