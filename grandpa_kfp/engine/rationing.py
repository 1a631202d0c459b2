"""A schedule whose tasks ask for something of the machine: which ready task may start now. Pure, as `scheduler.py` is.

The rule. Of all ready tasks the most urgent one goes first. One that asks for what is not free steps aside and
*reserves*: from then on a task that asks for something starts only if what the first one waits for is left to it.
So many small tasks never starve a big one, and what the big one does not need is used meanwhile. Tasks that ask
for nothing pass. One that asks for more than there is waits until nothing else runs, and then runs alone.

No deadlock: a task takes all that it asks for at once, and only while it runs; when it ends, fails, pauses before
another attempt or goes on as others, it holds nothing. With nothing running everything fits.

While no task of a run asks for anything, each method is the schedule's own behind one comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from heapq import heappop, heappush

from .resources import Budget, Request
from .scheduler import Schedule, task_of


class RationedSchedule(Schedule):
    """requests: what each task asks for, None for nothing; more are there before `add` is called.

    >>> from .resources import Limits
    >>> limits = Limits({"cpu": 2})
    >>> small, big = limits.request({"cpu": 1000}, "small"), limits.request({"cpu": 2000}, "big")
    >>> schedule = RationedSchedule([(), (), (), ()], None, [small, big, small, None], Budget(limits))
    >>> schedule.take(), schedule.take(), schedule.take()
    (0, 3, None)
    >>> schedule.finish(0), schedule.take(), schedule.take(), schedule.finish(1), schedule.take()
    ([], 1, None, [], 2)
    """

    __slots__ = ("_aside", "_counts", "_for_whom", "_resting", "budget", "requests")

    def __init__(
        self,
        waits_for: Sequence[Collection[int]],
        priority: Sequence[float] | None,
        requests: Sequence[Request | None],
        budget: Budget,
        always: Mapping[int, Collection[int]] | None = None,
    ) -> None:
        super().__init__(waits_for, priority, always or {})
        self.requests = requests
        self.budget = budget
        self._aside: dict[Request, list[int]] = {}  # ready tasks by what they ask for, as heaps of keys
        self._for_whom: Request | None = None  # what the first of those that ask for just this has reserved
        self._resting: set[int] = set()  # tasks that count as running, and do not run
        self._counts = any(requests)

    @property
    def has_ready(self) -> bool:
        return self.peek() is not None if self._counts else bool(self._ready)

    def asks(self, task: int) -> bool:
        return self._counts and self.requests[task] is not None and task not in self._grown

    def admits(self, task: int) -> bool:
        if not self._counts:
            return True
        request = self.requests[task]
        if self._is_closed():
            return False
        return request is None or (not request.alone and self.budget.fits(request, self._for_whom))

    def take(self) -> int | None:
        if not self._counts:
            return Schedule.take(self)
        task = self.peek()
        if task is None:
            return None
        self.running += 1
        if self._vital:
            self._out.add(task)
        if not self.asks(task):
            heappop(self._ready)
            return task
        request = self.requests[task]
        assert request is not None
        waiting = self._aside[request]
        heappop(waiting)
        if not waiting:
            del self._aside[request]
        if self._for_whom == request:
            self._for_whom = None
        self.budget.take(task, request)
        return task

    def peek(self) -> int | None:
        top = super().peek()
        if not self._counts:
            return top
        while top is not None and self.asks(top):
            request = self.requests[top]
            assert request is not None
            heappush(self._aside.setdefault(request, []), heappop(self._ready))
            top = super().peek()
        key = self._first_that_fits() if self._aside else None
        if key is not None and (top is None or key < self._ready[0] or self._is_closed()):
            return task_of(key)
        return None if self._is_closed() else top

    def reserve(self, task: int) -> None:
        super().reserve(task)
        request = self.requests[task] if self._counts else None
        if request is not None:
            self.budget.take(task, request)

    def rest(self, task: int) -> None:
        if self._counts:
            self.budget.give_back(task)
            self._resting.add(task)

    def finish(self, task: int) -> list[int]:
        if self._counts:
            self._over(task)
        return Schedule.finish(self, task)

    def fail(self, task: int) -> list[int]:
        self._over(task)
        return super().fail(task)

    def put_back(self, task: int) -> None:
        self._over(task)
        super().put_back(task)

    def add(
        self,
        task: int,
        waits_for: Sequence[Collection[int]],
        needs: Sequence[int],
        left: int = 0,
        always: Mapping[int, Collection[int]] | None = None,
        *,
        lasting: bool = False,
    ) -> list[int]:
        self._over(task)
        if not self._counts:
            first = self.count
            self._counts = any(map(self.requests.__getitem__, range(first, first + len(waits_for))))
        return super().add(task, waits_for, needs, left, always or {}, lasting=lasting)

    def hold(self) -> None:
        for waiting in self._aside.values():
            for key in waiting:
                heappush(self._ready, key)
        self._aside.clear()
        self._for_whom = None
        super().hold()

    def wind_up(self, succeeded: Callable[[int], bool]) -> tuple[list[int], list[int]]:
        if self._counts and self._stopped:  # what was interrupted holds nothing any more
            for task in range(self.count):
                self._over(task)
        return super().wind_up(succeeded)

    def stop(self) -> None:
        super().stop()
        self._aside.clear()

    def _over(self, task: int) -> None:
        self.budget.give_back(task)
        self._resting.discard(task)

    def _is_closed(self) -> bool:
        """Whether a task runs alone, or waits to."""
        return self.budget.alone or (self._for_whom is not None and self._for_whom.alone)

    def _fits(self, request: Request, beside: Request | None = None) -> bool:
        if request.alone and self.running > len(self._resting):
            return False
        return self.budget.fits(request, beside)

    def _first_that_fits(self) -> int | None:
        """The key of the most urgent task aside that may start now. The first that may not reserves."""
        if self.budget.alone:
            return None
        if self._for_whom is not None:
            if self._fits(self._for_whom):
                return self._aside[self._for_whom][0]
            if self._for_whom.alone:
                return None
        for key in sorted(waiting[0] for waiting in self._aside.values()):
            request = self.requests[task_of(key)]
            assert request is not None
            if self._for_whom is None and not self._fits(request):
                self._for_whom = request
                if request.alone:
                    return None
            elif self._fits(request, self._for_whom):
                return key
        return None
