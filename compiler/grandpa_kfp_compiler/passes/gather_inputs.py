"""Wide arguments through gather tasks, so that no task has more inputs than one argument can hold.

Before: a task may take any number of Refs, `mean([square(x) for x in range(5000)])`.
After: the inputs of each task together stay below `INPUTS_LIMIT_BYTES`, as far as structures of Refs
    cause it. A list of Refs becomes the output of a gather task, which stores the list of their handles
    and loads no value; more than 200 take a tree: `gather` by 200, `join` above. In another structure
    (a dict, a tuple, a list with constants between) a `fill` task puts the gathered values in.
    Refs that are arguments of their own (`f(*refs)`) stay; the lowering reports what remains too large.
Why: a task's inputs are one argument of a process, and each costs about 200 bytes there.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from grandpa_kfp_runtime.contract import INPUTS_LIMIT_BYTES

from ..graph import (
    Call,
    Constant,
    Filled,
    Graph,
    Instance,
    InstanceValue,
    Operation,
    Options,
    PythonNode,
    TaskOutput,
    Value,
    leaves,
)
from .bodies import in_bodies
from .builtins import FILL, GATHER, IDENTITY, JOIN, options_like
from .order import in_order
from .weights import input_bytes, instance_bytes

GATHER_WIDTH = 200
WIDE = 8
"""Structures of fewer Refs are left as they are: gathering them would gain nothing."""


def gather_inputs(graph: Graph) -> Graph:
    """No structure of Refs makes a task's inputs too large; see the module."""
    graph = in_bodies(gather_inputs, graph)
    instances = {instance.id: instance for instance in graph.instances}
    gathering = _Gathering(graph)
    for instance in graph.instances:
        if _is_wide(instance) and instance_bytes(instance, instances) > INPUTS_LIMIT_BYTES:
            instances[instance.id] = gathering.narrow(instance, lambda new: _instance_size(new, instances))
    operations: list[Operation] = []
    for operation in graph.operations:
        if isinstance(operation, Call) and _is_wide(operation) and _size(operation, instances) > INPUTS_LIMIT_BYTES:
            operation = gathering.narrow(operation, lambda new: _size(new, instances))
        operations.append(operation)
    if not gathering.added:
        return graph
    wider = replace(graph, operations=(*operations, *gathering.added), instances=tuple(instances.values()))
    return replace(wider, operations=in_order(wider))


def gather_lists(graph: Graph, width: int) -> Graph:
    """The graph with every list of more than `width` outputs made in parts of so many, which steps can make."""
    gathering = _Gathering(graph, width=width)
    operations: list[Operation] = []
    for item in graph.operations:
        if isinstance(item, Call) and _is_wide(item):
            for place, value in _arguments(item):
                if _is_long(value, width):
                    owner = item
                    item = _with_argument(item, place, lambda value: gathering.gathered(value, owner))  # noqa: B023
        operations.append(item)
    if not gathering.added:
        return graph
    wider = replace(graph, operations=(*operations, *gathering.added))
    return replace(wider, operations=in_order(wider))


def _is_long(value: Value, width: int) -> bool:
    return (
        isinstance(value, Filled)
        and len(value.holes) > width
        and is_list_of_holes(value)
        and all(isinstance(item, TaskOutput) and not item.path for _, item in value.holes)
    )


def _size(call: Call, instances: dict[str, Instance]) -> int:
    return input_bytes(call, instances)


def _instance_size(instance: Instance, instances: dict[str, Instance]) -> int:
    return instance_bytes(instance, {**instances, instance.id: instance})


def _is_wide(owner: Call | Instance) -> bool:
    """A cheap test that nearly every task fails."""
    return any(isinstance(value, Filled) for value in owner.args) or any(
        isinstance(value, Filled) for _, value in owner.kwargs
    )


@dataclass(slots=True)
class _Gathering:
    """The tasks that are added, named after the task they serve. width: how many values one of them gathers."""

    graph: Graph
    width: int = field(default_factory=lambda: GATHER_WIDTH)
    added: list[Call] = field(default_factory=list)
    _taken: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._taken.update(operation.id for operation in self.graph.operations)

    def narrow(self, owner: Any, size: Callable[[Any], int]) -> Any:
        """The call or instance with its widest structures gathered, until it is small enough."""
        widths = sorted(((self._width(value), place) for place, value in _arguments(owner)), reverse=True)
        for width, place in widths:
            if width < WIDE or size(owner) <= INPUTS_LIMIT_BYTES:
                break
            owner = _with_argument(owner, place, lambda value: self.gathered(value, owner))  # noqa: B023
        return owner

    @staticmethod
    def _width(value: Value) -> int:
        if not isinstance(value, Filled) or any(isinstance(leaf, InstanceValue) for leaf in leaves(value)):
            return 0
        return sum(1 for _ in leaves(value))

    def gathered(self, value: Filled, owner: Call | Instance) -> Value:
        """What stands for the structure: one task's output."""
        flat = list(_flat_holes(value))
        leaves_ = [item for _, item in flat]
        values = self._tree(leaves_, owner)
        if is_list_of_holes(value):
            return values
        positions = Constant([list(at) for at, _ in flat])
        return self._add("fill", FILL, (_skeleton(value), positions, values), owner, self._options(leaves_, owner))

    def _tree(self, values: list[Value], owner: Call | Instance) -> TaskOutput:
        """One task whose output is the list of all values."""
        options = self._options(values, owner)
        row = [self._leaf(values[at : at + self.width], owner, options) for at in range(0, len(values), self.width)]
        while len(row) > 1:
            chunks = [tuple(row[at : at + GATHER_WIDTH]) for at in range(0, len(row), GATHER_WIDTH)]
            row = [self._add("join", JOIN, chunk, owner, options) for chunk in chunks]
        return row[0]

    def _leaf(self, values: list[Value], owner: Call | Instance, options: Options) -> TaskOutput:
        """Whole outputs are gathered by handle; parts of outputs and parameters have to be looked at."""
        if all(isinstance(value, TaskOutput) and not value.path for value in values):
            return self._add("gather", GATHER, tuple(values), owner, options)
        holes = tuple(((index,), value) for index, value in enumerate(values))
        return self._add("gather", IDENTITY, (Filled(Constant([None] * len(values)), holes),), owner, options)

    def _options(self, values: list[Value], owner: Call | Instance) -> Options:
        """What reads the values needs what the owner needs to read them."""
        if isinstance(owner, Call):
            return replace(owner.options.surroundings(), memory=owner.options.memory)
        return options_like(self.graph, (value.task for value in values if isinstance(value, TaskOutput)))

    def _add(
        self, verb: str, node: PythonNode, args: tuple[Value, ...], owner: Call | Instance, options: Options
    ) -> TaskOutput:
        base = f"{owner.id}-{verb}"
        name, number = base, 1
        while name in self._taken:
            number += 1
            name = f"{base}-{number}"
        self._taken.add(name)
        scope = owner.scope if isinstance(owner, Call) else ()
        self.added.append(Call(name, node, args, options=options, scope=scope, where=owner.where))
        return TaskOutput(name)


def _arguments(owner: Call | Instance) -> list[tuple[int | str, Value]]:
    return [*enumerate(owner.args), *owner.kwargs]


def _with_argument(owner: Any, place: int | str, change: Callable[[Any], Value]) -> Any:
    if isinstance(place, int):
        args = tuple(change(value) if index == place else value for index, value in enumerate(owner.args))
        return replace(owner, args=args)
    return replace(owner, kwargs=tuple((key, change(value) if key == place else value) for key, value in owner.kwargs))


def _flat_holes(value: Filled, above: tuple[int, ...] = ()) -> list[tuple[tuple[int, ...], Value]]:
    found: list[tuple[tuple[int, ...], Value]] = []
    for at, item in value.holes:
        if isinstance(item, Filled):
            found.extend(_flat_holes(item, (*above, *at)))
        else:
            found.append(((*above, *at), item))
    return found


def _skeleton(value: Filled) -> Value:
    """The structure without its Refs: nested structures in its holes stand in it as their own skeletons."""
    inner = tuple((at, _skeleton(item)) for at, item in value.holes if isinstance(item, Filled))
    return Filled(value.skeleton, inner) if inner else value.skeleton


def is_list_of_holes(value: Filled) -> bool:
    """Whether a structure is a list of nothing but whole values, in order."""
    skeleton = value.skeleton.value
    if value.skeleton.handle is not None:
        skeleton = json.loads(value.skeleton.handle) if value.skeleton.handle.startswith("[") else None
    if type(skeleton) is not list or len(skeleton) != len(value.holes):
        return False
    return all(at == (index,) and not isinstance(item, Filled) for index, (at, item) in enumerate(value.holes))
