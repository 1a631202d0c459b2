"""Worker processes that end: by themselves, by a signal, or because a task's time is over."""

from __future__ import annotations

import time

from grandpa_kfp_runtime.errors import GrandpaError, TaskError, TaskTimeout

from . import specs
from .clock import Clock
from .exports import Exports
from .hands import Hand, Lane, how_it_ended
from .state import Ends, State

_GIVE_UP_AFTER_S = 60.0
"""When workers have been killed while they started for so long, none will ever work."""
_MOST_DEATHS = 10
"""So many workers may end while they tell or make what a grown task has become; its body has run."""
_LAST_WORD_S = 1.0
"""A worker whose task has run out of time may say where it is for so long."""


class Deaths:
    """ends: told of the tasks that die with their workers. heard: when a worker last said that it is there."""

    __slots__ = ("_clock", "_ends", "_exports", "_state", "heard")

    def __init__(self, state: State, ends: Ends, exports: Exports, clock: Clock) -> None:
        self._state = state
        self._ends = ends
        self._exports = exports
        self._clock = clock
        self.heard = time.monotonic()

    def limit(self, lane: Lane, task: int) -> None:
        """The task's time begins."""
        limit_s, run = self._state.ledger.policies[task].timeout_s, self._state.ledger.runs[task]
        attempt = run.attempts
        message = f"it ran longer than its timeout_s of {limit_s:g} s"

        def still() -> bool:
            return bool(lane.chunks) and lane.chunks[0].left[:1] == [task] and run.attempts == attempt

        def expire() -> None:
            if still():
                lane.hand.say(specs.EXPIRE, lane.number, task, message)
                self._clock.after(_LAST_WORD_S, kill)

        def kill() -> None:
            if still() and lane.hand.expired is None:
                lane.hand.expired = self._state.not_run(task, limit_s, TaskTimeout(message))
                lane.hand.kill()

        self._clock.after(limit_s, expire)

    def bury(self, hand: Hand) -> None:
        """A worker has ended: what it worked on has failed, what it had not begun goes to others.

        Raises GrandpaError where it could not even start.
        """
        touched: list[int] = []
        untouched: list[int] = []
        for lane in hand.lanes:
            left = [task for chunk in lane.chunks for task in chunk.left]
            begun = lane.touched
            touched += left[:begun]
            untouched += left[begun:]
        code = self._state.crew.lose(hand)
        how = how_it_ended(code)
        if not hand.ready and (code >= 0 or time.monotonic() - self.heard > _GIVE_UP_AFTER_S):
            raise GrandpaError(
                f"a worker process could not start: it {how}; what it said stands above. Without worker processes "
                "(processes=0) tasks run in this process"
            ) from None
        saving = self._exports.lost_with(hand)
        for task in untouched:
            if self._input_is_lost(task, hand, {*touched, *saving}):
                touched.append(task)
                continue
            if self._state.ledger.runs[task].state == "running":
                self._state.ledger.not_begun(task)
            self._state.schedule.put_back(task)
        for task in (*saving, *touched):
            self._killed(task, hand, how)

    def _input_is_lost(self, task: int, hand: Hand, dying: set[int]) -> bool:
        """Whether what a worker that is gone alone had is a task's input, and nobody will make it again."""
        makers = self._state.briefs.makers
        if self._state.schedule.runs_always(task):
            return False  # it does without
        return any(
            type(source[0]) is str
            and self._state.outputs.is_lost(source, hand)
            and self._state.schedule.missing(task) <= 0
            and makers.get(source[0]) not in dying
            for source in self._state.briefs[task].sources
        )

    def _killed(self, task: int, hand: Hand, how: str) -> None:
        growing = self._state.growing.get(task)
        if growing is None and self._state.schedule.is_lost(task):
            return  # what it ran behind died with the same worker, for good
        if growing is not None and growing.deaths < _MOST_DEATHS:  # what it does by now are no user's effects
            growing.deaths += 1
            self._state.schedule.put_back(task)
            return
        if self._state.ledger.runs[task].state != "running":
            self._state.ledger.begun(task)
        expired, hand.expired = hand.expired, None
        if expired is not None and expired.number == task:
            duration_s = self._state.ledger.policies[task].timeout_s
            self._ends.fail(expired._replace(duration_s=duration_s))
            return
        hand.expired = expired
        line = f"its worker process {how}"
        duration_s = max(0.0, time.time() - self._state.ledger.runs[task].started)
        if not self._state.ledger.policies[task].retries:
            line += "; retries=1 would run it again"
        self._ends.fail(self._state.not_run(task, duration_s, TaskError(line)))
