"""Which task runs next: dependencies in, ready tasks out. Pure, and linear in tasks and edges.

Tasks are numbers from 0. A `Schedule` neither runs anything nor knows how it is done; it is not thread
safe: `dispatch.py` puts a lock around it.

A task may grow while it runs: `add` puts tasks below it, and the task is taken once more when they have ended.

A task that runs *always* waits until all it waits for has ended, however. A failure goes past it: what waits for it is
lost with what came before it. Where something that it waits for will never succeed it is not ready by itself: once
nothing else is ready, and nothing of that runs, `wind_up` says which such tasks are next.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
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


_NONE: Mapping[int, Collection[int]] = {}
_BITS = 32
_NUMBER = (1 << _BITS) - 1
"""A ready task is one integer, its key: urgency, age, number, from the highest bits down; the lowest goes first."""


def task_of(key: int) -> int:
    return key & _NUMBER


class Schedule:
    """The state of a run: what is ready, what is out, what has ended.

    waits_for: for each task the tasks it waits for, each named once.
    priority: higher goes first among ready tasks, equals in the order of their numbers;
        without it the length of the longest path that still hangs on the task.
    always: the tasks that run always, and which of those that they wait for have to succeed all the same.

    >>> schedule = Schedule([(), (), (1,)])
    >>> schedule.take(), schedule.take(), schedule.take()
    (1, 0, None)
    >>> schedule.finish(1)
    [2]
    >>> schedule = Schedule([(), (0,), (0, 1)], always={2: ()})
    >>> schedule.take(), schedule.fail(0), schedule.take()
    (0, [1], None)
    >>> schedule.wind_up(lambda task: False), schedule.take()
    (([2], []), 2)
    """

    __slots__ = (
        "_ages", "_always", "_followers", "_grown", "_held", "_key", "_lasting", "_missing", "_out", "_parents",
        "_ready", "_reserved", "_stopped", "_vital", "_wounded", "running",
    )  # fmt: skip

    def __init__(
        self,
        waits_for: Sequence[Collection[int]],
        priority: Sequence[float] | None = None,
        always: Mapping[int, Collection[int]] = _NONE,
    ) -> None:
        count = len(waits_for)
        rank: Sequence[float] = remaining_lengths(waits_for) if priority is None else priority
        self._key = [0] * count
        # stable: equals keep their order
        for place, task in enumerate(sorted(range(count), key=rank.__getitem__, reverse=True)):
            self._key[task] = ((place << _BITS) | _NUMBER) << _BITS | task
        self._missing = [len(before) for before in waits_for]
        self._followers: list[list[int] | tuple[()]] = [()] * count
        for task, before in enumerate(waits_for):
            for producer in before:
                self._follow(producer, task)
        self._ready = [self._key[task] for task, missing in enumerate(self._missing) if not missing]
        heapify(self._ready)
        self._grown: dict[int, int] = {}  # of tasks that have grown: at how many missing each is ready; -1: it is
        self._ages: dict[int, int] = {}  # of tasks that grow several times: of all that they become
        self._reserved: set[int] = set()
        self._stopped = False
        self._always: dict[int, tuple[frozenset[int], frozenset[int]]] = {}  # what they wait for, what has to succeed
        self._vital: set[int] = set()  # those that run always and have not ended, and all that they have become
        self._held = False  # only they become ready
        self._out: set[int] = set()  # while there are such: the tasks that run
        self._parents: dict[int, int] = {}  # and which have grown which
        self._lasting: set[int] = set()  # of tasks that have grown: those that will grow once more
        self._wounded: set[int] = set()  # those of which something has failed that they have grown
        self._note_always(0, waits_for, always)
        self.running = 0

    def _note_always(
        self, first: int, waits_for: Sequence[Collection[int]], always: Mapping[int, Collection[int]]
    ) -> None:
        for task, needs in always.items():
            before = frozenset([first + producer for producer in waits_for[task]])
            self._always[first + task] = before, frozenset([first + need for need in needs])
            self._vital.add(first + task)

    def _goes(self, task: int) -> bool:
        """Whether a task may become ready."""
        return not self._stopped and (not self._held or task in self._vital)

    @property
    def is_held_up(self) -> bool:
        """Whether something runs that a task waits for which is to run always."""
        awaited: set[int] = set()
        for task in self._vital:
            if task in self._always:
                awaited |= self._always[task][0]
        for task in self._out:
            at: int | None = task
            while at is not None:
                if at in awaited:
                    return True
                at = self._parents.get(at)
        return False

    @property
    def has_always(self) -> bool:
        """Whether a task is left that runs always."""
        return bool(self._vital)

    def runs_always(self, task: int) -> bool:
        return task in self._always

    def _follow(self, producer: int, task: int) -> None:
        followers = self._followers[producer]
        if followers:
            followers.append(task)
        else:
            self._followers[producer] = [task]

    @property
    def has_ready(self) -> bool:
        return bool(self._ready)

    @property
    def count(self) -> int:
        """How many tasks there are; the next to be added has this number."""
        return len(self._key)

    def take(self) -> int | None:
        """The ready task that goes first; it counts as running from now on. None when none is ready."""
        task = Schedule.peek(self)
        if task is not None:
            heappop(self._ready)
            self.running += 1
            if self._vital:
                self._out.add(task)
        return task

    def peek(self) -> int | None:
        """The task that `take` would give."""
        while self._ready:
            task = self._ready[0] & _NUMBER
            if self._missing[task] >= 0:
                return task
            heappop(self._ready)  # it had grown, and was lost while it was ready to go on
        return None

    def ready(self) -> list[int]:
        """The ready tasks, in the order they will be taken."""
        return [key & _NUMBER for key in sorted(self._ready)]

    def count_ready(self) -> int:
        return len(self._ready)

    def followers(self, task: int) -> Sequence[int]:
        """The tasks that wait for it, before they begin: not those given out behind it, which are where they are
        also while it is made once more, since what it had made was lost.

        >>> schedule = Schedule([(), (0,), (0,)])
        >>> schedule.take(), schedule.reserve(1), schedule.followers(0)
        (0, None, [2])
        """
        missing, reserved, grown = self._missing, self._reserved, self._grown
        return [
            follower
            for follower in self._followers[task]
            if missing[follower] > 0 and follower not in reserved and follower not in grown
        ]

    def missing(self, task: int) -> int:
        """For how many running or waiting tasks it waits; 0 or less for one that is ready, runs or is lost."""
        return self._missing[task]

    def asks(self, task: int) -> bool:
        """Whether the task holds something of the machine while it runs; `rationing.py` knows of such."""
        return False

    def admits(self, task: int) -> bool:
        """Whether a waiting task could run at once if it were ready."""
        return True

    def rest(self, task: int) -> None:
        """A running task pauses, or waits for its outputs to be saved: it holds nothing, and counts as running."""

    def reserve(self, task: int) -> None:
        """A waiting task is given out before it is ready, to run behind what it waits for. It counts as running."""
        self._reserved.add(task)
        self.running += 1
        if self._vital:
            self._out.add(task)

    def finish(self, task: int) -> list[int]:
        """A running task succeeded; returns the tasks that waited for it alone, which are ready now."""
        self.running -= 1
        missing, grown = self._missing, self._grown
        if task in self._reserved:  # ended before what it ran behind, whose outputs are still being saved, or were lost
            self._reserved.discard(task)
            missing[task] = -1
        ready: list[int] = []
        for follower in self._followers[task]:
            missing[follower] -= 1
            left = missing[follower]
            if grown and follower in grown:
                if left == grown[follower]:
                    self._go_on(follower)
            elif not left and self._goes(follower):
                if follower in self._reserved:
                    self._reserved.discard(follower)
                    continue
                heappush(self._ready, self._key[follower])
                ready.append(follower)
        self._followers[task] = ()
        if grown:
            grown.pop(task, None)
            self._ages.pop(task, None)
        if self._vital:
            self._vital.discard(task)
            self._out.discard(task)
        return ready

    def add(
        self,
        task: int,
        waits_for: Sequence[Collection[int]],
        needs: Sequence[int],
        left: int = 0,
        always: Mapping[int, Collection[int]] = _NONE,
        *,
        lasting: bool = False,
    ) -> list[int]:
        """A running task goes on as others: they get the numbers from `count` on, and it waits.

        waits_for: for each new task those of the new ones, counted from 0, that it waits for; needs: those of
        them that the task itself waits for. It is ready once more when no more than `left` of all that it waits
        for are missing, and goes before all others then; `finish` does not tell. New tasks are as urgent as
        the task is; of equally urgent ones the newest go first, so that few are under way; but where a task grows
        several times, which it does with `left`, in the order they were added. always: as of the class, counted from 0.
        lasting: it will go on as more of them, also where one of these has failed; then it is lost with the last.
        Returns the new ones that are ready. A task that was lost meanwhile gets none.

        >>> schedule = Schedule([(), ()])
        >>> schedule.take(), schedule.add(0, [(), (), (0, 1)], [2])
        (0, [2, 3])
        >>> [schedule.take(), schedule.take(), schedule.take()], schedule.finish(2), schedule.finish(3)
        ([2, 3, 1], [], [4])
        >>> schedule.take(), schedule.finish(4), schedule.take()
        (4, [], 0)
        """
        self.running -= 1
        self._out.discard(task)
        if self.is_lost(task):
            return []
        first = len(self._key)
        self._number(task, waits_for, again=left > 0)
        self._missing += [len(before) for before in waits_for]
        self._followers += [()] * len(waits_for)
        for number, before in enumerate(waits_for, first):
            for producer in before:
                self._follow(first + producer, number)
        if always:
            self._note_always(first, waits_for, always)
        if self._vital:
            self._parents.update(dict.fromkeys(range(first, len(self._key)), task))
        if task in self._vital:
            self._vital.update(range(first, len(self._key)))
        self._missing[task] += len(needs)
        self._grown[task] = left
        for need in needs:
            self._follow(first + need, task)
        if lasting:
            self._lasting.add(task)
        elif self._lasting:
            self._lasting.discard(task)
        if task in self._wounded and not lasting:
            self._missing[task] = -1
        elif self._missing[task] <= left:
            self._go_on(task)
        ready = [number for number, before in enumerate(waits_for, first) if not before and self._goes(number)]
        for number in ready:
            heappush(self._ready, self._key[number])
        return ready

    def _number(self, task: int, waits_for: Sequence[Collection[int]], *, again: bool) -> None:
        """Keys for new tasks: later ones are lower, and of those of one call the ones with the longest path."""
        urgency = self._key[task] >> 2 * _BITS << _BITS
        first, count = len(self._key), len(waits_for)
        lowest = _NUMBER - first - count
        if again or task in self._ages:
            age = urgency | self._ages.setdefault(task, lowest)
            self._key += [age << _BITS | number for number in range(first, first + count)]
            return
        lengths = remaining_lengths(waits_for) if count > 1 else [1]
        keys = [0] * count
        for place, number in enumerate(sorted(range(count), key=lengths.__getitem__, reverse=True)):
            keys[number] = (urgency | lowest + place) << _BITS | first + number
        self._key += keys

    def _go_on(self, task: int) -> None:
        self._grown[task] = -1
        if self._goes(task):
            heappush(self._ready, ((~task) << _BITS) | task)  # below all others; what grew last first

    def is_lost(self, task: int) -> bool:
        """Whether a task before it, or one that it has grown, has failed, and it does not go on."""
        return self._missing[task] < 0

    def fail(self, task: int) -> list[int]:
        """A running task failed for good: every task that waits for it, however far, is returned and never runs. Of
        those that have grown it, one that is lasting is returned, and gives the rest of what it becomes all the same.

        >>> schedule = Schedule([(), (0,)])
        >>> schedule.take(), schedule.add(0, [()], [0], lasting=True), schedule.take(), schedule.fail(2)
        (0, [2], 2, [0, 1])
        >>> schedule.take(), schedule.add(0, [()], [0]), schedule.take(), schedule.finish(3), schedule.take()
        (0, [3], 3, [], None)
        """
        self.running -= 1
        self._out.discard(task)
        lost = self._lose_behind(task)
        self._vital.discard(task)
        return lost

    def _lose_behind(self, task: int) -> list[int]:
        lost: list[int] = []
        waiting = [task]
        passed: set[int] = set()
        for failed in waiting:  # grows while it is walked
            for follower in self._followers[failed]:
                if self._missing[follower] > 0:
                    if follower in self._always and failed not in self._always[follower][1]:
                        if follower not in passed:
                            passed.add(follower)
                            waiting.append(follower)
                        continue
                    if follower in self._lasting:
                        self._missing[follower] -= 1
                        if self._missing[follower] == self._grown[follower]:
                            self._go_on(follower)
                        if follower not in self._wounded:
                            self._wounded.add(follower)
                            lost.append(follower)
                            waiting.append(follower)
                        continue
                    self._vital.discard(follower)
                    self._missing[follower] = -1
                    if follower in self._reserved:
                        self._reserved.discard(follower)
                        self._out.discard(follower)
                        self.running -= 1
                    lost.append(follower)
                    waiting.append(follower)
        # A lost task's count may have been above one: later finishes of its other producers make it
        # more negative, never zero.
        return lost

    def put_back(self, task: int) -> None:
        """A running task is ready once more: another attempt. A reserved one waits again.

        >>> schedule = Schedule([()])
        >>> schedule.take(), schedule.add(0, [()], [0], left=1), schedule.take(), schedule.put_back(0), schedule.take()
        (0, [1], 0, None, 0)
        """
        if self.is_lost(task) and task not in self._grown:
            return  # what it was given out behind has failed for good meanwhile, so that it counts no more
        self.running -= 1
        self._out.discard(task)
        self._reserved.discard(task)
        if task in self._grown:
            if not self.is_lost(task):
                self._go_on(task)
        elif self._goes(task) and not self._missing[task]:
            heappush(self._ready, self._key[task])

    def hold(self) -> None:
        """From now on no task becomes ready but those that run always, and what they become. Those that run may end."""
        self._held = True
        self._ready = [key for key in self._ready if key & _NUMBER in self._vital]
        heapify(self._ready)

    def wind_up(self, succeeded: Callable[[int], bool]) -> tuple[list[int], list[int]]:
        """Nothing else is ready, nothing that they wait for runs: those tasks that run always are ready which wait for
        none of each other; and those that never run, since what they need has not succeeded.

        succeeded: whether a task has. To be called again when nothing is ready once more. After `stop` nothing counts
        as running any more.
        """
        left = sorted(
            task for task in self._vital if task in self._always and self._missing[task] > 0 and task not in self._grown
        )
        if not left:
            return [], []
        if self._stopped:
            self.running = 0
            self._out.clear()
            self._vital = set(left)
        self._stopped, self._held = False, True
        self._ready.clear()
        lost: list[int] = []
        for task in left:
            if task in self._vital and any(
                not succeeded(need) and need not in self._vital for need in self._always[task][1]
            ):
                self._vital.discard(task)
                self._missing[task] = -1
                lost += [task, *self._lose_behind(task)]
        ready = []
        for task in left:
            if task in self._vital:
                self._missing[task] = len(self._always[task][0] & self._vital)
                if not self._missing[task]:
                    heappush(self._ready, self._key[task])
                    ready.append(task)
        return ready, lost

    def stop(self) -> None:
        """No further task becomes ready; those that run may still end."""
        self._stopped = True
        self._ready.clear()
