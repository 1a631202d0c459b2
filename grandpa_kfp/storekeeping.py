"""What lies in a project's store, which runs need it, and the removal of what none does: `grandpa store`.

For stores in a folder. Needed is whatever a record names: of runs here, of tasks in the store, results of earlier
runs (`memo/`), installed packages (`packages/`). Names are looked for in the records' text: whatever is spelled like
a key counts as one, so that nothing is overlooked.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grandpa_kfp_runtime.errors import GrandpaError, LoadError, ParameterError

if TYPE_CHECKING:
    from grandpa_kfp_runtime.stores.file import FileStore

DAY_S = 86_400.0
_KEY = re.compile(rb"(?<![A-Za-z0-9_-])[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])")
_RUNS, _MEMO = "runs/", "memo/"


@dataclass(frozen=True, slots=True)
class Stored:
    """One object. at: seconds since the epoch when it was written, or asked for to be written, last."""

    size_bytes: int
    at: float


@dataclass(frozen=True, slots=True)
class RunInStore:
    """A run recorded here. objects: the keys of those that its record names and that are there."""

    id: str
    name: str
    state: str
    ended: float
    objects: frozenset[str]


@dataclass(frozen=True, slots=True)
class Contents:
    """objects: by key; runs: those recorded here, oldest first; named: the objects that records in the store name."""

    objects: Mapping[str, Stored]
    runs: tuple[RunInStore, ...]
    named: frozenset[str]

    @property
    def size_bytes(self) -> int:
        return self.size_of(self.objects)

    def size_of(self, keys: Iterable[str]) -> int:
        return sum(self.objects[key].size_bytes for key in keys)


@dataclass(frozen=True, slots=True)
class Garbage:
    """What a collection removes: runs recorded here, records in the store, objects, with the bytes of these."""

    runs: tuple[str, ...]
    records: tuple[str, ...]
    objects: tuple[str, ...]
    size_bytes: int


def folder_store(store: str | Path | None, root: Path) -> FileStore:
    """The project's store, or the folder that is given. Raises ParameterError for a store of another kind."""
    from grandpa_kfp_runtime.stores import open_store
    from grandpa_kfp_runtime.stores.file import FileStore

    opened = open_store(store or root / ".grandpa" / "store")
    if not isinstance(opened, FileStore):
        raise ParameterError(
            f"{store} is no folder: others may keep runs in a shared store that nobody here knows of; "
            "let the bucket's own lifecycle rules remove what is old"
        )
    return opened


def contents(store: FileStore, root: Path) -> Contents:
    """Everything in the store. root: of the project whose runs are recorded in `.grandpa/runs`."""
    objects = {key: Stored(size, at) for key, size, at in store.objects()}
    lists = _Lists(store, objects)
    runs = tuple([_run(root, name, lists) for name in _run_names(root)])
    named: set[str] = set()
    for path in store.list_records():
        named |= lists.keys_in(store.root / path)
    return Contents(objects, runs, frozenset(named))


def garbage(store: FileStore, root: Path, keep_days: float, now: float | None = None) -> Garbage:
    """What nobody needs: runs that ended more than so many days ago, and objects that nothing else names.

    A run that has not ended counts by its last sign of life. Results of earlier runs are kept as long as runs are,
    those of kept runs in any case; installed packages always. Nothing younger than a day is ever garbage.
    """
    at = time.time() if now is None else now
    since = at - max(keep_days, 1.0) * DAY_S
    found = contents(store, root)
    kept = {run.id: run for run in found.runs if run.ended >= since}
    records = _old_records(store, kept, since)
    lists = _Lists(store, found.objects)
    needed = {key for run in kept.values() for key in run.objects}
    for path in set(store.list_records()) - set(records):
        needed |= lists.keys_in(store.root / path)
    objects = sorted(key for key, item in found.objects.items() if key not in needed and item.at < at - DAY_S)
    runs = tuple(run.id for run in found.runs if run.id not in kept)
    return Garbage(runs, records, tuple(objects), found.size_of(objects))


def collect(store: FileStore, root: Path, found: Garbage, now: float | None = None) -> None:
    """Removes garbage: what names objects before the objects. Raises StoreError, OSError."""
    young = (time.time() if now is None else now) - DAY_S
    for run in found.runs:
        shutil.rmtree(root / ".grandpa" / "runs" / run)
    for path in found.records:
        store.remove_record(path)
    for key in found.objects:
        store.remove(key, older_than=young)
    store.remove_left_over(older_than=young)


def _old_records(store: FileStore, kept: Collection[str], since: float) -> tuple[str, ...]:
    """Records of tasks of runs, and results of runs, that are neither young nor of a kept run."""
    ended: dict[str, float] = {}
    of: dict[str, str] = {}
    for path in store.list_records():
        if path.startswith(_RUNS):
            of[path] = path.split("/")[1]
        elif path.startswith(_MEMO):
            of[path] = path.rpartition("/")[2].rpartition("-")[0]
    for path, run in of.items():
        ended[run] = max(ended.get(run, 0.0), _time_of(store.root / path))
    return tuple(path for path, run in of.items() if ended[run] < since and run not in kept)


class _Lists:
    """The keys that a file names, those in stored lists of handles included, as far as the objects are there."""

    def __init__(self, store: FileStore, objects: Mapping[str, Stored]) -> None:
        self._store = store
        self._objects = objects
        self._inside: dict[str, tuple[str, ...]] = {}

    def keys_in(self, file: Path) -> set[str]:
        try:
            waiting = _keys(file.read_bytes())
        except FileNotFoundError:
            return set()
        found: set[str] = set()
        while waiting:
            key = waiting.pop()
            if key in self._objects and key not in found:
                found.add(key)
                waiting.extend(self._listed(key))
        return found

    def _listed(self, key: str) -> tuple[str, ...]:
        known = self._inside.get(key)
        if known is None:
            known = self._inside[key] = self._read(key)
        return known

    def _read(self, key: str) -> tuple[str, ...]:
        from grandpa_kfp_runtime.values.frames import plain
        from grandpa_kfp_runtime.values.handles import HANDLES
        from grandpa_kfp_runtime.values.objects import unpack

        try:
            encoded = unpack(self._store.read_unchecked(key))
        except (GrandpaError, ValueError, KeyError):  # damaged, or a part of a code zip: it names nothing
            return ()
        return tuple(_keys(bytes(plain(encoded.frames[0])))) if encoded.codec == HANDLES else ()


def _keys(text: bytes) -> list[str]:
    return [key.decode("ascii") for key in dict.fromkeys(_KEY.findall(text))]


def _run_names(root: Path) -> list[str]:
    from .engine.record import list_runs

    return list_runs(root)


def _run(root: Path, name: str, lists: _Lists) -> RunInStore:
    from .engine.record import read_head, read_run

    folder = root / ".grandpa" / "runs" / name
    files = [file for file in folder.iterdir() if file.is_file()]
    objects = frozenset(key for file in files for key in lists.keys_in(file))
    ended = max([_time_of(folder), *map(_time_of, files)])
    head: dict[str, Any] = {}
    with contextlib.suppress(LoadError):  # one that was cut short: its files tell all that counts here
        head = read_head(read_run(root, name))
    return RunInStore(name, str(head.get("name", "?")), str(head.get("state", "?")), ended, objects)


def _time_of(path: Path) -> float:
    try:
        return os.stat(path).st_mtime
    except FileNotFoundError:
        return 0.0


def objects_of_run(found: Contents, run_id: str) -> Iterator[tuple[str, Stored]]:
    """The objects of one run by key, the largest first. Raises LoadError where none or several begin so."""
    runs = [run for run in found.runs if run.id.startswith(run_id)]
    if len(runs) != 1:
        raise LoadError(f"{len(runs) or 'no'} runs begin with {run_id!r}; `grandpa store ls` lists them")
    keys = sorted(runs[0].objects, key=lambda key: (-found.objects[key].size_bytes, key))
    return ((key, found.objects[key]) for key in keys)
