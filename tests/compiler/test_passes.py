"""Each pass: what holds after it, and that it changes no more."""

from __future__ import annotations

import re

import pytest
from kfp_graphs import ADD, STATS, TOTAL, call, chain, graph, listed, node, parameter, with_options

from grandpa_kfp_compiler.graph import (
    HANDLE,
    Call,
    Constant,
    Filled,
    Graph,
    Group,
    Instance,
    InstanceValue,
    ParameterValue,
    PythonNode,
    TaskOutput,
    TypeSpec,
    Value,
    inputs_of,
    leaves,
)
from grandpa_kfp_compiler.kfp.fan_in import inline_limits, limit_for
from grandpa_kfp_compiler.options.placement import Toleration
from grandpa_kfp_compiler.options.volumes import Pvc
from grandpa_kfp_compiler.passes import PASSES, run_passes
from grandpa_kfp_compiler.passes.builtins import FILL, GATHER, IDENTITY, JOIN
from grandpa_kfp_compiler.passes.gather_inputs import gather_inputs
from grandpa_kfp_compiler.passes.nest_groups import DAG_BYTES, DAG_TASKS, ROOT_TASKS, nest_groups
from grandpa_kfp_compiler.passes.protect_defaults import protect_defaults
from grandpa_kfp_compiler.passes.result_task import result_task
from grandpa_kfp_compiler.passes.weights import input_bytes
from grandpa_kfp_compiler.verify import verify
from grandpa_kfp_runtime.contract import INPUTS_LIMIT_BYTES
from grandpa_kfp_runtime.errors import CompileError

ROOT = TaskOutput("load")
LOAD = node("load")


# --- result_task ---------------------------------------------------------------------------------


def test_a_whole_output_needs_no_result_task() -> None:
    before = graph(call("load", LOAD))
    assert result_task(before) is before


@pytest.mark.parametrize(
    "value",
    [
        Constant(5),
        ParameterValue("a"),
        TaskOutput("load", path=("key",)),
        Filled(Constant({"x": None}), (((0,), ROOT),)),
    ],
)
def test_any_other_result_is_made_by_a_task(value: Value) -> None:
    after = result_task(graph(call("load", LOAD), result=value, parameters=[parameter("a", "int")]))
    assert after.outputs == (("result", TaskOutput("result")),)
    assert after.operations[-1] == Call("result", IDENTITY, (value,))
    assert verify(after) == []


def test_the_result_task_takes_a_free_name_and_the_image_of_what_it_reads() -> None:
    """It unpickles what the other task made, so it needs what that task had."""
    load = with_options(call("result", LOAD), image="registry/numpy:1")
    after = result_task(graph(load, result=TaskOutput("result", path=(0,))))
    added = after.operations[-1]
    assert isinstance(added, Call)
    assert (added.id, added.options.image) == ("result-2", "registry/numpy:1")


def test_a_task_that_is_added_runs_wherever_the_one_that_it_reads_can() -> None:
    """On its nodes, with what its image is pulled with; without its volumes, secrets, GPUs."""
    place = {
        "node_selector": (("zone", "a"),), "tolerations": (Toleration("spot", "Exists"),), "labels": (("team", "x"),),
        "image_pull_secrets": ("registry",), "image": "registry/numpy:1",
    }  # fmt: skip
    load = with_options(call("load", LOAD), gpu=1, volumes=(("/data", Pvc("datasets")),), env=(("A", "1"),), **place)
    after = result_task(graph(load, result=TaskOutput("load", path=(0,))))
    added = after.operations[-1]
    assert isinstance(added, Call)
    assert dict(added.options.chosen()) == place


def test_a_workflow_without_a_value_gets_no_result() -> None:
    before = Graph("calc", operations=(call("load", LOAD),))
    assert result_task(before) is before


# --- protect_defaults ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type_", "default"),
    [("str", "{{workflow.name}}"), ("str", "a}}"), ("str", "$$(HOME)"), ("list", ["{{x}}"]), ("dict", {"{{": 1}),
     ("float", float("inf"))],
)  # fmt: skip
def test_a_default_that_the_cluster_rewrites_travels_as_json(type_: str, default: object) -> None:
    from grandpa_kfp_runtime.parameters import kfp_type

    after = protect_defaults(graph(call("load", LOAD), parameters=[parameter("p", type_, default)]))
    assert kfp_type(after.parameters[0].type) is None
    assert verify(after) == []


def test_other_defaults_keep_their_type() -> None:
    parameters = [parameter("a", "str", "$(HOME) {x}"), parameter("b", "dict", {"a": {"b": 1}}), parameter("c", "str")]
    before = graph(call("load", LOAD), parameters=parameters)
    assert protect_defaults(before) is before


# --- gather_inputs -------------------------------------------------------------------------------


def wide(count: int) -> list[Call]:
    return [call(f"load-{index}", LOAD) for index in range(count)]


def outputs_of(calls: list[Call]) -> list[Value]:
    return [TaskOutput(item.id) for item in calls]


def calls_of(of: Graph, key: PythonNode) -> list[Call]:
    return [item for item in of.calls() if item.node == key]


def sources_of(of: Graph, value: Value) -> list[str]:
    """The tasks whose values come together in `value`, in order, gather tasks looked through."""
    by_id = {operation.id: operation for operation in of.operations}
    found: list[str] = []
    for leaf in leaves(value):
        assert isinstance(leaf, TaskOutput)
        producer = by_id[leaf.task]
        assert isinstance(producer, Call)
        if producer.node in (GATHER, JOIN):
            for argument in producer.args:
                found.extend(sources_of(of, argument))
        else:
            found.append(leaf.task)
    return found


def test_a_task_of_few_inputs_is_left_alone() -> None:
    loads = wide(100)
    before = graph(*loads, call("total", TOTAL, listed(*outputs_of(loads))))
    assert gather_inputs(before) is before


def test_a_long_list_comes_through_a_tree_of_gather_tasks_in_order() -> None:
    loads = wide(900)
    before = graph(*loads, call("total", TOTAL, listed(*outputs_of(loads)), scope=("part",), where="calc.py:30"))
    after = gather_inputs(before)
    total = after.operations[-1]
    assert isinstance(total, Call)
    assert sources_of(after, total.args[0]) == [item.id for item in loads]
    assert [len(item.args) for item in calls_of(after, GATHER)] == [200, 200, 200, 200, 100]
    assert [len(item.args) for item in calls_of(after, JOIN)] == [5]
    assert {item.where for item in calls_of(after, GATHER)} == {"calc.py:30"}
    assert verify(after) == []
    instances: dict[str, Instance] = {}
    assert all(input_bytes(item, instances) <= INPUTS_LIMIT_BYTES for item in after.operations)


def test_a_wide_dict_is_filled_from_a_gathered_list() -> None:
    loads = wide(600)
    names = [f"k{index}" for index in range(600)]
    structure = Filled(
        Constant(dict.fromkeys(names)), tuple(((index,), value) for index, value in enumerate(outputs_of(loads)))
    )
    after = gather_inputs(graph(*loads, call("total", TOTAL, structure)))
    (fill,) = calls_of(after, FILL)
    skeleton, positions, values = fill.args
    assert isinstance(skeleton, Constant)
    assert isinstance(positions, Constant)
    assert list(skeleton.value) == names
    assert positions.value == [[index] for index in range(600)]
    assert sources_of(after, values) == [item.id for item in loads]
    assert verify(after) == []


def test_parts_of_outputs_are_gathered_by_value() -> None:
    """A handle has no parts: these gather tasks load what they take from."""
    loads = wide(600)
    parts = [TaskOutput(item.id, path=(0,)) for item in loads]
    after = gather_inputs(graph(*loads, call("total", TOTAL, listed(*parts))))
    assert calls_of(after, GATHER) == []
    gathered = calls_of(after, IDENTITY)
    assert [leaf for item in gathered for leaf in leaves(item.args[0])] == parts
    assert verify(after) == []


def test_a_wide_init_argument_is_gathered_too() -> None:
    loads = wide(600)
    cls = PythonNode("calc:Model", "Model", is_class=True)
    instance = Instance("Model", cls, (listed(*outputs_of(loads)),))
    before = Graph("calc", (), (instance,), (*loads, Call("predict", cls, instance="Model")))
    after = gather_inputs(before)
    assert sources_of(after, after.instances[0].args[0]) == [item.id for item in loads]


# --- nest_groups ---------------------------------------------------------------------------------


def flat_edges(of: Graph) -> set[tuple[str, str]]:
    instances = {instance.id: instance for instance in of.instances}
    return {
        (value.task, operation.id)
        for operation in of.operations
        for value in inputs_of(operation, instances)
        if isinstance(value, TaskOutput)
    }


def nested_edges(of: Graph) -> set[tuple[str, str]]:
    """The edges between calls, parameters and outputs of groups looked through."""
    edges: set[tuple[str, str]] = set()

    def visit(inner: Graph, given: dict[str, Value]) -> dict[str, Value]:
        made: dict[tuple[str, str], Value] = {}

        def origin(value: Value) -> Value:
            if isinstance(value, TaskOutput):
                return made.get((value.task, value.output), value)
            return given[value.name] if isinstance(value, ParameterValue) and value.name in given else value

        instances = {instance.id: instance for instance in inner.instances}
        for operation in inner.operations:
            if isinstance(operation, Group):
                arguments = {name: origin(value) for name, value in operation.arguments}
                for name, value in visit(operation.body, arguments).items():
                    made[operation.id, name] = value
                continue
            for value in inputs_of(operation, instances):
                source = origin(value)
                if isinstance(source, TaskOutput):
                    edges.add((source.task, operation.id))
        return {name: origin(value) for name, value in inner.outputs}

    visit(of, {})
    return edges


def graphs_in(of: Graph) -> list[Graph]:
    return [of, *(inner for item in of.operations if isinstance(item, Group) for inner in graphs_in(item.body))]


def test_a_graph_that_fits_is_left_alone() -> None:
    before = chain(ROOT_TASKS)
    assert nest_groups(before) is before


@pytest.mark.parametrize("count", [97, 101, 250, 1000, 9700])
def test_no_dag_holds_more_than_argo_takes_and_no_edge_is_lost(count: int) -> None:
    before = chain(count)
    after = nest_groups(before)
    sizes = [len(inner.operations) for inner in graphs_in(after)]
    assert sizes[0] <= ROOT_TASKS
    assert max(sizes) <= DAG_TASKS
    assert [item.id for item in after.calls()] == [item.id for item in before.calls()]
    assert nested_edges(after) == flat_edges(before)
    assert verify(after) == []


def test_groups_hold_what_one_argument_holds() -> None:
    """Eight tasks with constants of 15 KiB are too much for one DAG's driver."""
    tasks = [call(f"add-{index}", ADD, "x" * 15_000, index) for index in range(8)]
    after = nest_groups(graph(*tasks))
    assert len(after.operations) == 2
    for inner in graphs_in(after):
        assert sum(input_bytes(item, {}) for item in inner.operations) <= DAG_BYTES


def test_a_group_sees_handles_and_typed_parameters() -> None:
    loads = wide(150)
    last = call("add", ADD, TaskOutput("load-0", path=("key",)), ParameterValue("a"))
    after = nest_groups(graph(*loads, last, parameters=[parameter("a", "int", 3)]))
    group = after.operations[-1]
    assert isinstance(group, Group)
    assert [(item.name, item.type) for item in group.body.parameters] == [
        ("load-0", HANDLE), ("a", TypeSpec("int")),
    ]  # fmt: skip
    assert group.arguments == (("load-0", TaskOutput("part-1", "load-0")), ("a", ParameterValue("a")))
    inner = group.body.operations[-1]
    assert isinstance(inner, Call)
    assert inner.args == (ParameterValue("load-0", ("key",)), ParameterValue("a"))


def test_order_without_data_reaches_across_groups() -> None:
    loads = wide(150)
    last = call("add", ADD, 1, 2, after=("load-3", "load-140"))
    after = nest_groups(graph(*loads, last))
    group = after.operations[1]
    assert isinstance(group, Group)
    assert group.after == ("part-1",)
    assert list(group.body.calls())[-1].after == ("load-140",)


def test_several_outputs_and_equal_names_cross_under_names_of_their_own() -> None:
    tasks = [call("stats", STATS, 1), *wide(150)]
    last = call("add", ADD, TaskOutput("stats", "mean"), TaskOutput("stats", "std"))
    after = nest_groups(graph(*tasks, last, parameters=[parameter("stats--mean", "int", 1)]))
    group = after.operations[0]
    assert isinstance(group, Group)
    assert [name for name, _ in group.body.outputs] == ["stats--mean-2", "stats--std"]


def test_instances_go_where_they_are_constructed() -> None:
    cls = PythonNode("calc:Scale", "Scale", is_class=True)
    loads = wide(150)
    instances = (Instance("inner", cls, (TaskOutput("load-0"),)), Instance("outer", cls, (InstanceValue("inner"),)))
    use = Call("use", cls, (Constant(1),), instance="outer")
    after = nest_groups(Graph("calc", (), instances, (*loads, use), (("result", TaskOutput("use")),)))
    first, second = (item for item in after.operations if isinstance(item, Group))
    assert first.body.instances == ()
    assert [item.id for item in second.body.instances] == ["inner", "outer"]
    assert second.body.instances[0].args == (ParameterValue("load-0"),)


def test_consumers_recorded_before_their_producers_still_follow_them() -> None:
    """A graph file may list its operations in any order."""
    before = chain(150)
    shuffled = Graph(before.name, before.parameters, (), before.operations[::-1], before.outputs)
    after = nest_groups(shuffled)
    assert nested_edges(after) == flat_edges(before)


def test_groups_of_a_graph_with_long_edges_stay_within_what_one_argument_holds() -> None:
    """Every task reads one from half way back, so that upper groups read a lot from outside."""
    tasks: list[Call] = []
    for index in range(9700):
        before = [TaskOutput(tasks[-1].id), TaskOutput(tasks[index // 2].id)] if tasks else [Constant(1), Constant(2)]
        tasks.append(call(f"add-{index}", ADD, *before))
    after = nest_groups(graph(*tasks))
    assert max(len(inner.operations) for inner in graphs_in(after)) <= DAG_TASKS
    assert max(len(item.arguments) for inner in graphs_in(after) for item in inner.operations
               if isinstance(item, Group)) <= 300  # fmt: skip


# --- all of them ---------------------------------------------------------------------------------


def test_a_pass_can_be_looked_at() -> None:
    written: list[str] = []
    run_passes(graph(call("load", LOAD), result=Constant(1)), print_after="result_task", write=written.append)
    assert len(written) == 1
    assert written[0].startswith("# after result_task\n")
    assert "result" in written[0]
    written.clear()
    run_passes(graph(call("load", LOAD)), print_after="all", write=written.append)
    assert [re.findall(r"# after (\w+)", text)[0] for text in written] == [one.__name__ for one in PASSES]


def test_a_pass_that_does_not_exist_is_named_with_the_nearest() -> None:
    with pytest.raises(CompileError, match=r"no pass nest_group \(did you mean nest_groups\?\); the passes are"):
        run_passes(graph(call("load", LOAD)), print_after="nest_group")


# --- fan-in --------------------------------------------------------------------------------------


def test_the_wider_the_consumer_the_smaller_the_inline_handles() -> None:
    """Together they stay below 48 KiB."""
    assert [limit_for(count) for count in (1, 24, 25, 48, 49, 1000)] == [2048, 2048, 1024, 1024, 512, 32]
    assert all(limit_for(count) * count <= 48 * 1024 for count in range(25, 2000))


def test_fan_in_is_seen_through_groups() -> None:
    loads = wide(150)
    before = graph(*loads, call("total", TOTAL, listed(*outputs_of(loads[:60]))))
    expected = {f"load-{index}": 512 for index in range(60)}
    assert inline_limits(before) == expected
    assert inline_limits(nest_groups(before)) == expected
