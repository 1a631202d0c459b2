"""What a task in a container tells of itself: its events, to the workflow's callbacks and into the store."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from ..contract import ENV_CALLBACKS, ENV_TELL
from ..events.journal import Journal
from ..events.kinds import Event, TaskFailed, TaskFinished, TaskStarted
from ..events.of_logged import events_of
from ..events.stored import FIRST_PAUSE_S, StoredEvents
from ..logged.entries import Logged
from ..stores.base import Store
from ..values.handles import from_handle
from .records import Records

_SOON_S = 0.25
"""Between two batches where an engine on this machine follows."""
_CALLBACKS_MAY_TAKE_S = 10.0
_STORE_MAY_TAKE_S = 20.0


class ToldEvents:
    """The events of one attempt. warn: told of what is wrong with a callback or the store; no task fails by it."""

    def __init__(
        self, records: Records, task: str, callbacks: list[Any], warn: Callable[[str], None], env: Mapping[str, str]
    ) -> None:
        self._task = task
        self._attempt: int | str = int(records.attempt) if records.attempt.isdecimal() else records.attempt
        self._stored = StoredEvents(records.put, warn, _SOON_S if env.get(ENV_TELL) == "record" else FIRST_PAUSE_S)
        self._journal = Journal(callbacks, warn, self._stored.write)
        self._ended = False

    def started(self, at: float) -> None:
        self._journal.tell(TaskStarted(at, self._task, self._attempt))

    def tell(self, event: Event) -> None:
        """Of a task that the step is made of."""
        self._journal.tell(event)

    def logs(self, take: Callable[[], Logged]) -> None:
        """The task logs something: `take` is asked soon for what is new."""
        self._journal.tell_later(lambda: events_of(self._task, self._attempt, take()))

    def finished(self, duration_s: float, outputs: Mapping[str, str]) -> None:
        self._end(TaskFinished(time.time(), self._task, self._attempt, duration_s, outputs))

    def failed(self, duration_s: float, error: str, report: str, fallback: Mapping[str, str] | None = None) -> None:
        self._end(TaskFailed(time.time(), self._task, self._attempt, duration_s, error, report, fallback))

    def _end(self, event: TaskFinished | TaskFailed) -> None:
        """The last event; all has been heard and written when this returns, or its time is over."""
        if self._ended:
            return
        self._ended = True
        self._journal.tell(event)
        self._journal.close(_CALLBACKS_MAY_TAKE_S)
        closing = threading.Thread(target=self._stored.close, name="grandpa-events", daemon=True)
        closing.start()
        closing.join(_STORE_MAY_TAKE_S)


def callbacks_of(env: Mapping[str, str], store: Store, warn: Callable[[str], None]) -> list[Any]:
    """The workflow's callbacks, whose code is importable by now; those that cannot be loaded are told to `warn`."""
    found = []
    for handle in json.loads(env.get(ENV_CALLBACKS) or "[]"):
        try:
            found.append(from_handle(handle, store))
        except Exception as error:  # the user's class may raise anything while it is loaded
            warn(f"a callback cannot be loaded and is told of nothing: {type(error).__name__}: {error}")
    return found
