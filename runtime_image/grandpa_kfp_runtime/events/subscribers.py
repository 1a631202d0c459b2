"""Who hears of events: a function of one event, or an object with methods named after kinds of events.

    class Mail:
        def on_run_finished(self, event: RunFinished) -> None: ...
        def on_task_failed(self, event: TaskFailed) -> None: ...

Such a class may derive from `Callback`, for its editor's sake, and need not.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from typing import Any, TypeAlias

from . import kinds
from .kinds import KINDS, Event

Listener: TypeAlias = Callable[[Event], Any]
Subscriber: TypeAlias = "Listener | object"


class Callback:
    """Base of objects that hear of events: override what you want to hear of. `on_event` hears of everything."""

    def on_event(self, event: Event) -> None: ...
    def on_run_started(self, event: kinds.RunStarted) -> None: ...
    def on_run_finished(self, event: kinds.RunFinished) -> None: ...
    def on_task_queued(self, event: kinds.TaskQueued) -> None: ...
    def on_task_started(self, event: kinds.TaskStarted) -> None: ...
    def on_task_grew(self, event: kinds.TaskGrew) -> None: ...
    def on_task_finished(self, event: kinds.TaskFinished) -> None: ...
    def on_task_cached(self, event: kinds.TaskCached) -> None: ...
    def on_task_retried(self, event: kinds.TaskRetried) -> None: ...
    def on_task_failed(self, event: kinds.TaskFailed) -> None: ...
    def on_task_dropped(self, event: kinds.TaskDropped) -> None: ...
    def on_task_printed(self, event: kinds.TaskPrinted) -> None: ...
    def on_progress_made(self, event: kinds.ProgressMade) -> None: ...
    def on_metrics_logged(self, event: kinds.MetricsLogged) -> None: ...
    def on_params_logged(self, event: kinds.ParamsLogged) -> None: ...
    def on_artifact_logged(self, event: kinds.ArtifactLogged) -> None: ...


def method_name(kind: type[Event]) -> str:
    """The method that hears of a kind of event.

    >>> method_name(kinds.TaskFinished)
    'on_task_finished'
    """
    return "on" + re.sub(r"(?=[A-Z])", "_", kind.__name__).lower()


_ALL = "on_event"
_METHODS = {method_name(kind): kind for kind in KINDS}


def as_listener(subscriber: Subscriber) -> Listener:
    """The subscriber as a function of one event. Raises TypeError for what is none.

    >>> class Names:
    ...     def on_task_started(self, event): print(event.task)
    >>> listen = as_listener(Names())
    >>> listen(kinds.TaskStarted(0.0, "train", 1)); listen(kinds.TaskQueued(0.0, "train"))
    train
    """
    heard = heard_by(subscriber)
    if not heard:
        if not callable(subscriber) or isinstance(subscriber, type):
            raise TypeError(
                f"{subscriber!r} cannot be told of events: give a function of one event, or an object with methods "
                f"such as on_task_finished(event){_class_hint(subscriber)}"
            )
        return subscriber
    return _Listening(subscriber, heard)


def heard_by(subscriber: Subscriber) -> tuple[str, ...]:
    """The names of the methods by which an object hears of events; empty for a function.

    Raises TypeError for an object that has such methods, and one whose name is no event's.
    """
    names = [name for name in dir(type(subscriber)) if name.startswith("on_")]
    if isinstance(subscriber, Callback):
        names = [name for name in names if getattr(type(subscriber), name) is not getattr(Callback, name, None)]
    known = [name for name in names if name in _METHODS or name == _ALL]
    unknown = [name for name in names if name not in known]
    if unknown and (known or isinstance(subscriber, Callback) or not callable(subscriber)):
        near = difflib.get_close_matches(unknown[0], [*_METHODS, _ALL], 1)
        hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(sorted(_METHODS))}"
        raise TypeError(f"{type(subscriber).__qualname__}.{unknown[0]}: no event is told by that name{hint}")
    return tuple(known)


def hears_tasks(subscriber: Subscriber) -> bool:
    """Whether it hears of anything but a run's start and end."""
    heard = heard_by(subscriber)
    return not heard or any(not name.startswith("on_run_") for name in heard)


def name_of(listener: Listener) -> str:
    """What messages call it."""
    found = listener.subscriber if isinstance(listener, _Listening) else listener
    return str(getattr(found, "__qualname__", type(found).__qualname__))


def _class_hint(subscriber: object) -> str:
    return f"; {subscriber.__qualname__} is a class: give an object of it" if isinstance(subscriber, type) else ""


class _Listening:
    """Calls of an object the methods that the kind of an event has."""

    __slots__ = ("_methods", "subscriber")

    def __init__(self, subscriber: object, heard: tuple[str, ...]) -> None:
        self.subscriber = subscriber
        every = [getattr(subscriber, _ALL)] if _ALL in heard else []
        self._methods: dict[type[Event], list[Listener]] = {
            kind: every + ([getattr(subscriber, name)] if name in heard else []) for name, kind in _METHODS.items()
        }

    def __call__(self, event: Event) -> None:
        for method in self._methods[type(event)]:
            method(event)
