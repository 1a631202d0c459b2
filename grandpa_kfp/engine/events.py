"""What happens in a run, as data, and the one thread that tells it.

Engines tell a `Journal` what happened; its thread hands the events, in order and in batches, to the
record and to the run's listeners: functions of one event, called one after the other, never two at once.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from grandpa_kfp_runtime.logged.entries import Artifact, Series
from grandpa_kfp_runtime.typespec import Json

from .run import State

_LOG = logging.getLogger("grandpa_kfp.engine")
_BATCH_EVERY_S = 0.02


@dataclass(frozen=True, slots=True)
class Event:
    """Base of all events. at: seconds since the epoch."""

    at: float


@dataclass(frozen=True, slots=True)
class RunStarted(Event):
    run: str
    name: str
    tasks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TaskQueued(Event):
    """All that the task waited for is there; it runs as soon as a lane is free."""

    task: str


@dataclass(frozen=True, slots=True)
class TaskStarted(Event):
    task: str
    attempt: int


@dataclass(frozen=True, slots=True)
class TaskGrew(Event):
    """The task's body has returned calls of nodes, which are tasks now; it ends when they have.

    children: the new tasks, in the order of the calls, each with those of them that it waits for. A `map` grows
    several times, a few elements at a time.
    """

    task: str
    children: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class TaskFinished(Event):
    """outputs: handles by name, empty where the run is not recorded."""

    task: str
    attempt: int
    duration_s: float
    outputs: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class TaskRetried(Event):
    """An attempt failed, and another follows after a pause. attempt: the one that failed."""

    task: str
    attempt: int
    duration_s: float
    pause_s: float
    error: str


@dataclass(frozen=True, slots=True)
class TaskFailed(Event):
    """The last attempt failed. error: one line; report: the whole of it."""

    task: str
    attempt: int
    duration_s: float
    error: str
    report: str


@dataclass(frozen=True, slots=True)
class TaskDropped(Event):
    """The task did not run to its end: `skipped` or `stopped`."""

    task: str
    state: State


@dataclass(frozen=True, slots=True)
class MetricsLogged(Event):
    """Values that a task logged since the event before, by metric. Told in batches, so that no loop floods the run."""

    task: str
    attempt: int
    metrics: Mapping[str, Series]


@dataclass(frozen=True, slots=True)
class ParamsLogged(Event):
    """params: a number, a boolean, None or a short text each."""

    task: str
    attempt: int
    params: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class ArtifactLogged(Event):
    """Something to look at, logged or returned; its value is in the store, where the run is recorded."""

    task: str
    attempt: int
    name: str
    artifact: Artifact


@dataclass(frozen=True, slots=True)
class RunFinished(Event):
    """state: `succeeded`, `failed` or `stopped`."""

    run: str
    state: str
    duration_s: float
    error: str


Listener: TypeAlias = Callable[[Event], None]


class Journal:
    """Takes events from any thread without waiting, and tells them on a thread of its own.

    write: takes whole batches (the record); listeners take one event at a time. A listener that raises is
    named in `notes` and in the log, and is told nothing more.
    """

    __slots__ = ("_closing", "_idle", "_listeners", "_notes", "_told", "_wake", "_write", "active")

    def __init__(
        self,
        listeners: Sequence[Listener],
        notes: list[str],
        write: Callable[[Sequence[Event]], None] | None = None,
    ) -> None:
        self._listeners = list(listeners)
        self._notes = notes
        self._write = write
        self._told: deque[Event | Callable[[], Sequence[Event]]] = deque()
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._idle: threading.Thread | None = None
        self.active = bool(listeners) or write is not None

    def start(self) -> None:
        if self.active:
            self._idle = threading.Thread(target=self._loop, name="grandpa-journal", daemon=True)
            self._idle.start()

    def tell(self, event: Event) -> None:
        """Callers ask `active` first, to save making the event."""
        self._told.append(event)
        if not self._wake.is_set():
            self._wake.set()

    def tell_later(self, events: Callable[[], Sequence[Event]]) -> None:
        """Events that are asked for when their turn comes: what has come together by then is told at once."""
        self._told.append(events)
        if not self._wake.is_set():
            self._wake.set()

    def close(self, timeout_s: float | None = None) -> None:
        """All that was told has been heard when this returns, or the time is over."""
        if self._idle is not None:
            self._closing.set()
            self._wake.set()
            self._idle.join(timeout_s)
            self._idle = None
            self.active = False

    def _loop(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            closing = self._closing.is_set()
            batch: list[Event] = []
            while self._told:
                told = self._told.popleft()
                if isinstance(told, Event):
                    batch.append(told)
                else:
                    batch.extend(told())
            if self._write is not None and batch:
                self._write(batch)
            for listener in tuple(self._listeners):
                self._hear(listener, batch)
            if closing:
                return
            self._closing.wait(_BATCH_EVERY_S)  # what happens meanwhile makes one batch

    def _hear(self, listener: Listener, batch: Sequence[Event]) -> None:
        try:
            for event in batch:
                listener(event)
        except Exception as error:
            self._listeners.remove(listener)
            name = getattr(listener, "__qualname__", type(listener).__qualname__)
            note = f"the listener {name} failed ({type(error).__name__}: {error}); it hears nothing more of this run"
            self._notes.append(note)
            _LOG.warning(note, exc_info=error)
