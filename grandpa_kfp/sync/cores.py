"""The state of shared objects, in the process that made them, and what can be asked of it.

A `Core` answers requests in the order they came; one that cannot be answered yet waits in it, without a
thread, until another request lets it go on, it is cancelled, or its process is lost. Threads of the owner ask
by `call`, other processes through `serving`. What is stored is what `parcels` makes of values.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from grandpa_kfp_runtime.context import current

Outcome: TypeAlias = "tuple[bool, Any]"
"""(True, what it comes to) or (False, the exception)."""

WAIT = object()
"""What an operation gives that cannot be done yet."""


@dataclass(slots=True, eq=False)
class Request:
    """One operation that was asked for. wait: it may stay pending; client: empty for the owner's own threads."""

    operation: str
    args: tuple[Any, ...]
    wait: bool
    client: str
    answer: Callable[[Outcome], object]
    pending: bool = field(default=True)


class Core:
    """One shared object. Subclasses have a method for each operation, which returns, raises, or gives WAIT."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: list[Request] = []

    def ask(self, request: Request) -> None:
        """Has the request answered, now or when it can be."""
        with self._lock:
            self._requests.append(request)
            done = self._settle()
        _tell(done)

    def call(self, operation: str, args: tuple[Any, ...], wait: bool, timeout_s: float | None) -> Any:
        """Asks, and waits for the answer in this thread. Raises what the operation raises."""
        outcomes: list[Outcome] = []
        waiting: list[threading.Event] = []  # made when it is needed: most requests are answered at once

        def answer(outcome: Outcome) -> None:
            outcomes.append(outcome)
            for answered in waiting:
                answered.set()

        request = Request(operation, args, wait, "", answer)
        try:
            self.ask(request)
            if not outcomes:
                answered = threading.Event()
                waiting.append(answered)
                if not outcomes:
                    self._wait(request, answered, timeout_s)
        except BaseException:  # Ctrl-C in the wait: nobody will take the answer
            self.cancel(request)
            if outcomes:
                self.undo(request, outcomes[0])
            raise
        fine, value = outcomes[0]
        if fine:
            return value
        raise value

    def _wait(self, request: Request, answered: threading.Event, timeout_s: float | None) -> None:
        """Waits in this thread, at the most until its task has ended: one that was given up must take nothing."""

        def give_up() -> None:
            self.cancel(request)

        task = current()
        task.at_end(give_up)
        try:
            if not answered.wait(timeout_s):
                self.cancel(request)
                answered.wait()  # it may have been answered just before
        finally:
            task.not_at_end(give_up)

    def cancel(self, request: Request) -> None:
        """Answers a request that still waits: it was in vain."""
        with self._lock:
            if not request.pending:
                return
            self._requests.remove(request)
            request.pending = False
        request.answer(self._in_vain(request.operation))

    def drop(self, request: Request) -> None:
        """Forgets a request, which nobody waits for any more."""
        with self._lock:
            if request.pending:
                self._requests.remove(request)
                request.pending = False

    def undo(self, request: Request, outcome: Outcome) -> None:
        """The answer did not arrive: what it took is there again."""
        if outcome[0]:
            with self._lock:
                self._give_back(request, outcome[1])
                done = self._settle()
            _tell(done)

    def lost(self, client: str) -> None:
        """The client's process has ended: what it held is free, what it asked for is forgotten."""
        with self._lock:
            self._requests = [item for item in self._requests if item.client != client]
            self._free(client)
            done = self._settle()
        _tell(done)

    def _settle(self) -> list[tuple[Request, Outcome]]:
        done: list[tuple[Request, Outcome]] = []
        moved = True
        while moved:
            moved = False
            for request in tuple(self._requests):
                outcome = self._try(request)
                if outcome is not None:
                    self._requests.remove(request)
                    request.pending = False
                    done.append((request, outcome))
                    moved = True
        return done

    def _try(self, request: Request) -> Outcome | None:
        try:
            value = getattr(self, request.operation)(request, *request.args)
        except Exception as error:  # goes to whoever asked
            return (False, error)
        if value is not WAIT:
            return (True, value)
        return None if request.wait else self._in_vain(request.operation)

    # --- for subclasses --------------------------------------------------------------------------

    def state(self, request: Request) -> Any:
        """The content, from which a new object can be made."""
        raise AttributeError("a core has a state of its own kind")

    def _in_vain(self, operation: str) -> Outcome:
        return (True, False)

    def _give_back(self, request: Request, value: Any) -> None:
        return None

    def _free(self, client: str) -> None:
        return None


def _tell(done: list[tuple[Request, Outcome]]) -> None:
    for request, outcome in done:
        request.answer(outcome)


class QueueCore(Core):
    """Items in order; `maxsize` of 0 is no limit."""

    def __init__(self, maxsize: int, items: list[Any]) -> None:
        super().__init__()
        self._maxsize = maxsize
        self._items = deque(items)
        self._unfinished = len(items)

    def state(self, request: Request) -> tuple[int, list[Any]]:
        return self._maxsize, list(self._items)

    def put(self, _: Request, item: Any) -> Any:
        if 0 < self._maxsize <= len(self._items):
            return WAIT
        self._items.append(item)
        self._unfinished += 1
        return None

    def get(self, _: Request) -> Any:
        return self._items.popleft() if self._items else WAIT

    def size(self, _: Request) -> int:
        return len(self._items)

    def task_done(self, _: Request) -> None:
        if not self._unfinished:
            raise ValueError("task_done() called more often than items were put")
        self._unfinished -= 1

    def join(self, _: Request) -> Any:
        return None if not self._unfinished else WAIT

    def _in_vain(self, operation: str) -> Outcome:
        kinds = {"get": queue.Empty, "put": queue.Full}
        return (False, kinds.get(operation, TimeoutError)())

    def _give_back(self, request: Request, value: Any) -> None:
        if request.operation == "get":
            self._items.appendleft(value)


class SemaphoreCore(Core):
    """A count of permits; a lock is one of one permit. bounded: never more than at the start."""

    def __init__(self, permits: int, bounded: bool) -> None:
        super().__init__()
        self._permits = permits
        self._most = permits if bounded else None
        self._holders: dict[str, int] = {}  # of other processes alone: those that may be lost

    def state(self, request: Request) -> int:
        return self._permits

    def acquire(self, request: Request) -> Any:
        if not self._permits:
            return WAIT
        self._permits -= 1
        if request.client:
            self._holders[request.client] = self._holders.get(request.client, 0) + 1
        return True

    def release(self, request: Request) -> None:
        if self._most is not None and self._permits >= self._most:
            raise RuntimeError("release of a lock that nobody holds")
        self._permits += 1
        holder = request.client if request.client in self._holders else next(iter(self._holders), "")
        if holder:
            self._drop(holder)

    def locked(self, _: Request) -> bool:
        return not self._permits

    def _drop(self, holder: str) -> None:
        self._holders[holder] -= 1
        if not self._holders[holder]:
            del self._holders[holder]

    def _give_back(self, request: Request, value: Any) -> None:
        if request.operation == "acquire" and value is True:
            self._permits += 1
            if request.client in self._holders:
                self._drop(request.client)

    def _free(self, client: str) -> None:
        self._permits += self._holders.pop(client, 0)


class EventCore(Core):
    """A flag that can be waited for."""

    def __init__(self, flag: bool) -> None:
        super().__init__()
        self._flag = flag

    def state(self, request: Request) -> bool:
        return self._flag

    def set(self, _: Request) -> None:
        self._flag = True

    def clear(self, _: Request) -> None:
        self._flag = False

    def is_set(self, _: Request) -> bool:
        return self._flag

    def wait(self, _: Request) -> Any:
        return True if self._flag else WAIT


class ValueCore(Core):
    """One value."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self._value = value

    def state(self, request: Request) -> Any:
        return self._value

    def get(self, _: Request) -> Any:
        return self._value

    def set(self, _: Request, value: Any) -> None:
        self._value = value

    def add(self, _: Request, amount: Any) -> Any:
        self._value = self._value + amount
        return self._value


class ListCore(Core):
    """A list of parcels."""

    def __init__(self, items: list[Any]) -> None:
        super().__init__()
        self._items = list(items)

    def state(self, request: Request) -> list[Any]:
        return list(self._items)

    def get(self, _: Request, index: int | slice) -> Any:
        return self._items[index]

    def set(self, _: Request, index: int | slice, value: Any) -> None:
        self._items[index] = value

    def delete(self, _: Request, index: int | slice) -> None:
        del self._items[index]

    def insert(self, _: Request, index: int, value: Any) -> None:
        self._items.insert(index, value)

    def extend(self, _: Request, values: list[Any]) -> None:
        self._items.extend(values)

    def pop(self, _: Request, index: int) -> Any:
        return self._items.pop(index)

    def remove(self, _: Request, value: Any) -> None:
        self._items.remove(value)

    def size(self, _: Request) -> int:
        return len(self._items)


class DictCore(Core):
    """A dict of plain keys and parcels."""

    def __init__(self, items: dict[Any, Any]) -> None:
        super().__init__()
        self._items = dict(items)

    def state(self, request: Request) -> dict[Any, Any]:
        return dict(self._items)

    def get(self, _: Request, key: Any) -> Any:
        return self._items[key]

    def has(self, _: Request, key: Any) -> bool:
        return key in self._items

    def update(self, _: Request, items: dict[Any, Any]) -> None:
        self._items.update(items)

    def setdefault(self, _: Request, key: Any, value: Any) -> Any:
        return self._items.setdefault(key, value)

    def pop(self, _: Request, key: Any) -> Any:
        return self._items.pop(key)

    def popitem(self, _: Request) -> tuple[Any, Any]:
        return self._items.popitem()

    def clear(self, _: Request) -> None:
        self._items.clear()

    def all(self, _: Request) -> dict[Any, Any]:
        return dict(self._items)

    def keys(self, _: Request) -> list[Any]:
        return list(self._items)

    def size(self, _: Request) -> int:
        return len(self._items)
