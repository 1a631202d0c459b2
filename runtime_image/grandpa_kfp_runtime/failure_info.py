"""What the handler of a workflow's failure is given: `@Workflow(on_failure=handler)`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class FailureInfo:
    """How a run failed.

    run: its id; workflow: its name; task: the first that failed, empty where none did (the run's value could not be
    read); error: what it raised, in one line; traceback: the whole report, your frames first; parameters: the run's,
    by name; others: further tasks that failed.

    >>> FailureInfo("20261121-1", "pipeline", "train", "ValueError: no data").task
    'train'
    """

    run: str
    workflow: str
    task: str
    error: str
    traceback: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    others: tuple[str, ...] = ()
