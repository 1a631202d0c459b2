"""Runs that are on a server already, as plain data: found, listed, their tasks without KFP's own pods."""

from __future__ import annotations

import datetime
import itertools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from grandpa_kfp_runtime.errors import DeployError

from .server import Server
from .start import Provenance

if TYPE_CHECKING:
    from ..engine.kfp_pipeline import YamlPipeline

ENDED = frozenset({"SUCCEEDED", "FAILED", "CANCELED", "SKIPPED"})
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_EXECUTOR = re.compile(r"executor(\(\d+\))?")
_MOST_SEARCHED = 1000
_SHORTEST_PREFIX = 4


@dataclass(frozen=True, slots=True)
class TaskView:
    """One task as the server shows it. state: KFP's (`RUNNING`), or `CACHED`. pods: of its attempts, in order."""

    id: str
    name: str
    state: str
    started: float = 0.0
    ended: float = 0.0
    error: str = ""
    pods: tuple[str, ...] = ()

    @property
    def duration_s(self) -> float:
        return max(0.0, self.ended - self.started) if self.started and self.ended else 0.0


@dataclass(frozen=True, slots=True)
class RemoteRun:
    """A run on a server. pipeline: its id and its version's. parameters: those that were given."""

    id: str
    name: str
    state: str
    created: float
    ended: float
    experiment_id: str
    provenance: Provenance
    error: str
    tasks: tuple[TaskView, ...]
    pipeline: tuple[str, str] = ("", "")
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def duration_s(self) -> float:
        return max(0.0, self.ended - self.created) if self.ended else 0.0


def run_of(data: Mapping[str, Any]) -> RemoteRun:
    """From the API's JSON."""
    return RemoteRun(
        str(data.get("run_id", "")),
        str(data.get("display_name", "")),
        str(data.get("state") or "PENDING"),
        _seconds(data.get("created_at")),
        _seconds(data.get("finished_at")),
        str(data.get("experiment_id", "")),
        Provenance.of_description(str(data.get("description") or "")),
        str((data.get("error") or {}).get("message", "")),
        tuple(tasks_of(data)),
        _pipeline_of(data),
        dict((data.get("runtime_config") or {}).get("parameters") or {}),
    )


def _pipeline_of(data: Mapping[str, Any]) -> tuple[str, str]:
    version = data.get("pipeline_version_reference") or {}
    return str(version.get("pipeline_id", "")), str(version.get("pipeline_version_id", ""))


def pipeline_of(server: Server, run: RemoteRun) -> YamlPipeline:
    """What the run was made of. Raises DeployError, and LoadError for a pipeline that is not ours."""
    from ..engine.kfp_reading import read_pipeline

    if not all(run.pipeline):
        raise DeployError(f"run {run.name} was started without an uploaded pipeline, so that none can be read")
    spec = server.version(*run.pipeline).get("pipeline_spec") or {}
    documents = [spec["pipeline_spec"], spec.get("platform_spec") or {}] if "pipeline_spec" in spec else [spec]
    return read_pipeline("\n---\n".join([json.dumps(item) for item in documents]) + "\n")


def tasks_of(data: Mapping[str, Any]) -> list[TaskView]:
    """The user's tasks: KFP also lists the run itself, a driver for each task and each task's container."""
    details = (data.get("run_details") or {}).get("task_details") or []
    by_node = {str(item.get("pod_name") or item.get("task_id")): item for item in details}
    names = {str(item.get("display_name", "")) for item in details}
    views = []
    for item in details:
        name = str(item.get("display_name", ""))
        is_driver = name.endswith("-driver") and f"{name}-driver" not in names  # a user's own has a driver itself
        if not name or name == "root" or is_driver or _EXECUTOR.fullmatch(name) or _is_group(item, by_node):
            continue
        views.append(_view(item, name, list(_containers(item, by_node))))
    return sorted(views, key=lambda view: (view.started or float("inf"), view.name))


def _is_group(item: Mapping[str, Any], by_node: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether an entry stands for a DAG inside the pipeline: what it began with is a driver, no container."""
    children = (
        by_node.get(str(child.get("pod_name") or child.get("task_id"))) for child in item.get("child_tasks") or []
    )
    return any(str(child.get("display_name", "")).endswith("-driver") for child in children if child is not None)


def _containers(item: Mapping[str, Any], by_node: Mapping[str, Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The container nodes of a task, one an attempt. Beyond them come the tasks that follow."""
    seen: set[str] = set()
    waiting = [item]
    while waiting:
        for child in waiting.pop(0).get("child_tasks") or []:
            node = str(child.get("pod_name") or child.get("task_id"))
            found = by_node.get(node)
            if found is not None and node not in seen and _EXECUTOR.fullmatch(str(found.get("display_name", ""))):
                seen.add(node)
                yield found
                waiting.append(found)


def _view(item: Mapping[str, Any], name: str, containers: list[Mapping[str, Any]]) -> TaskView:
    state = str(item.get("state") or "PENDING")
    if state == "SUCCEEDED" and containers and all(part.get("state") == "SKIPPED" for part in containers):
        state = "CACHED"
    leaves = [
        str(part["pod_name"]) for part in containers if part.get("pod_name") and not _has_attempts(part, containers)
    ]
    errors = [str((part.get("error") or {}).get("message", "")) for part in (item, *containers)]
    return TaskView(
        str(item.get("task_id", "")),
        name,
        state,
        _seconds(item.get("start_time") or item.get("create_time")),
        _seconds(item.get("end_time")),
        next((error for error in reversed(errors) if error), ""),
        tuple(leaves or ([str(item["pod_name"])] if item.get("pod_name") else [])),
    )


def _has_attempts(part: Mapping[str, Any], containers: list[Mapping[str, Any]]) -> bool:
    """Whether a node stands for several attempts, which are its children."""
    pods = {str(item.get("pod_name")) for item in containers}
    return any(str(child.get("pod_name")) in pods for child in part.get("child_tasks") or [])


def _seconds(text: Any) -> float:
    """Seconds since the epoch of an RFC 3339 time; 0 for none, and for the zero time that KFP writes for none.

    >>> _seconds("1970-01-01T00:01:00.5Z"), _seconds("1970-01-01T00:00:00Z"), _seconds(None)
    (60.5, 0.0, 0.0)
    """
    if not isinstance(text, str):
        return 0.0
    try:
        plain = re.sub(r"\.(\d+)", lambda found: f".{found[1]:0<6.6}", text)  # Go writes up to nine digits
        plain = plain.replace("Z", "+00:00")
        return max(0.0, datetime.datetime.fromisoformat(plain).timestamp())
    except ValueError:
        return 0.0


# --- finding ---------------------------------------------------------------------------------------


def find_run(server: Server, wanted: str) -> RemoteRun:
    """The run of an id, the beginning of one, or a name (the newest of it). Raises DeployError."""
    if _UUID.fullmatch(wanted):
        return run_of(server.run(wanted))
    matches: dict[str, str] = {}
    for data in itertools.islice(server.runs(), _MOST_SEARCHED):
        run_id = str(data.get("run_id", ""))
        if data.get("display_name") == wanted:
            return run_of(server.run(run_id))
        if len(wanted) >= _SHORTEST_PREFIX and run_id.startswith(wanted):
            matches[run_id] = str(data.get("display_name", ""))
    if len(matches) == 1:
        return run_of(server.run(next(iter(matches))))
    if matches:
        raise DeployError(f"{len(matches)} runs begin with {wanted}: {', '.join(sorted(matches)[:5])}")
    raise DeployError(f"{server.host} has no run {wanted}; `grandpa ps` lists them", status=404)


def list_runs(server: Server, *, most: int = 20, tags: Mapping[str, str] | None = None) -> list[RemoteRun]:
    """The newest runs, those with all of the tags."""
    wanted = dict(tags or {})
    found = (run_of(data) for data in itertools.islice(server.runs(), _MOST_SEARCHED))
    return list(itertools.islice((run for run in found if wanted.items() <= run.provenance.tags.items()), most))


def terminate(server: Server, run: RemoteRun) -> None:
    """Asks the server to stop a run. Raises DeployError where it has ended already."""
    if run.state in ENDED:
        raise DeployError(f"run {run.name} ({run.id}) has ended already: {run.state.lower()}")
    server.terminate(run.id)


def retry(server: Server, run: RemoteRun) -> None:
    """Runs what failed once more, in the same run. Raises DeployError where nothing did."""
    if run.state not in ("FAILED", "CANCELED"):
        raise DeployError(f"run {run.name} ({run.id}) is {run.state.lower()}; only one that failed can be retried")
    server.retry(run.id)
