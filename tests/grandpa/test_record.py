"""The record of a run: what is in its folder, how it is read, and that it never costs the value."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from engine_graphs import call, graph, of

from grandpa_kfp.engine import record as records
from grandpa_kfp.engine.events import RunStarted, TaskFailed, TaskFinished, TaskStarted
from grandpa_kfp.engine.execute import execute
from grandpa_kfp.engine.record import event_line, list_runs, read_event, read_run
from grandpa_kfp_runtime.errors import LoadError, StoreDenied, StoreError, StoreFull, TaskError
from grandpa_kfp_runtime.stores.file import FileStore
from grandpa_kfp_runtime.stores.memory import MemoryStore
from grandpa_kfp_runtime.values.handles import from_handle


def fail(x: Any) -> None:
    raise ValueError("no\nreally")


def two_steps(last: Any = lambda x: [*x, (3,)]) -> Any:
    return graph(call("one", lambda: [1, 2]), call("two", last, of("one")), result="two")


def test_a_run_leaves_graph_events_results_and_handles(tmp_path: Path) -> None:
    """Everything that another process needs to look at it, hidden from git."""
    run = execute(two_steps(), root=tmp_path)
    assert tmp_path / ".grandpa" / "runs" / run.id == run.folder
    assert sorted(os.listdir(run.folder)) == ["events.jsonl", "graph.json", "results.json", "run.json"]
    assert (tmp_path / ".grandpa" / ".gitignore").read_text() == "*\n"
    head = json.loads((run.folder / "run.json").read_text())
    assert (head["name"], head["state"], head["where"]) == ("flow", "succeeded", "flow.py:1")
    results = json.loads((run.folder / "results.json").read_text())
    store = FileStore(tmp_path / ".grandpa" / "store")
    assert results["tasks"]["one"]["outputs"]["result"] == "[1,2]"
    assert from_handle(results["outputs"]["result"], store) == [1, 2, (3,)]
    assert results["outputs"]["result"] == results["tasks"]["two"]["outputs"]["result"]


def test_a_recorded_run_reads_back(tmp_path: Path) -> None:
    """States, times, attempts and handles of the tasks, as the run itself had them; its graph too."""
    run = execute(two_steps(), root=tmp_path)
    again = read_run(tmp_path, run.id)
    assert (run.id, "flow", "succeeded", run.folder) == (again.id, again.name, again.state, again.folder)
    assert from_handle(again.tasks["one"].outputs["result"], MemoryStore()) == [1, 2]
    for name, task in run.tasks.items():
        there = again.tasks[name]
        assert (task.state, task.attempts, task.started, task.duration_s, task.outputs) == (
            there.state, there.attempts, there.started, there.duration_s, there.outputs,
        )  # fmt: skip
    assert [item.id for item in records.read_graph(again).calls()] == ["one", "two"]


def test_a_failed_run_reads_back_with_its_report(tmp_path: Path) -> None:
    """What failed, why, and what was skipped."""
    made = graph(call("a", lambda: 1), call("b", fail, of("a")), call("c", lambda x: x, of("b")))
    with pytest.raises(TaskError) as caught:
        execute(made, root=tmp_path)
    again = read_run(tmp_path)
    assert again.state == "failed"
    assert [task.state for task in again.tasks.values()] == ["succeeded", "failed", "skipped"]
    assert again.tasks["b"].error == "ValueError: no"
    assert str(caught.value) == again.tasks["b"].report


def test_runs_are_found_by_the_beginning_of_their_id(tmp_path: Path) -> None:
    """The newest by default; an unknown or ambiguous one is an error that lists the newest."""
    first, second = (execute(graph(call("t", lambda: 1)), root=tmp_path) for _ in range(2))
    assert [first.id, second.id] == list_runs(tmp_path)
    assert second.id == read_run(tmp_path).id
    assert first.id == read_run(tmp_path, first.id).id
    with pytest.raises(LoadError, match=f"no runs begin with 'x'(.|\n)*{first.id}"):
        read_run(tmp_path, "x")
    with pytest.raises(LoadError, match="2 runs begin with '2'"):
        read_run(tmp_path, "2")
    with pytest.raises(LoadError, match="no run is recorded"):
        read_run(tmp_path / "elsewhere")


def test_a_run_that_was_killed_reads_as_far_as_it_came(tmp_path: Path) -> None:
    """The last line cut in the middle, no results.json."""
    run = execute(two_steps(), root=tmp_path)
    assert run.folder is not None
    (run.folder / "results.json").unlink()
    lines = (run.folder / "events.jsonl").read_bytes().splitlines(keepends=True)
    two = next(index for index, line in enumerate(lines) if b'"TaskFinished"' in line and b'"two"' in line)
    (run.folder / "events.jsonl").write_bytes(b"".join(lines[:two]) + lines[two][:20])
    assert [task.state for task in read_run(tmp_path, run.id).tasks.values()] == ["succeeded", "running"]


@pytest.mark.parametrize(
    "event",
    [
        RunStarted(1.5, "id", "näme", ("a", "b")),
        TaskStarted(1.25, 'quo"te\n', 2),
        TaskFinished(1e9, "t", 1, 0.001, {"result": '{"a":"\\u007b"}', "b": "@x"}),
        TaskFailed(1.0, "t", 1, 0.5, "E: no", "line\nline"),
    ],
)
def test_event_lines_read_back(event: Any) -> None:
    """The fast way of writing the frequent kinds is JSON like the others."""
    line = event_line(event)
    assert line.endswith("\n")
    assert line.count("\n") == 1
    assert event == read_event(line)


def test_without_a_record_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """record=False leaves the folder as it was."""
    monkeypatch.chdir(tmp_path)
    run = execute(two_steps(), record=False)
    assert list(tmp_path.iterdir()) == []
    assert run.tasks["one"].outputs == {}
    assert run.folder is None


def test_an_unwritable_folder_costs_one_note_and_no_value(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file lies where `.grandpa` should be."""
    (tmp_path / ".grandpa").write_text("in the way")
    run = execute(two_steps(), root=tmp_path)
    assert run.value == [1, 2, (3,)]
    assert 1 == len(run.notes) == len(caplog.records)
    assert "not recorded any further" in run.notes[0]


def test_a_disk_that_fills_up_during_the_run_costs_one_note_and_no_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The events cannot be written any more; the store still can."""

    def full(event: Any) -> str:
        raise OSError(28, "No space left on device", "events.jsonl")

    monkeypatch.setattr(records, "event_line", full)
    run = execute(two_steps(), root=tmp_path)
    assert run.value == [1, 2, (3,)]
    assert len(run.notes) == 1
    assert "No space left on device" in run.notes[0]


class FullStore(MemoryStore):
    """Takes no objects."""

    tried = 0

    def write(self, data: Any) -> str:
        self.tried += 1
        raise StoreFull("the store is full")


def test_a_full_store_costs_one_note_and_no_value(tmp_path: Path) -> None:
    """It is tried once, not once a task; files go elsewhere."""
    source = tmp_path / "a.txt"
    source.write_text("content")
    store = FullStore()
    made = graph(
        call("one", lambda: (1, [2])),
        call("two", lambda x: (x, 3), of("one")),
        call("file", lambda x: source, of("two")),
        call("last", lambda path, x: (path.read_text(), x), of("file"), of("two")),
        result="last",
    )
    run = execute(made, root=tmp_path, store=store)
    assert run.value == ("content", ((1, [2]), 3))
    assert store.tried == 1
    assert len(run.notes) == 1
    assert "the store is full" in run.notes[0]
    assert read_run(tmp_path, run.id).state == "succeeded"


class DeniedStore(MemoryStore):
    def exists(self, key: str, *, renew: bool = False) -> bool:
        raise StoreDenied("wrong credentials")


def test_a_store_that_refuses_shows_before_anything_runs(tmp_path: Path) -> None:
    """Not after an hour."""
    ran: list[int] = []
    with pytest.raises(StoreDenied):
        execute(graph(call("t", lambda: ran.append(1))), root=tmp_path, store=DeniedStore())
    assert ran == []
    with pytest.raises(StoreError, match="no store is known"):
        execute(graph(call("t", lambda: ran.append(1))), root=tmp_path, store="gopher://x")


def test_values_can_be_recorded_in_a_store_elsewhere(tmp_path: Path) -> None:
    """`store=` by path; `.grandpa` has the events alone."""
    run = execute(two_steps(), root=tmp_path, store=tmp_path / "far")
    assert from_handle(run.tasks["two"].outputs["result"], FileStore(tmp_path / "far")) == [1, 2, (3,)]
    assert not (tmp_path / ".grandpa" / "store").exists()
    shutil.rmtree(tmp_path / "far")


def test_results_of_classes_of_main_do_not_stop_the_record(tmp_path: Path) -> None:
    """A closure goes by value into the record."""

    def make() -> Any:
        k = 3
        return lambda x: x * k

    run = execute(graph(call("make", make), call("use", lambda f: f(2), of("make")), result="use"), root=tmp_path)
    assert run.value == 6
    assert run.notes == []
