"""Why tasks of a deployed run failed: the records that they left in the store, else what the server knows."""

from __future__ import annotations

from collections.abc import Iterable

from grandpa_kfp_runtime.errors import DeployError, GrandpaError
from grandpa_kfp_runtime.failure import format_report, reports_in
from grandpa_kfp_runtime.stores import Store

from .remote import TaskView
from .server import Server
from .task_records import Record, read_records

_HINTS = (
    ("OOMKilled", 'the container ran out of memory: give the node more, @Node(memory="4Gi")'),
    ("exit code 137", 'the container was killed, most often for memory: give the node more, @Node(memory="4Gi")'),
    ("ImagePull", "the cluster cannot pull the image: is its name right, and may the cluster read its registry?"),
    ("ErrImage", "the cluster cannot pull the image: is its name right, and may the cluster read its registry?"),
    ("DeadlineExceeded", "it ran longer than its timeout_s"),
    ("Unschedulable", "no machine has room for it: ask for less cpu, memory or gpu"),
)


def reports(server: Server, store: Store | None, run_id: str, tasks: Iterable[TaskView], why: str = "") -> list[str]:
    """A report for each failed task: from its record, its log, or the server's word. Never raises GrandpaError.

    why: what to say where the store cannot be read.
    """
    failed = [task for task in tasks if task.state == "FAILED"]
    told: dict[str, str] = {}
    try:
        records = read_records(store, run_id, ["failure"]).failure if store is not None else {}
        told = {name: formatted(record) for name, record in records.items()}
    except GrandpaError as error:
        why = str(error)
    for task in failed:
        if task.name not in told:
            told[task.name] = _from_log(server, run_id, task) or _from_server(task, why)
    return list(told.values())


def formatted(record: Record) -> str:
    """The report of a failure's record."""
    try:
        return format_report(record)
    except (KeyError, TypeError, AttributeError):  # a record of another version of ours
        return f"{record.get('task')} failed: {record.get('message', 'the record of it cannot be read')}"


def _from_log(server: Server, run_id: str, task: TaskView) -> str:
    """With the store down a task writes its report to its log."""
    for pod in reversed(task.pods):
        try:
            found = reports_in("\n".join(server.log(run_id, pod)))
        except DeployError:
            continue  # the pod's log is gone; what the server knows is all there is
        if found:
            return formatted(found[-1])
    return ""


def _from_server(task: TaskView, why: str) -> str:
    reason = task.error or "it left no report"
    hint = next((told for mark, told in _HINTS if mark.lower() in reason.lower()), "")
    lines = [f"{task.name} failed: {reason}"]
    if hint:
        lines.append(f"What to do: {hint}")
    elif task.pods:
        lines.append(f"Its pod was {task.pods[-1]}.")
    if why:
        lines.append(f"(its report cannot be read from here: {why})")
    return "\n".join(lines)
