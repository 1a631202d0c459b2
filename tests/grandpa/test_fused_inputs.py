"""What a fused step reads, hands on and takes from an earlier attempt: the engine's side alone, in this process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from engine_graphs import call, node, of

from grandpa_kfp.engine.fused import open_step
from grandpa_kfp_compiler.graph import HANDLE, Call, Graph, Options, Parameter, ParameterValue
from grandpa_kfp_compiler.json_format import dumps
from grandpa_kfp_runtime.launch.step import Room, StepFailed
from grandpa_kfp_runtime.redaction import NOTHING_SECRET
from grandpa_kfp_runtime.stores.memory import MemoryStore
from grandpa_kfp_runtime.values.handles import to_handle


class CountingStore(MemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self.reads: Counter[str] = Counter()

    def read(self, key: str) -> Any:
        self.reads[key] += 1
        return super().read(key)


class Attempt:
    """One attempt at a step of these tasks, whose nodes are functions of the test."""

    def __init__(self, folder: Path, store: MemoryStore, *calls: Call, **outputs: Any) -> None:
        self.left: dict[str, Any] = {}
        targets = {item.node.key: item.node.target for item in calls}  # type: ignore[union-attr]
        known = tuple(replace(item, node=replace(item.node, fingerprint="f" * 64)) for item in calls)
        takes = tuple(dict.fromkeys(v.name for item in calls for v in item.args if isinstance(v, ParameterValue)))
        graph = Graph("step", tuple(Parameter(name, HANDLE) for name in takes), (), known, tuple(outputs.items()))

        def leave(name: str, value: Any) -> str:
            self.left[name] = value
            return to_handle(value, store)

        room = Room(
            "run-1", "step", "1", folder, store, targets.__getitem__, NOTHING_SECRET, lambda value: None, leave,
            lambda name, value: ("", {}), lambda event: None, lambda text: None, pytest.fail,
        )  # fmt: skip
        self.step = open_step(dumps(graph).encode(), room)

    def run(self, *handles: str) -> dict[str, Any]:
        try:
            self.step.run([(handle, None) for handle in handles])
            return self.left
        except StepFailed:
            self.step.keep()
            raise
        finally:
            self.step.close()


def takes(name: str, target: Callable[..., Any], *args: Any, **options: Any) -> Call:
    return replace(call(name, node(target, name=name)), args=args, options=Options(**options))


BIG = list(range(2_000))


def total(values: list[int]) -> int:
    values.append(1)
    return len(values)


def test_an_input_that_several_tasks_read_is_fetched_once_and_each_has_its_own(tmp_path: Path) -> None:
    store = CountingStore()
    handle = to_handle(BIG, store)
    calls = [takes(f"total-{number}", total, ParameterValue("values")) for number in range(3)]
    found = Attempt(tmp_path, store, *calls, **{item.id: of(item.id) for item in calls}).run(handle)
    assert found == dict.fromkeys(found, 2_001)
    assert store.reads[handle[1:]] == 1


def test_an_input_that_is_gone_names_who_made_it(tmp_path: Path) -> None:
    gone = f"@{'A' * 43}"
    attempt = Attempt(tmp_path, MemoryStore(), takes("total", total, ParameterValue("values")), out=of("total"))
    with pytest.raises(StepFailed, match=r"is gone.*No task of this run made it.*higher --epoch") as failed:
        attempt.run(gone)
    assert failed.value.record["exit_code"] == 1


def test_what_leaves_a_step_may_be_any_value_of_its_graph(tmp_path: Path) -> None:
    """A whole output, a part of one, the input itself, one output under two names."""
    found = Attempt(
        tmp_path, MemoryStore(),
        takes("made", lambda values: {"a": values}, ParameterValue("values")),
        whole=of("made"), again=of("made"), part=of("made", "result", "a"), same=ParameterValue("values"),
    ).run("[1,2]")  # fmt: skip
    assert found == {"whole": {"a": [1, 2]}, "again": {"a": [1, 2]}, "part": [1, 2], "same": [1, 2]}


def as_text(value: Any) -> str:
    return str(value)


def failing(value: Any) -> Any:
    raise ValueError(f"no {value}")


def test_of_what_was_done_only_what_others_need_is_stored(tmp_path: Path) -> None:
    """And that it was done is known, so that it is not done again."""
    store, ran = MemoryStore(), Counter[str]()

    def step(name: str) -> Callable[[Any], Any]:
        def work(value: Any) -> Any:
            ran[name] += 1
            return [name, value]

        return work

    def calls(last: Any) -> list[Call]:
        return [
            takes("one", step("one"), ParameterValue("x")),
            takes("two", step("two"), of("one")),
            takes("last", last, of("two")),
        ]

    with pytest.raises(StepFailed, match=r"no \['two', \['one', 5\]\]"):
        Attempt(tmp_path, store, *calls(failing), out=of("last")).run("5")
    assert Attempt(tmp_path, store, *calls(as_text), out=of("last")).run("5") == {"out": "['two', ['one', 5]]"}
    assert ran == {"one": 1, "two": 1}
    more = [*calls(as_text), takes("other", as_text, of("one"))]  # what was not kept is wanted now
    assert Attempt(tmp_path, store, *more, out=of("last"), other=of("other")).run("5")["other"] == "['one', 5]"
    assert ran == {"one": 2, "two": 1}


def test_a_task_that_is_not_cached_runs_again_and_so_does_what_reads_of_it(tmp_path: Path) -> None:
    store, ran = MemoryStore(), Counter[str]()

    def counted(value: Any) -> Any:
        ran["counted"] += 1
        return value

    def reads(value: Any) -> Any:
        ran["reads"] += 1
        return value

    def calls(last: Any) -> list[Call]:
        first = takes("counted", counted, ParameterValue("x"), cache=False)
        return [first, takes("reads", reads, of("counted")), takes("last", last, of("reads"))]

    for last in (failing, as_text):
        attempt = Attempt(tmp_path, store, *calls(last), out=of("last"))
        if last is failing:
            with pytest.raises(StepFailed):
                attempt.run("5")
        else:
            assert attempt.run("5") == {"out": "5"}
    assert ran == {"counted": 2, "reads": 2}
