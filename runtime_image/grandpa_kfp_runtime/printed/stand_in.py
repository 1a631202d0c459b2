"""Stand-ins for `sys.stdout` and `sys.stderr`, in place while tasks run: what a task's code writes goes to its task.

Whose it is says the context: a thread that a task starts with a copy of its context is the task's too. Everything
else, and what processes print that a task forks, goes where it always went.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

from ..context import output_here
from ..events.kinds import Stream


class StandIn:
    """own: the stream that it stands for, and is in everything but where text goes."""

    def __init__(self, name: Stream, own: Any) -> None:
        self._name: Stream = name
        self._own = own
        self._second = -1
        if hasattr(own, "buffer"):
            self.buffer = _Bytes(self, own)

    def write(self, text: str) -> int:
        output = output_here()
        if output is None or _forked:
            written: int = self._own.write(text)
            return written
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        output.write(self._name, text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """A task's lines go out by themselves."""
        if output_here() is None or _forked:
            self._own.flush()

    def fileno(self) -> int:
        """In a task another number of the same file, by which `input` sees that its question must pass through here."""
        number: int = self._own.fileno()
        if output_here() is None or _forked:
            return number
        with _LOCK:
            if self._second < 0:
                self._second = os.dup(number)
            return self._second

    def end(self) -> Any:
        """The stream that it stood for."""
        if self._second >= 0:
            os.close(self._second)
            self._second = -1
        return self._own

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._own)

    def __repr__(self) -> str:
        return f"<grandpa-kfp's stand-in for {self._own!r}>"


class _Bytes:
    """`sys.stdout.buffer`."""

    def __init__(self, text: StandIn, own: Any) -> None:
        self._text = text
        self._own = own

    def write(self, data: Any) -> int:
        if output_here() is None or _forked:
            written: int = self._own.buffer.write(data)
            return written
        self._text.write(bytes(data).decode("utf-8", "replace"))
        return len(data)

    def flush(self) -> None:
        if output_here() is None or _forked:
            self._own.buffer.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own.buffer, name)


class _Asking:
    """`sys.stdin`: before a task reads a line, what it asks is shown, though its line has not ended."""

    def __init__(self, own: Any) -> None:
        self._own = own

    def readline(self, *args: int) -> str:
        output = output_here()
        if output is not None and not _forked:
            time.sleep(_LINES_BEFORE_S)
            shown = sys.stdout._own if isinstance(sys.stdout, StandIn) else sys.stdout
            shown.write(output.unfinished())
            shown.flush()
        line: str = self._own.readline(*args)
        return line

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._own)


def put_in_place() -> None:
    """For the rest of this process's life."""
    global _users
    with _LOCK:
        _users += 1
        if _users == 1:
            _stand_in()


@contextmanager
def captured() -> Iterator[None]:
    """While any caller is inside, stand-ins are in place; the last one puts back what was there."""
    global _users
    put_in_place()
    try:
        yield
    finally:
        with _LOCK:
            _users -= 1
            if not _users:
                for name in _NAMES:
                    found = getattr(sys, name)
                    if isinstance(found, StandIn):  # else somebody has put in another one meanwhile, and knows why
                        setattr(sys, name, found.end())
                if isinstance(sys.stdin, _Asking):
                    sys.stdin = sys.stdin._own


def _stand_in() -> None:
    for name in _NAMES:
        own = getattr(sys, name)
        if own is not None and not isinstance(own, StandIn):
            setattr(sys, name, StandIn(name, own))
    if sys.stdin is not None and not isinstance(sys.stdin, _Asking):
        sys.stdin = cast(TextIO, _Asking(sys.stdin))


def _in_child() -> None:
    global _forked, _LOCK
    _forked = True
    _LOCK = threading.Lock()


_LINES_BEFORE_S = 0.06
"""By then the lines before a question are shown."""
_NAMES: tuple[Stream, ...] = ("stdout", "stderr")
_LOCK = threading.Lock()
_users = 0
_forked = False
os.register_at_fork(after_in_child=_in_child)
