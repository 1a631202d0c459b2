"""What the tasks of a run left in its store: `runs/<run>/<task>/<uuid>/<attempt>/{started,logged,failure,done}.json`.

For `inspecting.py`. Of each task its last attempt counts; of tasks with the same name, which stand in different
groups, the second is `name#2`, in the order in which they began.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from grandpa_kfp_runtime.stores import Store

Record = Mapping[str, Any]
_KINDS = ("started", "logged", "done", "failure")
_READERS = 8


@dataclass(frozen=True, slots=True)
class TaskRecords:
    """By task. failure: empty where the last attempt did not fail; logged: of one that was killed, or still runs."""

    started: dict[str, Record] = field(default_factory=dict)
    done: dict[str, Record] = field(default_factory=dict)
    failure: dict[str, Record] = field(default_factory=dict)
    logged: dict[str, Record] = field(default_factory=dict)


def read_records(store: Store, run_id: str, kinds: Collection[str] = _KINDS) -> TaskRecords:
    """The records of a run's tasks, of these kinds. Raises StoreError."""
    last: dict[tuple[str, ...], tuple[str, dict[str, str]]] = {}
    for path in store.list_records(f"runs/{run_id}/"):
        *place, attempt, name = path.split("/")
        kind = name.removesuffix(".json")
        if kind not in _KINDS:
            continue
        known = last.get(tuple(place))
        if known is None or _order(attempt) > _order(known[0]):
            last[tuple(place)] = attempt, {kind: path}
        elif attempt == known[0]:
            known[1][kind] = path
    chosen = [{kind: path for kind, path in files.items() if kind in kinds} for _, files in last.values()]
    wanted = [path for files in chosen for path in files.values()]
    with ThreadPoolExecutor(_READERS) as readers:
        read = dict(zip(wanted, readers.map(store.get_record, wanted), strict=True))
    found = TaskRecords()
    tasks = [{kind: record for kind, path in files.items() if isinstance(record := read[path], dict)}
             for files in chosen]  # fmt: skip
    tasks = sorted((task for task in tasks if task), key=_began)
    for name, task in zip(numbered([_name(task) for task in tasks]), tasks, strict=True):
        for kind, record in task.items():
            getattr(found, kind)[name] = record
    return found


def numbered(names: Iterable[str]) -> list[str]:
    """The names, where one comes again with its number behind.

    >>> numbered(["add", "sub", "add"])
    ['add', 'sub', 'add#2']
    """
    seen: Counter[str] = Counter()
    made = []
    for name in names:
        seen[name] += 1
        made.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return made


def _order(attempt: str) -> tuple[int, str]:
    """Local engines count attempts; elsewhere their names begin with the time."""
    return (int(attempt), "") if attempt.isdecimal() else (0, attempt)


def _name(task: Mapping[str, Record]) -> str:
    return str(next(iter(task.values())).get("task", ""))


def _began(task: Mapping[str, Record]) -> float:
    return float(task.get("started", {}).get("started_at") or 0)
