"""Which lane gets a task, what goes with it in one message, and the message itself."""

from __future__ import annotations

import os
from typing import Any

from .. import environment, numeric
from ..control import control_of
from . import specs
from .briefs import Brief
from .channel import MOST_DESCRIPTORS
from .hands import Chunk, Hand, Lane
from .holdings import wanted
from .parcels import HELD, MISSING, OUTCOME, SEGMENT, Key
from .state import State


class Dealer:
    """Gives out the tasks of one run."""

    __slots__ = ("_state",)

    def __init__(self, state: State) -> None:
        self._state = state

    def lane_for(self, task: int) -> Lane | None:
        """A lane that can take the task now: of a worker with nothing to do, a new one, one that does little."""
        crew, brief = self._state.crew, self._state.briefs[task]
        if crew.threads == 1 and (count := self._gpus(task)):
            return self._lane_with(count)
        alone = bool(self._state.ledger.policies[task].timeout_s)
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
            return crew.start().lanes[0]
        if best is None and not alone and crew.speeds.is_tiny(brief.node):
            for hand in crew.hands:
                if not hand.alone and not hand.expired:
                    for lane in hand.lanes:
                        if len(lane.chunks) == 1 and lane.chunks[0].tiny:
                            return lane  # so that it need not wait for its next message
        return best

    def _gpus(self, task: int) -> int:
        """How many GPUs the task will hold."""
        request = self._state.table.requests[task] if self._state.schedule.asks(task) else None
        return 0 if request is None else request.gpus

    def _lane_with(self, count: int) -> Lane | None:
        """A lane for a task with so many GPUs: of a worker that has seen just these, or none so far.

        A library that has found the GPUs of its process looks no more. So where every worker has seen others, and
        nothing else runs, one of them makes room for a new one.
        """
        crew, budget = self._state.crew, self._state.budget
        idle = [hand for hand in crew.hands if not hand.busy and not hand.alone and not hand.expired]
        for hand in sorted(idle, key=lambda hand: not hand.devices):
            if not hand.devices or budget.has(hand.devices, count):
                budget.preferred = hand.devices
                return hand.lanes[0]
        if len(crew.hands) < crew.processes:
            budget.preferred = ()
            return crew.start().lanes[0]
        if self._state.schedule.running or len(idle) < len(crew.hands):
            return None
        if any(growing.hand is not None for growing in self._state.growing.values()):
            return idle[0].lanes[0]  # it knows what tasks are to become
        idle[0].alone = True  # gets nothing more; its end is heard like any other's
        idle[0].kill()
        return None

    def chunk(self, task: int) -> Chunk:
        """The task, and, where tasks are tiny, others that go with it: what follows on it, else what is ready too."""
        schedule, speeds = self._state.schedule, self._state.crew.speeds
        node = self._state.briefs[task].node
        most = speeds.at_once(node)
        tasks = [task]
        if most == 1 or not self._may_join(task):
            return Chunk(tasks)
        fair = -(-(schedule.count_ready() + 1) // (2 * self._state.crew.processes * self._state.crew.threads))
        met: dict[int, int] = {}
        taken = 1
        while len(tasks) < most:
            found = None if speeds.grows(self._state.briefs[tasks[-1]].node) else self._follower(tasks[-1], met)
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
        for follower in self._state.schedule.followers(task):
            met[follower] = met.get(follower, 0) + 1
            if found is None and met[follower] == self._state.schedule.missing(follower) and self._may_join(follower):
                found = follower
        return found

    def _may_join(self, task: int) -> bool:
        if control_of(self._state.table.calls[task]) is not None or self._state.schedule.runs_always(task):
            return False
        tiny = self._state.crew.speeds.is_tiny(self._state.briefs[task].node)
        return (
            tiny
            and task not in self._state.growing
            and not self._state.ledger.policies[task].timeout_s
            and not self._state.schedule.asks(task)
            and not self._state.may_recall(task)
        )

    def send(self, lane: Lane, chunk: Chunk) -> None:
        """The lane runs the chunk after what it has been given before."""
        hand = lane.hand
        if hand.run_id != self._state.briefs.setting.run_id:
            hand.run_id = self._state.briefs.setting.run_id
            hand.interfaces.clear()
            hand.say(specs.SETTING, self._state.briefs.setting)
        items: list[tuple[Any, ...]] = []
        needed: dict[int, None] = {}
        for spec in self._specs(hand, chunk.tasks):
            for source in spec.sources:
                if source[0] == SEGMENT:
                    needed[source[1]] = None
            items.append(tuple(spec))
        numbers, memory = list(needed), self._state.crew.memory
        for start in range(0, len(numbers), MOST_DESCRIPTORS):
            some = numbers[start : start + MOST_DESCRIPTORS]
            for number in some:
                memory.lend(number, hand.number)
            hand.say(specs.SEGMENTS, tuple(some), descriptors=[memory.descriptor(number) for number in some])
        hand.say(specs.WORK, lane.number, tuple(items))
        hand.alone = bool(self._state.ledger.policies[chunk.tasks[0]].timeout_s)
        hand.devices = self._state.budget.devices(chunk.tasks[0]) or hand.devices
        lane.chunks.append(chunk)

    def next_here(self, lane: Lane, key: Key) -> int | None:
        """The only task that wants the output, if it can run on this lane next, and needs it only once."""
        if lane.chunks or self._state.stopped or self._state.outputs.uses[key] != 1:
            return None
        for follower in self._state.schedule.followers(self._state.briefs.makers[key[0]]):
            if self._state.schedule.runs_always(follower):
                return None
            if self._state.takes(follower, key):
                fits = (
                    self._state.schedule.missing(follower) == 1
                    and not self._state.ledger.policies[follower].timeout_s
                    and not self._gpus(follower)
                    and self._state.schedule.admits(follower)
                )
                return follower if fits and control_of(self._state.table.calls[follower]) is None else None
        return None

    def _specs(self, hand: Hand, tasks: list[int]) -> list[specs.Spec]:
        """What the worker is told. An output that later tasks of the same chunk read stays there for them."""
        outputs, briefs = self._state.outputs, [self._state.briefs[task] for task in tasks]
        here: dict[Key, int] = {}
        sources: list[tuple[Any, ...]] = []
        for task, brief in zip(tasks, briefs, strict=True):
            found: list[Any] = []
            for source in brief.sources:
                if type(source[0]) is str:
                    if source in here:
                        here[source] += 1
                        source = (HELD, source, False)
                    elif self._state.schedule.runs_always(task) and not outputs.has(source):
                        source = (MISSING,)
                    else:
                        source = outputs.parcel(source)
                elif source[0] == OUTCOME:
                    source = self._state.briefs.outcome(task, self._state.ledger.errors)
                found.append(source)
            sources.append(tuple(found))
            if len(tasks) > 1:
                here.update(dict.fromkeys([(brief.id, name) for name in brief.interface.outputs], 0))
        return [
            specs.Spec(
                task,
                brief.id,
                brief.where,
                self._state.ledger.runs[task].attempts + 1,
                hand.interface(brief.shape, brief.node, brief.interface, self._state.briefs.code.get(brief.node)),
                sources[place],
                tuple([
                    self._wanted((brief.id, name), here, tasks[place + 1 : place + 2])
                    for name in brief.interface.outputs
                ]),
                self._env(task, brief),
                brief.flags,
                brief.secrets,
            )
            for place, (task, brief) in enumerate(zip(tasks, briefs, strict=True))
        ]  # fmt: skip

    def _env(self, task: int, brief: Brief) -> environment.Setting | None:
        """The variables that hold while the task runs: its own, and what shows it the part of the machine it holds."""
        state = self._state
        request = state.table.requests[task] if state.schedule.asks(task) else None
        if request is None:
            return brief.env
        shown = state.budget.env(task)
        if state.crew.threads == 1:  # for all tasks of a process at once
            shown += numeric.setting(request.threads, os.environ)
        return environment.merged(shown, brief.env) or None

    def _wanted(self, key: Key, here: dict[Key, int], following: list[int]) -> int:
        """The parent need not have what only the very next task reads, and once: it is lost with that one alone."""
        uses, inside = self._state.outputs.uses.get(key, 0), here.get(key, 0)
        only_there = bool(uses == inside == 1 and following and self._state.takes(following[0], key))
        return wanted(bool(uses) and not only_there, inside)
