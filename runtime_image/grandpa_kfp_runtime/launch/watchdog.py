"""The task's timeout, SIGTERM and its engine's end, watched by a thread: they end the task whatever its code does.

A Python signal handler runs only when the main thread comes back to the interpreter, which a long call
into a library may not do before the pod is killed. So the signal's number is written to a pipe by the
interpreter's own handler at once, and the thread that waits there reports and ends the process.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

from ..errors import RunCancelled, TaskError, TaskTimeout

End = Callable[[TaskError, "FrameType | None"], int]
"""Reports why the task ends and where its main thread is; returns the exit code."""


class _Orphaned(RunCancelled):
    """The local engine's process is gone."""


class Watchdog:
    """One a process, made and started in the main thread.

    timeout_s: 0 for none. end: called in the watching thread, at most once, and only when the task has
    not ended by itself; the process is gone after it. parent: a pipe that comes to its end when the local engine's
    process does, however it was ended; then the task's whole group of processes is killed.
    """

    def __init__(self, timeout_s: float, end: End, parent: int | None = None) -> None:
        self._timeout_s = timeout_s
        self._parent = parent
        self._end = end
        self._ended = threading.Lock()
        self._owner = os.getpid()
        self._main = threading.get_ident()
        self._read, self._write = os.pipe()

    def start(self) -> None:
        for descriptor in (self._read, self._write):
            os.set_blocking(descriptor, False)
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        os.register_at_fork(before=_hold_signal, after_in_parent=_release_signal, after_in_child=self._forget)
        threading.Thread(target=self._watch, name="grandpa-watchdog", daemon=True).start()

    def claim(self) -> bool:
        """Whether the caller is the first to end the task: nothing else will from then on."""
        return self._ended.acquire(blocking=False)

    def claim_or_wait(self) -> None:
        """For the main thread, before it says how the task ended: returns only if nobody has said it yet."""
        if not self.claim():
            threading.Event().wait()  # the watching thread ends the process in a moment

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        """Runs when the main thread gets to it; for the case that someone has taken the wake-up pipe."""
        if os.getpid() == self._owner:
            self._wake(number)

    def _wake(self, number: int) -> None:
        try:
            os.write(self._write, bytes([number]))
        except BlockingIOError:
            return  # so many signals are waiting that one more says nothing new

    def _watch(self) -> None:
        error = self._wait()
        if not self.claim():
            return
        code = 1
        try:
            code = self._end(error, sys._current_frames().get(self._main))
        finally:
            if isinstance(error, _Orphaned) and os.getpgrp() == os.getpid():
                os.killpg(0, signal.SIGKILL)  # the engine would have killed the task's children with it
            os._exit(code)

    def _wait(self) -> TaskError:
        due = time.monotonic() + self._timeout_s if self._timeout_s else None
        while True:
            left = None if due is None else max(0.0, due - time.monotonic())
            watched = [self._read] if self._parent is None else [self._read, self._parent]
            ready = select.select(watched, [], [], left)[0]
            if not ready:
                return TaskTimeout(f"it ran longer than its timeout_s of {self._timeout_s:g} s")
            if self._parent in ready:
                return _Orphaned("the process that ran the workflow was killed")
            numbers = os.read(self._read, 512)
            # a handler of the user's own has the say over SIGTERM
            if signal.SIGTERM in numbers and signal.getsignal(signal.SIGTERM) == self._on_signal:
                return RunCancelled("it was stopped from outside (SIGTERM)")

    def _forget(self) -> None:
        """In a forked child, which shares the pipe: a signal to it is none to the task."""
        if signal.getsignal(signal.SIGTERM) == self._on_signal:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _release_signal()


_held = threading.local()


def _hold_signal() -> None:
    """Before a fork: a signal to the new child waits until it has forgotten the pipe."""
    _held.mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])


def _release_signal() -> None:
    mask = getattr(_held, "mask", None)  # none for a fork that was under way when the watchdog started
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
