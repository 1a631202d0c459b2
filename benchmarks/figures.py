"""What engine.py shows: how each figure reads, and what is wanted of ours."""

from __future__ import annotations

from dataclasses import dataclass

Place = tuple[str, str]
"""A figure, and whose it is."""


@dataclass(frozen=True, slots=True)
class Figure:
    """Seconds times `scale` are so many `unit`."""

    title: str
    scale: float
    unit: str


@dataclass(frozen=True, slots=True)
class Target:
    """The median of a figure, `less` another or `over` another, is to be `at_most` so much in the figure's unit.

    limit: the figure that physics or the system sets.
    """

    what: str
    place: Place
    wanted: str
    at_most: float
    less: Place | None = None
    over: Place | None = None
    limit: Place | None = None


FIGURES = {
    "independent, processes": Figure("1,000 independent tasks, 2 worker processes", 1e3, "us a task"),
    "independent, with tracing, processes": Figure("the same, tracing included", 1e3, "us a task"),
    "chain, processes": Figure("chain of 1,000 tasks, 2 worker processes", 1e3, "us a task"),
    "independent, threads": Figure("1,000 independent tasks, 2 threads", 1e3, "us a task"),
    "independent, with tracing, threads": Figure("the same, tracing included", 1e3, "us a task"),
    "chain, threads": Figure("chain of 1,000 tasks, 2 threads", 1e3, "us a task"),
    "map, processes": Figure("map over 10,000 items, 2 worker processes", 1e2, "us an item"),
    "map, in chunks of 100, processes": Figure("the same in chunks of 100", 1e2, "us an item"),
    "map, threads": Figure("map over 10,000 items, 2 threads", 1e2, "us an item"),
    "array, first": Figure("100 MiB to another process, the first time", 1e3, "ms"),
    "array, again": Figure("100 MiB to another process, after that", 1e3, "ms"),
    "array, same worker": Figure("100 MiB, the consumer on its producer's worker", 1e3, "ms"),
    "A..G": Figure("A..G, seven nodes of 1 s", 1, "s"),
    "A..G, executions": Figure("A..G, executions", 1, "a run"),
    "ladder": Figure("ladder of 30, x = add(x, x)", 1e3, "ms"),
    "ladder, executions": Figure("ladder of 30, executions", 1, "a run"),
    "chain of 2,000": Figure("chain of 2,000", 1e3, "ms"),
    "recursion": Figure("recursion 2,000 deep", 1e3, "ms"),
    "fib(20)": Figure("fib(20) by recursion, 32,836 tasks", 1e3, "ms"),
    "container task": Figure("one task by its container's command", 1e3, "ms"),
    "help": Figure("help of the command line", 1e3, "ms"),
    "import": Figure("import", 1e3, "ms"),
    "recompile": Figure("one node of 100 tasks edited, compiled again", 1e3, "ms"),
}

_PIPE = "limit: pipe round trip"
_PYTHON = "limit: python -c pass"


def _on_both(what: str, figure: str, wanted: str, at_most: float, limit: Place | None = None) -> list[Target]:
    return [
        Target(f"{what}, {where}", (figure, f"ours, {where}"), wanted, at_most, limit=limit)
        for where in ("threads", "processes")
    ]


TARGETS = [
    *_on_both("A..G, s", "A..G", "at most 4.12", 4.12, ("A..G", "limit: critical path")),
    *_on_both("A..G, executions", "A..G, executions", "7", 7.0),
    Target(
        "1,000 independent tasks on 2 worker processes, us a task", ("independent, processes", "ours"), "at most 40",
        40, limit=("independent, processes", _PIPE),
    ),
    Target("the same on threads, not recorded", ("independent, threads", "ours"), "at most 15", 15),
    Target("the same on threads, recorded", ("independent, threads", "ours, recorded"), "at most 30", 30),
    Target(
        "chain of 1,000 tasks in worker processes, us a task", ("chain, processes", "ours"), "at most 30",
        30, limit=("chain, processes", _PIPE),
    ),
    Target(
        "100 MiB to another process the first time, times a fresh copy", ("array, first", "ours"), "at most 1.1",
        1.1, over=("array, first", "limit: fresh copy"),
    ),
    Target(
        "100 MiB to another process after that, times a warm copy", ("array, again", "ours"), "at most 1.5",
        1.5, over=("array, again", "limit: warm copy"),
    ),
    Target("100 MiB to a consumer on the same worker, ms", ("array, same worker", "ours"), "about 0", 2),
    *_on_both("ladder of 30, ms", "ladder", "under 100", 100),
    *_on_both("ladder of 30, executions", "ladder, executions", "30", 30),
    *_on_both("chain of 2,000, ms", "chain of 2,000", "works", float("inf")),
    *_on_both("recursion 2,000 deep, ms", "recursion", "works", float("inf")),
    Target(
        "one task in a container, ms beyond Python's own start", ("container task", "ours"), "at most 250",
        250, less=("container task", _PYTHON), limit=("container task", _PYTHON),
    ),
    Target("grandpa --help, ms", ("help", "ours"), "at most 150", 150, limit=("help", _PYTHON)),
    Target(
        "import grandpa_kfp, ms beyond Python's own start", ("import", "ours"), "at most 60",
        60, less=("import", _PYTHON), limit=("import", _PYTHON),
    ),
    Target("one node edited, compiled again, ms", ("recompile", "ours"), "under 500", 500),
]  # fmt: skip
