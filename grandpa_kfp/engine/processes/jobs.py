"""Processes that call functions for an `Executor`: started at need, each at one call at a time, ended with it."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from grandpa_kfp_runtime.code.project import SCRIPT_PREFIX
from grandpa_kfp_runtime.context import current, in_task
from grandpa_kfp_runtime.errors import TaskError

from .hands import how_it_ended, interpreter_flags, module_path
from .job_messages import CALL, DONE, FAILED, NOTHING, Packed, dumps, hear, pack, say

_PROGRAM = (
    "import sys; sys.path[:] = sys.argv.pop(1).splitlines(); "
    "from grandpa_kfp.engine.processes.job_worker import main; main()"
)
_ENDS_WITHIN_S = 2.0


class _Remote(Exception):
    """Where in its process a call failed; the cause of what its future raises."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


class _Process:
    """One of them. `call` is for one thread at a time."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        read_end, self._life = os.pipe()
        self._socket = ours
        self._reader = ours.makefile("rb")
        with theirs:
            self._popen = subprocess.Popen(
                [
                    sys.executable, *interpreter_flags(), "-c", _PROGRAM, "\n".join(module_path()),
                    str(theirs.fileno()), str(read_end),
                ],
                pass_fds=[theirs.fileno(), read_end], stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        os.close(read_end)

    def call(self, message: Packed) -> tuple[int, Any]:
        """What it answers; what it prints meanwhile is printed here. Raises EOFError, OSError when it is gone."""
        say(self._socket, message)
        while True:
            heard = hear(self._reader)
            if heard.kind in (DONE, FAILED):
                return heard.kind, heard.parts()
            stream, text = heard.parts()
            with suppress(OSError, ValueError):  # closed: nobody is there to read it
                getattr(sys, stream).write(text)

    def kill(self) -> None:
        """Ends it at once, with all that its calls have started."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._popen.pid, signal.SIGKILL)

    def ask_to_end(self) -> None:
        """It ends when it has nothing to do."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def end(self, within_s: float = _ENDS_WITHIN_S) -> int:
        """It is gone when this returns; its exit code."""
        if self._life < 0:
            return self._popen.wait()
        self.ask_to_end()
        with suppress(subprocess.TimeoutExpired):
            self._popen.wait(within_s)
        self.kill()
        code = self._popen.wait()
        self._reader.close()
        self._socket.close()
        life, self._life = self._life, -1
        os.close(life)
        return code


@dataclass(frozen=True, slots=True)
class Packaged:
    """A call on its way. name: of the function."""

    name: str
    message: Packed


class JobProcesses:
    """At most as many processes as threads call `call`. initializer: called in each process before anything else."""

    def __init__(self, initializer: Callable[..., object] | None, initargs: Sequence[Any]) -> None:
        self._lock = threading.Lock()
        self._idle: list[_Process] = []
        self._all: set[_Process] = set()
        self._closed = False
        self._modules = 0
        self._files: Mapping[str, str] = NOTHING
        self._first = None if initializer is None else self.package(initializer, tuple(initargs), {})
        weakref.finalize(self, _end_own, os.getpid(), self._all)

    def package(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Packaged:
        """The call, pickled; in the thread that makes it, which may be importing the module of the function.

        Raises what pickling raises.
        """
        place = None
        if in_task():
            context = current()
            place = (context.run_id, context.task, context.attempt)
        name = getattr(function, "__qualname__", type(function).__qualname__)
        return Packaged(name, pack(CALL, dumps(function), args, kwargs or NOTHING, place, self._scripts()))

    def call(self, job: Packaged) -> Any:
        """What the function returns in a process. Raises what it raises; TaskError where the process dies of it."""
        with self._lock:
            process = self._idle.pop() if self._idle else None
        if process is None:
            process = self._start()
        try:
            return self._ask(process, job)
        finally:
            with self._lock:
                kept = process in self._all and not self._closed
                if kept:
                    self._idle.append(process)
            if not kept:
                self._end(process)

    def _start(self) -> _Process:
        process = _Process()
        with self._lock:
            self._all.add(process)
            if self._closed:  # while it was started
                process.kill()
        if self._first is not None:
            try:
                self._ask(process, self._first)
            except BaseException:
                self._end(process)
                raise
        return process

    def _ask(self, process: _Process, job: Packaged) -> Any:
        try:
            kind, parts = process.call(job.message)
        except (EOFError, ConnectionError):
            code = self._end(process)
            raise TaskError(f"the process that ran {job.name} {how_it_ended(code)}") from None
        if kind == DONE:
            return parts[0]
        raise _failure(*parts)

    def _scripts(self) -> Mapping[str, str]:
        """Files that were loaded under names of ours, which no import finds."""
        count = len(sys.modules)
        if count != self._modules:
            self._modules = count
            self._files = {
                name: file
                for name, module in tuple(sys.modules.items())
                if name.startswith(SCRIPT_PREFIX) and (file := getattr(module, "__file__", None))
            } or NOTHING
        return self._files

    def _end(self, process: _Process) -> int:
        with self._lock:
            self._all.discard(process)
        return process.end()

    def close(self) -> None:
        """Ends those that have nothing to do now, and the others with what they do."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for process in idle:
            self._end(process)

    def kill(self) -> None:
        """Ends all of them now: what they do fails."""
        with self._lock:
            self._closed = True
            everyone = tuple(self._all)
        for process in everyone:
            process.kill()


def _failure(pickled: bytes, line: str, text: str) -> BaseException:
    error: BaseException | None = None
    if pickled:
        with suppress(Exception):  # its class may be one that only the other process can load
            error = pickle.loads(pickled)
    if not isinstance(error, BaseException):
        error = TaskError(line)
    if text:
        error.__cause__ = _Remote(text)
    return error


def _end_own(owner: int, everyone: set[_Process]) -> None:
    """At the end of the process that has them, not of a fork of it."""
    if os.getpid() != owner:
        return
    for process in tuple(everyone):
        process.ask_to_end()
    until = time.monotonic() + _ENDS_WITHIN_S
    for process in tuple(everyone):
        process.end(max(0.0, until - time.monotonic()))
