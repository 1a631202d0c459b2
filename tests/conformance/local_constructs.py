"""Rows: maps, generators, shared objects, functions side by side in a body."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from by_hand import by_hand, mapped_by_hand
from control_flows import Scale, count_to, double, plus, total

from grandpa_kfp import GeneratorNode, Node, TaskNode, Workflow, either, sync, task_executor, when

from .loops import LOOP
from .rows import Row


@Workflow
def mapped(n: int = 3) -> Any:
    return total(plus.map(count_to(n), [1, 2, 3])), double.map([])


def mapped_plain(n: int = 3) -> Any:
    return by_hand(total, mapped_by_hand(plus, by_hand(count_to, n), [1, 2, 3])), mapped_by_hand(double, [])


@Workflow
def mapped_apart(n: int = 3) -> Any:
    """A container for each element; the instance of a class node is mapped too."""
    doubled = double.map(count_to(n), parallelism=2)
    with when(n > 2):
        scaled = Scale(3).map(doubled, parallelism=2)
    return either(scaled, doubled)


def mapped_apart_plain(n: int = 3) -> Any:
    doubled = [by_hand(double, x) for x in by_hand(count_to, n)]
    return [by_hand(Scale(3), x) for x in doubled] if n > 2 else doubled


@TaskNode
def added(a: int, b: int) -> int:
    return a + b


@Workflow
def task_node(n: int = 3) -> Any:
    return added(count_to(n), [10] * 3)


def task_node_plain(n: int = 3) -> Any:
    return mapped_by_hand(added.node, by_hand(count_to, n), [10] * 3)


@GeneratorNode("numbers")
def numbers(n: int) -> Iterator[int]:
    yield from range(n)


@Workflow
def generated(n: int = 4) -> Any:
    """One task takes the items of the first, two take those of the second."""
    shared = numbers(n)
    return total(numbers(n)), total(shared), total(shared)


def generated_plain(n: int = 4) -> Any:
    return by_hand(total, range(n)), by_hand(total, range(n)), by_hand(total, range(n))


@Node
def side_by_side(n: int) -> int:
    """Functions on the body's own threads, which share a lock and a number."""
    counted, lock = sync.Value(0), sync.Lock()

    def add(x: int) -> None:
        with lock:
            counted.value += x

    for id_ in [task_executor.add_task(add, x) for x in range(n)]:
        task_executor.get_task_result(id_)
    return int(counted.value)


@Workflow
def inside(n: int = 5) -> Any:
    return double(side_by_side(n))


def inside_plain(n: int = 5) -> Any:
    return by_hand(double, by_hand(side_by_side, n))


ROWS = [
    Row("map in one container", mapped, mapped_plain, {}, "count_to plus.map double.map total"),
    Row("map, a container for each", mapped_apart, mapped_apart_plain, {}, "count_to double*3 Scale*3", refused=LOOP),
    Row("map, in a branch not taken", mapped_apart, mapped_apart_plain, {"n": 2}, "count_to double*2", refused=LOOP),
    Row("TaskNode", task_node, task_node_plain, {}, "count_to added.map"),
    Row("GeneratorNode", generated, generated_plain, {}, "total*3"),
    Row("task_executor and sync in a body", inside, inside_plain, {}, "side_by_side double"),
]
