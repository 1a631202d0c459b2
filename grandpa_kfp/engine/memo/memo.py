"""What one run takes from the results of earlier ones, and leaves for later ones.

Lanes of threads, several at once, and the conductor of worker processes ask `recall` before a task begins; the
ledger tells `remember` when one has succeeded. New results are written by a thread of their own, in batches.
Only tasks of the graph itself count: what bodies add is part of the task that grew.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from grandpa_kfp_compiler.graph import Call, TaskOutput
from grandpa_kfp_compiler.options.rules import time_to_live_s
from grandpa_kfp_runtime.errors import StoreError
from grandpa_kfp_runtime.logged.entries import Logged
from grandpa_kfp_runtime.stores.base import Store

from ..control import control_of
from .identity import Identities, Identity
from .results import Batch, Result, folder_of, is_there, read_batches

if TYPE_CHECKING:
    from ..growth import TaskTable
    from ..run import Run

_WRITE_EVERY_S = 2.0
"""What a killed run loses at most."""


@dataclass(frozen=True, slots=True)
class Caching:
    """on: results are taken and left; force: tasks that run in any case, by task, node or pattern."""

    on: bool = True
    force: Sequence[str] = ()


CACHING = Caching()


def is_fresh(call: Call, result: Result, now: float) -> bool:
    """Whether the result is young enough for what the task's `cache` says."""
    limit = call.options.cache
    return not isinstance(limit, str) or now - result.at <= time_to_live_s(limit)


class Memo:
    """store: of the run, where the results of earlier ones are too; force: the ids of tasks that run in any case;
    note: told once when the store fails, after which nothing is taken or left any more.

    given: handles of outputs that are known before the run.
    """

    def __init__(
        self,
        run: Run,
        table: TaskTable,
        identities: Identities,
        store: Store,
        force: frozenset[str],
        note: Callable[[str], None],
    ) -> None:
        self._run = run
        self._table = table
        self._identities = identities
        self._store = store
        self._force = force
        self._note = note
        self.given: dict[tuple[str, str], str] = {}
        self._of: dict[int, Identity | None] = {}
        self._known: dict[str, dict[str, Result]] = {}
        self._prints: dict[str, set[str]] = {}
        self._lock = threading.Lock()
        self._alive = True
        self._unfit: set[str] = set()
        self._new: dict[tuple[str, str], Batch] = {}
        self._written = 0
        self._closing = threading.Event()
        self._writer: threading.Thread | None = None

    def recall(self, task: int) -> Result | None:
        """The result of an earlier run that stands for running the task. Asked again it is None."""
        if task in self._of or not self._alive or self._table.is_added(task):
            return None
        identity = self.identify(task)
        call = self._table.calls[task]
        if identity is None or call.id in self._force:
            return None
        result = self._results(identity.node).get(identity.key)
        if result is None or not is_fresh(call, result, time.time()):
            return None
        try:
            return result if is_there(self._store, result) else None
        except StoreError as error:
            self._give_up(error)
            return None

    def may_recall(self, task: int) -> bool:
        """Whether `recall` may find something, for a task whose inputs are not there yet."""
        if not self._alive or self._table.is_added(task) or task in self._of:
            return False
        call = self._table.calls[task]
        if call.options.cache is False or call.id in self._force or control_of(call) is not None:
            return False
        code = self._identities.code(call, self._table.bounds[task])
        self._results(call.node.key)
        return not isinstance(code, str) and code[0] in self._prints[call.node.key]

    def identify(self, task: int) -> Identity | None:
        """The task's key, kept for `remember`: while its inputs are known."""
        if task in self._of:
            return self._of[task]
        with self._lock:
            found = self._identities.of(self._table.calls[task], self._table.bounds[task], self._handle)
        identity = self._of[task] = None if isinstance(found, str) else found
        return identity

    def remember(self, task: int, duration_s: float, outputs: Mapping[str, str], logged: Logged) -> None:
        """The task has succeeded."""
        if not self._alive or self._table.is_added(task):
            return
        identity = self.identify(task)
        call = self._table.calls[task]
        if call.id in self._unfit or identity is None or outputs.keys() != set(call.node.outputs):
            return
        code = self._identities.code(call, self._table.bounds[task])
        parts = {} if isinstance(code, str) else code[1]
        run = self._run.id
        result = Result(call.id, run, time.time(), duration_s, identity.inputs, outputs, logged)
        with self._lock:
            batch = self._new.get((identity.node, identity.fingerprint))
            if batch is None:
                batch = Batch(identity.node, identity.fingerprint, parts, run)
                self._new[identity.node, identity.fingerprint] = batch
            batch.results[identity.key] = result
            if self._writer is None:
                self._writer = threading.Thread(target=self._write_often, name="grandpa-memo", daemon=True)
                self._writer.start()

    def fell_back(self, task: int) -> None:
        """The task failed, and its fallback is its result: no result of what has grown it, however far up, is kept."""
        above = self._table.runs[task].parent
        while above and above not in self._unfit:
            self._unfit.add(above)
            above = self._run.tasks[above].parent

    def close(self) -> None:
        """All that was remembered is written when this returns."""
        self._closing.set()
        if self._writer is not None:
            self._writer.join()
            self._writer = None
        self._write()

    def _handle(self, output: TaskOutput) -> str | None:
        made = self._run.tasks.get(output.task)
        return self.given.get((output.task, output.output)) if made is None else made.outputs.get(output.output)

    def _results(self, node: str) -> dict[str, Result]:
        found = self._known.get(node)
        if found is not None:
            return found
        with self._lock:
            found = self._known.get(node)
            if found is None:
                found, prints = {}, set()
                try:
                    for batch in read_batches(self._store, node):
                        found.update(batch.results)
                        prints.add(batch.fingerprint)
                except StoreError as error:
                    self._give_up(error)
                self._prints[node] = prints
                self._known[node] = found
        return found

    def _write_often(self) -> None:
        while not self._closing.wait(_WRITE_EVERY_S):
            self._write()

    def _write(self) -> None:
        with self._lock:
            batches, self._new = list(self._new.values()), {}
        for batch in batches if self._alive else ():
            self._written += 1
            try:
                self._store.put_record(f"{folder_of(batch.node)}{batch.run}-{self._written}.json", batch.to_json())
            except StoreError as error:
                self._give_up(error)
                return

    def _give_up(self, error: StoreError) -> None:
        first, self._alive = self._alive, False
        if first:
            self._note(f"results of earlier runs are neither taken nor left ({error}); the run goes on without")
