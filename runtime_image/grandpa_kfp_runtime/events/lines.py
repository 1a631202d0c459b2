"""An event as JSON, both directions: a line of `events.jsonl` in a run's record, a part of what containers leave."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from ..errors import LoadError
from ..logged.entries import Artifact, Bar, Series
from . import kinds
from .kinds import KINDS, Event

_ENCODE = json.JSONEncoder(separators=(",", ":")).encode
_QUOTE = json.encoder.encode_basestring_ascii
_NAMES: dict[type[Event], tuple[str, ...]] = {kind: tuple(item.name for item in fields(kind)) for kind in KINDS}
_BY_NAME = {kind.__name__: kind for kind in KINDS}


def event_line(event: Event) -> str:
    """The event as one line of JSON, its kind first.

    >>> event_line(kinds.TaskStarted(1.5, "add", 1))
    '{"event":"TaskStarted","at":1.5,"task":"add","attempt":1}\\n'
    """
    kind = type(event)
    if kind is kinds.TaskQueued:  # the three kinds that every task has, four times as fast
        return f'{{"event":"TaskQueued","at":{event.at!r},"task":{_QUOTE(event.task)}}}\n'  # type: ignore[attr-defined]
    if isinstance(event, kinds.TaskStarted):
        return (
            f'{{"event":"TaskStarted","at":{event.at!r},"task":{_QUOTE(event.task)},'
            f'"attempt":{_attempt_text(event.attempt)}}}\n'
        )
    if isinstance(event, kinds.TaskFinished):
        return (
            f'{{"event":"TaskFinished","at":{event.at!r},"task":{_QUOTE(event.task)},'
            f'"attempt":{_attempt_text(event.attempt)},'
            f'"duration_s":{event.duration_s!r},"outputs":{handles_text(event.outputs)}}}\n'
        )
    return _ENCODE(to_json(event)) + "\n"


def to_json(event: Event) -> dict[str, Any]:
    """The event as an object, its kind first."""
    kind = type(event)
    data: dict[str, Any] = {"event": kind.__name__}
    for name in _NAMES[kind]:
        data[name] = getattr(event, name)
    if isinstance(event, kinds.MetricsLogged):
        data["metrics"] = {name: series.to_json() for name, series in event.metrics.items()}
    elif isinstance(event, kinds.ProgressMade):
        data["bars"] = {name: bar.to_json() for name, bar in event.bars.items()}
    elif isinstance(event, kinds.ArtifactLogged):
        data["artifact"] = event.artifact.to_json()
    return data


def read_event(line: str) -> Event:
    """What `event_line` wrote. Raises LoadError for anything else."""
    try:
        return from_json(json.loads(line))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise LoadError(f"{line[:60]!r} is no line of an events.jsonl: {error!r}") from error


def from_json(data: dict[str, Any]) -> Event:
    """What `to_json` made. Raises ValueError, KeyError, TypeError, AttributeError, IndexError for anything else."""
    given = dict(data)
    kind = _BY_NAME[given.pop("event")]
    if kind is kinds.RunStarted:
        given["tasks"] = tuple(given["tasks"])
    elif kind is kinds.TaskGrew:
        given["children"] = {task: tuple(before) for task, before in given["children"].items()}
    elif kind is kinds.MetricsLogged:
        given["metrics"] = {name: Series.from_json(item) for name, item in given["metrics"].items()}
    elif kind is kinds.ProgressMade:
        given["bars"] = {name: Bar.from_json(item) for name, item in given["bars"].items()}
    elif kind is kinds.ArtifactLogged:
        given["artifact"] = Artifact.from_json(given["artifact"])
    return kind(**given)


def handles_text(outputs: Mapping[str, str]) -> str:
    """Handles by name as JSON.

    >>> handles_text({"result": "1"})
    '{"result":"1"}'
    """
    return "{" + ",".join([f"{_QUOTE(name)}:{_QUOTE(handle)}" for name, handle in outputs.items()]) + "}"


def _attempt_text(attempt: int | str) -> str:
    return str(attempt) if isinstance(attempt, int) else _QUOTE(attempt)
