"""Which task runs next: dependencies in, ready tasks out. Pure, and linear in tasks and edges.

Tasks are numbers from 0. A `Schedule` neither runs anything nor knows how it is done; it is not thread
safe: `dispatch.py` puts a lock around it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from heapq import heapify, heappop, heappush


def remaining_lengths(waits_for: Sequence[Collection[int]]) -> list[int]:
    """For each task, how many tasks the longest path from it to an end holds, itself included.

    Raises ValueError, naming a task on it, when the tasks wait for each other in a circle.

    >>> remaining_lengths([(), (0,), (0, 1)])
    [3, 2, 1]
    """
    lengths = [1] * len(waits_for)
    unseen = [0] * len(waits_for)  # successors whose length is not yet known
    for before in waits_for:
        for producer in before:
            unseen[producer] += 1
    known = [task for task, count in enumerate(unseen) if not count]
    for task in known:  # grows while it is walked
        longer = lengths[task] + 1
        for producer in waits_for[task]:
            if lengths[producer] < longer:
                lengths[producer] = longer
            unseen[producer] -= 1
            if not unseen[producer]:
                known.append(producer)
    if len(known) < len(waits_for):
        raise ValueError(f"task {next(task for task, count in enumerate(unseen) if count)} waits for itself")
    return lengths


class Schedule:
    """The state of a run: what is ready, what is out, what has ended.

    waits_for: for each task the tasks it waits for, each named once.
    priority: higher goes first among ready tasks, equals in the order of their numbers;
        without it the length of the longest path that still hangs on the task.

    >>> schedule = Schedule([(), (), (1,)])
    >>> schedule.take(), schedule.take(), schedule.take()
    (1, 0, None)
    >>> schedule.finish(1)
    [2]
    """

    __slots__ = ("_followers", "_missing", "_place", "_ready", "_reserved", "_stopped", "_tasks", "running")

    def __init__(self, waits_for: Sequence[Collection[int]], priority: Sequence[float] | None = None) -> None:
        count = len(waits_for)
        rank: Sequence[float] = remaining_lengths(waits_for) if priority is None else priority
        self._tasks = sorted(range(count), key=rank.__getitem__, reverse=True)  # stable: equals keep their order
        self._place = [0] * count
        for place, task in enumerate(self._tasks):
            self._place[task] = place
        self._missing = [len(before) for before in waits_for]
        self._followers: list[list[int]] = [[] for _ in range(count)]
        for task, before in enumerate(waits_for):
            for producer in before:
                self._followers[producer].append(task)
        self._ready = [self._place[task] for task, missing in enumerate(self._missing) if not missing]
        heapify(self._ready)
        self._reserved: set[int] = set()
        self._stopped = False
        self.running = 0

    @property
    def has_ready(self) -> bool:
        return bool(self._ready)

    def take(self) -> int | None:
        """The ready task that goes first; it counts as running from now on. None when none is ready."""
        if not self._ready:
            return None
        self.running += 1
        return self._tasks[heappop(self._ready)]

    def ready(self) -> list[int]:
        """The ready tasks, in the order they will be taken."""
        return [self._tasks[place] for place in sorted(self._ready)]

    def peek(self) -> int | None:
        """The task that `take` would give."""
        return self._tasks[self._ready[0]] if self._ready else None

    def count_ready(self) -> int:
        return len(self._ready)

    def followers(self, task: int) -> Sequence[int]:
        """The tasks that wait for it."""
        return self._followers[task]

    def missing(self, task: int) -> int:
        """For how many running or waiting tasks it waits; 0 or less for one that is ready, runs or is lost."""
        return self._missing[task]

    def reserve(self, task: int) -> None:
        """A waiting task is given out before it is ready, to run behind what it waits for. It counts as running."""
        self._reserved.add(task)
        self.running += 1

    def finish(self, task: int) -> list[int]:
        """A running task succeeded; returns the tasks that waited for it alone, which are ready now."""
        self.running -= 1
        missing = self._missing
        ready: list[int] = []
        for follower in self._followers[task]:
            missing[follower] -= 1
            if not missing[follower] and not self._stopped:
                if follower in self._reserved:
                    self._reserved.discard(follower)
                    continue
                heappush(self._ready, self._place[follower])
                ready.append(follower)
        return ready

    def fail(self, task: int) -> list[int]:
        """A running task failed for good: every task that waits for it, however far, is returned and never runs."""
        self.running -= 1
        lost: list[int] = []
        waiting = [task]
        for failed in waiting:  # grows while it is walked
            for follower in self._followers[failed]:
                if self._missing[follower] > 0:
                    self._missing[follower] = -1
                    if follower in self._reserved:
                        self._reserved.discard(follower)
                        self.running -= 1
                    lost.append(follower)
                    waiting.append(follower)
        # A lost task's count may have been above one: later finishes of its other producers make it
        # more negative, never zero.
        return lost

    def put_back(self, task: int) -> None:
        """A running task is ready once more: another attempt. A reserved one waits again."""
        self.running -= 1
        self._reserved.discard(task)
        if not self._stopped and not self._missing[task]:
            heappush(self._ready, self._place[task])

    def stop(self) -> None:
        """No further task becomes ready; those that run may still end."""
        self._stopped = True
        self._ready.clear()
