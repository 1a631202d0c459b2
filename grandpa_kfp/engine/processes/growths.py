"""Tasks that become others: what a worker tells of them enters the schedule, and their outputs are made at the end.

Branches and loops are decided here, in the parent, which reads nothing but what they decide by.
"""

from __future__ import annotations

from collections.abc import Mapping

from grandpa_kfp_compiler.graph import RESULT, TaskOutput
from grandpa_kfp_runtime.errors import GrandpaError, TaskError

from ..control import Control
from ..growth import Extension, Growth, extend
from . import specs
from .fragments import Fragment
from .hands import Hand
from .specs import Finished, Grew
from .state import Ends, Growing, State


class Growths:
    """ends: told of tasks that end, and of new ones that are ready."""

    __slots__ = ("_ends", "_state")

    def __init__(self, state: State, ends: Ends) -> None:
        self._state = state
        self._ends = ends

    def grew(self, hand: Hand, grew: Grew) -> None:
        """A body has returned calls: its task goes on as them, and reads its inputs no more when they are all known."""
        task = grew.number
        self._state.crew.speeds.add(self._state.briefs[task].node, grew.duration_s, grew=True)
        if task not in self._state.growing:
            growth = Growth(self._state.briefs[task].interface.outputs, iter(()), listed=grew.listed)
            self._state.growing[task] = Growing(growth, hand)
        self._take(hand, task, grew.fragment)

    def _take(self, hand: Hand, task: int, fragment: Fragment) -> None:
        growing = self._state.growing[task]
        growing.hand = hand if fragment.more else None
        if self._state.memo is not None:
            self._state.memo.leaving(task)
        if not fragment.more:
            self._state.release(task)
            self._state.briefs.forget_inputs(task)
        self._extend(task, growing.growth, fragment)

    def decide(self, task: int, control: Control) -> None:
        """A branch or loop is ready: from now on it grows."""
        self._state.ledger.begun(task)
        parts = control.parts(self._state.evaluate, self._state.briefs.setting.window)
        growth = Growth(control.outputs(), parts, listed=control.listed, control=control)
        self._state.growing[task] = Growing(growth, None, decides=True)

    def _decided(self, task: int, growing: Growing) -> bool:
        """Adds what comes next of a branch or loop; whether that was all to do for now."""
        try:
            extension = growing.growth.more()
        except GrandpaError as error:
            self._state.schedule.take()
            self._ends.fail(self._state.not_run(task, 0.0, error))
            return True
        if extension is None:
            growing.decides = False
            self._let_go(task)
            return False
        self._state.schedule.take()
        self._add(task, growing.growth, extension, {})
        control = growing.growth.control
        if control is not None and control.once and task in self._state.growing:
            self._let_go(task)
        return True

    def _let_go(self, task: int) -> None:
        self._state.release(task)
        self._state.briefs.forget_inputs(task)

    def _extend(self, task: int, growth: Growth, fragment: Fragment) -> None:
        growth.results.append(fragment.result)
        extension = Extension(fragment.plan, fragment.needs, {}, fragment.left, (), fragment.more)
        self._add(task, growth, extension, fragment.code)

    def _add(self, task: int, growth: Growth, extension: Extension, code: Mapping[str, bytes]) -> None:
        first = self._state.schedule.count
        try:
            ready = extend(self._state.table, self._state.schedule, self._state.ledger, task, growth, extension)
        except TaskError as error:  # too many tasks
            self._ends.fail(self._state.not_run(task, 0.0, error))
            return
        prefix = growth.scope.prefix
        self._state.outputs.expect({(prefix + of, name): uses for (of, name), uses in extension.plan.uses.items()})
        self._state.briefs.added(range(first, self._state.schedule.count), code)
        self._ends.tell_ready(ready)

    def goes_on(self, task: int, growing: Growing) -> bool:
        """A grown task is ready once more: its next part is asked for, or its output is another's as it is.
        False where a worker has to make its outputs, or to run its body again, as a task like any other."""
        growth, hand = growing.growth, growing.hand
        if growing.decides and self._decided(task, growing):
            return True
        if not growth.outputs:
            self._state.schedule.take()
            self._ends.complete(Finished(task, 0.0, 0.0, (), {}))
            return True
        if hand is not None:
            if hand not in self._state.crew.hands:
                self._state.briefs.resume(task, len(growth.results))
                return False
            self._state.schedule.take()
            growing.asked = True
            hand.say(specs.MORE, task)
            return True
        first = growth.results[0] if growth.results else None
        if isinstance(first, TaskOutput) and growth.outputs == (RESULT,):
            self._state.schedule.take()
            child = growth.scope.prefix + first.task
            self._state.outputs.share((self._state.table.runs[task].id, RESULT), (child, first.output))
            handle = self._state.table.handles(child).get(first.output)
            self._ends.complete(Finished(task, 0.0, 0.0, (), {} if handle is None else {RESULT: handle}))
            return True
        self._state.briefs.gather(task, growth)
        growing.gathers = True
        return False

    def next_part(self, hand: Hand, task: int, part: Fragment | str) -> None:
        self._state.growing[task].asked = False
        if isinstance(part, str):
            self._ends.fail(self._state.not_run(task, 0.0, TaskError(part)))
            return
        self._take(hand, task, part)

    def lost_with(self, hand: Hand) -> None:
        """A worker is gone: tasks whose next part it was asked for go on with another."""
        for task, growing in self._state.growing.items():
            if growing.asked and growing.hand is hand:
                growing.asked = False
                self._state.schedule.put_back(task)
