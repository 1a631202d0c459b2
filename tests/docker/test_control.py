"""Branches, loops and exit handlers of a compiled YAML, each task in a container."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import Project
from yaml_specs import Spec, always, constant, dag, output, over, parameter, raw, task, when

from grandpa_kfp.engine.pipeline_yaml import run_pipeline_yaml
from grandpa_kfp_runtime.contract import Input
from grandpa_kfp_runtime.errors import TaskError

pytestmark = [pytest.mark.docker, pytest.mark.server]

FLOW = """
from grandpa_kfp import collect, each, either, otherwise, when

@Node
def divided(x: int) -> float:
    return 6 / x

@Node
def total(xs: list) -> float:
    return sum(xs)

@Workflow
def flow(xs: list[int] = [1, 2], most: int = 100):
    with each(xs, parallelism=2) as x:
        part = divided(x)
    whole = total(collect(part))
    with when(whole < most):
        small = divided(3)
    with otherwise():
        big = divided(1)
    return either(small, big), whole
"""


def test_loops_and_branches_in_containers(tmp_path: Path, runtime_image: str) -> None:
    """Their rounds run side by side, the other branch not at all; a failure names its round."""
    project = Project(tmp_path)
    project.flow(FLOW)
    assert project.grandpa("compile", "flow.py", "-o", "flow.yaml", "--image", runtime_image).code == 0
    ended = project.grandpa("run", "flow.yaml", "--engine", "docker")
    assert ended.value == (2.0, 9.0)
    assert "when/arm-1/divided-2 skipped: the condition of when/arm-1 does not hold" in ended.err
    failed = project.grandpa("run", "flow.yaml", "--engine", "docker", "-p", "xs=[1, 0]")
    assert failed.code == 3
    assert "each/arm-1/rounds/1/divided (flow.py:" in failed.errors[-1]
    assert "ZeroDivisionError" in failed.errors[-1]


def test_what_runs_always_runs_in_a_container_too(tmp_path: Path, runtime_image: str) -> None:
    made = Spec()
    made.node("halve", "operator:truediv", Input("x"), raw("y", "int")).node("neg", "operator:neg", Input("x"))
    for executor in made.executors.values():
        executor["container"]["image"] = runtime_image
    body = {"halve": task("halve", "halve", {"x": parameter("item"), "y": constant(0.0)})}
    made.components["comp-body"] = dag(body, takes={"item": "STRING"})
    made.components["comp-work"] = dag({"loop": task("loop", "body", {}, **over(["4"]))})
    made.task("work", "work", {}).task("clean", "neg", {"x": constant("5")}, **always("work"))
    made.task("not", "neg", {"x": constant("5")}, **when("x == '6'"))
    made.task("after", "neg", {"x": output("not")}, dependentTasks=["not"])
    with pytest.raises(TaskError, match=r"work/loop/0/halve failed: ZeroDivisionError") as caught:
        run_pipeline_yaml(made.text(), root=tmp_path, engine="docker", keep_going=True)
    assert caught.value.run is not None
    assert {task.id: task.state for task in caught.value.run.tasks.values()} == {
        "work/loop": "failed", "clean": "succeeded", "not": "skipped", "after": "skipped",
        "work/loop/0/halve": "failed",
    }  # fmt: skip
    assert caught.value.run.tasks["clean"].outputs == {"result": "-5"}
