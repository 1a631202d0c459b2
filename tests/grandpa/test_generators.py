"""`@GeneratorNode`: where it runs, that it runs once, and that it ends with its consumer."""

from __future__ import annotations

import os
import threading
import time

import pytest
from kfp_by_hand import cluster

from grandpa_kfp import (
    Component,
    GeneratorNode,
    Node,
    TaskError,
    TraceError,
    Workflow,
    collect,
    compile,
    each,
    either,
    resolve,
    run,
    trace,
    when,
)
from grandpa_kfp.checking import check
from grandpa_kfp.engine.run import Run
from grandpa_kfp_compiler.verify import verify

LONG_S = 60
EVENTS: list[object] = []


@pytest.fixture(autouse=True)
def nothing_left():
    """No event of the test before; no thread of this one."""
    EVENTS.clear()
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + LONG_S
    while any(thread.name.startswith("grandpa") for thread in set(threading.enumerate()) - before):
        assert time.monotonic() < deadline, threading.enumerate()
        time.sleep(0.01)


@GeneratorNode("numbers", max_queue_size=3)
def numbers(n: int = 5):
    EVENTS.append("begin")
    try:
        yield from range(n)
    finally:
        EVENTS.append("end")


@GeneratorNode
def doubled(items):
    for item in items:
        yield 2 * item


@GeneratorNode
async def ticks(n: int):
    for index in range(n):
        yield index


@GeneratorNode
def broken():
    yield 1
    raise ValueError("row 2 is broken")


@Node
def total(items) -> int:
    return sum(items)


@Node
def first(items, least: int = 0):
    for item in items:
        if item >= least:
            return item
    return None


@Node
def constant(n: int) -> int:
    return n


def value_of(function, **params):
    return run(Workflow(function), params, record=False).value


def tasks_of(function) -> list[str]:
    graph = trace(Workflow(function))
    assert verify(graph) == []
    return [call.id for call in graph.calls()]


def test_one_consumer_takes_the_items_as_they_come():
    """There is one task, the consumer; the generator has ended with it."""

    def flow(n: int = 5):
        return total(numbers(constant(n)))

    assert tasks_of(flow) == ["constant", "total"]
    assert value_of(flow, n=4) == 6
    assert EVENTS == ["begin", "end"]


def test_an_endless_generator_ends_with_its_consumer():
    """10**9 items would take minutes."""

    def flow():
        return first(numbers(10**9), 7)

    assert value_of(flow) == 7
    assert EVENTS == ["begin", "end"]


def test_several_consumers_share_a_list():
    """The generator is a task then, and has run once."""

    def flow():
        items = numbers(4)
        return total(items), first(items, 2), items

    assert tasks_of(flow) == ["numbers", "total", "first"]
    assert value_of(flow) == (6, 2, [0, 1, 2, 3])
    assert EVENTS == ["begin", "end"]


def test_the_result_of_a_workflow_is_the_list():
    """And a part of it can be asked for."""

    def flow():
        return numbers(3), numbers(3)[1]

    assert tasks_of(flow) == ["numbers", "numbers-2"]
    assert value_of(flow) == ([0, 1, 2], 1)


def test_a_consumer_that_takes_it_twice_gets_lists():
    """One iterator cannot be walked twice."""

    @Node
    def both(a, b):
        return list(a), list(b)

    def flow():
        items = numbers(2)
        return both(items, [items])

    assert tasks_of(flow) == ["numbers", "both"]
    assert value_of(flow) == ([0, 1], [[0, 1]])


def test_generators_of_generators_run_in_the_one_consumer():
    """Each ahead of the next."""

    def flow():
        return total(doubled(doubled(numbers(5))))

    assert tasks_of(flow) == ["total"]
    assert value_of(flow) == 40
    assert EVENTS == ["begin", "end"]


def test_an_instance_that_takes_a_generator():
    """Its one task constructs it; with two tasks it would run twice, and so is a list."""

    @Node
    class Holder:
        def __init__(self, items):
            self.items = items

        def __call__(self, more: int):
            return sum(self.items) + more

    def once():
        return Holder(numbers(4))(1)

    def twice():
        holder = Holder(numbers(4))
        return holder(1), holder(2)

    assert tasks_of(once) == ["Holder"]
    assert value_of(once) == 7
    EVENTS.clear()
    assert tasks_of(twice) == ["numbers", "Holder", "Holder-2"]
    assert value_of(twice) == (7, 8)
    assert EVENTS == ["begin", "end"]


def test_asynchronous_generators_and_methods():
    """And static methods, inside structures, by keyword."""

    class Source:
        @GeneratorNode
        def rows(self, n):
            yield from range(n)

        @GeneratorNode
        @staticmethod
        def fixed():
            yield from (1, 2)

    @Node
    def sums(*, of):
        return [sum(items) for items in of]

    def flow():
        return sums(of=[ticks(4), Source().rows(3), Source.fixed()])

    assert value_of(flow) == [6, 3, 3]


def test_items_that_are_refs_arrive_as_values():
    """A generator may call nodes: what they come to is handed on."""

    @GeneratorNode
    def lengths(words):
        for word in words:
            yield constant(len(word))

    def flow():
        return total(lengths(["a", "bcd"]))

    assert value_of(flow) == 4


def test_calls_that_a_body_returns():
    """Generator and consumer are one task there too."""

    @Node
    def grow(n: int):
        return first(numbers(n), 7), numbers(2)

    assert value_of(lambda: grow(10**9)) == (7, [0, 1])
    assert EVENTS == ["begin", "end"] * 2


def test_in_worker_processes():
    """The generator runs in its consumer's process."""

    @GeneratorNode
    def pids():
        while True:
            yield os.getpid()

    @Node
    def same(items) -> bool:
        return next(items) == os.getpid()

    def flow():
        return same(pids()), total(numbers(3)), numbers(2)

    assert run(Workflow(flow), processes=1, record=False).value == (True, 3, [0, 1])


def test_order_and_options_move_along():
    """`after` of the generator is its consumer's; an option that the consumer has not makes it a task."""

    def flow():
        before = constant(1)
        return total(numbers.options(after=before)(2)), total(numbers.options(retries=2, name="more")(2))

    graph = trace(Workflow(flow))
    assert [call.id for call in graph.calls()] == ["constant", "total", "more", "total-2"]
    calls = {call.id: call for call in graph.calls()}
    assert calls["total"].after == ("constant",)
    assert calls["more"].options.retries == 2
    assert value_of(flow) == (1, 1)


def test_its_error_is_the_consumers():
    """With the generator's own frame in the report."""

    def flow():
        return total(broken())

    with pytest.raises(TaskError) as caught:
        value_of(flow)
    assert isinstance(caught.value.__cause__, ValueError)
    told = str(caught.value)
    assert told.startswith("total (")
    assert "in broken" in told
    assert "prefetch.py" not in told


def test_a_consumer_that_fails_ends_it():
    """Its finally block has run."""

    @Node
    def failing(items):
        next(items)
        raise KeyError("stop")

    with pytest.raises(TaskError, match="KeyError"):
        value_of(lambda: failing(numbers(10**9)))
    assert EVENTS == ["begin", "end"]


def test_a_consumer_that_is_out_of_time_ends_it():
    """The consumer would go on for ever: asking for one more item ends it."""
    ended = threading.Event()

    @Node(timeout_s=0.3)
    def slow(items):
        try:
            while True:
                next(items)
                time.sleep(0.01)
        finally:
            ended.set()

    with pytest.raises(TaskError, match="timeout_s"):
        value_of(lambda: slow(numbers(10**9)))
    assert ended.wait(LONG_S)


def test_outside_a_workflow():
    """`.resolve()` is the list, once; a loop takes the items as they are made."""
    ref = numbers(3)
    assert resolve(ref) == [0, 1, 2]
    assert resolve(ref) == [0, 1, 2]
    assert list(ref) == [0, 1, 2]
    assert EVENTS == ["begin", "end"]
    EVENTS.clear()
    for item in numbers(10**9):
        if item == 5:
            break
    assert EVENTS == ["begin", "end"]
    assert total(doubled(numbers(3))).resolve() == 6
    EVENTS.clear()
    assert first(doubled(numbers(10**9)), 6).resolve() == 6  # it has one consumer, which takes what it needs
    items = numbers(3)
    assert resolve([total(items), total(items)]) == [3, 3]  # two: they share a list
    assert EVENTS == ["begin", "end"] * 2
    assert numbers.fn(2).__next__() == 0


def test_inside_a_trace_it_cannot_be_iterated():
    """Its items do not exist yet."""
    with pytest.raises(TraceError, match="was iterated over"):
        trace(Workflow(lambda: [constant(item) for item in numbers(3)]))


def test_a_node_alone_can_be_run():
    """As a workflow of one call."""
    found = run(numbers, record=False)
    assert isinstance(found, Run)
    assert found.value == [0, 1, 2, 3, 4]


def test_wrong_uses():
    """Each is told with the place."""
    with pytest.raises(TraceError, match=r"numbers \(.*test_generators.py:\d+\): argument m is not known; the node"):
        numbers(m=3)
    with pytest.raises(TraceError, match="max_queue_size of the node rows must be a whole number of at least 1"):
        GeneratorNode("rows", max_queue_size=0)
    with pytest.raises(TraceError, match="marks a function that yields"):
        GeneratorNode(int)
    with pytest.raises(TaskError, match="return list"):
        value_of(lambda: constant(numbers(3)))


def test_check_says_when_it_is_a_task_of_its_own():
    """Several consumers, and an option the consumer lacks."""

    def flow():
        items = numbers(3)
        return total(items), total(items), total(doubled.options(cpu=2)([1]))

    notes = "\n".join(check(Workflow(flow)).notes)
    assert "numbers (" in notes
    assert "2 tasks take its items, so it is a task of its own and they get a list" in notes
    assert "doubled (" in notes
    assert "total-3 does not have its cpu=" in notes


@GeneratorNode(max_items=100)
def endless():
    EVENTS.append("begin")
    try:
        number = 0
        while True:
            yield number
            number += 1
    finally:
        EVENTS.append("end")


@GeneratorNode(max_items=100)
async def endless_ticks():
    number = 0
    while True:
        yield number
        number += 1


@pytest.mark.parametrize("source", [endless, endless_ticks])
def test_a_list_of_an_endless_generator_is_a_fault(source):
    """After so many items; the generator is ended, and the message says why there is a list and what to do."""

    def flow():
        items = source()
        return first(items), first(items)

    with pytest.raises(TaskError, match=r"(?s)endless.* makes more than 100 items, .*@GeneratorNode\(max_items"):
        value_of(flow)
    with pytest.raises(TaskError, match="more than 100 items"):
        source().resolve()
    assert EVENTS.count("begin") == EVENTS.count("end")
    with pytest.raises(TraceError, match="max_items of a node must be a whole number of at least 1, but is 0"):
        GeneratorNode(max_items=0)


@GeneratorNode(memory="1Gi")
def heavy_rows(n: int):
    yield from range(n)


@Workflow
def everywhere(n: int = 4):
    """One consumer; two; in a loop, in a branch; as what a loop goes over, and a map."""
    shared, looped, taken = numbers(n), numbers(n), numbers(n)
    with each(numbers(2)) as x:
        inside = first(looped, x), total(numbers(x))
    with when(total(numbers(n)) > 5):
        big = total(taken)
    mapped = constant.map(numbers(2), parallelism=2)
    several = total(shared), first(shared, 2), collect(inside[0]), collect(inside[1])
    return total(numbers(n)), *several, either(big, 0), mapped, total(heavy_rows(3))


EVERYWHERE = (6, 6, 2, [0, 1], [0, 0], 6, [0, 1], 3)


def test_everywhere_the_same_value(tmp_path):
    """On threads, in worker processes and on Kubeflow, whoever takes the items."""
    assert run(everywhere, record=False).value == EVERYWHERE
    assert run(everywhere, record=False, processes=1).value == EVERYWHERE
    text = compile(everywhere, tmp_path / "flow.yaml").text
    assert cluster(text, tmp_path).run({}) == EVERYWHERE
    one = Component(fuse=True)(everywhere.fn)
    fused = Workflow(name="fused")(lambda: one(4))
    folder = tmp_path / "fused"
    folder.mkdir()
    assert cluster(compile(fused, folder / "flow.yaml").text, folder).run({}) == EVERYWHERE
