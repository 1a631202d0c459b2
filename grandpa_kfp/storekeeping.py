"""What lies in a project's store, which runs need it, and the removal of what none does: `grandpa store`.

For stores in a folder and in a bucket. Needed is whatever a record names: of runs here, of tasks in the store, results
of earlier runs (`memo/`), installed packages (`packages/`). Names are looked for in the records' text: whatever is
spelled like a key counts as one, so that nothing is overlooked.

Others may use a store that is not the project's own, and have runs that nobody here knows of: there an object that
nothing names stays as long as runs do, since whoever writes it, or takes it from an earlier run, makes it young.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from grandpa_kfp_runtime.errors import CodecError, LoadError, ObjectCorrupt, ObjectGone, ParameterError
from grandpa_kfp_runtime.stores.base import Store

if TYPE_CHECKING:
    from grandpa_kfp_runtime.values.frames import Buffer

DAY_S = 86_400.0
_KEY = re.compile(rb"(?<![A-Za-z0-9_-])[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])")
_RUNS, _MEMO, _PARTS = "runs/", "memo/", "parts/"
_AT_ONCE = 8
_One = TypeVar("_One")
_Other = TypeVar("_Other")


@runtime_checkable
class KeptStore(Store, Protocol):
    """A store that tells what it holds, and removes it. Times are seconds since the epoch."""

    def objects(self) -> Iterator[tuple[str, int, float]]:
        """Every object: key, size in bytes, when it was written, or asked for to be written, last."""
        ...

    def records(self) -> Iterator[tuple[str, float]]:
        """Every record: path, when it was written last."""
        ...

    def beginning(self, key: str) -> Buffer:
        """The first bytes of an object, its header among them; none where it is gone."""
        ...

    def remove(self, key: str, *, older_than: float) -> None:
        """Remove an object, unless it is gone, or was written since."""
        ...

    def remove_record(self, path: str) -> None:
        """Remove a record."""
        ...

    def remove_left_over(self, *, older_than: float) -> None:
        """Remove what writers that were killed have left."""
        ...


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


def kept_store(store: str | Path | None, root: Path) -> KeptStore:
    """The project's store, or the one that is given. Raises ParameterError for one that keeps nothing, StoreError."""
    from grandpa_kfp_runtime.stores import check_reachable, open_store

    opened = open_store(store or root / ".grandpa" / "store")
    if not isinstance(opened, KeptStore):
        raise ParameterError(f"{store} keeps nothing that outlives a process; give a folder, or s3://bucket/prefix")
    check_reachable(opened)
    return opened


def contents(store: KeptStore, root: Path) -> Contents:
    """Everything in the store. root: of the project whose runs are recorded in `.grandpa/runs`."""
    return _Survey(store, root).contents


def garbage(store: KeptStore, root: Path, keep_days: float, now: float | None = None) -> Garbage:
    """What nobody needs: runs that ended more than so many days ago, and objects that nothing else names.

    A run that has not ended counts by its last sign of life. Results of earlier runs are kept as long as runs are,
    those of kept runs in any case; installed packages always. Nothing younger than a day is ever garbage.
    """
    at = time.time() if now is None else now
    since = at - max(keep_days, 1.0) * DAY_S
    survey = _Survey(store, root)
    found = survey.contents
    kept = {run.id: run for run in found.runs if run.ended >= since}
    old = _old_records(survey.records, kept, since)
    needed = {key for run in kept.values() for key in run.objects}
    needed |= survey.named_by(survey.records.keys() - set(old))
    unnamed_since = at - DAY_S if _is_own(store, root) else since
    objects = sorted(key for key, item in found.objects.items() if key not in needed and item.at < unnamed_since)
    runs = tuple(run.id for run in found.runs if run.id not in kept)
    return Garbage(runs, old, tuple(objects), found.size_of(objects))


def collect(store: KeptStore, root: Path, found: Garbage, now: float | None = None) -> None:
    """Removes garbage: what names objects before the objects. Raises StoreError, OSError."""
    young = (time.time() if now is None else now) - DAY_S
    for run in found.runs:
        shutil.rmtree(root / ".grandpa" / "runs" / run)
    _side_by_side(store.remove_record, found.records)
    _side_by_side(lambda key: store.remove(key, older_than=young), found.objects)
    store.remove_left_over(older_than=young)


def _is_own(store: KeptStore, root: Path) -> bool:
    """Whether the project alone uses the store: it lies beside the records of its runs."""
    return store.location == (root / ".grandpa" / "store").absolute().as_uri()


def _old_records(records: Mapping[str, float], kept: Collection[str], since: float) -> tuple[str, ...]:
    """Records of tasks of runs, results of runs, and what code consists of, neither young nor of a kept run."""
    ended: dict[str, float] = {}
    of: dict[str, str] = {}
    for path in records:
        if path.startswith(_RUNS):
            of[path] = path.split("/")[1]
        elif path.startswith(_MEMO):
            of[path] = path.rpartition("/")[2].rpartition("-")[0]
        elif path.startswith(_PARTS):
            of[path] = path
    for path, run in of.items():
        ended[run] = max(ended.get(run, 0.0), records[path])
    return tuple(sorted(path for path, run in of.items() if ended[run] < since and run not in kept))


class _Survey:
    """What is in a store, and what in it names what. Each record is read once."""

    def __init__(self, store: KeptStore, root: Path) -> None:
        self._store = store
        self.records = dict(store.records())  # before the objects: what a record names was there before it
        self.objects = {key: Stored(size, at) for key, size, at in store.objects()}
        self._inside: dict[str, tuple[str, ...]] = {}
        paths = sorted(self.records)
        self._named = dict(zip(paths, _side_by_side(self._names, paths), strict=True))
        runs = tuple([self._run(root, name) for name in _run_names(root)])
        self.contents = Contents(self.objects, runs, frozenset(self.named_by(paths)))

    def named_by(self, paths: Iterable[str]) -> set[str]:
        """The objects that these records name."""
        return self._with_listed(key for path in paths for key in self._named[path])

    def _names(self, path: str) -> list[str]:
        try:
            text = json.dumps(self._store.get_record(path))
        except ObjectCorrupt:  # cut short: nobody can read what it names
            return []
        return _keys(text.encode())

    def _run(self, root: Path, name: str) -> RunInStore:
        from .engine.record import read_head, read_run

        folder = root / ".grandpa" / "runs" / name
        files = [file for file in folder.iterdir() if file.is_file()]
        objects = self._with_listed(key for file in files for key in _keys(_read(file)))
        ended = max([_time_of(folder), *map(_time_of, files)])
        head: dict[str, Any] = {}
        with contextlib.suppress(LoadError):  # one that was cut short: its files tell all that counts here
            head = read_head(read_run(root, name))
        return RunInStore(name, str(head.get("name", "?")), str(head.get("state", "?")), ended, frozenset(objects))

    def _with_listed(self, keys: Iterable[str]) -> set[str]:
        """Those of the keys whose objects are there, and what stored lists of handles among them name."""
        found: set[str] = set()
        waiting = self.objects.keys() & set(keys)
        while waiting:
            found |= waiting
            unread = [key for key in waiting if key not in self._inside]
            self._inside.update(zip(unread, _side_by_side(self._listed, unread), strict=True))
            waiting = (self.objects.keys() & {item for key in waiting for item in self._inside[key]}) - found
        return found

    def _listed(self, key: str) -> tuple[str, ...]:
        """What an object names: only a list of handles does."""
        from grandpa_kfp_runtime.values.frames import plain
        from grandpa_kfp_runtime.values.handles import HANDLES
        from grandpa_kfp_runtime.values.objects import read_header, unpack

        try:
            if read_header(self._store.beginning(key)).get("codec") != HANDLES:
                return ()
            return tuple(_keys(bytes(plain(unpack(self._store.read(key)).frames[0]))))
        except (ObjectCorrupt, ObjectGone, CodecError, ValueError, KeyError):  # damaged, or a part of a code zip
            return ()


def _side_by_side(act: Callable[[_One], _Other], items: Collection[_One]) -> list[_Other]:
    if len(items) < 2:
        return [act(item) for item in items]
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="grandpa-store") as pool:
        return list(pool.map(act, items))


def _keys(text: bytes) -> list[str]:
    return [key.decode("ascii") for key in dict.fromkeys(_KEY.findall(text))]


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return b""


def _run_names(root: Path) -> list[str]:
    from .engine.record import list_runs

    return list_runs(root)


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
