"""How a run goes on, on standard error: on a terminal a line for each running task and a count, else plain lines.

A progress is a listener of the engine's events and a context manager around the run.
"""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from ..drawing.palette import MARKS
from ..drawing.words import seconds_text
from ..engine import events
from .failures import colours, print_faint, styled

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

_MOST_SHOWN = 8
_SHORT_S = 0.1
"""A body may become thousands of tasks: those that take less get no line."""
_A_SECOND = 10  # how often a terminal is painted


class Progress(Protocol):
    """Told of every event by the journal's thread."""

    def __call__(self, event: events.Event) -> None: ...

    def __enter__(self) -> Any: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


def progress() -> Progress:
    """What fits standard error."""
    return LiveProgress() if colours(sys.stderr) or _is_terminal() else PlainProgress()


def _is_terminal() -> bool:
    import os

    return bool(getattr(sys.stderr, "isatty", lambda: False)()) and os.environ.get("TERM") != "dumb"


class _Counts:
    """What all kinds of progress count."""

    def __init__(self) -> None:
        self.all = 0
        self.ended = 0
        self.failed = 0
        self.running: dict[str, float] = {}
        self.metrics: dict[str, dict[str, float]] = {}  # last values, of tasks under way
        self.inner: set[str] = set()  # what tasks have become

    def take(self, event: events.Event) -> None:
        if isinstance(event, events.MetricsLogged):
            last = {name: series.last for name, series in event.metrics.items()}
            self.metrics.setdefault(event.task, {}).update(last)
        elif isinstance(event, events.RunStarted):
            self.all = len(event.tasks)
        elif isinstance(event, events.TaskStarted):
            self.running[event.task] = time.monotonic()
        elif isinstance(event, events.TaskFinished | events.TaskFailed | events.TaskDropped):
            self.running.pop(event.task, None)
            self.ended += 1
            self.failed += isinstance(event, events.TaskFailed)
            self.inner.discard(event.task)
        elif isinstance(event, events.TaskRetried):
            self.running.pop(event.task, None)
            self.metrics.pop(event.task, None)
        elif isinstance(event, events.TaskGrew):
            self.all += len(event.children)
            self.inner.update(event.children)
            self.running.pop(event.task, None)  # what it has become runs

    def metrics_of(self, event: events.Event) -> str:
        """What is worth saying of the metrics of a task that has ended."""
        from ..drawing.logged_words import metrics_text

        return metrics_text(self.metrics.pop(event.task, {})) if isinstance(event, events.TaskFinished) else ""


class PlainProgress:
    """A line for each task that ends: `[3/7] train 1.2 s: accuracy 0.97`; of what tasks become, for those that last."""

    def __init__(self) -> None:
        self._counts = _Counts()

    def __enter__(self) -> PlainProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return None

    def __call__(self, event: events.Event) -> None:
        short = isinstance(event, events.TaskFinished) and event.duration_s < _SHORT_S
        line = None if short and event.task in self._counts.inner else told(event)  # type: ignore[attr-defined]
        self._counts.take(event)
        if line is not None:
            width = len(str(self._counts.all))
            metrics = self._counts.metrics_of(event)
            print_faint(f"[{self._counts.ended:{width}}/{self._counts.all}] {line}{f': {metrics}' if metrics else ''}")


def told(event: events.Event) -> str | None:
    """An event that is worth a line of its own."""
    if isinstance(event, events.TaskFinished):
        again = f", attempt {event.attempt}" if event.attempt > 1 else ""
        return f"{event.task} {seconds_text(event.duration_s)}{again}"
    if isinstance(event, events.TaskFailed):
        return f"{event.task} failed after {seconds_text(event.duration_s)}: {event.error}"
    if isinstance(event, events.TaskRetried):
        pause = f"again in {seconds_text(event.pause_s)}" if event.pause_s else "again"
        return f"{event.task} failed in attempt {event.attempt}: {event.error}; {pause}"
    if isinstance(event, events.TaskDropped):
        return f"{event.task} {event.state}"
    return None


class LiveProgress:
    """A block at the end of the terminal, painted ten times a second; it is wiped away when the run has ended.

    What tasks print appears above it. Failures and retries leave a line, and tasks that logged metrics.
    """

    def __init__(self, console: Console | None = None) -> None:
        from rich.console import Console as RichConsole
        from rich.live import Live

        self._counts = _Counts()
        self._began = time.monotonic()
        self._console = console or RichConsole(stderr=True, highlight=False)
        self._live = Live(self, console=self._console, refresh_per_second=_A_SECOND, transient=True)

    def __enter__(self) -> LiveProgress:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.stop()

    def __call__(self, event: events.Event) -> None:
        self._counts.take(event)
        if isinstance(event, events.TaskFailed | events.TaskRetried):
            from rich.text import Text

            colour = "red" if isinstance(event, events.TaskFailed) else "yellow"
            self._console.print(Text(f"{MARKS['failed']} {told(event)}", style=colour), soft_wrap=True)
        elif metrics := self._counts.metrics_of(event):
            from rich.text import Text

            self._console.print(Text(f"{told(event)}: {metrics}"), soft_wrap=True)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        now = time.monotonic()
        running = sorted(self._counts.running.copy().items(), key=lambda item: item[1])
        for task, began in running[:_MOST_SHOWN]:
            spin = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"[int(now * _A_SECOND) % 10]
            yield Text.assemble((f"{spin} ", "yellow"), task, (f"  {seconds_text(now - began)}", "bright_black"))
        if len(running) > _MOST_SHOWN:
            yield Text(f"  and {len(running) - _MOST_SHOWN} more", style="bright_black")
        yield self._bar(now - self._began)

    def _bar(self, seconds: float) -> Any:
        from rich.text import Text

        counts, width = self._counts, 24
        full = counts.ended * width // counts.all if counts.all else 0
        bar = ("━" * full, "red" if counts.failed else "green"), ("━" * (width - full), "bright_black")
        failed = (f", {counts.failed} failed", "red") if counts.failed else ""
        return Text.assemble(
            *bar, f" {counts.ended}/{counts.all} tasks", failed, (f"  {seconds_text(seconds)}", "bright_black")
        )


def ended(name: str, tasks: int, seconds: float, record: str) -> None:
    """The last line on standard error of a run that succeeded."""
    mark = styled(MARKS["succeeded"], "green", bold=True)
    count = "1 task" if tasks == 1 else f"{tasks:,} tasks"
    recorded = f"; record: {record}" if record else ""
    import click

    click.echo(f"{mark} {name}: {count} in {seconds_text(seconds)}{recorded}", err=True)
