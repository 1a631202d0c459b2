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


class TaskFunction(Generic[P, R]):
    """A function whose calls take lists of one length, and give a Ref of the list of results.

    node: the node of one element.
    """

    __name__: str
    __qualname__: str

    def __init__(self, node: FunctionNode[P, R]) -> None:
        self.node = node
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
        return self.node.map(*lists, *self._in_order(len(lists), named))

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
        return TaskFunction(self.node.options(name=name, after=after, **options))

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
        return self if bound is self.node else TaskFunction(bound)

    def __grandpa_bind__(self, receiver: Any) -> TaskFunction[..., Any]:
        """The node of a method with its `self`."""
        return TaskFunction(self.node.__grandpa_bind__(receiver))

    def __repr__(self) -> str:
        return f"<TaskNode {self.node._definition.name} ({self.node._definition.where})>"

    def __reduce_ex__(self, protocol: Any) -> Any:
        return (TaskFunction, (self.node,)) if importable(self) is None else self.__qualname__


class TaskNodeDecorator:
    """`@TaskNode(...)` before it meets its function."""

    __slots__ = ("_name", "_options")

    def __init__(self, name: str | None, options: dict[str, Any]) -> None:
        self._name = name
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
        return TaskFunction(Node(name=self._name, **self._options)(target))


@overload
def TaskNode(target: staticmethod[P, R], /) -> TaskFunction[P, R]: ...
@overload
def TaskNode(target: Callable[P, Coroutine[Any, Any, R]], /) -> TaskFunction[P, R]: ...
@overload
def TaskNode(target: Callable[P, R], /) -> TaskFunction[P, R]: ...
@overload
def TaskNode(target: str | None = None, /, *, name: str | None = None, **options: Any) -> TaskNodeDecorator: ...
def TaskNode(target: Any = None, /, *, name: str | None = None, **options: Any) -> Any:
    """Marks a function that is called for each element of lists: `@TaskNode`, `@TaskNode("name", retries=2)`.

    A call takes a list, or a Ref of one, for each argument, all of one length, and gives a Ref of the list of
    results: `node.map` under another name. name, options: as of `@Node`.
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
    decorator = TaskNodeDecorator(name, options)
    return decorator if target is None else decorator(target)
