"""`--fuse` from end to end: what `compile` tells, and that a pipeline gives the same value however it is fused."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import yaml
from command_line import Project
from kfp.components import load_component_from_text
from kfp_rules import broken_rules

from grandpa_kfp import Component, Node, Workflow, trace
from grandpa_kfp import compile as compile_workflow
from grandpa_kfp.engine.pipeline_yaml import run_pipeline_yaml
from grandpa_kfp_compiler.graph import ComponentCall
from grandpa_kfp_compiler.kfp import fitting
from grandpa_kfp_runtime.errors import TraceError

FLOW = """
from grandpa_kfp import collect, each
@Node
def double(x: int) -> int:
    return 2 * x
@Node
def add(a: int, b: int) -> int:
    return a + b
@Node(gpu=1)
def train(x: int) -> int:
    return x + 1
@Node
def total(values: list[int]) -> int:
    return sum(values)
@Node
def numbers(n: int) -> list[int]:
    return list(range(n))
@Component(fuse=True)
def prepare(x):
    return add(double(x), double(double(x)))
@Component
def plain(x):
    return double(add(x, 1))
@Component(fuse=True)
def trained(x):
    return double(train(x))
@Workflow
def flow(x: int = 3):
    return add(plain(prepare(x)), x)
@Workflow
def mixed(x: int = 3):
    return trained(x)
@Workflow
def looped(n: int = 3):
    with each(numbers(n)) as item:
        y = double(item)
    return total(collect(y))
@Workflow
def wide(tasks: Static[int] = 1000):
    return total([double(number) for number in range(tasks)])
@Workflow
def long(n: Static[int] = 5000):
    with each(list(range(n))) as item:
        y = double(item)
    return total(collect(y))
"""


@Node
def add(a: int, b: int) -> int:
    return a + b


@Node
def total(values: list[int]) -> int:
    return sum(values)


@Workflow
def layers(start: int = 1) -> int:
    """Five layers of twelve; each task reads two of the layer before."""
    row = [add(start, number) for number in range(12)]
    for _ in range(4):
        row = [add(row[number], row[(number * 5 + 1) % 12]) for number in range(12)]
    return total(row)


@pytest.fixture
def flow(project: Project) -> Project:
    project.flow(FLOW)
    return project


@pytest.mark.parametrize(("mode", "tasks"), [("none", 7), ("chains", 1), ("components", 3), ("auto", 4)])
def test_a_pipeline_gives_the_same_value_however_it_is_fused(flow: Project, mode: str, tasks: int) -> None:
    done = flow.grandpa("compile", "flow.py:flow", "--fuse", mode, "-o", "flow.yaml")
    assert f"flow.yaml: {tasks} task" in done.err
    assert flow.grandpa("run", "flow.yaml", "-p", "x=5").value == 67


@pytest.mark.parametrize("bundle", [8, 2])
def test_parts_of_a_graph_that_would_not_fit_give_the_same_value(
    bundle: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With limits low enough that a small workflow meets them. bundle: steps that give out more give a list."""
    monkeypatch.setattr(fitting, "MOST_STEPS", 12)
    monkeypatch.setattr(sys.modules["grandpa_kfp_compiler.passes.fuse"], "WIDE", bundle)
    found = compile_workflow(layers)
    assert 1 < found.tasks <= 12
    spec, platform = yaml.safe_load_all(found.text)
    assert list(broken_rules(spec, platform)) == []
    load_component_from_text(found.text)
    run = run_pipeline_yaml(found.text, {"start": 2}, root=tmp_path)
    assert run.value == layers(2).resolve()  # type: ignore[attr-defined]


def test_fewer_pods_are_told_and_nothing_where_nothing_happened(flow: Project) -> None:
    told = flow.grandpa("compile", "flow.py:flow").err
    assert "pods: 14 -> 8 (2 a task), 1 of them run several tasks" in told
    assert "critical path: 6 -> 6 tasks, 6 -> 4 containers one after the other" in told
    assert "note" not in flow.grandpa("compile", "flow.py:flow", "--fuse", "none").err


def test_a_component_that_cannot_be_one_step_is_told_with_the_reason(flow: Project) -> None:
    told = flow.grandpa("compile", "flow.py:mixed").err
    assert "trained: it was to be one step and is 2: gpu is 1 for trained/train, and not set for trained/double" in told


def test_a_pipeline_too_large_for_kubeflow_is_fused_or_refused_with_the_numbers(flow: Project) -> None:
    done = flow.grandpa("compile", "flow.py:wide", "-o", "wide.yaml")
    spec = next(yaml.safe_load_all((flow.folder / "wide.yaml").read_text()))
    dags = [spec["root"], *(item for item in spec["components"].values() if "dag" in item)]
    assert sum(len(item["dag"]["tasks"]) for item in dags) <= 400
    assert max(len(item["dag"]["tasks"]) for item in dags) <= 100
    assert "pods: 2,0" in done.err
    for mode in ("none", "chains", "components"):
        refused = flow.grandpa("compile", "flow.py:wide", "--fuse", mode, "-o", "refused.yaml")
        assert refused.code == 1
        assert "KiB" in refused.errors[0]
        assert f"compile with --fuse auto (it is --fuse {mode})" in refused.errors[0]
        assert not (flow.folder / "refused.yaml").exists()


def test_what_is_kept_apart_is_refused_where_it_is_too_much(project: Project) -> None:
    project.flow("""
    @Node
    def double(x: int) -> int:
        return 2 * x
    @Component(fuse=False)
    def part(x):
        return double(x)
    @Workflow
    def flow(tasks: Static[int] = 600):
        return [part(number) for number in range(tasks)]
    """)
    refused = project.grandpa("compile", "flow.py")
    assert refused.code == 1
    assert (
        refused.errors[0].strip().endswith("all that may share a container does: drop fuse=False, do more in each node")
    )


def test_a_loops_limits_are_told_before_it_is_deployed(flow: Project) -> None:
    told = flow.grandpa("compile", "flow.py:looped", "-o", "looped.yaml").err
    assert re.search(r"each \(flow.py:\d+\): Kubeflow holds about \d+ rounds of it \(1 task each\), 100 at once", told)
    spec = next(yaml.safe_load_all((flow.folder / "looped.yaml").read_text()))
    limits = [
        task.get("iteratorPolicy")
        for item in spec["components"].values()
        for task in item.get("dag", {}).get("tasks", {}).values()
        if "parameterIterator" in task
    ]
    assert limits == [{"parallelismLimit": 100}]
    refused = flow.grandpa("compile", "flow.py:long", "--fuse", "none")
    assert refused.code == 1
    assert "its 5,000 rounds of 1 task make an Argo Workflow of about" in refused.errors[0]
    assert "2 tasks" in flow.grandpa("compile", "flow.py:long", "-o", "long.yaml").err


def test_the_mode_is_a_key_of_the_configuration(flow: Project) -> None:
    flow.write("grandpa.toml", 'fuse = "chains"\n')
    assert "pipeline.yaml: 1 task" in flow.grandpa("compile", "flow.py:flow", "-o", "pipeline.yaml").err
    flow.write("grandpa.toml", 'fuse = "all"\n')
    assert "fuse must be one of none, chains, components, auto" in flow.grandpa("compile", "flow.py:flow").err


def test_a_component_says_whether_it_is_fused() -> None:
    @Node
    def double(x: int) -> int:
        return 2 * x

    @Component(fuse=True)
    def part(x: int) -> int:
        return double(x)

    @Workflow
    def flow(x: int = 1) -> int:
        return part.options(fuse=False)(part(x))

    assert trace(flow).components == (ComponentCall(("part",), True), ComponentCall(("part-2",), False))
    with pytest.raises(TraceError, match=r"test_fusion.py:\d+: the option fuse of a component must be True or False"):
        Component(fuse="yes")  # type: ignore[call-overload]
