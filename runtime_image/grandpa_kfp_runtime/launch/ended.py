"""How the tasks before an exit handler have ended: whether there is an output of the last one, and their records."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ..contract import ENV_GUARDED, Interface
from ..errors import GrandpaError
from ..failure import format_report
from ..failure_info import FailureInfo
from ..stores.base import Store
from ..typespec import Json

_KINDS = ("outcome", "failure")


def tell_how_ended(
    interface: Interface, values: dict[str, Any], store: Store, run_id: str, uris: Sequence[str], env: Mapping[str, str]
) -> bool:
    """Puts a FailureInfo, or None, in the place of each input that says whether something is missing.

    values: the inputs as they were decoded; uris: of the task's outputs, which name the pipeline.
    Returns False for a handler of failures where nothing has failed, which has nothing to do.
    """
    asked = [item for item in interface.inputs if item.kind in _KINDS]
    info = None
    if any(values[item.name] for item in asked):
        names = json.loads(env[ENV_GUARDED]) if env.get(ENV_GUARDED) else None
        info = failure_info(store, run_id, _pipeline(uris, run_id), names)
    values.update({item.name: info for item in asked})
    return info is not None or all(item.kind != "failure" for item in asked)


def _pipeline(uris: Sequence[str], run_id: str) -> str:
    """The part of an output's URI, `.../<pipeline>/<run id>/<task>/...`, that stands before the run's."""
    for uri in uris:
        before, found, _ = uri.rpartition(f"/{run_id}/")  # the run's folder here bears its id too
        if found:
            return before.rpartition("/")[2]
    return ""


def failure_info(store: Store, run_id: str, workflow: str, tasks: Collection[str] | None) -> FailureInfo:
    """What the records of a run tell of its failed tasks. tasks: those that count, None for all."""
    try:
        failed = sorted(_failed(store, run_id, tasks), key=lambda record: str(record.get("attempt", "")))
    except GrandpaError as error:
        return FailureInfo(run_id, workflow, "", f"the store does not tell of what has failed: {error}")
    if not failed:
        why = "a task has failed, or was ended, and left no record of it: its pod's log may tell"
        return FailureInfo(run_id, workflow, "", why)
    first, names = failed[0], list(dict.fromkeys(str(record["task"]) for record in failed))
    report = format_report(first)
    line = report.partition("\n")[0].partition(" failed: ")[2]
    return FailureInfo(run_id, workflow, names[0], line, report, others=tuple(names[1:]))


def _failed(store: Store, run_id: str, tasks: Collection[str] | None) -> list[dict[str, Json]]:
    """The last failure of each task that has failed for good."""
    records: dict[str, dict[str, str]] = {}
    for path in store.list_records(f"runs/{run_id}/"):
        parts = path.split("/")  # runs, id, task (a path on this machine), execution, attempt, kind
        if len(parts) >= 6 and (tasks is None or parts[-4] in tasks):
            place, kind = "/".join(parts[:-2]), parts[-1].removesuffix(".json")
            if kind != "failure" or path > records.get(place, {}).get(kind, ""):
                records.setdefault(place, {})[kind] = path
    ended = [kinds["failure"] for kinds in records.values() if "failure" in kinds and "done" not in kinds]
    return [record for record in map(store.get_record, ended) if record]
