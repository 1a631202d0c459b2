"""Rows: components that are one container, whatever they hold."""

from __future__ import annotations

from typing import Any

from by_hand import by_hand
from control_flows import count_to, double, fail_at, plus, total

from grandpa_kfp import Component, Workflow, collect, each, either, when

from .loops import LOOP
from .rows import Row


@Component(fuse=True)
def summed(n: int, most: int) -> int:
    """A loop, a branch in it, and what joins them."""
    with each(count_to(n)) as x:
        with when(x > most):
            low = plus(most, 0)
        value = either(low, x)
    return total(collect(value))


@Workflow
def fused(n: int = 4) -> Any:
    first = summed(double(n), n)
    with each([first, n]) as item:
        each_one = summed(n, item)
    return first, collect(each_one)


def summed_plain(n: int, most: int) -> int:
    return int(by_hand(total, [by_hand(plus, most, 0) if x > most else x for x in by_hand(count_to, n)]))


def fused_plain(n: int = 4) -> Any:
    first = summed_plain(by_hand(double, n), n)
    return first, [summed_plain(n, item) for item in [first, n]]


@Component(fuse=True)
def risky(x: int) -> int:
    return double(fail_at(plus(x, 0), 2))


@Workflow
def fails_inside(x: int = 2) -> Any:
    return plus(risky(x), 1)


def fails_inside_plain(x: int = 2) -> Any:
    return by_hand(plus, by_hand(double, by_hand(fail_at, by_hand(plus, x, 0), 2)), 1)


ROWS = [
    Row("fused loop and branch, in a loop", fused, fused_plain, {"n": 2}, "double count_to*3 plus total*3", "plus*7",
        refused=LOOP),
    Row("fused component, all well", fails_inside, fails_inside_plain, {"x": 3}, "plus*2 fail_at double"),
    Row("fused component, a failure in it", fails_inside, fails_inside_plain, {"x": 2}, "plus fail_at", "double plus",
        fails="2 is bad"),
]  # fmt: skip
