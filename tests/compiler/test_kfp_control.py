"""Branches and loops as Kubeflow's own: conditions, iterators, joined outputs; what they mean: `tests/conformance`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import control_flows as flows
import pytest
import yaml
from kfp_by_hand import Cluster, TaskFailed, cluster
from kfp_graphs import ADD, TOTAL, call, compiled, documents, graph, parameter

from grandpa_kfp import Workflow, collect, compile, each, when
from grandpa_kfp_compiler.graph import (
    Arm,
    Branch,
    Constant,
    Graph,
    Loop,
    Parameter,
    ParameterValue,
    Predicate,
    TaskOutput,
)
from grandpa_kfp_compiler.passes.nest_groups import DAG_TASKS
from grandpa_kfp_runtime.builtins import collected_handles, filled_handle, spread_handles
from grandpa_kfp_runtime.contract import INPUTS_LIMIT_BYTES
from grandpa_kfp_runtime.errors import TaskError
from grandpa_kfp_runtime.stores.memory import MemoryStore
from grandpa_kfp_runtime.values.handles import from_handle, to_handle, write_handles


def run_by_hand(workflow: Any, folder: Path) -> Cluster:
    return cluster(compile(workflow, folder / "pipeline.yaml").text, folder)


def test_an_arm_that_is_not_taken_runs_nothing(tmp_path: Path) -> None:
    found = run_by_hand(flows.three_ways, tmp_path)
    found.run({"x": 4})
    assert found.ran == ["double", "when-choice", "when/arm-0/double"]
    assert found.skipped == ["when/arm-1", "when/arm-2"]


def body(*operations: Any, outputs: Any = (), takes: tuple[str, ...] = ()) -> Graph:
    return Graph("body", tuple(Parameter(name) for name in takes), (), operations, tuple(outputs))


def test_a_condition_compares_the_number_of_the_arm() -> None:
    spec, _ = documents(branching())
    arms = spec["components"]["comp-when"]["dag"]["tasks"]
    assert [arm["triggerPolicy"]["condition"] for arm in arms.values()] == [
        "inputs.parameter_values['chosen'] == '0'", "inputs.parameter_values['chosen'] == '1'",
    ]  # fmt: skip
    assert all("chosen" in arm["inputs"]["parameters"] for arm in arms.values())


def branching(**more: Any) -> Graph:
    """A branch whose arguments and outputs are parts and constants."""
    taken = body(call("add", ADD, ParameterValue("a", ("k",)), ParameterValue("c")),
                 outputs=[("result", TaskOutput("add", path=("z",)))], takes=("a", "c"))  # fmt: skip
    other = body(outputs=[("result", ParameterValue("c"))], takes=("c",))
    predicate = Predicate("<", (TaskOutput("first", path=("x",)), Constant(3)))
    arguments = (("a", TaskOutput("first", path=("y",))), ("c", Constant(5)))
    branch = Branch("when", (Arm(predicate, taken), Arm(None, other)), arguments, where="calc.py:3")
    return graph(call("first", TOTAL, ParameterValue("p")), branch, parameters=[parameter("p", "int", 1)], **more)


def test_parts_and_constants_that_a_branch_is_given_are_made_by_tasks() -> None:
    spec, _ = documents(branching())
    given = spec["root"]["dag"]["tasks"]["when"]["inputs"]["parameters"]
    assert {name: source["taskOutputParameter"]["producerTask"] for name, source in given.items()} == {
        "a": "when-argument", "c": "when-argument-2", "chosen": "when-choice",
    }  # fmt: skip


def test_many_tasks_in_and_around_a_branch_stay_within_the_limit_of_a_dag() -> None:
    calls = [call(f"add-{number}", ADD, ParameterValue("x"), number) for number in range(150)]
    arm = body(*calls, takes=("x",))
    predicate = Predicate("true", (TaskOutput("base"),))
    branch = Branch("when", (Arm(predicate, arm),), (("x", TaskOutput("base")),))
    around = [call(f"total-{number}", TOTAL, TaskOutput("base")) for number in range(150)]
    base = call("base", ADD, 1, 2)
    spec, _ = documents(graph(base, *around[:75], branch, *around[75:], result=TaskOutput("base")))
    dags = [spec["root"], *(item for item in spec["components"].values() if "dag" in item)]
    assert max(len(item["dag"]["tasks"]) for item in dags) <= DAG_TASKS
    assert compiled(graph(base, branch, result=TaskOutput("base"))).tasks == 152


def looping(items: Any, **more: Any) -> Graph:
    inside = body(call("total", TOTAL, ParameterValue("item")), outputs=[("result", TaskOutput("total"))],
                  takes=("item",))  # fmt: skip
    loop = Loop("each", items, "item", inside, parallelism=more.pop("parallelism", None), where="calc.py:4")
    return graph(loop, call("add", ADD, TaskOutput("each", path=(0,)), 1), **more)


def test_a_loop_is_an_iterator_over_a_list_of_handles() -> None:
    spec, _ = documents(looping(Constant([1, 2]), parallelism=3))
    task = spec["root"]["dag"]["tasks"]["each"]
    assert task["parameterIterator"] == {"items": {"inputParameter": "items"}, "itemInput": "item"}
    assert task["iteratorPolicy"] == {"parallelismLimit": 3}
    component = spec["components"][task["componentRef"]["name"]]
    assert component["inputDefinitions"]["parameters"] == {
        "item": {"parameterType": "STRING"}, "items": {"parameterType": "LIST"},
    }  # fmt: skip
    assert component["outputDefinitions"]["parameters"] == {"result": {"parameterType": "LIST"}}
    assert spec["components"]["comp-spread"]["outputDefinitions"]["parameters"]["result"] == {"parameterType": "LIST"}
    assert spec["components"]["comp-collected"]["inputDefinitions"]["parameters"]["values"] == {"parameterType": "LIST"}


def test_a_loop_without_a_limit_has_no_iterator_policy() -> None:
    spec, _ = documents(looping(Constant([1, 2])))
    assert "iteratorPolicy" not in spec["root"]["dag"]["tasks"]["each"]


def test_what_a_loop_collects_comes_from_a_container(tmp_path: Path) -> None:
    """Not from a DAG in its body: each output's task has an executor."""
    for workflow in (flows.mixed, flows.loops):
        spec = next(yaml.safe_load_all(compile(workflow, tmp_path / "pipeline.yaml").text))
        rounds = [
            item for item in spec["components"].values()
            if "dag" in item and "'LIST'" in str(item.get("outputDefinitions"))
        ]  # fmt: skip
        assert rounds
        for item in rounds:
            for output in item["dag"]["outputs"]["parameters"].values():
                producer = item["dag"]["tasks"][output["valueFromParameter"]["producerSubtask"]]
                assert "executorLabel" in spec["components"][producer["componentRef"]["name"]]


def test_items_of_a_parameter_arrive_by_their_annotation(tmp_path: Path) -> None:
    """KFP makes 2.0 a 2; the items are floats again."""

    @Workflow
    def flow(xs: list[float]) -> Any:
        with each(xs) as x:
            with when(x > 0):
                flows.double(1)
            kept = flows.no_list(x)
        return collect(kept)

    values = run_by_hand(flow, tmp_path).run({"xs": [1.5, 2]})
    assert (values, [type(value) for value in values]) == ([1.5, 2.0], [float, float])


def test_no_list_fails_in_the_task_before_the_loop(tmp_path: Path) -> None:
    @Workflow
    def flow(x: int = 1) -> None:
        with each(flows.no_list(x)) as item:
            flows.double(item)

    with pytest.raises(TaskFailed, match=r"each-filled ended with 3: (.|\n)*it loops over a list, but was given 1"):
        run_by_hand(flow, tmp_path).run({"x": 1})


def test_no_dag_is_empty() -> None:
    """An arm without tasks is left out; where nothing has tasks, one does nothing."""
    yes = Predicate("true", (ParameterValue("flag"),))
    busy, idle = body(call("total", TOTAL, 1)), body()
    for arms, expected in (((busy, idle), ["arm-0"]), ((idle, busy), ["arm-1"]), ((idle, idle), ["arm-0"])):
        branch = Branch("when", (Arm(yes, arms[0]), Arm(None, arms[1])))
        loop = Loop("each", ParameterValue("p"), "item", body(takes=("item",)))
        of = graph(branch, loop, result=Constant(1), parameters=[parameter("p", "list"), parameter("flag", "bool")])
        spec, _ = documents(of)
        assert list(spec["components"]["comp-when"]["dag"]["tasks"]) == expected
        assert all(item["dag"]["tasks"] for item in spec["components"].values() if "dag" in item)


# --- lists of handles ------------------------------------------------------------------------------


def test_a_list_is_spread_into_handles_and_collected_again() -> None:
    store = MemoryStore()
    value = [1, "x", {"a": None}, "long " * 1000]
    text = spread_handles([to_handle(value, store)], store)
    assert [from_handle(item, store) for item in json.loads(text)] == value
    assert from_handle(collected_handles([text], store), store) == value


def test_a_list_of_handles_is_spread_unread() -> None:
    store = MemoryStore()
    key = "@" + "A" * 43  # nothing lies there
    assert json.loads(spread_handles([write_handles([key, "5"], store)], store)) == [key, "5"]


def test_many_items_are_stored_so_that_their_handles_fit_one_argument() -> None:
    store = MemoryStore()
    value = ["x" * 500 + str(number) for number in range(1000)]
    for handle in (to_handle(value, store), write_handles([json.dumps(item) for item in value], store)):
        text = spread_handles([handle], store)
        assert len(text) < INPUTS_LIMIT_BYTES
        assert [from_handle(item, store) for item in json.loads(text)] == value


def test_too_many_items_are_told() -> None:
    store = MemoryStore()
    with pytest.raises(TaskError, match=r"the loop goes over 1,301 items.*loop over parts of the list"):
        spread_handles([to_handle(list(range(1_301)), store)], store)
    assert len(json.loads(spread_handles([to_handle(list(range(1_300)), store)], store))) == 1_300


def test_handles_that_take_too_much_room_are_told() -> None:
    """Quotes in short texts are escaped once more in the list of their handles."""
    store = MemoryStore()
    with pytest.raises(TaskError, match=r"1,200 items, whose handles take 9.,... bytes.*loop over parts of the list"):
        spread_handles([to_handle(['"' * 19] * 1_200, store)], store)


@pytest.mark.parametrize("value", ["text", {"a": 1}, 5, None])
def test_what_is_no_list_is_told(value: Any) -> None:
    with pytest.raises(TaskError, match="it loops over a list, but was given"):
        filled_handle([json.dumps(value)], MemoryStore())


def test_an_empty_list_is_known() -> None:
    assert [filled_handle([text], MemoryStore()) for text in ("[]", "[1]")] == ["0", "1"]
