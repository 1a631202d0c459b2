"""Graphs of all shapes: A..G with its sleeps, a ladder, long chains, deep recursion, a graph that grows wide."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from timing import Found, ours, repeat

DEPTH = 2000
FIB_20 = 6765
ENGINES: dict[str, dict[str, Any]] = {
    "threads": {"threads_per_process": 4},
    "processes": {"process_count": 2, "threads_per_process": 2},
}


def a_to_g_on_threads(times: int) -> Found:
    return _a_to_g("threads", times)


def a_to_g_in_processes(times: int) -> Found:
    return _a_to_g("processes", times)


def _a_to_g(where: str, times: int) -> Found:
    import flows

    with ours(**ENGINES[where]) as parser:
        _counted(lambda file: parser(flows.a_to_g, executions=file, seconds=0.05))  # its workers are up after this
        found, runs = _counted(lambda file: repeat(lambda: parser(flows.a_to_g, executions=file), times, warm=False))
    who = f"ours, {where}"
    return {"A..G": {who: found}, "A..G, executions": {who: [runs / len(found)]}}


def a_to_g_dask(times: int) -> Found:
    """The same seven seconds as dask's threads run them, from values that are passed along."""
    import dask

    def second(*needs: int) -> int:
        time.sleep(1.0)
        return 1

    step = dask.delayed(second, pure=False)
    a = step()
    b, c, d = step(a), step(a), step(a)
    last = step(step(b), c, step(c, d))
    work = lambda: dask.compute(last, scheduler="threads", num_workers=4)  # noqa: E731
    return {"A..G": {"dask, threads": repeat(work, times, warm=False), "limit: critical path": [4.0]}}


def ladder_on_threads(times: int) -> Found:
    return _ladder("threads", times)


def ladder_in_processes(times: int) -> Found:
    return _ladder("processes", times)


def _ladder(where: str, times: int) -> Found:
    import flows

    who = f"ours, {where}"
    with ours(**ENGINES[where]) as parser:
        assert parser(flows.ladder) == 2**30
        found = repeat(lambda: parser(flows.ladder), times, warm=False)
        _, runs = _counted(lambda file: parser(flows.counted_ladder, executions=file))
    return {"ladder": {who: found}, "ladder, executions": {who: [float(runs)]}}


def _counted(work: Callable[[str], Any]) -> tuple[Any, int]:
    """What the work returns, and how often nodes ran in it, as they themselves say."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "executions"
        return work(str(file)), file.stat().st_size


def deep_on_threads(times: int) -> Found:
    return _deep("threads", times)


def deep_in_processes(times: int) -> Found:
    return _deep("processes", times)


def _deep(where: str, times: int) -> Found:
    import flows

    who = f"ours, {where}"
    with ours(**ENGINES[where]) as parser:
        assert parser(flows.countdown, n=DEPTH, passed=0) == DEPTH
        assert parser(flows.chain, tasks=DEPTH) == DEPTH
        return {
            "chain of 2,000": {who: repeat(lambda: parser(flows.chain, tasks=DEPTH), times, warm=False)},
            "recursion": {who: repeat(lambda: parser(flows.countdown, n=DEPTH, passed=0), times, warm=False)},
        }


def fib_on_threads(times: int) -> Found:
    return _fib("threads", times)


def fib_in_processes(times: int) -> Found:
    return _fib("processes", times)


def _fib(where: str, times: int) -> Found:
    import flows

    with ours(**ENGINES[where]) as parser:
        found = repeat(lambda: _same(parser(flows.fib, n=20), FIB_20), times, warm=False)
    return {"fib(20)": {f"ours, {where}": found}}


def _same(value: int, expected: int) -> None:
    assert value == expected, f"{value} instead of {expected}"


PARTS: dict[str, Callable[[int], Found]] = {
    "ours, A..G, threads": a_to_g_on_threads,
    "ours, A..G, processes": a_to_g_in_processes,
    "dask, A..G, threads": a_to_g_dask,
    "ours, ladder, threads": ladder_on_threads,
    "ours, ladder, processes": ladder_in_processes,
    "ours, depth of 2,000, threads": deep_on_threads,
    "ours, depth of 2,000, processes": deep_in_processes,
    "ours, fib(20), threads": fib_on_threads,
    "ours, fib(20), processes": fib_in_processes,
}
