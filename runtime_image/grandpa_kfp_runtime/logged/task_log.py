"""Collects what a task logs while it runs, from any of its threads, within bounds whatever it logs.

A `Collector` holds metrics, parameters and artifacts; a metric's points are thinned as they grow, its count, least and
most stay exact. A `TaskLog` is one for an attempt under way, with a second one for what nobody has taken yet.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

from ..redaction import NOTHING_SECRET, Redactor
from ..typespec import Json
from .checks import NAME_CHARACTERS, checked_name, number, parameter, refuse_ref, step_of
from .entries import Artifact, Bar, Logged, Point, Series

POINTS_OF_A_METRIC = 1_000
POINTS_IN_ALL = 20_000
MOST_NAMES = 1_000
"""Of metrics, of parameters, of artifacts and of progress bars, each."""


class _Growing:
    """The points of one metric: every one, then every second, every fourth, ..., and always the newest."""

    __slots__ = ("count", "least", "most", "newest", "points", "seen", "stride")

    def __init__(self) -> None:
        self.count = self.seen = 0
        self.stride = 1
        self.points: list[Point] = []

    def add(self, series: Series) -> None:
        if not self.count:
            self.least, self.most = series.least, series.most
        if not self.least <= series.least:  # NaN gives way to a number
            self.least = series.least if series.least == series.least else self.least
        if not self.most >= series.most:
            self.most = series.most if series.most == series.most else self.most
        self.count += series.count
        self.newest = series.points[-1]
        for point in series.points:
            if self.seen % self.stride == 0:
                self.points.append(point)
                if len(self.points) > POINTS_OF_A_METRIC:
                    del self.points[1::2]
                    self.stride *= 2
            self.seen += 1

    def series(self, limit: int) -> Series:
        every = -(-len(self.points) // limit)
        points = self.points[::every]
        if points[-1] is not self.newest:
            points.append(self.newest)
        return Series(self.count, self.least, self.most, tuple(points))


class Collector:
    """Metrics, parameters, artifacts and bars, in the order they came first. Each `add_` tells whether there was room.

    >>> collector = Collector()
    >>> collector.add_metric("loss", Series(1, 0.5, 0.5, (Point(0.5, None, 0.0),)))
    True
    >>> collector.logged().last()
    {'loss': 0.5}
    """

    __slots__ = ("_artifacts", "_bars", "_metrics", "_params")

    def __init__(self) -> None:
        self._metrics: dict[str, _Growing] = {}
        self._params: dict[str, Json] = {}
        self._artifacts: dict[str, Artifact] = {}
        self._bars: dict[str, Bar] = {}

    def add_metric(self, name: str, series: Series) -> bool:
        growing = self._metrics.get(name)
        if growing is None:
            if len(self._metrics) >= MOST_NAMES:
                return False
            growing = self._metrics[name] = _Growing()
        growing.add(series)
        return True

    def add_param(self, name: str, value: Json) -> bool:
        return _put(self._params, name, value)

    def add_artifact(self, name: str, artifact: Artifact) -> bool:
        return _put(self._artifacts, name, artifact)

    def add_bar(self, name: str, bar: Bar) -> bool:
        return _put(self._bars, name, bar)

    def add(self, logged: Logged) -> None:
        """All that was logged elsewhere."""
        for name, series in logged.metrics.items():
            self.add_metric(name, series)
        for name, value in logged.params.items():
            self.add_param(name, value)
        for name, artifact in logged.artifacts.items():
            self.add_artifact(name, artifact)
        for name, bar in logged.bars.items():
            self.add_bar(name, bar)

    def logged(self) -> Logged:
        limit = min(POINTS_OF_A_METRIC, max(10, POINTS_IN_ALL // max(1, len(self._metrics))))
        metrics = {name: growing.series(limit) for name, growing in self._metrics.items()}
        return Logged(metrics, dict(self._params), dict(self._artifacts), dict(self._bars))


def _put(entries: dict[str, Any], name: str, entry: Any) -> bool:
    if name not in entries and len(entries) >= MOST_NAMES:
        return False
    entries[name] = entry
    return True


class Sink(Protocol):
    """Who takes what a task logs."""

    def wake(self) -> None:
        """There is something to `take` where there was nothing. Called by the task's threads, so it must not wait."""
        ...

    def keep(self, name: str, value: Any) -> Artifact:
        """Store an artifact's value. Raises TaskError for one that cannot be stored; the store's errors."""
        ...


class TaskLog:
    """What one attempt has logged so far. Any thread may log; whoever took the attempt up calls `close`."""

    __slots__ = ("_all", "_closed", "_lock", "_new", "_pid", "_redactor", "_sink", "_told")

    def __init__(self, sink: Sink, redactor: Redactor = NOTHING_SECRET) -> None:
        self._sink = sink
        self._redactor = redactor
        self._lock = threading.Lock()
        self._all = Collector()
        self._new: Collector | None = None
        self._closed = False
        self._pid = os.getpid()
        self._told: set[str] = set()

    def metric(self, name: Any, value: Any, step: Any = None, *, call: str = "log_metric") -> None:
        """One value of a metric. Raises TypeError, ValueError for what is none."""
        name = self._redactor.text(checked_name(name, call))
        plain = number(value, call)
        series = Series(1, plain, plain, (Point(plain, step_of(step, call), round(time.time(), 3)),))
        self._add(name, "metrics", partial(Collector.add_metric, name=name, series=series))

    def params(self, values: Mapping[Any, Any]) -> None:
        """Parameters by name; one that is logged again is replaced."""
        if not isinstance(values, Mapping):
            raise TypeError(f"log_params: it takes a dict of names and values, but got {type(values).__name__}")
        made = {}
        for key, value in values.items():
            made[checked_name(key, "log_params")] = parameter(value, f"log_params, {key}")
        for name, value in self._redactor.json(made).items():
            self._add(name, "parameters", partial(Collector.add_param, name=name, value=value))

    def artifact(self, name: Any, value: Any) -> None:
        """An artifact: its value is stored at once. Raises TaskError for one that cannot be, the store's errors."""
        name = self._redactor.text(checked_name(name, "log_artifact"))
        refuse_ref(value, "log_artifact")
        if self._gone():
            return
        if isinstance(value, str) and len(value) < NAME_CHARACTERS and os.path.isfile(value):
            self._warn(f"log_artifact stores a text: {value!r}; write Path({value!r}) for the file of that name")
        self.note(name, self._sink.keep(name, value))

    def note(self, name: str, artifact: Artifact) -> None:
        """An artifact that is stored already."""
        self._add(name, "artifacts", partial(Collector.add_artifact, name=name, artifact=artifact))

    def bar(self, name: str, bar: Bar) -> None:
        """How far a progress bar is by now; its name as `checked_name` gives it."""
        name = self._redactor.text(name)
        self._add(name, "progress bars", partial(Collector.add_bar, name=name, bar=bar))

    def take(self) -> Logged:
        """What has come since it was asked last."""
        with self._lock:
            new, self._new = self._new, None
            return Logged() if new is None else new.logged()

    def logged(self) -> Logged:
        """All of it."""
        with self._lock:
            return self._all.logged()

    def close(self) -> None:
        """The attempt has ended: what threads that it left behind still log is dropped."""
        self._closed = True

    def _add(self, name: str, kind: str, add: Callable[[Collector], bool]) -> None:
        if self._gone():
            return
        with self._lock:
            room = add(self._all)
            first = room and self._new is None
            if room:
                if self._new is None:
                    self._new = Collector()
                add(self._new)
        if not room:
            self._warn(f"more than {MOST_NAMES:,} {kind}: {name!r} and others after it are not recorded")
        if first:
            self._sink.wake()

    def _gone(self) -> bool:
        if self._closed:
            self._warn("a thread that its task left behind logs on; that is dropped")
        elif os.getpid() != self._pid:
            self._warn(
                "a child process of a task logs; that is lost: hand it to the task's own process and log it there"
            )
            return True
        return self._closed

    def _warn(self, text: str) -> None:
        key = text.partition(":")[0]
        if key not in self._told:
            self._told.add(key)
            _warning(text)


class Dropped:
    """The sink of what is logged outside a task, where a node's function is called by a test: nobody takes it."""

    def wake(self) -> None:
        """Once, since what is new stays new."""
        _warning("no task runs here: what is logged is dropped")

    def keep(self, name: str, value: Any) -> Artifact:
        return Artifact("value")


def _warning(text: str) -> None:
    from logging import getLogger

    getLogger("grandpa.task").warning("%s", text)
