"""How a part of a run has ended, as a handler is told: what exit handlers and handlers of failures are given."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from grandpa_kfp_compiler.graph import Constant
from grandpa_kfp_runtime.errors import TaskError
from grandpa_kfp_runtime.failure_info import FailureInfo

from .ledger import one_line
from .run import Run, TaskRun


def outcome_of(
    run: Run, guarded: Collection[str], errors: Sequence[TaskError], parameters: Mapping[str, Constant]
) -> FailureInfo | None:
    """How tasks have ended, and all that they have become: None where nothing has failed or been left undone.

    guarded: their ids; errors: of the run, in order.
    """
    inside = set(guarded)
    failed = [error for error in errors if _is_inside(run.tasks.get(error.task), run, inside)]
    given = {name: item.value for name, item in parameters.items() if item.handle is None}
    if failed:
        return failure_info(run, failed[0], [error.task for error in failed[1:]], given)
    if any(run.tasks[id_].state in _UNDONE for id_ in inside if id_ in run.tasks):
        why = errors[0] if errors else TaskError("the run was stopped")
        return failure_info(run, why, [], given)
    return None


_UNDONE = ("waiting", "running", "stopped")


def failure_info(run: Run, error: TaskError, others: Sequence[str], parameters: Mapping[str, object]) -> FailureInfo:
    """What a handler is told of a failure."""
    failed = run.tasks.get(error.task)
    line = failed.error if failed is not None and failed.error else one_line(error)
    return FailureInfo(run.id, run.name, error.task, line, str(error), dict(parameters), tuple(others))


def _is_inside(task: TaskRun | None, run: Run, inside: Collection[str]) -> bool:
    """Whether a task is one of these, or what one of these has become."""
    while task is not None:
        if task.id in inside:
            return True
        task = run.tasks.get(task.parent) if task.parent else None
    return False
