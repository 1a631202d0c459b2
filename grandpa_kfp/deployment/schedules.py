"""Runs by the clock: a schedule of a pipeline's version on the server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from grandpa_kfp_runtime.errors import DeployError

from .server import Server
from .start import Provenance
from .upload import Version


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule on the server. cron: six fields, the first of them seconds."""

    id: str
    name: str
    cron: str
    enabled: bool
    provenance: Provenance


def cron_line(text: str) -> str:
    """A cron line as KFP takes it, whose first of six fields are the seconds. Raises DeployError.

    >>> cron_line("0 6 * * *"), cron_line("@daily")
    ('0 0 6 * * *', '@daily')
    """
    parts = text.split()
    if len(parts) == 1 and parts[0].startswith("@") and parts[0][1:].isalpha():
        return parts[0]
    if len(parts) == 5:
        parts = ["0", *parts]
    wrong = len(parts) != 6 or not all(_is_field(part, *limits) for part, limits in zip(parts, _LIMITS, strict=False))
    if wrong:
        raise DeployError(
            f'{text!r} is no schedule; write minute, hour, day, month and weekday, as in "0 6 * * *" for six '
            "o'clock (UTC) each day"
        )
    return " ".join(parts)


_LIMITS = ((0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_NAMES = frozenset((*_MONTHS, "mon", "tue", "wed", "thu", "fri", "sat", "sun"))


def _is_field(text: str, least: int, most: int) -> bool:
    """`*`, `?`, `5`, `1-5`, `*/10`, `mon-fri`, and several of them with commas."""
    for part in text.split(","):
        span, slash, step = part.partition("/")
        ends = span.split("-")
        if slash and not (step.isdigit() and int(step)):
            return False
        if span in ("*", "?"):
            continue
        if len(ends) > 2 or not all(
            end.lower() in _NAMES or (end.isdigit() and least <= int(end) <= most) for end in ends
        ):
            return False
    return True


def create_schedule(
    server: Server,
    experiment_id: str,
    version: Version,
    name: str,
    params: Mapping[str, Any],
    provenance: Provenance,
    cron: str,
) -> str:
    """Has the version run by the clock, one run at a time, and gives the schedule's id."""
    import kfp_server_api

    schedule = kfp_server_api.V2beta1RecurringRun(
        display_name=name,
        description=provenance.description(),
        experiment_id=experiment_id,
        pipeline_version_reference=kfp_server_api.V2beta1PipelineVersionReference(
            pipeline_id=version.pipeline_id, pipeline_version_id=version.version_id
        ),
        runtime_config=kfp_server_api.V2beta1RuntimeConfig(parameters=dict(params)),
        trigger=kfp_server_api.V2beta1Trigger(cron_schedule=kfp_server_api.V2beta1CronSchedule(cron=cron_line(cron))),
        max_concurrency="1",
        no_catchup=True,
        mode="ENABLE",
    )
    return str(server.create_schedule(schedule)["recurring_run_id"])


def list_schedules(server: Server) -> list[Schedule]:
    """All schedules, newest first."""
    return [_schedule(item) for item in server.schedules()]


def find_schedule(server: Server, wanted: str) -> Schedule:
    """The schedule of an id, the beginning of one, or a name. Raises DeployError."""
    found = [item for item in list_schedules(server) if item.name == wanted or item.id.startswith(wanted)]
    exact = [item for item in found if item.id == wanted] or found
    if len(exact) != 1:
        what = f"{len(exact)} schedules are called" if exact else f"{server.host} has no schedule"
        raise DeployError(f"{what} {wanted}; `grandpa schedules ls` lists them with their ids")
    return exact[0]


def _schedule(data: Mapping[str, Any]) -> Schedule:
    cron = ((data.get("trigger") or {}).get("cron_schedule") or {}).get("cron", "")
    enabled = data.get("status", data.get("mode")) in ("ENABLED", "ENABLE")
    provenance = Provenance.of_description(str(data.get("description") or ""))
    return Schedule(str(data["recurring_run_id"]), str(data.get("display_name", "")), str(cron), enabled, provenance)
