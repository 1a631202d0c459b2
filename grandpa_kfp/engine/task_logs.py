"""What tasks log, as events: while a task runs on a thread here, or at its end from the record that it left.

Every engine tells it by `events_of`, also one that takes a result from an earlier run: what that had logged is
read back with its record (`TaskRun.logged`, `Logged.of_record`) and told again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from grandpa_kfp_runtime.code.class_fingerprints import class_fingerprint
from grandpa_kfp_runtime.contract import INLINE_LIMIT_BYTES
from grandpa_kfp_runtime.events.of_logged import events_of as events_of
from grandpa_kfp_runtime.events.of_logged import logged_in as logged_in
from grandpa_kfp_runtime.logged.entries import Artifact, Logged
from grandpa_kfp_runtime.logged.task_log import TaskLog
from grandpa_kfp_runtime.redaction import Redactor
from grandpa_kfp_runtime.stores.base import Store
from grandpa_kfp_runtime.typespec import Json
from grandpa_kfp_runtime.values.summaries import summary


class LaneLog:
    """`Sink` of the log of a task that runs in this process.

    tell: takes a function that returns what is new, to be asked soon, on another thread; keep: stores a value under
    a name, gives its handle and facts about it.
    """

    def __init__(
        self,
        tell: Callable[[Callable[[], Logged]], None],
        keep: Callable[[str, Any], tuple[str, Mapping[str, Json]]],
        redactor: Redactor,
    ) -> None:
        self._tell = tell
        self._keep = keep
        self.log = TaskLog(self, redactor)

    def wake(self) -> None:
        self._tell(self.log.take)

    def keep(self, name: str, value: Any) -> Artifact:
        from grandpa_kfp_runtime.launch.stored_log import form_kept, kept_value

        kept = kept_value(value)
        handle, facts = self._keep(name, kept)
        return Artifact(form_kept(kept), handle, facts)


def keep_value(name: str, value: Any, store: Store | None) -> tuple[str, dict[str, Json]]:
    """Stores a value that a task logs: its handle, and facts about it; both empty without a store.

    Raises TaskError for one that cannot be stored, with a store or without; the store's errors.
    """
    from grandpa_kfp_runtime.launch.outputs import store_output
    from grandpa_kfp_runtime.stores.memory import MemoryStore

    kept = store_output(name, value, store or MemoryStore(), INLINE_LIMIT_BYTES, class_fingerprint)
    return ("", {}) if store is None else (kept.handle, {"summary": summary(value), **kept.facts})
