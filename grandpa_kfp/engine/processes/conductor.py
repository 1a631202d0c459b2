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
from collections.abc import Callable, Mapping
from heapq import heappop, heappush
from itertools import count
from typing import Any

from grandpa_kfp_compiler.graph import RESULT, TaskOutput
from grandpa_kfp_runtime import errors
from grandpa_kfp_runtime.errors import GrandpaError, TaskError, TaskTimeout

from ..growth import Extension, Growth, TaskTable, extend
from ..ledger import Ledger
from ..main_module import main_by_its_name
from ..scheduler import Schedule
from . import specs
from .briefs import Briefs
from .channel import MOST_DESCRIPTORS, Closed
from .crew import Crew
from .fragments import Fragment
from .hands import Chunk, Hand, Lane, how_it_ended
from .holdings import wanted
from .outputs import Outputs
from .parcels import HELD, KEPT, SEGMENT, STORED, Key
from .specs import Failed, Finished, Grew

_HEAR_SIGNALS_EVERY_S = 0.25
"""Python hears of a signal that comes just before its main thread blocks only when that wakes up."""
_SHARE_AFTER_S = 0.005
"""A lane that has said nothing for so long gives what it has not begun to one that has nothing to do."""
_GIVE_UP_AFTER_S = 60.0
"""When workers have been killed while they started for so long, none will ever work."""
_LAST_WORD_S = 1.0
"""A worker whose task has run out of time may say where it is for so long."""


class _Saving:
    """A task that has run, and whose outputs are being copied into shared memory."""

    __slots__ = ("finished", "hand", "left")

    def __init__(self, finished: Finished, hand: Hand, left: int) -> None:
        self.finished = finished
        self.hand = hand
        self.left = left


class _Growing:
    """A task whose body has returned calls. hand: the worker that has more of them, None where there are no more;
    gathers: whether a worker makes its outputs by now."""

    __slots__ = ("gathers", "growth", "hand")

    def __init__(self, growth: Growth, hand: Hand | None) -> None:
        self.growth = growth
        self.hand = hand
        self.gathers = False


class Conductor:
    """`session.Lanes` of worker processes. ready: told of each task that is ready; None for nobody."""

    def __init__(
        self,
        crew: Crew,
        table: TaskTable,
        briefs: Briefs,
        outputs: Outputs,
        schedule: Schedule,
        ledger: Ledger,
        *,
        keep_going: bool,
        ready: Callable[[int], None] | None,
        note: Callable[[str], None],
    ) -> None:
        self._crew = crew
        self._table = table
        self._briefs = briefs
        self._outputs = outputs
        self._schedule = schedule
        self._ledger = ledger
        self._keep_going = keep_going
        self._ready = ready
        self._note = note
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self._saving: dict[int, _Saving] = {}
        self._growing: dict[int, _Growing] = {}
        self._exports: dict[int, tuple[int, Key, int, bool]] = {}  # segment -> task, output, bytes, on disk
        self._stopped = False
        self._looking = False  # whether a timer will wake this thread to share work out anew
        self._heard = time.monotonic()  # when a worker last said that it is there
        self.lost: list[int] = []

    # --- Lanes ---------------------------------------------------------------------------------------

    def run(self) -> None:
        for hand in self._crew.hands:
            self._selector.register(hand, selectors.EVENT_READ)
        self._tell_ready(self._schedule.ready())
        while True:
            self._fill()
            if self._stopped or not (self._schedule.running or self._schedule.has_ready):
                return
            self._share()
            self._listen()

    def stop(self) -> None:
        self._stopped = True
        self._schedule.stop()

    def close(self) -> None:
        self._selector.close()
        self._crew.end_run()

    # --- giving out ----------------------------------------------------------------------------------

    def _fill(self) -> None:
        schedule = self._schedule
        while not self._stopped and (task := schedule.peek()) is not None:
            growing = self._growing.get(task)
            if growing is not None and not growing.gathers and self._goes_on(task, growing):
                continue
            lane = self._lane_for(task)
            if lane is None:
                return
            schedule.take()
            self._send(lane, self._chunk(task))

    def _lane_for(self, task: int) -> Lane | None:
        """A lane that can take the task now: of a worker with nothing to do, a new one, one that does little."""
        crew, brief = self._crew, self._briefs[task]
        alone = bool(self._ledger.policies[task].timeout_s)
        best: Lane | None = None
        least = crew.threads
        for hand in crew.hands:
            busy = hand.busy
            if hand.alone or hand.expired or busy >= least or (alone and busy):
                continue
            best = next(lane for lane in hand.lanes if not lane.chunks)
            least = busy
            if not busy:
                break
        if best is not None and not least:
            return best
        if len(crew.hands) < crew.processes:
            hand = crew.start()
            self._selector.register(hand, selectors.EVENT_READ)
            return hand.lanes[0]
        if (
            best is None and not alone and crew.speeds.is_tiny(brief.node)
        ):  # so that no worker waits for the next message
            for hand in crew.hands:
                if not hand.alone and not hand.expired:
                    for lane in hand.lanes:
                        if len(lane.chunks) == 1 and lane.chunks[0].tiny:
                            return lane
        return best

    def _chunk(self, task: int) -> Chunk:
        """The task, and, where tasks are tiny, others that go with it: what follows on it, else what is ready too."""
        schedule, speeds = self._schedule, self._crew.speeds
        node = self._briefs[task].node
        most = speeds.at_once(node)
        tasks = [task]
        if most == 1 or self._ledger.policies[task].timeout_s or task in self._growing:
            return Chunk(tasks)
        fair = -(-(schedule.count_ready() + 1) // (2 * self._crew.processes * self._crew.threads))
        met: dict[int, int] = {}
        taken = 1
        while len(tasks) < most:
            found = None if speeds.grows(self._briefs[tasks[-1]].node) else self._follower(tasks[-1], met)
            if found is not None:
                schedule.reserve(found)
            elif taken < fair and (top := schedule.peek()) is not None and self._may_join(top):
                found = schedule.take()
                taken += 1
            if found is None:
                break
            tasks.append(found)
        return Chunk(tasks, tiny=True)

    def _follower(self, task: int, met: dict[int, int]) -> int | None:
        """A task that waits for nothing but tasks of this chunk. met: how many of them each task waits for."""
        found = None
        for follower in self._schedule.followers(task):
            met[follower] = met.get(follower, 0) + 1
            if found is None and met[follower] == self._schedule.missing(follower) and self._may_join(follower):
                found = follower
        return found

    def _may_join(self, task: int) -> bool:
        tiny = self._crew.speeds.is_tiny(self._briefs[task].node)
        return tiny and task not in self._growing and not self._ledger.policies[task].timeout_s

    def _send(self, lane: Lane, chunk: Chunk) -> None:
        hand = lane.hand
        if hand.run_id != self._briefs.setting.run_id:
            hand.run_id = self._briefs.setting.run_id
            hand.interfaces.clear()
            hand.say(specs.SETTING, self._briefs.setting)
        items: list[tuple[Any, ...]] = []
        needed: dict[int, None] = {}
        for spec in self._specs(hand, chunk.tasks):
            for source in spec.sources:
                if source[0] == SEGMENT:
                    needed[source[1]] = None
            items.append(tuple(spec))
        numbers = list(needed)
        for start in range(0, len(numbers), MOST_DESCRIPTORS):
            some = numbers[start : start + MOST_DESCRIPTORS]
            for number in some:
                self._crew.memory.lend(number, hand.number)
            hand.say(specs.SEGMENTS, tuple(some), descriptors=[self._crew.memory.descriptor(number) for number in some])
        hand.say(specs.WORK, lane.number, tuple(items))
        hand.alone = bool(self._ledger.policies[chunk.tasks[0]].timeout_s)
        if not lane.chunks:
            lane.heard = time.monotonic()
            self._begin(chunk)
        lane.chunks.append(chunk)
        if hand.alone:
            self._limit(lane, chunk.tasks[0])

    def _specs(self, hand: Hand, tasks: list[int]) -> list[specs.Spec]:
        """What the worker is told. An output that later tasks of the same chunk read stays there for them."""
        outputs, briefs = self._outputs, [self._briefs[task] for task in tasks]
        here: dict[Key, int] = {}
        sources: list[tuple[Any, ...]] = []
        for brief in briefs:
            found: list[Any] = []
            for source in brief.sources:
                if type(source[0]) is str:
                    if source in here:
                        here[source] += 1
                        source = (HELD, source, False)
                    else:
                        source = outputs.parcel(source)
                found.append(source)
            sources.append(tuple(found))
            if len(tasks) > 1:
                here.update(dict.fromkeys([(brief.id, name) for name in brief.interface.outputs], 0))
        return [
            specs.Spec(
                task,
                brief.id,
                brief.where,
                self._ledger.runs[task].attempts + 1,
                hand.interface(brief.shape, brief.node, brief.interface, self._briefs.code.get(brief.node)),
                sources[place],
                tuple([
                    self._wanted((brief.id, name), here, tasks[place + 1 : place + 2])
                    for name in brief.interface.outputs
                ]),
                brief.env,
                brief.flags,
                brief.secrets,
            )
            for place, (task, brief) in enumerate(zip(tasks, briefs, strict=True))
        ]  # fmt: skip

    def _wanted(self, key: Key, here: dict[Key, int], following: list[int]) -> int:
        """The parent need not have what only the very next task reads, and once: it is lost with that one alone."""
        uses, inside = self._outputs.uses.get(key, 0), here.get(key, 0)
        only_there = bool(uses == inside == 1 and following and self._takes(following[0], key))
        return wanted(bool(uses) and not only_there, inside)

    def _takes(self, task: int, key: Key) -> bool:
        """Whether the task reads the output, and will never ask for it again."""
        return key in self._briefs[task].sources and not self._ledger.policies[task].retries

    def _begin(self, chunk: Chunk) -> None:
        """The first task that has not been reported is what its lane works on."""
        if chunk.told == chunk.at < len(chunk.tasks):
            chunk.told += 1
            if chunk.tasks[chunk.at] not in self._growing:
                self._ledger.begun(chunk.tasks[chunk.at])

    def _share(self) -> None:
        """Where lanes have nothing to do and nothing is ready, others give back what they have not begun."""
        if self._schedule.has_ready:
            return
        idle = any(not lane.chunks for hand in self._crew.hands for lane in hand.lanes)
        if not idle and len(self._crew.hands) >= self._crew.processes:
            return
        now = time.monotonic()
        soon = False
        for hand in self._crew.hands:
            for lane in hand.lanes:
                if not lane.asked_back and sum(len(chunk.left) for chunk in lane.chunks) > 1:
                    if now - lane.heard > _SHARE_AFTER_S:
                        lane.asked_back = True
                        hand.say(specs.GIVE_BACK, lane.number)
                    else:
                        soon = True
        if soon and not self._looking:
            self._looking = True
            self._after(_SHARE_AFTER_S, self._looked)

    def _looked(self) -> None:
        self._looking = False

    # --- listening -----------------------------------------------------------------------------------

    def _listen(self) -> None:
        for hand in self._crew.hands:
            self._watch(hand)
        wait_s = _HEAR_SIGNALS_EVERY_S
        if self._timers:
            wait_s = max(0.0, min(wait_s, self._timers[0][0] - time.monotonic()))
        for key, events in self._selector.select(wait_s):
            hand = key.fileobj  # type: ignore[assignment]
            if events & selectors.EVENT_WRITE:
                hand.go_on()
            if events & selectors.EVENT_READ:
                try:
                    for message, _ in hand.incoming.read():
                        self._hear(hand, message)
                except Closed:
                    self._gone(hand)
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            heappop(self._timers)[2]()

    def _watch(self, hand: Hand) -> None:
        """Whether a worker's socket is waited for in both directions."""
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if hand.blocked else 0)
        if self._selector.get_key(hand).events != wanted:
            self._selector.modify(hand, wanted)

    def _after(self, seconds: float, call: Callable[[], None]) -> None:
        heappush(self._timers, (time.monotonic() + seconds, next(self._numbers), call))

    def _hear(self, hand: Hand, message: tuple[Any, ...]) -> None:
        kind = message[0]
        if kind == specs.DONE:
            self._done(hand, *message[1:])
        elif kind == specs.EXPORTED:
            self._exported(*message[1:])
        elif kind == specs.BACK:
            self._given_back(hand.lanes[message[1]], set(message[2]))
        elif kind == specs.EXPIRED:
            hand.expired = Failed._make(message[2])
            hand.kill()
        elif kind == specs.LOGGED:
            task, attempt, logged = message[1:]
            self._ledger.logs(task, attempt, lambda: logged)
        elif kind == specs.NEXT:
            self._next_part(hand, message[1], message[2])
        elif kind == specs.NOT_EXPORTED:
            self._not_exported(hand, *message[1:])
        elif kind == specs.READY:
            hand.ready = True
            self._heard = time.monotonic()

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
        for kind, data in outcomes:
            chunk = lane.chunks[0]
            self._begin(chunk)
            chunk.at += 1
            if chunk.at == len(chunk.tasks):
                lane.chunks.popleft()
                hand.alone = False
            outcome = specs.KINDS[kind]._make(data)
            if isinstance(outcome, Grew):
                self._grew(hand, outcome)
                continue
            if outcome.logged is not None:
                self._ledger.logged(outcome.number, outcome.logged)
            if isinstance(outcome, Failed):
                self._failed(outcome)
            else:
                self._finished(lane, outcome)
        for segment in let_go:
            self._crew.memory.returned(segment, hand.number)
        if lane.chunks:
            self._begin(lane.chunks[0])

    def _finished(self, lane: Lane, finished: Finished) -> None:
        task = finished.number
        brief, outputs, hand = self._briefs[task], self._outputs, lane.hand
        self._crew.speeds.add(brief.node, finished.duration_s)
        kept: list[tuple[Key, int]] = []
        for name, parcel in zip(brief.interface.outputs, finished.parcels, strict=True):
            if parcel is None:
                continue
            key = (brief.id, name)
            if parcel[0] == KEPT:
                kept.append((key, parcel[1]))
            else:
                outputs.put(key, parcel)
        follower = self._next_here(lane, kept[0][0]) if len(kept) == 1 else None
        if follower is not None:
            self._schedule.reserve(follower)
            outputs.hold(kept.pop()[0], hand)
        elif self._briefs.shares_store:
            kept = [item for item in kept if not self._is_stored(item[0], finished.handles, hand)]
        if kept:
            self._saving[task] = _Saving(finished, hand, len(kept))
            for key, size_bytes in kept:
                self._export(task, key, size_bytes, hand, on_disk=False)
        else:
            self._complete(finished)
        if follower is not None:
            self._send(lane, Chunk([follower]))

    def _is_stored(self, key: Key, handles: Mapping[str, str], hand: Hand) -> bool:
        """Whether the record holds the output where every worker can read it."""
        handle = handles.get(key[1], "")
        if not handle.startswith("@"):
            return False
        self._outputs.put(key, (STORED, handle, True))
        hand.say(specs.DROP_HELD, (key,))
        return True

    def _next_here(self, lane: Lane, key: Key) -> int | None:
        """The only task that wants the output, if it can run on this lane next, and needs it only once."""
        if lane.chunks or self._stopped or self._outputs.uses[key] != 1:
            return None
        for follower in self._schedule.followers(self._briefs.makers[key[0]]):
            if self._takes(follower, key):
                single = self._schedule.missing(follower) == 1 and not self._ledger.policies[follower].timeout_s
                return follower if single else None
        return None

    def _complete(self, finished: Finished) -> None:
        task = finished.number
        duration_s = finished.duration_s
        if self._growing.pop(task, None) is not None:
            duration_s = max(0.0, time.time() - self._ledger.runs[task].started)
        self._ledger.succeeded(task, duration_s, finished.handles)
        self._release(task)
        self._briefs.forget(task)
        self._tell_ready(self._schedule.finish(task))

    def _release(self, task: int) -> None:
        """The task reads its inputs no more."""
        for source in self._briefs[task].sources:
            if type(source[0]) is str:
                self._outputs.used(source)

    def _failed(self, failed: Failed) -> None:
        task = failed.number
        again = self._growing.pop(task, None) is None
        wait_s = self._ledger.retried(task, failed.line, failed.duration_s, again=again)
        if wait_s is not None:
            self._after(wait_s, lambda: self._schedule.put_back(task))
            return
        called_by = self._briefs.called_by(task)
        if called_by:
            failed = failed._replace(report=f"{failed.report}\n\nCalled by: {called_by}")
        self._ledger.failed(task, _error_of(failed, self._briefs[task].id))
        self._release(task)
        self._briefs.forget(task)
        self.lost.extend(self._schedule.fail(task))
        if not self._keep_going:
            self.stop()

    def _given_back(self, lane: Lane, back: set[int]) -> None:
        lane.asked_back = False
        lost = set(self.lost)
        for chunk in tuple(lane.chunks):
            chunk.tasks = [task for task in chunk.tasks if task not in back]
            if chunk.at == len(chunk.tasks):
                lane.chunks.remove(chunk)
        for task in back - lost:
            self._schedule.put_back(task)

    def _tell_ready(self, tasks: list[int]) -> None:
        if self._ready is not None:
            for task in tasks:
                self._ready(task)

    # --- growing -------------------------------------------------------------------------------------

    def _grew(self, hand: Hand, grew: Grew) -> None:
        """A body has returned calls: its task goes on as them, and reads its inputs no more."""
        task = grew.number
        self._crew.speeds.add(self._briefs[task].node, grew.duration_s, grew=True)
        growth = Growth(self._briefs[task].interface.outputs, iter(()), listed=grew.listed)
        self._release(task)
        self._briefs.forget_inputs(task)
        self._growing[task] = _Growing(growth, hand if grew.fragment.more else None)
        self._extend(task, growth, grew.fragment)

    def _extend(self, task: int, growth: Growth, fragment: Fragment) -> None:
        growth.results.append(fragment.result)
        first = self._schedule.count
        extension = Extension(fragment.plan, fragment.needs, {}, fragment.left)
        try:
            ready = extend(self._table, self._schedule, self._ledger, task, growth, extension)
        except TaskError as error:  # too many tasks
            self._failed(self._not_run(task, 0.0, error))
            return
        prefix = growth.scope.prefix
        self._outputs.expect({(prefix + of, name): uses for (of, name), uses in fragment.plan.uses.items()})
        self._briefs.added(range(first, self._schedule.count), fragment.code)
        self._tell_ready(ready)

    def _goes_on(self, task: int, growing: _Growing) -> bool:
        """A grown task is ready once more: its next part is asked for, or its output is another's as it is.
        False where a worker has to make its outputs, as a task like any other."""
        growth, hand = growing.growth, growing.hand
        if hand is not None:
            self._schedule.take()
            if hand in self._crew.hands:
                hand.say(specs.MORE, task)
            else:
                error = TaskError("the worker process that knew what it was to become has ended")
                self._failed(self._not_run(task, 0.0, error))
            return True
        first = growth.results[0]
        if isinstance(first, TaskOutput) and growth.outputs == (RESULT,):
            self._schedule.take()
            child = growth.scope.prefix + first.task
            self._outputs.share((self._table.runs[task].id, RESULT), (child, first.output))
            handle = self._table.handles(child).get(first.output)
            self._complete(Finished(task, 0.0, 0.0, (), {} if handle is None else {RESULT: handle}))
            return True
        self._briefs.gather(task, growth)
        growing.gathers = True
        return False

    def _next_part(self, hand: Hand, task: int, part: Fragment | str) -> None:
        growing = self._growing[task]
        if isinstance(part, str):
            self._failed(self._not_run(task, 0.0, TaskError(part)))
            return
        growing.hand = hand if part.more else None
        self._extend(task, growing.growth, part)

    # --- shared memory -------------------------------------------------------------------------------

    def _export(self, task: int, key: Key, size_bytes: int, hand: Hand, *, on_disk: bool) -> None:
        memory = self._crew.memory
        segment = memory.create(size_bytes, on_disk=on_disk)
        self._exports[segment] = (task, key, size_bytes, on_disk)
        hand.say(specs.EXPORT, key, segment, memory.used_before(segment), descriptors=[memory.descriptor(segment)])

    def _exported(self, key: Key, segment: int, *where: Any) -> None:
        task, *_ = self._exports.pop(segment)
        self._outputs.put(key, (SEGMENT, segment, *where))
        saving = self._saving[task]
        saving.left -= 1
        if not saving.left:
            del self._saving[task]
            self._complete(saving.finished)

    def _not_exported(self, hand: Hand, key: Key, segment: int, why: str) -> None:
        task, key, size_bytes, on_disk = self._exports.pop(segment)
        self._crew.memory.release(segment)
        if not on_disk:
            self._export(task, key, size_bytes, hand, on_disk=True)
            return
        saving = self._saving.pop(task)
        line = f"its output {key[1]} of {size_bytes:,} bytes found no room in shared memory, nor on disk: {why}"
        self._failed(self._not_run(task, saving.finished.duration_s, TaskError(line)))

    # --- workers that end ----------------------------------------------------------------------------

    def _limit(self, lane: Lane, task: int) -> None:
        """The task's time begins."""
        limit_s, attempt = self._ledger.policies[task].timeout_s, self._ledger.runs[task].attempts
        message = f"it ran longer than its timeout_s of {limit_s:g} s"

        def still() -> bool:
            return (
                bool(lane.chunks) and lane.chunks[0].left[:1] == [task] and self._ledger.runs[task].attempts == attempt
            )

        def expire() -> None:
            if still():
                lane.hand.say(specs.EXPIRE, lane.number, task, message)
                self._after(_LAST_WORD_S, kill)

        def kill() -> None:
            if still() and lane.hand.expired is None:
                lane.hand.expired = self._not_run(task, limit_s, TaskTimeout(message))
                lane.hand.kill()

        self._after(limit_s, expire)

    def _gone(self, hand: Hand) -> None:
        """A worker has ended: what it worked on has failed, what it had not begun goes to others."""
        self._selector.unregister(hand)
        touched: list[int] = []
        untouched: list[int] = []
        for lane in hand.lanes:
            left = [task for chunk in lane.chunks for task in chunk.left]
            begun = lane.touched
            touched += left[:begun]
            untouched += left[begun:]
        saving = [task for task, item in self._saving.items() if item.hand is hand]
        code = self._crew.lose(hand)
        how = how_it_ended(code)
        if not hand.ready and (code >= 0 or time.monotonic() - self._heard > _GIVE_UP_AFTER_S):
            raise GrandpaError(
                f"a worker process could not start: it {how}; what it said stands above. Without worker processes "
                "(processes=0) tasks run in this process"
            ) from None
        for segment in [number for number, item in self._exports.items() if item[0] in saving]:
            del self._exports[segment]
            self._crew.memory.release(segment)
        for task in saving:
            del self._saving[task]
        for task in untouched:
            if self._input_is_lost(task, hand, {*touched, *saving}):
                touched.append(task)
                continue
            if self._ledger.runs[task].state == "running":
                self._ledger.not_begun(task)
            self._schedule.put_back(task)
        for task in (*saving, *touched):
            self._killed(task, hand, how)

    def _input_is_lost(self, task: int, hand: Hand, dying: set[int]) -> bool:
        """Whether what a worker that is gone alone had is a task's input, and nobody will make it again."""
        makers = self._briefs.makers
        return any(
            type(source[0]) is str
            and self._outputs.is_lost(source, hand)
            and self._schedule.missing(task) <= 0
            and makers.get(source[0]) not in dying
            for source in self._briefs[task].sources
        )

    def _killed(self, task: int, hand: Hand, how: str) -> None:
        if self._ledger.runs[task].state != "running":
            self._ledger.begun(task)
        expired, hand.expired = hand.expired, None
        if expired is not None and expired.number == task:
            duration_s = self._ledger.policies[task].timeout_s
            self._failed(expired._replace(duration_s=duration_s))
            return
        hand.expired = expired
        line = f"its worker process {how}"
        duration_s = max(0.0, time.time() - self._ledger.runs[task].started)
        if not self._ledger.policies[task].retries:
            line += "; retries=1 would run it again"
        self._failed(self._not_run(task, duration_s, TaskError(line)))

    def _not_run(self, task: int, duration_s: float, error: TaskError) -> Failed:
        """A failure that no worker could tell of."""
        told = self._briefs.report(task, self._ledger.runs[task].attempts, error)
        return Failed(task, 0.0, duration_s, type(told).__name__, f"{type(error).__name__}: {error}", str(told), b"")


def _error_of(failed: Failed, task: str) -> TaskError:
    kind = getattr(errors, failed.kind, TaskError)
    made: TaskError = (kind if issubclass(kind, TaskError) else TaskError)(failed.report, task=task)
    if failed.cause:
        with (
            contextlib.suppress(Exception),
            main_by_its_name(),
        ):  # its class may be one that only the worker can load; the report tells all
            made.__cause__ = pickle.loads(failed.cause)
    return made
