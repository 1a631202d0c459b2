"""`@GeneratorNode`: marks a generator function whose consumer walks its items while they are made.

A call is recorded as a task that lists the items of a described instance, as a class node's is described.
When tracing ends, the compiler's `inline_generators` moves the instance into its consumer where there is one.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import AsyncIterable, Callable, Iterable, Iterator
from typing import Any, ParamSpec, TypeVar, overload

from grandpa_kfp_compiler.graph import Options
from grandpa_kfp_compiler.passes.builtins import ITEMS
from grandpa_kfp_runtime.builtins import items
from grandpa_kfp_runtime.errors import TraceError
from grandpa_kfp_runtime.prefetch import LONGEST_LIST, QUEUE_SIZE, Prefetch

from .annotations import signature_of
from .calls import DONE, FreeCall, note_takers
from .classes import NO_CALL_OPTIONS, CallOptions, Instance
from .definitions import BuiltinDefinition, Definition, name_of
from .nodes import FunctionNode
from .options import check_name, read_options
from .refs import Ref
from .signatures import mismatch
from .tracing import record
from .where import here, of_code

P = ParamSpec("P")
T = TypeVar("T")


_ITEMS = BuiltinDefinition(items, ITEMS)


class GeneratorDefinition(Definition):
    """A generator function as what instances are described of: a call of it constructs its items."""

    __slots__ = ()

    def _signature(self, method: str) -> inspect.Signature:
        return signature_of(self.target)

    def methods(self) -> list[str]:
        return []

    def check(self, task: str, method: str, count: int, names: Any, *, bound: int = 0) -> None:
        fault = mismatch(self.shape(method), count, names, bound=bound)
        if fault is not None:
            raise TraceError(f"{task} ({here()}): {fault}")


class ItemsRef(Ref[T]):
    """What a call of a generator node gives outside a workflow: iterating makes the items as they are asked for."""

    __slots__ = ()

    def __iter__(self) -> Iterator[Any]:
        call = self._origin
        assert isinstance(call, FreeCall)
        if call.state == DONE:
            return iter(typing.cast("Iterable[Any]", self.resolve()))
        return _walk(call.args[0][1][0][1])

    def __len__(self) -> int:  # a TypeError, since list() asks first and then does without
        raise TypeError(f"{here()}: how many items {self!r} makes is known at its end; resolve it for the list")


def _walk(instance: Instance) -> Iterator[Any]:
    from .growing import resolve_all

    stream: Prefetch = resolve_all([instance])[0]
    try:
        yield from stream
    finally:
        stream.close()


class GeneratorFunction(FunctionNode[P, Iterator[T]]):
    """A generator function that is a node. A call gives a Ref of its items; one consumer gets them as they come."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        instance = Instance(self._definition, self._bound + args, kwargs)
        options = self._chosen.options.over(self._definition.options)
        chosen = CallOptions(options, self._chosen.name, self._chosen.after)
        note_takers(instance._args, instance._kwargs)
        ref = record(_ITEMS, "", None, (instance,), {}, chosen, name=self._definition.name)
        found = ref if ref._origin.tracer is not None else ItemsRef(ref._origin)
        return typing.cast("Iterator[T]", found)

    def options(self, *, name: str | None = None, after: Any = None, **options: Any) -> GeneratorFunction[P, T]:
        """The node with options for single calls, as `Node.options`."""
        chosen = self._chosen.updated(f"the node {self._definition.name}", name, after, options)
        return GeneratorFunction(self._definition, chosen, self._bound, self._kind)

    def __grandpa_bind__(self, receiver: Any) -> GeneratorFunction[..., Any]:
        if self._kind == "static":
            return self
        return GeneratorFunction(self._definition, self._chosen, (*self._bound, receiver), "static")

    def __reduce_ex__(self, protocol: Any) -> Any:
        reduced = super().__reduce_ex__(protocol)
        return reduced if isinstance(reduced, str) else (_rebuild, reduced[1])


def _rebuild(
    state: tuple[Any, ...], chosen: CallOptions, bound: tuple[Any, ...], kind: str
) -> GeneratorFunction[..., Any]:
    target, name, options, _, where = state
    return GeneratorFunction(
        GeneratorDefinition(target, name, options, None, where, is_class=True), chosen, bound, kind
    )


class GeneratorDecorator:
    """`@GeneratorNode(...)` before it meets its function."""

    __slots__ = ("_longest", "_name", "_options", "_size")

    def __init__(self, name: str | None, size: int, longest: int, options: Options) -> None:
        self._name = name
        self._size = size
        self._longest = longest
        self._options = options

    @overload
    def __call__(self, target: staticmethod[P, Iterable[T]], /) -> GeneratorFunction[P, T]: ...
    @overload
    def __call__(self, target: Callable[P, Iterable[T]], /) -> GeneratorFunction[P, T]: ...
    @overload
    def __call__(self, target: Callable[P, AsyncIterable[T]], /) -> GeneratorFunction[P, T]: ...
    def __call__(self, target: Any, /) -> Any:
        static = isinstance(target, staticmethod)
        function = target.__func__ if static else target
        code = getattr(function, "__code__", None)
        if code is None:
            raise TraceError(
                f"{here()}: @GeneratorNode marks a function that yields, a method too, but was given {function!r}"
            )
        setattr(function, QUEUE_SIZE, self._size)
        setattr(function, LONGEST_LIST, self._longest)
        name = name_of(function, self._name)
        definition = GeneratorDefinition(function, name, self._options, None, of_code(code), is_class=True)
        return GeneratorFunction(definition, NO_CALL_OPTIONS, kind="static" if static else "")


@overload
def GeneratorNode(target: staticmethod[P, Iterable[T]], /) -> GeneratorFunction[P, T]: ...
@overload
def GeneratorNode(target: Callable[P, Iterable[T]], /) -> GeneratorFunction[P, T]: ...
@overload
def GeneratorNode(target: Callable[P, AsyncIterable[T]], /) -> GeneratorFunction[P, T]: ...
@overload
def GeneratorNode(
    target: str | None = None,
    /,
    *,
    name: str | None = None,
    max_queue_size: int = 50,
    max_items: int = 1_000_000,
    **options: Any,
) -> GeneratorDecorator: ...
def GeneratorNode(
    target: Any = None,
    /,
    *,
    name: str | None = None,
    max_queue_size: int = 50,
    max_items: int = 1_000_000,
    **options: Any,
) -> Any:
    """Marks a generator function as a node: `@GeneratorNode`, `@GeneratorNode("rows", max_queue_size=10)`.

    The task that takes a call's result gets an iterator, whose items are made ahead in a thread of the task's
    own, at most `max_queue_size` of them. Taken by several tasks, in a branch or a loop, or returned by the workflow,
    it is a task whose result is the list of the items, at most `max_items`. name, options: as of `@Node`; options that
    the consumer does not have (an image, retries) make it a task too.
    Raises TraceError for an unknown option or a value that cannot be, with the file and line.

    >>> from grandpa_kfp import Node
    >>> @GeneratorNode(max_queue_size=2)
    ... def numbers(n: int):
    ...     yield from range(n)
    >>> numbers(3).resolve()
    [0, 1, 2]
    """
    if isinstance(target, str):
        if name is not None:
            raise TraceError(f"{here()}: the node is given two names, {target!r} and {name!r}")
        target, name = None, target
    if name is not None:
        check_name(name, of="a node")
    of = f"the node {name}" if name else "a node"
    for word, value in (("max_queue_size", max_queue_size), ("max_items", max_items)):
        if type(value) is not int or value < 1:
            raise TraceError(f"{here()}: {word} of {of} must be a whole number of at least 1, but is {value!r}")
    decorator = GeneratorDecorator(name, max_queue_size, max_items, read_options(options, of=of))
    return decorator if target is None else decorator(target)
