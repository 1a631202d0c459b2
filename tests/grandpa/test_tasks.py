"""`Executor` and `task_executor`: functions side by side, in bodies and in scripts; what ends when; what is left."""

from __future__ import annotations

import concurrent.futures
import contextlib
import logging
import os
import threading
import time
import traceback

import pytest

from grandpa_kfp import Executor, Node, TaskError, Workflow, current, run, task_executor
from grandpa_kfp_runtime.context import TaskContext, activate

LONG_S = 60


def until(condition):
    deadline = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def job_threads() -> int:
    return sum(thread.name.startswith("grandpa-job") for thread in threading.enumerate())


def fail(text):
    raise ValueError(text)


class TestExecutor:
    @pytest.fixture(autouse=True)
    def no_threads_left(self):
        """What an executor starts ends with it."""
        before = job_threads()
        yield
        until(lambda: job_threads() <= before)

    def test_it_is_one(self):
        """As the standard library knows them: wait, as_completed, callbacks."""
        assert issubclass(Executor, concurrent.futures.Executor)
        seen = []
        with Executor(threads=2) as executor:
            futures = [executor.submit(pow, 2, exponent) for exponent in range(5)]
            futures[0].add_done_callback(seen.append)
            done, left = concurrent.futures.wait(futures, timeout=LONG_S)
            assert not left
            assert {future.result() for future in concurrent.futures.as_completed(done)} == {1, 2, 4, 8, 16}
        assert seen == [futures[0]]

    def test_so_many_at_once(self):
        """Threads run side by side, and no more than asked for."""
        both = threading.Barrier(2)
        running, most, lock = [], [], threading.Lock()

        def meet(_):
            with lock:
                running.append(1)
                most.append(len(running))
            both.wait(LONG_S)
            with lock:
                running.pop()

        with Executor(threads=2) as executor:
            list(executor.map(meet, range(6)))
        assert max(most) == 2

    @pytest.mark.parametrize("chunksize", [1, 3, 100])
    def test_map(self, chunksize):
        """In order, whatever the chunks; of several iterables as far as the shortest."""
        with Executor(threads=3) as executor:
            assert list(executor.map(pow, range(10), [2] * 8, chunksize=chunksize)) == [n * n for n in range(8)]
            with pytest.raises(ValueError, match="chunksize"):
                executor.map(pow, [1], [1], chunksize=0)

    def test_map_in_time(self):
        """Else it is a TimeoutError, and what has not begun is cancelled."""
        go = threading.Event()
        executor = Executor(threads=1)
        results = executor.map(lambda _: go.wait(LONG_S), range(3), timeout=0.05)
        with pytest.raises(concurrent.futures.TimeoutError):
            next(results)
        go.set()
        executor.shutdown()

    def test_errors_are_the_functions_own(self):
        """With its frames."""
        with Executor(threads=1) as executor, pytest.raises(ValueError, match="no") as caught:
            executor.submit(fail, "no").result(LONG_S)
        assert traceback.extract_tb(caught.value.__traceback__)[-1].name == "fail"

    def test_what_has_not_begun_can_be_cancelled(self):
        """And shutdown cancels it when asked to."""
        go, begun = threading.Event(), threading.Event()

        def wait():
            begun.set()
            return go.wait(LONG_S)

        executor = Executor(threads=1)
        first = executor.submit(wait)
        assert begun.wait(LONG_S)
        second, third = executor.submit(int), executor.submit(int)
        assert not first.cancel()
        assert second.cancel()
        executor.shutdown(wait=False, cancel_futures=True)
        assert third.cancelled()
        assert concurrent.futures.wait([second, third], timeout=LONG_S).not_done == set()
        with pytest.raises(RuntimeError, match="after shutdown"):
            executor.submit(int)
        go.set()
        assert first.result(LONG_S) is True

    def test_one_that_is_dropped_ends_its_threads(self):
        """Its jobs are done all the same."""
        executor = Executor(threads=2)
        future = executor.submit(int, "7")
        del executor
        assert future.result(LONG_S) == 7

    def test_the_task_is_known_in_it(self):
        """`current()` is the task whose body uses it."""
        with activate(TaskContext("run", "train")), Executor(threads=1) as executor:
            assert executor.submit(lambda: current().task).result(LONG_S) == "train"

    def test_threads_that_cannot_be(self):
        """The number is named."""
        with pytest.raises(Exception, match="threads must be a whole number of at least 1, but is 0"):
            Executor(threads=0)


class TestTaskExecutor:
    def test_in_a_script(self):
        """Results by id, in any order; keywords; a node is its function."""

        @Node
        def double(a: int) -> int:
            return 2 * a

        first, second = task_executor.add_task(int, "ff", base=16), task_executor.add_task(double, 4)
        assert task_executor.get_task_result(second) == 8
        assert task_executor.get_task_result(first, timeout=LONG_S) == 255

    def test_a_result_is_taken_once(self):
        """Then it is forgotten, and the error says why."""
        id_ = task_executor.add_task(int)
        task_executor.get_task_result(id_)
        with pytest.raises(TaskError, match=f"there is no task '{id_}': add_task gives the ids, each result can be"):
            task_executor.get_task_result(id_)
        with pytest.raises(TaskError, match="there is no task 'x'"):
            task_executor.get_task_result("x")

    def test_errors(self):
        """Raised with the function's frames, without those of the standard library."""
        id_ = task_executor.add_task(fail, "broken")
        with pytest.raises(ValueError, match="broken") as caught:
            task_executor.get_task_result(id_)
        names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
        assert names[-1] == "fail"
        assert "result" not in names

    def test_out_of_time(self):
        """The result can be asked for again."""
        go = threading.Event()
        id_ = task_executor.add_task(go.wait, LONG_S)
        until(lambda: not task_executor._lanes.claim(task_executor._added[id_].job))
        with pytest.raises(TimeoutError, match=f"{id_} .* has not ended after 0.01 s"):
            task_executor.get_task_result(id_, timeout=0.01)
        go.set()
        assert task_executor.get_task_result(id_, timeout=LONG_S) is True

    def test_tasks_that_wait_for_tasks(self):
        """More of them than there are threads: who waits for one that has not begun runs it."""

        def nested(depth):
            if not depth:
                return 1
            ids = [task_executor.add_task(nested, depth - 1) for _ in range(3)]
            return sum(task_executor.get_task_result(id_) for id_ in ids)

        assert task_executor.get_task_result(task_executor.add_task(nested, 5), timeout=LONG_S) == 3**5

    @pytest.mark.parametrize("processes", [0, 1])
    def test_in_a_body(self, processes):
        """On threads of the process that runs the body."""

        @Node
        def squares(n: int) -> list:
            from grandpa_kfp import task_executor

            ids = [task_executor.add_task(pow, index, 2) for index in range(n)]
            return [task_executor.get_task_result(id_) for id_ in ids]

        assert run(Workflow(lambda: squares(5)), processes=processes, record=False).value == [0, 1, 4, 9, 16]

    def test_a_bodys_error_is_the_nodes(self):
        """Its report ends with the function's frame."""

        @Node
        def failing() -> None:
            task_executor.get_task_result(task_executor.add_task(fail, "inside"))

        with pytest.raises(TaskError) as caught:
            run(Workflow(lambda: failing()), record=False)
        assert isinstance(caught.value.__cause__, ValueError)
        assert "in fail" in str(caught.value)
        assert "tasks.py" not in str(caught.value).replace("test_tasks.py", "")

    def test_what_a_body_adds_ends_with_its_task(self, caplog):
        """What has not begun never does; an error that nobody asked for is told; ids are forgotten."""
        go, ran = threading.Event(), []
        context = TaskContext("run", "train")
        with activate(context):
            lanes = task_executor._lanes
            busy = [task_executor.add_task(go.wait, LONG_S) for _ in range(lanes._executor.lanes)]
            late = task_executor.add_task(ran.append, 1)
            job = task_executor._added[late].job
        outside = task_executor.add_task(int)
        context.close()
        assert job.future.cancelled()
        with pytest.raises(TaskError, match="there is no task"):
            task_executor.get_task_result(busy[0])
        go.set()
        assert task_executor.get_task_result(outside, timeout=LONG_S) == 0
        assert ran == []
        with activate(TaskContext("run", "more")) as context, caplog.at_level(logging.WARNING):
            id_ = task_executor.add_task(fail, "unseen")
            with contextlib.suppress(ValueError):
                task_executor._added[id_].job.future.result(LONG_S)
            context.close()
        assert f"{id_} (fail) failed, and nobody asked for its result: ValueError: unseen" in caplog.text

    def test_in_a_forked_child(self):
        """It has threads of its own."""
        task_executor.get_task_result(task_executor.add_task(int))
        child = os.fork()
        if child == 0:
            code = 1
            try:
                code = task_executor.get_task_result(task_executor.add_task(int, "42"), timeout=LONG_S)
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42
