"""What one attempt at a task has printed and nobody has taken yet, in whole lines."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from ..events.kinds import Stream

MOST_WAITING = 8 * 1024 * 1024
"""Characters. A task that prints more before anyone takes it loses what is over, which a line tells."""
LONGEST_LINE = 64 * 1024


class Output(Protocol):
    """Where a task's prints go."""

    def write(self, stream: Stream, text: str) -> None:
        """Never waits for whoever shows it, nor raises."""
        ...

    def close(self) -> None:
        """The attempt has ended: what is left of a line is told as well."""
        ...

    def unfinished(self) -> str:
        """Takes the lines that have begun: questions, when somebody is to answer them."""
        ...


class TaskOutput:
    """Keeps what is printed until it is taken. wake: told when there is something where there was nothing.

    >>> output = TaskOutput(lambda: None)
    >>> output.write("stdout", "epoch 1\\nepo"); output.write("stderr", "bad\\n"); output.take()
    [('stdout', 'epoch 1\\n'), ('stderr', 'bad\\n')]
    >>> output.write("stdout", "ch 2\\n"); output.take()
    [('stdout', 'epoch 2\\n')]
    """

    __slots__ = ("_closed", "_dropped", "_lock", "_parts", "_rest", "_size", "_wake")

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._lock = threading.Lock()
        self._parts: list[tuple[Stream, str]] = []
        self._rest: dict[Stream, str] = {}
        self._size = self._dropped = 0
        self._closed = False

    def write(self, stream: Stream, text: str) -> None:
        with self._lock:
            first = not self._parts
            if self._size > MOST_WAITING:
                self._dropped += len(text)
                return
            self._size += len(text)
            self._parts.append((stream, text))
        if first:
            self._wake()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            left = bool(self._parts or self._rest)
        if left:
            self._wake()

    def unfinished(self) -> str:
        """Takes the lines that have begun: questions, when somebody is to answer them."""
        with self._lock:
            for index, (stream, text) in enumerate(self._parts):
                self._rest[stream], self._parts[index] = "", (stream, self._rest.get(stream, "") + text)
            parts = _joined(self._parts)
            self._parts, asked = [], ""
            for stream, text in parts:
                lines, rest = whole_lines(text)
                asked += rest
                if lines:
                    self._parts.append((stream, lines))
            asked = "".join(self._rest.values()) + asked
            self._rest.clear()
        return asked

    def take(self) -> list[tuple[Stream, str]]:
        """The whole lines since it was asked last; after `close` all that is left."""
        with self._lock:
            parts, self._parts = self._parts, []
            dropped, self._size, self._dropped = self._dropped, 0, 0
            closed = self._closed
            joined = _joined(parts)
            if dropped:
                joined.append(("stderr", f"({dropped:,} characters are left out: printed faster than they are kept)\n"))
            found = []
            for stream, text in joined:
                lines, rest = whole_lines(self._rest.pop(stream, "") + text)
                if rest:
                    self._rest[stream] = rest
                if lines:
                    found.append((stream, lines))
            if closed:
                found += [(stream, f"{as_seen(rest)}\n") for stream, rest in self._rest.items()]
                self._rest.clear()
        return found


def whole_lines(text: str) -> tuple[str, str]:
    """Lines that are complete, and the beginning of one that is not. Of a line that overwrites itself by carriage
    returns, as progress bars do, what is seen at its end.

    >>> whole_lines("a\\n 10%\\r 20%\\nb")
    ('a\\n 20%\\n', 'b')
    """
    end = text.rfind("\n") + 1
    lines, rest = text[:end], text[end:]
    if "\r" in lines:
        lines = "".join([f"{as_seen(line)}\n" for line in lines.split("\n")[:-1]])
    if len(rest) > LONGEST_LINE:
        rest = as_seen(rest)
        if len(rest) > LONGEST_LINE:
            return f"{lines}{rest}\n", ""
    return lines, rest


def as_seen(line: str) -> str:
    """What stands there after its carriage returns.

    >>> as_seen("10%\\r20%\\r")
    '20%'
    """
    if "\r" not in line:
        return line
    return line.rstrip("\r").rpartition("\r")[2]


def _joined(parts: list[tuple[Stream, str]]) -> list[tuple[Stream, str]]:
    """Neighbours of one stream put together."""
    joined: list[tuple[Stream, str]] = []
    start = 0
    for index in range(1, len(parts) + 1):
        if index == len(parts) or parts[index][0] != parts[start][0]:
            joined.append((parts[start][0], "".join([text for _, text in parts[start:index]])))
            start = index
    return joined
