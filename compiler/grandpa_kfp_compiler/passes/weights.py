"""How much room an operation takes in what Kubeflow hands around as one argument of a process.

A task's inputs travel as one argument of its driver and, filled in, of its container; a whole DAG
travels as one argument of the DAG's driver. Linux ends an argument at 128 KiB. Sizes are estimates on
the safe side, made from the graph alone: encoding every constant here would cost more than it
tells, so only those are that are more than plain data.
"""

from __future__ import annotations

from typing import Any

from grandpa_kfp_runtime.errors import CodecError

from ..constants import NotPlain, handle_text, plain_value
from ..graph import (
    Call,
    Constant,
    Filled,
    Instance,
    InstanceValue,
    Operation,
    Outcome,
    ParameterValue,
    TaskOutput,
    Value,
)

REFERENCE_BYTES = 200
"""One input bound to another task: its name, its producer's name, and a handle of the usual length."""

TASK_BYTES = 400
"""A task without inputs: its names, its component, its options."""


def input_bytes(operation: Operation, instances: dict[str, Instance]) -> int:
    """All inputs of the operation, those of the instances it constructs included."""
    seen: set[str] = set()
    if isinstance(operation, Call):
        total = sum([_value_bytes(value, instances, seen) for value in operation.args])
        total += sum([_value_bytes(value, instances, seen) for _, value in operation.kwargs])
        if operation.instance:
            total += _value_bytes(InstanceValue(operation.instance), instances, seen)
        return total
    return sum([_value_bytes(value, instances, seen) for _, value in operation.arguments])


def instance_bytes(instance: Instance, instances: dict[str, Instance]) -> int:
    """All init arguments of the instance."""
    return _value_bytes(InstanceValue(instance.id), instances, set())


def _value_bytes(value: Value, instances: dict[str, Instance], seen: set[str]) -> int:
    if isinstance(value, TaskOutput | ParameterValue):
        return REFERENCE_BYTES
    if isinstance(value, Constant):
        return constant_bytes(value)
    if isinstance(value, Filled):
        return constant_bytes(value.skeleton) + sum([_value_bytes(item, instances, seen) for _, item in value.holes])
    if isinstance(value, Outcome) or value.instance in seen:
        return 0
    seen.add(value.instance)
    instance = instances[value.instance]
    values = (*instance.args, *(item for _, item in instance.kwargs))
    return sum([_value_bytes(item, instances, seen) for item in values])


_ATOM_BYTES = 60
_LARGE = 16 * 1024
"""A constant is at most so long once encoded, or the pipeline is refused."""


def constant_bytes(constant: Constant) -> int:
    """About the length of the constant in the pipeline, its input's name and its quotes included."""
    try:
        return _ATOM_BYTES + min(_LARGE, _size(plain_value(constant), 4))
    except NotPlain:  # only now is it worth encoding; alive or from a file, the length is the same
        pass
    try:
        return _ATOM_BYTES + min(_LARGE, len(handle_text(constant)))
    except CodecError:
        return _ATOM_BYTES + _LARGE  # binding tells which argument it is


def _size(value: Any, depth: int) -> int:
    kind = type(value)
    if kind in (int, float, bool) or value is None:
        return 20
    if kind is str:
        return len(value) + 2
    if kind is bytes:
        return len(value) * 4 // 3 + 40
    if depth and kind in (list, tuple):
        return 2 + sum([_size(item, depth - 1) + 1 for item in value])
    if depth and kind is dict:
        return 2 + sum([_size(key, 0) + _size(item, depth - 1) + 2 for key, item in value.items()])
    raise NotPlain
