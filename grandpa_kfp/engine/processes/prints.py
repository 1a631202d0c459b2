"""What worker processes print, on its way to the parent: one pipe a worker, which is its standard output and error.

What Python code of a task writes goes in frames that name the task; what else comes out of the pipe, of C code and of
programs that a task starts, belongs to whatever task its worker is at. So lines keep their order, and those of a
worker that is killed are not lost. A frame is small enough to be written in one piece, whoever else writes.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import threading
from typing import NamedTuple

from grandpa_kfp_runtime.events.kinds import Stream
from grandpa_kfp_runtime.printed.task_output import as_seen, whole_lines

_HEAD = re.compile(rb"\x1e([\w-]*) (\d+) (\d+) ([12]) (\d+)\n")
_LONGEST_HEAD = 200
_FRAME_CHARACTERS = 900  # of at most four bytes each, so that a frame is below PIPE_BUF
_PIPE_BYTES = 1 << 18
_STREAMS: tuple[Stream, Stream] = ("stdout", "stderr")


class Owner(NamedTuple):
    """Whose a frame is: run, number of the task, attempt."""

    run_id: str
    task: int
    attempt: int


class Printed(NamedTuple):
    """Text of one task; of an unknown one where `owner` is None."""

    owner: Owner | None
    stream: Stream
    text: str


class Voice:
    """The worker's end: standard output under a number of its own, so that no task can close it."""

    __slots__ = ("_descriptor", "_lock")

    def __init__(self) -> None:
        self._descriptor = os.dup(1)
        self._lock = threading.Lock()

    def say(self, owner: Owner, stream: Stream, text: str) -> None:
        """Writes lines; waits for the parent where it does not keep up."""
        number = _STREAMS.index(stream) + 1
        with self._lock:
            for start in range(0, len(text), _FRAME_CHARACTERS):
                data = text[start : start + _FRAME_CHARACTERS].encode("utf-8", "backslashreplace")
                head = f"\x1e{owner.run_id} {owner.task} {owner.attempt} {number} {len(data)}\n"
                with contextlib.suppress(OSError):  # the parent is gone, and with it whoever would read
                    os.write(self._descriptor, head.encode() + data)


class FramedOutput:
    """`Output` of one attempt in a worker."""

    __slots__ = ("_lock", "_owner", "_rest", "_voice")

    def __init__(self, voice: Voice, owner: Owner) -> None:
        self._voice = voice
        self._owner = owner
        self._lock = threading.Lock()
        self._rest: dict[Stream, str] = {}

    def write(self, stream: Stream, text: str) -> None:
        with self._lock:
            before = self._rest.pop(stream, "")
            lines, rest = whole_lines(before + text)
            if rest:
                self._rest[stream] = rest
        if lines:
            self._voice.say(self._owner, stream, lines)

    def unfinished(self) -> str:
        return ""  # nobody answers a worker

    def close(self) -> None:
        with self._lock:
            left, self._rest = self._rest, {}
        for stream, rest in left.items():
            self._voice.say(self._owner, stream, f"{as_seen(rest)}\n")


class Prints:
    """The parent's end. A pipe whose other end is `theirs` until the worker has it."""

    __slots__ = ("_data", "_raw", "ours", "theirs")

    def __init__(self) -> None:
        self.ours, self.theirs = os.pipe()
        os.set_blocking(self.ours, False)
        with contextlib.suppress(OSError, AttributeError):  # a smaller pipe does too
            fcntl.fcntl(self.theirs, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)  # type: ignore[attr-defined,unused-ignore]
        self._data = b""
        self._raw = ""

    def close_theirs(self) -> None:
        os.close(self.theirs)

    @property
    def is_open(self) -> bool:
        return self.ours >= 0

    def read(self) -> list[Printed]:
        """All that is there now; closes this end after the last of it."""
        parts: list[Printed] = []
        while self.is_open:
            try:
                data = os.read(self.ours, _PIPE_BYTES)
            except BlockingIOError:
                break
            if not data:
                self.close()
            parts += self._parts(data)
        return _joined(parts)

    def rest(self) -> list[Printed]:
        """A line that has begun, of a worker that ends."""
        raw, self._raw = self._raw, ""
        return [Printed(None, "stdout", f"{as_seen(raw)}\n")] if raw else []

    def close(self) -> None:
        if self.is_open:
            os.close(self.ours)
            self.ours = -1

    def _parts(self, data: bytes) -> list[Printed]:
        data, self._data = self._data + data, b""
        parts: list[Printed] = []
        at = 0
        while at < len(data):
            mark = data.find(b"\x1e", at)
            if mark < 0:
                parts += self._unframed(data[at:])
                break
            head = _HEAD.match(data, mark)
            end = head.end() + int(head[5]) if head is not None else mark + 1
            if self.is_open and (end > len(data) or (head is None and _may_be_head(data[mark:]))):
                parts += self._unframed(data[at:mark])
                self._data = data[mark:]
                break
            if head is None:
                parts += self._unframed(data[at:end])
            else:
                parts += self._unframed(data[at:mark])
                owner = Owner(head[1].decode(), int(head[2]), int(head[3]))
                text = data[head.end() : end].decode("utf-8", "replace")
                parts.append(Printed(owner, _STREAMS[int(head[4]) - 1], text))
            at = end
        return parts

    def _unframed(self, data: bytes) -> list[Printed]:
        if not data:
            return []
        lines, self._raw = whole_lines(self._raw + data.decode("utf-8", "replace"))
        return [Printed(None, "stdout", lines)] if lines else []


def _may_be_head(data: bytes) -> bool:
    """Whether the rest of a head may be under way."""
    return len(data) < _LONGEST_HEAD and b"\n" not in data


def _joined(parts: list[Printed]) -> list[Printed]:
    """Neighbours of one task and stream put together."""
    joined: list[Printed] = []
    texts: list[str] = []
    for part in parts:
        if joined and joined[-1][:2] == part[:2]:
            texts.append(part.text)
            continue
        if joined:
            joined[-1] = joined[-1]._replace(text="".join(texts))
        joined.append(part)
        texts = [part.text]
    if joined:
        joined[-1] = joined[-1]._replace(text="".join(texts))
    return joined
