"""The pass `fuse`: what becomes one step, what stays apart, and that a graph stays what it was."""

from __future__ import annotations

from typing import Any

import control_flows
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kfp_graphs import ADD, TOTAL, call, chain, graph, listed, parameter, with_options

from grandpa_kfp import run, trace
from grandpa_kfp_compiler.graph import (
    NO_OPTIONS,
    Arm,
    Branch,
    Call,
    ComponentCall,
    Constant,
    ContainerNode,
    Graph,
    Group,
    Loop,
    Options,
    Parameter,
    ParameterValue,
    Predicate,
    PythonNode,
    TaskOutput,
    dependencies,
)
from grandpa_kfp_compiler.passes.clusters import Dag, chains, partition, parts_of
from grandpa_kfp_compiler.passes.critical_path import Length, critical_path
from grandpa_kfp_compiler.passes.fuse import component_parts, fuse, fused_groups, steps
from grandpa_kfp_compiler.passes.sharing import may_share, merged
from grandpa_kfp_compiler.verify import verify

GPU = Options(gpu=1)


def summed(*values: int) -> int:
    return 1 + sum(values) % 1_000_003


SUMMED = PythonNode("test_fuse:summed", "summed", target=summed)


def steps_of(of: Graph) -> dict[str, list[str]]:
    """The tasks of each fused group."""
    return {group.id: [item.id for item in group.body.operations] for group in fused_groups(of)}


def line(*options: Options, scope: str = "") -> Graph:
    """A chain of tasks with these options."""
    calls: list[Call] = []
    for number, chosen in enumerate(options):
        first: Any = TaskOutput(calls[-1].id) if calls else ParameterValue("a")
        calls.append(call(f"{scope}add-{number}", ADD, first, number, options=chosen))
    return graph(*calls, parameters=[parameter("a", "int", 3)])


# --- random graphs -------------------------------------------------------------------------------

SCOPES = ["", "load/", "train/", "train/inner/"]
SAID = st.dictionaries(st.sampled_from([("load",), ("train",), ("train", "inner")]), st.booleans())


@st.composite
def random_graphs(draw: st.DrawFn) -> Graph:
    calls: list[Call] = []
    for number in range(draw(st.integers(1, 14))):
        before = draw(st.lists(st.sampled_from(calls), max_size=3, unique=True)) if calls else []
        after = draw(st.lists(st.sampled_from(calls), max_size=1)) if calls else []
        calls.append(
            call(
                f"{draw(st.sampled_from(SCOPES))}t{number}",
                SUMMED,
                *[TaskOutput(item.id) for item in before],
                number,
                options=draw(st.sampled_from([Options(), Options(), GPU, Options(cache=False)])),
                after=tuple(item.id for item in after),
            )
        )
    taken = draw(st.lists(st.sampled_from(calls), min_size=1, max_size=4, unique=True))
    components = tuple(ComponentCall(path, value) for path, value in sorted(draw(SAID).items()))
    return graph(*calls, result=listed(*[TaskOutput(item.id) for item in taken]), components=components)


def reached(of: Graph) -> dict[str, set[str]]:
    """For each operation all that it waits for, however far."""
    waits = dependencies(of)
    found: dict[str, set[str]] = {}

    def visit(name: str) -> set[str]:
        if name not in found:
            found[name] = set()
            for needed in waits[name]:
                found[name] |= {needed} | visit(needed)
        return found[name]

    for name in waits:
        visit(name)
    return found


@settings(max_examples=60, deadline=None)
@given(of=random_graphs(), mode=st.sampled_from(["chains", "components", "auto"]), most=st.sampled_from([1, 3, 400]))
def test_a_graph_stays_what_it_was(of: Graph, mode: str, most: int) -> None:
    """Steps are convex, nothing waits for itself, each task is in one place, and the value is the same."""
    after = fuse(of, mode, most)
    assert verify(after) == []
    ours = [call_.id for call_ in after.calls() if call_.node.key == SUMMED.key]
    assert sorted(ours) == sorted(item.id for item in of.operations)
    waits = reached(of)
    for tasks in steps_of(after).values():
        members = set(tasks) & waits.keys()
        between = {name for name, needed in waits.items() if needed & members and name not in members}
        assert not any(waits[member] & between for member in members)
    assert all(name not in needed for name, needed in reached(after).items())
    assert run(of, record=False).value == run(after, record=False).value


@pytest.mark.parametrize("name", ["three_ways", "within", "loops", "mixed", "outputs"])
def test_branches_and_loops_give_the_same_value(name: str) -> None:
    of = trace(getattr(control_flows, name))
    value = run(of, record=False).value
    for mode, most in (("chains", 400), ("components", 400), ("auto", 1), ("auto", 6)):
        after = fuse(of, mode, most)
        assert verify(after) == []
        assert run(after, record=False).value == value


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.lists(st.integers(0, 40), max_size=3), st.sampled_from("xyz")), min_size=1, max_size=40))
def test_parts_are_intervals_of_an_order_and_labels_are_split_only_where_they_must_be(
    drawn: list[tuple[list[int], str]],
) -> None:
    dag = Dag(
        [sorted({producer % node for producer in needed}) if node else [] for node, (needed, _) in enumerate(drawn)]
    )
    labels = [label if label != "z" else None for _, label in drawn]
    parts = parts_of(dag, labels)
    assert sorted(node for part in parts for node in part) == list(range(len(dag)))
    place = {node: number for number, part in enumerate(parts) for node in part}
    assert all(place[producer] <= place[node] for node, needed in enumerate(dag.before) for producer in needed)
    for part in parts:
        assert len({labels[node] for node in part}) == 1
        assert labels[part[0]] is not None or len(part) == 1
    alone = partition(dag, ["k"] * len(dag), [1] * len(dag), 3)
    assert len(alone) <= 3


# --- chains --------------------------------------------------------------------------------------


def test_a_chain_is_one_step_a_fan_is_none() -> None:
    after = fuse(line(*[Options()] * 4), "chains")
    assert steps_of(after) == {"add-0-to-add-3": ["add-0", "add-1", "add-2", "add-3"]}
    base = call("base", ADD, 1, 2)
    fan = graph(base, call("left", ADD, TaskOutput("base"), 1), call("right", ADD, TaskOutput("base"), 2))
    assert fuse(fan, "chains") == fan


def test_none_does_nothing_at_all() -> None:
    of = graph(*line(Options(), Options(), scope="part/").operations, parameters=[parameter("a", "int")],
               components=(ComponentCall(("part",), True),))  # fmt: skip
    assert steps_of(fuse(of, "none")) == {}
    assert list(fuse(of, "auto").operations) != list(of.operations)


def test_chains_in_the_body_of_a_loop_are_steps_of_each_round() -> None:
    body = Graph("each", (Parameter("item"),), (), line(Options(), Options()).operations,
                 (("result", TaskOutput("add-1")),))  # fmt: skip
    body = Graph(body.name, (Parameter("item"), Parameter("a")), (), body.operations, body.outputs)
    loop = Loop("each", Constant([1, 2]), "item", body, (("a", Constant(1)),))
    assert list(steps_of(fuse(graph(loop), "chains"))) == ["add-0-to-add-1"]


# --- who may share -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (Options(image="train:2"), "image is 'train:2' for b, and not set for a"),
        (Options(gpu=1), "gpu is 1 for b, and not set for a"),
        (Options(secrets=(("TOKEN", "vault/token"),)), "secrets is another for b, and not set for a"),
        (Options(packages=("numpy",)), "packages is another for b, and not set for a"),
        (Options(node_selector=(("zone", "x"),)), "node_selector is another for b, and not set for a"),
        (Options(cache=False), "b is to run every time, and a may be cached"),
        (Options(fallback="1"), "b is to run every time, and a may be cached"),
        (Options(always=True), "b: it runs whatever becomes of the others"),
        (Options(artifact="Model"), "b: its result is published as an artifact of its container"),
        (Options(cpu="4", memory="8Gi", retries=3, timeout_s=60.0, keep=True), None),
    ],
)
def test_what_surrounds_a_task_decides_who_shares_its_container(other: Options, reason: str | None) -> None:
    assert may_share(call("a", ADD, 1, 2), call("b", ADD, 1, 2, options=other)) == reason
    together = steps_of(fuse(line(Options(), other), "chains"))
    assert bool(together) == (reason is None)


def test_a_step_asks_for_the_most_that_a_task_of_it_asks_for() -> None:
    one = call("a", ADD, 1, 2, options=Options(cpu="500m", memory=("1Gi", "2Gi"), timeout_s=10.0, retries=2))
    other = call("b", ADD, 1, 2, options=Options(cpu="2", memory="1500Mi", timeout_s=5.0))
    assert merged([one, other]) == Options(cpu="2", memory=("1500Mi", "2Gi"), timeout_s=35.0)


def test_a_limit_and_a_deadline_hold_only_where_every_task_has_one() -> None:
    one = call("a", ADD, 1, 2, options=Options(memory="1Gi", timeout_s=10.0))
    assert merged([one, call("b", ADD, 1, 2)]) == Options(memory=("1Gi", None))


def test_a_lost_container_is_started_again_where_every_task_may_be_tried_again() -> None:
    tried, once = (call("a", ADD, 1, 2, options=Options(retries=count)) for count in (3, None))
    assert merged([tried, tried]).retries == 1
    assert merged([tried, once]).retries is None


def test_neighbours_of_other_peoples_containers_and_of_what_always_runs_stay_apart() -> None:
    foreign = ContainerNode("container:x", "x", "image", ("x",))
    tasks = [
        call("a", ADD, 1, 2),
        call("b", ADD, TaskOutput("a"), 2),
        Call("c", foreign, kwargs=(("x", TaskOutput("b")),)),  # type: ignore[arg-type]
    ]
    assert steps_of(fuse(graph(*tasks), "chains")) == {}
    always = call("end", ADD, 1, 2, options=Options(always=True), after=("b",))
    assert steps_of(fuse(graph(*tasks[:2], always, result=TaskOutput("b")), "chains")) == {}


def test_what_is_guarded_stays_a_group_and_is_fused_inside() -> None:
    """An exit handler is attached to a DAG."""
    body = Graph("guarded", (), (), (call("a", ADD, 1, 2), call("b", ADD, TaskOutput("a"), 1)))
    guarded = Group("guarded", body)
    end = call("end", ADD, 1, 2, options=Options(always=True), after=("guarded",))
    after = fuse(graph(guarded, end), "chains", 1)
    assert [type(item).__name__ for item in after.operations] == ["Group", "Call"]
    assert not after.operations[0].fused  # type: ignore[union-attr]
    assert list(steps_of(after)) == ["a-to-b"]


def test_a_step_that_a_graph_file_came_with_stays_as_it_is() -> None:
    of = fuse(line(Options(), Options()), "chains")
    again = fuse(of, "chains")
    assert steps_of(again) == steps_of(of)


# --- components ----------------------------------------------------------------------------------


def component_graph(*said: ComponentCall, middle: Options = NO_OPTIONS) -> Graph:
    """outer(a -> inner(b -> c) -> d), then e."""
    return graph(
        call("outer/a", ADD, 1, 2),
        call("outer/inner/b", ADD, TaskOutput("outer/a"), 1, options=middle),
        call("outer/inner/c", ADD, TaskOutput("outer/inner/b"), 1, options=middle),
        call("outer/d", ADD, TaskOutput("outer/inner/c"), TaskOutput("outer/a")),
        call("e", ADD, TaskOutput("outer/d"), 1),
        components=said,
    )


def test_a_component_that_asks_is_one_step_with_all_in_it() -> None:
    after = fuse(component_graph(ComponentCall(("outer",), True)))
    assert steps_of(after) == {"outer": ["outer/a", "outer/inner/b", "outer/inner/c", "outer/d"]}
    assert after.components == ()
    inner = fuse(component_graph(ComponentCall(("outer", "inner"), True)))
    assert steps_of(inner) == {"outer/inner": ["outer/inner/b", "outer/inner/c"]}
    assert steps_of(fuse(component_graph())) == {}
    assert list(steps_of(fuse(component_graph(), "components"))) == ["outer"]


@pytest.mark.parametrize("mode", ["chains", "components", "auto"])
def test_a_component_that_says_no_is_kept_apart(mode: str) -> None:
    of = component_graph(ComponentCall(("outer",), True), ComponentCall(("outer", "inner"), False))
    members = {name for tasks in steps_of(fuse(of, mode, 1)).values() for name in tasks}
    assert not members & {"outer/inner/b", "outer/inner/c"}


def test_a_component_that_cannot_be_one_step_is_several_and_tells_why() -> None:
    of = component_graph(ComponentCall(("outer",), True), middle=GPU)
    after = fuse(of)
    assert sorted(map(len, steps_of(after).values())) == [2]
    ((component, count, reason),) = component_parts(of, after)
    assert (component.path, count) == (("outer",), 3)
    assert reason == "gpu is 1 for outer/inner/b, and not set for outer/a"


def test_a_branch_or_loop_in_a_component_goes_into_its_step() -> None:
    arm = Graph("when", (), (), (call("x", ADD, 1, 2),))
    branch = Branch("part/when", (Arm(Predicate("true", (TaskOutput("part/a"),)), arm),))
    of = graph(call("part/a", ADD, 1, 2), branch, result=TaskOutput("part/a"),
               components=(ComponentCall(("part",), True),))  # fmt: skip
    assert steps_of(fuse(of)) == {"part": ["part/a", "part/when"]}
    lone = Graph("when", (), (), (call("x", ADD, 1, 2, options=GPU),))
    apart = graph(call("part/a", ADD, 1, 2), Branch("part/when", (Arm(branch.arms[0].predicate, lone),)),
                  result=TaskOutput("part/a"), components=of.components)  # fmt: skip
    assert steps_of(fuse(apart)) == {"part/when": ["part/when"]}


# --- what would not fit --------------------------------------------------------------------------


def fan(count: int) -> Graph:
    squares = [call(f"square-{number}", ADD, ParameterValue("a"), number) for number in range(count)]
    total = call("total", TOTAL, listed(*[TaskOutput(item.id) for item in squares]))
    return graph(*squares, total, parameters=[parameter("a", "int", 3)])


def layered(count: int, width: int) -> Graph:
    """Each task reads two of the layer before."""
    calls: list[Call] = []
    for number in range(count):
        start = (number // width - 1) * width
        before = [TaskOutput(f"t{start + (number * step) % width}") for step in (3, 7)] if start >= 0 else [1, 2]
        calls.append(call(f"t{number}", ADD, *before))
    return graph(*calls)


@pytest.mark.parametrize("of", [fan(1000), layered(1000, 20), chain(1000)], ids=["fan", "layered", "chain"])
def test_a_graph_of_too_many_tasks_comes_to_few_enough_steps(of: Graph) -> None:
    after = fuse(of, "auto", 100)
    assert steps(of) >= 1000
    assert steps(after) <= 100
    assert verify(after) == []


def test_a_graph_that_fits_stays_as_it_is() -> None:
    of = fan(99)
    assert fuse(of, "auto", 100) is of


def test_lists_of_what_steps_make_are_made_in_the_steps() -> None:
    """Else each step would give out every value, and the list would have as many inputs as before."""
    after = fuse(fan(1000), "auto", 100)
    assert all(len(group.body.outputs) <= 3 for group in fused_groups(after))


def test_a_loop_of_too_many_rounds_goes_into_one_step() -> None:
    body = Graph("each", (Parameter("item"),), (), (call("add", ADD, ParameterValue("item"), 1),),
                 (("result", TaskOutput("add")),))  # fmt: skip
    few, many = (graph(Loop("each", Constant(list(range(size))), "item", body)) for size in (10, 5000))
    assert steps_of(fuse(few)) == {}
    assert steps_of(fuse(many)) == {"each": ["each"]}
    kept = Graph("each", body.parameters, (), (with_options(body.operations[0], gpu=1), call("y", ADD, 1, 2)))  # type: ignore[arg-type]
    assert steps_of(fuse(graph(Loop("each", Constant(list(range(5000))), "item", kept), result=Constant(1)))) == {}


def test_wide_graphs_stay_wide_and_long_ones_become_short() -> None:
    """A fan is packed side by side; a chain is one step, since that is its shortest path."""
    wide = Dag([[] for _ in range(100)])
    assert len(partition(wide, ["k"] * 100, [1] * 100, 20)) == 20
    long = Dag([[number - 1] if number else [] for number in range(100)])
    assert len(partition(long, ["k"] * 100, [1] * 100, 20)) == 1
    assert chains(long, ["k"] * 100) == [0] * 100


def test_the_critical_path_goes_through_steps_as_wholes() -> None:
    of = component_graph(ComponentCall(("outer",), True))
    assert critical_path(of) == Length(5, 5)
    assert critical_path(fuse(of)) == Length(5, 2)
