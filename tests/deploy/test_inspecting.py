"""`inspect_run` and `grandpa inspect`: what tasks took and gave, here and on a server."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from command_line import Project, here, says
from deploy.kfp_server import KfpServer, now, running_as_processes, set_task

import grandpa_kfp
from grandpa_kfp_runtime.errors import LoadError

FLOW = """
    @Node
    def rows(n: int) -> list:
        return [[x, "ü"] for x in range(n)]

    @Node
    def count(table: list) -> int:
        return len(table) // (len(table) - 3)

    @Workflow
    def flow(n: int = 2000):
        return count(rows(n))
"""


def test_values_of_a_run_on_the_server_are_loaded(project: Project, kfp: KfpServer, tmp_path: Path) -> None:
    project.flow(FLOW)
    kfp.start = running_as_processes(str(tmp_path / "store"), tmp_path / "server")
    done = project.grandpa("deploy", "flow.py", "--host", kfp.url, "--wait")
    assert done.code == 0, done.err
    (run_id,) = kfp.runs
    with here(project.folder), grandpa_kfp.inspect_run(run_id, endpoint=kfp.url) as run:
        assert (run.state, list(run.tasks)) == ("succeeded", ["rows", "count"])
        assert run.task("rows").output() == run.task("count").input("table") == [[x, "ü"] for x in range(2000)]
        with pytest.raises(LoadError, match="task rows has no output mean; it has result"):
            run.task("rows").output("mean")
    shown = project.grandpa("inspect", run_id, "count", "--host", kfp.url)
    assert shown.code == 0, shown.err
    assert "table: list of 2" in shown.out
    assert "result: 1" in shown.out


FUSED = """
    from grandpa_kfp import log_metric

    @Node
    def rows(n: int) -> list:
        log_metric("rows", n)
        return list(range(n))

    @Node
    def last(table: list) -> int:
        return table[-1]

    @Component(fuse=True)
    def part(n):
        return last(rows(n))

    @Workflow
    def flow(n: int = 3):
        return part(n)
"""


def test_tasks_of_a_fused_step_are_known_from_its_record(project: Project, kfp: KfpServer, tmp_path: Path) -> None:
    """The server knows of the step alone."""
    project.flow(FUSED)
    kfp.start = running_as_processes(str(tmp_path / "store"), tmp_path / "server")
    assert project.grandpa("deploy", "flow.py", "--host", kfp.url, "--wait").code == 0
    assert project.grandpa("deploy", "flow.py", "--host", kfp.url, "--wait", "-p", "n=0").code == 3
    done, failed = kfp.runs
    shown = project.grandpa("inspect", done, "--host", kfp.url)
    assert "    part/rows succeeded" in shown.out
    assert "result: list of 3, not kept" in project.grandpa("inspect", done, "part/rows", "--host", kfp.url).out
    assert project.grandpa("replay", done, "part", "--host", kfp.url).value == 2
    shown = project.grandpa("inspect", failed, "--host", kfp.url)
    assert [line.split(",")[0] for line in shown.out.splitlines()[1:]] == [
        "  part failed", "    part/rows succeeded", "    part/last failed",
    ]  # fmt: skip
    assert "IndexError" in project.grandpa("inspect", failed, "part/last", "--host", kfp.url).out


def test_a_failed_task_shows_its_report(project: Project, kfp: KfpServer, tmp_path: Path) -> None:
    project.flow(FLOW)
    kfp.start = running_as_processes(str(tmp_path / "store"), tmp_path / "server")
    assert project.grandpa("deploy", "flow.py", "--host", kfp.url, "--wait", "-p", "n=3").code == 3
    (run_id,) = kfp.runs
    shown = project.grandpa("inspect", run_id, "count", "--host", kfp.url)
    assert (shown.code, "ZeroDivisionError" in shown.out) == (0, True)


def test_the_newest_run_on_this_machine_is_inspected_by_default(project: Project, kfp: KfpServer) -> None:
    project.flow(FLOW)
    assert project.grandpa("run", "flow.py").code == 0
    shown = project.grandpa("inspect")
    assert (shown.code, "rows succeeded" in shown.out) == (0, True)
    with here(project.folder):
        assert len(grandpa_kfp.inspect_run().task("rows").output()) == 2000
    assert "rows" in project.grandpa("logs", "last").out
    assert project.grandpa("replay", "last", "count").out == "1\n"
    says(project.grandpa("inspect", "last", "wors"), 1, "has no task wors; it has rows, count")


def test_a_task_out_of_the_cache_shows_what_was_computed(project: Project, kfp: KfpServer, tmp_path: Path) -> None:
    """It left no record in its run; the run that computed it did. It can be replayed, too."""
    project.flow(FLOW)
    kfp.start = running_as_processes(str(tmp_path / "store"), tmp_path / "server")
    for n in ("1999", "2000"):  # the same code with other inputs is another entry of the cache
        assert project.grandpa("deploy", "flow.py", "--host", kfp.url, "--wait", "-p", f"n={n}").code == 0
    kfp.start = out_of_the_cache
    ended = project.grandpa("deploy", "flow.py", "--host", kfp.url, "--wait")
    assert (ended.code, "2 tasks (2 cached, 0 ran) in " in ended.err) == (0, True), ended.err
    run_id = list(kfp.runs)[-1]
    with here(project.folder), grandpa_kfp.inspect_run(run_id, endpoint=kfp.url) as run:
        assert [task.state for task in run.tasks.values()] == ["cached", "cached"]
        assert run.task("rows").output() == run.task("count").input("table") == [[x, "ü"] for x in range(2000)]
        assert run.task("count").output() == run.task("count").replay() == 1
    shutil.rmtree(tmp_path / "store" / "runs")
    shown = project.grandpa("inspect", run_id, "count", "--host", kfp.url)
    assert (shown.code, shown.out) == (0, "count cached\n"), shown.err


def out_of_the_cache(server: KfpServer, run: dict[str, Any], text: str) -> None:
    for name in ("rows", "count"):
        set_task(run, name, "SUCCEEDED")
    for item in run["run_details"]["task_details"]:
        if item["display_name"] == "executor":
            item["state"] = "SKIPPED"
    run["state"], run["finished_at"] = "SUCCEEDED", now()
