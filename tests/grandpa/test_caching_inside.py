"""Results of earlier runs stand for tasks in branches, loops and maps, and for those that bodies have called."""

from __future__ import annotations

import os
import time

import pytest
from command_line import Project

HEAD = """
from grandpa_kfp import collect, each, either, elsewhen, otherwise, when

def told(name, *what):
    with open("ran.txt", "a") as file:
        file.write(":".join([name, *map(str, what)]) + " ")

@Node
def rows(n: int, first: int = 0) -> list:
    told("rows")
    return list(range(first, first + n))

@Node
def square(x: int) -> int:
    told("square", x)
    return x * x

@Node
def total(xs: list) -> int:
    told("total")
    return sum(xs)
"""


class Flow:
    """A project whose nodes tell when their bodies run. body: of the file, behind its head."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.text = ""

    def write(self, body: str) -> None:
        """Another file, with another time of change."""
        self.text = HEAD + body
        file = self.project.flow(self.text)
        later = time.time() + len(self.text) / 1e3
        os.utime(file, (later, later))

    def run(self, *options: str, code: int = 0) -> list[str]:
        """What ran, sorted."""
        ran = self.project.folder / "ran.txt"
        ran.unlink(missing_ok=True)
        self.ended = self.project.grandpa("run", "flow.py", *options)
        assert self.ended.code == code, self.ended.err
        return sorted(ran.read_text().split()) if ran.exists() else []


@pytest.fixture
def flow(project: Project) -> Flow:
    return Flow(project)


ON = pytest.mark.parametrize("where", [(), ("--processes", "2")], ids=["threads", "processes"])


@ON
def test_elements_of_a_map_go_by_what_they_are_given(flow: Flow, where: tuple[str, ...]) -> None:
    """An element's place in the list does not matter; a list of them is one more task."""
    flow.write("@Workflow\ndef flow(n: int = 3, first: int = 0):\n    return square.map(rows(n, first))\n")
    assert flow.run(*where) == ["rows", "square:0", "square:1", "square:2"]
    assert flow.run("-p", "first=1", *where) == ["rows", "square:3"]
    assert flow.ended.value == [1, 4, 9]
    assert "(2 cached, 3 ran)" in flow.ended.err
    assert flow.run("--force", "square", *where) == ["square:0", "square:1", "square:2"]


@ON
def test_rounds_of_a_loop_go_by_what_they_are_given(flow: Flow, where: tuple[str, ...]) -> None:
    """Loops in loops and branches in them too; what is collected is the same list."""
    flow.write(
        "@Workflow\ndef flow(n: int = 3, first: int = 0):\n"
        "    with each(rows(n, first)) as x:\n"
        "        with when(x > 1):\n            big = square(square(x))\n"
        "        with otherwise():\n            small = total([x])\n"
        "        found = either(big, small)\n"
        "    return total(collect(found))\n"
    )
    assert flow.run(*where) == ["rows", "square:2", "square:4", "total", "total", "total"]
    assert flow.ended.value == 17
    assert flow.run(*where) == []
    assert flow.run("-p", "first=1", *where) == ["rows", "square:3", "square:9", "total"]
    assert flow.ended.value == 98
