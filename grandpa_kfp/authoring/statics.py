"""`Static[int]`: a parameter whose value is fixed while tracing, so that plain `if` and `for` work on it.

To a type checker `Static[int]` is `int`. Workflows and components look for the mark in their
annotations: a workflow takes the value out of the graph's parameters, a component refuses a Ref for it.
"""

from __future__ import annotations

import typing
from typing import Annotated, Any, TypeVar

T = TypeVar("T")


class _StaticMark:
    __slots__ = ()

    def __repr__(self) -> str:
        return "Static"


STATIC = _StaticMark()

Static = Annotated[T, STATIC]
"""Marks a parameter of a workflow or component as fixed while tracing.

    @Workflow
    def ensemble(models: Static[int] = 3):
        return vote([train(seed) for seed in range(models)])
"""


def is_static(annotation: Any) -> bool:
    """Whether a resolved annotation carries the mark."""
    if typing.get_origin(annotation) is not Annotated:
        return False
    return any(item is STATIC for item in typing.get_args(annotation)[1:])
