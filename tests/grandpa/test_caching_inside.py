"""Results of earlier runs stand for tasks in branches, loops and maps, and for those that bodies have called."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import Any

import pytest
from command_line import Project

import grandpa_kfp
from grandpa_kfp import Node, Workflow, either, otherwise, when
from grandpa_kfp.engine.memo import memo as memo_module
from grandpa_kfp_runtime.stores.file import FileStore

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


@ON
def test_calls_of_a_body_are_cached_one_by_one(flow: Flow, where: tuple[str, ...]) -> None:
    """Where the body itself has changed; what it gave them as lists and other objects counts by value."""
    body = (
        "@Node\ndef grow(n: int):\n    told('grow')\n    return total([square(n), {step}]), total([n, 1])\n"
        "@Workflow\ndef flow(n: int = 3):\n    return grow(n)\n"
    )
    flow.write(body.format(step=1))
    assert flow.run(*where) == ["grow", "square:3", "total", "total"]
    flow.write(body.format(step=2))
    assert flow.run(*where) == ["grow", "total"]
    assert flow.ended.value == (11, 4)
    flow.write(body.format(step="1 "))
    assert flow.run(*where) == []
    assert flow.run("--force", "grow", *where) == ["grow", "square:3", "total", "total"]


def test_threads_and_processes_share_results_of_inner_tasks(flow: Flow) -> None:
    """The key of a task is the same where a worker has made it of a body's own values."""
    body = (
        "from dataclasses import dataclass\n\n@dataclass(frozen=True)\nclass Job:\n    steps: list\n\n"
        "@Node\ndef work(job: Job, size: list) -> int:\n    told('work')\n    return len(job.steps) + len(size)\n"
        "@Node\ndef jobs(n: int):\n    told('jobs')\n    return [work(Job([1] * k), [0] * k) for k in range(n)]\n"
        "@Workflow\ndef flow(n: int = 2):\n    return jobs(n)\n"
    )
    flow.write(body)
    assert flow.run() == ["jobs", "work", "work"]
    assert flow.run("-p", "n=3", "--processes", "2") == ["jobs", "work"]
    assert flow.run("-p", "n=4") == ["jobs", "work"]
    assert flow.run("-p", "n=3", "--force", "jobs") == ["jobs", "work", "work", "work"]


@ON
def test_elements_that_had_ended_before_a_failure_are_kept(flow: Flow, where: tuple[str, ...]) -> None:
    """The failed one is not, nor one that fell back, nor what had grown that."""
    body = (
        "@Node{fallback}\ndef root(x: int) -> int:\n    told('root', x)\n    return 10 // x\n"
        "@Node\ndef above(x: int) -> int:\n    told('above', x)\n    return root(x)\n"
        "@Workflow\ndef flow(n: int = 3, first: int = 0):\n    return above.map(rows(n, first), window=1)\n"
    )
    flow.write(body.format(fallback=""))
    assert "root:1" not in flow.run("-p", "first=0", *where, code=3)
    assert flow.run("-p", "first=-1", *where, code=3) == ["above:-1", "above:0", "root:-1", "root:0", "rows"]
    assert flow.run("-p", "first=-1", *where, code=3) == ["above:0", "root:0"]
    flow.write(body.format(fallback="(fallback=7)"))
    assert flow.run("-p", "first=-1", *where) == ["above:0", "above:1", "root:0", "root:1"]
    assert flow.ended.value == [-10, 7, 10]
    assert flow.run("-p", "first=-1", *where) == ["above:0", "root:0"]


@ON
def test_times_to_live_and_cache_false_hold_inside(flow: Flow, where: tuple[str, ...]) -> None:
    """In loops as outside."""
    body = (
        "@Node(cache={cache})\ndef half(x: int) -> float:\n    told('half', x)\n    return x / 2\n"
        "@Workflow\ndef flow(n: int = 2):\n    with each(rows(n)) as x:\n        y = half(x)\n    return collect(y)\n"
    )
    flow.write(body.format(cache="'1h'"))
    assert flow.run(*where) == ["half:0", "half:1", "rows"]
    assert flow.run(*where) == []
    flow.write(body.format(cache="'0.001s'"))
    assert flow.run(*where) == ["half:0", "half:1"]
    flow.write(body.format(cache="False  "))
    assert flow.run(*where) == ["half:0", "half:1"]


@ON
def test_an_element_whose_object_is_gone_is_made_again(flow: Flow, where: tuple[str, ...]) -> None:
    """It alone."""
    flow.write(
        "import random\n@Node\ndef text(x: int) -> bytes:\n    told('text', x)\n"
        "    return random.Random(x).randbytes(5000)\n"
        "@Node\ndef length(texts: list) -> list:\n    return [len(item) for item in texts]\n"
        "@Workflow\ndef flow(n: int = 2):\n    with each(rows(n)) as x:\n        y = text(x)\n"
        "    return length(collect(y))\n"
    )
    assert flow.run(*where) == ["rows", "text:0", "text:1"]
    store = FileStore(flow.project.folder / ".grandpa" / "store")
    made = random.Random(1).randbytes(5000)
    gone = [key for key, size, _ in store.objects() if size < 9000 and made in bytes(store.read(key))]
    for key in gone:
        store.remove(key, older_than=time.time() + 9)
    assert len(gone) == 1
    assert flow.run(*where) == ["text:1"]
    assert flow.ended.value == [5000, 5000]


# --- what a plan tells of it ---------------------------------------------------------------------------


def test_a_plan_tells_the_rounds_of_a_loop(flow: Flow) -> None:
    """Loops in loops too, of what is known; what follows on a loop goes by its list, which only the run has."""
    flow.write(
        "@Workflow\ndef flow(xs: list):\n"
        "    with each(xs) as x:\n        with each(rows(x)) as y:\n            z = square(y)\n"
        "        zs = collect(z)\n    return total([1]), collect(zs)\n"
    )

    def plan(xs: str) -> list[list[str]]:
        ended = flow.project.grandpa("plan", "flow.py", "-p", f"xs={xs}")
        assert ended.code == 0, ended.err
        return [line.split(None, 2)[:2] for line in ended.out.splitlines()[:-1]]

    assert plan("[1]") == [["each/0/rows", "run"], ["each/0/each", "unknown"], ["total", "run"]]
    flow.run("-p", "xs=[1]")
    assert plan("[2,1]") == [
        ["each/0/rows", "run"],
        ["each/0/each", "unknown"],
        ["each/1/rows", "cached"],
        ["each/1/each/0/square", "cached"],
        ["total", "cached"],
    ]
    flow.write("@Workflow\ndef flow(xs):\n    with each(xs) as x:\n        square(x)\n")
    assert (
        "each  run      it will fail: it loops over a list" in flow.project.grandpa("plan", "flow.py", "-p", "xs=5").out
    )


# --- what it costs -------------------------------------------------------------------------------------


@Node
def _square(x: int) -> int:
    return x * x


def _flow() -> Any:
    @Node
    def half(x: int) -> float:
        return x / 2

    @Node
    def numbers(n: int, first: int) -> list:
        return list(range(first, first + n))

    @Workflow
    def many(n: int, first: int = 0):
        return half.map(numbers(n, first))

    return many


def test_of_very_many_short_tasks_some_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of long ones all."""
    monkeypatch.setattr(memo_module, "MOST_SHORT", 20)
    monkeypatch.setattr(memo_module, "LASTS_S", 1e9)
    many = _flow()
    grandpa_kfp.run(many, {"n": 50}, root=tmp_path, cache=True)
    again = grandpa_kfp.run(many, {"n": 51}, root=tmp_path, cache=True)
    assert sum(task.state == "cached" for task in again.tasks.values()) == 20
    monkeypatch.setattr(memo_module, "LASTS_S", 0.0)
    grandpa_kfp.run(many, {"n": 52}, root=tmp_path, cache=True)
    last = grandpa_kfp.run(many, {"n": 53}, root=tmp_path, cache=True)
    assert sum(task.state == "cached" for task in last.tasks.values()) == 52


def test_a_window_of_one_takes_every_element(tmp_path: Path) -> None:
    """One after the other, also where a worker is asked for each."""

    @Workflow
    def one_by_one(n: int = 4):
        return _square.map(list(range(4)), window=1)

    assert grandpa_kfp.run(one_by_one, root=tmp_path, processes=1).value == [0, 1, 4, 9]


def test_short_tasks_without_results_are_soon_not_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So a map over thousands of new elements does not pay for the old ones."""
    monkeypatch.setattr(memo_module, "_MOST_MISSED", 10)
    monkeypatch.setattr(memo_module, "_PAYS_S", 1e9)
    many = _flow()
    grandpa_kfp.run(many, {"n": 30}, root=tmp_path, cache=True)
    behind = grandpa_kfp.run(many, {"n": 40, "first": -15}, root=tmp_path, cache=True)
    assert sum(task.state == "cached" for task in behind.tasks.values()) == 0
    monkeypatch.setattr(memo_module, "_PAYS_S", 0.0)
    found = grandpa_kfp.run(many, {"n": 39, "first": -15}, root=tmp_path, cache=True)
    assert sum(task.state == "cached" for task in found.tasks.values()) == 39


def test_a_branch_reads_what_it_is_decided_by_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A big value that a cached task hands on through a branch stays in the store."""

    @Node(outputs=("size", "data"))
    def load(n: int) -> tuple[int, str]:
        return n, "x" * 100_000

    @Node
    def count(data: str) -> int:
        return len(data)

    @Workflow
    def flow(n: int = 3):
        size, data = load(n)
        with when(size > 2):
            big = count(data)
        with otherwise():
            small = count("")
        return either(big, small)

    assert grandpa_kfp.run(flow, root=tmp_path, cache=True).value == 100_000
    read: list[str] = []
    before = FileStore.read
    monkeypatch.setattr(FileStore, "read", lambda self, key: (read.append(key), before(self, key))[1])
    run = grandpa_kfp.run(flow, root=tmp_path, cache=True)
    assert run.value == 100_000
    assert [task.state for task in run.tasks.values() if task.state != "skipped"].count("cached") == 2
    assert read == []
