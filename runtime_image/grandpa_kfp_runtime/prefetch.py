"""A generator that runs ahead of its consumer: in a thread of its own, by at most so many items.

`task.construct` makes a `Prefetch` of a function that `@GeneratorNode` has marked; the task that takes it
ends it. So generator and consumer are one task: they share memory, context, and the way it ends.
"""

from __future__ import annotations

import contextvars
import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

from .context import current, in_task
from .errors import CodecError, TaskError

QUEUE_SIZE = "__grandpa_queue_size__"
"""Attribute of a marked function: how many items it may be ahead."""

LONGEST_LIST = "__grandpa_longest_list__"
"""Attribute of a marked function: how many items a list of all may have."""

_MOST_ITEMS = 1_000_000
_CLEANING_UP_MAY_TAKE_S = 10.0


class Prefetch(Iterator[Any]):
    """The items of one call of a generator function, made ahead of `next`.

    size: how many items may wait. each: what is done to an item before it is handed over.
    The thread starts with the first `next`. What the generator raises is raised by the `next` behind the last
    item, with the generator's own frames. `close` ends it early, as that of a generator does.

    >>> def count(n):
    ...     yield from range(n)
    >>> list(Prefetch(count, (3,), {}, 2))
    [0, 1, 2]
    """

    def __init__(
        self,
        function: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        size: int,
        *,
        each: Callable[[Any], Any] | None = None,
    ) -> None:
        self._name = getattr(function, "__qualname__", repr(function))
        self._source = function(*args, **kwargs)
        self._most: int = getattr(function, LONGEST_LIST, _MOST_ITEMS)
        self._size = size
        self._each = each
        self._changed = threading.Condition()
        self._items: deque[Any] = deque()
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._ended = False  # the generator makes nothing more
        self._closed = False  # nobody wants more
        self._abandoned = False  # ... because the task has ended
        self._cancel: Callable[[], object] | None = None  # wakes an asynchronous generator that waits

    def __iter__(self) -> Prefetch:
        return self

    def __next__(self) -> Any:
        with self._changed:
            if self._thread is None and not self._closed:
                self._start()
            while not (self._items or self._ended or self._closed):
                self._changed.wait()
            if self._items:
                self._changed.notify_all()
                return self._items.popleft()
            if self._abandoned:  # in another generator that takes this one: it must not think all items came
                raise GeneratorExit
            error, self._error = self._error, None
        if error is not None:
            raise error
        raise StopIteration

    def all(self) -> list[Any]:
        """Every item, made in this thread; for who wants them all anyway. Raises TaskError for too many."""
        if self._is_asynchronous():
            from .task import finish

            items: list[Any] = finish(self._all_of(self._source))
        else:
            items = list(itertools.islice(self._source, self._most + 1))
        if len(items) > self._most:
            close = getattr(self._source, "close", None)
            if close is not None:
                close()
            raise TaskError(
                f"the generator {self._name} makes more than {self._most:,} items, and here they are to be one list, "
                "since not one task alone takes them as they come; have one task take them, let the generator end, or "
                "write @GeneratorNode(max_items=...) for a longer list"
            )
        return items

    def close(self) -> None:
        """Asks for no more items, and waits until the generator has cleaned up. Raises what that raises."""
        self.stop()
        self.join()

    def stop(self, *, abandon: bool = False) -> None:
        """Has the generator end at its next item, without waiting for it. abandon: its task has ended."""
        with self._changed:
            self._closed = True
            self._abandoned = self._abandoned or abandon
            self._items.clear()
            self._changed.notify_all()
            if self._cancel is not None:
                self._cancel()

    def join(self) -> None:
        """After `stop`: waits until the generator has ended, but not for ever for one that makes no next item."""
        thread = self._thread
        if thread is None:
            close = getattr(self._source, "close", None)
            if close is not None:
                close()
            return
        thread.join(_CLEANING_UP_MAY_TAKE_S)
        if thread.is_alive():
            current().logger.warning(
                "the generator %s is still busy %g s after its consumer has ended; it ends with its next item",
                self._name,
                _CLEANING_UP_MAY_TAKE_S,
            )
        error, self._error = self._error, None
        if error is not None:
            raise error

    # --- the thread ------------------------------------------------------------------------------

    def _start(self) -> None:
        if in_task():  # one that runs out of time is not waited for, but asks for nothing more
            current().at_end(lambda: self.stop(abandon=True))
        run = contextvars.copy_context().run  # `current()` is the consumer's task
        name = f"grandpa-{self._name}"
        self._thread = threading.Thread(target=run, args=(self._run,), name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            if self._is_asynchronous():
                import asyncio

                asyncio.run(self._pump_asynchronous())
            else:
                self._pump()
        except BaseException as raised:  # raised again in the thread that takes the items
            error = raised
        with self._changed:
            told_to_end = self._closed and type(error).__name__ in ("CancelledError", "GeneratorExit")
            self._error = None if told_to_end else error
            self._ended = True
            self._changed.notify_all()

    def _pump(self) -> None:
        source = self._walk()
        try:
            while self._has_room():
                try:
                    item = next(source)
                except StopIteration:
                    return
                self._put(item)
        finally:
            close = getattr(self._source, "close", None)
            if close is not None:
                close()

    async def _pump_asynchronous(self) -> None:
        import asyncio

        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        with self._changed:
            self._cancel = lambda: loop.call_soon_threadsafe(task.cancel)
        try:
            while self._has_room():
                try:
                    item = await self._source.__anext__()
                except StopAsyncIteration:
                    return
                self._put(item)
        finally:
            with self._changed:
                self._cancel = None
            if hasattr(self._source, "aclose"):
                await self._source.aclose()

    async def _all_of(self, source: Any) -> list[Any]:
        items: list[Any] = []
        async for item in source:
            items.append(item)
            if len(items) > self._most:
                await source.aclose()
                break
        return items

    def _is_asynchronous(self) -> bool:
        return hasattr(self._source, "__anext__")

    def _walk(self) -> Iterator[Any]:
        try:
            return iter(self._source)
        except TypeError:
            raise TaskError(
                f"{self._name} gave {type(self._source).__name__}, which cannot be iterated over; a generator node "
                "yields its items"
            ) from None

    def _has_room(self) -> bool:
        """Waits until one more item is wanted; False when none is."""
        with self._changed:
            while len(self._items) >= self._size and not self._closed:
                self._changed.wait()
            return not self._closed

    def _put(self, item: Any) -> None:
        if self._each is not None:
            item = self._each(item)
        with self._changed:
            if not self._closed:
                self._items.append(item)
                self._changed.notify_all()

    # --- what it is not --------------------------------------------------------------------------

    def __repr__(self) -> str:
        return f"<items of the generator {self._name}>"

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise CodecError(
            f"the items of the generator {self._name} can be walked only once, and only by the task that takes them; "
            "return list(...) of what is needed"
        )


def end_all(made: Sequence[Any], *, failed: bool) -> None:
    """Ends those among the values that are generators' items: the task that took them has ended.

    All are told before any is waited for, since one may wait for another. failed: the task has raised, which
    comes before what a generator raises while it cleans up.
    """
    streams = [item for item in made if type(item) is Prefetch]
    for stream in streams:
        stream.stop(abandon=True)
    first: BaseException | None = None
    for stream in reversed(streams):
        try:
            stream.join()
        except BaseException as error:  # the first is raised once all have ended
            first = first or error
    if first is not None and not failed:
        raise first
