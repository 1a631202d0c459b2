"""What tasks change of their process and the next task would not expect: the current folder, how signals are taken.

`worker` puts it back between messages; what its tasks start in the meantime inherits what they have changed.
"""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress


class Manners:
    """Made on the process's main thread, with signals as they are to stay. folder: the current one of each task."""

    __slots__ = ("_signals", "folder")

    def __init__(self) -> None:
        self.folder = ""
        self._signals = [
            (number, signal.getsignal(number)) for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGINT)
        ]

    def mend(self) -> None:
        """Puts back what is not as it was: signals of the thread that calls, and, on the main one, of the process.

        >>> _ = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        >>> Manners().mend()
        >>> signal.pthread_sigmask(signal.SIG_BLOCK, ())
        set()
        """
        if signal.pthread_sigmask(signal.SIG_BLOCK, ()):
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
        if threading.current_thread() is threading.main_thread():
            for number, before in self._signals:
                if signal.getsignal(number) is not before:
                    signal.signal(number, before)

    def go_home(self) -> None:
        """Back to the folder, where it is still there."""
        if self.folder and current_folder() != self.folder:
            with suppress(OSError):
                os.chdir(self.folder)


def current_folder() -> str:
    """Where this process is; empty in a folder that is gone."""
    try:
        return os.getcwd()
    except OSError:
        return ""
