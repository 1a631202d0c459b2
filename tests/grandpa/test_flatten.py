"""Groups opened: the same tasks, the same value, no waiting for a group as a whole."""

from __future__ import annotations

from engine_graphs import call, graph, of

from grandpa_kfp.engine.execute import execute
from grandpa_kfp.engine.flatten import flatten
from grandpa_kfp_compiler.graph import HANDLE, Call, Graph, Group, Parameter, ParameterValue, dependencies


def add(x: int, y: int) -> int:
    return x + y


def inner(name: str, *operations: Call | Group, result: str) -> Graph:
    return Graph(name, (Parameter("x", HANDLE),), operations=operations, outputs=(("out", of(result)),))


def nested() -> Graph:
    """first = 1 + 2; outer(inner(first + 10) + 100); last = that + 1000"""
    x = ParameterValue("x")
    plus = call("plus", add, 0, 10)
    deep = inner("inner", Call("plus", plus.node, (x, plus.args[1]), where="a"), result="plus")
    plus_100 = Call("plus", plus.node, (of("g", "out"), call("c", add, 0, 100).args[1]))
    middle = inner("outer", Group("g", deep, (("x", x),)), plus_100, result="plus")
    return Graph(
        "flow",
        operations=(
            call("first", add, 1, 2),
            Group("g", middle, (("x", of("first")),)),
            call("last", add, of("g", "out"), 1000),
            call("apart", add, 1, 1, after=("g",)),
        ),
        outputs=(("result", of("last")),),
    )


def test_groups_are_opened_all_the_way() -> None:
    """Ids by path; edges lead to the tasks that make and take the values; order concerns all inside."""
    flat = flatten(nested())
    waits = dependencies(flat)
    assert list(waits) == ["first", "g/g/plus", "g/plus", "last", "apart"]
    assert waits["g/g/plus"] == ("first",)
    assert waits["g/plus"] == ("g/g/plus",)
    assert waits["last"] == ("g/plus",)
    assert set(waits["apart"]) == {"g/g/plus", "g/plus"}


def test_a_graph_with_groups_runs() -> None:
    """And its tasks are told by their paths."""
    run = execute(nested(), record=False)
    assert run.value == 1113
    assert list(run.tasks) == ["first", "g/g/plus", "g/plus", "last", "apart"]


def test_a_graph_without_groups_is_left_as_it_is() -> None:
    """The same object."""
    made = graph(call("a", lambda: 1))
    assert flatten(made) is made
