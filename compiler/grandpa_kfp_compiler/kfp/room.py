"""One DAG in the making: how the graph's own names of things become Kubeflow's. `lower` makes one for each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..constants import plain_value
from ..graph import RESULT, Call, Constant, ContainerNode, Graph, ParameterValue, Port, TaskOutput, Value
from ..graph import Parameter as GraphParameter
from ..passes.always_groups import ENDED
from .exports import Exports
from .names import Names
from .pipeline import FromConstant, FromParameter, FromTask, Source


@dataclass(slots=True)
class Room:
    """One DAG's names: its tasks' keys, its parameters', what its groups give out, and their components.

    besides: outputs of its tasks that are read as values, too, and as what.
    """

    graph: Graph
    keys: dict[str, str]
    known: Mapping[str, str]
    given: dict[str, dict[str, str]]
    besides: Sequence[tuple[TaskOutput, Port]] = ()
    components: dict[str, str] = field(init=False, default_factory=dict)
    parameters: dict[str, GraphParameter] = field(init=False)
    instances: dict[str, Any] = field(init=False)
    prints: dict[str, str] = field(init=False)
    logs: dict[str, tuple[str, ...]] = field(init=False)
    containers: dict[str, ContainerNode] = field(init=False)
    exports: Exports = field(init=False)

    def __post_init__(self) -> None:
        self.parameters = {parameter.name: parameter for parameter in self.graph.parameters}
        self.instances = {instance.id: instance for instance in self.graph.instances}
        self.prints = {instance.node.key: instance.node.fingerprint for instance in self.graph.instances}
        self.logs = {instance.node.key: instance.node.logs for instance in self.graph.instances}
        calls = [item for item in self.graph.operations if isinstance(item, Call)]
        self.containers = {call.id: call.node for call in calls if isinstance(call.node, ContainerNode)}
        self.exports = Exports(self.graph, self.besides)

    def for_container(self, port: Port, value: Value | None) -> Source | None:
        """What a container's input is bound to; None for nothing, which an optional one may be."""
        if value is None or isinstance(value, Constant):
            found = (json.loads(port.default) if port.default else None) if value is None else plain_value(value)
            return None if found is None else FromConstant(found)
        if isinstance(value, TaskOutput) and value.task not in self.containers:
            return FromTask(self.keys[value.task], self.exports.name(value, port), port.is_file)
        return self.source(value, None)

    def source(self, value: Any, constant: Any) -> Source:
        if isinstance(value, TaskOutput):
            container = self.containers.get(value.task)
            port = None if container is None else container.port(value.output)
            return FromTask(self.keys[value.task], self.output(value), port is not None and port.is_file)
        if isinstance(value, ParameterValue):
            return FromParameter(self.known[value.name])
        return FromConstant(constant)

    def ended(self, call: Call) -> Source:
        """What is there when the group that the task waits for has succeeded."""
        return FromTask(self.keys[call.after[0]], self.given[call.after[0]][ENDED])

    def output(self, value: TaskOutput) -> str:
        given = self.given.get(value.task)
        return value.output if given is None else given[value.output]

    def after(self, values: Any, others: tuple[str, ...]) -> tuple[str, ...]:
        """KFP orders tasks by this alone: it does not look at where inputs come from."""
        waits = {self.keys[value.task] for value in values if isinstance(value, TaskOutput)}
        waits.update([self.keys[id_] for id_ in others])
        return tuple(sorted(waits))


def output_names(graph: Graph) -> dict[str, str]:
    """What each output of the graph is called in Kubeflow."""
    names = Names()
    return {name: names.pick(name, fallback="result") for name, _ in graph.outputs}


def result_of(graph: Graph) -> TaskOutput:
    """The task's output that is the graph's result, after the passes."""
    value = dict(graph.outputs)[RESULT]
    assert isinstance(value, TaskOutput)
    return value
