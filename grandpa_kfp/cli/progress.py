"""How a run goes on, on standard error: on a terminal a line for each running task and a count, else plain lines.

A progress is a listener of the engine's events and a context manager around the run. `tally.py` counts, `live.py`
paints.
"""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from ..drawing.palette import MARKS
from ..drawing.words import seconds_text, tasks_text
from ..engine import events
from .failures import colours, print_faint, styled
from .tally import Tally, bar_text

if TYPE_CHECKING:
    from ..engine.run import Run

_SHORT_S = 0.1
"""A body may become thousands of tasks: those that take less get no line."""
_BURST = 200
_A_SECOND = 10
"""Lines of tasks that succeeded: so many at once, and so many a second from then on."""
_BARS_EVERY_S = 5.0


class Progress(Protocol):
    """Told of every event by the journal's thread."""

    def __call__(self, event: events.Event) -> None: ...

    def __enter__(self) -> Any: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


def progress() -> Progress:
    """What fits standard error."""
    if colours(sys.stderr) or _is_terminal():
        from .live import LiveProgress

        return LiveProgress()
    return PlainProgress()


def _is_terminal() -> bool:
    return bool(getattr(sys.stderr, "isatty", lambda: False)()) and os.environ.get("TERM") != "dumb"


class PlainProgress:
    """A line for each task that ends: `[3/7] train 1.2 s: accuracy 0.97`; of what tasks become, for those that last.

    Of thousands of short tasks some get lines. Progress bars get one every few seconds.
    """

    def __init__(self) -> None:
        self._tally = Tally()
        self._allowed = float(_BURST)
        self._asked = time.monotonic()
        self._left_out = 0
        self._bars: dict[str, float] = {}

    def __enter__(self) -> PlainProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return None

    def __call__(self, event: events.Event) -> None:
        if isinstance(event, events.ProgressMade):
            self._tell_bars(event)
            return
        short = isinstance(event, events.TaskFinished) and event.duration_s < _SHORT_S
        line = None if short and event.task in self._tally.inner else told(event)  # type: ignore[attr-defined]
        self._tally(event)
        if line is None:
            return
        if isinstance(event, events.TaskFinished | events.TaskCached) and not self._may_speak():
            self._left_out += 1
            return
        metrics = self._tally.metrics_of(event)
        others, self._left_out = self._left_out, 0
        more = f"; and {others:,} others" if others else ""
        print_faint(f"{self._count()} {line}{f': {metrics}' if metrics else ''}{more}")

    def _count(self) -> str:
        tally = self._tally
        return f"[{tally.ended:{len(str(tally.all))}}/{tally.all}]"

    def _may_speak(self) -> bool:
        now = time.monotonic()
        self._allowed = min(_BURST, self._allowed + (now - self._asked) * _A_SECOND)
        self._asked = now
        if self._allowed < 1:
            return False
        self._allowed -= 1
        return True

    def _tell_bars(self, event: events.ProgressMade) -> None:
        """Not at once, and not often: a short bar says nothing."""
        now = time.monotonic()
        due = self._bars.setdefault(event.task, now + _BARS_EVERY_S)
        if now >= due:
            self._bars[event.task] = now + _BARS_EVERY_S
            bars = ", ".join(bar_text(name, bar) for name, bar in event.bars.items())
            print_faint(f"{self._count()} {event.task}: {bars}")


def told(event: events.Event) -> str | None:
    """An event that is worth a line of its own."""
    if isinstance(event, events.TaskFinished):
        again = f", attempt {event.attempt}" if event.attempt not in (0, 1) else ""
        return f"{event.task} {seconds_text(event.duration_s)}{again}"
    if isinstance(event, events.TaskCached):
        return f"{event.task} cached"
    if isinstance(event, events.TaskFailed):
        fell_back = "; fell back" if event.fallback is not None else ""
        return f"{event.task} failed after {seconds_text(event.duration_s)}: {event.error}{fell_back}"
    if isinstance(event, events.TaskRetried):
        pause = f"again in {seconds_text(event.pause_s)}" if event.pause_s else "again"
        return f"{event.task} failed in attempt {event.attempt}: {event.error}; {pause}"
    if isinstance(event, events.TaskDropped):
        return f"{event.task} {event.state}" + (f": {event.reason}" if event.reason else "")
    return None


def ended(run: Run, record: str) -> None:
    """The last line on standard error of a run that succeeded; of one that failed before its report."""
    import click

    succeeded = run.state == "succeeded"
    mark = styled(MARKS["succeeded" if succeeded else "failed"], "green" if succeeded else "red", bold=True)
    count = tasks_text(task.state for id_, task in run.tasks.items() if id_)
    recorded = f"; record: {record}" if record else ""
    click.echo(f"{mark} {run.name}: {count} in {seconds_text(run.duration_s)}{recorded}", err=True)
