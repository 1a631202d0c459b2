"""`@Component`: marks a function that connects nodes.

It runs while tracing, and leaves a named group in the graph. Outside a workflow it just runs: the nodes
in it give Refs there too.
"""

from __future__ import annotations

import functools
import typing
from collections.abc import Callable
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from grandpa_kfp_runtime.errors import TraceError
from grandpa_kfp_runtime.recording import recorder

from .annotations import signature_of
from .classes import NO_CALL_OPTIONS, CallOptions
from .definitions import name_of
from .options import check_name
from .refs import Promise
from .signatures import Shape, mismatch, shape_of
from .statics import is_static
from .tracing import Tracer
from .where import here

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
Q = ParamSpec("Q")


class ComponentFunction(Generic[P, R]):
    """A function that connects nodes; calling it runs its body and gives what the body returns."""

    __grandpa_traced__ = "component"
    __name__: str

    def __init__(
        self,
        function: Callable[P, R],
        name: str,
        chosen: CallOptions = NO_CALL_OPTIONS,
        bound: tuple[Any, ...] = (),
        kind: str = "",
        fuse: bool | None = None,
    ) -> None:
        self._function = function
        self._name = name
        self._chosen = chosen
        self._bound = bound
        self._kind = kind
        self._fuse = fuse
        self._shape: Shape | None = None
        functools.update_wrapper(self, function, updated=())

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        given = self._bound + args
        if self._shape is None:
            self._shape = shape_of(signature_of(self._function))
        fault = mismatch(self._shape, len(given), kwargs, bound=len(self._bound), what="the component")
        if fault is not None:
            raise TraceError(f"{self._name} ({here()}): {fault}")
        refuse_promised_statics(self._name, self._shape, given, kwargs)
        function = typing.cast("Callable[..., R]", self._function)
        current = recorder.get()
        if isinstance(current, Tracer):
            with current.component(self._name, self._chosen, fuse=self._fuse):
                return function(*given, **kwargs)
        return function(*given, **kwargs)

    def options(
        self, *, name: str | None = None, after: Any = None, fuse: bool | None = None, **options: Any
    ) -> ComponentFunction[P, R]:
        """The component with a pinned name, with options for every node called in it, with tasks to wait for, or with
        another say in what is fused."""
        of = f"the component {self._name}"
        chosen = self._chosen.updated(of, name, after, options)
        fuse = self._fuse if fuse is None else _read_fuse(fuse, of)
        return ComponentFunction(self._function, self._name, chosen, self._bound, self._kind, fuse)

    @property
    def fn(self) -> Callable[P, R]:
        """The plain function."""
        return functools.partial(self._function, *self._bound) if self._bound else self._function

    @overload
    def __get__(self, instance: None, owner: Any = None) -> ComponentFunction[P, R]: ...
    @overload
    def __get__(
        self: ComponentFunction[Concatenate[S, Q], R], instance: S, owner: Any = None
    ) -> ComponentFunction[Q, R]: ...
    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if self._kind == "static" or (instance is None and self._kind != "class"):
            return self
        receiver = owner if self._kind == "class" else instance
        bound = (*self._bound, receiver)
        return ComponentFunction(self._function, self._name, self._chosen, bound, "static", self._fuse)

    def __repr__(self) -> str:
        return f"<Component {self._name}>"


def refuse_promised_statics(name: str, shape: Shape, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Raises TraceError where a `Static` parameter is given a Ref."""
    parameters = shape.signature.parameters
    if not any(is_static(item.annotation) for item in parameters.values()):
        return
    given = shape.signature.bind_partial(*args, **kwargs).arguments
    for item in parameters.values():
        value = given.get(item.name)
        if isinstance(value, Promise) and is_static(item.annotation):
            raise TraceError(
                f"{name} ({here()}): argument {item.name} is Static, fixed while tracing, but was given {value!r}, "
                "which exists only when the graph runs"
            )


class ComponentDecorator:
    """`@Component(...)` before it meets its function."""

    __slots__ = ("_chosen", "_fuse", "_name")

    def __init__(self, name: str | None, chosen: CallOptions, fuse: bool | None = None) -> None:
        self._name = name
        self._chosen = chosen
        self._fuse = fuse

    @overload
    def __call__(self, target: staticmethod[P, R], /) -> ComponentFunction[P, R]: ...
    @overload
    def __call__(self, target: Callable[P, R], /) -> ComponentFunction[P, R]: ...
    def __call__(self, target: Any, /) -> Any:
        kind = ""
        if isinstance(target, staticmethod | classmethod):
            kind = "static" if isinstance(target, staticmethod) else "class"
            target = target.__func__
        if not callable(target) or isinstance(target, type) or hasattr(target, "__grandpa_node__"):
            raise TraceError(f"{here()}: @Component marks a function that connects nodes, but was given {target!r}")
        name = name_of(target, self._name, kind="the component")
        return ComponentFunction(target, name, self._chosen, kind=kind, fuse=self._fuse)


@overload
def Component(target: staticmethod[P, R], /) -> ComponentFunction[P, R]: ...
@overload
def Component(target: Callable[P, R], /) -> ComponentFunction[P, R]: ...
@overload
def Component(
    target: str | None = None, /, *, name: str | None = None, fuse: bool | None = None, **options: Any
) -> ComponentDecorator: ...
def Component(target: Any = None, /, *, name: str | None = None, fuse: bool | None = None, **options: Any) -> Any:
    """Marks a function that connects nodes: `@Component`, `@Component("name")`, `@Component(retries=2)`.

    name: its name in the graph, by default the function's; fuse: on Kubeflow each call of it is one step, one
    container that runs all of its tasks, or, where False, none of them ever shares a container (docs/fusion.md);
    options: defaults for every node called in it.
    Raises TraceError for an unknown option or a value that cannot be.

    >>> from grandpa_kfp import Node
    >>> @Node
    ... def add(a: int, b: int) -> int:
    ...     return a + b
    >>> @Component
    ... def twice(a: int) -> int:
    ...     return add(a, a)
    >>> twice(4).resolve()
    8
    """
    if isinstance(target, str):
        target, name = None, target
    if name is not None:
        check_name(name, of="a component")
    of = f"the component {name}" if name else "a component"
    fuse = None if fuse is None else _read_fuse(fuse, of)
    decorator = ComponentDecorator(name, NO_CALL_OPTIONS.updated(of, None, None, options), fuse)
    return decorator if target is None else decorator(target)


def _read_fuse(fuse: Any, of: str) -> bool:
    if not isinstance(fuse, bool):
        raise TraceError(f"{here()}: the option fuse of {of} must be True or False, but is {fuse!r}")
    return fuse
