"""Branches and loops: what they decide by, and what comes out of them.

Types are told where annotations tell them; the rest is seen when the graph runs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from grandpa_kfp_runtime.typespec import TypeSpec

from ..control import COMPARISONS
from ..graph import (
    Branch,
    Constant,
    Filled,
    Graph,
    InstanceValue,
    Loop,
    ParameterValue,
    Predicate,
    TaskOutput,
    Value,
    bodies_of,
    leaves,
)
from .edges import Edges
from .faults import Fault, place_of

_KINDS = {
    **dict.fromkeys(("bool", "int", "float"), "number"),
    **dict.fromkeys(("list", "dict", "tuple", "set", "frozenset", "bytes", "Mapping", "Sequence"), ""),
    "str": "str",
    "None": "None",
}
_NO_LISTS = frozenset({"bool", "int", "float", "str", "bytes", "None", "dict", "Mapping", "set", "frozenset"})


def control_faults(graph: Graph) -> list[Fault]:
    """Predicates of values that cannot be compared, loops over what is no list, outputs that may have no value."""
    edges = Edges(graph)
    faults: list[Fault] = []
    for operation in graph.operations:
        if isinstance(operation, Branch):
            faults.extend(Fault(place_of(operation), message) for message in _branch_mistakes(operation, edges))
        elif isinstance(operation, Loop):
            faults.extend(Fault(place_of(operation), message) for message in _loop_mistakes(operation, edges))
    return faults


def _branch_mistakes(branch: Branch, edges: Edges) -> Iterator[str]:
    yield from _argument_mistakes(branch)
    if not branch.arms:
        yield "it has no arm"
        return
    for arm in branch.arms[:-1]:
        if arm.predicate is None:
            yield "an arm without a condition is not its last one, so those behind it are never taken"
    for arm in branch.arms:
        if arm.predicate is not None:
            yield from _predicate_mistakes(arm.predicate, edges)
    names = [dict.fromkeys(name for name, _ in arm.body.outputs) for arm in branch.arms]
    if any(names) and branch.arms[-1].predicate is not None:
        yield f"its output {next(name for found in names for name in found)} has no value where no arm is taken"
    for name in dict.fromkeys(name for found in names for name in found):
        if not all(name in found for found in names):
            yield f"its output {name} has no value in one of its arms"
    taken: set[str] = set()
    for body in bodies_of(branch):
        for item in body.operations:
            if item.id in taken:
                yield f"two of its arms have a task {item.id}"
        taken.update(item.id for item in body.operations)


def _loop_mistakes(loop: Loop, edges: Edges) -> Iterator[str]:
    yield from _argument_mistakes(loop)
    if loop.parallelism is not None and loop.parallelism < 1:
        yield f"its parallelism must be a whole number above 0, but is {loop.parallelism}"
    items = loop.items
    if isinstance(items, TaskOutput | ParameterValue):
        given = edges.given(items)
        if given.name in _NO_LISTS:
            yield f"loops over a list, but {edges.giver(items)} {given}"
    elif isinstance(items, InstanceValue):
        yield "loops over a list, but is given an instance"
    elif isinstance(items, Constant) and not _is_list(items):
        yield "loops over a list, but is given another constant"


def _argument_mistakes(item: Branch | Loop) -> Iterator[str]:
    for name, value in item.arguments:
        if isinstance(value, Filled | InstanceValue):
            yield f"argument {name} must be an output, a parameter or a constant"


def _predicate_mistakes(predicate: Predicate, edges: Edges) -> Iterator[str]:
    operator, operands = predicate.operator, predicate.operands
    inner = [item for item in operands if isinstance(item, Predicate)]
    values: list[Value] = [item for item in operands if not isinstance(item, Predicate)]
    if operator in ("&", "|", "~"):
        wanted = 1 if operator == "~" else 2
        if values or (len(inner) != wanted if wanted == 1 else len(inner) < wanted):
            yield f"`{operator}` in its condition joins conditions, and nothing else"
        for item in inner:
            yield from _predicate_mistakes(item, edges)
        return
    if inner or len(values) != (1 if operator == "true" else 2):
        yield f"`{operator}` in its condition tests {'one value' if operator == 'true' else 'two values'}"
        return
    if operator == "in" and not (isinstance(values[1], Constant) and _is_list(values[1])):
        yield "`in` in its condition looks in a constant list"
        values = values[:1]
    kinds = []
    for value in values[:1] if operator == "in" else values:
        kind, giver = _kind(value, edges)
        kinds.append((kind, giver))
        if kind == "":
            yield f"conditions test booleans, numbers and texts, but {giver}"
    if operator in COMPARISONS[2:] and len(kinds) == 2:
        yield from _unordered(*kinds)


def _unordered(left: tuple[str | None, str], right: tuple[str | None, str]) -> Iterator[str]:
    """Why two values have no order, where that is known."""
    nothing = "None" in (left[0], right[0])
    if nothing or (left[0] and right[0] and left[0] != right[0]):
        yield f"its condition orders what has no order: {left[1]}, {right[1]}"


def _kind(value: Value, edges: Edges) -> tuple[str | None, str]:
    """`number`, `str`, `None`; empty for what no condition tests, None where it is not known. And who gives it."""
    if isinstance(value, TaskOutput | ParameterValue):
        given = edges.given(value)
        return _kind_of(given), f"{edges.giver(value)} {given}"
    if isinstance(value, Constant):
        found = _constant(value)
        name = "None" if found is None else type(found).__name__
        return _kind_of(TypeSpec(name)), f"{found!r} is {name}"
    found_in = next((leaf for leaf in leaves(value) if isinstance(leaf, TaskOutput)), None)
    return "", f"it is given a structure{f' with {found_in.task}' if found_in else ''}"


def _kind_of(spec: TypeSpec) -> str | None:
    return _KINDS.get(spec.name)


def _constant(constant: Constant) -> Any:
    handle = constant.handle
    if handle is None:
        return constant.value
    return handle if handle.startswith("@") else json.loads(handle)


def _is_list(constant: Constant) -> bool:
    """Whether a constant is one of those that a loop walks; of one that only its code can decode nothing is known."""
    value = _constant(constant)
    if isinstance(constant.handle, str) and constant.handle.startswith("@"):
        return True
    return not isinstance(value, str | bytes | dict | set | frozenset | bool) and hasattr(value, "__len__")
