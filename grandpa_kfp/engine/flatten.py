"""A graph without groups: a group's tasks stand in its place, and read what its arguments read.

Groups are there for the sake of Kubeflow's limits; on one machine they would only make tasks wait. A branch or a
loop becomes one task, whose node holds a `Control`: what it goes on as when it is decided.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from grandpa_kfp_compiler.graph import (
    Branch,
    Call,
    Constant,
    Filled,
    Graph,
    Group,
    Instance,
    InstanceValue,
    Loop,
    Parameter,
    ParameterValue,
    Predicate,
    PythonNode,
    TaskOutput,
    Value,
    inputs_of,
)
from grandpa_kfp_runtime.task import part
from grandpa_kfp_runtime.values.handles import from_constant

from ..containers.in_python import in_python
from .control import Choice, Repeat, control_call


def flatten(graph: Graph) -> Graph:
    """The same graph, its groups opened all the way. The graph itself where all its operations are calls."""
    graph = in_python(graph)
    if all(isinstance(operation, Call) for operation in graph.operations):
        return graph
    outer: dict[str, Value] = {parameter.name: ParameterValue(parameter.name) for parameter in graph.parameters}
    return flat_body(graph, "", outer, graph.parameters)


def flat_body(graph: Graph, prefix: str, arguments: Mapping[str, Value], parameters: tuple[Parameter, ...]) -> Graph:
    """A nested graph as a flat one: its ids behind the prefix, its parameters replaced by the arguments.

    parameters: of the workflow, which the arguments may name.
    """
    flat = _Flat(parameters)
    outputs = flat.add(graph, prefix, arguments, ())
    return replace(
        graph,
        parameters=parameters,
        instances=tuple(flat.instances),
        operations=tuple(flat.calls),
        outputs=tuple(outputs.items()),
    )


@dataclass(slots=True)
class _Flat:
    parameters: tuple[Parameter, ...]
    calls: list[Call] = field(default_factory=list)
    instances: list[Instance] = field(default_factory=list)

    def add(
        self,
        graph: Graph,
        prefix: str,
        parameters: Mapping[str, Value],
        after: tuple[str, ...],
        needed: tuple[str, ...] = (),
    ) -> dict[str, Value]:
        """Takes in the graph's operations; the values of its outputs in terms of the flat graph.

        needed: what has to succeed for anything of it to run, also for what runs always.
        """
        inside = _Renaming(prefix, parameters, {})
        for instance in graph.instances:
            self.instances.append(
                replace(
                    instance,
                    id=prefix + instance.id,
                    args=tuple(map(inside.value, instance.args)),
                    kwargs=tuple((name, inside.value(value)) for name, value in instance.kwargs),
                )
            )
        members: dict[str, tuple[str, ...]] = {}
        for operation in graph.operations:
            before = (*after, *(task for name in operation.after for task in members.get(name, (prefix + name,))))
            start = len(self.calls)
            if isinstance(operation, Group):
                arguments: dict[str, Value] = {name: inside.value(value) for name, value in operation.arguments}
                within = needed
                if guards(operation.body):  # as on Kubeflow it begins when all that it takes is there, or not at all
                    before = tuple(dict.fromkeys((*before, *_makers(arguments, self.instances))))
                    within = before
                inside.groups[operation.id] = self.add(
                    operation.body, f"{prefix}{operation.id}/", arguments, before, within
                )
                members[operation.id] = tuple(call.id for call in self.calls[start:])
                continue
            if not isinstance(operation, Call):
                self.calls.append(self._control(operation, inside, tuple(dict.fromkeys(before))))
                continue
            self.calls.append(
                replace(
                    operation,
                    id=prefix + operation.id,
                    args=tuple(map(inside.value, operation.args)),
                    kwargs=tuple((name, inside.value(value)) for name, value in operation.kwargs),
                    after=tuple(dict.fromkeys(before)),
                    instance=prefix + operation.instance if operation.instance else "",
                    needs=_needs(operation, needed, members, prefix),
                )
            )
        return {name: inside.value(value) for name, value in graph.outputs}

    def _control(self, operation: Branch | Loop, inside: _Renaming, after: tuple[str, ...]) -> Call:
        arguments = {name: inside.value(value) for name, value in operation.arguments}
        instances = tuple(self.instances)
        control: Choice | Repeat
        if isinstance(operation, Branch):
            arms = tuple([
                (None if arm.predicate is None else inside.predicate(arm.predicate), arm.body) for arm in operation.arms
            ])  # fmt: skip
            control = Choice(inside.prefix + operation.id, arms, arguments, self.parameters, instances)
        else:
            control = Repeat(
                inside.prefix + operation.id, inside.value(operation.items), operation, arguments, self.parameters,
                instances,
            )  # fmt: skip
        return control_call(control, after, operation.where)


def guards(graph: Graph) -> bool:
    """Whether something in it runs always."""
    return any(call.options.always for call in graph.calls())


def _makers(arguments: Mapping[str, Value], instances: list[Instance]) -> Iterator[str]:
    """The tasks that make the arguments, in the flat graph's terms."""
    reader = Call("", PythonNode("", ""), tuple(arguments.values()))
    for leaf in inputs_of(reader, {item.id: item for item in instances}):
        if isinstance(leaf, TaskOutput):
            yield leaf.task


def _needs(call: Call, needed: tuple[str, ...], members: Mapping[str, tuple[str, ...]], prefix: str) -> tuple[str, ...]:
    if not call.options.always:
        return ()
    own = [task for name in call.needs for task in members.get(name, (prefix + name,))]
    return tuple(dict.fromkeys((*needed, *own)))


@dataclass(frozen=True, slots=True)
class _Renaming:
    """What the values of one nested graph mean in the flat one."""

    prefix: str
    parameters: Mapping[str, Value]
    groups: dict[str, dict[str, Value]]

    def value(self, value: Value) -> Value:
        if isinstance(value, TaskOutput):
            outputs = self.groups.get(value.task)
            if outputs is None:
                return replace(value, task=self.prefix + value.task)
            return _at(outputs[value.output], value.path)
        if isinstance(value, ParameterValue):
            return _at(self.parameters[value.name], value.path)
        if isinstance(value, InstanceValue):
            return InstanceValue(self.prefix + value.instance)
        if isinstance(value, Filled):
            return Filled(value.skeleton, tuple((at, self.value(inner)) for at, inner in value.holes))
        return value

    def predicate(self, predicate: Predicate) -> Predicate:
        return Predicate(
            predicate.operator,
            tuple([
                self.predicate(item) if isinstance(item, Predicate) else self.value(item) for item in predicate.operands
            ]),
        )  # fmt: skip


def _at(value: Value, path: tuple[Any, ...]) -> Value:
    """The part of a value that a path names. Raises TaskError for a part that a loop's item, known here, lacks."""
    if path and isinstance(value, TaskOutput | ParameterValue):
        return replace(value, path=(*value.path, *path))
    if path and isinstance(value, Constant):
        whole = value.value if value.handle is None else from_constant(value.handle)
        return Constant(part(whole, path, "the item of the loop"))
    return value
