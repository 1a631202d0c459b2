"""`@Workflow`: marks a function (or a class with `run`) as what is run, compiled and deployed.

Its parameters are the pipeline's; its body runs while tracing. Called outside a trace it gives a Ref,
called inside another workflow it is a group of its own.
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, ParamSpec, TypeVar, overload

from grandpa_kfp_compiler.graph import NO_OPTIONS, Graph, Options
from grandpa_kfp_runtime.errors import ParameterError, TraceError
from grandpa_kfp_runtime.events.subscribers import Subscriber, as_listener
from grandpa_kfp_runtime.parameters import optional
from grandpa_kfp_runtime.recording import recorder

from .annotations import signature_of, type_of
from .blocks import closed
from .calls import ParameterOrigin
from .components import ComponentFunction
from .definitions import name_of
from .docstrings import parse_docstring
from .nodes import FunctionNode
from .options import check_name, nearest, read_options
from .refs import Promise, Ref
from .signatures import text_of
from .statics import is_static
from .tracing import Tracer
from .where import here, of_code
from .workflow_classes import function_of_class
from .workflow_parameters import NO_DEFAULT, WorkflowParameter, is_file

if typing.TYPE_CHECKING:
    from grandpa_kfp_runtime.failure_info import FailureInfo

P = ParamSpec("P")
R = TypeVar("R")


class WorkflowFunction(Generic[P, R]):
    """A workflow. `trace(workflow)` gives its graph; `workflow(a=4)` a Ref with `.resolve()` and `.run()`.

    options: for every task in it; callbacks: told of each event of a run; on_failure: the node that is called when
    a run has failed; on_exit: the node that is called when all its tasks have ended, however.
    """

    __grandpa_traced__ = "workflow"
    __name__: str

    def __init__(
        self,
        function: Callable[P, R],
        name: str,
        options: Options = NO_OPTIONS,
        callbacks: tuple[Subscriber, ...] = (),
        *,
        on_failure: FunctionNode[..., Any] | None = None,
        on_exit: Any = None,
        documented: Any = None,
    ) -> None:
        self._function = function
        self.name = name
        self.options = options
        self.callbacks = callbacks
        self.on_failure = on_failure
        self.on_exit = on_exit
        self._parameters: tuple[WorkflowParameter, ...] | None = None
        self._signature: inspect.Signature | None = None
        self._documented = documented or function
        functools.update_wrapper(self, typing.cast("Callable[..., Any]", self._documented), updated=())

    @property
    def fn(self) -> Callable[P, R]:
        """The plain function."""
        return self._function

    @property
    def where(self) -> str:
        """`file:line` of the definition."""
        found = inspect.unwrap(typing.cast("Callable[..., Any]", self._documented))
        function = getattr(found, "run", found) if isinstance(found, type) else found
        while isinstance(function, functools.partial):
            function = function.func
        code = getattr(function, "__code__", None)
        return "" if code is None else of_code(code)

    @property
    def signature(self) -> inspect.Signature:
        """The signature with resolved annotations."""
        if self._signature is None:
            self._signature = signature_of(self._function)
        return self._signature

    @property
    def parameters(self) -> tuple[WorkflowParameter, ...]:
        """The parameters, Static ones included. Raises TraceError for `*args` and `**kwargs`."""
        if self._parameters is None:
            described = {**parse_docstring(_doc(self._function)).parameters, **parse_docstring(_doc(self)).parameters}
            self._parameters = tuple(
                self._parameter(item, described.get(item.name, "")) for item in self.signature.parameters.values()
            )
        return self._parameters

    def _parameter(self, item: inspect.Parameter, description: str) -> WorkflowParameter:
        if item.kind in (item.VAR_POSITIONAL, item.VAR_KEYWORD):
            shown = item.replace(annotation=item.empty)
            raise TraceError(
                f"{self.where}: the workflow {self.name} takes {shown}, but a pipeline's parameters have names; "
                "write them out, or take one list or dict"
            )
        type_ = type_of(item.annotation)
        if item.default is None:
            type_ = optional(type_)
        static = is_static(item.annotation) or is_file(item.default)
        return WorkflowParameter(item.name, item.annotation, type_, item.default, static, description, self.where)

    @property
    def description(self) -> str:
        """The docstring without its sections."""
        return parse_docstring(_doc(self)).description

    # --- calling ---------------------------------------------------------------------------------

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        values = self.bind(args, kwargs)
        current = recorder.get()
        if isinstance(current, Tracer):
            return self.as_group(current, values)
        from .growing import call_workflow

        return typing.cast(R, call_workflow(self, values, here()))

    def as_group(self, tracer: Tracer, values: Mapping[str, Any]) -> R:
        """Traces the body as a group of another workflow."""
        if self in tracer.workflows:
            path = " → ".join(item.name for item in (*tracer.workflows[tracer.workflows.index(self) :], self))
            raise TraceError(
                f"{here()}: the workflow {self.name} calls itself, {path}, so its graph has no end; what is to repeat "
                "until a value says so is a node that returns its own call"
            )
        group = tracer.open_group(self.name)
        for name, value in values.items():
            if isinstance(value, Ref):
                group.call(tracer.ref(value), name)
        tracer.workflows.append(self)
        try:
            with tracer.inside(group.block, self.options):
                return self.guarded_body(values)
        finally:
            tracer.workflows.pop()

    def guarded_body(self, values: Mapping[str, Any]) -> R:
        """Calls the plain function while it is traced, in a block that `on_exit` guards where there is one."""
        if self.on_exit is None:
            return self.call_body(values)
        from .exits import guarded

        with guarded(self.on_exit, self.where, (), values):
            return self.call_body(values)

    def call_body(self, values: Mapping[str, Any]) -> R:
        """Calls the plain function with values for its parameters by name."""
        args = [values[item.name] for item in self.signature.parameters.values() if item.kind is item.POSITIONAL_ONLY]
        named = {
            item.name: values[item.name]
            for item in self.signature.parameters.values()
            if item.kind is not item.POSITIONAL_ONLY
        }
        return typing.cast("Callable[..., R]", self._function)(*args, **named)

    def _handled_body(self, values: Mapping[str, Any]) -> R:
        from .exits import ON_FAILURE, guarded

        with guarded(self.on_failure, self.where, ON_FAILURE, {}):
            return self.guarded_body(values)

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of a call by name, converted, with defaults. Raises ParameterError for what does not fit."""
        kinds = self.signature.parameters
        names = [item.name for item in self.parameters if kinds[item.name].kind is not _KEYWORD_ONLY]
        if len(args) > len(names):
            raise ParameterError(
                f"{self.name} ({here()}): {len(args)} parameters are given by position; "
                f"the workflow takes {text_of(self.signature)}"
            )
        given = dict(zip(names, args, strict=False))
        twice = next((name for name in kwargs if name in given), None)
        if twice is not None:
            raise ParameterError(f"{self.name} ({here()}): parameter {twice} is given twice")
        return self.complete({**given, **kwargs})

    def check_params(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Given parameters, converted. Raises ParameterError for an unknown one or a wrong value."""
        known = {item.name: item for item in self.parameters}
        given = {}
        for name, value in params.items():
            if name not in known:
                raise ParameterError(f"{self.name} ({self.where}) has no parameter {name!r}{nearest(name, known)}")
            item = known[name]
            if item.static and isinstance(value, Promise):
                raise TraceError(
                    f"{self.name} ({here()}): parameter {name} is Static, it is fixed while tracing, but was given "
                    f"{value!r}, which exists only when the graph runs"
                )
            given[name] = item.convert(value)
        return given

    def complete(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """All parameters: the given ones checked, defaults for the others. Raises ParameterError for a missing one."""
        given = self.check_params(params)
        values = {}
        missing = []
        for item in self.parameters:
            if item.name in given:
                values[item.name] = given[item.name]
            elif item.default is NO_DEFAULT:
                missing.append(item.name)
            else:
                values[item.name] = item.convert(item.default)
        if missing:
            raise ParameterError(
                f"{self.name} ({here()}): no value for the parameter{'s' if len(missing) > 1 else ''} "
                f"{', '.join(missing)}; the workflow takes {text_of(self.signature)}"
            )
        return values

    # --- tracing ---------------------------------------------------------------------------------

    def trace(self, params: Mapping[str, Any], *, handled: bool = False) -> Graph:
        """The graph; see `tracing.trace`. handled: the handler of a failure is a task in it."""
        from grandpa_kfp_compiler.passes.inline_generators import inline_generators  # loads all passes

        given = self.check_params(params)
        tracer = Tracer(self.name, self.options)
        values: dict[str, Any] = {}
        parameters = []
        for item in self.parameters:
            if item.static:
                values[item.name] = self._static(item, given)
            else:
                parameters.append(item.as_graph(given))
                tracer.block.parameters[item.name] = parameters[-1]
                values[item.name] = Ref(ParameterOrigin(tracer, tracer.block, item.name, item.annotation, self.where))
        tracer.workflows.append(self)
        body = self._handled_body if handled and self.on_failure is not None else self.guarded_body
        outputs = tracer.run(lambda: tracer.outputs(body(values), self.where))
        tracer.check()
        graph = Graph(
            self.name,
            tuple(parameters),
            tuple(tracer.instances),
            closed(tracer.operations),
            outputs,
            self.description,
            self.where,
            type_of(self.signature.return_annotation),
            callbacks=self.callbacks,
            components=tuple(tracer.block.components),
        )
        return inline_generators(graph)

    def _static(self, item: WorkflowParameter, given: Mapping[str, Any]) -> Any:
        if item.name in given:
            return given[item.name]
        if item.default is NO_DEFAULT:
            raise ParameterError(
                f"{self.name} ({self.where}): no value for the Static parameter {item.name}, which is fixed while "
                f"tracing; give it a default, or a value: -p {item.name}=..."
            )
        return item.convert(item.default)

    def __repr__(self) -> str:
        return f"<Workflow {self.name} ({self.where})>"


_KEYWORD_ONLY = inspect.Parameter.KEYWORD_ONLY


def _doc(target: Any) -> str | None:
    doc = getattr(target, "__doc__", None)
    return doc if isinstance(doc, str) and doc != type(target).__doc__ else None


def as_workflow(target: Any) -> WorkflowFunction[..., Any]:
    """A workflow as it is; a component or node as a workflow of that one call. Raises TraceError for others."""
    if isinstance(target, WorkflowFunction):
        return target
    if isinstance(target, FunctionNode | ComponentFunction):
        return WorkflowFunction(typing.cast("Callable[..., Any]", target), _name_of_traced(target))
    raise TraceError(f"{target!r} is no workflow, component or node; mark a function with @Workflow")


def _name_of_traced(target: FunctionNode[..., Any] | ComponentFunction[..., Any]) -> str:
    return target._definition.name if isinstance(target, FunctionNode) else target._name


class WorkflowDecorator:
    """`@Workflow(...)` before it meets its function or class."""

    __slots__ = ("_callbacks", "_name", "_on_exit", "_on_failure", "_options")

    def __init__(
        self,
        name: str | None,
        options: Options,
        callbacks: tuple[Subscriber, ...],
        on_failure: FunctionNode[..., Any] | None,
        on_exit: Any,
    ) -> None:
        self._on_exit = on_exit
        self._name = name
        self._options = options
        self._callbacks = callbacks
        self._on_failure = on_failure

    def __call__(self, target: Callable[P, R], /) -> WorkflowFunction[P, R]:
        if hasattr(target, "__grandpa_traced__") or hasattr(target, "__grandpa_node__") or not callable(target):
            raise TraceError(f"{here()}: @Workflow marks a function or a class with run, but was given {target!r}")
        name = name_of(target, self._name, kind="the workflow")
        if isinstance(target, type):
            function = typing.cast("Callable[P, R]", function_of_class(target))
            return self._made(function, name, target)
        return self._made(target, name, None)

    def _made(self, function: Callable[P, R], name: str, documented: Any) -> WorkflowFunction[P, R]:
        return WorkflowFunction(
            function,
            name,
            self._options,
            self._callbacks,
            on_failure=self._on_failure,
            on_exit=self._on_exit,
            documented=documented,
        )


@overload
def Workflow(target: Callable[P, R], /) -> WorkflowFunction[P, R]: ...
@overload
def Workflow(
    target: str | None = None,
    /,
    *,
    name: str | None = None,
    env: dict[str, str] | None = None,
    defaults: dict[str, Any] | None = None,
    callbacks: Sequence[Subscriber] = (),
    on_failure: Callable[[FailureInfo], Any] | None = None,
    on_exit: Callable[..., Any] | None = None,
) -> WorkflowDecorator: ...
def Workflow(
    target: Any = None,
    /,
    *,
    name: str | None = None,
    env: dict[str, str] | None = None,
    defaults: dict[str, Any] | None = None,
    callbacks: Any = (),
    on_failure: Any = None,
    on_exit: Any = None,
) -> Any:
    """Marks a workflow: `@Workflow`, `@Workflow("name")`, `@Workflow(env={...}, defaults={"retries": 2})`.

    name: the pipeline's name, by default the function's; env: environment variables of every task;
    defaults: any of a node's options, for every task (a node's own come first); callbacks: told of each event
    of a run, functions or objects with methods such as `on_task_finished` (docs/events.md);
    on_failure: a node that is called once, with a `FailureInfo`, when a run has failed; on_exit: a node that is called
    when all tasks have ended, however, with those of the workflow's parameters that it has too (docs/failures.md).
    Raises TraceError for an unknown option or a value that cannot be.

    >>> from grandpa_kfp import Node
    >>> @Node
    ... def subtract(a: int, b: int) -> int:
    ...     return a - b
    >>> @Workflow
    ... def pipeline(a: int = 10, b: int = 2):
    ...     return subtract(subtract(a, b), b)
    >>> from grandpa_kfp import trace
    >>> [parameter.name for parameter in trace(pipeline).parameters]
    ['a', 'b']
    """
    if isinstance(target, str):
        target, name = None, target
    if name is not None:
        check_name(name, of="a workflow")
    of = f"the workflow {name}" if name else "a workflow"
    if defaults is not None and not isinstance(defaults, Mapping):
        raise TraceError(f"{here()}: defaults of {of} must be a dict of options, but is {defaults!r}")
    options = read_options(defaults or {}, of=of)
    if env is not None:
        options = read_options({"env": env}, of=of).over(options)
    calls = tuple(callbacks) if isinstance(callbacks, list | tuple) else (callbacks,)
    try:
        for subscriber in calls:
            as_listener(subscriber)
    except TypeError as error:
        raise TraceError(f"{here()}: callbacks of {of}: {error}") from None
    decorator = WorkflowDecorator(name, options, calls, _read_handler(on_failure, of), _read_exit(on_exit, of))
    return decorator if target is None else decorator(target)


def _read_exit(handler: Any, of: str) -> Any:
    """The node of `on_exit`. Raises TraceError for what is none."""
    if handler is not None:
        from .exits import handler_of

        handler_of(handler, f"{here()}: on_exit of {of}")
    return handler


def _read_handler(handler: Any, of: str) -> FunctionNode[..., Any] | None:
    """The node of `on_failure`. Raises TraceError for what is none, or does not take one argument."""
    if handler is None:
        return None
    if not isinstance(handler, FunctionNode):
        raise TraceError(f"{here()}: on_failure of {of} must be a node that takes a FailureInfo, but is {handler!r}")
    handler._definition.check(f"on_failure of {of}", "", 1, ())
    return handler
