"""Tasks that run always are told how what they wait for has ended, where a parameter is a `FailureInfo | None`.

`tracing` asks for it at each call of such a task.
"""

from __future__ import annotations

import inspect
import typing
from typing import Any

from grandpa_kfp_runtime.errors import TraceError
from grandpa_kfp_runtime.failure_info import FailureInfo

from .refs import Promise
from .signatures import Shape
from .where import here


class Ended(Promise):
    """An argument that stands for how other tasks have ended. only_failed: the task does nothing where none failed."""

    __slots__ = ("only_failed",)

    def __init__(self, *, only_failed: bool = False) -> None:
        self.only_failed = only_failed


def with_outcome(task: str, shape: Shape, count: int, kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments by name, with how other tasks have ended for parameters that ask for it and are not given.

    count: arguments that are given by position. Raises TraceError for a parameter that cannot be None.
    """
    found = dict(kwargs)
    for place, item in enumerate(shape.signature.parameters.values()):
        given = item.name in kwargs or (place < count and item.kind is not item.KEYWORD_ONLY)
        if given or item.kind not in (item.POSITIONAL_OR_KEYWORD, item.KEYWORD_ONLY) or not _asks(item):
            continue
        if item.annotation is FailureInfo and item.default is not None:
            raise TraceError(
                f"{task} ({here()}): {item.name} is a FailureInfo, but a task that runs always runs where nothing has "
                f"failed too, and is given None then: write `{item.name}: FailureInfo | None`"
            )
        found[item.name] = Ended()
    return found


def _asks(item: inspect.Parameter) -> bool:
    annotation = item.annotation
    return annotation is FailureInfo or FailureInfo in typing.get_args(annotation)
