"""Rows: loops, and branches with them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import control_flows as flows
from by_hand import by_hand
from control_flows import at_least, count_to, double, plus, total

from grandpa_kfp import Component, Node, Workflow, collect, each, either, otherwise, when

from .rows import Refusal, Row

LOOP = {
    "kfp.local": Refusal(
        "Parent pipeline input argument 'items' not found",
        "finds the list that a loop goes over only where its input has the name that the SDK would give it",
    )
}


@Workflow
def over_constant() -> Any:
    with each([5, 7, 9]) as x:
        doubled = double(x)
    return collect(doubled)


def over_constant_plain() -> Any:
    return [by_hand(double, x) for x in [5, 7, 9]]


@Workflow
def over_parameter(xs: list[float], parallelism: int = 2) -> Any:
    with each(xs, parallelism=2) as x:
        more = plus(x, parallelism)
    return collect(more)


def over_parameter_plain(xs: list[float], parallelism: int = 2) -> Any:
    return [by_hand(plus, x, parallelism) for x in xs]


@Node
def people() -> list[dict[str, Any]]:
    return [{"name": "Ada", "age": 36}, {"name": "Grace", "age": 85}]


@Node
def greet(name: str, age: int) -> str:
    return f"{name}, {age}"


@Workflow
def over_parts() -> Any:
    with each(people()) as person:
        greeted = greet(person["name"], person["age"])
    return collect(greeted)


def over_parts_plain() -> Any:
    return [by_hand(greet, person["name"], person["age"]) for person in by_hand(people)]


@Workflow
def one_after_the_other(n: int = 3) -> Any:
    """The second goes over what the first collected."""
    with each(count_to(n)) as x:
        doubled = double(x)
    with each(collect(doubled)) as y:
        more = plus(y, n)
    return total(collect(more))


def one_after_the_other_plain(n: int = 3) -> Any:
    doubled = [by_hand(double, x) for x in by_hand(count_to, n)]
    return by_hand(total, [by_hand(plus, y, n) for y in doubled])


@Workflow
def branches_in_a_loop(n: int = 3) -> Any:
    with each(count_to(n)) as x:
        with when(x == 1):
            one = double(x)
        with otherwise():
            other = plus(x, n)
        value = either(one, other)
    return collect(value)


def branches_in_a_loop_plain(n: int = 3) -> Any:
    return [by_hand(double, x) if x == 1 else by_hand(plus, x, n) for x in by_hand(count_to, n)]


@Component
def summed(xs: list[int], start: int) -> int:
    with each(xs) as x:
        lifted = at_least(x, start)
    return total(collect(lifted))


@Workflow
def loop_in_a_component(n: int = 3) -> Any:
    with when(n > 0):
        first = summed(count_to(n), 1)
    return either(first, -1)


def loop_in_a_component_plain(n: int = 3) -> Any:
    if n <= 0:
        return -1
    return by_hand(total, [by_hand(plus, 1, 0) if x < 1 else x for x in by_hand(count_to, n)])


@Workflow
def constants_alone(n: int = 2) -> Any:
    """What is collected is the item itself, and a value from outside."""
    with each(count_to(n)) as x:
        double(x)
    return collect(x), n


def constants_alone_plain(n: int = 2) -> Any:
    items = by_hand(count_to, n)
    for x in items:
        by_hand(double, x)
    return items, n


_GO_ROUND = [
    Row("loop over a constant", over_constant, over_constant_plain, {}, "double*3"),
    Row("loop over a parameter", over_parameter, over_parameter_plain, {"xs": [1.5, 2.0]}, "plus*2"),
    Row("loop over one element", over_parameter, over_parameter_plain, {"xs": [2.5]}, "plus"),
    Row("loop over dicts, by their parts", over_parts, over_parts_plain, {}, "people greet*2"),
    Row("loop over what a loop gave", one_after_the_other, one_after_the_other_plain, {},
        "count_to double*3 plus*3 total"),
    Row("collected items themselves", constants_alone, constants_alone_plain, {}, "count_to double*2"),
    Row("loop in a loop", flows.loops, flows.loops_plain, {"n": 3}, "count_to*4 double*3 plus*3 total*4"),
    Row("loop in a loop, no inner round", flows.loops, flows.loops_plain, {"n": 1}, "count_to*2 double total*2"),
    Row("branch in a loop", branches_in_a_loop, branches_in_a_loop_plain, {}, "count_to double plus*2",
        "double*2 plus"),
    Row("loop of a component in a branch", loop_in_a_component, loop_in_a_component_plain, {}, "count_to plus total",
        "plus*2"),
    Row("branches, loops, components, class", flows.mixed, flows.mixed_plain, {}, "plus*5 fib*2 Scale total",
        "plus*5 fib Scale*2"),
    Row("the same, others taken", flows.mixed, flows.mixed_plain, {"flag": False, "mode": "slow"},
        "plus*3 fib*2", "plus*4 fib Scale*3 total"),
    Row("arrays as items and results", flows.big, flows.big_plain, {}, "ones*2 size*6"),
    Row("arrays, branch not taken", flows.big, flows.big_plain, {"n": 5}, "ones size*6", "ones"),
]  # fmt: skip

ROWS = [
    *[replace(row, refused=LOOP) for row in _GO_ROUND],
    Row("loop over an empty parameter", over_parameter, over_parameter_plain, {"xs": []}),
    Row("loop in a loop, no round", flows.loops, flows.loops_plain, {"n": 0}, "count_to total"),
    Row("loop in a branch not taken", loop_in_a_component, loop_in_a_component_plain, {"n": 0}, "", "count_to total"),
]
