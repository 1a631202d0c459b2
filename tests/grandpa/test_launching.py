"""`launch()` at the end of a script: every verb for `python pipeline.py`, `run` by default."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from command_line import Ended, Project

from grandpa_kfp import LoadError, Workflow, launch

FLOW = """
import sys
@Node
def double(x: int) -> int:
    return 2 * x
@Workflow
def flow(x: int = 3):
    '''Doubles.

    Args:
        x: what to double
    '''
    print("traced in", __name__)
    return double(x)
"""
GUARDED = """
if __name__ == "__main__":
    from grandpa_kfp import launch
    launch()
"""


def python(project: Project, *args: str, folder: str = "", **env: str) -> Ended:
    """`python pipeline.py ...` in a process, as a user types it."""
    done = subprocess.run(
        [sys.executable, *args],
        cwd=project.folder / folder, env={**os.environ, **env}, stdin=subprocess.DEVNULL, capture_output=True,
        text=True, timeout=60, check=False,
    )  # fmt: skip
    return Ended(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def script(project: Project) -> Project:
    project.flow(FLOW + GUARDED, "pipeline.py")
    return project


def test_a_script_runs_by_default(script: Project) -> None:
    """Its value is the last line, its record lies in the project; the live functions are used as they are."""
    ended = python(script, "pipeline.py")
    assert (ended.code, ended.out) == (0, "6\n"), ended.err
    assert "traced in __main__" in ended.err
    assert list((script.folder / ".grandpa" / "runs").iterdir())


def test_options_alone_belong_to_run(script: Project) -> None:
    """`-p`, `--json`; `--params` after the verb's own name as well."""
    assert python(script, "pipeline.py", "-p", "x=5").out == "10\n"
    script.write("params.json", '{"x": 7}')
    assert python(script, "pipeline.py", "run", "--params", "params.json", "--json").out == "14\n"
    ended = python(script, "pipeline.py", "-p", "y=5")
    assert (ended.code, ended.out) == (1, "")
    assert "flow (pipeline.py:" in ended.errors[0]


def test_compile_writes_what_grandpa_compile_writes(script: Project) -> None:
    """From another folder too: the script's module has the name it has in the project, never `__main__`."""
    assert script.process("compile", "pipeline.py", "-o", "expected.yaml").code == 0
    assert python(script, "pipeline.py", "compile").code == 0
    (script.folder / "elsewhere").mkdir()
    ended = python(script, "../pipeline.py", "compile", "-o", "there.yaml", folder="elsewhere")
    assert ended.code == 0, ended.err
    files = script.files()
    assert files["pipeline.yaml"] == files["elsewhere/there.yaml"] == files["expected.yaml"]
    assert b"__main__" not in files["pipeline.yaml"]
    assert script.grandpa("run", "pipeline.yaml").value == 6


def test_check_and_graph(script: Project) -> None:
    """Every verb that takes a file takes the script."""
    ended = python(script, "pipeline.py", "check")
    assert ended.code == 0
    assert "flow: 1 task, nothing wrong" in ended.out
    assert python(script, "pipeline.py", "graph").out.startswith("flow(x: int = 3)")
    assert python(script, "pipeline.py").code == 0
    assert "✓ double" in python(script, "pipeline.py", "graph", "--run", "last").out
    script.flow(FLOW.replace("double(x)\n", "double(y=x)\n") + GUARDED, "wrong.py")
    ended = python(script, "wrong.py", "check")
    assert ended.code == 1
    assert "wrong.py:" in ended.errors[0]


def test_help_speaks_of_the_script(script: Project) -> None:
    """No FILE in it, and the workflow's parameters; `--help` alone lists the verbs."""
    ended = python(script, "pipeline.py", "--help")
    assert ended.out.startswith("Usage: python pipeline.py ")
    assert "Verbs:" in ended.out
    ended = python(script, "pipeline.py", "run", "--help")
    assert ended.out.startswith("Usage: python pipeline.py run [OPTIONS]\n")
    assert "x: int = 3  what to double" in ended.out
    assert python(script, "pipeline.py", "--version").out.startswith("grandpa-kfp ")


def test_an_unknown_verb_is_wrong_usage(script: Project) -> None:
    """It suggests the nearest, as `grandpa` does."""
    ended = python(script, "pipeline.py", "complie")
    assert (ended.code, ended.out) == (2, "")
    assert "there is no verb 'complie'; did you mean compile?" in ended.errors[0]


TWO = f"""{FLOW}
@Workflow
def other(x: int = 1):
    return double(double(x))
if __name__ == "__main__":
    from grandpa_kfp import launch
    launch(CHOSEN)
"""


def test_of_several_workflows_one_is_named(project: Project) -> None:
    """Without a name all are listed; `launch(workflow)` takes that one, in each verb."""
    project.flow(TWO.replace("CHOSEN", ""), "two.py")
    ended = python(project, "two.py")
    assert (ended.code, ended.out) == (1, "")
    for part in ("several workflows", "flow (two.py:", "other (two.py:"):
        assert part in ended.errors[0]
    project.flow(TWO.replace("CHOSEN", "other"), "two.py")
    assert python(project, "two.py").out == "4\n"
    assert python(project, "two.py", "compile", "-o", "other.yaml").code == 0
    assert project.grandpa("run", "other.yaml").value == 4


def test_a_failing_task_ends_with_three(project: Project) -> None:
    """The script's lines, no frame of ours."""
    project.flow(FLOW.replace("2 * x", "x / 0  # body") + GUARDED, "pipeline.py")
    ended = python(project, "pipeline.py")
    assert (ended.code, ended.out) == (3, "")
    assert "ZeroDivisionError" in ended.errors[0]
    assert "x / 0" in ended.errors[0]
    assert "/grandpa_kfp" not in ended.err


def test_without_a_guard(project: Project) -> None:
    """`python pipeline.py` runs; what has to load the file says, with its line, to guard the call."""
    project.flow("from grandpa_kfp import launch\n" + FLOW + "launch()  # <-\n", "pipeline.py")
    assert python(project, "pipeline.py").out == "6\n"
    before = project.files()
    for ended in (
        project.process("run", "pipeline.py"),
        project.process("compile", "pipeline.py"),
        python(project, "pipeline.py", "compile"),
    ):
        assert (ended.code, ended.out) == (1, "")
        assert len(ended.errors) == 1
        assert project.line("pipeline.py") in ended.errors[0]
        assert 'if __name__ == "__main__":' in ended.errors[0]
    assert {name for name in project.files() if name.endswith(".yaml")} == {
        name for name in before if name.endswith(".yaml")
    }


def test_no_script_no_launch(project: Project) -> None:
    """From `python -c` there is no file to speak of; the message says what to call instead."""
    code = "from grandpa_kfp import Workflow, launch\n@Workflow\ndef flow(): return 1\nlaunch(flow)"
    ended = python(project, "-c", code)
    assert ended.code != 0
    assert "run(workflow)" in ended.err


def test_launch_is_refused_while_a_file_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Raised, so that the verb which loads the file can tell it."""
    from grandpa_kfp import loading

    @Workflow
    def flow() -> int:
        return 1

    token = loading._loading.set("pipeline.py")
    try:
        with pytest.raises(LoadError, match="launch is called at the top level"):
            launch(flow)
    finally:
        loading._loading.reset(token)
