"""What a task in a container logs: its artifacts into the store, all of it into records while it runs, and at its end
into the two artifacts that KFP draws, `logged-metrics` and `logged-artifacts`, where they are declared.
"""

from __future__ import annotations

import html
import threading
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from ..contract import INLINE_LIMIT_BYTES, LOGGED_ARTIFACTS, LOGGED_METRICS
from ..errors import GrandpaError
from ..logged.checks import to_json_number
from ..logged.entries import Artifact, Logged
from ..logged.figures import is_figure
from ..logged.kinds import Figure, form_of
from ..logged.task_log import TaskLog
from ..redaction import Redactor
from ..stores.base import Store
from ..typespec import Json
from ..values.pickling import ClassFingerprint
from .drawn import LARGEST_BYTES, page, piece
from .executor_io import ExecutorInput
from .outputs import store_output
from .records import Records

_EVERY_S = 5.0
"""A record of what was logged is written at most so often while the task runs."""


def kept_value(value: Any) -> Any:
    """What of an artifact's value is stored: a figure of matplotlib as it looks now, to be seen without matplotlib."""
    drawer = value if isinstance(value, ModuleType) else type(value)  # the module pyplot is a figure too
    return Figure(value) if callable(getattr(drawer, "savefig", None)) else value


def form_kept(value: Any) -> str:
    """The form of an artifact that `log_artifact` was given."""
    from .tables import table_of

    drawn = is_figure(value) and table_of(value) is None
    return form_of(value) or ("figure" if drawn else "value")


class StoredLog:
    """The log of one attempt in a container, made when the task first logs something; `Sink` of its `TaskLog`."""

    def __init__(
        self,
        records: Records,
        given: ExecutorInput,
        redactor: Redactor,
        class_fingerprint: ClassFingerprint,
        warn: Callable[[str], None],
        tell: Callable[[Callable[[], Logged]], None],
    ) -> None:
        self._tell = tell
        self.log = TaskLog(self, redactor)
        self._records = records
        self._draws = LOGGED_ARTIFACTS in given.artifacts
        self._redactor = redactor
        self._class_fingerprint = class_fingerprint
        self._warn = warn
        self._pieces: dict[str, str] = {}
        self._timer: threading.Timer | None = None

    def wake(self) -> None:
        """Has events told soon, and a record written in some seconds, what comes until then included."""
        self._tell(self.log.take)
        if self._timer is None:
            timer = self._timer = threading.Timer(_EVERY_S, self._write)
            timer.daemon = True
            timer.start()

    def keep(self, name: str, value: Any) -> Artifact:
        value = kept_value(value)
        stored = store_output(name, value, self._store, INLINE_LIMIT_BYTES, self._class_fingerprint)
        facts = dict(stored.facts)
        try:
            from .previews import preview

            made = preview(value, "html" if self._draws else "text")
            facts = {**self._redactor.json(made.metadata), **facts}
            if self._draws:
                self._add_piece(name, self._redactor.text(made.text))
        except Exception as error:  # a user's __repr__ or a library: whatever it raises
            self._warn(f"no preview of {name}: {type(error).__name__}: {error}")
        return Artifact(form_kept(value), stored.handle, facts)

    def close(self) -> None:
        """Nothing is written any more."""
        if self._timer is not None:
            self._timer.cancel()

    def artifacts(
        self, declared: Mapping[str, Any], logged: Logged | None = None
    ) -> dict[str, tuple[dict[str, Json], str]]:
        """Metadata and file of each artifact that is declared for what was logged. Called before outputs are noted.

        logged: of all tasks of a step, in place of this log.
        """
        logged = self.log.logged() if logged is None else logged
        made: dict[str, tuple[dict[str, Json], str]] = {}
        if LOGGED_METRICS in declared and (logged.metrics or logged.params):
            made[LOGGED_METRICS] = (_numbers(logged), _lines(logged))
        if LOGGED_ARTIFACTS in declared and logged.artifacts:
            made[LOGGED_ARTIFACTS] = (_keys(logged), page(*self._pieces.values()))
        missing = {LOGGED_METRICS: bool(logged.metrics or logged.params), LOGGED_ARTIFACTS: bool(logged.artifacts)}
        for name, needed in missing.items():
            if needed and name not in declared:
                self._warn(
                    f"what was logged is recorded, but the Kubeflow UI does not show it: compile did not see that the "
                    f"node's code calls it, so the task has no artifact {name}; call log_metric or log_artifact by name"
                )
        return made

    @property
    def _store(self) -> Store:
        return self._records.store

    def _write(self) -> None:
        self._timer = None
        try:
            self._records.put("logged", {"task": self._records.place.task, "logged": self.log.logged().to_json()})
        except GrandpaError as error:  # the task goes on: its `done` or `failure` record holds the same
            self._warn(f"what was logged is not recorded yet: {error}")

    def _add_piece(self, name: str, text: str) -> None:
        head = f"<h2>{html.escape(name)}</h2>"
        self._pieces.pop(name, None)
        if sum(map(len, self._pieces.values())) + len(text) > LARGEST_BYTES:
            self._pieces[name] = f"{head}<p>too large to be drawn beside the others; inspect_run loads it</p>"
        else:
            self._pieces[name] = f"{head}{piece(text)}"


def _numbers(logged: Logged) -> dict[str, Json]:
    """What `system.Metrics` holds, and nothing else: the UI compares every entry."""
    last = {name: to_json_number(value) for name, value in logged.last().items()}
    params = {f"{name} (parameter)" if name in last else name: value for name, value in logged.params.items()}
    return {**last, **{name: "None" if value is None else value for name, value in params.items()}}


def _lines(logged: Logged) -> str:
    lines = [
        f"{name}: {series.last}"
        + (f" ({series.count:,} values, least {series.least}, most {series.most})" if series.count > 1 else "")
        for name, series in logged.metrics.items()
    ]
    return "\n".join([*lines, *(f"{name}: {value}" for name, value in logged.params.items())])


def _keys(logged: Logged) -> dict[str, Json]:
    """Names, and the keys of those that are objects."""
    handles = {name: artifact.handle for name, artifact in logged.artifacts.items()}
    keys = {name: handle[1:] for name, handle in handles.items() if handle.startswith("@")}
    return {"names": list(handles), "keys": keys}
