"""100 MiB from a task in one process to a task in another, from the end of one body to the start of the next.

The producer writes into the array when it was finished, and where; the consumer reads that and nothing else, so that
neither making nor using the array counts. "first" is the first array that the process moves, after its workers are
up and have imported NumPy; "again" those that follow. The limits are copies of such an array into shared memory.
"""

from __future__ import annotations

import mmap
import os
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

from bodies import ARRAY_BYTES, consume, produce, use_numpy
from timing import Found, ours
from tiny_tasks import WORKERS, start_ray

Waits = list[tuple[float, bool]]
"""What consumers returned: seconds waited, and whether they ran in another process than the producer."""


def _split(who: str, waits: Iterable[tuple[float, bool]]) -> Found:
    there = [seconds for seconds, other in waits if other]
    assert there, f"{who}: no consumer ran in another process"
    return {"array, first": {who: there[:1]}, "array, again": {who: there[1:]}}


def ours_to_another(times: int) -> Found:
    import flows

    with ours(process_count=WORKERS, threads_per_process=1) as parser:
        _up(parser)
        return _split("ours", [wait for _ in range(times + 1) for wait in parser(flows.array_to_two)])


def _up(parser: Any) -> None:
    """Both workers are there and have imported NumPy, by the same nodes with an array that goes in a message."""
    import flows

    while not any(other for _, other in parser(flows.array_to_two, size_bytes=64)):
        continue


def ours_on_the_same(times: int) -> Found:
    import flows

    with ours(process_count=WORKERS, threads_per_process=1) as parser:
        _up(parser)
        waits = [parser(flows.array_to_one) for _ in range(times + 1)]
    here = [seconds for seconds, other in waits if not other]
    assert here, "no consumer followed its producer"
    return {"array, same worker": {"ours": here}}


def process_pool(times: int) -> Found:
    with ProcessPoolExecutor(WORKERS, get_context("fork")) as pool:
        return _pool("ProcessPool, fork", pool, times)


def loky(times: int) -> Found:
    from loky import get_reusable_executor

    with get_reusable_executor(WORKERS) as pool:
        return _pool("loky", pool, times)


def _pool(who: str, pool: Executor, times: int) -> Found:
    """Through the parent, whichever worker consumes: another one is as far away as the same."""
    list(pool.map(use_numpy, range(WORKERS)))
    waits = []
    for _ in range(times + 1):
        made = pool.submit(produce).result()
        seconds, _ = pool.submit(consume, made).result()
        waits.append((seconds, True))
    return _split(who, waits)


def dask_processes(times: int) -> Found:
    import dask

    with ProcessPoolExecutor(WORKERS, get_context("spawn")) as pool:
        list(pool.map(use_numpy, range(WORKERS)))
        waits: Waits = []
        for _ in range(times + 1):
            made = dask.delayed(produce, pure=False)()
            both = [dask.delayed(consume, pure=False)(made) for _ in range(2)]
            waits += dask.compute(*both, scheduler="processes", pool=pool)
    return _split("dask", waits)


def distributed(times: int) -> Found:
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=WORKERS, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        one, other = sorted(client.scheduler_info()["workers"])
        client.gather([client.submit(use_numpy, workers=[worker], pure=False) for worker in (one, other)])
        there: Waits = []
        here: list[float] = []
        for _ in range(times + 1):
            made = client.submit(produce, workers=[one], pure=False)
            there.append(client.submit(consume, made, workers=[other], pure=False).result())
            follows = client.submit(produce, workers=[one], pure=False)
            here.append(client.submit(consume, follows, workers=[one], pure=False).result()[0])
    return {**_split("distributed", there), "array, same worker": {"distributed": here}}


def ray(times: int) -> Found:
    import ray

    start_ray()
    make, take, warm = ray.remote(produce), ray.remote(consume), ray.remote(use_numpy)
    ray.get([warm.remote(number) for number in range(WORKERS)])
    waits: Waits = []
    for _ in range(times + 1):
        made = make.remote()
        waits += ray.get([take.remote(made), take.remote(made)])
        del made
    ray.shutdown()
    return _split("Ray", waits)


def copies(times: int) -> Found:
    """An array copied into memory that other processes could map, each way by what is fastest there: into new pages the
    kernel copies with `pwrite`, into pages that are mapped already the process itself."""
    import numpy

    array = numpy.ones(ARRAY_BYTES // 8)
    fresh, warm = [], []
    for _ in range(times + 1):
        with tempfile.TemporaryFile(dir="/dev/shm") as file:
            file.truncate(ARRAY_BYTES)
            begun = time.perf_counter()
            written = os.pwrite(file.fileno(), array, 0)
            fresh.append(time.perf_counter() - begun)
            assert written == ARRAY_BYTES
            shared = numpy.frombuffer(mmap.mmap(file.fileno(), ARRAY_BYTES))
            numpy.copyto(shared, array)
            begun = time.perf_counter()
            numpy.copyto(shared, array)
            warm.append(time.perf_counter() - begun)
            del shared
    return {
        "array, first": {"limit: fresh copy": fresh},
        "array, again": {"limit: warm copy": warm, "limit: fresh copy": fresh},
    }


PARTS: dict[str, Callable[[int], Found]] = {
    "ours, array to another process": ours_to_another,
    "ours, array on the same worker": ours_on_the_same,
    "ProcessPool, fork": process_pool,
    "loky": loky,
    "dask, processes": dask_processes,
    "distributed": distributed,
    "Ray": ray,
    "copies": copies,
}
