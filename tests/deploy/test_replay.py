"""`grandpa replay`: one task of a run once more, with its inputs, with today's code or the run's own."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from command_line import Project, here, says
from deploy.kfp_server import KfpServer, running_as_processes

import grandpa_kfp
from grandpa_kfp.engine.record import list_runs
from grandpa_kfp_runtime.errors import TaskError

FLOW = """
    import json

    @Node
    def rows(n: int) -> list:
        print("rows runs")
        return [[x, "ü"] for x in range(n)]

    @Node
    def count(table: list, label: str, first: str) -> list:
        size = len(table)
        json.dumps(1 // (size - 3))
        return [size, label, first]

    @Workflow
    def flow(n: int = 3, label: str = "5"):
        table = rows(n)
        return count(table, label, table[0][1])
"""
MENDED = FLOW.replace("1 // (size - 3)", "size")


@pytest.fixture
def failed(project: Project, request: pytest.FixtureRequest) -> str:
    """The id of a run here whose task `count` failed: of the Python file, its graph file, or its YAML."""
    project.flow(FLOW)
    if request.param == "flow.json":
        project.graph_file()
    elif request.param == "flow.yaml":
        assert project.grandpa("compile", "flow.py").code == 0
    assert project.grandpa("run", request.param).code == 3
    return list_runs(project.folder)[-1]


every_kind = pytest.mark.parametrize("failed", ["flow.py", "flow.json", "flow.yaml"], indirect=True)


@every_kind
def test_mended_code_runs_with_the_inputs_of_the_run(project: Project, failed: str) -> None:
    """The usual wish. Only that task runs, its value is the last line alone, the run's record stays as it was."""
    before = _content(project.folder / ".grandpa" / "runs")
    project.flow(MENDED)
    done = project.grandpa("replay", failed, "count")
    assert (done.code, done.out) == (0, "[3, '5', 'ü']\n"), done.err
    assert "rows runs" not in done.err
    assert _content(project.folder / ".grandpa" / "runs") == before
    assert project.grandpa("replay", failed, "rows", "--json").out == '[[0, "ü"], [1, "ü"], [2, "ü"]]\n'


@every_kind
def test_an_input_can_be_given_another_value(project: Project, failed: str) -> None:
    done = project.grandpa(
        "replay", failed, "count", "--set", "table=[[0, 1]]", "--set", "label=a b", "--set", "first=z"
    )
    assert (done.code, done.out) == (0, "[1, 'a b', 'z']\n"), done.err
    says(project.grandpa("replay", failed, "count", "--set", "tabel=1"), 1, "no input tabel; did you mean table?")
    says(project.grandpa("replay", failed, "count", "--set", "table"), 2, "write it as --set NAME=VALUE")


@every_kind
def test_an_error_is_reported_as_a_run_reports_it(project: Project, failed: str) -> None:
    done = project.grandpa("replay", failed, "count")
    says(done, 3, "count (flow.py:", "ZeroDivisionError", 'File "flow.py"', "table = list of 3")
    with here(project.folder), grandpa_kfp.inspect_run(failed) as run, pytest.raises(TaskError) as caught:
        run.task("count").replay()
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize("failed", ["flow.json", "flow.yaml"], indirect=True)
def test_the_code_that_the_run_had_can_be_replayed(project: Project, failed: str) -> None:
    """With the project's code mended, and even without the project's code."""
    project.flow(MENDED)
    says(project.grandpa("replay", failed, "count", "--code", "run"), 3, "ZeroDivisionError")
    (project.folder / "flow.py").unlink()
    says(project.grandpa("replay", failed, "count", "--code", "run"), 3, "ZeroDivisionError")
    says(project.grandpa("replay", failed, "count"), 1, "has no module flow", "--code run")


@pytest.mark.parametrize("failed", ["flow.py"], indirect=True)
def test_what_cannot_be_replayed_is_told_with_the_way_out(project: Project, failed: str) -> None:
    says(project.grandpa("replay", failed, "count", "--code", "run"), 1, "kept no copy", "--code current")
    says(project.grandpa("replay", failed, "cuont"), 1, "has no task cuont; did you mean count?")
    near = failed[:-1] + ("0" if failed[-1] != "0" else "1")
    says(project.grandpa("replay", near, "count"), 1, f"did you mean {failed}?", "no Kubeflow Pipelines server")
    project.flow(MENDED.replace("count", "counted"))
    says(project.grandpa("replay", failed, "count"), 1, "has no count any more; did counted take its place?")


@every_kind
def test_an_input_that_is_gone_names_its_producer(project: Project, failed: str, tmp_path: Path) -> None:
    """And the way out: another value for it."""
    project.flow(MENDED.replace("range(n)", "range(n * 1000)"))
    kind = "flow.yaml" if (project.folder / "flow.yaml").exists() else "flow.py"
    if kind == "flow.yaml":
        assert project.grandpa("compile", "flow.py").code == 0
    assert project.grandpa("run", kind).code == 0
    run = list_runs(project.folder)[-1]
    shutil.rmtree(project.folder / ".grandpa" / "store" / "objects")
    says(project.grandpa("replay", run, "count"), 1, "count: input table", "The task rows made it", "--set NAME=VALUE")
    assert project.grandpa("replay", run, "count", "--set", "table=[1]", "--set", "first=a").code == 0


@every_kind
def test_the_debugger_opens_in_the_users_frame(project: Project, failed: str) -> None:
    """Not in the library that the user's code called: `up` and `down` lead there."""
    project.flow(FLOW.replace("json.dumps(1 // (size - 3))", "json.dumps({size: {1}})"))
    done = project.process("replay", failed, "count", "--pdb", typed="p size + 39\nq\n")
    assert done.code == 3, done.err
    assert "TypeError: Object of type set is not JSON serializable" in done.err
    assert "-> json.dumps({size: {1}})" in done.err
    assert "(Pdb) 42" in done.err
    assert done.out == ""


def test_a_node_class_is_constructed_again_and_files_arrive(project: Project) -> None:
    project.flow("""
        from pathlib import Path
        from grandpa_kfp import current

        @Node(env={"SIGN": "!"})
        class Writer:
            def __init__(self, greeting: str):
                self.greeting = greeting

            def __call__(self, name: str) -> Path:
                import os

                file = current().scratch_dir() / "a.txt"
                file.write_text(self.greeting + name + os.environ["SIGN"])
                return file

        @Node
        def read(file: Path) -> str:
            return file.read_text()

        @Workflow
        def flow():
            return read(Writer("hello ")("you"))
    """)
    assert project.grandpa("run", "flow.py").value == "hello you!"
    run = list_runs(project.folder)[-1]
    assert project.grandpa("replay", run, "read").value == "hello you!"
    writer = project.grandpa("inspect", run).out.split()[3]
    written = project.grandpa("replay", run, writer, "--set", "name=me", "--set", "init-greeting=hi ")
    assert written.code == 0, written.err
    assert Path(written.out.strip()).read_text() == "hi me!"


def test_a_task_of_a_run_on_the_server_is_replayed(project: Project, kfp: KfpServer, tmp_path: Path) -> None:
    project.flow(FLOW)
    kfp.start = running_as_processes(str(tmp_path / "store"), tmp_path / "server")
    assert project.grandpa("deploy", "flow.py", "--host", kfp.url, "--wait").code == 3
    (run_id,) = kfp.runs
    kept = _content(tmp_path / "store" / "records") if (tmp_path / "store" / "records").exists() else None
    says(project.grandpa("replay", run_id, "count", "--host", kfp.url, "--code", "run"), 3, "ZeroDivisionError")
    project.flow(MENDED)
    done = project.grandpa("replay", run_id, "count", "--host", kfp.url)
    assert (done.code, done.out) == (0, "[3, '5', 'ü']\n"), done.err
    if kept is not None:
        assert _content(tmp_path / "store" / "records") == kept


def test_runs_and_tasks_are_completed(project: Project) -> None:
    from click.shell_completion import ShellComplete

    from grandpa_kfp.cli.lazy import cli

    project.flow(MENDED)
    assert project.grandpa("run", "flow.py").code == 0
    (run,) = list_runs(project.folder)
    shell = ShellComplete(cli, {}, "grandpa", "_X")
    with here(project.folder):
        assert [item.value for item in shell.get_completions(["replay"], run[:4])] == [run]
        assert [item.value for item in shell.get_completions(["replay", run], "co")] == ["count"]
        assert [item.value for item in shell.get_completions(["inspect", "nothing"], "")] == []


def _content(folder: Path) -> dict[str, Any]:
    assert folder.is_dir()
    return {str(file): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}
