"""Parameters of every supported type arrive the same from the file, the graph file and the compiled YAML."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import Project

SOURCE = """
import datetime
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Literal, Optional


class Mode(Enum):
    FAST = 1
    SLOW = 2


@dataclass
class Config:
    rate: float = 0.1
    layers: list[int] | None = None


@Node
def show(*values: object) -> str:
    return " ".join(f"{type(value).__name__}:{value!r}" for value in values)


@Workflow
def typed(
    config: Config = Config(),
    mode: Mode = Mode.FAST,
    day: datetime.date = datetime.date(2024, 2, 29),
    size: Optional[int] = None,
    kind: Literal["a", "b"] = "a",
    rates: list[float] = [1.0, 2.0],
    names: dict[str, int] = {"n": 1},
    share: float = 2.0,
    flag: bool = False,
):
    return show(config, mode, day, size, kind, rates, names, share, flag)
"""
GIVEN = {
    "config": '{"rate": 3, "layers": [1, 2]}',
    "mode": "SLOW",
    "day": "2025-01-31",
    "size": "7",
    "kind": "b",
    "rates": "[3, 4.5]",
    "names": '{"y": 2}',
    "share": "4",
    "flag": "true",
}
DEFAULTS = (
    "Config:Config(rate=0.1, layers=None) Mode:<Mode.FAST: 1> date:datetime.date(2024, 2, 29) NoneType:None str:'a' "
    "list:[1.0, 2.0] dict:{'n': 1} float:2.0 bool:False"
)
CHANGED = (
    "Config:Config(rate=3.0, layers=[1, 2]) Mode:<Mode.SLOW: 2> date:datetime.date(2025, 1, 31) int:7 str:'b' "
    "list:[3.0, 4.5] dict:{'y': 2} float:4.0 bool:True"
)


@pytest.mark.parametrize("way", ["file", "graph", "yaml"])
def test_every_type_arrives_as_it_is_declared(tmp_path: Path, way: str) -> None:
    """Defaults, and what `-p` gives; a class of the project's among them."""
    project = Project(tmp_path)
    project.flow(SOURCE)
    target = {"file": "flow.py", "graph": "flow.json", "yaml": "flow.yaml"}[way]
    if way == "graph":
        assert project.grandpa("graph", "flow.py", "-o", "flow.json").code == 0
    if way == "yaml":
        assert project.grandpa("compile", "flow.py").code == 0
    assert project.grandpa("run", target).value == DEFAULTS
    given = [word for name, text in GIVEN.items() for word in ("-p", f"{name}={text}")]
    assert project.grandpa("run", target, *given).value == CHANGED


def test_help_shows_defaults_as_they_are_given(tmp_path: Path) -> None:
    """An Enum by the name that `-p` takes, a dataclass with its fields."""
    project = Project(tmp_path)
    project.flow(SOURCE)
    shown = project.grandpa("run", "flow.py", "--help").out
    assert "mode: Mode = FAST" in shown
    assert "config: Config = Config(rate=0.1, layers=None)" in shown
