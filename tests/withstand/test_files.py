"""Files that are not there, do not load, or cannot be written: nothing is left half-written, nothing is lost."""

from __future__ import annotations

import os

import pytest
from command_line import MARK, Project, says

GOOD = """
@Node
def one(x):
    return x
@Workflow
def flow(x: int = 1):
    return one(x)
"""
VERBS = ("run", "compile", "check")

BROKEN = {
    "a syntax error": (f"def flow(:  {MARK}\n", "SyntaxError", "def flow(:"),
    "an indentation error": (f"def flow():\n  x = 1\n    y = 2  {MARK}\n", "IndentationError"),
    "a module that is not there": (f"import nowhere_at_all  {MARK}\n", "ModuleNotFoundError", "nowhere_at_all"),
    "a name that is not there": (f"from json import nothing  {MARK}\n", "ImportError", "nothing"),
    "an exception": (f"def f():\n    raise ValueError('boom')  {MARK}\nf()\n", "ValueError: boom", "from flow.py"),
    "sys.exit": (f"import sys\nsys.exit(3)  {MARK}\n", "ends the program", "exit 3"),
    "a run at its top level": (
        f"import grandpa_kfp\n{GOOD}\ngrandpa_kfp.run(flow)  {MARK}\n",
        'if __name__ == "__main__":',
    ),
    "a resolve at its top level that fails": (
        "@Node\ndef bad(x):\n    return 1 / x\nbad(0).resolve()\n",
        "bad",
        "ZeroDivisionError",
    ),
}


@pytest.mark.parametrize(("source", "parts"), [(source, parts) for source, *parts in BROKEN.values()], ids=BROKEN)
def test_a_file_that_does_not_load(project: Project, source: str, parts: list[str]) -> None:
    """The user's line and what is on it, by every verb; a YAML from before stays as it was."""
    project.flow(source)
    project.write("flow.yaml", "from before\n")
    before = project.files()
    for verb in VERBS:
        code = 3 if "resolve" in source else 1
        says(project.grandpa(verb, "flow.py"), code, *([project.line()] if MARK in source else []), *parts)
        assert project.files() == before


def test_a_module_of_the_project_that_does_not_load(project: Project) -> None:
    """The line in that module first, then the import that led there."""
    project.write("helper/__init__.py", "")
    project.write("helper/deep.py", f"x = 1\ny = x / 0  {MARK}\n")
    project.flow(f"from helper.deep import y  # import\n{GOOD}")
    says(
        project.grandpa("run", "flow.py"),
        1,
        project.line("helper/deep.py"),
        "ZeroDivisionError",
        f"from {project.line(mark='# import')}",
    )


def test_modules_that_import_each_other(project: Project) -> None:
    """Python's own message, at the user's line."""
    project.write("other.py", f"from flow import one  {MARK}\n")
    project.flow(f"import other\n{GOOD}")
    says(project.grandpa("run", "flow.py"), 1, project.line("other.py"), "ImportError", "one")


def test_a_path_that_is_not_there(project: Project) -> None:
    """With the nearest name, by every verb and for every kind of file."""
    project.flow(GOOD, "pipeline.py")
    before = project.files()
    for verb in (*VERBS, "graph"):
        says(project.grandpa(verb, "pipelin.py"), 1, "pipelin.py does not exist", "did you mean pipeline.py")
        says(project.grandpa(verb, "no/where.py"), 1, "no/where.py does not exist")
        says(project.grandpa(verb, "nowhere.json"), 1, "nowhere.json does not exist")
        says(project.grandpa(verb, "."), 1, "is a folder")
        says(project.grandpa(verb, "pipeline.py:flwo"), 1, "flwo", "did you mean flow")
    says(project.grandpa("run", "nowhere.yaml"), 1, "nowhere.yaml does not exist")
    assert project.files() == before


def test_a_file_that_is_no_python(project: Project) -> None:
    """Bytes, another suffix, no workflow, several of them."""
    (project.folder / "bytes.py").write_bytes(b"\x89PNG\x00\xff")
    project.write("notes.txt", "hello")
    project.write("empty.py", "")
    project.flow(GOOD + "@Workflow\ndef other():\n    return one(1)\n", "two.py")
    project.write("plain.py", "def flow():\n    pass\n")
    for file, *parts in (
        ("bytes.py", "bytes.py"),
        ("notes.txt", "notes.txt", "Python file"),
        ("empty.py", "empty.py has no workflow", "@Workflow"),
        ("two.py", "several workflows", "flow (two.py:", "other (two.py:", "two.py:flow"),
        ("plain.py:flow", "flow is no workflow", "@Workflow"),
    ):
        for verb in VERBS:
            says(project.grandpa(verb, file), 1, *parts)


def test_an_output_that_cannot_be_written(project: Project) -> None:
    """A folder stands there, or a file where a folder should be: told, and left alone."""
    project.flow(GOOD)
    (project.folder / "taken.yaml").mkdir()
    project.write("file", "kept")
    before = project.files()
    for output in ("taken.yaml", "file/flow.yaml", "/proc/nowhere/flow.yaml"):
        says(project.grandpa("compile", "flow.py", "-o", output), 1, output, "cannot be written")
        assert project.files() == before
    assert not list((project.folder / "taken.yaml").iterdir())


def test_a_disk_that_is_full_while_compiling(project: Project) -> None:
    """The old file stays whole, nothing else is left."""
    resource = pytest.importorskip("resource")
    project.flow(GOOD)
    project.write("flow.yaml", "from before\n")
    before = project.files()
    ended = project.process(
        "compile",
        "flow.py",
        env={"PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)),
    )
    says(ended, 1, "flow.yaml cannot be written", os.strerror(27))
    assert project.files() == before


def test_a_compile_that_fails_keeps_the_old_file(project: Project) -> None:
    """Whatever the fault, and in whichever step."""
    project.flow(GOOD)
    assert project.grandpa("compile", "flow.py").code == 0
    good = project.files()["flow.yaml"]
    while_loading, while_tracing = "import nowhere_at_all", GOOD.replace("return one(x)", "raise ValueError")
    while_verifying, while_compiling = (
        GOOD.replace("return one(x)", f"return one({x})") for x in ("", "b'x' * 99_999")
    )
    for source in (while_loading, while_tracing, while_verifying, while_compiling):
        project.flow(source)
        says(project.grandpa("compile", "flow.py"), 1, "flow.py:")
        assert project.files()["flow.yaml"] == good
    assert set(project.files()) == {"flow.py", "flow.yaml", "grandpa.toml"}


def test_from_another_folder_and_with_odd_names(project: Project) -> None:
    """Spaces, umlauts, dashes, the name of a standard module: all of them run, compile, and run compiled."""
    for name in ("my pipeline-2.py", "grün.py", "types.py", "json.py", "class.py"):
        project.flow(GOOD, f"dir with space/{name}")
        yaml = (project.folder / "dir with space" / name).with_suffix(".yaml")
        ended = project.grandpa("compile", f"dir with space/{name}", "-o", yaml)
        assert ended.code == 0, ended.err
    ended = project.process("run", "dir with space/types.py")
    assert (ended.code, ended.value) == (0, 1), ended.err
    ended = project.process("run", "dir with space/class.yaml")
    assert (ended.code, ended.value) == (0, 1), ended.err
