"""`ProgressBar`: how far a node is, told as events while it runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Sized
from types import TracebackType
from typing import TypeVar

from ..context import log_of_task
from .checks import checked_name, number
from .entries import Bar

T = TypeVar("T")
_EVERY_S = 0.1


class ProgressBar:
    """Shows how far a node is: `with ProgressBar("epochs", total=10) as bar: ... bar.update()`.

    name: what it counts; one task may have several bars, each of another name. total: how many there will be, None
    where nobody knows. It is shown below its task's line by `grandpa run`, told as `ProgressMade` events, some a
    second at most, on every engine, and stays with the run's record. Any thread of the task may update it. Outside a
    task it counts, and shows nothing.

    Raises TypeError, ValueError for a name or number that is none.

    >>> with ProgressBar("epochs", total=3) as bar:
    ...     for epoch in range(3):
    ...         bar.update()
    >>> bar.done
    3
    >>> [2 * x for x in ProgressBar.over([1, 2], name="rows")]
    [2, 4]
    """

    def __init__(self, name: str, total: float | None = None) -> None:
        self.name = checked_name(name, "ProgressBar")
        self.total = 0 if total is None else number(total, "ProgressBar, total")
        if not self.total >= 0:
            raise ValueError(f"ProgressBar {name}: total must not be negative, but is {total!r}")
        self.done: float = 0
        self._log = log_of_task()
        self._lock = threading.Lock()
        self._began = time.time()
        self._next = 0.0
        self._tell()

    def update(self, n: float = 1) -> None:
        """So many more are done."""
        with self._lock:
            self.done += n
        if time.monotonic() >= self._next or self.done == self.total:
            self._tell()

    def close(self) -> None:
        """Tells where it has come to at last."""
        self._tell()

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @classmethod
    def over(cls, items: Iterable[T], *, name: str = "items", total: float | None = None) -> Iterator[T]:
        """The items, each counted when the next one is asked for. total: by default their number, where it is known."""
        if total is None and isinstance(items, Sized):
            total = len(items)
        with cls(name, total) as bar:
            for item in items:
                yield item
                bar.update()

    def _tell(self) -> None:
        self._next = time.monotonic() + _EVERY_S
        if self._log is not None:
            self._log.bar(self.name, Bar(float(self.done), float(self.total), self._began, time.time()))
