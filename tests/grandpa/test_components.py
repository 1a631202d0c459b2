"""Components: groups in the graph, names counted in each, options for what is in them."""

from __future__ import annotations

import pytest

from grandpa_kfp import Component, Node, Static, Workflow, resolve, trace
from grandpa_kfp_runtime.errors import TraceError


@Node
def subtract(a: int, b: int) -> int:
    return a - b


@Node
def floor_divide(a: int, b: int) -> int:
    return a // b


@Node
def multiply(a: int, b: int) -> int:
    return a * b


@Component
def remainder(a, b):
    return subtract(a, multiply(floor_divide(a, b), b))


@Component("outer")
def twice(a, b):
    """Two in one."""
    return remainder(remainder(a, b), b)


class Group:
    def __init__(self, factor):
        self.factor = factor

    @Component
    def scaled(self, x):
        return multiply(x, self.factor)

    @Component
    @staticmethod
    def fixed(x):
        return multiply(x, 10)


def ids(body):
    return [call.id for call in trace(Workflow(body)).calls()]


def test_a_component_outside_a_workflow():
    """Its nodes give Refs; nothing runs before it is resolved."""
    assert remainder(23, 10).resolve() == 3
    assert twice(23, 10)().resolve() == 3


def test_names_are_counted_in_each_component():
    """Instances of a component are counted as tasks are."""
    assert ids(lambda: (subtract(1, 2), remainder(5, 3), remainder(6, 4), subtract(1, 2))) == [
        "subtract",
        "remainder/floor_divide",
        "remainder/multiply",
        "remainder/subtract",
        "remainder-2/floor_divide",
        "remainder-2/multiply",
        "remainder-2/subtract",
        "subtract-2",
    ]


def test_components_nest():
    """The path is the scope of each call."""
    graph = trace(Workflow(lambda: twice(7, 3)))
    assert [call.scope for call in graph.calls()][::3] == [("outer", "remainder"), ("outer", "remainder-2")]
    assert next(call.id for call in graph.calls()) == "outer/remainder/floor_divide"


def test_options_of_a_component():
    """A pinned name, defaults for every node in it, tasks it waits for."""

    @Node(retries=1)
    def stubborn(a):
        return a

    @Component(cpu=1)
    def group(a):
        stubborn(a)
        return subtract(a, 1)

    def body():
        first = subtract(1, 2)
        group.options(name="pinned", retries=5, after=[first])(1)

    calls = list(trace(Workflow(body)).calls())[1:]
    assert [call.id for call in calls] == ["pinned/stubborn", "pinned/subtract"]
    assert [call.options.retries for call in calls] == [1, 5]
    assert [call.options.cpu for call in calls] == ["1", "1"]
    assert [call.after for call in calls] == [("subtract",), ("subtract",)]


def test_methods_as_components():
    """A component may be a method or a static method."""
    assert resolve([Group(3).scaled(2), Group.fixed(2), Group(1).fixed(3)]) == [6, 20, 30]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: remainder(1), r"remainder \(.*:\d+\): argument b is missing; the component takes \(a, b\)"),
        (lambda: remainder(1, 2, 3), "3 arguments are given by position"),
        (lambda: Group(1).scaled(), r"argument x is missing; the component takes \(x\)"),
    ],
)
def test_arguments_are_checked(call, message):
    """As those of nodes are."""
    with pytest.raises(TraceError, match=message):
        call()


def test_a_static_argument_cannot_be_a_ref():
    """It is needed while tracing."""

    @Component
    def repeat(x, count: Static[int]):
        for _ in range(count):
            x = subtract(x, 1)
        return x

    assert repeat(5, 3).resolve() == 2
    with pytest.raises(TraceError, match=r"repeat \(.*:\d+\): argument count is Static"):
        repeat(5, subtract(4, 1))


def test_a_component_that_calls_itself_is_told_so():
    """Instead of Python's recursion error."""

    @Component
    def forever(x):
        return forever(x)

    with pytest.raises(TraceError, match=r"component forever .* calls itself without end"):
        trace(Workflow(lambda: forever(1)))


def test_the_plain_function():
    """`.fn` stays at hand."""
    assert remainder.fn(7, 4).resolve() == 3
    assert twice.__doc__ == "Two in one."


@pytest.mark.parametrize("target", [3, int, subtract])
def test_what_cannot_be_a_component(target):
    """A value, a class, a node."""
    with pytest.raises(TraceError, match="@Component marks a function"):
        Component()(target)


def test_a_component_can_be_traced_itself():
    """Its parameters are the graph's."""
    graph = trace(remainder, {"b": 4})
    assert [item.name for item in graph.parameters] == ["a", "b"]
    assert graph.parameters[1].default.value == 4
