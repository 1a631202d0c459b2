"""A task's records in the store: `runs/<run id>/<task>/<uuid>/<attempt>/{started,logged,failure,done}.json`.

`logged` holds what the task has logged while it runs; `failure` and `done` hold all of it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..contract import ENV_ATTEMPT
from ..errors import GrandpaError
from ..redaction import Redactor
from ..stores.base import Store
from ..typespec import Json
from .executor_io import Place

_FAILURE_LIMIT_S = 20.0
"""Kubernetes kills a stopped pod after 30 s: by then the report must stand somewhere."""


def attempt_name(env: Mapping[str, str] = os.environ) -> str:
    """What tells this attempt from others of the same task: the engine's word, else time and pod."""
    now = time.time()
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now))
    return env.get(ENV_ATTEMPT) or f"{stamp}.{int(now * 1000) % 1000:03d}Z-{os.uname().nodename}"


@dataclass(frozen=True, slots=True)
class Records:
    """Where one attempt's records go; secrets are taken out of them on the way."""

    store: Store
    place: Place
    attempt: str
    redactor: Redactor

    def put(self, name: str, record: Mapping[str, Json]) -> None:
        """Writes `started`, `logged`, `failure` or `done`. Raises the store's errors."""
        place = self.place
        path = f"runs/{place.run_id}/{place.task}/{place.uuid}/{self.attempt}/{name}.json"
        self.store.put_record(path, self.redactor.json(dict(record)))

    def attempts(self) -> int:
        """How many attempts at the task have begun, this one included. Raises the store's errors."""
        place = self.place
        found = self.store.list_records(f"runs/{place.run_id}/{place.task}/{place.uuid}/")
        return sum(1 for path in found if path.endswith("/started.json"))

    def put_failure(self, record: Mapping[str, Json]) -> bool:
        """Writes `failure` where the store takes it within a bounded time; whether it did."""
        return _within(_FAILURE_LIMIT_S, lambda: self.put("failure", record))


def _within(seconds: float, action: Callable[[], None]) -> bool:
    done = threading.Event()

    def run() -> None:
        try:
            action()
        except (GrandpaError, OSError):
            return  # the caller has another way to say it
        done.set()

    thread = threading.Thread(target=run, name="grandpa-failure-record", daemon=True)
    thread.start()
    thread.join(seconds)
    return done.is_set()


def producer_of(store: Store, run_id: str, handle: str) -> str:
    """The task of this run whose recorded output is the handle; empty where none is known.

    For the message about an object that is gone, so it may read a record a task.
    """
    try:
        for path in store.list_records(f"runs/{run_id}/"):
            if path.endswith("/done.json"):
                record = store.get_record(path) or {}
                if handle in record.get("outputs", {}).values():
                    return str(record.get("task", ""))
    except GrandpaError:
        return ""  # the store that lost the object may answer nothing else either
    return ""
