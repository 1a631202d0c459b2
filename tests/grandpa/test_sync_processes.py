"""Shared objects across real processes: separate interpreters, killed ones too, and that nothing of it is left."""

from __future__ import annotations

import gc
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import cloudpickle
import pytest

from grandpa_kfp import TaskError, sync
from grandpa_kfp.api import compile
from grandpa_kfp.sync import links, shared

LONG_S = 60
ROOT = Path(__file__).parents[2]
RUNNER = "import sys, cloudpickle; function, args = cloudpickle.load(sys.stdin.buffer); function(*args)"


def until(condition):
    """Waits for something that happens in another thread or process."""
    deadline = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def sync_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("grandpa-sync")]


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


@pytest.fixture(autouse=True)
def nothing_left():
    """No folder, thread, descriptor or process when the last object is gone."""
    folders = Path("/tmp")
    before = set(folders.glob("grandpa-sync-*"))
    open_before = descriptors()
    yield
    gc.collect()
    until(lambda: shared._server is None)
    links.close_idle()
    until(lambda: not sync_threads())
    assert set(folders.glob("grandpa-sync-*")) <= before
    assert descriptors() <= open_before


@pytest.fixture
def start():
    """Starts a function in a new interpreter; its objects go there by pickle."""
    started: list[subprocess.Popen[bytes]] = []

    def start_one(function, *args, wait=False) -> subprocess.Popen[bytes]:
        payload = cloudpickle.dumps((function, args))
        process = subprocess.Popen(
            [sys.executable, "-c", RUNNER],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(ROOT)])},  # this file's classes go by name
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        started.append(process)
        assert process.stdin is not None
        process.stdin.write(payload)
        process.stdin.close()
        if wait:
            finish(process)
        return process

    yield start_one
    for process in started:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def finish(process: subprocess.Popen[bytes]) -> str:
    assert process.stderr is not None
    told = process.stderr.read().decode()
    assert process.wait(LONG_S) == 0, told
    return told


cloudpickle.register_pickle_by_value(sys.modules[__name__])


class Row:
    """A class that only these processes know."""

    def __init__(self, number):
        self.number = number

    def __eq__(self, other):
        return vars(self) == vars(other)

    __hash__ = None


def test_every_kind_works_in_another_process(start):
    """And what it does is seen here."""

    def use(items, rows, ages, total, lock, two, ready):
        items.put([items.get(timeout=60)])
        rows.append({"a": 1})
        rows[0] += 1
        ages["b"] = ages["a"] + 1
        total.add(5)
        with lock, two:
            ready.set()
        try:
            items.get(timeout=0)
            items.get(timeout=0.01)
        except Exception as error:
            rows.append(type(error).__name__)
        try:
            ages["missing"]
        except KeyError as error:
            rows.append(error.args[0])

    items, rows, ages, total = sync.Queue(5), sync.List([1]), sync.Dict({"a": 1}), sync.Value(1)
    lock, two, ready = sync.Lock(), sync.Semaphore(2), sync.Event()
    items.put("here")
    process = start(use, items, rows, ages, total, lock, two, ready)
    assert ready.wait(LONG_S)
    finish(process)
    assert list(rows) == [2, {"a": 1}, "Empty", "missing"]
    assert (dict(ages.items()), total.value, lock.locked(), items.qsize()) == ({"a": 1, "b": 2}, 6, False, 0)


def test_values_of_ones_own_classes_cross(start):
    """The process that keeps them never loads them."""

    def back(items, answers):
        row = items.get(timeout=60)
        row.number += 1
        answers.put(row)

    items, answers = sync.Queue(), sync.Queue()
    items.put(Row(1))
    start(back, items, answers)
    assert answers.get(timeout=LONG_S) == Row(2)


def test_many_processes_count_right(start):
    """With a lock around reading and writing, and with `add` alone."""

    def count(total, other, lock):
        for _ in range(100):
            with lock:
                total.value = total.value + 1
            other.add(1)

    total, other, lock = sync.Value(0), sync.Value(0), sync.Lock()
    processes = [start(count, total, other, lock) for _ in range(3)]
    count(total, other, lock)
    for process in processes:
        finish(process)
    assert (total.value, other.value) == (400, 400)


def test_a_producer_and_a_consumer(start):
    """In two processes, neither of which made the queue; bounded, in order, from several threads each."""

    def produce(items, n):
        for index in range(n):
            items.put(index)

    def consume(items, answers, n):
        answers.put([items.get(timeout=60) for _ in range(n)])

    items, answers = sync.Queue(2), sync.Queue()
    start(produce, items, 200)
    start(consume, items, answers, 200)
    assert answers.get(timeout=LONG_S) == list(range(200))


def test_an_object_that_comes_back_is_the_same(start):
    """A queue may travel through a queue."""

    def back(items, answers):
        answers.put(items)

    items, answers = sync.Queue(), sync.Queue()
    start(back, items, answers, wait=True)
    assert answers.get(timeout=LONG_S) is items


def hold(lock, ready):
    lock.acquire()
    ready.set()
    time.sleep(60)


def test_a_lock_is_free_when_its_process_is_killed(start):
    """Others do not wait for ever."""
    lock, ready = sync.Lock(), sync.Event()
    process = start(hold, lock, ready)
    assert ready.wait(LONG_S)
    assert not lock.acquire(blocking=False)
    process.kill()
    assert lock.acquire(timeout=LONG_S)
    lock.release()


def test_who_is_killed_while_it_waits_takes_nothing(start):
    """The item goes to the next."""

    def take(items, ready):
        ready.set()
        items.get()

    items, ready = sync.Queue(), sync.Event()
    process = start(take, items, ready)
    assert ready.wait(LONG_S)
    core = items._core
    until(lambda: core._requests)
    process.kill()
    until(lambda: not core._requests)
    items.put(1)
    assert items.get(timeout=LONG_S) == 1


OWNER = """
import os, sys, time, cloudpickle
from grandpa_kfp import sync
items = sync.Queue()
sys.stderr = open(os.devnull, "w")
os.write(1, cloudpickle.dumps(items))
os.close(1)
time.sleep(60)
"""


@pytest.fixture
def owner():
    """Another process that has made a queue, and the queue."""
    process = subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE)
    assert process.stdout is not None
    data = process.stdout.read()
    process.stdout.close()
    yield process, cloudpickle.loads(data)
    process.kill()
    process.wait()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_owners_end_is_an_error_and_no_hang(owner, how):
    """Who waits is told at once, who comes later too; the folder is gone, whatever ended the owner."""
    process, items = owner
    items.put(1)
    assert items.get(timeout=LONG_S) == 1
    folder = Path(items._folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    errors: list[Exception] = []

    def wait():
        try:
            items.get()
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.2)  # it most likely waits by now; the test holds in either case
    process.send_signal(how)
    thread.join(LONG_S)
    assert not thread.is_alive()
    assert isinstance(errors[0], TaskError)
    assert "cannot be used any more: the process that made it has ended" in str(errors[0])
    with pytest.raises(TaskError, match=r"<sync.Queue .*> cannot be used any more"):
        items.qsize()
    process.wait()
    until(lambda: not folder.exists())


def test_nothing_secret_travels(start):
    """The pickle names a folder that only its owner can enter, and no more."""
    items = sync.Queue()
    items.put("a secret")
    data = cloudpickle.dumps(items)
    assert len(data) < 300
    assert b"secret" not in data


def test_an_object_nobody_holds_is_gone(start):
    """A clear error, while the process that made it still runs."""
    keep, items = sync.Queue(), sync.Queue()
    cloudpickle.dumps(keep)
    data = cloudpickle.dumps(items)
    del items
    gc.collect()

    def use(data, answers):
        import pickle

        try:
            pickle.loads(data).qsize()
        except Exception as error:
            answers.put(str(error))

    start(use, data, keep)
    assert "the object is gone" in keep.get(timeout=LONG_S)


def test_a_forked_child_uses_its_parents_object():
    """By a connection of its own; one that was shared with nobody before says what to do."""
    shared_one, private, answers = sync.Queue(), sync.Queue(), sync.Queue()
    cloudpickle.dumps(shared_one)
    cloudpickle.dumps(answers)
    child = os.fork()
    if child == 0:
        try:
            shared_one.put("from the child")
            try:
                private.put(1)
            except TaskError as error:
                answers.put(str(error))
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert shared_one.get(timeout=LONG_S) == "from the child"
    assert "was made by the process that forked this one" in answers.get(timeout=LONG_S)
    with pytest.raises(queue.Empty):
        private.get_nowait()


FLOW = """
from grandpa_kfp import GeneratorNode, Node, Workflow, sync


@GeneratorNode(max_queue_size=2)
def numbers(n: int):
    yield from range(n)


@Node
def through(items, numbers):
    for number in numbers:
        items.put(number)
    return [items.get(timeout=60) for _ in range(items.qsize())]


@Node
def total(numbers) -> int:
    return sum(numbers)


@Workflow
def flow(n: int = 4):
    shared = numbers(n)
    return through(sync.Queue(items=[-1]), numbers(n)), total(shared), total(shared)
"""


def test_in_a_compiled_pipeline(tmp_path):
    """One task has its queue and its generator; a generator of two tasks is a task. No server is started."""
    from grandpa_kfp.loading import load_file

    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "flow.py").write_text(FLOW)
    flow = load_file(tmp_path / "flow.py").flow
    compile(flow, tmp_path / "flow.yaml")
    result = subprocess.run(
        [sys.executable, "-m", "grandpa_kfp", "run", "flow.yaml"], cwd=tmp_path, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "([-1, 0, 1, 2, 3], 6, 6)"
    assert shared._server is None


NODES = """
import os
import time

from grandpa_kfp import Node, TaskError, Workflow, sync


@Node
def produce(items, n: int) -> int:
    for index in range(n):
        items.put([index])
    return os.getpid()


@Node
def consume(items, n: int) -> tuple:
    return os.getpid(), [items.get(timeout=60)[0] for _ in range(n)]


@Node
def inside(n: int):
    items = sync.Queue(2)
    return produce(items, n), consume(items, n)


@Node
def sleep(lock, ready) -> None:
    with lock:
        ready.set()
        time.sleep(60)


@Node
def kill(lock, ready) -> int:
    ready.wait(60)
    return int(lock.acquire(timeout=0.1))


@Workflow
def flow(n: int = 50):
    items = sync.Queue(2)
    return produce(items, n), consume(items, n)


@Workflow
def growing(n: int = 50):
    return inside(n)
"""


@pytest.mark.parametrize("name", ["flow", "growing"])
def test_on_worker_processes(tmp_path, name):
    """Producer and consumer run in two processes; made by the workflow, or by a body whose calls they are."""
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "flow.py").write_text(NODES)
    result = subprocess.run(
        [sys.executable, "-m", "grandpa_kfp", "run", f"flow.py:{name}", "--processes", "3", "--threads", "1", "--json"],
        cwd=tmp_path, capture_output=True, text=True, timeout=LONG_S,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "[0, 1, 2, 3," in result.stdout
