"""Tiny tasks: 1,000 independent ones, a chain of 1,000, a map over 10,000; on two worker processes, or two threads.

Each part is one who is measured; pools are warm. Ours runs graphs that were traced before, as dask's are built
before; the figures "with tracing" run the workflow itself. The limit is a round trip through bare pipes.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from typing import Any

from bodies import inc
from timing import Found, ours, repeat

TASKS = 1000
ITEMS = 10_000
WORKERS = 2
EXPECTED = list(range(1, TASKS + 1))
MAPPED = list(range(1, ITEMS + 1))

Works = dict[str, Callable[[], object]]
"""What to repeat, by figure; each returns the values, which are looked at once."""


def _times(where: str, who: str, times: int, works: Works) -> Found:
    wanted = {"independent": EXPECTED, "chain": TASKS, "map": MAPPED}
    for name, work in works.items():
        found, expected = work(), wanted[name.partition(",")[0]]
        assert found == expected, f"{who}, {name}: other values"
    return {f"{name}, {where}": {who: repeat(work, times, warm=False)} for name, work in works.items()}


# --- ours ----------------------------------------------------------------------------------------


def ours_in_processes(times: int) -> Found:
    return _ours("processes", "ours", times, process_count=WORKERS, threads_per_process=1)


def ours_on_threads(times: int) -> Found:
    return _ours("threads", "ours", times, threads_per_process=WORKERS)


def ours_recorded(times: int) -> Found:
    with tempfile.TemporaryDirectory() as folder:
        # every task runs, and its result is kept for later runs, as it is by default
        options = {"threads_per_process": WORKERS, "record": True, "root": folder, "force": ["*"]}
        return _ours("threads", "ours, recorded", times, **options)


def _ours(where: str, who: str, times: int, **options: Any) -> Found:
    import flows

    from grandpa_kfp import trace

    graphs = {name: trace(getattr(flows, name), {"tasks": TASKS}) for name in ("independent", "chain")}
    with ours(**options) as parser:
        works: Works = {
            "independent": lambda: parser(graphs["independent"]),
            "chain": lambda: parser(graphs["chain"]),
            "independent, with tracing": lambda: parser(flows.independent, tasks=TASKS),
        }
        return _times(where, who, times, works)


def ours_map_in_processes(times: int) -> Found:
    return _ours_map("processes", times, process_count=WORKERS, threads_per_process=1)


def ours_map_on_threads(times: int) -> Found:
    return _ours_map("threads", times, threads_per_process=WORKERS)


def _ours_map(where: str, times: int, **options: Any) -> Found:
    import flows

    with ours(**options) as parser:
        return _times(where, "ours", times, {"map": lambda: list(parser(flows.mapped, items=list(range(ITEMS))))})


# --- peers ---------------------------------------------------------------------------------------


def thread_pool(times: int) -> Found:
    with ThreadPoolExecutor(WORKERS) as pool:
        return _pool("threads", "ThreadPool", times, pool)


def our_executor(times: int) -> Found:
    from grandpa_kfp import Executor as OurExecutor

    with OurExecutor(processes=WORKERS) as pool:
        return _pool("processes", "our Executor", times, pool)


def process_pool_fork(times: int) -> Found:
    with ProcessPoolExecutor(WORKERS, get_context("fork")) as pool:
        return _pool("processes", "ProcessPool, fork", times, pool)


def process_pool_spawn(times: int) -> Found:
    with ProcessPoolExecutor(WORKERS, get_context("spawn")) as pool:
        return _pool("processes", "ProcessPool, spawn", times, pool)


def loky(times: int) -> Found:
    from loky import get_reusable_executor

    with get_reusable_executor(WORKERS) as pool:
        return _pool("processes", "loky", times, pool)


def _pool(where: str, who: str, times: int, pool: Executor) -> Found:
    works: Works = {
        "independent": lambda: [future.result() for future in [pool.submit(inc, index) for index in range(TASKS)]],
        "chain": lambda: _chained(lambda value: pool.submit(inc, value).result()),
        "map": lambda: list(pool.map(inc, range(ITEMS), chunksize=1)),
        "map, in chunks of 100": lambda: list(pool.map(inc, range(ITEMS), chunksize=100)),
    }
    if where == "threads":
        del works["map, in chunks of 100"]  # threads take one at a time whatever they are told
    return _times(where, who, times, works)


def _chained(step: Callable[[Any], Any]) -> Any:
    value: Any = 0
    for _ in range(TASKS):
        value = step(value)
    return value


def joblib_processes(times: int) -> Found:
    return _joblib("processes", "joblib", times, n_jobs=WORKERS)


def joblib_threads(times: int) -> Found:
    return _joblib("threads", "joblib", times, n_jobs=WORKERS, backend="threading")


def _joblib(where: str, who: str, times: int, **options: Any) -> Found:
    from joblib import Parallel, delayed

    with Parallel(**options) as parallel:
        works: Works = {
            "independent": lambda: parallel(delayed(inc)(index) for index in range(TASKS)),
            "map": lambda: parallel(delayed(inc)(index) for index in range(ITEMS)),
        }
        return _times(where, who, times, works)


def dask_processes(times: int) -> Found:
    with ProcessPoolExecutor(WORKERS, get_context("spawn")) as pool:
        return _dask("processes", times, scheduler="processes", pool=pool)


def dask_threads(times: int) -> Found:
    with ThreadPoolExecutor(WORKERS) as pool:
        return _dask("threads", times, scheduler="threads", pool=pool)


def _dask(where: str, times: int, **options: Any) -> Found:
    import dask

    step = dask.delayed(inc, pure=False)
    many, last = [step(index) for index in range(TASKS)], _chained(step)
    works: Works = {
        "independent": lambda: list(dask.compute(*many, **options)),
        "chain": lambda: dask.compute(last, **options)[0],
    }
    return _times(where, "dask", times, works)


def distributed(times: int) -> Found:
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=WORKERS, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        works: Works = {
            "independent": lambda: client.gather(client.map(inc, range(TASKS), pure=False)),
            "chain": lambda: _chained(lambda value: client.submit(inc, value, pure=False)).result(),
        }
        return _times("processes", "distributed", times, works)


def ray(times: int) -> Found:
    import ray

    start_ray()
    step = ray.remote(inc)
    works: Works = {
        "independent": lambda: ray.get([step.remote(index) for index in range(TASKS)]),
        "chain": lambda: ray.get(_chained(step.remote)),
    }
    found = _times("processes", "Ray", times, works)
    ray.shutdown()
    return found


def start_ray() -> None:
    """A Ray of this machine with two workers, which must not make copies of the folder that it starts in."""
    import ray

    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    folder = os.path.dirname(os.path.abspath(__file__))
    ray.init(
        num_cpus=WORKERS,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=2 * 2**30,
        runtime_env={"env_vars": {"PYTHONPATH": folder}},
    )


# --- limit ---------------------------------------------------------------------------------------


def pipe(times: int) -> Found:
    """As many bytes as a small task takes, there and back, one round trip after the other."""
    there, back = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(there[1])
            while data := os.read(there[0], 64):
                os.write(back[1], data)
        finally:
            os._exit(0)
    os.close(there[0])

    def round_trips() -> None:
        for _ in range(TASKS):
            os.write(there[1], bytes(64))
            os.read(back[0], 64)

    found = repeat(round_trips, times)
    os.close(there[1])
    os.waitpid(child, 0)
    return {f"{name}, processes": {"limit: pipe round trip": found} for name in ("independent", "chain")}


PARTS: dict[str, Callable[[int], Found]] = {
    "ours, processes": ours_in_processes,
    "ours, threads": ours_on_threads,
    "ours, threads, recorded": ours_recorded,
    "ours, map, processes": ours_map_in_processes,
    "ours, map, threads": ours_map_on_threads,
    "our Executor, processes": our_executor,
    "ThreadPool": thread_pool,
    "ProcessPool, fork": process_pool_fork,
    "ProcessPool, spawn": process_pool_spawn,
    "joblib, processes": joblib_processes,
    "joblib, threads": joblib_threads,
    "loky": loky,
    "dask, processes": dask_processes,
    "dask, threads": dask_threads,
    "distributed": distributed,
    "Ray": ray,
    "bare pipes": pipe,
}
