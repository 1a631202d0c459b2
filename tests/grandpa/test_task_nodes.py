"""`@TaskNode`: a node that is called with lists."""

from __future__ import annotations

import pytest

from grandpa_kfp import GraphError, Node, TaskError, TaskNode, TraceError, Workflow, resolve, run, trace


@TaskNode
def add(a: int, b: int = 10) -> int:
    return a + b


@TaskNode("halves", retries=1)
def halve(a: int) -> float:
    return a / 2


@Node
def numbers(n: int) -> list:
    return list(range(n))


def value_of(function, **options):
    return run(Workflow(function), record=False, **options).value


@pytest.mark.parametrize("processes", [0, 2])
def test_lists_and_refs_to_lists(processes):
    """As GrandPa's users know it."""

    def flow():
        return add([1] * 20, [2] * 20), add(numbers(3), numbers(3)), add([1, 2]), halve(add([], []))

    assert value_of(flow, processes=processes) == ([3] * 20, [0, 2, 4], [11, 12], [])


def test_by_name():
    """In the order of the parameters, which must follow the others."""
    assert resolve(add(b=[1, 2], a=[10, 20])) == [11, 22]
    assert resolve(add([1], b=[2])) == [3]
    with pytest.raises(TraceError, match=r"add \(.*test_task_nodes.py:\d+\): argument a is missing"):
        add(b=[1])
    with pytest.raises(TraceError, match="argument c is not known"):
        add([1], c=[2])


def test_options_and_the_plain_function():
    """Options hold for each element; `fn` is for one."""
    assert add.fn(1, 2) == 3
    graph = trace(Workflow(lambda: add.options(name="sums", retries=2)([1, 2])))
    assert [call.id for call in graph.calls()] == ["sums"]
    assert resolve(halve.options(retries=0)([1])) == [0.5]


def test_methods_and_coroutines():
    """A method gets its object along; `async def` is run to its end."""

    class Scale:
        def __init__(self, factor: int) -> None:
            self.factor = factor

        @TaskNode
        def times(self, x: int) -> int:
            return self.factor * x

        @TaskNode
        @staticmethod
        def plus(x: int) -> int:
            return x + 1

    @TaskNode
    async def later(x: int) -> int:
        return -x

    assert value_of(lambda: (Scale(3).times([1, 2]), Scale.plus([1]), later([1, 2]))) == ([3, 6], [2], [-1, -2])


def test_in_a_body():
    """A node that returns its calls grows the graph."""

    @Node
    def grow(n: int):
        return add(list(range(n)), list(range(n)))

    assert value_of(lambda: grow(3), processes=1) == [0, 2, 4]


def test_faults():
    """Each says what it is."""
    with pytest.raises(TaskError, match="lists of one length, but these have 2, 3 elements"):
        value_of(lambda: add([1, 2], [1, 2, 3]))
    with pytest.raises((TraceError, GraphError), match="it takes lists, but the value at place 1 is 5"):
        add(5, [1])
    with pytest.raises(TraceError, match=r"mark it with @Node, and write int\(...\).map"):
        TaskNode(int)
    with pytest.raises(TraceError, match="two names"):
        TaskNode("a", name="b")
    with pytest.raises(TraceError, match="retrys"):
        TaskNode(retrys=1)(lambda x: x)
