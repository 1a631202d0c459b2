"""The shared objects that users make. Each method is one request to the object's core, done there at once and whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, Generic, TypeVar, overload

from .cores import DictCore, EventCore, ListCore, QueueCore, SemaphoreCore, ValueCore
from .parcels import enclosed, key, opened
from .shared import Shared

T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D")
_NONE: Any = object()  # no default


class Queue(Shared, Generic[T]):
    """Items in the order they were put; as `queue.Queue`. maxsize: how many it holds, 0 for any number.

    >>> numbers = Queue[int]()
    >>> numbers.put(1)
    >>> numbers.get(timeout=5), numbers.empty()
    (1, True)
    """

    __slots__ = ()
    kind: ClassVar[str] = "Queue"

    def __init__(self, maxsize: int = 0, items: Iterable[T] = ()) -> None:
        self._own(QueueCore(maxsize, [enclosed(item) for item in items]))

    def put(self, item: T, block: bool = True, timeout: float | None = None) -> None:
        """Adds an item. timeout: seconds to wait for room. Raises `queue.Full`."""
        self._ask("put", enclosed(item, "the item"), wait=block, timeout_s=timeout)

    def get(self, block: bool = True, timeout: float | None = None) -> T:
        """Takes the first item. timeout: seconds to wait for one, None for ever. Raises `queue.Empty`."""
        item: T = opened(self._ask("get", wait=block, timeout_s=timeout))
        return item

    def put_nowait(self, item: T) -> None:
        """Adds an item. Raises `queue.Full`."""
        self.put(item, block=False)

    def get_nowait(self) -> T:
        """Takes the first item. Raises `queue.Empty`."""
        return self.get(block=False)

    def qsize(self) -> int:
        """How many items wait."""
        return int(self._ask("size"))

    def empty(self) -> bool:
        return self.qsize() == 0

    def task_done(self) -> None:
        """An item that was taken has been dealt with. Raises ValueError for more than were put."""
        self._ask("task_done")

    def join(self, timeout: float | None = None) -> None:
        """Waits until every item that was put has been dealt with. Raises TimeoutError."""
        self._ask("join", wait=True, timeout_s=timeout)

    def _description(self) -> tuple[Any, ...]:
        maxsize, items = self._content()
        return maxsize, [opened(item) for item in items]


class Value(Shared, Generic[T]):
    """One value: `.value` reads and sets it, `add` changes a number in one step.

    >>> count = Value(0)
    >>> count.add(2), count.value
    (2, 2)
    """

    __slots__ = ()
    kind: ClassVar[str] = "Value"

    def __init__(self, value: T) -> None:
        self._own(ValueCore(enclosed(value)))

    @property
    def value(self) -> T:
        return self.get()

    @value.setter
    def value(self, value: T) -> None:
        self.set(value)

    def get(self) -> T:
        found: T = opened(self._ask("get"))
        return found

    def set(self, value: T) -> None:
        self._ask("set", enclosed(value))

    def add(self, amount: T) -> T:
        """Adds a number, or any immutable value that `+` takes, with nobody in between; the sum."""
        found: T = self._ask("add", amount)
        return found

    def _description(self) -> tuple[Any, ...]:
        return (opened(self._content()),)


class List(Shared, Generic[T]):
    """A list. What is taken out is a copy: set it again to change it, `rows[0] = changed`.

    >>> rows = List([1, 2])
    >>> rows.append(3)
    >>> list(rows), rows[-1], len(rows)
    ([1, 2, 3], 3, 3)
    """

    __slots__ = ()
    kind: ClassVar[str] = "List"

    def __init__(self, items: Iterable[T] = ()) -> None:
        self._own(ListCore([enclosed(item) for item in items]))

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> Any:
        found = self._ask("get", index)
        return [opened(item) for item in found] if isinstance(index, slice) else opened(found)

    @overload
    def __setitem__(self, index: int, value: T) -> None: ...
    @overload
    def __setitem__(self, index: slice, value: Iterable[T]) -> None: ...
    def __setitem__(self, index: int | slice, value: Any) -> None:
        self._ask("set", index, [enclosed(item) for item in value] if isinstance(index, slice) else enclosed(value))

    def __delitem__(self, index: int | slice) -> None:
        self._ask("delete", index)

    def __len__(self) -> int:
        return int(self._ask("size"))

    def __bool__(self) -> bool:
        return len(self) > 0

    def __iter__(self) -> Iterator[T]:
        """Over the items that are in it now."""
        return iter(self[:])

    def __contains__(self, value: object) -> bool:
        return value in self[:]

    def append(self, value: T) -> None:
        self._ask("extend", [enclosed(value)])

    def extend(self, values: Iterable[T]) -> None:
        self._ask("extend", [enclosed(value) for value in values])

    def insert(self, index: int, value: T) -> None:
        self._ask("insert", index, enclosed(value))

    def pop(self, index: int = -1) -> T:
        """Takes an item out. Raises IndexError."""
        found: T = opened(self._ask("pop", index))
        return found

    def remove(self, value: T) -> None:
        """Takes the first equal item out. Raises ValueError."""
        self._ask("remove", enclosed(value))

    def clear(self) -> None:
        self._ask("delete", slice(None))

    def _description(self) -> tuple[Any, ...]:
        return ([opened(item) for item in self._content()],)


class Dict(Shared, Generic[K, V]):
    """A dict of plain keys. What is taken out is a copy: set it again to change it.

    >>> ages = Dict({"a": 1})
    >>> ages["b"] = 2
    >>> dict(ages.items()), ages.get("c"), "a" in ages
    ({'a': 1, 'b': 2}, None, True)
    """

    __slots__ = ()
    kind: ClassVar[str] = "Dict"

    def __init__(self, items: Mapping[K, V] | Iterable[tuple[K, V]] = ()) -> None:
        self._own(DictCore({key(name): enclosed(value) for name, value in dict(items).items()}))

    def __getitem__(self, name: K) -> V:
        found: V = opened(self._ask("get", key(name)))
        return found

    def __setitem__(self, name: K, value: V) -> None:
        self._ask("update", {key(name): enclosed(value)})

    def __delitem__(self, name: K) -> None:
        self._ask("pop", key(name))

    def __len__(self) -> int:
        return int(self._ask("size"))

    def __bool__(self) -> bool:
        return len(self) > 0

    def __iter__(self) -> Iterator[K]:
        """Over the keys that are in it now."""
        return iter(self.keys())

    def __contains__(self, name: object) -> bool:
        return bool(self._ask("has", key(name)))

    @overload
    def get(self, name: K) -> V | None: ...
    @overload
    def get(self, name: K, default: D) -> V | D: ...
    def get(self, name: K, default: Any = None) -> Any:
        try:
            return self[name]
        except KeyError:
            return default

    @overload
    def pop(self, name: K) -> V: ...
    @overload
    def pop(self, name: K, default: D) -> V | D: ...
    def pop(self, name: K, default: Any = _NONE) -> Any:
        """Takes an item out. Raises KeyError where there is none and no default."""
        try:
            return opened(self._ask("pop", key(name)))
        except KeyError:
            if default is _NONE:
                raise
            return default

    def popitem(self) -> tuple[K, V]:
        """Takes the item out that was added last. Raises KeyError for an empty dict."""
        name, value = self._ask("popitem")
        return name, opened(value)

    def setdefault(self, name: K, default: V) -> V:
        """The value of the key, which is set to the default where there is none, with nobody in between."""
        found: V = opened(self._ask("setdefault", key(name), enclosed(default)))
        return found

    def update(self, items: Mapping[K, V] | Iterable[tuple[K, V]]) -> None:
        self._ask("update", {key(name): enclosed(value) for name, value in dict(items).items()})

    def clear(self) -> None:
        self._ask("clear")

    def keys(self) -> list[K]:
        return list(self._ask("keys"))

    def values(self) -> list[V]:
        return [opened(value) for value in self._ask("all").values()]

    def items(self) -> list[tuple[K, V]]:
        return [(name, opened(value)) for name, value in self._ask("all").items()]

    def _description(self) -> tuple[Any, ...]:
        return ({name: opened(value) for name, value in self._content().items()},)


class Semaphore(Shared):
    """A count of permits: `acquire` takes one, or waits for it, `release` gives one back.

    A process that ends gives back what it has taken.

    >>> with Semaphore(2) as held:
    ...     held
    True
    """

    __slots__ = ()
    kind: ClassVar[str] = "Semaphore"

    def __init__(self, value: int = 1) -> None:
        if value < 0:
            raise ValueError("a semaphore starts with 0 or more permits")
        self._own(SemaphoreCore(value, bounded=False))

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Whether it was had. timeout: seconds to wait, None for ever."""
        return bool(self._ask("acquire", wait=blocking, timeout_s=None if timeout == -1 else timeout))

    def release(self) -> None:
        self._ask("release")

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *error: object) -> None:
        self.release()

    def _description(self) -> tuple[Any, ...]:
        return (self._content(),)


class Lock(Semaphore):
    """Held by one at a time, as `threading.Lock`; free again when the process that holds it ends.

    >>> lock = Lock()
    >>> with lock:
    ...     lock.acquire(blocking=False)
    False
    """

    __slots__ = ()
    kind: ClassVar[str] = "Lock"

    def __init__(self) -> None:
        self._own(SemaphoreCore(1, bounded=True))

    def locked(self) -> bool:
        return bool(self._ask("locked"))

    def _description(self) -> tuple[Any, ...]:
        return ()


class Event(Shared):
    """A flag that can be waited for, as `threading.Event`.

    >>> ready = Event()
    >>> ready.wait(timeout=0), ready.set(), ready.wait()
    (False, None, True)
    """

    __slots__ = ()
    kind: ClassVar[str] = "Event"

    def __init__(self, is_set: bool = False) -> None:
        self._own(EventCore(is_set))

    def set(self) -> None:
        self._ask("set")

    def clear(self) -> None:
        self._ask("clear")

    def is_set(self) -> bool:
        return bool(self._ask("is_set"))

    def wait(self, timeout: float | None = None) -> bool:
        """Whether the flag is set. timeout: seconds to wait for it, None for ever."""
        return bool(self._ask("wait", wait=True, timeout_s=timeout))

    def _description(self) -> tuple[Any, ...]:
        return (self._content(),)
