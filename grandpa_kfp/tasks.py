"""Plain functions side by side: `Executor`, as `concurrent.futures` has them, and `task_executor`.

For use inside a node's body and in scripts. Both hand jobs to a `Lanes`: threads of the engine's kind, in the process
that asks; those of an Executor with processes each wait for one of them (`engine/processes/jobs.py`).
"""

from __future__ import annotations

import concurrent.futures
import contextvars
import functools
import itertools
import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar

from grandpa_kfp_runtime.context import TaskContext, current, in_task
from grandpa_kfp_runtime.errors import ParameterError, TaskError

from .engine.machine import whole_cores
from .engine.threads import ThreadExecutor, default_lanes
from .engine.workers import AUTO

if TYPE_CHECKING:
    from .engine.processes.jobs import JobProcesses

P = ParamSpec("P")
T = TypeVar("T")


class Job:
    """One call, and the future of its result. It runs in a copy of the context in which it was made."""

    __slots__ = ("_call", "_context", "future")

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self._context = contextvars.copy_context()
        self.future: Future[Any] = Future()

    def run(self) -> None:
        """Makes the call, unless the future was cancelled."""
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            result = self._context.run(self._call)
        except BaseException as error:  # raised again for whoever asks for the result
            self.future.set_exception(error)
        else:
            self.future.set_result(result)


class Lanes(Protocol):
    """What runs jobs, so many at once."""

    def add(self, job: Job) -> None:
        """Runs the job as soon as a lane is free; in the order they come."""
        ...

    def claim(self, job: Job) -> bool:
        """Takes back a job that has not begun: the caller runs it. False where it has."""
        ...

    def close(self, *, cancel: bool, wait: bool) -> None:
        """Nothing more comes. cancel: jobs that have not begun never do; wait: until all others have ended."""
        ...


class ThreadLanes:
    """Lanes that are threads of this process, started when there is work for them."""

    def __init__(self, threads: int) -> None:
        self._free = threads
        self._changed = threading.Condition()
        self._waiting: OrderedDict[int, Job] = OrderedDict()
        self._begun: dict[int, Job] = {}
        self._numbers = itertools.count()
        self._executor = ThreadExecutor(threads, self._work, _defect, name="grandpa-job")

    def add(self, job: Job) -> None:
        with self._changed:
            number = next(self._numbers)
            if not self._free:
                self._waiting[number] = job
                return
            self._free -= 1
            self._begun[number] = job
        self._executor.submit(number)

    def claim(self, job: Job) -> bool:
        with self._changed:
            found = next((number for number, item in self._waiting.items() if item is job), None)
            if found is not None:
                del self._waiting[found]
            return found is not None

    def close(self, *, cancel: bool, wait: bool) -> None:
        with self._changed:
            dropped = list(self._waiting.values()) if cancel else []
            if cancel:
                self._waiting.clear()
        for job in dropped:
            job.future.cancel()
            job.run()  # tells those who wait for it
        self._executor.close()
        if wait:
            with self._changed:
                self._changed.wait_for(lambda: not (self._begun or self._waiting))

    def _work(self, number: int) -> int | None:
        self._begun[number].run()
        with self._changed:
            del self._begun[number]
            if self._waiting:
                following, job = self._waiting.popitem(last=False)
                self._begun[following] = job
                return following
            self._free += 1
            self._changed.notify_all()
            return None


def _defect(error: BaseException) -> None:
    raise error


class Executor(concurrent.futures.Executor):
    """Runs functions on threads of this process, or in processes of its own: `submit`, `map`, `shutdown`, as in
    `concurrent.futures`.

    threads: how many at once, by default the number of cores and four. processes: how many processes, `auto` for one a
    core, started at need; a function need not be importable, and the main module is not imported by them. initializer,
    initargs: called in each process before anything else. A node counts as its plain function.
    Neither keeps a program from ending; inside a task, `current()` is the task in them too. Raises ParameterError for
    what cannot be, LoadError for processes at the top level of a file that a worker imports.

    >>> with Executor(threads=2) as executor:
    ...     list(executor.map(pow, [2, 3], [4, 2])), executor.submit(max, 1, 5).result()
    ([16, 9], 5)
    >>> with Executor(processes=1) as executor:
    ...     executor.submit(lambda: 6 * 7).result()
    42
    """

    def __init__(
        self,
        threads: int | None = None,
        *,
        processes: int | str | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
    ) -> None:
        count = whole_cores() if processes == AUTO else processes
        for name, value in (("threads", threads), ("processes", count)):
            if value is not None and (type(value) is not int or value < 1):
                raise ParameterError(f"Executor: {name} must be a whole number of at least 1, but is {value!r}")
        if count is not None and threads is not None:
            raise ParameterError("Executor: it has either threads or processes, each of which does one call at a time")
        if count is None and initializer is not None:
            raise ParameterError("Executor: initializer is for processes; threads share what you do before")
        assert not isinstance(count, str)
        self._lanes: Lanes = ThreadLanes(count or threads or default_lanes())
        self._processes = _processes(initializer, initargs) if count is not None else None
        self._lock = threading.Lock()
        self._closed = False
        self._pid = os.getpid()
        weakref.finalize(self, self._lanes.close, cancel=False, wait=False)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """The future of the call's result. Raises RuntimeError after `shutdown`, and in a fork of the process."""
        if os.getpid() != self._pid:
            raise RuntimeError("this executor belongs to the process that forked this one; make another one here")
        with self._lock:
            if self._closed:
                raise RuntimeError("cannot schedule new futures after shutdown")
            if self._processes is None:
                job = Job(functools.partial(plain(fn), *args, **kwargs))
            else:
                job = Job(_in_process(self._processes, fn, args, kwargs))
            self._lanes.add(job)
        return job.future

    def map(
        self, fn: Callable[..., T], *iterables: Iterable[Any], timeout: float | None = None, chunksize: int = 1
    ) -> Iterator[T]:
        """The results in order. timeout: seconds from now until the last; chunksize: calls in one job."""
        if chunksize < 1:
            raise ValueError("chunksize must be at least 1")
        if chunksize == 1:
            return super().map(fn, *iterables, timeout=timeout)
        rows = zip(*iterables, strict=False)
        chunks = iter(lambda: list(itertools.islice(rows, chunksize)), [])
        return _flat(super().map(functools.partial(_each, fn), chunks, timeout=timeout))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Takes nothing more; by default returns when everything has ended."""
        with self._lock:
            self._closed = True
            processes, self._processes = self._processes, None
        self._lanes.close(cancel=cancel_futures, wait=wait)
        if processes is not None and wait:
            processes.close()  # without waiting they end with the last of their calls

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> bool | None:
        if kind is not None and not issubclass(kind, Exception) and self._processes is not None:  # Ctrl-C
            self._lanes.close(cancel=True, wait=False)
            self._processes.kill()
        return super().__exit__(kind, error, trace)


def _processes(initializer: Callable[..., object] | None, initargs: tuple[Any, ...]) -> JobProcesses:
    from .engine.processes.jobs import JobProcesses
    from .loading import refuse_while_loading

    refuse_while_loading("Executor(processes=...)")  # a process that imports the file would make another one
    return JobProcesses(initializer, initargs)


def _in_process(
    processes: JobProcesses, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Callable[[], Any]:
    try:
        packaged = processes.package(fn, args, kwargs)
    except Exception as error:  # whatever pickling a user's argument raises: it is the future's error
        return functools.partial(_raise, error)
    return functools.partial(processes.call, packaged)


def _raise(error: Exception) -> None:
    raise error


def plain(fn: Callable[..., Any]) -> Callable[..., Any]:
    """The function below a node, bound as the node is; any other callable as it is."""
    return getattr(fn, "fn", fn) if hasattr(type(fn), "__grandpa_node__") else fn


def _each(fn: Callable[..., T], rows: list[tuple[Any, ...]]) -> list[T]:
    call = plain(fn)
    return [call(*row) for row in rows]


def _flat(results: Iterator[list[T]]) -> Iterator[T]:
    for chunk in results:
        yield from chunk


@dataclass(frozen=True, slots=True)
class _Added:
    """A job of `task_executor`, and the task in whose body it was added."""

    job: Job
    name: str
    owner: TaskContext | None


class TaskExecutor:
    """Functions side by side, by ids: `add_task` begins one, `get_task_result` waits for what it returns.

    What a node's body adds ends with its task: what has not begun by then never does. Used by its one instance,
    `task_executor`.

    >>> first, second = task_executor.add_task(pow, 2, 5), task_executor.add_task(len, "abc")
    >>> task_executor.get_task_result(first), task_executor.get_task_result(second)
    (32, 3)
    """

    def __init__(self) -> None:
        self._reset()
        os.register_at_fork(after_in_child=self._reset)  # threads stay with the parent

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._lanes: Lanes | None = None
        self._added: dict[str, _Added] = {}
        self._numbers = itertools.count(1)
        self._owners: set[TaskContext] = set()

    def add_task(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> str:
        """Begins the call as soon as a thread is free; the id by which its result is asked for.

        fn: any callable; a node counts as its plain function.
        """
        call = plain(fn)
        owner = current() if in_task() else None
        job = Job(functools.partial(call, *args, **kwargs))
        name = getattr(call, "__qualname__", type(call).__qualname__)
        with self._lock:
            id_ = f"task-{next(self._numbers)}"
            self._added[id_] = _Added(job, name, owner)
            if self._lanes is None:
                self._lanes = ThreadLanes(default_lanes())
            lanes = self._lanes
            if owner is not None and owner not in self._owners:
                self._owners.add(owner)
                owner.at_end(lambda: self._end(owner))
        lanes.add(job)
        return id_

    def get_task_result(self, task_id: str, timeout: float | None = None) -> Any:
        """What the call returned; once, then it is forgotten. timeout: seconds to wait, None for ever.

        Raises what the call raised, with its own frames; TimeoutError; TaskError for an id that is not known, or
        whose result was taken.
        """
        with self._lock:
            added = self._added.get(task_id)
            lanes = self._lanes
        if added is None or lanes is None:
            raise TaskError(
                f"there is no task {task_id!r}: add_task gives the ids, each result can be taken once, and none after "
                "the node's task has ended that added it"
            )
        if lanes.claim(added.job):  # not begun: this thread would only wait, and all others may wait like it
            added.job.run()
        try:
            error = added.job.future.exception(timeout)
        except concurrent.futures.TimeoutError:
            raise TimeoutError(f"{task_id} ({added.name}) has not ended after {timeout:g} s") from None
        with self._lock:
            self._added.pop(task_id, None)
        if error is not None:
            raise error
        return added.job.future.result()

    def _end(self, owner: TaskContext) -> None:
        """The task has ended: nothing of it begins any more, and what failed unseen is told."""
        with self._lock:
            self._owners.discard(owner)
            mine = {id_: added for id_, added in self._added.items() if added.owner is owner}
            for id_ in mine:
                del self._added[id_]
        for id_, added in mine.items():
            future = added.job.future
            if not future.cancel() and future.done() and (error := future.exception()) is not None:
                owner.logger.warning(
                    "%s (%s) failed, and nobody asked for its result: %s: %s",
                    id_, added.name, type(error).__name__, error,
                )  # fmt: skip


task_executor = TaskExecutor()
"""The one that everybody uses."""
