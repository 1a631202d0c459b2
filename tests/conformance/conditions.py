"""Rows: conditions and branches."""

from __future__ import annotations

from typing import Any

import control_flows as flows
from by_hand import by_hand
from control_flows import double, plus

from grandpa_kfp import Component, Node, Workflow, either, is_in, otherwise, when

from .rows import Row


@Workflow
def operators(x: int = 3) -> Any:
    with when(x == 3):
        a = double(1)
    with when(x != 3):
        b = double(2)
    with when(x < 4):
        c = double(3)
    with when(x <= 3):
        d = double(4)
    with when(x > 3):
        e = double(5)
    with when(x >= 4):
        f = double(6)
    return [either(a, 0), either(b, 0), either(c, 0), either(d, 0), either(e, 0), either(f, 0)]


def operators_plain(x: int = 3) -> Any:
    holds = [x == 3, x != 3, x < 4, x <= 3, x > 3, x >= 4]
    return [by_hand(double, number) if true else 0 for number, true in enumerate(holds, 1)]


@Workflow
def joined(x: int = 3, y: int = 4) -> Any:
    with when((x > 1) & (y > 1) & ~is_in(x, [7, 8])):
        a = double(x)
    with when((x > 10) | (y == 4) | is_in(y, [1, 2])):
        b = double(y)
    with when(~((x == 3) | (y == 4))):
        c = plus(x, y)
    with when(double(x) >= y):
        d = plus(y, x)
    return [either(a, 0), either(b, 0), either(c, 0), either(d, 0)]


def joined_plain(x: int = 3, y: int = 4) -> Any:
    return [
        by_hand(double, x) if x > 1 and y > 1 and x not in [7, 8] else 0,
        by_hand(double, y) if x > 10 or y == 4 or y in [1, 2] else 0,
        by_hand(plus, x, y) if not (x == 3 or y == 4) else 0,
        by_hand(plus, y, x) if by_hand(double, x) >= y else 0,
    ]


ODD = 'it\'s {{x}} \\ "q" $$(y)'


@Workflow
def of_parameters(flag: bool = True, rate: float = 0.5, name: str = "fast", mode: str = ODD) -> Any:
    with when(flag):
        a = double(1)
    with when(rate > 0.25):
        b = double(2)
    with when(name):
        c = double(3)
    with when(mode == ODD):
        d = double(4)
    return [either(a, 0), either(b, 0), either(c, 0), either(d, 0)]


def of_parameters_plain(flag: bool = True, rate: float = 0.5, name: str = "fast", mode: str = ODD) -> Any:
    return [by_hand(double, number) if true else 0 for number, true in enumerate([flag, rate, name, mode == ODD], 1)]


@Node
def given(kind: str) -> Any:
    return {"number": 0.5, "zero": 0, "text": "", "bool": True, "nothing": None}[kind]


@Workflow
def of_values(kind: str) -> Any:
    """What a node gives: a bool, a number, a text, nothing."""
    value = given(kind)
    with when(value):
        a = double(1)
    with otherwise():
        b = double(2)
    return either(a, b), value


def of_values_plain(kind: str) -> Any:
    value = by_hand(given, kind)
    return by_hand(double, 1) if value else by_hand(double, 2), value


@Workflow
def deep(x: int = 7) -> Any:
    with when(x > 1), when(x > 3), when(x > 5):
        inner = double(x)
        with when(inner > 100):
            far = plus(inner, 1)
        with otherwise():
            near = plus(inner, 2)
    return either(far, near, -1)


def deep_plain(x: int = 7) -> Any:
    if not (x > 1 and x > 3 and x > 5):
        return -1
    inner = by_hand(double, x)
    return by_hand(plus, inner, 1 if inner > 100 else 2)


@Component
def capped(x: int, most: int) -> int:
    with when(x > most):
        low = plus(most, 0)
    with otherwise():
        kept = plus(x, 0)
    return either(low, kept)


@Workflow
def in_components(x: int = 4) -> Any:
    """Twice the same component, the second decided by what the first gave."""
    first = capped(x, 3)
    with when(first == 3):
        second = capped(double(first), 10)
    return either(second, first)


def in_components_plain(x: int = 4) -> Any:
    first = by_hand(plus, min(x, 3), 0)
    return by_hand(plus, min(by_hand(double, first), 10), 0) if first == 3 else first


ROWS = [
    Row("every operator", operators, operators_plain, {"x": 3}, "double*3", "double*3"),
    Row("every operator, others hold", operators, operators_plain, {"x": 4}, "double*3", "double*3"),
    Row("&, |, ~, is_in", joined, joined_plain, {"x": 3, "y": 4}, "double*3 plus", "plus"),
    Row("&, |, ~, is_in, others hold", joined, joined_plain, {"x": 7, "y": 3}, "double plus*2", "double*2"),
    Row("bool, number, text parameters", of_parameters, of_parameters_plain, {}, "double*4"),
    Row(
        "the same, false, zero and empty",
        of_parameters,
        of_parameters_plain,
        {"flag": False, "rate": -0.0, "name": ""},
        "double",
        "double*3",
    ),
    *(
        Row(f"truth of a {kind}", of_values, of_values_plain, {"kind": kind}, "given double", "double")
        for kind in ("number", "zero", "text", "bool")
    ),
    Row("chain, first arm", flows.three_ways, flows.three_ways_plain, {"x": 4}, "double*2", "double*2 plus"),
    Row("chain, second arm", flows.three_ways, flows.three_ways_plain, {"x": 3}, "double*3", "double plus"),
    Row(
        "chain, second by the other test", flows.three_ways, flows.three_ways_plain, {"x": 1}, "double*3", "double plus"
    ),
    Row("chain, otherwise", flows.three_ways, flows.three_ways_plain, {"x": 0}, "double plus", "double*3"),
    Row("branch in a branch", flows.within, flows.within_plain, {"x": 20}, "double plus*2", "plus"),
    Row("branch in a branch, its other arm", flows.within, flows.within_plain, {"x": 4}, "plus*3", "double"),
    Row("branch in a branch, neither", flows.within, flows.within_plain, {"x": -4}, "plus", "double plus*2"),
    Row("four branches deep", deep, deep_plain, {"x": 7}, "double plus", "plus"),
    Row("four branches deep, none taken", deep, deep_plain, {"x": 4}, "", "double plus*2"),
    Row("branch in a component", in_components, in_components_plain, {"x": 4}, "plus*2 double", "plus*2"),
    Row("component in a branch not taken", in_components, in_components_plain, {"x": 1}, "plus", "plus*3 double"),
    Row("several outputs, no value", flows.outputs, flows.outputs_plain, {}, "count_to ends double"),
]
