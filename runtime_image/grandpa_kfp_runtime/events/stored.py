"""A task's events in the store, a batch an object: `.../<attempt>/events-00001.json`, `events-00002.json`, ...

A container writes them while its task runs, whoever follows the run reads them in order, each once. The number of
batches is bounded: the longer a task runs, the longer the pause between two of them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from ..errors import GrandpaError
from ..stores.base import Store
from ..typespec import Json
from .kinds import Event, ProgressMade
from .lines import from_json, to_json

FIRST_PAUSE_S = 2.0
LONGEST_PAUSE_S = 60.0
_LONGER = 1.15
MOST_BATCHES = 500
MOST_EVENTS = 2_000
"""Of one batch, above which those of progress bars are left out."""

MOST_OTHERS = 20_000
"""Of one batch without these, above which the oldest are left out. A step of thousands of short tasks has many."""


def batch_name(number: int) -> str:
    """The record of a batch, from 1, without `.json`.

    >>> batch_name(1)
    'events-00001'
    """
    return f"events-{number:05}"


class StoredEvents:
    """`write` for the `Journal` of a container. put: writes a record by its name; pause_s: between two batches.

    What goes wrong is told once, by `warn`, and is no task's failure: `done` and `failure` hold what counts.
    """

    def __init__(
        self, put: Callable[[str, Json], None], warn: Callable[[str], None], pause_s: float = FIRST_PAUSE_S
    ) -> None:
        self._put = put
        self._warn = warn
        self._pause_s = pause_s
        self._lock = threading.Lock()
        self._waiting: list[Event] = []
        self._batches = 0
        self._timer: threading.Timer | None = None
        self._given_up = False

    def write(self, events: Sequence[Event]) -> None:
        with self._lock:
            self._waiting = _bounded([*self._waiting, *events])
            if self._timer is None and self._batches < MOST_BATCHES:
                self._timer = threading.Timer(self._pause_s if self._batches else 0.0, self._due)
                self._timer.daemon = True
                self._timer.start()

    def close(self) -> None:
        """Writes the rest."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
        self._flush()

    def _due(self) -> None:
        self._flush()
        with self._lock:
            self._timer = None
            self._pause_s = min(LONGEST_PAUSE_S, self._pause_s * _LONGER)
            more = bool(self._waiting)
        if more:
            self.write(())

    def _flush(self) -> None:
        with self._lock:
            events, self._waiting = self._waiting, []
            if not events or self._given_up:
                return
            self._batches += 1
            try:
                self._put(batch_name(self._batches), {"events": [to_json(event) for event in events]})
            except (GrandpaError, OSError) as error:
                self._given_up = True
                self._warn(f"events of this task are not kept any further: {error}")


class EventReader:
    """Reads the batches of one attempt as they come. place: of its records, `runs/<run>/<task>/<uuid>/<attempt>`."""

    def __init__(self, store: Store, place: str) -> None:
        self._store = store
        self._place = place
        self.read = 0

    def new(self) -> list[Event]:
        """What has come since it was asked last, in order. Raises the store's errors."""
        found: list[Event] = []
        while (record := self._store.get_record(f"{self._place}/{batch_name(self.read + 1)}.json")) is not None:
            self.read += 1
            for data in record.get("events", ()):
                try:
                    found.append(from_json(data))
                except (ValueError, KeyError, TypeError, AttributeError, IndexError):
                    continue  # of a newer runtime, which tells more than is known here
        return found


def _bounded(events: list[Event]) -> list[Event]:
    if len(events) <= MOST_EVENTS:
        return events
    return [event for event in events if not isinstance(event, ProgressMade)][-MOST_OTHERS:]
