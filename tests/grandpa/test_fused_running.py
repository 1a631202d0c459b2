"""How a fused step runs: by `run_pipeline_yaml`, each container a process, as Kubeflow starts it."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fused_flows as flows
import pytest
from command_line import Project

from grandpa_kfp import compile, inspect_run, run
from grandpa_kfp.engine.cancelling import CancelToken
from grandpa_kfp.engine.events import Event, TaskFailed, TaskPrinted, TaskStarted
from grandpa_kfp.engine.pipeline_yaml import run_pipeline_yaml
from grandpa_kfp.engine.run import Run
from grandpa_kfp_runtime.errors import GrandpaError, LoadError, TaskError, TaskTimeout
from grandpa_kfp_runtime.stores.file import FileStore


def fused(workflow: Any, root: Path, params: Mapping[str, Any] | None = None, **options: Any) -> Run:
    text = compile(workflow, root / "pipeline.yaml").text
    return run_pipeline_yaml(text, params or {}, root=root, **options)


def records(root: Path, name: str) -> list[dict[str, Any]]:
    """All `done` or `failure` records in the store, the oldest run's first."""
    store = FileStore(root / ".grandpa" / "store")
    paths = [path for path in store.list_records("runs/") if path.endswith(f"/{name}.json")]
    return [record for path in sorted(paths) if (record := store.get_record(path)) is not None]


def states(done: Run) -> dict[str, str]:
    return {name: task.state for name, task in done.tasks.items() if "/" in name}


def test_what_runs_in_a_step_is_seen_from_outside(tmp_path: Path) -> None:
    """The value is that of tasks that stand apart; the step's tasks are tasks of the run; prints have their names."""
    events: list[Event] = []
    done = fused(flows.measure, tmp_path, listeners=[events.append])
    assert done.value == run(flows.measure, record=False).value == [6, 1.2, 0, 3]
    assert states(done) == dict.fromkeys(
        (f"measured/{name}" for name in ("total", "spoilt", "ends", "score")), "succeeded"
    )
    assert done.tasks["measured/score"].parent == "measured"
    assert done.tasks["measured/total"].logged.last() == {"length": 4.0}
    assert "measured/total | adding 4\n" in [event.text for event in events if isinstance(event, TaskPrinted)]
    (record,) = [found for found in records(tmp_path, "done") if found["task"] == "measured"]
    told = {task["task"]: task for task in record["tasks"]}
    assert told["ends"]["outputs"] == {"low": "0", "high": "3"}
    assert told["total"]["where"].startswith("tests/fused_flows.py:")
    assert not list((tmp_path / ".grandpa" / "store").glob("memo/**/*.json"))  # success costs nothing

    inspected = inspect_run(root=tmp_path)
    assert inspected.task("measured/total").seen == {"result": "6"}
    assert [*inspected.task("measured").replay().values()] == [6, {"ratio": 1.2}, 0, 3]
    with pytest.raises(LoadError, match="it ran inside the step measured"):
        inspected.task("measured/total").replay()


def test_what_leaves_a_step_has_its_artifacts(tmp_path: Path) -> None:
    """Metrics, what was logged in it, and a page of its tasks with what they gave."""
    done = fused(flows.measure, tmp_path)
    assert done.folder is not None
    (folder,) = (done.folder / "artifacts").glob("*/*/measured/*")
    files = {path.name for path in folder.iterdir()}
    assert {"fused-tasks", "logged-metrics", "logged-artifacts"} <= files
    assert "<td>ends</td><td>succeeded</td>" in (folder / "fused-tasks").read_text()
    told = json.loads((done.folder / "tasks" / "measured" / "outputs" / "executor_output.json").read_text())
    metadata = {name: item["artifacts"][0]["metadata"] for name, item in told["artifacts"].items()}
    assert metadata["logged-metrics"] == {"total/length": 4.0, "spoilt/length": 5.0, "ratio": 1.2}
    assert metadata["fused-tasks"]["tasks"]["total"]["outputs"] == {"result": "6"}
    assert {"ratio": 1.2} in metadata.values()  # of the output that is Metrics
    assert metadata["logged-artifacts"]["names"] == ["score/note"]


def test_all_that_the_local_engine_runs_runs_in_a_step(tmp_path: Path) -> None:
    """Branches, loops, generators, growing nodes, files, classes, functions side by side, variables of single tasks."""
    expected = [[1, 2, 20, 30], "everything/who in True", "text", 5, 6, [0, 1, 4, 9], 10, "a", "b"]
    done = fused(flows.many_ways, tmp_path)
    assert done.value == expected == run(flows.many_ways, record=False).value
    assert done.tasks[next(name for name in done.tasks if name.endswith("each/0/when/Scale"))].state == "skipped"


def test_tasks_in_a_step_share_what_the_container_asks_for(tmp_path: Path) -> None:
    """That is as much as the largest of them needs, so tasks that need all of it take turns."""
    assert fused(flows.shared, tmp_path, {"folder": str(tmp_path)}).value == [1, 1, 1]


def test_the_failure_of_a_step_is_that_of_its_task(tmp_path: Path) -> None:
    """Which, where it was called, the user's frames, its inputs; and what had finished is not run again."""
    with pytest.raises(TaskError) as failed:
        fused(flows.resumed, tmp_path, {"folder": str(tmp_path)})
    assert "fails_at_first (tests/fused_flows.py:" in str(failed.value)
    assert "ValueError: no room for 3" in str(failed.value)
    assert "in fails_at_first" in str(failed.value)
    assert "values = list of 3" in str(failed.value)
    (record,) = records(tmp_path, "failure")
    assert (record["task"], record["inner"], record["exit_code"]) == ("risky", "fails_at_first", 3)
    assert {task["task"]: task["state"] for task in record["tasks"]}["longer"] == "succeeded"

    done = fused(flows.resumed, tmp_path, {"folder": str(tmp_path)})
    assert done.value == ([1, 2, 3], 6)
    assert states(done) == {
        "risky/costly": "cached", "risky/longer": "cached", "risky/fails_at_first": "succeeded",
    }  # fmt: skip
    assert (tmp_path / "longer").read_text() == "x\n"


def test_what_was_kept_counts_for_the_same_inputs_alone(tmp_path: Path) -> None:
    """Another argument is another step."""
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        with pytest.raises(TaskError, match="no room"):
            fused(flows.resumed, tmp_path, {"folder": str(tmp_path / name)})
        assert (tmp_path / name / "costly").read_text() == "x\n"


def test_what_had_finished_is_kept_when_the_code_of_what_failed_is_mended(project: Project) -> None:
    """The tasks' own fingerprints count, not that of the step."""
    source = """
        from pathlib import Path

        @Node
        def slow(folder: str) -> list:
            with Path(folder, "slow").open("a") as file:
                file.write("x")
            return [1, 2]

        @Node
        def last(values: list) -> int:
            return PART

        @Component(fuse=True)
        def part(folder):
            return last(slow(folder))

        @Workflow
        def flow(folder: str):
            return part(folder)
    """
    for part, code in (("values[5]", 3), ("values[1]", 0)):
        file = project.flow(source.replace("PART", part))
        assert project.grandpa("compile", file, "-o", "flow.yaml").code == 0
        ended = project.grandpa("run", "flow.yaml", "-p", f"folder={project.folder}")
        assert ended.code == code, ended.err
    assert ended.value == 2
    assert (project.folder / "slow").read_text() == "x"


def test_tasks_in_a_step_are_tried_again_and_have_their_time(tmp_path: Path) -> None:
    with pytest.raises(TaskTimeout, match=r"retried/too_slow .*timeout_s of 0.2 s") as failed:
        fused(flows.timed, tmp_path, {"folder": str(tmp_path)})
    assert "time.sleep(60)" in str(failed.value)
    assert (tmp_path / "second_time").read_text() == "x\nx\n"


def test_a_step_that_is_stopped_says_which_tasks_ran_and_keeps_what_had_ended(tmp_path: Path) -> None:
    (tmp_path / "fails_at_first").write_text("x\n")
    cancel, events = CancelToken(), []
    reached = threading.Event()

    def hear(event: Event) -> None:
        events.append(event)
        if isinstance(event, TaskStarted) and event.task.endswith("/waits"):
            reached.set()

    def stop() -> None:
        reached.wait(60)
        cancel.cancel()

    threading.Thread(target=stop, daemon=True).start()
    with pytest.raises(GrandpaError):
        fused(flows.stopped, tmp_path, {"folder": str(tmp_path)}, listeners=[hear], cancel=cancel)
    (record,) = records(tmp_path, "failure")
    assert record["exit_code"] == 143
    assert "then ran waits (tests/fused_flows.py:" in record["message"]
    assert "time.sleep(60)" in record["traceback"]
    kept = list((tmp_path / ".grandpa" / "store" / "memo").rglob("*.json"))
    assert len(kept) == 1
    assert not [event for event in events if isinstance(event, TaskFailed) and event.task.endswith("/waits")]
