"""What the parts of a conductor share: one run on one crew. Only the conductor's thread touches it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from grandpa_kfp_runtime.errors import GrandpaError

from ..control import Evaluate
from ..growth import Growth, TaskTable
from ..ledger import Ledger
from ..memo.memo import Memo
from ..resources import Budget
from ..scheduler import Schedule
from .briefs import Briefs
from .crew import Crew
from .hands import Hand
from .outputs import Outputs
from .parcels import Key
from .specs import Failed, Finished

_OF_MAPS = ".map"
"""How keys of the nodes of maps end, whose bodies run again where their worker has ended before it has told all."""


class Growing:
    """A task whose body has returned calls. hand: the worker that has more of them, None where there are no more;
    asked: whether it has been asked for the next; decides: of a branch or loop, whether there may be more of it;
    gathers: whether a worker makes its outputs by now; deaths: how many workers that did something for it have
    ended."""

    __slots__ = ("asked", "deaths", "decides", "gathers", "growth", "hand")

    def __init__(self, growth: Growth, hand: Hand | None, *, decides: bool = False) -> None:
        self.growth = growth
        self.hand = hand
        self.asked = False
        self.decides = decides
        self.gathers = False
        self.deaths = 0


@dataclass(slots=True)
class State:
    """budget: who holds what of the machine, which the schedule sees to; evaluate: reads, in this process, what
    branches and loops decide by; growing: the tasks that have become others,
    and have not ended; stopped: nothing more is given out."""

    crew: Crew
    table: TaskTable
    briefs: Briefs
    outputs: Outputs
    schedule: Schedule
    ledger: Ledger
    budget: Budget
    evaluate: Evaluate
    memo: Memo | None = None
    growing: dict[int, Growing] = field(default_factory=dict)
    stopped: bool = False

    def release(self, task: int) -> None:
        """The task reads its inputs no more."""
        for source in self.briefs[task].sources:
            if type(source[0]) is str:
                self.outputs.used(source)

    def may_recall(self, task: int) -> bool:
        """Whether the result of an earlier run may stand for the task."""
        return self.memo is not None and self.memo.may_recall(task)

    def takes(self, task: int, key: Key) -> bool:
        """Whether the task reads the output, and will never ask for it again."""
        brief = self.briefs[task]
        once = not (self.ledger.policies[task].retries or task in self.growing or brief.node.endswith(_OF_MAPS))
        return once and key in brief.sources

    def not_run(self, task: int, duration_s: float, error: GrandpaError) -> Failed:
        """A failure that no worker could tell of."""
        told = self.briefs.report(task, self.ledger.runs[task].attempts, error)
        return Failed(task, 0.0, duration_s, type(told).__name__, f"{type(error).__name__}: {error}", str(told), b"")


class Ends(Protocol):
    """Who hears how tasks end: the conductor."""

    def complete(self, finished: Finished) -> None:
        """The task has ended, and its outputs are where others find them."""
        ...

    def fail(self, failed: Failed) -> None:
        """An attempt at the task has failed."""
        ...

    def tell_ready(self, tasks: list[int]) -> None:
        """Tasks are ready that were not."""
        ...
