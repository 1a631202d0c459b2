"""`@ContainerNode`: a command in a container of any image, declared as a function whose body is empty.

The signature says what goes in and out; the text of the command says where, `{name}` for each.
"""

from __future__ import annotations

import dis
import functools
import inspect
import json
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn, ParamSpec, TypeVar

from grandpa_kfp_compiler.containers import PARAMETERS, title_of
from grandpa_kfp_compiler.graph import RESULT, Options, Port
from grandpa_kfp_compiler.graph import ContainerNode as GraphContainer
from grandpa_kfp_compiler.options.volumes import Volume
from grandpa_kfp_runtime.errors import TraceError
from grandpa_kfp_runtime.parameters import kfp_type
from grandpa_kfp_runtime.typespec import describe

from ..authoring.annotations import signature_of
from ..authoring.classes import NO_CALL_OPTIONS, CallOptions
from ..authoring.definitions import Definition, name_of, read_outputs
from ..authoring.nodes import Amount, FunctionNode
from ..authoring.options import check_name, read_options
from ..authoring.where import here, of_code
from .placeholders import Unknown, from_braces

P = ParamSpec("P")
R = TypeVar("R")

_OURS_ALONE = (
    "artifact", "fallback", "image", "index_url", "keep", "packages", "requirements", "verbose", "version",
)  # fmt: skip
"""Options that tell our own runtime something, or that the node itself says."""


class Contained:
    """What a container node is where Python calls it: it runs the container on this machine."""

    def __init__(self, node: GraphContainer, signature: inspect.Signature | None = None) -> None:
        self.node = node
        self.__signature__ = signature or signature_by_ports(node)
        self.__name__ = self.__qualname__ = node.name
        self.__module__ = __name__
        self.__doc__ = node.description or None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from .running import run_container

        names = (port.name for port in self.node.inputs)
        return run_container(json.dumps(self.node.to_json()), **dict(zip(names, args, strict=False)), **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        return Contained, (self.node,)


class ContainerDefinition(Definition):
    """What is known of a container node once. signature: of its calls, as Python has it."""

    __slots__ = ("_called_as", "node")

    def __init__(
        self,
        node: GraphContainer,
        target: Contained,
        options: Options,
        outputs: tuple[str, ...] | None,
        signature: inspect.Signature,
    ) -> None:
        super().__init__(target, node.name, options, outputs, node.where, is_class=False)
        self.node = node
        self._called_as = signature

    @property
    def is_container(self) -> bool:
        return True

    def _signature(self, method: str) -> inspect.Signature:
        return self._called_as

    def python_node(self, key: str) -> GraphContainer:
        return self.node


class ContainerFunction(FunctionNode[P, R]):
    """A container that is a node. Calling it gives a Ref of what it leaves at once.

    `fn` runs it on this machine, by Docker; `options(...)` gives the node with options for the calls made through it.
    """

    def options(self, *, name: str | None = None, after: Any = None, **options: Any) -> ContainerFunction[P, R]:
        """The node with options for single calls: `count.options(retries=3, memory="2Gi")(text)`.

        name: pins the task's name; after: Refs of tasks to wait for; the others are those of `@ContainerNode`.
        Raises TraceError for an option that a container of another image has no use for.
        """
        check_options(options, of=f"the node {self._definition.name}")
        chosen = self._chosen.updated(f"the node {self._definition.name}", name, after, options)
        return ContainerFunction(self._definition, chosen, self._bound, self._kind)

    def __reduce_ex__(self, protocol: Any) -> Any:
        found = super().__reduce_ex__(protocol)
        if isinstance(found, str):
            return found
        definition = self._definition
        assert isinstance(definition, ContainerDefinition)
        return _rebuilt, (definition.node, definition.options, definition.outputs, self._chosen)


def container_function(
    node: GraphContainer,
    *,
    options: Options,
    outputs: tuple[str, ...] | None,
    signature: inspect.Signature | None = None,
    function: Callable[..., Any] | None = None,
) -> ContainerFunction[..., Any]:
    """The callable of a container node. function: that declares it, whose name and docstring it has."""
    signature = signature or signature_by_ports(node)
    target = Contained(node, signature)
    if function is not None:
        functools.update_wrapper(target, function, updated=())
        del target.__dict__["__wrapped__"]
    return ContainerFunction(ContainerDefinition(node, target, options, outputs, signature))


def _rebuilt(
    node: GraphContainer, options: Options, outputs: tuple[str, ...] | None, chosen: CallOptions = NO_CALL_OPTIONS
) -> ContainerFunction[..., Any]:
    made = container_function(node, options=options, outputs=outputs)
    return ContainerFunction(made._definition, chosen)


def signature_by_ports(node: GraphContainer) -> inspect.Signature:
    """The signature of a node's calls as far as its inputs and outputs tell."""
    kind = inspect.Parameter.KEYWORD_ONLY if node.by_name else inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [
        inspect.Parameter(
            port.name,
            kind,
            default=(json.loads(port.default) if port.default else None) if port.optional else inspect.Parameter.empty,
            annotation=_PYTHON.get(port.type, Path),
        )
        for port in sorted(node.inputs, key=lambda port: port.optional)
    ]
    given = tuple(_PYTHON.get(port.type, Path) for port in node.gives)
    returns: Any = given[0] if len(given) == 1 else None
    if len(given) > 1:
        returns = types.GenericAlias(tuple, given)
    return inspect.Signature(parameters, return_annotation=returns)


_PYTHON: dict[str, Any] = {
    "STRING": str, "NUMBER_INTEGER": int, "NUMBER_DOUBLE": float, "BOOLEAN": bool, "LIST": list, "STRUCT": dict,
}  # fmt: skip


def check_options(options: Mapping[str, Any], *, of: str) -> None:
    """Raises TraceError for options that bear on Python code alone."""
    for name in _OURS_ALONE:
        if options.get(name) is not None:
            raise TraceError(
                f"{here()}: the option {name} of {of} means nothing to a container of another image; it takes "
                "those that Kubernetes knows (cpu, memory, env, secrets, retries, timeout_s, ...)"
            )


# --- the decorator -------------------------------------------------------------------------------


class ContainerDecorator:
    """`@ContainerNode(...)` before it meets its function."""

    __slots__ = ("_args", "_command", "_image", "_name", "_options", "_outputs")

    def __init__(
        self,
        image: str,
        command: tuple[str, ...],
        args: tuple[str, ...],
        name: str | None,
        outputs: tuple[str, ...] | None,
        options: Options,
    ) -> None:
        self._image = image
        self._command = command
        self._args = args
        self._name = name
        self._outputs = outputs
        self._options = options

    def __call__(self, function: Callable[P, R], /) -> ContainerFunction[P, R]:
        if not isinstance(function, types.FunctionType):
            raise TraceError(f"{here()}: @ContainerNode marks a function that declares a container, not {function!r}")
        where, name = of_code(function.__code__), name_of(function, self._name)
        place = f"{name} ({where})"
        _check_empty(function, place)
        signature = signature_of(function)
        takes = tuple(_input(parameter, place) for parameter in signature.parameters.values())
        gives, outputs = _gives(signature.return_annotation, self._outputs, place)
        if both := {port.name for port in takes} & {port.name for port in gives}:
            raise TraceError(
                f"{place}: {min(both)} is the name of an input and of an output: call one of them otherwise"
            )
        words = [self._command, self._args]
        try:
            command, args = ([from_braces(word, takes, gives) for word in part] for part in words)
        except Unknown as unknown:
            raise TraceError(f"{place}: {unknown}") from None
        doc = inspect.cleandoc(function.__doc__ or "")
        node = GraphContainer(
            name, self._image, tuple(command), tuple(args), takes, gives, where=where, description=doc
        )
        made = container_function(node, options=self._options, outputs=outputs, signature=signature, function=function)
        return typing.cast("ContainerFunction[P, R]", made)


def ContainerNode(
    *,
    image: str,
    command: str | Sequence[str] = (),
    args: str | Sequence[str] = (),
    name: str | None = None,
    outputs: tuple[str, ...] | list[str] | None = None,
    retries: int | None = None,
    timeout_s: float | None = None,
    cpu: Amount | tuple[Amount | None, Amount | None] | None = None,
    memory: Amount | tuple[Amount | None, Amount | None] | None = None,
    gpu: int | None = None,
    env: dict[str, str] | None = None,
    secrets: dict[str, str] | None = None,
    cache: bool | str | None = None,
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
    **others: NoReturn,
) -> ContainerDecorator:
    """Declares a command in a container of any image as a node: `@ContainerNode(image="alpine:3", command=[...])`.

    The function's signature is the node's; its body stays empty. In `command` and `args`, `{name}` stands for an input
    or output of that name: for a parameter's value (str, int, float, bool, list, dict), for the path of an input that
    is a file (`Path`), for the path of the file that an output is to be written to, whatever its type. A result
    without a name of its own is `{result}`. Other braces stay as they are, `{{name}}` is `{name}`.

    image: as `docker run` takes it. outputs: names of the results, where the annotation is a tuple of several.
    name: the node's, by default the function's. `Annotated[Path, "Dataset"]` says which of Kubeflow's artifact types a
    file is. The other options are those of `@Node` that Kubernetes knows.
    Raises TraceError, with the function's place, for what cannot be a container.

    >>> @ContainerNode(image="alpine:3", command=["sh", "-c", 'wc -l < "$0" > "$1"'], args=["{text}", "{result}"])
    ... def count_lines(text: Path) -> int: ...
    >>> count_lines
    <Node count_lines (...)>
    """
    chosen = {key: value for key, value in locals().items() if key not in _OWN}
    of = "a container node" if name is None else f"the node {name}"
    if name is not None:
        check_name(name, of="a node")
    if not isinstance(image, str) or not image.strip() or any(char.isspace() for char in image):
        raise TraceError(f"{here()}: image of {of} must be an image's name, such as 'alpine:3', but is {image!r}")
    given = {**chosen, **others}
    check_options(given, of=of)
    words = _words("command", command, of), _words("args", args, of)
    return ContainerDecorator(image, *words, name, read_outputs(outputs, of=of), read_options(given, of=of))


_OWN = ("image", "command", "args", "name", "outputs", "others")
"""What `ContainerNode` takes besides options."""


def _words(what: str, given: Any, of: str) -> tuple[str, ...]:
    if isinstance(given, str):
        return (given,)
    if not isinstance(given, list | tuple) or not all(isinstance(word, str) for word in given):
        raise TraceError(f"{here()}: {what} of {of} must be a list of texts, but is {given!r}")
    return tuple(given)


_EMPTY = {"RESUME", "NOP", "LOAD_CONST", "RETURN_VALUE", "RETURN_CONST"}
_RAISING = {*_EMPTY, "CALL", "CALL_FUNCTION", "LOAD_GLOBAL", "PRECALL", "PUSH_NULL", "RAISE_VARARGS"}


def _check_empty(function: types.FunctionType, place: str) -> None:
    found = list(dis.get_instructions(function))
    if found[-1].opname == "RAISE_VARARGS" and {item.opname for item in found} <= _RAISING:
        return  # what mypy takes for a body of a function that returns something
    returned = [item.argval for item in found if item.opname in ("LOAD_CONST", "RETURN_CONST")]
    if any(item.opname not in _EMPTY for item in found) or returned[-1:] not in ([], [None]):
        raise TraceError(
            f"{place}: the body of a container node never runs: leave `...` in it, the command says what does"
        )


def _input(parameter: inspect.Parameter, place: str) -> Port:
    if parameter.kind is not parameter.POSITIONAL_OR_KEYWORD and parameter.kind is not parameter.KEYWORD_ONLY:
        raise TraceError(f"{place}: a container takes no *args, **kwargs and positional-only arguments: {parameter}")
    type_ = _type(parameter.annotation, f"input {parameter.name}", place)
    if parameter.default is parameter.empty:
        return Port(parameter.name, type_)
    if type_ not in PARAMETERS:
        raise TraceError(f"{place}: input {parameter.name} is a file, which has no default")
    default = parameter.default
    if default is None:
        return Port(parameter.name, type_, True)
    if kfp_type(describe(type(default))) not in (type_, "NUMBER_INTEGER" if type_ == "NUMBER_DOUBLE" else type_):
        raise TraceError(f"{place}: the default of {parameter.name} must be of its type, but is {default!r}")
    try:
        return Port(parameter.name, type_, True, json.dumps(default, sort_keys=True, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise TraceError(f"{place}: the default of {parameter.name} must be what JSON can hold ({error})") from None


def _gives(
    annotation: Any, named: tuple[str, ...] | None, place: str
) -> tuple[tuple[Port, ...], tuple[str, ...] | None]:
    """The outputs, and what a Ref of a call knows of them."""
    fields = getattr(annotation, "_fields", None)
    if annotation in (None, type(None), Any) and named is None:
        return (), None
    if fields is not None and named is None:
        named, types_ = tuple(fields), [typing.get_type_hints(annotation, include_extras=True)[name] for name in fields]
    elif typing.get_origin(annotation) is tuple:
        types_ = list(typing.get_args(annotation))
    else:
        types_ = [annotation]
    names = named or (RESULT,)
    if len(names) != len(types_) or Ellipsis in types_:
        raise TraceError(
            f"{place}: it returns {len(types_)} value{'s' if len(types_) != 1 else ''}, and its outputs are "
            f"{', '.join(names)}: name each, outputs=('mean', 'std') for `-> tuple[float, float]`"
        )
    ports = [Port(name, _type(one, f"output {name}", place)) for name, one in zip(names, types_, strict=True)]
    return tuple(ports), named


def _type(annotation: Any, what: str, place: str) -> str:
    """KFP's type of an input or output."""
    if typing.get_origin(annotation) is Annotated:
        inner, *more = typing.get_args(annotation)
        if describe(inner).name == "pathlib:Path" and len(more) == 1 and isinstance(more[0], str) and more[0]:
            return title_of(more[0])
        annotation = inner
    spec = describe(annotation)
    if spec.name == "pathlib:Path":
        return title_of("Artifact")
    if spec.name == "union" and len(spec.args) == 2 and spec.args[1].name == "None":  # `int | None = None`
        spec = spec.args[0]
    found = kfp_type(spec)
    if found is None:
        raise TraceError(
            f"{place}: {what} is annotated {spec}, and a container takes and leaves str, int, float, bool, list, dict, "
            'and files (Path, or Annotated[Path, "Dataset"])'
        )
    return found
