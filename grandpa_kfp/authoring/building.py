"""From what stands in a call to what stands in a graph: arguments, instances, nodes.

`tracing` builds a workflow's graph on it, `grown` the graph of what a body returned. They differ in what
a Ref comes to.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from grandpa_kfp_compiler.graph import (
    RESULT,
    Constant,
    Filled,
    InstanceValue,
    Node,
    Outcome,
    PythonNode,
    TaskOutput,
    Value,
)
from grandpa_kfp_compiler.graph import Instance as GraphInstance
from grandpa_kfp_runtime.values.trees import ATOMS

from .arguments import Opened, open_argument
from .classes import Instance
from .definitions import Definition
from .outcomes import Ended
from .refs import Promise, Ref

_PLAIN = ATOMS - {type, bytearray}


class GraphBuilder:
    """A graph's operations and instances as they come. Subclasses say what a Ref is."""

    __slots__ = ("_instance_ids", "_instance_names", "_keep", "_keys", "_nodes", "instances", "operations")

    def __init__(self) -> None:
        self.operations: list[Any] = []  # of a trace also what is still open; see `blocks`
        self.instances: list[GraphInstance] = []
        self._nodes: dict[int, Node] = {}
        self._keys: dict[str, int] = {}
        self._instance_ids: dict[int, str] = {}
        self._instance_names: dict[str, int] = {}
        self._keep: list[Any] = []  # keeps ids in the dicts above from being used again

    def ref(self, ref: Ref[Any]) -> Value:
        """What a Ref stands for in this graph."""
        raise TypeError(f"{type(self).__name__} does not say what a Ref is")

    def value(self, argument: Any) -> Value:
        """The graph's form of an argument as the user wrote it."""
        if type(argument) in _PLAIN:
            return Constant(argument)
        if isinstance(argument, Promise):
            return self._leaf(argument)
        return self.opened(open_argument(argument))

    def opened(self, opened: Opened) -> Value:
        """The graph's form of an argument that was taken apart."""
        skeleton, holes = opened
        if not holes:
            return Constant(skeleton)
        if not holes[0][0]:
            return self._leaf(holes[0][1])
        return Filled(Constant(skeleton), tuple([(at, self._leaf(leaf)) for at, leaf in holes]))

    def _leaf(self, leaf: Promise) -> Value:
        if isinstance(leaf, Instance):
            return InstanceValue(self.instance(leaf))
        if isinstance(leaf, Ended):
            return Outcome(leaf.only_failed)
        assert isinstance(leaf, Ref)
        return self.ref(leaf)

    def instance(self, instance: Instance) -> str:
        """The id of an instance in this graph; recorded at its first use, behind those in its arguments."""
        found = self._instance_ids.get(id(instance._identity))
        if found is not None:
            return found
        definition = instance._definition
        args = tuple([self.opened(arg) for arg in instance._args])
        kwargs = tuple([(name, self.opened(arg)) for name, arg in instance._kwargs])
        count = self._instance_names[definition.name] = self._instance_names.get(definition.name, 0) + 1
        id_ = definition.name if count == 1 else f"{definition.name}-{count}"
        node = self.python_node(definition)
        assert isinstance(node, PythonNode)
        self.instances.append(GraphInstance(id_, node, args, kwargs, instance._where))
        self._keep.append(instance)
        self._instance_ids[id(instance._identity)] = id_
        return id_

    def python_node(self, definition: Definition) -> Node:
        """The graph's node; a Python node's key is the importable name, or one by value, distinct in this graph."""
        found = self._nodes.get(id(definition))
        if found is None:
            from grandpa_kfp_runtime.code.payload import VALUE

            found = self.new_node(definition)
            if isinstance(found, PythonNode) and (found.key.startswith(VALUE) or found.key in self._keys):
                key = self._value_key(VALUE + definition.name)
                found = found if key == found.key else replace(found, key=key)
            self._keys[found.key] = id(definition)
            self._keep.append(definition)
            self._nodes[id(definition)] = found
        return found

    def new_node(self, definition: Definition) -> Node:
        """The node that this graph sees for the first time."""
        from grandpa_kfp_runtime.code.payload import node_key

        return definition.python_node(node_key(definition.target, definition.name))

    def _value_key(self, first: str) -> str:
        key, count = first, 1
        while key in self._keys:
            count += 1
            key = f"{first}-{count}"
        return key


def output_value(task: str, ref: Ref[Any]) -> Value:
    """A Ref as an output of the task, or as the tuple of all that it declares."""
    outputs = ref._origin.outputs
    if outputs is None:
        return TaskOutput(task, RESULT, ref._path)
    if ref._output is not None:
        return TaskOutput(task, ref._output, ref._path)
    holes: tuple[tuple[tuple[int, ...], Value], ...] = tuple(
        [((index,), TaskOutput(task, output)) for index, output in enumerate(outputs)]
    )
    return Filled(Constant((None,) * len(outputs)), holes)
