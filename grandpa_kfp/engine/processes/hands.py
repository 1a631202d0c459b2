"""The parent's end of one worker process: started, spoken to, its death noticed and told."""

from __future__ import annotations

import mmap
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from grandpa_kfp_runtime.contract import Interface

from . import segments, specs
from .channel import Incoming, Message, Outgoing
from .prints import Printed, Prints

_PROGRAM = (
    "import sys; sys.path[:] = sys.argv.pop(1).splitlines(); "
    "from grandpa_kfp.engine.processes.worker import main; main()"
)
_SECOND_S = 2.0
_GRACE_S = 2.0
"""A worker that was asked to end has so long for it, before it is killed."""
_LOOK_EVERY_S = 0.002
_COUNT = struct.Struct("<Q")  # of tasks that a lane has begun


@dataclass(slots=True)
class Chunk:
    """Tasks that went to a lane in one message, run in this order.

    at: the first that has not been reported; told: how many have been said to have begun.
    """

    tasks: list[int]
    tiny: bool = False
    at: int = 0
    told: int = 0

    @property
    def left(self) -> list[int]:
        return self.tasks[self.at :]


@dataclass(slots=True, eq=False)
class Lane:
    """One task at a time. chunks: what is under way, the first one being worked on.

    reported: tasks whose end the lane has told; heard: when it last spoke (time.monotonic).
    """

    hand: Hand
    number: int
    chunks: deque[Chunk] = field(default_factory=deque)
    reported: int = 0
    heard: float = 0.0
    asked_back: bool = False

    @property
    def touched(self) -> int:
        """How many tasks the lane has begun and not reported, by the worker's own last word in shared memory."""
        return int(_COUNT.unpack_from(self.hand.progress, self.number * _COUNT.size)[0]) - self.reported


class Hand:
    """One worker process. alone: it has a task whose time is limited, and that no other shall die with.

    devices: the GPUs that its tasks have seen, which libraries read once a process.
    """

    def __init__(self, number: int, folder: str, lanes: int) -> None:
        self.number = number
        self.lanes = [Lane(self, index) for index in range(lanes)]
        self.alone = False
        self.devices: tuple[str, ...] = ()
        self.ready = False
        self.interfaces: dict[int, int] = {}
        self.run_id = ""
        self.expired: specs.Failed | None = None
        board = segments.create_small(mmap.PAGESIZE)
        self.progress = mmap.mmap(board, mmap.PAGESIZE)
        self.prints = Prints()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self.socket = ours
        with theirs:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    *interpreter_flags(),
                    "-c",
                    _PROGRAM,
                    "\n".join(module_path()),
                    str(theirs.fileno()),
                    str(board),
                    folder,
                    str(lanes),
                ],
                pass_fds=[theirs.fileno(), board],
                stdin=subprocess.DEVNULL,
                stdout=self.prints.theirs,
                stderr=self.prints.theirs,
                start_new_session=True,
            )
        os.close(board)
        self.prints.close_theirs()
        self.incoming = Incoming(ours)
        self._outgoing = Outgoing(ours)
        self.blocked = False
        self._group_is_gone = False

    def fileno(self) -> int:
        return self.socket.fileno()

    @property
    def busy(self) -> int:
        return sum(1 for lane in self.lanes if lane.chunks)

    def say(self, *message: Any, descriptors: Sequence[int] = ()) -> None:
        sent: Message = message
        self.blocked = not self._outgoing.send(sent, descriptors)

    def go_on(self) -> None:
        """The socket takes more."""
        self.blocked = not self._outgoing.flush()

    def interface(self, number: int, node: str, interface: Interface, code: bytes | None) -> int:
        """The worker's number for an interface, told when it is new to it. code: of a node that it cannot import."""
        known = self.interfaces.get(number)
        if known is None:
            known = self.interfaces[number] = len(self.interfaces)
            self.say(specs.INTERFACES, known, ((node, interface, code),))
        return known

    def kill(self) -> None:
        """Ends it and what its tasks started, at once."""
        if not self._group_is_gone:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()

    def ask_to_stop(self) -> None:
        """SIGTERM for it and for what its tasks started."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGTERM)

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended, and all that its tasks started."""
        if self.process.poll() is None:
            return False
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            self._group_is_gone = True  # its number may be another's from now on
            return True
        except PermissionError:
            return False
        return False

    def ask_to_end(self) -> None:
        self.say(specs.END)

    def close(self, *, gently: bool) -> int:
        """The process is gone when this returns; its exit code. gently: it was asked to end, and gets some time."""
        if gently:
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(_SECOND_S)
        self.kill()
        code = self.process.wait()
        show([*self.prints.read(), *self.prints.rest()])
        self.prints.close()
        self._outgoing.close()
        self.incoming.close()
        self.socket.close()
        self.progress.close()
        return code


def show(printed: Sequence[Printed]) -> None:
    """What a worker printed that is no task's."""
    for item in printed:
        if sys.stderr is not None:
            with suppress(OSError, ValueError):  # closed: nobody is there to read it
                sys.stderr.write(item.text)
                sys.stderr.flush()


def stop(hands: Sequence[Hand]) -> None:
    """Asks busy workers to end, and gives them some time for it."""
    for hand in hands:
        hand.ask_to_stop()
    until = time.monotonic() + _GRACE_S
    while time.monotonic() < until and not all(hand.has_ended for hand in hands):
        time.sleep(_LOOK_EVERY_S)


def how_it_ended(code: int) -> str:
    """What a worker's exit code says.

    >>> how_it_ended(-9), how_it_ended(3)
    ('was killed by SIGKILL (kill -9, or the system was out of memory)', 'ended itself with exit code 3')
    """
    if code >= 0:
        return f"ended itself with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    why = {
        "SIGKILL": " (kill -9, or the system was out of memory)",
        "SIGSEGV": " (a crash in native code)",
        "SIGABRT": " (native code gave up)",
        "SIGBUS": " (a crash in native code, or shared memory was full)",
    }.get(name, "")
    return f"was killed by {name}{why}"


def module_path() -> list[str]:
    """Where this process finds modules, the current folder by its name."""
    return [entry or os.getcwd() for entry in sys.path if "\n" not in entry]


def interpreter_flags() -> list[str]:
    """How this interpreter was started, as far as it matters for tasks."""
    flags = [f"-W{option}" for option in sys.warnoptions]
    flags += [f"-X{name}" if value is True else f"-X{name}={value}" for name, value in sys._xoptions.items()]
    if sys.flags.optimize:
        flags.append("-" + "O" * sys.flags.optimize)
    return flags
