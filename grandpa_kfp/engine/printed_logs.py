"""What tasks printed, a file a task below a run's record: `logs/<task>.log`, written by the journal, read by `logs`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .events import Event, TaskPrinted

LOGS = "logs"
MOST_BYTES = 10 * 1024 * 1024
"""Of one task's prints, all attempts together, are kept."""
MOST_EVENT_BYTES = 64 * 1024
"""Of one task's prints stand in events.jsonl too, between its other events."""


class _Kept:
    __slots__ = ("attempt", "size_bytes")

    def __init__(self) -> None:
        self.attempt: int | str = 1
        self.size_bytes = 0


class PrintedLogs:
    """Writes what tasks print. folder: of the run. Each call may raise OSError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / LOGS
        self._tasks: dict[str, _Kept] = {}

    def write(self, batch: Sequence[Event]) -> None:
        """Appends what the batch's events tell of prints."""
        parts: dict[str, list[str]] = {}
        for event in batch:
            if type(event) is TaskPrinted:
                self._add(event, parts.setdefault(event.task, []))
        for task, texts in parts.items():
            if texts:
                path = log_file(self._folder.parent, task)
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("ab") as file:
                    file.write("".join(texts).encode("utf-8", "backslashreplace"))

    def in_events(self, event: Event) -> bool:
        """Whether the event belongs into events.jsonl; asked after `write`."""
        return type(event) is not TaskPrinted or self._tasks[event.task].size_bytes <= MOST_EVENT_BYTES

    def _add(self, event: TaskPrinted, texts: list[str]) -> None:
        kept = self._tasks.setdefault(event.task, _Kept())
        if kept.size_bytes > MOST_BYTES:
            return
        if event.attempt != kept.attempt:
            kept.attempt = event.attempt
            texts.append(f"--- attempt {event.attempt} ---\n")
        kept.size_bytes += len(event.text.encode("utf-8", "backslashreplace"))
        texts.append(event.text)
        if kept.size_bytes > MOST_BYTES:
            texts.append(f"--- more than {MOST_BYTES >> 20} MiB: what it printed from here on is not kept ---\n")


def log_file(folder: Path, task: str) -> Path:
    """Where a task's prints are. folder: of the run.

    >>> log_file(Path("run"), "fib/fib-2").as_posix()
    'run/logs/fib/fib-2.log'
    """
    return folder / LOGS / f"{task}.log"


def printed_by(folder: Path, task: str) -> str:
    """What a task of a recorded run printed, all attempts; of a compiled YAML from the logs of its processes."""
    path = log_file(folder, task)
    if path.is_file():
        return path.read_text(encoding="utf-8", errors="replace")
    found = sorted((folder / "tasks" / task).glob("attempt-*/log.txt"), key=lambda log: _attempt(log.parent.name))
    texts = [log.read_text(encoding="utf-8", errors="replace") for log in found]
    heads = [f"--- attempt {_attempt(log.parent.name)} ---\n" if _attempt(log.parent.name) > 1 else "" for log in found]
    return "".join([head + text for head, text in zip(heads, texts, strict=True)])


def _attempt(folder: str) -> int:
    number = folder.rpartition("-")[2]
    return int(number) if number.isdecimal() else 0
