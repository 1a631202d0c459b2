"""A run's progress on a terminal: a block at its end, painted some times a second, wiped away at the run's end."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

from grandpa_kfp_runtime.logged.entries import Bar

from ..drawing.palette import MARKS
from ..drawing.words import seconds_text
from ..engine import events
from .progress import told
from .tally import Tally, bar_text

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.text import Text

_MOST_TASKS = 8
_MOST_BARS = 3
_A_SECOND = 10
_BAR_WIDTH = 24
_NARROW = 70


class LiveProgress:
    """What tasks print appears above the block. Failures and retries leave a line, and tasks that logged metrics."""

    def __init__(self, console: Console | None = None) -> None:
        from rich.console import Console as RichConsole
        from rich.live import Live

        self._tally = Tally()
        self._console = console or RichConsole(file=sys.stderr, highlight=False)
        self._live = Live(
            self,
            console=self._console,
            refresh_per_second=_A_SECOND,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._before: tuple[TextIO, TextIO] | None = None

    def __enter__(self) -> LiveProgress:
        self._before = sys.stdout, sys.stderr
        self._tally.began = time.monotonic()
        self._live.start()
        above = _Above(self._console, sys.stderr, self._live.stop)
        sys.stderr = above
        if sys.stdout is self._before[1]:  # else it leads elsewhere, into a file or a program
            sys.stdout = above
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._before is not None
        if isinstance(sys.stderr, _Above):
            sys.stderr.end()
        sys.stdout, sys.stderr = self._before
        self._live.stop()

    def __call__(self, event: events.Event) -> None:
        self._tally(event)
        if isinstance(event, events.TaskFailed | events.TaskRetried):
            self._leave(f"{MARKS['failed']} {told(event)}", "red" if isinstance(event, events.TaskFailed) else "yellow")
        elif metrics := self._tally.metrics_of(event):
            self._leave(f"{told(event)}: {metrics}")

    def _leave(self, line: str, style: str = "") -> None:
        from rich.text import Text

        self._console.print(Text(line, style=style), soft_wrap=True)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width, now = options.max_width, time.monotonic()
        most = max(1, min(_MOST_TASKS, console.height - 3))
        running = sorted(self._tally.running.copy().items(), key=lambda item: item[1])
        shown = 0
        for task, began in running[:most]:
            bars = list(self._tally.bars.get(task, {}).items())[-_MOST_BARS:]
            for line in _task_lines(task, now - began, bars, width, now):
                if shown < most:
                    yield line
                shown += 1
        if len(running) > most:
            yield _line((f"  and {len(running) - most:,} more", "bright_black"))
        yield self._sum(now, width)

    def _sum(self, now: float, width: int) -> Text:
        """All tasks: the bar, how many, what is worth knowing, the time."""
        tally = self._tally
        parts: list[Any] = [] if width < _NARROW else [*_bar(tally.ended, tally.all, red=bool(tally.failed)), " "]
        parts.append(f"{tally.ended:,}/{tally.all:,} tasks")
        for count, word, style in (
            (tally.cached, "cached", "cyan"),
            (tally.failed, "failed", "red"),
            (tally.retried, "retried", "yellow"),
        ):
            if count:
                parts.append((f", {count:,} {word}", style))
        parts.append((f"  {seconds_text(now - tally.began)}", "bright_black"))
        left_s = tally.left_s()
        if left_s is not None and tally.ended < tally.all and now - tally.began > 1:
            parts.append((f", about {seconds_text(left_s)} left", "bright_black"))
        return _line(*parts)


def _task_lines(task: str, here_s: float, bars: list[tuple[str, Bar]], width: int, now: float) -> list[Text]:
    """The task's line, its first bar on it where there is room, others below."""
    spin = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"[int(now * _A_SECOND) % 10]
    longest = max(8, width // 3)
    name = task if len(task) <= longest else f"…{task[-longest + 1 :]}"
    head: list[Any] = [(f"{spin} ", "yellow"), name, (f"  {seconds_text(here_s)}", "bright_black")]
    lines = [] if bars else [_line(*head)]
    for index, (bar_name, bar) in enumerate(bars):
        before = head if not index else [("  ", "")]
        drawn = [*_bar(bar.done, bar.total, width=_BAR_WIDTH // 2), " "] if bar.total and width >= _NARROW else []
        lines.append(_line(*before, "  ", *drawn, (bar_text(bar_name, bar), "bright_black")))
    return lines


def _bar(done: float, total: float, *, width: int = _BAR_WIDTH, red: bool = False) -> tuple[Any, Any]:
    full = min(width, max(0, int(done * width / total))) if total else 0
    return ("━" * full, "red" if red else "green"), ("─" * (width - full), "bright_black")


def _line(*parts: Any) -> Text:
    """Never more than one line of the terminal."""
    from rich.text import Text

    return Text.assemble(*parts, no_wrap=True, overflow="ellipsis")


class _Raw:
    """Text as it is: nothing in it is read as markup, wrapped or measured."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.segment import Segment

        yield Segment(self._text)


class _Above:
    """Standard error while the block is there: whole lines go above it.

    stop: removes the block, when somebody asks a question: a debugger, or `input`.
    """

    def __init__(self, console: Console, own: TextIO, stop: Callable[[], None]) -> None:
        self._console = console
        self._own = own
        self._stop = stop
        self._asked = False
        self._lock = threading.Lock()
        self._rest = ""

    def write(self, text: str) -> int:
        if self._asked:
            return self._own.write(text)
        with self._lock:
            lines, line_break, self._rest = (self._rest + text).rpartition("\n")
        if line_break:
            self._console.print(_Raw(lines + line_break), end="")
        return len(text)

    def flush(self) -> None:
        """Lines go out when they are whole; who flushes one that is not asks something."""
        if self._rest and not self._asked:
            self._asked = True
            self._stop()
            with self._lock:
                self._own.write(self._rest)
                self._rest = ""
        if self._asked:
            self._own.flush()

    def end(self) -> None:
        """What has begun is a line too."""
        if self._rest:
            self.write("\n")

    def fileno(self) -> int:
        return self._own.fileno()

    def isatty(self) -> bool:
        return self._own.isatty()

    @property
    def encoding(self) -> str:
        return self._own.encoding

    def __getattr__(self, name: str) -> Any:
        if name == "buffer":  # bytes would go around the block
            raise AttributeError(name)
        return getattr(self._own, name)
