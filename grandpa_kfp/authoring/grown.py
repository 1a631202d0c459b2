"""From what a node's body returned to a graph: the calls that its Refs need, as tasks of their own.

The local engine asks for it and runs them side by side; `growing` evaluates the same calls in place, one
after the other, where nobody does. A graph of this kind knows nothing of the body that made it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from grandpa_kfp_compiler.graph import NO_OPTIONS, RESULT, Call, Constant, Graph, Node, Options, Value
from grandpa_kfp_compiler.passes.inline_generators import inline_generators
from grandpa_kfp_runtime.values.trees import ATOMS, split

from ..containers.in_python import in_python
from .arguments import Opened
from .bodies import calls_below, is_promise, needs, promise_value
from .building import GraphBuilder, output_value
from .calls import DONE, NEW, FreeCall, WorkflowCall
from .definitions import Definition
from .refs import Promise, Ref


def graph_of_result(
    result: Any, calls: Sequence[Any], *, body: str = "", counts: dict[str, int] | None = None
) -> Graph | None:
    """The graph whose output `result` is what the body returned; None where it has to be evaluated in place.

    calls: those that the body made. body: the node's name, in the warning of calls that nothing needs. counts: how
    many tasks of each name there are already where these will stand; it is brought up to date.
    Operations are in the order of the calls; what has been resolved by now is a constant. In place: no call is
    needed any more, or one that is no task of its own (a workflow's, one that another body made or runs).
    Raises TaskError where what has been resolved lacks a part.

    >>> from grandpa_kfp import Node
    >>> from grandpa_kfp_runtime.recording import TaskBody, recorder
    >>> @Node
    ... def add(a: int, b: int) -> int:
    ...     return a + b
    >>> body = TaskBody()
    >>> token = recorder.set(body)
    >>> returned = [add(add(1, 2), 3)]
    >>> recorder.reset(token)
    >>> [call.id for call in graph_of_result(returned, body.calls).operations]
    ['add', 'add-2']
    """
    if not calls or type(result) in ATOMS:
        return None
    opened: Opened = (None, [((), result)]) if isinstance(result, Promise) else split(result, is_promise)
    leaves = [leaf for _, leaf in opened[1]]
    if any(isinstance(leaf, Ref) and leaf._origin.tracer is not None for leaf in leaves):
        return None
    needed = _needed(leaves, calls)
    if not needed:
        return None
    if len(needed) < len(calls):
        for call in calls:
            if call not in needed:
                call.warn_if_unused(body)
    builder = _Grown(counts if counts is not None else {})
    for call in calls:
        if call in needed:
            builder.add(call)
    output = builder.opened(opened)
    graph = Graph(body, (), tuple(builder.instances), tuple(builder.operations), ((RESULT, output),))
    return in_python(inline_generators(graph))


def _needed(promises: Sequence[Promise], calls: Sequence[FreeCall]) -> set[FreeCall] | None:
    """The calls that have yet to run; None where one of them cannot be a task of its own."""
    own = set(calls)
    found: set[FreeCall] = set()
    waiting = [call for promise in promises for call in calls_below(promise)]
    while waiting:
        call = waiting.pop()
        if call in found or call.state == DONE:
            continue
        if call.state != NEW or call not in own or isinstance(call, WorkflowCall):
            return None
        found.add(call)
        waiting += needs(call)
    return found


class _Grown(GraphBuilder):
    """The calls of one body, as tasks."""

    __slots__ = ("_counts", "_ids", "_names")

    def __init__(self, counts: dict[str, int]) -> None:
        super().__init__()
        self._counts = counts
        self._ids: dict[FreeCall, str] = {}
        self._names: set[str] = set()

    def add(self, call: FreeCall) -> None:
        instance = call.instance
        receiver = "" if instance is None else self.instance(instance)
        args = tuple([self.opened(opened) for opened in call.args])
        kwargs = tuple([(name, self.opened(opened)) for name, opened in call.kwargs]) if call.kwargs else ()
        name = self._ids[call] = self._name(call.name)
        self.operations.append(
            Call(
                name,
                self.python_node(call.definition),
                args,
                kwargs,
                _options(call),
                self._after(call.after) if call.after else (),
                (),
                call.where,
                receiver,
                call.method,
            )
        )

    def _after(self, refs: Sequence[Ref[Any]]) -> tuple[str, ...]:
        known = [self._ids.get(ref._origin) for ref in refs]  # type: ignore[call-overload]
        return tuple(dict.fromkeys(filter(None, known)))

    def _name(self, base: str) -> str:
        count = self._counts.get(base, 0) + 1
        name = base if count == 1 else f"{base}-{count}"
        while name in self._names:
            count += 1
            name = f"{base}-{count}"
        self._counts[base] = count
        self._names.add(name)
        return name

    def ref(self, ref: Ref[Any]) -> Value:
        call = ref._origin
        task = self._ids.get(call)  # type: ignore[call-overload]
        return Constant(promise_value(ref)) if task is None else output_value(task, ref)

    def new_node(self, definition: Definition) -> Node:
        """The one of the last time: bodies call the same nodes over and over."""
        if definition.in_bodies is None:
            definition.in_bodies = super().new_node(definition)
        return definition.in_bodies


def _options(call: FreeCall) -> Options:
    own, base = call.options, call.definition.options
    return base if own is NO_OPTIONS or own == base else own.over(base)
