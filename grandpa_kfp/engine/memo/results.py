"""Records of results in a store: `memo/NODE/RUN-1.json`, a batch for each node and the run that it comes from.

A record holds results of one node under one fingerprint, and what the code consisted of, so that `grandpa plan` can
say what has changed. Batches, since a file for each of 10,000 tiny tasks would take longer than they do. Who reads
takes the newest batches; whatever is no such record is passed over.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from grandpa_kfp_runtime.errors import ObjectCorrupt
from grandpa_kfp_runtime.logged.entries import NOTHING_LOGGED, Logged
from grandpa_kfp_runtime.stores.base import Store
from grandpa_kfp_runtime.typespec import Json

FORMAT = 1
ROOM = "memo/"
MOST_BATCHES = 100
"""Of one node: older ones are forgotten, so that reading them takes no longer than the tasks would."""
_AT_ONCE = 8
_ENCODE = json.JSONEncoder(separators=(",", ":")).encode
"""Of the results, as a text in the record: stores indent what they write, which takes twenty times as long."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a task left. task, run: which it was; inputs: as in `Identity`; outputs: handles; at: seconds since the
    epoch when it had ended."""

    task: str
    run: str
    at: float
    duration_s: float
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    logged: Logged = NOTHING_LOGGED

    def to_json(self) -> Json:
        logged = {"logged": self.logged.to_json()} if self.logged else {}
        most = {"task": self.task, "at": self.at, "duration_s": self.duration_s}
        return {**most, "inputs": dict(self.inputs), "outputs": dict(self.outputs), **logged}

    @classmethod
    def from_json(cls, data: Json, run: str) -> Result:
        """What `to_json` wrote. Raises KeyError, TypeError, ValueError, AttributeError for anything else."""
        return cls(
            str(data["task"]),
            run,
            float(data["at"]),
            float(data["duration_s"]),
            {str(name): str(text) for name, text in data["inputs"].items()},
            {str(name): str(handle) for name, handle in data["outputs"].items()},
            Logged.of_record(data),
        )


@dataclass(slots=True)
class Batch:
    """Results by cache key. parts: what the code with the fingerprint consisted of."""

    node: str
    fingerprint: str
    parts: Mapping[str, str]
    run: str
    results: dict[str, Result] = field(default_factory=dict)

    def to_json(self) -> Json:
        return {
            "format": FORMAT,
            "node": self.node,
            "fingerprint": self.fingerprint,
            "run": self.run,
            "parts": dict(self.parts),
            "results": _ENCODE({key: result.to_json() for key, result in self.results.items()}),
        }

    @classmethod
    def from_json(cls, data: Json) -> Batch | None:
        """What `to_json` wrote; None for anything else."""
        try:
            if data["format"] != FORMAT:
                return None
            run = str(data["run"])
            results = {str(key): Result.from_json(item, run) for key, item in json.loads(data["results"]).items()}
            return cls(str(data["node"]), str(data["fingerprint"]), dict(data["parts"]), run, results)
        except (KeyError, TypeError, ValueError, AttributeError):
            return None


def folder_of(node: str) -> str:
    """Where the records of a node are.

    >>> folder_of("flows:train")
    'memo/a1e49d6a88e6af69626539e7/'
    """
    return f"{ROOM}{hashlib.sha256(node.encode('utf-8', 'surrogatepass')).hexdigest()[:24]}/"


def read_batches(store: Store, node: str) -> list[Batch]:
    """What is known of a node, oldest first. Raises StoreError."""
    paths = store.list_records(folder_of(node))
    newest = sorted(paths, key=lambda path: path.rpartition("/")[2])[-MOST_BATCHES:]
    return [batch for batch in _read_all(store, newest) if batch is not None and batch.node == node]


def _read_all(store: Store, paths: list[str]) -> Iterator[Batch | None]:
    if len(paths) < 2 or store.location.startswith("file:"):
        yield from (_read(store, path) for path in paths)
        return
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="grandpa-memo") as pool:
        yield from pool.map(lambda path: _read(store, path), paths)


def _read(store: Store, path: str) -> Batch | None:
    try:
        return Batch.from_json(store.get_record(path))
    except ObjectCorrupt:  # a record that was cut short: what it held is not known
        return None


def objects_of(handles: Mapping[str, str]) -> list[str]:
    """The keys of the objects that handles name."""
    return [handle[1:] for handle in handles.values() if handle.startswith("@") and ":" not in handle]


def is_there(store: Store, result: Result, *, renew: bool = False) -> bool:
    """Whether the objects of a result still exist; renew: they are going to be needed.

    Raises StoreError where the store cannot tell.
    """
    return all(store.exists(key, renew=renew) for key in objects_of(result.outputs))
