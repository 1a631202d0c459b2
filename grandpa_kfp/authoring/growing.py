"""`.resolve()`: the values of free Refs, and of those that a node's body returns.

The runtime comes here through `Ref.__grandpa_resolve__`, users through `ref.resolve()` and `resolve`.
`evaluation` has the loop, `bodies` runs one call.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from grandpa_kfp_runtime.errors import TaskError, TraceError
from grandpa_kfp_runtime.recording import recorder
from grandpa_kfp_runtime.values.trees import fill

from .arguments import open_argument
from .calls import Body, Counter, WorkflowCall
from .classes import Instance
from .evaluation import Evaluation
from .refs import Promise, Ref, describe
from .where import here

if TYPE_CHECKING:
    from .workflows import WorkflowFunction

T = TypeVar("T")

MAX_TASKS = 1_000_000
"""Bodies that one evaluation may run, unless `GRANDPA_MAX_TASKS` in the environment says otherwise."""
MAX_WAITING = 200
"""Bodies that may wait for each other in nested `.resolve()` calls."""
_FRAMES_A_LEVEL = 40


def resolve(value: T) -> T:
    """The value with every Ref in it, at any depth of its lists, tuples, dicts and dataclasses, resolved.

    The form of `ref.resolve()` that type checkers understand. An uncalled instance of a class node comes
    back as the live object. Raises TaskError when a node's body fails, TraceError inside a workflow.

    >>> from grandpa_kfp import Node
    >>> @Node
    ... def add(a: int, b: int) -> int:
    ...     return a + b
    >>> resolve({"sum": add(1, 2), "more": [add(2, 2)]})
    {'sum': 3, 'more': [4]}
    """
    skeleton, holes = open_argument(value)
    values = resolve_all([leaf for _, leaf in holes])
    filled: T = fill(skeleton, [(at, value) for (at, _), value in zip(holes, values, strict=True)])
    return filled


def resolve_all(promises: Sequence[Promise], *, max_tasks: int | None = None) -> list[Any]:
    """The values of Refs and instances. Raises TaskError for a failing body, TraceError for Refs of a trace."""
    for promise in promises:
        _refuse_traced(promise)
    current = recorder.get()
    if not isinstance(current, Body):  # nobody waits above, or a trace, whose own Refs were refused
        return Evaluation(0, Counter(max_tasks or most_tasks())).values(promises)
    if current.depth >= MAX_WAITING:
        raise TaskError(
            f"{here()}: {MAX_WAITING} bodies wait for each other in nested .resolve() calls, the innermost is "
            f"{current.call.name}; return the Ref instead of resolving it in the body: that has no limit",
            task=current.call.name,
        )
    with _deeper_stack():
        return Evaluation(current.depth, current.counter).values(promises)


def _refuse_traced(promise: Promise) -> None:
    if isinstance(promise, Instance):
        for _, holes in (*promise._args, *(opened for _, opened in promise._kwargs)):
            for _, leaf in holes:
                _refuse_traced(leaf)
        return
    assert isinstance(promise, Ref)
    tracer = promise._origin.tracer
    if tracer is None:
        return
    inside, workflow = recorder.get() is tracer, tracer.name
    if inside:
        raise TraceError(
            f"{here()}: {describe(promise)} was resolved inside the workflow {workflow}, where its value does not "
            "exist yet; pass the Ref to a node, or return it"
        )
    raise TraceError(
        f"{here()}: {describe(promise)} belongs to the traced workflow {workflow} and has no value of its own; "
        f"run the workflow: {workflow}(...).resolve()"
    )


def most_tasks() -> int:
    """How many bodies may run in one evaluation, or how many tasks a run may grow by."""
    text = os.environ.get("GRANDPA_MAX_TASKS", "")
    return int(text) if text.isdigit() and int(text) > 0 else MAX_TASKS


_stack_lock = threading.Lock()


@contextmanager
def _deeper_stack() -> Iterator[None]:
    """Room on Python's stack for one more waiting body, so that our limit is met before Python's."""
    with _stack_lock:
        sys.setrecursionlimit(sys.getrecursionlimit() + _FRAMES_A_LEVEL)
    try:
        yield
    finally:
        with _stack_lock:
            sys.setrecursionlimit(sys.getrecursionlimit() - _FRAMES_A_LEVEL)


class WorkflowRef(Ref[T]):
    """What a workflow gives outside a trace: `.resolve()` for the value, `.run(...)` for the whole run."""

    __slots__ = ()

    def run(self, **options: Any) -> Any:
        """Runs the workflow on the local engine, with the options of `grandpa_kfp.run`, and gives the Run."""
        from ..api import run

        call = self._origin
        assert isinstance(call, WorkflowCall)
        return run(call.workflow, Evaluation(0, Counter(most_tasks())).parameters(call), **options)


def call_workflow(workflow: WorkflowFunction[..., Any], values: Mapping[str, Any], where: str) -> WorkflowRef[Any]:
    """The Ref of a workflow that is called outside a trace."""
    current = recorder.get()
    opened = tuple([(name, open_argument(value)) for name, value in values.items()])
    call = WorkflowCall(workflow, opened, where, current.call if isinstance(current, Body) else None)
    if current is not None:
        current.calls.append(call)
    return WorkflowRef(call)
