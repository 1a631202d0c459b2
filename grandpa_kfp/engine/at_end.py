"""What runs once, when a run's tasks have ended: the handler of a workflow's failure.

`session.conduct` calls each `AtEnd` while listeners and record still hear. A handler's task is one of the run: its
events are told, and it stands in `Run.tasks`; but no failure of it takes the place of the run's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from grandpa_kfp_runtime.errors import GrandpaError, TaskError

from .events import Event, RunFinished, RunStarted, TaskGrew, TaskPrinted
from .outcomes import failure_info
from .run import Run

if TYPE_CHECKING:
    from .processes.crew import Crew

AtEnd: TypeAlias = "Callable[[Run, BaseException | None, Callable[[Event], None]], str]"
"""Given the run, its error (None for success) and a way to tell events; returns what went wrong, empty for nothing."""


@dataclass(frozen=True, slots=True)
class OnFailure:
    """Runs a handler after a run that failed, not after one that was stopped.

    handler: a node that takes a FailureInfo; parameters: the run's, by name; crew: the run's workers, None where
    its tasks ran on threads; root: of the project.
    """

    handler: Any
    parameters: Mapping[str, Any]
    crew: Crew | None
    root: Path | None

    def __call__(self, run: Run, error: BaseException | None, tell: Callable[[Event], None]) -> str:
        if run.state != "failed" or not isinstance(error, TaskError):
            return ""
        from grandpa_kfp_compiler.verify import verified

        from ..authoring.tracing import trace
        from ..authoring.workflows import WorkflowFunction
        from .execute import execute

        others = [
            name
            for name, task in run.tasks.items()
            if task.state == "failed" and task.report and not task.fell_back and name != error.task
        ]
        info = failure_info(run, error, others, self.parameters)
        name = _free(self.handler._definition.name, run)
        call = self.handler.options(name=name)
        handled: Run | None = None
        try:
            graph = trace(WorkflowFunction(lambda: call(info), name))
            tell(TaskGrew(run.started + run.duration_s, "", {name: ()}))
            handled = execute(
                verified(graph), crew=self.crew, record=False, root=self.root, listeners=[_only_tasks(tell)]
            )
        except GrandpaError as failure:
            handled = getattr(failure, "run", None)
            return f"The handler of its failure, on_failure={name}, has failed too:\n{failure}"
        finally:
            if handled is not None:
                run.tasks.update(handled.tasks)
        return ""


def _free(name: str, run: Run) -> str:
    """The handler's name, with a number where a task of the run has it."""
    found, number = name, 1
    while found in run.tasks:
        number += 1
        found = f"{name}-{number}"
    return found


def _only_tasks(tell: Callable[[Event], None]) -> Callable[[Event], None]:
    """Events of tasks, for the run that they belong to. What they print has been shown by then."""

    def heard(event: Event) -> None:
        if not isinstance(event, RunStarted | RunFinished | TaskPrinted):
            tell(event)

    return heard
