"""`grandpa graph`: formats, the graph file, and recorded runs."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import CONSOLE, Project, says

FLOW = """
print("loading")
@Node
def double(x: int) -> int:
    return 2 * x
@Node
def divide(x: int, by: int):
    return x // by
@Component
def twice(x: int):
    return double(double(x))
@Workflow
def flow(x: int = 3, by: int = 1, rounds: Static[int] = 1):
    for _ in range(rounds):
        x = twice(x)
    return double(divide(x, by))
"""
TREE = """\
flow(x: int = 3, by: int = 1)    flow.py:13
├─ twice
│  ├─ double    x ← x
│  ╰─ double-2  x ← twice/double
├─ divide       x ← twice/double-2, by ← by
├─ double       x ← divide
╰→ result       ← double
"""


@pytest.fixture
def flow(project: Project) -> Project:
    project.flow(FLOW)
    return project


def test_a_tree_on_standard_output(flow: Project) -> None:
    """Nothing else is there, whatever the user's file prints, and nothing is written."""
    before = flow.files()
    ended = flow.process("graph", "flow.py", env={"PYTHONDONTWRITEBYTECODE": "1"})
    assert (ended.code, ended.out, ended.err) == (0, TREE, "loading\n")
    assert flow.files() == before


def test_a_static_parameter_changes_the_graph(flow: Project) -> None:
    """As `-p` or from a file."""
    flow.write("params.json", '{"rounds": 3}')
    for options in (("-p", "rounds=3"), ("--params", "params.json")):
        assert flow.grandpa("graph", "flow.py", *options).out.count("twice") > TREE.count("twice")


@pytest.mark.parametrize(
    ("name", "begins"),
    [
        ("g.txt", "flow(x: int = 3"),
        ("g.mmd", "---\ntitle:"),
        ("g.mermaid", "---\ntitle:"),
        ("g.dot", 'digraph "flow" {'),
        ("g.gv", 'digraph "flow" {'),
        ("g.json", "{"),
    ],
)
def test_the_suffix_says_the_format(flow: Project, name: str, begins: str) -> None:
    """`--format` comes first; standard output gets the same bytes."""
    ended = flow.grandpa("graph", "flow.py", "-o", name)
    assert (ended.code, ended.out) == (0, ""), ended.err
    text = (flow.folder / name).read_text(encoding="utf-8")
    assert text.startswith(begins)
    format_ = {"txt": "text", "mmd": "mermaid", "gv": "dot"}.get(name[2:], name[2:])
    assert f"{name}: {format_}, " in ended.err
    assert flow.grandpa("graph", "flow.py", "-f", format_).out.rstrip("\n") == text.rstrip("\n")
    assert flow.grandpa("graph", "flow.py", "-o", "other.svg", "-f", format_).code == 0
    assert (flow.folder / "other.svg").read_text(encoding="utf-8") == text


def test_the_graph_file_stands_in_for_the_source(flow: Project) -> None:
    """It holds the code: it runs, is drawn and checked with the source gone."""
    assert flow.grandpa("graph", "flow.py", "-o", "flow.json").code == 0
    (flow.folder / "flow.py").unlink()
    assert flow.grandpa("run", "flow.json", "-p", "x=1").value == 8
    assert flow.grandpa("graph", "flow.json").out == TREE
    assert flow.grandpa("check", "flow.json").code == 0


def test_a_run_is_drawn_with_what_became_of_its_tasks(flow: Project) -> None:
    """`last`, an id, the beginning of one; FILE only says whose runs; a failed run as well."""
    assert flow.grandpa("run", "flow.py").code == 0
    (good,) = (flow.folder / ".grandpa" / "runs").iterdir()
    assert flow.grandpa("run", "flow.py", "-p", "by=0").code == 3
    assert flow.grandpa("graph", "--run", "last").out.count("↺") == 2
    assert flow.grandpa("run", "flow.py", "-p", "by=0", "--no-cache").code == 3
    shown = flow.grandpa("graph", "--run", "last")
    assert shown.code == 0, shown.err
    rows = [line.strip("│├╰─ ").split()[:3] for line in shown.out.splitlines()]
    assert ["✗", "divide", "failed,"] in rows
    assert ["–", "double", "skipped"] in rows
    assert ["✓", "double-2"] in [row[:2] for row in rows]
    for name in (good.name, good.name[:-1]):
        text = flow.grandpa("graph", "flow.py", "--run", name).out
        assert (text.count("✓"), text.count("✗")) == (4, 0)
    dot = flow.grandpa("graph", "--run", "last", "-f", "dot").out
    assert "failed, " in dot
    assert "skipped" in dot


def test_a_run_is_drawn_as_it_was(flow: Project) -> None:
    """Its own graph, whatever the file has become since."""
    assert flow.grandpa("run", "flow.py").code == 0
    flow.flow("raise SystemExit('imported')\n")
    assert flow.grandpa("graph", "flow.py", "--run", "last").out.count("✓") == 4


def test_a_run_that_is_not_there(flow: Project) -> None:
    """Told with those that are; before any run, that there is none."""
    says(flow.grandpa("graph", "--run", "last"), 1, "run")
    assert flow.grandpa("run", "flow.py").code == 0
    (run,) = (flow.folder / ".grandpa" / "runs").iterdir()
    says(flow.grandpa("graph", "--run", "nope"), 1, "'nope'", run.name)


@pytest.mark.parametrize(
    ("args", "part"),
    [
        ((), "missing argument"),
        (("flow.py", "-o", "g.jpeg"), ".svg"),
        (("flow.py", "-o", "g"), "--format"),
        (("flow.py", "-f", "jpeg"), "mermaid"),
        (("flow.py", "--run", "last", "-p", "x=1"), "--run"),
        (("flow.py", "-o", "."), "directory"),
    ],
)
def test_wrong_usage(flow: Project, args: tuple[str, ...], part: str) -> None:
    """Exit code 2, nothing is written."""
    before = flow.files()
    ended = flow.grandpa("graph", *args)
    assert (ended.code, ended.out) == (2, "")
    assert part in ended.errors[0]
    assert flow.files() == before


def test_what_cannot_be_drawn_or_written(flow: Project) -> None:
    """A compiled YAML, a wrong parameter, a place that cannot be written."""
    assert flow.grandpa("compile", "flow.py").code == 0
    flow.write("file", "kept")
    before = flow.files()
    says(flow.grandpa("graph", "flow.yaml"), 1, "a compiled YAML can only be run")
    says(flow.grandpa("graph", "flow.py", "-p", "roundz=1"), 1, "did you mean rounds?")
    says(flow.grandpa("graph", "flow.py", "-o", "file/g.dot"), 1, "file/g.dot", "cannot be written")
    assert flow.files() == before


def test_a_picture_is_not_thrown_at_a_terminal(flow: Project) -> None:
    """The message says to name a file."""
    master, slave = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-c", CONSOLE, "graph", "flow.py", "-f", "png"],
        cwd=flow.folder, stdout=slave, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, timeout=60, check=False,
    )  # fmt: skip
    os.close(slave)
    os.close(master)
    assert done.returncode == 2
    assert "name a file: -o graph.png" in done.stderr.decode()


@pytest.mark.parametrize("by", ["option", "configuration"])
def test_a_graph_file_carries_the_data_files_that_are_asked_for(project: Project, tmp_path: Path, by: str) -> None:
    """By --include or the project's `include`; run where there is neither source nor data."""
    project.write("data/people.csv", "ada,1\n")
    project.flow(
        """
        from pathlib import Path
        @Node
        def read() -> str:
            return (Path(__file__).parent / "data" / "people.csv").read_text().strip()
        @Workflow
        def flow() -> str:
            return read()
        """
    )
    if by == "configuration":
        project.write("grandpa.toml", 'include = ["data/*.csv"]\n')
    asked = ("--include", "data/*.csv") if by == "option" else ()
    empty = Project(tmp_path / "empty")
    written = project.grandpa("graph", "flow.py", "-o", str(empty.folder / "flow.json"), *asked)
    assert written.code == 0
    assert empty.grandpa("run", "flow.json").value == "ada,1"
