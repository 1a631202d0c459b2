"""Workflows with branches and loops, and what each means in plain Python: first rows of the table of conformance.

Nodes are importable, as a user's are, so that worker processes run them too.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from by_hand import by_hand

from grandpa_kfp import Component, Node, Workflow, collect, each, either, elsewhen, is_in, otherwise, when

if TYPE_CHECKING:
    import numpy as np


@Node
def double(x: int) -> int:
    return 2 * x


@Node
def plus(x: int, y: int) -> int:
    return x + y


@Node
def count_to(n: int) -> list[int]:
    return list(range(n))


@Node
def total(xs: list[int]) -> int:
    return sum(xs)


@Node
def ones(n: int) -> np.ndarray:
    import numpy as np  # here, so that the other nodes' processes do not wait for it

    return np.ones(n)


@Node
def size(array: np.ndarray) -> float:
    return float(array.sum())


@Node(outputs=("low", "high"))
def ends(xs: list[int]) -> Any:
    return min(xs), max(xs)


@Node
class Scale:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    def __call__(self, x: int) -> int:
        return self.factor * x


@Node
def no_list(x: int) -> Any:
    return x


@Node
def fail_at(x: int, bad: int) -> int:
    if x == bad:
        raise ValueError(f"{x} is bad")
    return x


@Node
def fib(n: int) -> int:
    return n if n < 2 else plus(fib(n - 1), fib(n - 2))


at_once: list[int] = []
_lock = threading.Lock()


@Node
def note_how_many(x: int) -> int:
    """Notes how many of it run at this moment, itself included."""
    with _lock:
        at_once.append(x)
        count = len(at_once)
    time.sleep(0.01)
    with _lock:
        at_once.remove(x)
    return count


@Component
def at_least(x: int, least: int) -> int:
    with when(x < least):
        lifted = plus(least, 0)
    return either(lifted, x)


@Workflow
def three_ways(x: int = 4) -> Any:
    d = double(x)
    with when((x > 3) & is_in(d, [8, 10])):
        big = double(d)
    with elsewhen(~(d != 6) | (x == 1)):
        middle = double(double(x))
    with otherwise():
        small = plus(x, 100)
    return either(big, middle, small)


def three_ways_plain(x: int = 4) -> Any:
    d = by_hand(double, x)
    if x > 3 and d in [8, 10]:
        return by_hand(double, d)
    elif d == 6 or x == 1:
        return by_hand(double, by_hand(double, x))
    else:
        return by_hand(plus, x, 100)


@Workflow
def within(x: int = 4) -> Any:
    """A branch in a branch; what is called after it goes on with what came of it."""
    with when(x > 0):
        with when(x > 10):
            a = double(x)
        with otherwise():
            b = plus(x, 1)
        c = plus(either(a, b), x)
    joined = either(c, -1)
    return plus(joined, 5)


def within_plain(x: int = 4) -> Any:
    joined = -1
    if x > 0:
        inner = by_hand(double, x) if x > 10 else by_hand(plus, x, 1)
        joined = by_hand(plus, inner, x)
    return by_hand(plus, joined, 5)


@Workflow
def loops(n: int = 4) -> Any:
    """A loop in a loop, over lists that are known only when it runs; outputs of several kinds."""
    with each(count_to(n), parallelism=2) as i:
        doubled = double(i)
        with each(count_to(i)) as j:
            summed = plus(doubled, j)
        inner = collect(summed)
        row = total(inner)
    return collect(doubled), collect(row), total(collect(row)), collect(inner)


def loops_plain(n: int = 4) -> Any:
    doubled, rows, inner = [], [], []
    for i in by_hand(count_to, n):
        doubled.append(by_hand(double, i))
        inner.append([by_hand(plus, doubled[-1], j) for j in by_hand(count_to, i)])
        rows.append(by_hand(total, inner[-1]))
    return doubled, rows, by_hand(total, rows), inner


@Workflow
def mixed(n: int = 5, flag: bool = True, mode: str = "fast") -> Any:
    """Branches in a loop, a loop in a branch, components, class nodes and bodies that grow in both."""
    scale = Scale(plus(n, 1))
    with each([3, 1, 2]) as x:
        lifted = at_least(x, 2)
        with when(lifted == 2):
            grown = fib(lifted)
        with elsewhen(mode == "fast"):
            scaled = scale(lifted)
        with otherwise():
            same = plus(lifted, 0)
        value = either(grown, scaled, same)
    with when(flag):
        with each(collect(value)) as y:
            more = plus(y, n)
        whole = total(collect(more))
    return either(whole, None), collect(value)


def mixed_plain(n: int = 5, flag: bool = True, mode: str = "fast") -> Any:
    scale = Scale(by_hand(plus, n, 1))
    values = []
    for x in [3, 1, 2]:
        lifted = by_hand(plus, 2, 0) if x < 2 else x
        if lifted == 2:
            values.append(by_hand(fib, lifted))
        elif mode == "fast":
            values.append(by_hand(scale, lifted))
        else:
            values.append(by_hand(plus, lifted, 0))
    return by_hand(total, [by_hand(plus, y, n) for y in values]) if flag else None, values


@Workflow
def big(n: int = 200_000) -> Any:
    """Arrays that are handed into branches and loops, and out of them."""
    array = ones(n)
    with when(size(array) > 10):
        more = ones(n)
    chosen = either(more, array)
    with each([chosen, array]) as one:
        summed = size(one)
        shared = size(array)
    return collect(summed), collect(shared), size(chosen)


def big_plain(n: int = 200_000) -> Any:
    array = by_hand(ones, n)
    chosen = by_hand(ones, n) if by_hand(size, array) > 10 else array
    summed, shared = zip(*[(by_hand(size, one), by_hand(size, array)) for one in (chosen, array)], strict=True)
    return list(summed), list(shared), by_hand(size, chosen)


@Workflow
def outputs(n: int = 3) -> Any:
    """Nodes of several outputs in a branch, a branch that gives nothing, parts of values."""
    xs = count_to(n)
    with when(n):
        both = ends(xs)
        high = both.high
    with when(xs[0] == 0):
        double(n)
    return either(both.low, xs[0]), either(high, 7)


def outputs_plain(n: int = 3) -> Any:
    xs = by_hand(count_to, n)
    low, high = by_hand(ends, xs) if n else (xs[0], 7)
    if xs[0] == 0:
        by_hand(double, n)
    return low, high
