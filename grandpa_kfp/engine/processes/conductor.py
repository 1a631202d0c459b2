"""The one thread that hands tasks to worker processes, and hears how they went.

It sleeps until a worker speaks or a timer is due; nothing else changes what it knows, so nothing here needs
a lock. Who is next is the schedule's, what a task needs the briefs', where values lie the outputs'.

A task that ends leaves small outputs with its report. A big one stays with its worker: if the only task that
wants it can run there next, it does, and nothing is copied; else it is copied into shared memory once, and
only then has its task ended. So no value is lost with a worker, save those that die with the task that took them.
"""

from __future__ import annotations

import contextlib
import pickle
import selectors
import time
from collections.abc import Callable
from typing import Any

from grandpa_kfp_compiler.graph import TaskOutput
from grandpa_kfp_runtime import errors
from grandpa_kfp_runtime.errors import GrandpaError, TaskError

from ..cancelling import CancelToken
from ..control import control_of
from ..main_module import main_by_its_name
from ..memo.memo import Memo
from ..reports import fallback_failed
from . import specs
from .channel import Closed
from .clock import Clock
from .dealing import Dealer
from .deaths import Deaths
from .exports import Exports
from .fallbacks import put_fallback
from .growths import Growths
from .hands import Chunk, Hand, Lane, show
from .parcels import KEPT, STORED, Key
from .prints import Owner
from .specs import Failed, Finished, Grew
from .state import State

_HEAR_SIGNALS_EVERY_S = 0.25
"""Python hears of a signal that comes just before its main thread blocks only when that wakes up."""
_SHARE_AFTER_S = 0.005
"""A lane that has said nothing for so long gives what it has not begun to one that has nothing to do."""


class Conductor:
    """`session.Lanes` of worker processes, and `Ends` for its parts.

    ready: told of each task that is ready, None for nobody; note: told what goes wrong without harm.
    """

    def __init__(
        self,
        state: State,
        *,
        keep_going: bool,
        ready: Callable[[int], None] | None,
        note: Callable[[str], None],
        cancel: CancelToken | None = None,
    ) -> None:
        self._state = state
        self._cancel = cancel or CancelToken()
        self._keep_going = keep_going
        self._ready = ready
        self._note = note
        self._selector = selectors.DefaultSelector()
        self._clock = Clock()
        self._dealer = Dealer(state)
        self._exports = Exports(state, self)
        self._growths = Growths(state, self)
        self._deaths = Deaths(state, self, self._exports, self._clock)
        self._paused: set[int] = set()
        self._held = False
        self._looking = False  # whether the clock will wake this thread to share work out anew
        self.lost: list[int] = []

    # --- Lanes ---------------------------------------------------------------------------------------

    def run(self) -> None:
        schedule = self._state.schedule
        self.tell_ready(schedule.ready())
        while True:
            if self._cancel.cancelled:
                self.stop()
            self._fill()
            if self._state.stopped or (self._held and not schedule.has_always):
                return
            waits = schedule.running and not (self._held and not schedule.is_held_up)
            if not (waits or schedule.has_ready):
                ready, lost = schedule.wind_up(lambda task: self._state.ledger.runs[task].succeeded)
                self.lost.extend(lost)
                if ready:
                    self.tell_ready(ready)
                    continue
                if not schedule.has_always or not schedule.running:
                    return
            self._share()
            self._listen()

    def _hold(self) -> None:
        """The first task has failed: what runs may end, then those that run always are given out."""
        schedule = self._state.schedule
        if not schedule.has_always:
            self.stop()
        elif not self._held:
            self._held = True
            schedule.hold()
            for task in sorted(self._paused):
                schedule.put_back(task)
            self._paused.clear()

    def _again(self, task: int) -> None:
        """A pause before another attempt is over."""
        if task in self._paused:
            self._paused.discard(task)
            self._state.schedule.put_back(task)

    def stop(self) -> None:
        self._state.stopped = True
        self._state.schedule.stop()

    def close(self) -> None:
        self._selector.close()
        for hand in self._state.crew.hands:
            self._hear_prints(hand)
        self._state.crew.end_run()

    # --- giving out ----------------------------------------------------------------------------------

    def _fill(self) -> None:
        state = self._state
        while not state.stopped and (task := state.schedule.peek()) is not None:
            growing = state.growing.get(task)
            control = None if growing is not None else control_of(state.table.calls[task])
            if control is not None:
                self._growths.decide(task, control)
                continue
            if growing is not None and not growing.gathers and self._growths.goes_on(task, growing):
                continue
            if growing is None and state.memo is not None and self._recalled(state.memo, task):
                continue
            lane = self._dealer.lane_for(task)
            if lane is None:
                return
            state.schedule.take()
            self._send(lane, self._dealer.chunk(task))

    def _send(self, lane: Lane, chunk: Chunk) -> None:
        first = not lane.chunks
        self._dealer.send(lane, chunk)
        if first:
            lane.heard = time.monotonic()
            self._begin(chunk)
        if lane.hand.alone:
            self._deaths.limit(lane, chunk.tasks[0])

    def _begin(self, chunk: Chunk) -> None:
        """The first task that has not been reported is what its lane works on."""
        if chunk.told == chunk.at < len(chunk.tasks):
            chunk.told += 1
            if chunk.tasks[chunk.at] not in self._state.growing:
                self._state.ledger.begun(chunk.tasks[chunk.at])

    def _share(self) -> None:
        """Where lanes have nothing to do and nothing is ready, others give back what they have not begun."""
        if self._state.schedule.has_ready:
            return
        idle = any(not lane.chunks for hand in self._state.crew.hands for lane in hand.lanes)
        if not idle and len(self._state.crew.hands) >= self._state.crew.processes:
            return
        now = time.monotonic()
        soon = False
        for hand in self._state.crew.hands:
            for lane in hand.lanes:
                if not lane.asked_back and sum(len(chunk.left) for chunk in lane.chunks) > 1:
                    if now - lane.heard > _SHARE_AFTER_S:
                        lane.asked_back = True
                        hand.say(specs.GIVE_BACK, lane.number)
                    else:
                        soon = True
        if soon and not self._looking:
            self._looking = True
            self._clock.after(_SHARE_AFTER_S, self._looked)

    def _looked(self) -> None:
        self._looking = False

    # --- listening -----------------------------------------------------------------------------------

    def _listen(self) -> None:
        for hand in self._state.crew.hands:
            self._watch(hand)
        for key, events in self._selector.select(self._clock.wait_s(_HEAR_SIGNALS_EVERY_S)):
            hand = key.data
            if key.fileobj is not hand:
                self._hear_prints(hand)
                continue
            if events & selectors.EVENT_WRITE:
                hand.go_on()
            if events & selectors.EVENT_READ:
                try:
                    for message, _ in hand.incoming.read():
                        self._hear(hand, message)
                except Closed:
                    self._selector.unregister(hand)
                    self._hear_prints(hand, last=True)
                    self._deaths.bury(hand)
                    self._growths.lost_with(hand)
        self._clock.ring()

    def _watch(self, hand: Hand) -> None:
        """Whether a worker's socket is waited for in both directions."""
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if hand.blocked else 0)
        known = self._selector.get_map().get(hand)
        if known is None:
            self._selector.register(hand, wanted, hand)
            if hand.prints.is_open:  # not of a worker that ended since the last run
                self._selector.register(hand.prints.ours, selectors.EVENT_READ, hand)
        elif known.events != wanted:
            self._selector.modify(hand, wanted, hand)

    def _hear(self, hand: Hand, message: tuple[Any, ...]) -> None:
        kind = message[0]
        if kind == specs.DONE:
            self._hear_prints(hand, whole=True)  # what the tasks printed comes before their end
            self._done(hand, *message[1:])
        elif kind == specs.EXPORTED:
            self._exports.exported(*message[1:])
        elif kind == specs.BACK:
            self._given_back(hand.lanes[message[1]], set(message[2]))
        elif kind == specs.EXPIRED:
            hand.expired = Failed._make(message[2])
            hand.kill()
        elif kind == specs.LOGGED:
            task, attempt, logged = message[1:]
            self._state.ledger.logs(task, attempt, lambda: logged)
        elif kind == specs.NEXT:
            self._growths.next_part(hand, message[1], message[2])
        elif kind == specs.NOT_EXPORTED:
            self._exports.not_exported(hand, *message[1:])
        elif kind == specs.READY:
            hand.ready = True
            self._deaths.heard = time.monotonic()

    def _hear_prints(self, hand: Hand, *, whole: bool = False, last: bool = False) -> None:
        """What the worker has printed. whole: the beginning of a line too; last: the worker has ended."""
        ledger, run_id, descriptor = self._state.ledger, self._state.briefs.setting.run_id, hand.prints.ours
        for item in [*hand.prints.read(), *(hand.prints.rest() if whole or last else ())]:
            owner = item.owner or self._only_task(hand)
            if owner is None or owner.run_id != run_id:
                show([item])
            else:
                ledger.printed(owner.task, owner.attempt, item.stream, item.text)
        if last or (descriptor >= 0 and not hand.prints.is_open):
            hand.prints.close()
            with contextlib.suppress(KeyError, ValueError, RuntimeError):  # it may never have been waited for
                self._selector.unregister(descriptor)

    def _only_task(self, hand: Hand) -> Owner | None:
        """The task that the worker is at, where it is at one alone."""
        at = [lane.chunks[0].left[0] for lane in hand.lanes if lane.chunks and lane.chunks[0].left]
        if len(at) != 1:
            return None
        return Owner(self._state.briefs.setting.run_id, at[0], self._state.ledger.runs[at[0]].attempts)

    def _done(
        self,
        hand: Hand,
        number: int,
        outcomes: tuple[tuple[int, tuple[Any, ...]], ...],
        let_go: tuple[int, ...],
        notes: tuple[str, ...],
    ) -> None:
        lane = hand.lanes[number]
        lane.heard = time.monotonic()
        lane.reported += len(outcomes)
        for text in notes:
            self._note(text)
        outcome: specs.Outcome | None = None
        for kind, data in outcomes:
            chunk = lane.chunks[0]
            self._begin(chunk)
            chunk.at += 1
            if chunk.at == len(chunk.tasks):
                lane.chunks.popleft()
                hand.alone = False
            outcome = specs.KINDS[kind]._make(data)
            if isinstance(outcome, Grew):
                self._growths.grew(hand, outcome)
                continue
            if outcome.logged is not None:
                self._state.ledger.logged(outcome.number, outcome.logged)
            if isinstance(outcome, Failed):
                self.fail(outcome)
            else:
                self._finished(lane, outcome)
        for segment in let_go:
            self._state.crew.memory.returned(segment, hand.number)
        if lane.chunks and not isinstance(outcome, Failed):  # behind a failure the worker hands the rest back
            self._begin(lane.chunks[0])

    def _finished(self, lane: Lane, finished: Finished) -> None:
        state = self._state
        state.schedule.rest(finished.number)
        brief = state.briefs[finished.number]
        state.crew.speeds.add(brief.node, finished.duration_s)
        kept: list[tuple[Key, int]] = []
        for name, parcel in zip(brief.interface.outputs, finished.parcels, strict=True):
            if parcel is None:
                continue
            key = (brief.id, name)
            if parcel[0] == KEPT:
                kept.append((key, parcel[1]))
            else:
                state.outputs.put(key, parcel)
        follower = self._dealer.next_here(lane, kept[0][0]) if len(kept) == 1 else None
        if follower is None or state.may_recall(follower):
            self._exports.save(finished, kept, lane.hand)
            return
        state.schedule.reserve(follower)
        state.outputs.hold(kept[0][0], lane.hand)
        self.complete(finished)
        self._send(lane, Chunk([follower]))

    # --- Ends ----------------------------------------------------------------------------------------

    def complete(self, finished: Finished) -> None:
        state, task = self._state, finished.number
        duration_s = finished.duration_s
        if state.growing.pop(task, None) is not None:
            duration_s = max(0.0, time.time() - state.ledger.runs[task].started)
        state.ledger.leaving(task)
        state.ledger.succeeded(task, duration_s, finished.handles)
        self._leave(task)

    def _leave(self, task: int) -> None:
        """The task has ended, and its outputs are there."""
        state = self._state
        state.release(task)
        state.briefs.forget(task)
        self.tell_ready(state.schedule.finish(task))

    def _recalled(self, memo: Memo, task: int) -> bool:
        """Whether the result of an earlier run stands for a ready task, which has ended then."""
        state, id_ = self._state, self._state.table.runs[task].id
        result = memo.recall(task)
        if result is None:
            return False
        state.schedule.take()
        for name, handle in result.outputs.items():
            if state.outputs.uses.get((id_, name)):
                state.outputs.put((id_, name), (STORED, handle, False))
        prefix = state.table.scopes[task].prefix
        for _, leaf in state.table.bounds[task].sources:
            if isinstance(leaf, TaskOutput):
                state.outputs.used((prefix + leaf.task, leaf.output))
        state.briefs.forget(task)
        state.ledger.cached(task, result)
        self.tell_ready(state.schedule.finish(task))
        return True

    def fail(self, failed: Failed) -> None:
        state, task = self._state, failed.number
        again = state.growing.pop(task, None) is None
        wait_s = state.ledger.retried(task, failed.line, failed.duration_s, again=again)
        if wait_s is not None:
            state.schedule.rest(task)
            self._paused.add(task)
            self._clock.after(wait_s, lambda: self._again(task))
            if self._held:
                self._again(task)
            return
        way = state.briefs.way_to(task)
        if way:
            failed = failed._replace(report=f"{failed.report}\n\n{way}")
        error = _error_of(failed, state.briefs[task].id)
        fallback = state.ledger.policies[task].fallback
        if fallback is not None:
            try:
                outputs = put_fallback(state, task, fallback)
            except GrandpaError as unfit:
                error = fallback_failed(error, unfit)
            else:
                state.ledger.fell_back(task, error, outputs)
                self._leave(task)
                return
        state.ledger.failed(task, error)
        state.release(task)
        state.briefs.forget(task)
        self.lost.extend(state.schedule.fail(task))
        if not self._keep_going:
            self._hold()

    def tell_ready(self, tasks: list[int]) -> None:
        if self._ready is not None:
            for task in tasks:
                self._ready(task)

    def _given_back(self, lane: Lane, back: set[int]) -> None:
        lane.asked_back = False
        ledger, lost = self._state.ledger, set(self.lost)
        for chunk in tuple(lane.chunks):
            chunk.tasks = [task for task in chunk.tasks if task not in back]
            if chunk.at == len(chunk.tasks):
                lane.chunks.remove(chunk)
        for task in back:
            if ledger.runs[task].state == "running":
                ledger.not_begun(task)
        for task in back - lost:
            self._state.schedule.put_back(task)


def _error_of(failed: Failed, task: str) -> TaskError:
    kind = getattr(errors, failed.kind, TaskError)
    made: TaskError = (kind if issubclass(kind, TaskError) else TaskError)(failed.report, task=task)
    if failed.cause:
        # its class may be one that only the worker can load; the report tells all
        with contextlib.suppress(Exception), main_by_its_name():
            made.__cause__ = pickle.loads(failed.cause)
    return made
