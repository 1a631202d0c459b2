"""What one run takes from the results of earlier ones, and leaves for later ones.

Lanes of threads, several at once, and the conductor of worker processes ask `recall` before a task begins; the
ledger tells `remember` when one has succeeded. New results are written by a thread of their own, in batches.

Tasks in branches, loops and maps, and those that a body has called, count like any other. Since there may be very many
that take no time, of those that last less than `LASTS_S` only some are kept, and looked for no longer than it pays.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from grandpa_kfp_compiler.graph import Call
from grandpa_kfp_compiler.options.rules import time_to_live_s
from grandpa_kfp_runtime.errors import StoreError
from grandpa_kfp_runtime.logged.entries import Logged
from grandpa_kfp_runtime.stores.base import Store

from ...forcing import Forced
from ..control import control_of
from .identity import Identities, Identity, Place
from .results import Result, is_there, read_batches
from .writing import ResultWriter

if TYPE_CHECKING:
    from ..growth import TaskTable
    from ..run import Run

LASTS_S = 0.01
"""Inner tasks that take this long, or longer, are worth a record each."""
MOST_SHORT = 500
"""Inner tasks of one node that take less, of which a run leaves results."""
_MOST_MISSED = 256
"""Inner tasks of a node, one after the other, without a result: short ones are not looked for any longer."""
_PAYS_S = 0.001
"""What results of a node have taken on the average, so that looking for them pays always."""


@dataclass(frozen=True, slots=True)
class Caching:
    """on: results are taken and left; force: tasks that run in any case, by task, node or pattern."""

    on: bool = False
    force: Sequence[str] = ()


NO_CACHING = Caching()


def is_fresh(call: Call, result: Result, now: float) -> bool:
    """Whether the result is young enough for what the task's `cache` says."""
    limit = call.options.cache
    return not isinstance(limit, str) or now - result.at <= time_to_live_s(limit)


@dataclass(frozen=True, slots=True)
class _Kept:
    """What a result of a task will be written under. outputs: their names; parts: what the code consists of."""

    identity: Identity
    outputs: tuple[str, ...]
    parts: Mapping[str, str]


class _Known:
    """Results of one node. prints: fingerprints that have some; lasting: whether it pays always to look for one."""

    __slots__ = ("lasting", "missed", "prints", "results", "short")

    def __init__(self) -> None:
        self.results: dict[str, Result] = {}
        self.prints: set[str] = set()
        self.lasting = False
        self.missed = 0  # inner tasks that were asked for last, and had none
        self.short = 0  # results of short inner tasks that this run leaves


class Memo:
    """store: of the run, where the results of earlier ones are too; force: the tasks that run in any case;
    note: told once when the store fails, after which nothing is taken or left any more.

    given: handles of outputs that are known before the run.
    """

    def __init__(
        self,
        run: Run,
        table: TaskTable,
        identities: Identities,
        store: Store,
        force: Forced,
        note: Callable[[str], None],
    ) -> None:
        self._run = run
        self._table = table
        self._own = table.own
        self._identities = identities
        self._store = store
        self._force = force
        self._note = note
        self.given: dict[tuple[str, str], str] = {}
        self._of: dict[int, _Kept | None] = {}
        self._known: dict[str, _Known] = {}
        self._forced: dict[int, bool] = {}
        self._lock = threading.Lock()
        self._alive = True
        self._unfit: set[str] = set()
        self._writer = ResultWriter(store, run.id, self._give_up)

    def recall(self, task: int) -> Result | None:
        """The result of an earlier run that stands for running the task. Asked again it is None."""
        if not self._alive or task in self._of:
            return None
        inner = task >= self._own
        if inner and not self.may_recall(task):
            return None
        kept = self.identify(task)
        if kept is None or self._is_forced(task):
            return None
        known = self._of_node(kept.identity.node)
        result = known.results.get(kept.identity.key)
        found = result if result is not None and self._counts(task, result) else None
        if inner:
            known.missed = 0 if found is not None else known.missed + 1
            if found is not None:
                self._of.pop(task, None)
        return found

    def may_recall(self, task: int) -> bool:
        """Whether `recall` may find something, for a task whose inputs need not be there yet."""
        if not self._alive or task in self._of:
            return False
        call = self._table.calls[task]
        known = self._known.get(call.node.key) or self._of_node(call.node.key)
        if not known.prints or (task >= self._own and not known.lasting and known.missed >= _MOST_MISSED):
            return False
        options = call.options
        if options.cache is False or options.always or control_of(call) is not None or self._is_forced(task):
            return False
        code = self._identities.code(call, self._table.bounds[task], self._place(task).targets)
        return not isinstance(code, str) and code[0] in known.prints

    def identify(self, task: int) -> _Kept | None:
        """The task's key, kept for `remember`: while its inputs are known."""
        if task in self._of:
            return self._of[task]
        call, bound, place = self._table.calls[task], self._table.bounds[task], self._place(task)
        with self._lock:
            found = self._identities.of(call, bound, self._handle, place)
            code = self._identities.code(call, bound, place.targets)
        kept = None
        if not isinstance(found, str) and not isinstance(code, str):
            kept = _Kept(found, call.node.outputs, code[1])
        self._of[task] = kept
        return kept

    def leaving(self, task: int) -> None:
        """An inner task has ended, and is about to be forgotten: its key is made where a result of it may be kept."""
        if task < self._own or task in self._of or not self._alive:
            return
        call = self._table.calls[task]
        known = self._known.get(call.node.key) or self._of_node(call.node.key)
        if known.short < MOST_SHORT or time.time() - self._table.runs[task].started >= LASTS_S:
            self.identify(task)

    def remember(self, task: int, duration_s: float, outputs: Mapping[str, str], logged: Logged) -> None:
        """The task has succeeded."""
        if not self._alive:
            return
        inner = task >= self._own
        kept = self._of.pop(task, None) if inner else self.identify(task)
        if kept is None:
            return
        run = self._table.runs[task]
        if run.id in self._unfit or outputs.keys() != set(kept.outputs):
            return
        if inner and duration_s < LASTS_S:
            known = self._known[kept.identity.node]
            if known.short >= MOST_SHORT:
                return
            known.short += 1
        result = Result(run.id, self._run.id, time.time(), duration_s, kept.identity.inputs, outputs, logged)
        self._writer.add(kept.identity, kept.parts, result)

    def fell_back(self, task: int) -> None:
        """The task failed, and its fallback is its result: no result of what has grown it, however far up, is kept."""
        self._of.pop(task, None)
        above = self._table.runs[task].parent
        while above and above not in self._unfit:
            self._unfit.add(above)
            above = self._run.tasks[above].parent

    def close(self) -> None:
        """All that was remembered is written when this returns."""
        self._writer.close()

    def _counts(self, task: int, result: Result) -> bool:
        """Whether the result is young enough, and its objects are there."""
        if not is_fresh(self._table.calls[task], result, time.time()):
            return False
        try:
            return is_there(self._store, result, renew=True)
        except StoreError as error:
            self._give_up(error)
            return False

    def _is_forced(self, task: int) -> bool:
        """Whether the task, or one that became it, is to run in any case."""
        if not self._force:
            return False
        found = self._forced.get(task)
        if found is None:
            call, above = self._table.calls[task], self._table.scopes[task].parent
            found = self._force.means(self._table.runs[task].id, call.name, call.node.name)
            found = self._forced[task] = found or (above >= 0 and self._is_forced(above))
        return found

    def _place(self, task: int) -> Place:
        scope = self._table.scopes[task]
        return Place(scope.prefix, scope.targets if scope.parent >= 0 else None)

    def _handle(self, task: str, output: str) -> str | None:
        made = self._run.tasks.get(task)
        return self.given.get((task, output)) if made is None else made.outputs.get(output)

    def _of_node(self, node: str) -> _Known:
        found = self._known.get(node)
        if found is not None:
            return found
        with self._lock:
            found = self._known.get(node)
            if found is None:
                found = _Known()
                try:
                    for batch in read_batches(self._store, node):
                        found.results.update(batch.results)
                        found.prints.add(batch.fingerprint)
                except StoreError as error:
                    self._give_up(error)
                took_s = sum(result.duration_s for result in found.results.values())
                found.lasting = took_s >= _PAYS_S * len(found.results)
                self._known[node] = found
        return found

    def _give_up(self, error: StoreError) -> None:
        first, self._alive = self._alive, False
        if first:
            self._note(f"results of earlier runs are neither taken nor left ({error}); the run goes on without")
