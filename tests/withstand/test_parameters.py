"""Parameters on the command line: wrong names, wrong types, missing values, on every kind of file."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import MARK, Project, says

FLOW = f"""
import datetime
import enum
from typing import Any, Literal, Optional

class Colour(enum.Enum):
    RED = 1
    BLUE = 2

@Node
def all_of(**values) -> dict[str, Any]:
    return values

@Workflow  {MARK}
def flow(
    count: int,
    rate: float = 0.5,
    flag: bool = False,
    names: list[int] = [1],
    colour: Colour = Colour.RED,
    day: Optional[datetime.date] = None,
    mode: Literal["fast", "slow"] = "fast",
):
    return all_of(count=count, rate=rate, flag=flag, names=names, mode=mode, more=text(colour, day))

@Node
def text(colour: Colour, day: Optional[datetime.date]) -> str:
    return f"{{colour.name}} {{day}}"
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """One project with the workflow as Python file, graph file and YAML; no test writes into it."""
    project = Project(tmp_path_factory.mktemp("parameters"))
    project.flow(FLOW)
    assert project.grandpa("compile", "flow.py").code == 0
    project.graph_file()
    return project


FILES = ("flow.py", "flow.json", "flow.yaml")

WRONG = {
    "a name": (["count=1", "cuont=2"], "no parameter 'cuont'", "did you mean count"),
    "a name like none": (["count=1", "zzz=2"], "no parameter 'zzz'", "it takes count, rate"),
    "int": (["count=many"], "count", "int", "'many'"),
    "int with a fraction": (["count=1.5"], "count", "int", "1.5"),
    "an int beyond 2**53": (["count=9007199254740993"], "count", "2**53"),
    "float": (["count=1", "rate=fast"], "rate", "float", "'fast'"),
    "bool": (["count=1", "flag=perhaps"], "flag", "bool", "'perhaps'"),
    "a list's item": (["count=1", "names=1,x"], "names", "int", "'x'"),
    "a list": (["count=1", 'names={"a": 1}'], "names", "list"),
    "an enum's name": (["count=1", "colour=GREEN"], "colour", "RED", "GREEN"),
    "a date": (["count=1", "day=soon"], "day", "date", "soon"),
    "a literal": (["count=1", "mode=quick"], "mode", "fast", "quick"),
    "a missing one": ([], "count", "missing", "-p count="),
}


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize(("pairs", "parts"), [(pairs, parts) for pairs, *parts in WRONG.values()], ids=WRONG)
def test_a_wrong_parameter(made: Project, file: str, pairs: list[str], parts: list[str]) -> None:
    """It names the workflow with its line (which a YAML does not have), the parameter, what is wanted."""
    before = made.files()
    options = [option for pair in pairs for option in ("-p", pair)]
    where = [] if file == "flow.yaml" else [f"flow ({made.line()})"]
    if file == "flow.yaml" and "colour=GREEN" in pairs:  # its class is in the code, which tasks alone unpack
        says(made.grandpa("run", file, *options), 3, "text (flow.py", *parts)
        return
    says(made.grandpa("run", file, *options), 1, *where, *parts)
    assert made.files() == before


@pytest.mark.parametrize("file", FILES)
def test_all_wrong_parameters_at_once(made: Project, file: str) -> None:
    """Nobody wants to find them one by one."""
    message = says(made.grandpa("run", file, "-p", "cuont=1", "-p", "rate=x", "-p", "flag=y?"), 1, "cuont", "rate")
    assert len(message.splitlines()) >= 3


def test_parameters_from_a_file(made: Project, tmp_path: Path) -> None:
    """A name or type that is wrong in it, one that cannot be read, one that holds no names."""
    for name, text, *parts in (
        ("a.json", '{"count": 1, "cuont": 2}', "no parameter 'cuont'", "a.json", "did you mean count"),
        ("b.json", '{"count": "many"}', "count", "'many'"),
        ("c.json", '{"count": 1', "c.json", "JSON"),
        ("d.yaml", "- 1\n- 2\n", "d.yaml", "by name"),
        ("e.toml", "count = ", "e.toml", "TOML"),
        ("f.yaml", "count: [1", "f.yaml", "YAML"),
    ):
        (tmp_path / name).write_text(text)
        for file in FILES:
            says(made.grandpa("run", file, "--params", tmp_path / name), 1, *parts)


def test_wrong_usage(made: Project) -> None:
    """Exit code 2, with where to look."""
    for args, *parts in (
        (("run", "flow.py", "-p", "count"), "-p NAME=VALUE"),
        (("run", "flow.py", "--bad"), "--bad", "grandpa run --help"),
        (("run",), "FILE"),
        (("rnu", "flow.py"), "'rnu'", "did you mean run"),
        (("flow.py",), "grandpa run flow.py"),
        (("run", "flow.py", "--threads", "0"), "--threads"),
        (("run", "flow.py", "--params", "nowhere.json"), "nowhere.json", "does not exist"),
        (("compile", "flow.py", "--code", "magic"), "magic", "inline"),
        (("run", "flow.yaml", "--engine", "threads"), "--engine"),
    ):
        says(made.grandpa(*args), 2, *parts)


def test_parameters_arrive_by_their_types(made: Project) -> None:
    """The same, whichever file is run."""
    for file in FILES:
        ended = made.grandpa(
            "run",
            file,
            "-p",
            "count=4",
            "-p",
            "rate=2",
            "-p",
            "flag=on",
            "-p",
            "names=3,4",
            "-p",
            "mode=slow",
            "-p",
            "colour=BLUE",
            "-p",
            "day=2024-02-29",
        )
        expected = {"count": 4, "rate": 2.0, "flag": True, "names": [3, 4], "mode": "slow", "more": "BLUE 2024-02-29"}
        assert (ended.value, ended.code) == (expected, 0), ended.err


def test_a_static_parameter_without_a_value(project: Project) -> None:
    """It is needed while tracing, so each verb asks for it."""
    project.flow(f"@Node\ndef one(x):\n    return x\n@Workflow  {MARK}\ndef flow(n: Static[int]):\n    return one(n)\n")
    for verb in ("run", "compile"):
        says(project.grandpa(verb, "flow.py"), 1, f"flow ({project.line()})", "Static parameter n", "-p n=")
    says(project.grandpa("run", "flow.py", "-p", "n=x"), 1, "n", "int", "'x'")
    assert project.grandpa("run", "flow.py", "-p", "n=3").value == 3


def test_a_default_of_the_wrong_type(project: Project) -> None:
    """Told with the workflow's line before anything runs."""
    project.flow(f"@Node\ndef one(x):\n    return x\n@Workflow  {MARK}\ndef flow(n: int = 'x'):\n    return one(n)\n")
    for verb in ("run", "compile"):
        says(project.grandpa(verb, "flow.py"), 1, project.line(), "n", "int", "'x'")
