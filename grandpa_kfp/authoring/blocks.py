"""Blocks: the parts of a traced body that become graphs of their own: an arm of a branch, a loop's body, a workflow
that is called in another one, what `on_exit` guards.

A block takes down what is called in it, and as parameters what it reads of the blocks around it. It is open until the
trace ends, since `either`, `collect`, or a use outside may ask for a value of it when its own lines have run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, TypeAlias

from grandpa_kfp_compiler.control import Arm, Branch, Loop, Predicate
from grandpa_kfp_compiler.graph import (
    HANDLE,
    RESULT,
    ComponentCall,
    Constant,
    Filled,
    Graph,
    Group,
    InstanceValue,
    Operation,
    Parameter,
    ParameterValue,
    TaskOutput,
    Value,
)
from grandpa_kfp_compiler.graph import Instance as GraphInstance
from grandpa_kfp_runtime.errors import TraceError

from .where import here

ITEM = "item"
"""The parameter of a loop's body that is one of its items."""


class Block:
    """owner: the branch, loop or group that it is inside of, None for the workflow's own body; name: `when`, `each`."""

    __slots__ = (
        "components", "instance_ids", "instance_names", "instances", "name", "operations", "outputs", "owner",
        "parameters", "where",
    )  # fmt: skip

    def __init__(self, owner: Open | None, name: str, where: str) -> None:
        self.owner = owner
        self.name = name
        self.where = where
        self.operations: list[Any] = []
        self.instances: list[GraphInstance] = []
        self.instance_ids: dict[int, str] = {}
        self.instance_names: dict[str, int] = {}
        self.parameters: dict[str, Parameter] = {}
        self.outputs: dict[str, Value] = {}
        self.components: list[ComponentCall] = []

    @property
    def parent(self) -> Block | None:
        """The block around it."""
        return None if self.owner is None else self.owner.parent

    def above(self) -> Iterator[Block]:
        """The block itself, then those around it, from the inside out."""
        block: Block | None = self
        while block is not None:
            yield block
            block = block.parent

    def inside(self, outer: Block) -> Block | None:
        """The block right inside of `outer` that this one is or lies in, None for one that is not below `outer`."""
        below: Block | None = None
        for block in self.above():
            if block is outer:
                return below
            below = block
        return None

    def closed(self) -> Graph:
        """Its graph, when nothing is added to it any more."""
        return Graph(
            self.name,
            tuple(self.parameters.values()),
            tuple(self.instances),
            closed(self.operations),
            tuple(self.outputs.items()),
            where=self.where,
            components=tuple(self.components),
        )

    def add_output(self, name: str, value: Value) -> None:
        self.outputs[name] = value


class _Open:
    """What branches and loops have in common. parent: the block that they stand in."""

    __slots__ = ("_names", "after", "arguments", "id", "parent", "where")

    def __init__(self, id_: str, parent: Block, after: tuple[str, ...], where: str) -> None:
        self.id = id_
        self.parent = parent
        self.after = list(after)
        self.where = where
        self.arguments: dict[str, Value] = {}
        self._names: dict[tuple[str, ...], str] = {}

    def capture(self, block: Block, value: TaskOutput | ParameterValue) -> ParameterValue:
        """The parameter of one of its blocks that stands for a value of the block around it."""
        if isinstance(value, TaskOutput):
            key: tuple[str, ...] = (value.task, value.output)
            base = value.task if value.output == RESULT else f"{value.task}.{value.output}"
            whole: Value = TaskOutput(value.task, value.output)
            spec = HANDLE
        else:
            key, base, whole = (value.name,), value.name, ParameterValue(value.name)
            spec = self.parent.parameters[value.name].type
        name = self._names.get(key)
        if name is None:
            name, count = self.preferred(key, base), 1
            base = name
            while name in self.arguments or (name == ITEM and not isinstance(self, OpenGroup)):
                count += 1
                name = f"{base}-{count}"
            self._names[key] = name
            self.arguments[name] = whole
        block.parameters.setdefault(name, Parameter(name, spec))
        return ParameterValue(name, value.path)

    def preferred(self, key: tuple[str, ...], base: str) -> str:
        """The name of the parameter for a value of the block around it."""
        return base

    def wait_for(self, task: str) -> None:
        """It begins after the task, which stands in the block around it."""
        if task not in self.after:
            self.after.append(task)


class OpenBranch(_Open):
    """A branch whose arms may still get outputs. scope: of the names in all its arms; sealed: no arm may follow."""

    __slots__ = ("arms", "outputs", "scope", "sealed")

    def __init__(self, id_: str, parent: Block, after: tuple[str, ...], where: str, scope: Any) -> None:
        super().__init__(id_, parent, after, where)
        self.arms: list[tuple[Predicate | None, Block]] = []
        self.outputs = 0
        self.scope = scope
        self.sealed = False

    def add_arm(self, predicate: Predicate | None, where: str) -> Block:
        name = "otherwise" if predicate is None else "elsewhen" if self.arms else "when"
        block = Block(self, name, where)
        self.arms.append((predicate, block))
        return block

    def new_output(self) -> str:
        self.outputs += 1
        return RESULT if self.outputs == 1 else f"{RESULT}-{self.outputs}"

    def closed(self) -> Branch:
        arms = tuple([Arm(predicate, block.closed()) for predicate, block in self.arms])
        return Branch(self.id, arms, tuple(self.arguments.items()), tuple(self.after), self.where)


class OpenLoop(_Open):
    """A loop whose body may still get outputs."""

    __slots__ = ("block", "items", "parallelism")

    def __init__(
        self, id_: str, parent: Block, after: tuple[str, ...], where: str, items: Value, parallelism: int | None
    ) -> None:
        super().__init__(id_, parent, after, where)
        self.items = items
        self.parallelism = parallelism
        self.block = Block(self, "each", where)
        self.block.parameters[ITEM] = Parameter(ITEM, HANDLE)

    def output(self, value: Value) -> str:
        """The output that is the list of this value of the body; a new one for a value that has none."""
        for name, known in self.block.outputs.items():
            if known == value:
                return name
        count = len(self.block.outputs) + 1
        name = RESULT if count == 1 else f"{RESULT}-{count}"
        self.block.add_output(name, value)
        return name

    def closed(self) -> Loop:
        arguments = tuple(self.arguments.items())
        body = self.block.closed()
        return Loop(self.id, self.items, ITEM, body, arguments, self.parallelism, tuple(self.after), self.where)


class OpenGroup(_Open):
    """A group whose values may still be asked for. handler: the task that runs always behind it, if there is one.

    The group begins when all that it takes from outside is there, and without that the handler does not run either.
    """

    __slots__ = ("_called", "block", "handler")

    def __init__(self, id_: str, parent: Block, after: tuple[str, ...], where: str, name: str) -> None:
        super().__init__(id_, parent, after, where)
        self.block = Block(self, name, where)
        self.handler = ""
        self._called: dict[tuple[str, ...], str] = {}

    def call(self, value: Value, name: str) -> None:
        """What a value of the block around it is called inside."""
        if isinstance(value, TaskOutput):
            self._called.setdefault((value.task, value.output), name)
        elif isinstance(value, ParameterValue):
            self._called.setdefault((value.name,), name)

    def preferred(self, key: tuple[str, ...], base: str) -> str:
        return self._called.get(key, base)

    def output(self, value: Value) -> Value:
        """What stands for a value of it in the block around it."""
        if isinstance(value, Constant):
            return value
        if isinstance(value, Filled):
            return Filled(value.skeleton, tuple([(at, self.output(inner)) for at, inner in value.holes]))
        assert isinstance(value, TaskOutput | ParameterValue)
        whole = replace(value, path=())
        for name, known in self.block.outputs.items():
            if known == whole:
                return TaskOutput(self.id, name, value.path)
        count = len(self.block.outputs) + 1
        name = RESULT if count == 1 else f"{RESULT}-{count}"
        self.block.add_output(name, whole)
        return TaskOutput(self.id, name, value.path)

    def closed(self) -> Group:
        arguments = tuple(self.arguments.items())
        after = self.waits_for() if self.handler else tuple(self.after)
        return Group(self.id, self.block.closed(), arguments, after, self.where)

    def waits_for(self) -> tuple[str, ...]:
        """The tasks around it that it begins after."""
        makers = [value.task for value in self.arguments.values() if isinstance(value, TaskOutput)]
        return tuple(dict.fromkeys((*self.after, *makers)))


Open: TypeAlias = "OpenBranch | OpenLoop | OpenGroup"


def closed(operations: list[Any]) -> tuple[Operation, ...]:
    """Operations of a block when the trace has ended."""
    guards = {item.handler: item for item in operations if isinstance(item, OpenGroup) and item.handler}
    found: list[Operation] = []
    for item in operations:
        if isinstance(item, OpenBranch | OpenLoop | OpenGroup):
            found.append(item.closed())
        elif item.id in guards:
            guard = guards[item.id]
            found.append(replace(item, after=(*item.after, guard.id), needs=guard.waits_for()))
        else:
            found.append(item)
    return tuple(found)


def carried(value: Value, home: Block, target: Block) -> Value:
    """A value of one block as a block inside of it sees it; parameters carry it through those between."""
    between: list[Block] = []
    for block in target.above():
        if block is home:
            break
        between.append(block)
    for block in reversed(between):
        value = _captured(value, block)
    return value


def _captured(value: Value, block: Block) -> Value:
    if isinstance(value, Constant):
        return value
    if isinstance(value, Filled):
        return Filled(value.skeleton, tuple([(at, _captured(inner, block)) for at, inner in value.holes]))
    if isinstance(value, InstanceValue):
        raise TraceError(
            f"{here()}: an object of a class node stands for no value that branches can have in common; call it in "
            "each of them, and join what it returns"
        )
    assert block.owner is not None
    assert isinstance(value, TaskOutput | ParameterValue)
    return block.owner.capture(block, value)
