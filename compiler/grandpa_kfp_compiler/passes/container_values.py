"""What goes into and comes out of containers of other images, in the form that they have: values and files, no handles.

Before: a container task is given any values, and anybody reads what it leaves.
After: it is given constants of its own types, parameters of the pipeline of its types, whole outputs of other
    containers that fit, and outputs, or parts of them, of Python tasks of the same graph, which the lowering has
    export them; by name, in the order of its inputs. What it leaves is read by it and Python tasks of the same graph
    alone. All else goes through a builtin task that reads the one form and exports the other.
Why: only a task of ours can read a handle, and write one.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from grandpa_kfp_runtime.builtins import BY_HANDLE
from grandpa_kfp_runtime.contract import FUSED
from grandpa_kfp_runtime.parameters import kfp_type
from grandpa_kfp_runtime.typespec import Json

from ..constants import NotPlain, plain_value
from ..containers import arguments_of, feeds
from ..graph import (
    HANDLE,
    Call,
    Constant,
    ContainerNode,
    Graph,
    Node,
    Operation,
    ParameterValue,
    Port,
    TaskOutput,
    Value,
    leaves,
)
from .bodies import changed, in_bodies, with_values
from .builtins import IDENTITY, free_id, options_like
from .protect_defaults import is_rewritten


def container_values(graph: Graph) -> Graph:
    """The graph with tasks between containers and what has another form; see the module."""
    graph = in_bodies(container_values, graph)
    containers = {item.id: item.node for item in graph.operations if isinstance(item, Call)}
    theirs = {id_: node for id_, node in containers.items() if isinstance(node, ContainerNode)}
    if not theirs:
        return graph
    crossing = _Crossing(graph, theirs)
    for item in graph.operations:
        crossing.operations.append(crossing.operation(item))
    outputs = tuple([(name, changed(value, crossing.as_handle)) for name, value in graph.outputs])
    return replace(graph, operations=tuple(crossing.operations), outputs=outputs)


def exported(graph: Graph) -> dict[str, list[tuple[TaskOutput, Port]]]:
    """After the pass: for each Python task, the outputs of it that containers read, and as what."""
    made_by = {item.id: item.node for item in graph.operations if isinstance(item, Call)}
    found: dict[str, list[tuple[TaskOutput, Port]]] = {}
    for item in graph.operations:
        if isinstance(item, Call) and isinstance(item.node, ContainerNode):
            for port, value in arguments_of(item.node, item):
                if isinstance(value, TaskOutput) and not isinstance(made_by[value.task], ContainerNode):
                    found.setdefault(value.task, []).append((value, port))
    return found


@dataclass(slots=True)
class _Crossing:
    """One graph's operations in the making. theirs: its containers by the ids of their tasks."""

    graph: Graph
    theirs: dict[str, ContainerNode]
    operations: list[Operation] = field(default_factory=list)
    handles: dict[tuple[str, str], str] = field(default_factory=dict)

    def operation(self, item: Operation) -> Operation:
        if isinstance(item, Call) and isinstance(item.node, ContainerNode):
            given = [(port, self.given(item, port, value)) for port, value in arguments_of(item.node, item)]
            return replace(item, args=(), kwargs=tuple([(port.name, value) for port, value in given]))
        if isinstance(item, Call) and not is_by_handle(item.node):
            return item
        return with_values(item, self.as_handle)

    def as_handle(self, value: Value) -> Value:
        """What a container left as a handle, as which it can leave the graph, or be read by handle."""
        if not isinstance(value, TaskOutput) or value.task not in self.theirs:
            return value
        whole = (value.task, value.output)
        if whole not in self.handles:
            self.handles[whole] = self._task(f"{value.task}-{value.output}", TaskOutput(*whole), "")
        return TaskOutput(self.handles[whole], path=value.path)

    def given(self, call: Call, port: Port, value: Value) -> Value:
        """An argument of a container, as it can be given."""
        if self._fits(port, value):
            return value
        return TaskOutput(self._task(f"{call.id}-{port.name}", value, call.where))

    def _fits(self, port: Port, value: Value) -> bool:
        if isinstance(value, Constant):
            return not port.is_file and not is_rewritten(plain_json(value))
        if isinstance(value, ParameterValue):
            spec = next(item.type for item in self.graph.parameters if item.name == value.name)
            return spec != HANDLE and not value.path and feeds(kfp_type(spec) or "", port.type)
        if not isinstance(value, TaskOutput):
            return False
        container = self.theirs.get(value.task)
        if container is not None:
            left = container.port(value.output)
            return not value.path and left is not None and feeds(left.type, port.type)
        maker = next(item for item in self.graph.operations if item.id == value.task)
        return isinstance(maker, Call) and not is_by_handle(maker.node)

    def _task(self, name: str, value: Value, where: str) -> str:
        known = replace(self.graph, operations=(*self.graph.operations, *self.operations))
        producers = [leaf.task for leaf in leaves(value) if isinstance(leaf, TaskOutput)]
        where = where or next((item.where for item in self.graph.operations if item.id in producers), "")
        call = Call(free_id(known, name), IDENTITY, (value,), options=options_like(known, producers), where=where)
        self.operations.append(call)
        return call.id


def is_by_handle(node: Node) -> bool:
    """Whether a task reads and writes handles alone: some builtins, and steps of several tasks."""
    return node.key in BY_HANDLE or node.key.startswith(FUSED)


def plain_json(constant: Constant) -> Json:
    """The constant as the JSON that it is; None for what is none, which a container cannot be given."""
    try:
        return plain_value(constant)
    except NotPlain:
        return None
