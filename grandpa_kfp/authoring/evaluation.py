"""The loop that runs free calls: what a value needs first, each call once, without recursion.

A call is NEW, RUNNING (its body runs), GROWN (its body has returned Refs, which run before it is done)
or DONE (its value is kept). An evaluation claims the calls it begins; another thread that needs one of
them waits, and this thread coming upon its own is a cycle.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from grandpa_kfp_compiler.graph import RESULT
from grandpa_kfp_runtime.errors import CodecError, TaskError
from grandpa_kfp_runtime.keeping import keeping
from grandpa_kfp_runtime.recording import recorder
from grandpa_kfp_runtime.task import split_outputs
from grandpa_kfp_runtime.values.trees import fill

from .bodies import argument_value, call_path, calls_below, needs, promise_value, run_body
from .calls import DONE, GROWN, NEW, RUNNING, Body, Counter, FreeCall, WorkflowCall
from .isolation import Kept, keep
from .refs import Promise, Ref

_changed = threading.Condition()  # guards every call's state, and tells of each change


class Evaluation:
    """One `.resolve()`: depth bodies wait above it, `counter` counts those that run."""

    __slots__ = ("_claimed", "_counter", "_depth", "thread")

    def __init__(self, depth: int, counter: Counter) -> None:
        self._depth = depth
        self._counter = counter
        self._claimed: dict[FreeCall, None] = {}
        self.thread = threading.get_ident()

    def values(self, promises: Sequence[Promise]) -> list[Any]:
        """The value of each promise. Raises TaskError when a body fails."""
        self.run([call for promise in promises for call in calls_below(promise)])
        return [promise_value(promise) for promise in promises]

    def parameters(self, call: WorkflowCall) -> dict[str, Any]:
        """What a workflow was called with, its Refs run."""
        self.run(needs(call))
        return {name: argument_value(opened, name) for name, opened in call.kwargs}

    def run(self, roots: Sequence[FreeCall]) -> None:
        """Runs the calls and all they need, in the order they are written."""
        stack = list(reversed(roots))
        try:
            with keeping():
                self._work_off(stack)
        finally:
            self._give_back()

    def _work_off(self, stack: list[FreeCall]) -> None:
        while stack:
            call = stack[-1]
            if call.state == DONE:
                stack.pop()
            elif call.owner is self:
                self._finish(call, stack)
            elif call.state == NEW:
                self._start(call, stack)
            else:
                self._wait_for(call)

    def _start(self, call: FreeCall, stack: list[FreeCall]) -> None:
        if self._waits(call, needs(call, streams=not isinstance(call, WorkflowCall)), stack):
            return
        with _changed:
            if call.state != NEW:  # another thread was faster
                return
            call.state, call.owner = RUNNING, self
            self._claimed[call] = None
        self._count(call)
        if isinstance(call, WorkflowCall) and self._is_outermost():
            from ..api import run

            parameters = {name: argument_value(opened, name) for name, opened in call.kwargs}
            self._keep(call, run(call.workflow, parameters).value)
            return
        body = Body(call, self._depth + 1, self._counter)
        skeleton, holes = run_body(call, body)
        unasked = body.calls if isinstance(call, WorkflowCall) else []  # a workflow runs every call made in it
        if not holes and not unasked:
            self._keep(call, skeleton)
            return
        call.pending = (skeleton, holes, unasked)
        call.state = GROWN
        self._finish(call, stack)

    def _finish(self, call: FreeCall, stack: list[FreeCall]) -> None:
        """A call whose body has returned Refs: done once they are."""
        if call.state != GROWN:
            self._refuse_cycle(call, call)
        skeleton, holes, unasked = call.pending
        if self._waits(call, [*(below for _, leaf in holes for below in calls_below(leaf)), *unasked], stack):
            return
        call.pending = None
        if len(holes) == 1 and not holes[0][0] and _is_whole(holes[0][1]) and call.outputs is None:
            self._done(call, holes[0][1]._origin.value)  # the same kept value, however deep the recursion was
        else:
            self._keep(call, fill(skeleton, [(at, promise_value(leaf)) for at, leaf in holes]))

    def _waits(self, call: FreeCall, needed: Sequence[FreeCall], stack: list[FreeCall]) -> bool:
        missing = [item for item in needed if item.state != DONE]
        for item in missing:
            owner = item.owner
            if owner is not None and owner.thread == self.thread:
                self._refuse_cycle(call, item)
        stack.extend(reversed(missing))
        return bool(missing)

    def _refuse_cycle(self, call: FreeCall, item: FreeCall) -> None:
        path = f"{item.name} → {item.name}" if item is call else f"{call.name} → {item.name} → ... → {call.name}"
        raise TaskError(
            f"{call.name} ({call.where}) waits for itself: {path}; a body cannot use or return a Ref that needs the "
            "body's own result",
            task=call.name,
        )

    def _wait_for(self, call: FreeCall) -> None:
        owner = call.owner
        if owner is not None and owner.thread == self.thread:  # a body further up in this thread
            self._refuse_cycle(call, call)
        with _changed:
            while call.state in (RUNNING, GROWN):
                _changed.wait()

    def _count(self, call: FreeCall) -> None:
        self._counter.count += 1
        if self._counter.count > self._counter.most:
            raise TaskError(
                f"{call.name} ({call.where}): the graph grew beyond {self._counter.most:,} tasks: {call_path(call)}; "
                "is there a body that returns its own call without end? GRANDPA_MAX_TASKS allows more",
                task=call.name,
            )

    def _is_outermost(self) -> bool:
        from grandpa_kfp_runtime.context import in_task

        return self._depth == 0 and recorder.get() is None and not in_task()

    def _keep(self, call: FreeCall, result: Any) -> None:
        try:
            outputs = split_outputs(result, call.outputs or (RESULT,))
            kept = {name: keep(value, name=name) for name, value in outputs.items()}
        except (CodecError, TaskError) as error:
            raise TaskError(f"{call.name} ({call.where}): {error}", task=call.name) from error
        self._done(call, kept)

    def _done(self, call: FreeCall, value: dict[str, Kept]) -> None:
        with _changed:
            call.value = value
            call.state, call.owner = DONE, None
            call.args, call.kwargs, call.after, call.instance = (), (), (), None  # needed no more
            self._claimed.pop(call, None)
            _changed.notify_all()

    def _give_back(self) -> None:
        """After a failure, calls that were begun may be begun again."""
        if self._claimed:
            with _changed:
                for call in self._claimed:
                    call.state, call.owner, call.pending = NEW, None, None
                self._claimed.clear()
                _changed.notify_all()


def _is_whole(promise: Promise) -> bool:
    return (
        isinstance(promise, Ref) and promise._output is None and not promise._path and promise._origin.outputs is None
    )
