"""An executor whose lanes are daemon threads, started when there is work for them.

Daemon threads, so that nothing a task does can keep the interpreter from ending. What a lane does with
a task is the caller's: the graph engine runs a node's body on it, the YAML engine a process.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from queue import SimpleQueue


def default_lanes() -> int:
    """As many threads as the standard library's pool takes: tasks wait for disks and networks too."""
    return min(32, (os.cpu_count() or 1) + 4)


class ThreadExecutor:
    """Runs `work(task)` on a thread; what that returns is the task that the thread runs next.

    crashed: told of an exception that `work` raises, which is a defect, after which the thread ends.
    """

    __slots__ = ("_crashed", "_idle", "_lock", "_name", "_started", "_tasks", "_work", "lanes")

    def __init__(
        self,
        lanes: int,
        work: Callable[[int], int | None],
        crashed: Callable[[BaseException], None],
        *,
        name: str = "grandpa",
    ) -> None:
        self.lanes = lanes
        self._work = work
        self._crashed = crashed
        self._name = name
        self._tasks: SimpleQueue[int | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0
        self._started = 0

    def submit(self, task: int) -> None:
        with self._lock:
            waiting = self._idle > 0
            if waiting:
                self._idle -= 1
            else:
                self._started += 1
        if waiting:
            self._tasks.put(task)
        else:
            name = f"{self._name}-{self._started}"
            threading.Thread(target=self._lane, args=(task,), name=name, daemon=True).start()

    def close(self) -> None:
        """Idle threads end; a busy one ends when its task does, or with the process."""
        for _ in range(self._started):
            self._tasks.put(None)

    def _lane(self, first: int) -> None:
        task: int | None = first
        try:
            while task is not None:
                following = self._work(task)
                if following is None:
                    with self._lock:
                        self._idle += 1
                    following = self._tasks.get()
                task = following
        except BaseException as defect:
            self._crashed(defect)
