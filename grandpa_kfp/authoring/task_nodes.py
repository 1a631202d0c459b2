"""`@TaskNode`: a node that is always mapped: called with lists it is called for each of their elements."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from grandpa_kfp_runtime.code.marks import importable
from grandpa_kfp_runtime.errors import TraceError

from .nodes import FunctionNode, Node
from .where import here

P = ParamSpec("P")
R = TypeVar("R")
A = TypeVar("A")
B = TypeVar("B")
Q = ParamSpec("Q")
S = TypeVar("S")


class TaskFunction(Generic[P, R]):
    """A function whose calls take lists of one length, and give a Ref of the list of results.

    node: the node of one element; window, parallelism: as of `Node.map`.
    """

    __name__: str
    __qualname__: str

    def __init__(self, node: FunctionNode[P, R], window: int | None = None, parallelism: int | None = None) -> None:
        self.node = node
        self._window = window
        self._parallelism = parallelism
        functools.update_wrapper(self, node, updated=())

    @overload
    def __call__(self: TaskFunction[Concatenate[A, ...], R], first: Iterable[A], /) -> list[R]: ...
    @overload
    def __call__(
        self: TaskFunction[Concatenate[A, B, ...], R], first: Iterable[A], second: Iterable[B], /
    ) -> list[R]: ...
    @overload
    def __call__(self, *lists: Iterable[Any], **named: Iterable[Any]) -> list[R]: ...
    def __call__(self, *lists: Any, **named: Any) -> Any:
        given = (*lists, *self._in_order(len(lists), named))
        return self.node.map(*given, window=self._window, parallelism=self._parallelism)

    def _of(self, node: FunctionNode[Q, S]) -> TaskFunction[Q, S]:
        return TaskFunction(node, self._window, self._parallelism)

    def _in_order(self, count: int, named: dict[str, Any]) -> list[Any]:
        """The lists that were given by name, in the order of the parameters."""
        if not named:
            return []
        definition, bound = self.node._definition, len(self.node._bound)
        definition.check(definition.name, "", bound + count, named, bound=bound)
        parameters = [
            item.name
            for item in definition.shape("").signature.parameters.values()
            if item.kind in (item.POSITIONAL_ONLY, item.POSITIONAL_OR_KEYWORD)
        ]
        following = parameters[bound + count :][: len(named)]
        if set(following) != set(named):
            raise TraceError(
                f"{definition.name} ({here()}): lists given by name must be those of the parameters that follow the "
                f"others, {', '.join(following) or 'of which there are none'}; given are {', '.join(named)}"
            )
        return [named[name] for name in following]

    def options(self, *, name: str | None = None, after: Any = None, **options: Any) -> TaskFunction[P, R]:
        """With options for single calls, as `Node.options`; they hold for each element's task."""
        return self._of(self.node.options(name=name, after=after, **options))

    @property
    def fn(self) -> Callable[P, R]:
        """The plain function, of one element."""
        return self.node.fn

    @property
    def __grandpa_node__(self) -> Callable[..., Any]:
        """What the runtime calls: the plain function."""
        return self.node.__grandpa_node__

    def __get__(self, instance: Any, owner: Any = None) -> TaskFunction[..., R]:
        bound = self.node.__get__(instance, owner)
        return self if bound is self.node else self._of(bound)

    def __grandpa_bind__(self, receiver: Any) -> TaskFunction[..., Any]:
        """The node of a method with its `self`."""
        return self._of(self.node.__grandpa_bind__(receiver))

    def __repr__(self) -> str:
        return f"<TaskNode {self.node._definition.name} ({self.node._definition.where})>"

    def __reduce_ex__(self, protocol: Any) -> Any:
        if importable(self) is not None:
            return self.__qualname__
        return TaskFunction, (self.node, self._window, self._parallelism)


class TaskNodeDecorator:
    """`@TaskNode(...)` before it meets its function."""

    __slots__ = ("_limits", "_name", "_options")

    def __init__(self, name: str | None, limits: tuple[int | None, int | None], options: dict[str, Any]) -> None:
        self._name = name
        self._limits = limits
        self._options = options

    @overload
    def __call__(self, target: staticmethod[P, R], /) -> TaskFunction[P, R]: ...
    @overload
    def __call__(self, target: Callable[P, Coroutine[Any, Any, R]], /) -> TaskFunction[P, R]: ...
    @overload
    def __call__(self, target: Callable[P, R], /) -> TaskFunction[P, R]: ...
    def __call__(self, target: Any, /) -> Any:
        if isinstance(target, type):
            raise TraceError(
                f"{here()}: @TaskNode marks a function, but was given the class {target.__name__}; mark it with @Node, "
                f"and write {target.__name__}(...).map(...)"
            )
        return TaskFunction(Node(name=self._name, **self._options)(target), *self._limits)


@overload
def TaskNode(target: staticmethod[P, R], /) -> TaskFunction[P, R]: ...
@overload
def TaskNode(target: Callable[P, Coroutine[Any, Any, R]], /) -> TaskFunction[P, R]: ...
@overload
def TaskNode(target: Callable[P, R], /) -> TaskFunction[P, R]: ...
@overload
def TaskNode(
    target: str | None = None,
    /,
    *,
    name: str | None = None,
    window: int | None = None,
    parallelism: int | None = None,
    **options: Any,
) -> TaskNodeDecorator: ...
def TaskNode(
    target: Any = None,
    /,
    *,
    name: str | None = None,
    window: int | None = None,
    parallelism: int | None = None,
    **options: Any,
) -> Any:
    """Marks a function that is called for each element of lists: `@TaskNode`, `@TaskNode("name", retries=2)`.

    A call takes a list, or a Ref of one, for each argument, all of one length, and gives a Ref of the list of
    results: `node.map` under another name. name, options: as of `@Node`; window, parallelism: as of `Node.map`, which
    also tells when each element has a container of its own on Kubeflow.
    Raises TraceError for an unknown option or a value that cannot be, with the file and line.

    >>> @TaskNode
    ... def add(a: int, b: int) -> int:
    ...     return a + b
    >>> from grandpa_kfp import resolve
    >>> resolve(add([1] * 20, [2] * 20)) == [3] * 20
    True
    """
    if isinstance(target, str):
        if name is not None:
            raise TraceError(f"{here()}: the node is given two names, {target!r} and {name!r}")
        target, name = None, target
    decorator = TaskNodeDecorator(name, (window, parallelism), options)
    return decorator if target is None else decorator(target)
