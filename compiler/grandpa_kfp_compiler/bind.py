"""From a task in the graph to its interface: which inputs it has, and how they become a call.

The one place where the IR's arguments get the names that inputs have in a pipeline. The local engine
binds a task before it runs it, the KFP lowering before it writes it, so a task's shape is the same
everywhere: tasks of the same shape have equal interfaces, and share one component.

Names: an argument's own name (`x`), its holes `x--0`, `x--1`; those of `*args` by position (`args-0`);
of the instance that is called `init-x`, of other instances `init1-x` (by the number of the instance);
whatever is no plain ASCII name, or taken, `input-3` (by the position among the inputs).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from grandpa_kfp_runtime.contract import Argument, Arguments, Hole, Input, InstanceCall, Interface
from grandpa_kfp_runtime.errors import CodecError
from grandpa_kfp_runtime.parameters import kfp_type
from grandpa_kfp_runtime.typespec import TypeSpec

from .constants import Raw, encode_constant, path_keys
from .graph import (
    HANDLE,
    Call,
    Constant,
    ContainerNode,
    Filled,
    Instance,
    InstanceValue,
    Outcome,
    Parameter,
    ParameterValue,
    Signature,
    TaskOutput,
    Value,
)

Leaf: TypeAlias = "Constant | TaskOutput | ParameterValue | Outcome"


@dataclass(frozen=True, slots=True)
class Bound:
    """A task's interface and where its inputs come from.

    sources: input name -> what it is bound to, in the order of the interface's inputs.
    constants: input name -> the encoded constant (the value of a `raw` input, else a handle's text);
        filled by `encode=True` only.
    """

    interface: Interface
    sources: tuple[tuple[str, Leaf], ...]
    constants: Mapping[str, Raw]


def bind(
    call: Call,
    instances: Mapping[str, Instance],
    parameters: Mapping[str, Parameter],
    *,
    encode: bool = False,
    containers: Mapping[str, ContainerNode] | None = None,
) -> Bound:
    """The interface of one task of a verified graph.

    instances, parameters: those of the graph the call stands in, by id and by name.
    encode: decide how each constant enters a pipeline (`raw` or `handle`) and encode it; without it
        constants stay alive in `sources` and their inputs are of kind `handle`.
    containers: the tasks whose outputs are no handles but what a container of any image leaves, by id.
    Raises CodecError, naming the task and the argument, for a constant that a pipeline cannot hold.

    >>> from .graph import PythonNode, NodeParameter
    >>> signature = Signature((NodeParameter("a"), NodeParameter("b")))
    >>> node = PythonNode("calc:subtract", "subtract", signatures=(("", signature),))
    >>> bound = bind(Call("subtract", node, (TaskOutput("add"), Constant(1))), {}, {})
    >>> [item.name for item in bound.interface.inputs], bound.interface.call.to_json()
    (['a', 'b'], [['a', 'b'], {}])
    """
    binder = _Binder(call, instances, parameters, encode, containers or {})
    receiver = binder.instance(call.instance) if call.instance else ""
    signature = call.node.signature(call.method or ("__call__" if receiver else ""))
    arguments = binder.arguments("", signature, call.args, call.kwargs)
    interface = Interface(
        tuple(binder.inputs),
        arguments,
        tuple(binder.instance_calls),
        receiver,
        "" if call.method == "__call__" else call.method,
        call.node.outputs,
    )
    return Bound(interface, tuple(binder.sources.items()), binder.constants)


def bind_all(
    calls: Iterable[Call], instances: Mapping[str, Instance], parameters: Mapping[str, Parameter]
) -> list[Bound]:
    """`bind` for many tasks. Most are called like one before them; those share its interface, in a third of the time.

    >>> from .graph import NodeParameter, PythonNode
    >>> node = PythonNode("m:neg", "neg", signatures=(("", Signature((NodeParameter("a"),))),))
    >>> one, other = bind_all([Call("neg", node, (Constant(1),)), Call("neg-2", node, (TaskOutput("neg"),))], {}, {})
    >>> one.interface is other.interface, other.sources
    (True, (('a', TaskOutput(task='neg', output='result', path=())),))
    """
    shapes: dict[tuple[int, str, int, tuple[str, ...]], Interface] = {}
    found = []
    for call in calls:
        leaves = call.args if not call.kwargs else (*call.args, *[value for _, value in call.kwargs])
        if call.instance or not all(map(_is_whole, leaves)):
            found.append(bind(call, instances, parameters))
            continue
        shape = (id(call.node), call.method, len(call.args), tuple([name for name, _ in call.kwargs]))
        interface = shapes.get(shape)
        if interface is None:
            bound = bind(call, instances, parameters)
            shapes[shape] = bound.interface
        else:
            names = [item.name for item in interface.inputs]
            bound = Bound(interface, tuple(zip(names, leaves, strict=True)), {})  # type: ignore[arg-type]
        found.append(bound)
    return found


def _is_whole(value: Value) -> bool:
    """Whether a value is one input, whatever it holds."""
    kind = type(value)
    return kind is Constant or (kind is TaskOutput and not value.path)  # type: ignore[union-attr]


class _Binder:
    """The inputs of one task as they are found; every method appends to them."""

    __slots__ = ("_call", "_containers", "_encode", "_instances", "_parameters", "_placed", "constants", "inputs",
                 "instance_calls", "sources")  # fmt: skip

    def __init__(
        self,
        call: Call,
        instances: Mapping[str, Instance],
        parameters: Mapping[str, Parameter],
        encode: bool,
        containers: Mapping[str, ContainerNode],
    ) -> None:
        self._call = call
        self._instances = instances
        self._parameters = parameters
        self._encode = encode
        self._containers = containers
        self._placed: dict[str, str] = {}  # instance id -> `#n`
        self.inputs: list[Input] = []
        self.sources: dict[str, Leaf] = {}
        self.constants: dict[str, Raw] = {}
        self.instance_calls: list[InstanceCall] = []

    def arguments(
        self, prefix: str, signature: Signature, args: tuple[Value, ...], kwargs: tuple[tuple[str, Value], ...]
    ) -> Arguments:
        if not args and not kwargs:
            return _NO_ARGUMENTS
        names = _positional_names(signature, len(args)) if args else ()
        positional = tuple([self._argument(prefix, name, value) for name, value in zip(names, args, strict=True)])
        named = tuple([(name, self._argument(prefix, name, value)) for name, value in kwargs])
        return Arguments(positional, named)

    def instance(self, id_: str) -> str:
        """The instance as `#n`, placed behind the instances that its own arguments hold."""
        placed = self._placed.get(id_)
        if placed is None:
            instance = self._instances[id_]
            for value in (*instance.args, *(value for _, value in instance.kwargs)):
                self._place_instances(value)
            number = len(self.instance_calls)
            prefix = "init-" if id_ == self._call.instance else f"init{number}-"
            signature = instance.node.signature("__init__")
            arguments = self.arguments(prefix, signature, instance.args, instance.kwargs)
            self.instance_calls.append(InstanceCall(instance.node.key, arguments))
            placed = self._placed[id_] = f"#{number}"
        return placed

    def _place_instances(self, value: Value) -> None:
        if isinstance(value, InstanceValue):
            self.instance(value.instance)
        elif isinstance(value, Filled):
            for _, inner in value.holes:
                self._place_instances(inner)

    def _argument(self, prefix: str, name: str, value: Value) -> Argument:
        if isinstance(value, InstanceValue):
            return _plain_argument(self.instance(value.instance))
        if not isinstance(value, Filled):
            return _plain_argument(self._input(prefix, name, value))
        source = self._input(prefix, name, value.skeleton)
        return Argument(source, tuple(self._holes(source, (), value)))

    def _holes(self, source: str, above: tuple[int, ...], filled: Filled, count: int = 0) -> list[Hole]:
        """The holes from the outermost in: a structure inside a hole is filled in before its own holes are."""
        holes: list[Hole] = []
        for at, value in filled.holes:
            place = above + at
            number = count + len(holes)
            if isinstance(value, InstanceValue):
                holes.append(Hole(place, self.instance(value.instance)))
            elif isinstance(value, Filled):
                holes.append(Hole(place, self._input("", f"{source}--{number}", value.skeleton)))
                holes.extend(self._holes(source, place, value, number + 1))
            else:
                holes.append(Hole(place, self._input("", f"{source}--{number}", value)))
        return holes

    def _input(self, prefix: str, name: str, leaf: Leaf) -> str:
        full = prefix + name
        if full in self.sources or not _is_plain(name):
            full = f"input-{len(self.sources)}"
            while full in self.sources:  # a keyword argument may have been called just that
                full += "-"
        self.inputs.append(self._describe(full, leaf))
        self.sources[full] = leaf
        return full

    def _describe(self, name: str, leaf: Leaf) -> Input:
        if isinstance(leaf, TaskOutput):
            container = self._containers.get(leaf.task)
            if container is not None and (port := container.port(leaf.output)) is not None:
                if port.is_file:
                    return Input(name, "file", TypeSpec(port.type))
                return Input(name, "raw", port.spec, path_keys(leaf.path))
            return Input(name, path=path_keys(leaf.path)) if leaf.path else _plain_input(name)
        if isinstance(leaf, ParameterValue):
            return self._parameter(name, leaf)
        if isinstance(leaf, Outcome):
            return Input(name, "failure" if leaf.only_failed else "outcome")
        if not self._encode:
            return _plain_input(name)
        try:
            kind, encoded = encode_constant(leaf, name=f"argument {name}")
        except CodecError as error:
            place = f" ({self._call.where})" if self._call.where else ""
            raise CodecError(f"{self._call.id}{place}: {error}") from error
        self.constants[name] = encoded
        return _plain_input(name) if kind == "handle" else _raw_input(name, type(encoded).__name__)

    def _parameter(self, name: str, leaf: ParameterValue) -> Input:
        spec = self._parameters[leaf.name].type
        if spec == HANDLE:
            return Input(name, path=path_keys(leaf.path))
        return Input(name, "json" if kfp_type(spec) is None else "raw", spec, path_keys(leaf.path))


def _positional_names(signature: Signature, count: int) -> list[str]:
    """The names of the first `count` positional arguments; empty where the signature has no room for one."""
    names: list[str] = []
    for parameter in signature.parameters:
        if len(names) == count:
            return names
        if parameter.kind in ("positional_or_keyword", "positional_only"):
            names.append(parameter.name)
        elif parameter.kind == "var_positional":
            names.extend(f"{parameter.name}-{index}" for index in range(count - len(names)))
    names.extend([""] * (count - len(names)))
    return names


# What most tasks share is made once: interfaces of 10,000 tasks then hold the same few objects.
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(-[0-9]+)?(--[0-9]+)?|input-[0-9]+--[0-9]+")
_NO_ARGUMENTS = Arguments()


@lru_cache(maxsize=4096)
def _is_plain(name: str) -> bool:
    return _PLAIN.fullmatch(name) is not None


@lru_cache(maxsize=4096)
def _plain_input(name: str) -> Input:
    return Input(name)


@lru_cache(maxsize=4096)
def _raw_input(name: str, type_name: str) -> Input:
    return Input(name, "raw", TypeSpec(type_name))


@lru_cache(maxsize=4096)
def _plain_argument(source: str) -> Argument:
    return Argument(source)
