"""Exit handlers and tasks that run always as Kubeflow's hooks; that they do what they should: `tests/conformance`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import exit_flows as flows
import pytest
import yaml
from kfp.components import load_component_from_text
from kfp_by_hand import TaskFailed, cluster
from kfp_rules import broken_rules

from grandpa_kfp import FailureInfo, Node, Workflow, compile, each, on_exit
from grandpa_kfp_compiler.graph import Call, Constant, Graph, Group, Options, Outcome, PythonNode, TaskOutput
from grandpa_kfp_compiler.passes.always_groups import always_groups
from grandpa_kfp_compiler.verify import verify

ALWAYS = {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}


@Node
def report(*, first: int = -1, second: int = -1, failure: FailureInfo | None) -> str:
    return f"{first} {second} {failure}"


@Workflow
def mixed(x: int = 1):
    """Handlers of the same tasks, of each other, with what was made before and after."""
    first = flows.work(x)
    second = flows.work(first, 2)
    third = flows.work(first)
    one = report.options(always=True)(first=first, second=second)
    two = report.options(always=True, after=second)(first=third)
    last = report.options(always=True, after=[one, two])()
    with on_exit(report, first=third):
        fourth = flows.work(third)
    return one, last, fourth, flows.work.options(after=two)(second)


@Workflow(on_exit=report)
def many(x: int = 1):
    """More than one DAG holds, on both sides."""
    made = [flows.work(x) for _ in range(150)]
    told = report.options(always=True)(first=made[0], second=made[-1])
    with each([1, 2]) as item, on_exit(report, first=item):
        for _ in range(120):
            flows.work(item)
    return told


@pytest.mark.parametrize(
    "workflow",
    [mixed, many, flows.guarded, flows.rounds, flows.branch_in_part, flows.nested_exits, flows.missing, flows.outer],
    ids=lambda workflow: workflow.name,
)
@pytest.mark.parametrize("fuse", ["none", "auto"])
def test_each_handler_is_the_hook_of_one_dag(workflow: Any, fuse: str) -> None:
    """Of which it is the only one, and nobody waits for it; the SDK reads the file."""
    names = {item.name for item in workflow.parameters if item.static}
    text = compile(workflow, params=dict.fromkeys(names, "log"), code="store", fuse=fuse).text
    spec, *platform = yaml.safe_load_all(text)
    assert broken_rules(spec, *platform) == []
    hooks = 0
    for dag in [spec["root"], *spec["components"].values()]:
        tasks = dag.get("dag", {}).get("tasks", {})
        handlers = {key: task for key, task in tasks.items() if task.get("triggerPolicy") == ALWAYS}
        guards = [before for task in handlers.values() for before in task["dependentTasks"]]
        assert len(set(guards)) == len(guards) == len(handlers)
        for guard in guards:
            assert "dag" in spec["components"][tasks[guard]["componentRef"]["name"]]
            assert "parameterIterator" not in tasks[guard]
        assert all(handlers.keys().isdisjoint(task.get("dependentTasks", ())) for task in tasks.values())
        assert all(task["cachingOptions"] == {"enableCache": False} for task in handlers.values())
        hooks += len(handlers)
    assert hooks
    load_component_from_text(text)


def test_a_task_that_waits_for_nothing_is_like_any_other() -> None:
    @Workflow
    def alone(x: int = 1):
        return flows.work.options(always=True)(x)

    assert "triggerPolicy" not in compile(alone).text


def test_values_that_were_not_made_are_defaults(tmp_path: Path) -> None:
    """In containers: of what has failed and of what never began."""
    log = tmp_path / "log"
    text = compile(flows.missing, params={"log": str(log)}).text
    cluster(text, tmp_path / "well").run({"bad": -1})
    with pytest.raises(TaskFailed, match="2 is bad"):
        cluster(text, tmp_path / "bad").run({"bad": 2})
    assert flows.told(log) == ["1 2 [1, 2]", "1 -2 [-3]"]


def test_a_handler_is_told_of_the_failure_that_its_records_tell(tmp_path: Path) -> None:
    """Of its own block alone."""
    log = tmp_path / "log"

    @Workflow
    def two(x: int = 1):
        with on_exit(flows.clean, str(log), "first"):
            flows.work(x, 2)
        with on_exit(flows.clean, str(log), "second"):
            flows.work(x)

    with pytest.raises(TaskFailed, match="2 is bad"):
        cluster(compile(two).text, tmp_path / "run").run({"x": 2})
    assert sorted(flows.told(log)) == ["first: guarded/work ValueError: 2 is bad", "second: well"]


def test_the_handler_of_failures_does_nothing_without_one(tmp_path: Path) -> None:
    log = tmp_path / "log"

    @Node
    def notify(info: FailureInfo) -> None:
        flows.tell(str(log), f"{info.workflow}: {info.error}")

    @Workflow(on_failure=notify)
    def flow(x: int = 1):
        return flows.work(x, 2)

    text = compile(flow).text
    assert cluster(text, tmp_path / "well").run({"x": 1}) == 1
    assert flows.told(log) == []
    with pytest.raises(TaskFailed, match="2 is bad"):
        cluster(text, tmp_path / "bad").run({"x": 2})
    assert [line.partition(": ")[2] for line in flows.told(log)] == ["ValueError: 2 is bad"]


# --- the pass, verify -----------------------------------------------------------------------------

WORK = PythonNode("m:work", "work")
HANDLER = Options(always=True)


def test_needs_stay_outside_of_what_is_guarded() -> None:
    """What has to succeed is no part of it, nor is what comes before that."""
    before, needed = Call("before", WORK), Call("needed", WORK, (TaskOutput("before"),))
    group = Group("g", Graph("g", operations=(Call("inside", WORK),)), after=("needed",))
    handler = Call("h", WORK, options=HANDLER, after=("g",), needs=("needed",))
    made = always_groups(Graph("flow", operations=(before, needed, group, handler)))
    assert [item.id for item in made.operations] == ["before", "needed", "g", "h"]
    assert made.operations[3] == Call("h", WORK, options=HANDLER, after=("g",))


def test_faults_of_graphs_that_were_written_by_hand() -> None:
    """`needs` and outcomes are for tasks that run always."""
    calls = (Call("a", WORK), Call("b", WORK, (Outcome(), Constant(1)), after=("a",), needs=("a", "c"), where="x.py:1"))
    assert [str(fault) for fault in verify(Graph("flow", operations=calls))] == [
        'b (x.py:1): is called after "c", but there is no such task',
        "b (x.py:1): it needs others to succeed, which is for tasks with always=True alone; name them in after",
        "b (x.py:1): it is given how other tasks have ended, which is for tasks with always=True alone",
    ]
