"""Shared objects on threads: what each does, that values are copies, that no process or thread is needed for it."""

from __future__ import annotations

import copy
import pickle
import queue
import threading

import pytest

from grandpa_kfp import CodecError, GraphError, Node, TaskError, Workflow, resolve, run, sync, trace
from grandpa_kfp.api import compile
from grandpa_kfp.checking import check
from grandpa_kfp_runtime.values.codecs import decode, encode
from grandpa_kfp_runtime.values.sharing import describing, staying

LONG_S = 60


@pytest.fixture(autouse=True)
def no_threads():
    """On threads alone nothing is served."""
    before = set(threading.enumerate())
    yield
    assert not [thread.name for thread in set(threading.enumerate()) - before if thread.name.startswith("grandpa-sync")]


def in_thread(function, *args):
    thread = threading.Thread(target=function, args=args, daemon=True)
    thread.start()
    return thread


@Node
def produce(items, n: int) -> int:
    for index in range(n):
        items.put([index])
    return n


@Node
def consume(items, n: int) -> int:
    return sum(items.get(timeout=LONG_S)[0] for _ in range(n))


@Node
def count(total, lock) -> None:
    for _ in range(50):
        with lock:
            total.set(total.get() + 1)


@Node
def read(total, after) -> int:
    return total.value


class TestQueue:
    def test_order_and_limits(self):
        """As queue.Queue."""
        items = sync.Queue(2)
        items.put("a")
        items.put_nowait("b")
        with pytest.raises(queue.Full):
            items.put("c", timeout=0.01)
        with pytest.raises(queue.Full):
            items.put_nowait("c")
        assert (items.qsize(), items.empty()) == (2, False)
        assert (items.get(), items.get_nowait()) == ("a", "b")
        with pytest.raises(queue.Empty):
            items.get(timeout=0.01)
        with pytest.raises(queue.Empty):
            items.get_nowait()

    def test_a_waiting_put_goes_on_when_there_is_room(self):
        """And a waiting get when there is an item; the first that waits is the first to go on."""
        items = sync.Queue(1)
        items.put(1)
        thread = in_thread(items.put, 2)
        assert [items.get(timeout=LONG_S), items.get(timeout=LONG_S)] == [1, 2]
        thread.join(LONG_S)
        assert not thread.is_alive()

    def test_join(self):
        """Returns when every item has been dealt with."""
        items = sync.Queue()
        items.put(1)
        with pytest.raises(TimeoutError):
            items.join(timeout=0.01)
        items.get()
        items.task_done()
        items.join(timeout=LONG_S)
        with pytest.raises(ValueError, match="more often than items were put"):
            items.task_done()

    def test_an_item_is_a_copy(self):
        """Changing it afterwards changes nothing in the queue."""
        item = [1]
        items = sync.Queue()
        items.put(item)
        item.append(2)
        assert items.get() == [1]

    def test_an_item_that_cannot_be_encoded(self):
        """Says which, when it is put."""
        with pytest.raises(CodecError, match="the item cannot be stored: the generator"):
            sync.Queue().put(index for index in range(3))


def test_list():
    """What it has of a list; items are copies."""
    rows = sync.List([1, [2]])
    rows[1].append(3)
    assert rows[1] == [2]
    rows.extend([4, 5])
    rows.append(6)
    rows.insert(0, 0)
    rows[1] = "one"
    del rows[-1]
    assert (list(rows), len(rows), rows[1:3], "one" in rows) == ([0, "one", [2], 4, 5], 5, ["one", [2]], True)
    rows[:2] = [7]
    rows.remove([2])
    assert (rows.pop(), list(rows)) == (5, [7, 4])
    for wrong in (lambda: rows[9], lambda: rows.pop(9)):
        with pytest.raises(IndexError):
            wrong()
    with pytest.raises(ValueError, match="not in"):
        rows.remove(99)
    rows.clear()
    assert not rows


def test_dict():
    """What it has of a dict; keys are plain."""
    ages = sync.Dict({"a": [1]})
    ages["b"] = 2
    ages.update({("c", 3): 3})
    assert ages.keys() == ["a", "b", ("c", 3)]
    assert (ages["a"], ages.get("x"), ages.get("x", 5), "b" in ages, len(ages)) == ([1], None, 5, True, 3)
    assert (ages.setdefault("b", 9), ages.setdefault("d", 9), ages.pop("d"), ages.pop("d", 0)) == (2, 9, 9, 0)
    assert ages.items() == [("a", [1]), ("b", 2), (("c", 3), 3)]
    assert ages.values() == [[1], 2, 3]
    assert ages.popitem() == (("c", 3), 3)
    del ages["a"]
    assert list(ages) == ["b"]
    for wrong in (lambda: ages["a"], lambda: ages.pop("a"), lambda: ages.__delitem__("a")):
        with pytest.raises(KeyError, match="a"):
            wrong()
    with pytest.raises(TypeError, match="a key of a shared dict must be"):
        ages[object()] = 1
    ages.clear()
    assert not ages


def test_value():
    """Read, set, added to."""
    total = sync.Value(1)
    total.value += 1
    assert (total.add(3), total.get()) == (5, 5)
    with pytest.raises(TypeError):
        total.add("x")


def test_lock_and_semaphore():
    """Held by one; by so many."""
    lock = sync.Lock()
    with lock:
        assert lock.locked()
        assert not lock.acquire(blocking=False)
        assert not lock.acquire(timeout=0.01)
    with pytest.raises(RuntimeError, match="release of a lock that nobody holds"):
        lock.release()
    two = sync.Semaphore(2)
    assert [two.acquire(blocking=False) for _ in range(3)] == [True, True, False]
    thread = in_thread(two.acquire)
    two.release()
    thread.join(LONG_S)
    assert not thread.is_alive()
    with pytest.raises(ValueError, match="0 or more"):
        sync.Semaphore(-1)


def test_event():
    """Waited for by any number."""
    ready = sync.Event()
    assert not ready.wait(timeout=0.01)
    threads = [in_thread(ready.wait) for _ in range(3)]
    ready.set()
    for thread in threads:
        thread.join(LONG_S)
        assert not thread.is_alive()
    ready.clear()
    assert not ready.is_set()


def test_nodes_on_threads_share_them():
    """A producer and a consumer, side by side; and a lock that keeps a count right."""

    @Workflow
    def flow(n: int = 20):
        items = sync.Queue(2)
        return produce(items, n), consume(items, n)

    @Workflow
    def counts():
        total, lock = sync.Value(0), sync.Lock()
        return read(total, [count(total, lock) for _ in range(4)])

    assert run(flow, threads=2, record=False).value == (20, 190)
    assert run(counts, threads=4, record=False).value == 200
    total = sync.Value(0)
    resolve([count(total, sync.Lock()), count(total, sync.Lock())])
    assert total.value == 100


def test_a_task_that_was_given_up_takes_nothing():
    """What its thread waits for is in vain: the next attempt gets the item."""
    given_up = threading.Event()

    @Node(timeout_s=2, retries=1)
    def take(items, attempts):
        if attempts.add(1) == 2:
            items.put("late")
            return items.get(timeout=LONG_S)
        try:
            return items.get()
        except BaseException:  # told in vain, or interrupted as its time is over
            given_up.set()
            raise

    items = sync.Queue()
    assert run(Workflow(lambda: take(items, sync.Value(0))), record=False).value == "late"
    assert given_up.wait(LONG_S)


def test_a_recorded_run_shares_them(tmp_path):
    """The record says what they held when the graph was recorded; no process is started for it."""

    @Workflow
    def flow():
        items = sync.Queue()
        return produce(items, 3), consume(items, 3)

    found = run(flow, root=tmp_path)
    assert found.value == (3, 3)
    assert found.notes == []


def test_a_task_cannot_return_one():
    """On every engine alike."""

    @Node
    def give():
        return {"items": sync.Queue()}

    @Workflow
    def flow():
        return give()

    with pytest.raises(TaskError, match=r'result\["items"\].*<sync.Queue .*> is shared, not handed on: make it in'):
        run(flow, record=False)
    with pytest.raises(TaskError, match="is shared, not handed on"):
        give().resolve()


OUTSIDE = sync.Queue()


@Node
def captures() -> int:
    return OUTSIDE.qsize()


def test_one_from_outside_a_node_is_a_fault():
    """In another process it would be another object; so it is passed as an argument."""

    @Workflow
    def flow():
        return captures()

    message = r"captures \(.*\): the node reads the shared object OUTSIDE .* as an argument"
    with pytest.raises(GraphError, match=message):
        trace(flow)


def test_copies_are_the_same_object():
    """Shared by reference, in this process without a server."""
    items = sync.Queue()
    assert copy.deepcopy([items])[0] is items
    assert copy.copy(items) is items
    with staying():
        assert decode(encode({"items": items}, files=False))["items"] is items
    assert repr(items).startswith("<sync.Queue (")


@pytest.mark.parametrize(
    ("made", "content"),
    [
        (sync.Queue(3, [1, [2]]), lambda made: (made.get(), made.get(), made.qsize())),
        (sync.List([1, [2]]), list),
        (sync.Dict({"a": [1]}), lambda made: made.items()),
        (sync.Value((1, 2)), lambda made: made.value),
        (sync.Semaphore(3), lambda made: [made.acquire(blocking=False) for _ in range(4)]),
        (sync.Lock(), lambda made: made.locked()),
        (sync.Event(True), lambda made: made.is_set()),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_a_description_makes_a_new_one_of_the_same_content(made, content):
    """As text for a pipeline's file, which says nothing of this process."""
    with describing():
        text = pickle.dumps(encode([made], files=False))
        assert pickle.dumps(encode([made], files=False)) == text
    (new,) = decode(pickle.loads(text))
    assert new is not made
    assert type(new) is type(made)
    assert content(new) == content(made)


@Node
def both_ends(items) -> int:
    thread = threading.Thread(target=produce.fn, args=(items, 5))
    thread.start()
    found = consume.fn(items, 5)
    thread.join()
    return found


def test_one_task_in_a_pipeline_may_have_one():
    """It gets a new one of the same content; the file is the same every time."""

    @Workflow
    def flow():
        return both_ends(sync.Queue(2))

    assert compile(flow).text == compile(flow).text


def test_two_tasks_in_a_pipeline_cannot_share_one():
    """The fault names both, and what to do; `check` tells it too."""

    @Workflow
    def flow():
        items = sync.Queue()
        return produce(items, 3), consume([items], 3)

    message = r"produce \(.*test_sync.py:\d+\): the argument <sync.Queue .*> goes to consume \(.*:\d+\) too, but on Kub"
    with pytest.raises(GraphError, match=message):
        compile(flow)
    assert "too, but on Kubeflow" in "\n".join(check(flow).faults)
