"""Rows: exit handlers, tasks that run always, workflows called in workflows."""

from __future__ import annotations

from typing import Any

from by_hand import by_hand
from control_flows import count_to, double, fail_at, plus

from grandpa_kfp import FailureInfo, Node, Workflow, collect, each, either, on_exit, when

from .loops import LOOP
from .rows import Refusal, Row

# ruff: noqa: RET504  (what a block gives is named there, and returned behind it, as users write it)

TOLD = {
    "kfp.local": Refusal(
        "Multiple values available for|Tried to get output 'ended'",
        "takes a joined output of two tasks that have both run for a fault, and gives none of a DAG that has failed",
    )
}


@Node
def clean(x: int) -> int:
    return x


@Node
def clean_badly(x: int) -> int:
    raise OSError(f"cannot clean {x}")


@Node
def clean_after(x: int, failure: FailureInfo | None) -> int:
    """Fails where it is told something else than what has happened: a failure of 2 and of nothing else."""
    told = "" if failure is None else failure.error
    if ("2 is bad" in told) != (x == 2):
        raise AssertionError(f"it was told {failure}")
    return x


@Workflow
def guarded(x: int = 3) -> Any:
    with on_exit(clean_after, x):
        safe = fail_at(x, 2)
        more = double(safe)
    return plus(more, 1)


def guarded_plain(x: int = 3) -> Any:
    try:
        more = by_hand(double, by_hand(fail_at, x, 2))
    except ValueError as error:
        by_hand(clean_after, x, FailureInfo("", "", "", "", str(error), {}, ()))
        raise
    by_hand(clean_after, x, None)
    return by_hand(plus, more, 1)


@Workflow
def guards_in_guards(x: int = 3) -> Any:
    with on_exit(clean, 1):
        with on_exit(clean, 2):
            safe = fail_at(x, 2)
        with when(safe > 0):
            more = double(safe)
        found = either(more, 0)
    return found


def guards_in_guards_plain(x: int = 3) -> Any:
    try:
        try:
            safe = by_hand(fail_at, x, 2)
        finally:
            by_hand(clean, 2)
        return by_hand(double, safe) if safe > 0 else 0
    finally:
        by_hand(clean, 1)


@Workflow
def guards_a_loop(bad: int = 1) -> Any:
    with on_exit(clean, bad):
        with each(count_to(3), parallelism=1) as x:
            safe = fail_at(x, bad)
        found = collect(safe)
    return found


def guards_a_loop_plain(bad: int = 1) -> Any:
    try:
        return [by_hand(fail_at, x, bad) for x in by_hand(count_to, 3)]
    finally:
        by_hand(clean, bad)


@Workflow
def broken_handler(x: int = 3) -> Any:
    with on_exit(clean_badly, x):
        more = double(x)
    return more


def broken_handler_plain(x: int = 3) -> Any:
    try:
        return by_hand(double, x)
    finally:
        by_hand(clean_badly, x)


@Workflow
def always(x: int = 3) -> Any:
    safe = fail_at(x, 2)
    kept = clean.options(always=True, after=safe)(x)
    return plus(safe, kept)


def always_plain(x: int = 3) -> Any:
    try:
        safe = by_hand(fail_at, x, 2)
    finally:
        kept = by_hand(clean, x)
    return by_hand(plus, safe, kept)


@Node
def farewell(failure: FailureInfo | None) -> str:
    return "well" if failure is None else failure.error


@Workflow(on_exit=farewell)
def on_exit_of_all(x: int = 3) -> Any:
    return double(fail_at(x, 2))


def on_exit_of_all_plain(x: int = 3) -> Any:
    try:
        return by_hand(double, by_hand(fail_at, x, 2))
    finally:
        by_hand(farewell, None)


@Workflow
def inner(a: int, b: int = 10) -> Any:
    with when(a > 2):
        big = double(a)
    return plus(either(big, a), b)


@Workflow
def nested(x: int = 3) -> Any:
    first = inner(x)
    with each([first, x]) as item:
        each_one = inner(item, b=1)
    return first, collect(each_one)


def inner_plain(a: int, b: int = 10) -> Any:
    return by_hand(plus, by_hand(double, a) if a > 2 else a, b)


def nested_plain(x: int = 3) -> Any:
    first = inner_plain(x)
    return first, [inner_plain(item, 1) for item in [first, x]]


ROWS = [
    Row("exit handler, all well", guarded, guarded_plain, {"x": 3}, "fail_at double clean_after plus",
        refused=TOLD),
    Row("exit handler, a failure", guarded, guarded_plain, {"x": 2}, "fail_at clean_after", "double plus",
        fails="2 is bad", refused=TOLD),
    Row("guards in guards", guards_in_guards, guards_in_guards_plain, {"x": 3}, "fail_at double clean*2"),
    Row("guards in guards, a failure", guards_in_guards, guards_in_guards_plain, {"x": 2}, "fail_at clean*2", "double",
        fails="2 is bad"),
    Row("guarded loop, a failure", guards_a_loop, guards_a_loop_plain, {"bad": 1}, "count_to fail_at*2 clean",
        fails="1 is bad", refused=LOOP),
    Row("exit handler that fails", broken_handler, broken_handler_plain, {}, "double clean_badly",
        fails="cannot clean 3"),
    Row("always, all well", always, always_plain, {"x": 3}, "fail_at clean plus"),
    Row("always, a failure", always, always_plain, {"x": 2}, "fail_at clean", "plus", fails="2 is bad"),
    Row("Workflow(on_exit=)", on_exit_of_all, on_exit_of_all_plain, {"x": 3}, "fail_at double farewell", refused=TOLD),
    Row("Workflow(on_exit=), a failure", on_exit_of_all, on_exit_of_all_plain, {"x": 2}, "fail_at farewell", "double",
        fails="2 is bad", refused=TOLD),
    Row("workflow in a workflow, in a loop", nested, nested_plain, {"x": 2}, "plus*3 double", "double*2",
        refused=LOOP),
]  # fmt: skip
