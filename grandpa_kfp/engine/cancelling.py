"""How a run is stopped from outside: by a token that engines look at, and by Ctrl-C."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class CancelToken:
    """Stops the runs that were given it, `run(workflow, cancel=token)`, whoever calls `cancel`.

    Nothing of such a run starts any more, what runs is ended, and `run` raises RunCancelled, its `run` as far as it
    came. One token may serve many runs; a run that is given a cancelled one does not begin.

    >>> from grandpa_kfp import Node, RunCancelled, run
    >>> @Node
    ... def one() -> int:
    ...     return 1
    >>> token = CancelToken()
    >>> token.cancel("not today")
    >>> try:
    ...     run(one, cancel=token, record=False)
    ... except RunCancelled as error:
    ...     print(error)
    one was cancelled: not today
    """

    __slots__ = ("_cancelled", "_reason")  # no lock: a signal's handler may call `cancel`, whatever it interrupts

    def __init__(self) -> None:
        self._cancelled = False
        self._reason = ""

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._cancelled

    @property
    def reason(self) -> str:
        """What the first `cancel` said."""
        return self._reason

    def cancel(self, reason: str = "") -> None:
        """Stops the runs, from any thread, callback or signal handler; returns at once. reason: for the error."""
        if not self._cancelled:
            self._reason = reason
            self._cancelled = True

    def __repr__(self) -> str:
        return f"<CancelToken: {'cancelled' if self._cancelled else 'not cancelled'}>"


@contextmanager
def deaf_to_ctrl_c() -> Iterator[None]:
    """Ctrl-C is not heard meanwhile: for what takes no time and must not be left half done."""
    ours = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT) if ours else None
    if before is not signal.default_int_handler:  # another's handler is its own affair
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
