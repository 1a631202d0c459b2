"""`node.map(xs, ys)`: a call of the node for each element, recorded as one task that becomes them, or as a loop.

The task's body is `map_over`. Run by an engine that makes tasks of what a body returns it gives a `Series`, which
the engine pulls a few elements at a time; else, as in a container, it returns all the calls, which run in its place.
A workflow's map whose elements ask for a container each is recorded as a loop: `map_loops` says which.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Iterator, Mapping, Sequence, Set, Sized
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from grandpa_kfp_compiler.graph import Graph, Options
from grandpa_kfp_runtime.errors import TaskError, TraceError
from grandpa_kfp_runtime.recording import TaskBody, recorder
from grandpa_kfp_runtime.values.summaries import summary
from grandpa_kfp_runtime.values.trees import fill

from .classes import CallOptions, Instance, call_instance
from .definitions import Definition
from .map_loops import is_loop, loop_over
from .refs import Promise, Ref
from .tracing import record
from .where import here, told_as

if TYPE_CHECKING:
    from .nodes import FunctionNode

_NO_LISTS = (str, bytes, bytearray, Mapping, Set)


def map_node(
    node: FunctionNode[..., Any], lists: Sequence[Any], window: int | None, parallelism: int | None
) -> Ref[Any]:
    """Records a map of a function node. Raises TraceError for what cannot be mapped."""
    definition, chosen = node._definition, node._chosen
    _check_limits(definition, window, parallelism)
    given = _checked(definition, "", lists, node._bound)
    if is_loop(chosen.options.over(definition.options), window, parallelism, apart=definition.is_container):
        plain = type(node)(definition, CallOptions(chosen.options), node._bound, node._kind)
        return loop_over(definition.name, plain, given, parallelism, chosen)
    found: _Map | None = node.__dict__.get("_map")
    if found is None:
        plain = type(node)(definition, CallOptions(chosen.options), node._bound, node._kind)
        found = _Map(definition, "", functools.partial(map_over, plain), chosen.options)
        node.__dict__["_map"] = found
    own = CallOptions(name=chosen.name, after=chosen.after)
    return record(found, "", None, tuple(given), _named(window or parallelism), own)


def map_instance(instance: Instance, lists: Sequence[Any], window: int | None, parallelism: int | None) -> Ref[Any]:
    """Records a map of an instance's first method. Raises TraceError for what cannot be mapped."""
    definition, chosen = instance._definition, instance._chosen
    methods = definition.methods()
    if not methods:
        raise TraceError(f"{here()}: the class {definition.name} has no method __call__, process or apply to map")
    _check_limits(definition, window, parallelism)
    given = _checked(definition, methods[0], lists, ())
    if is_loop(chosen.options.over(definition.options), window, parallelism):
        plain = instance._with(CallOptions(chosen.options))
        return loop_over(
            definition.name, lambda *row: call_instance(plain, methods[0], row, {}), given, parallelism, chosen
        )
    target = functools.partial(map_over_object, definition.target, methods[0], CallOptions(chosen.options))
    found = _Map(definition, methods[0], target, chosen.options)
    args = [fill(skeleton, holes) for skeleton, holes in instance._args]
    kwargs = {name: fill(skeleton, holes) for name, (skeleton, holes) in instance._kwargs}
    own = CallOptions(name=chosen.name, after=chosen.after)
    return record(found, "", None, (args, kwargs, *given), _named(window or parallelism), own)


def map_over(call: Callable[..., Any], *lists: Any, window: int | None = None) -> Any:
    """The body of a map. Raises TaskError where the lists are none, or differ in length."""
    count = _length_of(lists)
    body = recorder.get()
    if isinstance(body, TaskBody) and body.extends:
        return Series(call, lists, count, window)
    return [call(*row) for row in zip(*lists, strict=True)]


def map_over_object(
    cls: Any, method: str, chosen: CallOptions, init: list[Any], init_named: dict[str, Any], *lists: Any,
    window: int | None = None,
) -> Any:  # fmt: skip
    """`map_over` for a class node: each element's task constructs its own object."""
    instance: Instance = cls(*init, **init_named)
    instance = instance._with(chosen)
    return map_over(lambda *row: call_instance(instance, method, row, {}), *lists, window=window)


class Series:
    """The calls of a map, not yet made."""

    __slots__ = ("_call", "_count", "_lists", "_window")

    def __init__(self, call: Callable[..., Any], lists: Sequence[Any], count: int, window: int | None) -> None:
        self._call = call
        self._lists = lists
        self._count = count
        self._window = window

    def graphs(self, window: int, *, where: str, body: str) -> Iterator[tuple[Graph, int]]:
        """The graphs of some elements each, with how many elements may be missing before the next one is wanted.

        window: how many elements may be under way, where the map does not say. where: of the map's call; body: the
        name of its task. A graph's result is a list.
        """
        from .grown import graph_of_result

        window = self._window or window
        rows = zip(*self._lists, strict=True)
        counts: dict[str, int] = {}
        size, rest = window, self._count
        while rest > 0:
            calls = TaskBody()
            token = recorder.set(calls)
            try:
                with told_as(where):
                    made = [self._call(*row) for row in islice(rows, size)]
            finally:
                recorder.reset(token)
            graph = graph_of_result(made, calls.calls, body=body, counts=counts)
            assert graph is not None  # every call is new
            rest -= size
            yield graph, window // 2 if rest > 0 else 0
            size = window - window // 2


class _Map(Definition):
    """The node of a map's task."""

    __slots__ = ("_method", "_of")

    def __init__(self, of: Definition, method: str, target: Any, chosen: Options) -> None:
        options = replace(chosen.over(of.options), timeout_s=None)  # holds for each element
        super().__init__(target, f"{of.name}.map", options, None, of.where, is_class=False)
        self._of = of
        self._method = method

    def _signature(self, method: str) -> inspect.Signature:
        returns = self._of.returns(self._method)
        annotation = list if returns is Any or returns is inspect.Signature.empty else types.GenericAlias(list, returns)
        signature = inspect.signature(self.target)
        plain = [item.replace(annotation=item.empty) for item in signature.parameters.values()]
        return signature.replace(parameters=plain, return_annotation=annotation)


def _named(window: int | None) -> dict[str, Any]:
    return {} if window is None else {"window": window}


def _check_limits(definition: Definition, window: int | None, parallelism: int | None) -> None:
    what = f"{definition.name}.map ({here()})"
    for name, value in (("window", window), ("parallelism", parallelism)):
        if value is not None and (type(value) is not int or value < 1):
            raise TraceError(f"{what}: {name} must be a whole number above 0, but is {value!r}")
    if window is not None and parallelism is not None:
        raise TraceError(
            f"{what}: window makes the map one task, parallelism a loop, which is a container for each element on "
            "Kubeflow; give one of them"
        )


def _checked(definition: Definition, method: str, lists: Sequence[Any], bound: tuple[Any, ...]) -> list[Any]:
    """The lists as arguments: Refs as they are, everything else something with a length."""
    what = f"{definition.name}.map ({here()})"
    if not lists:
        raise TraceError(f"{what}: it takes a list for each argument of the node, and was given none")
    definition.check(f"{definition.name}.map", method, len(bound) + len(lists), {}, bound=len(bound))
    given: list[Any] = []
    for number, value in enumerate(lists, 1):
        if not isinstance(value, Promise):
            if not isinstance(value, Sized) and hasattr(type(value), "__iter__"):
                value = list(value)
            if isinstance(value, _NO_LISTS) or not isinstance(value, Sized):
                raise TraceError(f"{what}: it takes lists, but the value at place {number} is {summary(value)}")
        given.append(value)
    return given


def _length_of(lists: Sequence[Any]) -> int:
    for number, value in enumerate(lists, 1):
        if isinstance(value, _NO_LISTS) or not isinstance(value, Sized):
            raise TaskError(f"map takes lists, but the value at place {number} is {summary(value)}")
    lengths = [len(value) for value in lists]
    if len(set(lengths)) > 1:
        raise TaskError(f"map takes lists of one length, but these have {', '.join(map(str, lengths))} elements")
    return lengths[0]
