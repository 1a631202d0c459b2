"""Workflows with exit handlers, importable, so that worker processes run them too; what runs is told in a file."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from grandpa_kfp import (
    Component,
    FailureInfo,
    GeneratorNode,
    Node,
    Static,
    Workflow,
    collect,
    each,
    either,
    on_exit,
    otherwise,
    when,
)


def tell(log: str, line: str) -> None:
    with Path(log).open("a", encoding="utf-8") as file:
        file.write(line + "\n")


@Node
def work(x: int, bad: int = -1) -> int:
    if x == bad:
        raise ValueError(f"{x} is bad")
    return x


@Node
def clean(log: str, name: Any, failure: FailureInfo | None) -> None:
    tell(log, f"{name}: {'well' if failure is None else failure.task + ' ' + failure.error}")


@Node
def clean_badly(log: str) -> None:
    tell(log, "tried")
    raise OSError("no way to clean")


@Node(retries=1, backoff_s=0.01)
def clean_at_second_try(log: str) -> None:
    tell(log, "try")
    if Path(log).read_text("utf-8").count("try") == 1:
        raise OSError("not yet")


@Node(timeout_s=0.2)
def clean_for_ever(log: str) -> None:
    tell(log, "begun")
    while True:
        sum(range(100))


@Node
def doze(log: str) -> None:
    tell(log, "begun")
    time.sleep(120)


@Node
def gather(log: str, first: int = -1, *, second: int = -2, third: list[int] = [-3]) -> str:  # noqa: B006
    tell(log, f"{first} {second} {third}")
    return "gathered"


@GeneratorNode
def count(n: int, bad: int):
    for x in range(n):
        if x == bad:
            raise ValueError(f"{x} is bad")
        yield x


@Node
def total(xs: list[int]) -> int:
    return sum(xs)


@Workflow
def guarded(log: Static[str], x: int = 1):
    made = work(x)
    with on_exit(clean, log, made):
        inside = work(made, 2)
    return work(inside)


@Workflow
def before(log: Static[str], x: int = 2):
    made = work(x, 2)
    with on_exit(clean, log, made):
        inside = work(1)
    return work(inside)


@Workflow
def rounds(log: Static[str]):
    with each([1, 2, 3]) as x, on_exit(clean, log, x):
        found = work(x, 2)
    return collect(found)


@Component
def part(log: str, x: int) -> int:
    with on_exit(clean, log, "part"):
        with when(x > 1):
            big = work(x, 2)
        with otherwise():
            small = work(x)
        return either(big, small)


@Workflow
def branch_in_part(log: Static[str], x: int = 1):
    return part(log, x)


@Workflow
def generated(log: Static[str], bad: int = -1):
    with on_exit(clean, log, "stream"):
        return total(count(3, bad))


@Workflow(on_exit=clean_badly)
def broken(log: str, x: int = 1):
    return work(x, 2)


@Workflow
def nested_exits(log: Static[str], x: int = 2):
    with on_exit(clean, log, "outer"):
        with on_exit(clean, log, "inner"):
            found = work(x, 2)
        return work(found)


@Workflow
def trying(log: Static[str]):
    with on_exit(clean_at_second_try, log):
        work(1, 1)


@Workflow
def expiring(log: Static[str]):
    with on_exit(clean_for_ever, log):
        work(1)


@Workflow
def dozing(log: Static[str]):
    with on_exit(clean, log, "dozed"):
        doze(log)


@Workflow
def missing(log: Static[str], bad: int = 2):
    first = work(1)
    second = work.options(after=first)(2, bad)
    third = work(second)
    return gather.options(always=True)(log, first, second=second, third=[first, third])


@Workflow(on_exit=clean_badly, defaults={"retries": 0})
def inner(log: str, x: int):
    return {"one": work(x), "two": [work(x)]}


@Workflow
def outer(log: str, x: int = 1):
    made = inner(log, work(x, 2))
    return work(made["one"])


def told(log: Path) -> list[str]:
    return log.read_text("utf-8").splitlines() if log.exists() else []


@Node
def spin(log: str, begun: int) -> None:
    tell(log, "spinning")
    while True:
        sum(range(100))


@Node
def fail_once_it_spins(log: str) -> None:
    while "spinning" not in told(Path(log)):
        time.sleep(0.01)
    raise ValueError("enough")


@Workflow
def beside(log: Static[str]):
    """Something goes on for ever beside the block."""
    spin(log, 1)
    with on_exit(clean, log, "block"):
        fail_once_it_spins(log)


@Node
def clean_slowly(log: str) -> None:
    time.sleep(0.3)
    tell(log, "slowly")


@Workflow
def two_handlers(log: Static[str]):
    """One of them takes longer than the other."""
    bad = work(1, 1)
    with on_exit(clean_slowly, log):
        work.options(after=bad)(2)
    clean_slowly.options(always=True, after=bad)(log)
    gather.options(always=True, after=bad)(log)
