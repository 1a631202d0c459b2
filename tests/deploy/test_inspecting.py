"""`inspect_run` and `grandpa inspect`: what tasks took and gave, here and on a server."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import Project, here, says
from deploy.kfp_server import KfpServer, running_as_processes

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
    says(project.grandpa("inspect", "", "wors"), 1, "has no task wors; it has rows, count")
