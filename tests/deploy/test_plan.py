"""`grandpa plan --host`: what Kubeflow would take from its cache, by what earlier runs left in the store."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from command_line import Project, says
from deploy.kfp_server import KfpServer, running_as_processes

FLOW = """
from grandpa_kfp import either, otherwise, when

def helper(x):
    return x + 1

@Node
def load(n: int) -> list:
    return list(range(n))

@Node
def count(rows: list) -> int:
    return len(rows)

@Node
def double(x: int) -> int:
    return 2 * helper(x)

@Workflow
def flow(n: int = 3):
    return double(count(load(n)))
"""


class Deployed:
    """A project with a server of its own, on which its workflow has run once."""

    def __init__(self, project: Project, kfp: KfpServer, folder: Path, source: str = FLOW) -> None:
        self.project = project
        self.kfp = kfp
        self.source = source
        project.flow(source)
        kfp.start = running_as_processes(str(folder / "store"), folder / "server")
        self.deploy()

    def deploy(self, *options: str) -> None:
        ended = self.project.grandpa("deploy", "flow.py", "--host", self.kfp.url, "--wait", *options)
        assert ended.code == 0, ended.err

    def change(self, old: str, new: str) -> None:
        """Edits the file, and sees to it that its time of change differs."""
        assert old in self.source
        self.source = self.source.replace(old, new)
        later = time.time() + len(self.source) / 1e3
        os.utime(self.project.flow(self.source), (later, later))

    def plan(self, *options: str) -> dict[str, tuple[str, str]]:
        ended = self.project.grandpa("plan", "flow.py", "--host", self.kfp.url, "--json", *options)
        assert ended.code == 0, ended.err
        return {item["task"]: (item["outcome"], item["why"]) for item in json.loads(ended.out)}


@pytest.fixture
def deployed(project: Project, kfp: KfpServer, tmp_path: Path) -> Deployed:
    return Deployed(project, kfp, tmp_path)


def test_a_plan_says_what_kubeflow_would_do(deployed: Deployed) -> None:
    """Which function changed, which input; the same values further on are the same inputs. Nothing is sent."""
    uploads, runs = len(deployed.kfp.pipelines), len(deployed.kfp.runs)
    assert {task: outcome for task, (outcome, _) in deployed.plan().items()} == {
        "load": "cached", "count": "cached", "double": "cached",
    }  # fmt: skip
    assert deployed.plan("-p", "n=4") == {
        "load": ("run", "its input n changed"),
        "count": ("unknown", "it depends on what load gives"),
        "double": ("unknown", "it depends on what count gives"),
    }
    deployed.change("x + 1", "1 + x")
    assert deployed.plan()["double"] == ("run", "its code changed: helper (flow)")
    assert deployed.plan()["count"][0] == "cached"
    assert (len(deployed.kfp.pipelines), len(deployed.kfp.runs)) == (uploads, runs)


def test_options_that_count_are_named(deployed: Deployed) -> None:
    """Force, cache, image, epoch; a pipeline of another name has never run."""
    assert deployed.plan("--force", "count")["count"] == ("run", "it is forced")
    assert deployed.plan("--image", "python:3.12")["load"][1].endswith("→ python:3.12")
    assert deployed.plan("--epoch", "1")["load"] == ("run", "the epoch changed: 0 → 1")
    assert deployed.plan("--name", "other")["load"] == ("run", "it never ran")
    deployed.change("@Node\ndef count", "@Node(cache=False)\ndef count")
    assert deployed.plan()["count"] == ("run", "Kubeflow's cache is off for it")


def test_only_what_kubeflow_may_have_kept_counts(deployed: Deployed, tmp_path: Path) -> None:
    """No result of a task that ran with its cache off, as it is after --no-cache; objects that are gone are told."""
    deployed.deploy("--no-cache", "-p", "n=5")
    assert deployed.plan("-p", "n=5")["load"] == ("run", "its input n changed")
    deployed.change("list(range(n))", "['x' * 5000] * n")
    deployed.deploy()
    assert deployed.plan()["load"][0] == "cached"
    for file in (tmp_path / "store" / "objects").rglob("*"):
        if file.is_file() and file.stat().st_size < 20_000:
            file.unlink()
    assert "objects of its result are gone" in deployed.plan()["load"][1]


def test_a_server_without_a_store_cannot_be_planned(deployed: Deployed) -> None:
    """What its cache holds is known by the store alone."""
    ended = deployed.project.grandpa(
        "plan", "flow.py", "--host", deployed.kfp.url, "--store", "s3://b/p?endpoint=http://127.0.0.1:1"
    )
    says(ended, 1, "store")


FUSED = """
def helper(x):
    return x + 1

@Node
def load(n: int) -> list:
    return list(range(n))

@Node
def double(rows: list) -> int:
    return 2 * helper(len(rows))

@Component(fuse=True)
def part(n):
    return double(load(n))

@Workflow
def flow(n: int = 3):
    return part(n)
"""


def test_what_changed_in_a_fused_step_is_told(project: Project, kfp: KfpServer, tmp_path: Path) -> None:
    """Its code is that of all its tasks."""
    deployed = Deployed(project, kfp, tmp_path, FUSED)
    assert deployed.plan()["part"][0] == "cached"
    deployed.change("x + 1", "x + 2")
    assert deployed.plan() == {"part": ("run", "its code changed: helper (flow)")}


def test_branches_are_followed_where_they_can_be_decided(project: Project, kfp: KfpServer, tmp_path: Path) -> None:
    """What will be skipped is not listed; what may be says so."""
    deployed = Deployed(project, kfp, tmp_path)
    deployed.change(
        "    return double(count(load(n)))",
        "    size = count(load(n))\n    with when(size > 2):\n        big = double(size)\n"
        "    with otherwise():\n        small = count([n])\n    return either(big, small)",
    )
    deployed.deploy()
    planned = deployed.plan()
    assert {task.rpartition("/")[2]: outcome for task, (outcome, _) in planned.items()}.items() >= {
        ("load", "cached"), ("count", "cached"), ("double", "cached"),
    }  # fmt: skip
    assert not any(task.endswith("count-2") for task in planned)
    unknown = deployed.plan("-p", "n=1")
    told = {task.rpartition("/")[2]: why for task, (_, why) in unknown.items()}
    assert told["double"].endswith("if its branch is taken")
