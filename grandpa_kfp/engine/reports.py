"""What is said of a task that failed, in the words of the container's launcher."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Any

from grandpa_kfp_compiler.graph import Call
from grandpa_kfp_runtime.errors import RunCancelled, TaskError, TaskTimeout


@dataclass(frozen=True, slots=True)
class Failing:
    """What a report says of a task. secrets: names of the variables whose values it must not show;
    way: how the run came to it, a line for the report's end.
    """

    id: str
    node: str
    where: str
    secrets: tuple[str, ...] = ()
    way: str = ""

    @classmethod
    def of(cls, call: Call) -> Failing:
        secrets = tuple([name for name, _ in call.options.secrets or ()])
        return cls(call.id, call.node.key, call.where or call.node.where, secrets)


def fallback_failed(told: TaskError, error: BaseException) -> TaskError:
    """The failure of a task whose fallback cannot be its result either."""
    made = type(told)(f"{told}\n\nIts fallback cannot take the place of its result: {error}", task=told.task)
    made.__cause__ = told.__cause__
    return made


def failure(
    task: Failing,
    run_id: str,
    attempt: int,
    error: BaseException,
    *,
    inputs: Mapping[str, Any],
    handles: Mapping[str, str],
    root: str = "",
    frame: FrameType | None = None,
) -> TaskError:
    """The error that the run raises: the whole report as its text, what the node raised as its `__cause__`.

    inputs: the values that arrived, by name; handles: theirs, where they have any; root: the folder that
    files are named from; frame: where the task's thread is, for one that has not ended.
    """
    from grandpa_kfp_runtime.failure import describe_inputs, format_report, report
    from grandpa_kfp_runtime.redaction import Redactor

    record = report(
        error,
        task=task.id,
        node=task.node,
        where=task.where,
        inputs=describe_inputs(inputs),
        handles=handles,
        run_id=run_id,
        attempt=attempt,
        root=root,
        frame=frame,
        redactor=Redactor.from_environment(task.secrets),
    )
    kind = type(error) if isinstance(error, TaskTimeout | RunCancelled) else TaskError
    text = format_report(record)
    made = kind(f"{text}\n\n{task.way}" if task.way else text, task=task.id)
    made.__cause__ = error
    return made
