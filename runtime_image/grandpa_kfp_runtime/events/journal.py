"""The one thread of a run that tells events.

Engines tell a `Journal` what happened; its thread hands the events, in order and in batches, to the
record and to the run's listeners: functions of one event, called one after the other, never two at once.
"""

from __future__ import annotations

import contextvars
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from .kinds import Event
from .subscribers import Listener, Subscriber, as_listener, name_of

_LOG = logging.getLogger("grandpa_kfp.engine")
_BATCH_EVERY_S = 0.02


class Journal:
    """Takes events from any thread without waiting, and tells them on a thread of its own.

    write: takes whole batches (the record); listeners take one event at a time. A listener that raises is
    named to `note` and in the log, and is told nothing more. echo: hears what is told, before listeners do, but
    nothing needs to be told for its sake (`active`). Raises TypeError for a listener that is none.
    """

    __slots__ = (
        "_closed", "_closing", "_context", "_listeners", "_note", "_starting", "_thread", "_told", "_wake", "_write",
        "active",
    )  # fmt: skip

    def __init__(
        self,
        listeners: Iterable[Subscriber],
        note: Callable[[str], object],
        write: Callable[[Sequence[Event]], None] | None = None,
        *,
        echo: Listener | None = None,
    ) -> None:
        self._listeners = [as_listener(listener) for listener in listeners]
        self._note = note
        self._write = write
        self._told: deque[Event | Callable[[], Sequence[Event]]] = deque()
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._closed = False
        self._context = contextvars.copy_context()  # what listeners print belongs to whoever runs the workflow
        self.active = bool(self._listeners) or write is not None
        if echo is not None:
            self._listeners.insert(0, echo)

    def tell(self, event: Event) -> None:
        """Callers ask `active` first, to save making the event."""
        self._told.append(event)
        if not self._wake.is_set():
            self._rouse()

    def tell_later(self, events: Callable[[], Sequence[Event]]) -> None:
        """Events that are asked for when their turn comes: what has come together by then is told at once."""
        self._told.append(events)
        if not self._wake.is_set():
            self._rouse()

    def close(self, timeout_s: float | None = None) -> None:
        """All that was told has been heard when this returns, or the time is over."""
        with self._starting:
            self._closed = True
        if self._thread is not None:
            self._closing.set()
            self._wake.set()
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                self._note(f"a listener was still busy {timeout_s:g} s after the run; what it had not heard is lost")
            self._thread = None
        self.active = False

    def _rouse(self) -> None:
        self._wake.set()
        if self._thread is None:
            with self._starting:
                if self._thread is None and not self._closed:
                    run = self._context.run
                    thread = threading.Thread(target=run, args=(self._loop,), name="grandpa-journal", daemon=True)
                    thread.start()
                    self._thread = thread

    def _loop(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            closing = self._closing.is_set()
            batch: list[Event] = []
            for _ in range(len(self._told)):  # not more: a task may tell faster than this thread hears
                told = self._told.popleft()
                if isinstance(told, Event):
                    batch.append(told)
                else:
                    batch.extend(told())
            if self._told:
                self._wake.set()
            if self._write is not None and batch:
                self._write(batch)
            for listener in tuple(self._listeners):
                self._hear(listener, batch)
            if closing and not self._told:
                return
            self._closing.wait(_BATCH_EVERY_S)  # what happens meanwhile makes one batch

    def _hear(self, listener: Listener, batch: Sequence[Event]) -> None:
        try:
            for event in batch:
                listener(event)
        except BaseException as error:  # sys.exit() in a callback must not end the record either
            self._listeners.remove(listener)
            said = f"{type(error).__name__}: {error}"
            note = f"the listener {name_of(listener)} failed ({said}); it hears nothing more of this run"
            self._note(note)
            _LOG.warning(note, exc_info=error)
