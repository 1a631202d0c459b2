"""`@Node`: marks a function, method, class or any callable as a unit of computation.

Calling a marked function records the call and gives a Ref; its body runs when the graph does. To a type
checker the node keeps its own signature.
"""

from __future__ import annotations

import functools
import os
import sys
import types
import typing
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Concatenate, Generic, ParamSpec, TypeAlias, TypeVar, overload

from grandpa_kfp_compiler.graph import Options
from grandpa_kfp_compiler.options.volumes import Volume
from grandpa_kfp_runtime.errors import TraceError

from .annotations import namespace_of
from .classes import NO_CALL_OPTIONS, CallOptions, mark_class
from .definitions import Definition, name_of, read_outputs
from .options import check_name, read_options
from .tracing import record
from .where import here, of_code

Amount: TypeAlias = str | int | float
"""Of CPU or memory, as Kubernetes writes it."""

P = ParamSpec("P")
R = TypeVar("R")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C", bound=type)
S = TypeVar("S")
Q = ParamSpec("Q")


class FunctionNode(Generic[P, R]):
    """A function that is a node. Calling it gives a Ref of its result at once.

    `fn` is the plain function; `options(...)` gives the node with options for the calls made through it.
    """

    __name__: str
    __qualname__: str

    def __init__(
        self, definition: Definition, chosen: CallOptions = NO_CALL_OPTIONS, bound: tuple[Any, ...] = (), kind: str = ""
    ) -> None:
        self._definition = definition
        self._chosen = chosen
        self._bound = bound
        self._kind = kind
        functools.update_wrapper(self, definition.target, updated=())

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        bound = self._bound
        ref = record(self._definition, "", None, bound + args, kwargs, self._chosen, len(bound))
        return typing.cast(R, ref)

    def options(self, *, name: str | None = None, after: Any = None, **options: Any) -> FunctionNode[P, R]:
        """The node with options for single calls: `subtract.options(name="last", retries=3)(7, 2)`.

        name: pins the task's name; after: Refs of tasks to wait for; the others are those of `@Node`.
        Raises TraceError for an unknown option or a value that cannot be.
        """
        chosen = self._chosen.updated(f"the node {self._definition.name}", name, after, options)
        return FunctionNode(self._definition, chosen, self._bound, self._kind)

    @overload
    def map(
        self: FunctionNode[Concatenate[A, Q], R],
        first: Iterable[A],
        /,
        *,
        window: int | None = None,
        parallelism: int | None = None,
    ) -> list[R]: ...
    @overload
    def map(
        self: FunctionNode[Concatenate[A, B, Q], R],
        first: Iterable[A],
        second: Iterable[B],
        /,
        *,
        window: int | None = None,
        parallelism: int | None = None,
    ) -> list[R]: ...
    @overload
    def map(
        self,
        first: Iterable[Any],
        second: Iterable[Any],
        third: Iterable[Any],
        /,
        *more: Iterable[Any],
        window: int | None = None,
        parallelism: int | None = None,
    ) -> list[R]: ...
    def map(self, *lists: Any, window: int | None = None, parallelism: int | None = None) -> Any:
        """A call for each element of lists of one length: a Ref of the list of results, in order.

        lists: one for each argument, as values or as Refs whose length only the run knows. Options of the node hold
        for each element's task. window: how many elements may be under way at once, by default four times what the
        engine runs at once, and at least 64. parallelism: the same, of a loop.

        In a workflow it is one task, one container on Kubeflow in which its elements run; with `parallelism`, or
        where the node asks for cpu, memory, gpu, shm, disk or timeout_s, and no `window` is given, it is a loop, as
        of `each`: each element has a container. Raises TraceError for what cannot be mapped.

        >>> @Node
        ... def add(a: int, b: int) -> int:
        ...     return a + b
        >>> add.map([1, 2, 3], [10, 20, 30]).resolve()
        [11, 22, 33]
        """
        from .mapping import map_node

        return map_node(self, lists, window, parallelism)

    @property
    def fn(self) -> Callable[P, R]:
        """The plain function, for unit tests and for calls inside other nodes."""
        target = self._definition.target
        return typing.cast("Callable[P, R]", functools.partial(target, *self._bound) if self._bound else target)

    @property
    def __grandpa_node__(self) -> Callable[..., Any]:
        """What the runtime calls: the plain function."""
        return typing.cast("Callable[..., Any]", self._definition.target)

    @overload
    def __get__(self, instance: None, owner: Any = None) -> FunctionNode[P, R]: ...
    @overload
    def __get__(self: FunctionNode[Concatenate[S, Q], R], instance: S, owner: Any = None) -> FunctionNode[Q, R]: ...
    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if self._kind == "static" or (instance is None and self._kind != "class"):
            return self
        return self.__grandpa_bind__(owner if self._kind == "class" else instance)

    def __grandpa_bind__(self, receiver: Any) -> FunctionNode[..., Any]:
        """The node of a method with its `self`."""
        if self._kind == "static":
            return self
        return FunctionNode(self._definition, self._chosen, (*self._bound, receiver), "static")

    def __repr__(self) -> str:
        return f"<Node {self._definition.name} ({self._definition.where})>"

    def __reduce_ex__(self, protocol: Any) -> Any:
        """By reference where the node can be imported, as functions are pickled; else by value."""
        definition = self._definition
        if _importable(getattr(self, "__module__", ""), getattr(self, "__qualname__", "")) is self:
            return self.__qualname__
        state = (definition.target, definition.name, definition.options, definition.outputs, definition.where)
        return _rebuild, (state, self._chosen, self._bound, self._kind)


def _importable(module: str, qualname: str) -> Any:
    """The object of that name, None where there is none; nothing is imported."""
    if module == "__main__":  # another process has another `__main__`
        return None
    found: Any = sys.modules.get(module)
    for name in qualname.split("."):
        found = getattr(found, name, None)
    return found


def _rebuild(state: tuple[Any, ...], chosen: CallOptions, bound: tuple[Any, ...], kind: str) -> FunctionNode[..., Any]:
    target, name, options, outputs, where = state
    return FunctionNode(Definition(target, name, options, outputs, where, is_class=False), chosen, bound, kind)


class NodeDecorator:
    """`@Node(...)` before it meets its function or class."""

    __slots__ = ("_name", "_options", "_outputs")

    def __init__(self, name: str | None, outputs: tuple[str, ...] | None, options: Options) -> None:
        self._name = name
        self._outputs = outputs
        self._options = options

    @overload
    def __call__(self, target: C, /) -> C: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, target: staticmethod[P, R], /) -> FunctionNode[P, R]: ...
    @overload
    def __call__(self, target: classmethod[Any, P, R], /) -> FunctionNode[P, R]: ...
    @overload
    def __call__(self, target: Callable[P, Coroutine[Any, Any, R]], /) -> FunctionNode[P, R]: ...
    @overload
    def __call__(self, target: Callable[P, R], /) -> FunctionNode[P, R]: ...
    def __call__(self, target: Any, /) -> Any:
        where = here()
        if isinstance(target, type):
            name = name_of(target, self._name)
            mark_class(target, name=name, options=self._options, outputs=self._outputs, where=where)
            return target
        if self._options.keep:
            raise TraceError(
                f"{where}: keep=True is of a class whose instances are kept, but marks {name_of(target, self._name)}"
            )
        kind = ""
        if isinstance(target, staticmethod | classmethod):
            kind = "static" if isinstance(target, staticmethod) else "class"
            target = target.__func__
        if isinstance(target, FunctionNode):
            target = target.fn
        if not callable(target) or hasattr(target, "__grandpa_traced__"):
            raise TraceError(f"{where}: @Node marks a function, a class or another callable, but was given {target!r}")
        code = getattr(target, "__code__", None)
        if code is not None:
            where = of_code(code)
        definition = Definition(
            target, name_of(target, self._name), self._options, self._outputs, where, is_class=False
        )
        if code is not None and "<locals>" in target.__qualname__:
            _resolve_early(target)
        return FunctionNode(definition, kind=kind)


def _resolve_early(function: types.FunctionType) -> None:
    """Annotations of a function inside a function may name its local classes, which only now can be found."""
    annotations = function.__annotations__
    waiting = {name: text for name, text in annotations.items() if isinstance(text, str)}
    if not waiting:
        return
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals is not function.__globals__:
        frame = frame.f_back
    names = {**namespace_of(function), **frame.f_locals}
    for name, text in waiting.items():
        try:
            annotations[name] = eval(text, names)
        except Exception:  # it stays a text, and is tried again when it is needed
            continue


@overload
def Node(target: C, /) -> C: ...  # type: ignore[overload-overlap]
@overload
def Node(target: staticmethod[P, R], /) -> FunctionNode[P, R]: ...
@overload
def Node(target: classmethod[Any, P, R], /) -> FunctionNode[P, R]: ...
@overload
def Node(target: Callable[P, Coroutine[Any, Any, R]], /) -> FunctionNode[P, R]: ...
@overload
def Node(target: Callable[P, R], /) -> FunctionNode[P, R]: ...
@overload
def Node(
    target: str | None = None,
    /,
    *,
    name: str | None = None,
    outputs: tuple[str, ...] | list[str] | None = None,
    retries: int | None = None,
    timeout_s: float | None = None,
    cpu: Amount | tuple[Amount | None, Amount | None] | None = None,
    memory: Amount | tuple[Amount | None, Amount | None] | None = None,
    gpu: int | None = None,
    env: dict[str, str] | None = None,
    image: str | None = None,
    packages: list[str] | tuple[str, ...] | None = None,
    requirements: str | os.PathLike[str] | None = None,
    index_url: str | None = None,
    secrets: dict[str, str] | None = None,
    cache: bool | str | None = None,
    version: str | int | None = None,
    verbose: bool | None = None,
    keep: bool | None = None,
    gpu_type: str | None = None,
    shm: str | int | None = None,
    disk: str | int | None = None,
    volumes: Mapping[str, Volume | Mapping[str, Any]] | None = None,
    config_maps: Mapping[str, str] | None = None,
    node_selector: Mapping[str, str] | None = None,
    tolerations: Sequence[str | Mapping[str, Any]] | None = None,
    affinity: Mapping[str, Any] | None = None,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    image_pull_secrets: Sequence[str] | None = None,
    kubernetes: Mapping[str, Any] | None = None,
    backoff_s: float | None = None,
    backoff_factor: float | None = None,
    backoff_max_s: float | None = None,
    uses: Mapping[str, int] | None = None,
    always: bool | None = None,
    artifact: str | None = None,
    fallback: Any = ...,
) -> NodeDecorator: ...
def Node(target: Any = None, /, *, name: str | None = None, outputs: Any = None, **options: Any) -> Any:
    """Marks a function, class or other callable as a node: `@Node`, `@Node("name")`, `@Node(retries=2, ...)`.

    name: the node's name, by default the function's; outputs: names of several results, which the body
    returns as a tuple, dict or NamedTuple.
    retries: how often a failed task is tried again; timeout_s: seconds a task may take; cpu, memory: as
    Kubernetes writes them (`500m`, `2Gi`); gpu: a count; env: environment variables; image: the
    container's; packages: pip requirements, and requirements: a file of them, installed when a task starts;
    index_url: the package index they come from; secrets: environment variable -> `secret/key`;
    cache: True, False or a time to live (`1d`); version: any text, a change makes results new;
    verbose: log each call; keep: of a class, a worker keeps its instances for later tasks, and calls their `release()`
    at its end.
    For Kubernetes (docs/kubernetes-options.md): gpu_type, shm, disk, volumes, config_maps, node_selector,
    tolerations, affinity, labels, annotations, image_pull_secrets, and kubernetes for everything else; backoff_s,
    backoff_factor, backoff_max_s: pauses between retries. fallback: the value that takes the place of the result
    when the task has failed for good, so that what follows goes on. always: it runs whatever became of what it waits
    for; what it takes from tasks that may fail has a default.
    Raises TraceError for an unknown option or a value that cannot be, with the file and line.

    >>> @Node(outputs=("quotient", "rest"))
    ... def divide(a: int, b: int) -> tuple[int, int]:
    ...     return divmod(a, b)
    >>> quotient, rest = divide(17, 5)
    >>> rest.resolve()
    2
    """
    if isinstance(target, str):
        if name is not None:
            raise TraceError(f"{here()}: the node is given two names, {target!r} and {name!r}")
        target, name = None, target
    if name is not None:
        check_name(name, of="a node")
    of = f"the node {name}" if name else "a node"
    decorator = NodeDecorator(name, read_outputs(outputs, of=of), read_options(options, of=of))
    return decorator if target is None else decorator(target)
