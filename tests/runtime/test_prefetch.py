"""A generator that runs ahead: by how much, how it ends, what it raises, that nothing of it is left."""

from __future__ import annotations

import asyncio
import threading
import traceback

import pytest

from grandpa_kfp_runtime.context import TaskContext, activate
from grandpa_kfp_runtime.errors import CodecError
from grandpa_kfp_runtime.prefetch import Prefetch, end_all
from grandpa_kfp_runtime.values.codecs import encode

LONG_S = 60


@pytest.fixture(autouse=True)
def no_threads_left():
    """What runs before a test runs after it."""
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def of(function, *args, size=50):
    return Prefetch(function, args, {}, size)


class Counting:
    """A generator that tells how far it is, and whether it was cleaned up."""

    def __init__(self, stop=None):
        self.made = 0
        self.closed = threading.Event()
        self.full = threading.Event()
        self.stop = stop

    def __call__(self, tell_at=None):
        try:
            while self.made != self.stop:
                self.made += 1
                if self.made == tell_at:
                    self.full.set()
                yield self.made
        finally:
            self.closed.set()


def test_items_in_order():
    """However many there are, and whatever the queue holds."""
    for size in (1, 2, 50):
        assert list(of(range, 1000, size=size)) == list(range(1000))


def test_it_is_ahead_by_the_queue_and_no_more():
    """The generator makes max_queue_size items that nobody has taken, then waits."""
    source = Counting()
    stream = of(source, 5, size=4)
    assert next(stream) == 1
    assert source.full.wait(LONG_S)  # the fifth: one was taken, four wait
    assert source.made == 5
    assert [next(stream) for _ in range(3)] == [2, 3, 4]
    assert source.made <= 4 + 4
    stream.close()


def test_nothing_runs_before_the_first_next():
    """And an unused one needs no thread to be closed."""
    source = Counting()
    stream = of(source)
    stream.close()
    assert source.made == 0
    assert list(stream) == []


def test_an_endless_one_ends_with_its_consumer():
    """Its finally block has run when `end_all` returns."""
    source = Counting()
    stream = of(source, size=3)
    assert next(stream) == 1
    end_all([stream, "no stream"], failed=False)
    assert source.closed.is_set()


def test_its_error_comes_behind_the_items_with_its_own_frames():
    """The consumer's `next` raises it, once."""

    def failing():
        yield 1
        raise ValueError("no more rows")

    stream = of(failing)
    assert next(stream) == 1
    with pytest.raises(ValueError, match="no more rows") as caught:
        next(stream)
    names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert names[-1] == "failing"
    assert names[0] == "test_its_error_comes_behind_the_items_with_its_own_frames"
    assert list(stream) == []


def test_what_cleaning_up_raises_is_not_lost():
    """Unless the task failed before: that comes first."""

    def careless():
        try:
            while True:
                yield 1
        finally:
            raise OSError("cannot flush")

    stream = of(careless)
    next(stream)
    with pytest.raises(OSError, match="cannot flush"):
        end_all([stream], failed=False)
    stream = of(careless)
    next(stream)
    end_all([stream], failed=True)


def test_one_that_waits_for_another_does_not_take_its_end_for_the_last_item():
    """When their task ends, the outer one is stopped where it waits, and only cleans up."""
    seen = []
    never = threading.Event()
    waiting = threading.Event()

    def inner():
        yield 1
        waiting.set()
        never.wait(LONG_S)
        yield 2

    def outer(items):
        try:
            for item in items:
                seen.append(item)
                yield item
            seen.append("all items came")
        finally:
            seen.append("cleaned up")

    first = of(inner, size=1)
    second = of(outer, first, size=1)
    assert next(second) == 1
    assert waiting.wait(LONG_S)
    threading.Timer(0.2, never.set).start()
    end_all([first, second], failed=False)
    assert seen == [1, "cleaned up"]


def test_an_asynchronous_one():
    """Items, an early end while it awaits, and errors."""
    ended = threading.Event()

    async def ticks(n):
        try:
            for index in range(n):
                await asyncio.sleep(0)
                yield index
            await asyncio.sleep(LONG_S)
        finally:
            ended.set()

    stream = of(ticks, 3)
    assert [next(stream) for _ in range(3)] == [0, 1, 2]
    end_all([stream], failed=False)
    assert ended.is_set()

    async def failing():
        yield 1
        raise ValueError("lost")

    stream = of(failing)
    assert next(stream) == 1
    with pytest.raises(ValueError, match="lost"):
        next(stream)


def test_all_of_them_without_a_thread():
    """For a task that makes the list."""

    async def two():
        yield 1
        yield 2

    assert of(range, 3).all() == [0, 1, 2]
    assert of(two).all() == [1, 2]


def test_an_attempt_that_is_given_up_asks_for_nothing_more():
    """Closing its context stops the generator, though the consumer's thread still runs."""
    source = Counting()
    context = TaskContext("run", "train")
    with activate(context):
        stream = of(source, size=2)
        next(stream)
    context.close()
    assert source.closed.wait(LONG_S)
    with pytest.raises(GeneratorExit):
        next(stream)
    stream.join()


def test_something_that_cannot_be_iterated():
    """Says what a generator node does."""
    stream = of(lambda: 5)
    with pytest.raises(Exception, match="gave int, which cannot be iterated over; a generator node yields"):
        next(stream)
    stream.join()


def test_it_never_leaves_its_task():
    """As a result it is refused, with what to do."""
    stream = of(range, 3)
    with pytest.raises(CodecError, match=r"result\[0\]: the items of the generator range .* return list"):
        encode([stream])
