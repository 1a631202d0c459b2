"""What all kinds of progress count: tasks, what they take, how long the rest will take. Cheap, for every event."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from grandpa_kfp_runtime.logged.entries import Bar

from ..drawing.words import seconds_text
from ..engine import events

_WITH_RESULT = (events.TaskFinished, events.TaskCached)


class _Kind:
    """Tasks of one name but for its number. waits: how many have not begun; took_s: of those that ended, in sum."""

    __slots__ = ("ended", "took_s", "waits")

    def __init__(self) -> None:
        self.waits = self.ended = 0
        self.took_s = 0.0


class Tally:
    """Told of each event. running: since when, by time.monotonic(); bars, metrics: of tasks under way; inner: what
    tasks have become."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.all = self.ended = self.failed = self.cached = self.retried = 0
        self.running: dict[str, float] = {}
        self.metrics: dict[str, dict[str, float]] = {}
        self.bars: dict[str, dict[str, Bar]] = {}
        self.inner: set[str] = set()
        self._kinds: defaultdict[str, _Kind] = defaultdict(_Kind)
        self._busy_s = 0.0
        self._takes: dict[type[events.Event], Callable[[Any], None]] = {
            events.RunStarted: self._run_started,
            events.TaskStarted: self._started,
            events.TaskFinished: self._finished,
            events.TaskFailed: self._failed,
            events.TaskCached: self._cached,
            events.TaskDropped: self._ended,
            events.TaskRetried: self._retried,
            events.TaskGrew: self._grew,
            events.MetricsLogged: self._logged,
            events.ProgressMade: self._moved,
        }

    def __call__(self, event: events.Event) -> None:
        take = self._takes.get(type(event))
        if take is not None:
            take(event)

    def metrics_of(self, event: events.Event) -> str:
        """What is worth saying of the metrics of a task that has ended."""
        if not self.metrics:
            return ""
        from ..drawing.logged_words import metrics_text

        return metrics_text(self.metrics.pop(event.task, {})) if isinstance(event, _WITH_RESULT) else ""

    def left_s(self) -> float | None:
        """Estimated seconds until the end, from what tasks of the same name took; None where too little is known."""
        now = time.monotonic()
        kinds = list(self._kinds.values())  # another thread counts meanwhile
        known = sum(kind.ended for kind in kinds)
        unknown = sum(kind.waits for kind in kinds if not kind.ended)
        if 2 * unknown > sum(kind.waits for kind in kinds):
            return None
        running = self.running.copy()
        if not known and not any(name in running for name in self.bars):
            return None
        mean_s = sum(kind.took_s for kind in kinds) / known if known else 0.0
        work_s = busy_s = 0.0
        longest_s = 0.0
        for kind in kinds:
            work_s += max(0, kind.waits) * (kind.took_s / kind.ended if kind.ended else mean_s)
        for name, since in running.items():
            here_s = now - since
            busy_s += here_s
            kind = self._kinds[_kind_of(name)]
            left_s = max(0.0, (kind.took_s / kind.ended if kind.ended else mean_s) - here_s)
            bars = [bar.left_s for bar in self.bars.get(name, {}).values()]
            left_s = max([left for left in bars if left is not None], default=left_s)
            longest_s = max(longest_s, left_s)
            work_s += left_s
        at_once = (self._busy_s + busy_s) / max(1e-6, now - self.began)
        return max(longest_s, work_s / max(at_once, 1e-3, min(1.0, float(len(running)))))

    def _run_started(self, event: events.RunStarted) -> None:
        self.all = len(event.tasks)
        for task in event.tasks:
            self._kinds[_kind_of(task)].waits += 1

    def _started(self, event: events.TaskStarted) -> None:
        self.running[event.task] = time.monotonic()
        self._kinds[_kind_of(event.task)].waits -= 1

    def _finished(self, event: events.TaskFinished) -> None:
        kind = self._kinds[_kind_of(event.task)]
        kind.ended += 1
        kind.took_s += event.duration_s
        self._busy_s += event.duration_s
        self._ended(event)

    def _ended(self, event: Any) -> None:
        task = event.task
        self.ended += 1
        if self.running.pop(task, None) is None:
            self._kinds[_kind_of(task)].waits -= 1
        self._forget(task)

    def _failed(self, event: events.TaskFailed) -> None:
        self.failed += 1
        self._ended(event)

    def _cached(self, event: events.TaskCached) -> None:
        self.cached += 1
        self._ended(event)

    def _retried(self, event: events.TaskRetried) -> None:
        self.retried += 1
        self.running.pop(event.task, None)
        self._kinds[_kind_of(event.task)].waits += 1
        self.metrics.pop(event.task, None)
        self.bars.pop(event.task, None)

    def _grew(self, event: events.TaskGrew) -> None:
        self.all += len(event.children)
        self.inner.update(event.children)
        for child in event.children:
            self._kinds[_kind_of(child)].waits += 1
        if self.running.pop(event.task, None) is not None:  # what it has become runs
            self._kinds[_kind_of(event.task)].waits += 1

    def _logged(self, event: events.MetricsLogged) -> None:
        last = {name: series.last for name, series in event.metrics.items()}
        self.metrics.setdefault(event.task, {}).update(last)

    def _moved(self, event: events.ProgressMade) -> None:
        if event.task in self.running:
            self.bars.setdefault(event.task, {}).update(event.bars)

    def _forget(self, task: str) -> None:
        if self.inner:
            self.inner.discard(task)
        if self.bars:
            self.bars.pop(task, None)


def _kind_of(task: str) -> str:
    """The name but for its number, below whatever.

    >>> _kind_of("fib/add-2")
    'add'
    """
    name = task.rpartition("/")[2]
    head, dash, number = name.rpartition("-")
    return head if dash and number.isdecimal() else name


def bar_text(name: str, bar: Bar) -> str:
    """A progress bar in words.

    >>> bar_text("epochs", Bar(25, 100, 0.0, 10.0))
    'epochs 25/100, 30.0 s left'
    """
    of = f"/{bar.total:,.10g}" if bar.total else ""
    left = bar.left_s
    return f"{name} {bar.done:,.10g}{of}" + (f", {seconds_text(left)} left" if left else "")
