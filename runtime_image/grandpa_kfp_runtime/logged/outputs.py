"""What a task returned to be drawn is logged as well: so every engine tells of it in the same events."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..typespec import Json
from .entries import Artifact
from .kinds import Metrics, form_of
from .task_log import TaskLog


def note_outputs(
    open_log: Callable[[], TaskLog | None],
    outputs: Mapping[str, Any],
    handles: Mapping[str, str],
    facts: Mapping[str, Mapping[str, Json]],
) -> None:
    """Logs the numbers of `Metrics`, and pages, texts and figures as artifacts that are an output each.

    open_log: asked only where there is something. handles, facts: of the outputs, by name, as far as there are any.
    """
    for name, value in outputs.items():
        form = form_of(value)
        if not form and type(value) is not Metrics:
            continue
        log = open_log()
        if log is None:
            return
        if form:
            taken = name in log.logged().artifacts
            made = Artifact(form, handles.get(name, ""), facts.get(name, {}), name)
            log.note(f"{name} (output)" if taken else name, made)
        else:
            for metric, number in value.items():
                log.metric(metric, number, call=f"output {name}")
