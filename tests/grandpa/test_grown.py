"""What a body returned, as a graph: names, values, order, and what has to be evaluated in place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from grandpa_kfp import Node, Workflow
from grandpa_kfp.authoring.calls import UnusedCallWarning
from grandpa_kfp.authoring.grown import graph_of_result
from grandpa_kfp_compiler.graph import Call, Constant, Filled, Graph, InstanceValue, TaskOutput
from grandpa_kfp_runtime.recording import TaskBody, recorder


@Node
def add(a: Any, b: Any) -> Any:
    return a + b


@Node(outputs=("low", "high"), retries=2, env={"A": "1"})
def bounds(values: Any) -> tuple[Any, Any]:
    return min(values), max(values)


@Node
class Scale:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    def __call__(self, x: int) -> int:
        return self.factor * x

    def apply(self, x: int) -> int:
        return x


def graph_of(body: Callable[[], Any], **options: Any) -> Graph | None:
    """The graph of what a body returns that is called as a task's is."""
    calls = TaskBody()
    token = recorder.set(calls)
    try:
        result = body()
        return graph_of_result(result, calls.calls, body="body", **options)
    finally:
        recorder.reset(token)


def whole(body: Callable[[], Any]) -> tuple[dict[str, Call], Any]:
    graph = graph_of(body)
    assert graph is not None
    calls = {call.id: call for call in graph.operations if isinstance(call, Call)}
    ((name, value),) = graph.outputs
    assert name == "result"
    return calls, value


def test_calls_are_tasks_in_the_order_they_were_made() -> None:
    """Named after the node, then counted; with the place of each call."""
    calls, value = whole(lambda: add(add(1, b=2), add(3, 4)))
    assert list(calls) == ["add", "add-2", "add-3"]
    assert value == TaskOutput("add-3")
    assert calls["add-3"].args == (TaskOutput("add"), TaskOutput("add-2"))
    assert [constant.value for _, constant in calls["add"].kwargs] == [2]  # type: ignore[union-attr]
    assert calls["add"].where.startswith("tests/grandpa/test_grown.py:")
    assert calls["add"].node.target is add.fn


def test_structures_parts_and_outputs() -> None:
    """As a trace has them."""

    def body() -> Any:
        found = bounds([1, add(1, 2)])
        return {"whole": found, "part": found.high[0], "n": 5}

    calls, value = whole(body)
    assert isinstance(value, Filled)
    assert value.skeleton.value == {"whole": None, "part": None, "n": 5}
    (_, outputs), (_, part) = value.holes
    assert isinstance(outputs, Filled)
    assert [leaf for _, leaf in outputs.holes] == [TaskOutput("bounds", "low"), TaskOutput("bounds", "high")]
    assert part == TaskOutput("bounds", "high", (0,))
    assert isinstance(calls["bounds"].args[0], Filled)


def test_options_names_and_order() -> None:
    """A call's own over the node's; what it waits for; a pinned name, and a second one of it."""

    def body() -> Any:
        first = add.options(name="x")(1, 2)
        return bounds.options(retries=0, env={"B": "2"}, after=[first])([1]), add.options(name="x")(3, 4)

    calls, _ = whole(body)
    assert list(calls) == ["x", "bounds", "x-2"]
    assert calls["bounds"].after == ("x",)
    assert (calls["bounds"].options.retries, calls["bounds"].options.env) == (0, (("A", "1"), ("B", "2")))


def test_instances() -> None:
    """One for all calls of it; init arguments that are calls; the method."""

    def body() -> Any:
        scale = Scale(add(1, 2))
        return [scale(1), scale.apply(2), add(scale, 1)]

    graph = graph_of(body)
    assert graph is not None
    (instance,) = graph.instances
    assert instance.args == (TaskOutput("add"),)
    calls = [call for call in graph.operations if isinstance(call, Call)]
    assert [(call.id, call.instance, call.method) for call in calls] == [
        ("add", "", ""), ("Scale", "Scale", "__call__"), ("Scale-2", "Scale", "apply"), ("add-2", "", ""),
    ]  # fmt: skip
    assert calls[-1].args[0] == InstanceValue("Scale")


def test_what_was_resolved_is_a_constant() -> None:
    """The part that is meant, a copy; its own calls are no tasks."""

    def body() -> Any:
        known = add([1], [2])
        known.resolve()
        return add(known, 1), known[1]

    calls, value = whole(body)
    assert list(calls) == ["add"]
    assert isinstance(calls["add"].args[0], Constant)
    assert calls["add"].args[0].value == [1, 2]
    assert [leaf.value for _, leaf in value.holes[1:]] == [2]


def test_only_what_the_result_needs() -> None:
    """The rest is warned of, as everywhere."""
    with pytest.warns(UnusedCallWarning, match="body calls bounds"):
        calls, _ = whole(lambda: (bounds([1]), add(1, 2))[1])
    assert list(calls) == ["add"]


def test_names_go_on_counting() -> None:
    """Where a task becomes more of them several times."""
    counts: dict[str, int] = {}
    names = []
    for _ in range(3):
        graph = graph_of(lambda: [add(1, 2), add(3, 4)], counts=counts)
        assert graph is not None
        names += [call.id for call in graph.operations]
    assert names == ["add", "add-2", "add-3", "add-4", "add-5", "add-6"]


def test_two_nodes_of_one_name_have_two_keys() -> None:
    """Nodes that nobody could import."""

    def local(n: int) -> Any:
        def body(x: int) -> int:
            return x + n

        return Node(name="local")(body)

    calls, _ = whole(lambda: [local(1)(1), local(2)(1)])
    keys = [call.node.key for call in calls.values()]
    assert keys == ["value:local", "value:local-2"]
    assert [call.node.target(1) for call in calls.values()] == [2, 3]


def test_what_has_to_be_evaluated_in_place() -> None:
    """No call, none that is needed, a workflow's, one that another body made, an instance alone."""
    elsewhere = add(1, 2)

    @Workflow
    def flow(n: int) -> Any:
        return add(n, 1)

    def resolved() -> Any:
        known = add(1, 2)
        known.resolve()
        return [known]

    assert graph_of(lambda: 5) is None
    assert graph_of(lambda: Scale(1)) is None
    assert graph_of(resolved) is None
    assert graph_of(lambda: add(flow(1), 1)) is None
    assert graph_of(lambda: [add(1, 1), elsewhere]) is None


def test_a_chain_of_5000_calls() -> None:
    """No recursion of Python's."""

    def body() -> Any:
        x: Any = 0
        for _ in range(5000):
            x = add(x, 1)
        return x

    calls, _ = whole(body)
    assert len(calls) == 5000
