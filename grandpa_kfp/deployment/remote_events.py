"""The events of a run on a server, for subscribers here: what its tasks left in the store, in order, each once.

`follow.Follower` calls it whenever it has asked the server. A task that Kubeflow skips or takes from its cache leaves
nothing, and is told from the server's word.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from grandpa_kfp_runtime.errors import StoreError
from grandpa_kfp_runtime.events.journal import Journal
from grandpa_kfp_runtime.events.kinds import Event, RunFinished, RunStarted, TaskCached, TaskDropped
from grandpa_kfp_runtime.events.stored import EventReader, batch_name
from grandpa_kfp_runtime.events.subscribers import Subscriber
from grandpa_kfp_runtime.stores import Store

from .remote import ENDED, RemoteRun

_STATES = {"SUCCEEDED": "succeeded", "FAILED": "failed", "SKIPPED": "succeeded"}


class RemoteEvents:
    """Call it with the run as it is now, again and again, the last time when it has ended.

    store: of the run; None where it is not reachable: then there are the run's own events and the server's word alone.
    subscribers: called on a thread of their own; notes: why one of them, or the store, gave up.
    """

    def __init__(self, store: Store | None, subscribers: Sequence[Subscriber]) -> None:
        self._store = store
        self.notes: list[str] = []
        self._journal = Journal(subscribers, self.notes.append)
        self._readers: dict[str, EventReader] = {}
        self._told: set[str] = set()
        self._started = False

    def __call__(self, run: RemoteRun) -> None:
        if not self._started:
            self._started = True
            self._journal.tell(RunStarted(run.created, run.id, run.name, tuple([task.name for task in run.tasks])))
        for event in sorted(self._left_by_tasks(run.id), key=lambda event: event.at):
            self._journal.tell(event)
        for task in run.tasks:
            if task.state in ("CACHED", "SKIPPED") and task.id not in self._told:
                self._told.add(task.id)
                at = time.time()
                cached = task.state == "CACHED"
                self._journal.tell(TaskCached(at, task.name, {}) if cached else TaskDropped(at, task.name, "skipped"))
        if run.state in ENDED:
            state = _STATES.get(run.state, "stopped")
            self._journal.tell(RunFinished(run.ended or time.time(), run.id, state, run.duration_s, run.error))
            self._journal.close(_SUBSCRIBERS_MAY_TAKE_S)

    def _left_by_tasks(self, run_id: str) -> list[Event]:
        if self._store is None:
            return []
        found: list[Event] = []
        try:
            for path in self._store.list_records(f"runs/{run_id}/"):
                place, _, name = path.rpartition("/")
                if name == f"{batch_name(1)}.json" and place not in self._readers:
                    self._readers[place] = EventReader(self._store, place)
            for reader in self._readers.values():
                found += reader.new()
        except StoreError as error:  # asked again the next time
            if not self.notes:
                self.notes.append(f"events of tasks are not to be had: {error}")
        return found


_SUBSCRIBERS_MAY_TAKE_S = 10.0
