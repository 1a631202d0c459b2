"""Who takes down the calls of nodes that are made here: a trace, a node's body that runs, or nobody.

The package above records calls; the runtime sees to it that each task begins with an empty record, and
that calls which nobody needed are told of.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, Protocol


class Recorded(Protocol):
    """A call that a body made. The class lives upstairs."""

    def warn_if_unused(self, body: str) -> None:
        """Tell the user when the call never ran; `body` names the node that made it."""


class TaskBody:
    """A task's body: the calls it has made so far. extends: who runs it makes tasks of what it returns."""

    __slots__ = ("calls", "extends")

    def __init__(self, *, extends: bool = False) -> None:
        self.extends = extends
        self.calls: list[Recorded] = []

    def warn_of_unused(self, body: str) -> None:
        """To be called once the Refs that the body returned have been run."""
        for call in self.calls:
            call.warn_if_unused(body)


recorder: ContextVar[Any] = ContextVar("grandpa_recorder", default=None)
"""The trace or body that takes down calls, None outside of both."""
