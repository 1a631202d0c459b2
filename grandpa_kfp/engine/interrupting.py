"""Ends what runs on a thread: an exception raised inside it from another one.

For bodies on threads of this process, when their time is over or their run ends. It reaches Python code at its
next step; a call that waits in C (`time.sleep`, a socket, a lock) has to come back first, and until then the thread
goes on without anybody who waits for it.
"""

from __future__ import annotations

import threading


class Interrupted(BaseException):
    """Raised in a body that nobody waits for. `finally` and `with` do their work, `except Exception` lets it pass."""


class Stay:
    """The time that a thread is in a body: `with stay:`. Only then, and once, `interrupt` reaches it."""

    __slots__ = ("_ident", "_lock", "_sent")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ident = 0
        self._sent = False

    def __enter__(self) -> None:
        self._ident = threading.get_ident()

    def __exit__(self, *_: object) -> None:
        with self._lock:
            ident, self._ident = self._ident, 0
        if self._sent:  # it may not have come up yet, and must not do so in whatever the thread does next
            _send(ident, None)

    @property
    def lasts(self) -> bool:
        """Whether the thread is in the body."""
        return self._ident != 0

    def interrupt(self) -> None:
        """Raise `Interrupted` in the body, if the thread is in it and has not been told yet."""
        with self._lock:
            if self._ident and not self._sent:
                self._sent = True
                _send(self._ident, Interrupted)


def _send(ident: int, kind: type[BaseException] | None) -> None:
    """kind: None takes back what has not come up."""
    try:
        import ctypes

        raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
    except (ImportError, AttributeError):  # an interpreter without it: bodies cannot be interrupted
        return
    raise_in(ctypes.c_ulong(ident), None if kind is None else ctypes.py_object(kind))
