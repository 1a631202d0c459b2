"""`sync` objects in compiled pipelines: within one container they work, across containers they are a fault."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from kfp_by_hand import cluster

from grandpa_kfp import Component, Executor, GraphError, Node, Workflow, collect, compile, each, sync, task_executor
from grandpa_kfp.checking import check

LONG_S = 60


@Node
def produce(items: Any, count: int) -> int:
    for number in range(count):
        items.put(number)
    return count


@Node
def consume(items: Any, count: int) -> int:
    return sum(items.get(timeout=LONG_S) for _ in range(count))


@Node
class Counter:
    def __init__(self, total: Any) -> None:
        self.total = total

    def __call__(self, x: int) -> int:
        return int(self.total.add(x))


@Node
def both_ends(items: Any) -> int:
    thread = threading.Thread(target=produce.fn, args=(items, 5))
    thread.start()
    found = consume.fn(items, 5)
    thread.join()
    return found


@Node
def side_by_side(n: int) -> Any:
    ids = [task_executor.add_task(pow, number, 2) for number in range(n)]
    with Executor(processes=1) as pool:
        doubled = list(pool.map(lambda x: 2 * x, range(n)))
    return [task_executor.get_task_result(id_) for id_ in ids], doubled


@Component(fuse=True)
def step() -> Any:
    """Two tasks at the same time, and an object's init arguments: all in one container."""
    items, total = sync.Queue(maxsize=1), sync.Value(0)
    counted = Counter(total)(2)
    again = Counter(total).options(after=[counted])(3)
    return produce(items, 7), consume([items][0], 7), counted, again


def faults_of(workflow: Any) -> str:
    with pytest.raises(GraphError) as caught:
        compile(workflow)
    assert str(caught.value.faults[0]) in check(workflow).faults
    return str(caught.value)


def test_within_one_container_they_work(tmp_path: Path) -> None:
    """In one task, with what it runs side by side; and in all tasks of a fused step, where they are one object."""

    @Workflow
    def flow() -> Any:
        return both_ends(sync.Queue(2)), step(), side_by_side(3)

    text = compile(flow, tmp_path / "flow.yaml").text
    assert text == compile(flow).text
    found = cluster(text, tmp_path).run({})
    assert found == (10, (7, 21, 2, 5), ([0, 1, 4], [0, 2, 4]))


def test_across_containers_they_are_a_fault() -> None:
    """It names all tasks, those in a fused step and those outside of it."""

    @Component(fuse=True)
    def half(items: Any) -> int:
        return produce(items, 3)

    @Workflow
    def flow() -> Any:
        items = sync.Queue()
        return half(items), consume(items, 3)

    assert "but on Kubeflow each task is a process of its own" in faults_of(flow)
    place = r"\(.*test_shared_objects\.py:\d+\)"
    with pytest.raises(
        GraphError, match=rf"half/produce {place}: the argument <sync\.Queue .*> goes to consume {place} too"
    ):
        compile(flow)


def test_in_a_loops_rounds_they_are_a_fault() -> None:
    """Each round is a container; so is each element of a map that is a loop. In a map of one container they are not."""

    @Workflow
    def looping() -> Any:
        total = sync.Value(0)
        with each([1, 2]) as x:
            counted = Counter(total)(x)
        return collect(counted)

    @Workflow
    def mapped() -> Any:
        return Counter(sync.Value(0)).map([1, 2], parallelism=2)

    @Workflow
    def items() -> Any:
        return produce.map([sync.Queue(), sync.Queue()], [1, 2], parallelism=2)

    @Workflow
    def together() -> Any:
        return Counter(sync.Value(0)).map([1, 2])

    for wrong in (looping, mapped):
        assert "goes to every round of the loop " in faults_of(wrong)
    assert "produce.map-filled (" in faults_of(items)
    assert compile(together).tasks == 1


def test_a_fused_loop_may_have_one(tmp_path: Path) -> None:
    @Component(fuse=True)
    def looping() -> Any:
        total = sync.Value(0)
        with each([1, 2, 3], parallelism=1) as x:
            counted = Counter(total)(x)
        return collect(counted)

    @Workflow
    def flow() -> Any:
        return looping()

    assert cluster(compile(flow, tmp_path / "flow.yaml").text, tmp_path).run({}) == [1, 3, 6]
