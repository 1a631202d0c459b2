"""What the parent tells a worker of one task, and what comes back. Both directions stand side by side.

Plain tuples: 100,000 tasks cross here, and a tuple of texts and numbers is what pickle is fastest at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from .parcels import Parcel

if TYPE_CHECKING:
    from grandpa_kfp_runtime.logged.entries import Logged

    from .fragments import Fragment


class Spec(NamedTuple):
    """One task for a worker.

    interface: number of the (node key, Interface) that the worker has been told; sources: a parcel for each
    input of the interface, in order; wanted: what is done with each output (`holdings.wanted`); env: variables
    that hold while it runs, None for none; flags: see there; secrets: names of variables that reports strike out.
    """

    number: int
    id: str
    where: str
    attempt: int
    interface: int
    sources: tuple[Parcel, ...]
    wanted: tuple[int, ...]
    env: tuple[tuple[str, str], ...] | None
    flags: int
    secrets: tuple[str, ...]


VERBOSE = 1
LISTED = 2
"""Flag of a GATHER: its arguments are lists, which make one list."""
PARTS = 4
"""Of a map whose worker has ended: times this, how many of its parts are known already."""


class Finished(NamedTuple):
    """The task succeeded. started: seconds since the epoch; parcels: of the outputs that were wanted; logged: what it
    logged, None for nothing."""

    number: int
    started: float
    duration_s: float
    parcels: tuple[Parcel | None, ...]
    handles: Mapping[str, str]
    logged: Logged | None = None


class Failed(NamedTuple):
    """The attempt failed. kind: name of the TaskError's class; line, report: its text, short and whole;
    cause: what the node raised, pickled, empty where that cannot be done."""

    number: int
    started: float
    duration_s: float
    kind: str
    line: str
    report: str
    cause: bytes
    logged: Logged | None = None


class Grew(NamedTuple):
    """The task's body has returned calls. listed: their results are lists, which make one list."""

    number: int
    started: float
    duration_s: float
    listed: bool
    fragment: Fragment


Outcome: TypeAlias = "Finished | Failed | Grew"
KINDS: tuple[type[Outcome], ...] = (Finished, Failed, Grew)
"""Outcomes travel as plain tuples behind their place in this."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What a worker is told of a run, once.

    store: URI of the run's store, empty where nothing is recorded; spool: the folder of its temporary store;
    root: the folder that reports name files from; main: the name in the project of the script that the parent
    runs as `__main__`; window: how many elements of a map are under way at once; folder: the parent's current one,
    empty where it is gone; caching: whether tasks have cache keys.
    """

    run_id: str
    store: str
    spool: str
    root: str
    main: str
    window: int
    environ: dict[str, str]
    folder: str
    caching: bool = False


# The messages. From the parent:
SETTING = "setting"  # (SETTING, Setting)
INTERFACES = "interfaces"  # (INTERFACES, first number, ((node key, Interface, pickled function or None), ...))
SEGMENTS = "segments"  # (SEGMENTS, (segment number, ...)) and as many descriptors
WORK = "work"  # (WORK, lane, (Spec as a tuple, ...))
EXPORT = "export"  # (EXPORT, Key, segment number, whether it was used before) and its descriptor; none for one below 0
DROP_HELD = "drop"  # (DROP_HELD, (Key, ...))
GIVE_BACK = "back"  # (GIVE_BACK, lane): what the lane has not begun
MORE = "more"  # (MORE, task number): the next fragment of a task that has grown
EXPIRE = "expire"  # (EXPIRE, lane, number, message): its time is over
END = "end"  # (END,)
# From the worker:
READY = "ready"  # (READY,): it listens
DONE = "done"  # (DONE, lane, (outcomes), (segment numbers let go of), (notes))
EXPORTED = "exported"  # (EXPORTED, Key, segment number, layout, codec, meta), or a handle where there is no segment
NOT_EXPORTED = "not exported"  # (NOT_EXPORTED, Key, segment number, why)
BACK = "given back"  # (BACK, lane, (task numbers))
NEXT = "next"  # (NEXT, task number, Fragment, or the report of a failure)
LOGGED = "logged"  # (LOGGED, task number, attempt, Logged): what is new
EXPIRED = "expired"  # (EXPIRED, lane, Failed)
