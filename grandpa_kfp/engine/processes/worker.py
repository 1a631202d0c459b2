"""The other end: a clean interpreter that runs tasks for one parent, and ends when the parent does.

    python -c "..." SOCKET BOARD CODE_FOLDER LANES   # two descriptors, the unpacked code, tasks at once

A thread listens; lane 0 is the main thread, further lanes are threads. Each lane runs its tasks in order, by
`runner`.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import resource
import signal
import socket
import struct
import sys
import threading
import time
from collections import deque
from queue import SimpleQueue
from typing import Any

from grandpa_kfp_runtime.errors import StoreError, TaskTimeout
from grandpa_kfp_runtime.printed.stand_in import put_in_place

from . import segments, specs
from .channel import Closed, Incoming, Voice
from .manners import Manners
from .parcels import HELD, Key
from .runner import Arrived, Runner, UnderWay
from .specs import Failed, Finished, Outcome, Spec

_SPEAK_EVERY_S = 0.002
"""Reports of tiny tasks are sent together, but not later than this."""
_COUNT = struct.Struct("<Q")


def main() -> None:
    """The worker's whole life."""
    sock = socket.socket(fileno=int(sys.argv[1]))
    sock.set_inheritable(False)
    board = int(sys.argv[2])
    progress = mmap.mmap(board, mmap.PAGESIZE)
    os.close(board)
    folder, lanes = sys.argv[3], int(sys.argv[4])
    sys.argv = [""]
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a task may read very many segments
    os.register_at_fork(after_in_child=sock.close)  # a task's own child keeps nobody waiting for our end
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace", line_buffering=True)  # type: ignore[union-attr]
    put_in_place()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears of Ctrl-C, and decides
    Worker(sock, progress, folder, lanes).serve()


class _Lane:
    """waiting: what is still to run, each with the segments that its message brought; thread: where it runs."""

    __slots__ = ("thread", "under_way", "waiting", "wake")

    def __init__(self) -> None:
        self.waiting: deque[tuple[Spec, dict[int, Arrived]]] = deque()
        self.wake: SimpleQueue[bool] = SimpleQueue()
        self.thread = 0
        self.under_way = UnderWay()


class Worker:
    """progress: shared with the parent, counts the tasks that each lane has begun; folder: the unpacked code."""

    def __init__(self, sock: socket.socket, progress: mmap.mmap, folder: str, lanes: int) -> None:
        self._incoming = Incoming(sock)
        self._voice = Voice(sock)
        self._progress = progress
        self._lanes = [_Lane() for _ in range(lanes)]
        self._arrived: dict[int, Arrived] = {}
        self._let_go: deque[int] = deque()
        self._notes: deque[str] = deque()
        self._process = os.getpid()
        self._manners = Manners()
        self._runner = Runner(folder, self._voice.say, self._notes.append)

    def serve(self) -> None:
        """Returns when the parent says so; when it is gone, nothing of this process stays."""
        for number, lane in enumerate(self._lanes[1:], 1):
            threading.Thread(target=self._work, args=(lane, number), name=f"grandpa-{number}", daemon=True).start()
        threading.Thread(target=self._listen, name="grandpa-parent", daemon=True).start()
        self._voice.say((specs.READY,))
        self._work(self._lanes[0], 0)
        self._runner.close()

    # --- what the parent says ------------------------------------------------------------------------

    def _listen(self) -> None:
        try:
            while True:
                for message, descriptors in self._incoming.read():
                    self._hear(message, descriptors)
        except Closed:
            os.killpg(0, signal.SIGKILL)  # with what its tasks started
        except BaseException:  # a defect: the parent hears of it by this process's end
            import traceback

            traceback.print_exc()
            os._exit(70)

    def _hear(self, message: tuple[Any, ...], descriptors: list[int]) -> None:
        kind = message[0]
        if kind == specs.WORK:
            lane = self._lanes[message[1]]
            arrived, self._arrived = self._arrived, {}
            lane.waiting.extend([(Spec._make(item), arrived) for item in message[2]])
            lane.wake.put(True)
        elif kind == specs.SEGMENTS:
            for number, descriptor in zip(message[1], descriptors, strict=True):
                self._arrived[number] = Arrived(descriptor, segments.Lease(number, self._let_go.append))
        elif kind == specs.EXPORT:
            self._export(message[1], message[2], message[3], *descriptors)
        elif kind == specs.INTERFACES:
            self._runner.learn(message[1], message[2])
        elif kind == specs.MORE:
            self._runner.say_more(message[1])
        elif kind == specs.DROP_HELD:
            for key in message[1]:
                self._runner.holdings.drop(key)
        elif kind == specs.GIVE_BACK:
            self._give_back(message[1])
        elif kind == specs.EXPIRE:
            self._expire(*message[1:])
        elif kind == specs.SETTING:
            self._runner.begin(message[1])
            self._manners.folder = message[1].folder
            self._manners.go_home()
        elif kind == specs.END:
            for lane in self._lanes:
                lane.wake.put(False)

    def _export(self, key: Key, segment: int, used_before: bool, descriptor: int = -1) -> None:
        holdings = self._runner.holdings
        try:
            where: tuple[Any, ...]
            if descriptor < 0:
                where = (holdings.store(key),)
            else:
                where = holdings.export(key, descriptor, used_before=used_before)
        except (OSError, StoreError) as error:
            self._voice.say((specs.NOT_EXPORTED, key, segment, str(error)))
        else:
            self._voice.say((specs.EXPORTED, key, segment, *where))
        finally:
            if descriptor >= 0:
                os.close(descriptor)

    def _give_back(self, number: int, *, all_of_it: bool = False) -> None:
        """Hands back what the lane has not begun. A task that takes what the one before it made stays with that one,
        unless that has failed (`all_of_it`)."""
        lane = self._lanes[number]
        back: list[int] = []
        group: list[tuple[Spec, dict[int, Arrived]]] = []
        with contextlib.suppress(IndexError):
            while True:
                group.append(lane.waiting.pop())
                inside = [source[1] for source in group[-1][0].sources if source[0] == HELD]
                if all_of_it or not inside:
                    back.extend([spec.number for spec, _ in group])
                    group = []
                if all_of_it:
                    for key in inside:
                        self._runner.holdings.cancel(key)
        if group:
            lane.waiting.extend(reversed(group))
            lane.wake.put(True)
        self._voice.say((specs.BACK, number, tuple(back)))

    def _expire(self, number: int, task: int, message: str) -> None:
        """The time of a task is over: says where it is. The parent ends this process then."""
        lane = self._lanes[number]
        spec, inputs = lane.under_way.spec, lane.under_way.inputs
        if spec is None or spec.number != task:
            return  # it has just ended; its report is under way
        frame = sys._current_frames().get(lane.thread)
        error = TaskTimeout(message)
        self._voice.say((specs.EXPIRED, number, tuple(self._runner.failure(spec, inputs, error, 0.0, 0.0, frame))))

    # --- lanes ---------------------------------------------------------------------------------------

    def _work(self, lane: _Lane, number: int) -> None:
        lane.thread = threading.get_ident()
        begun = 0
        while lane.wake.get():
            told: list[Outcome] = []
            spoken = time.perf_counter()
            while lane.waiting:
                try:
                    spec, arrived = lane.waiting.popleft()
                except IndexError:
                    break
                begun += 1
                _COUNT.pack_into(self._progress, number * _COUNT.size, begun)
                self._runner.holdings.settle()
                outcome = self._runner.run(spec, arrived, lane.under_way)
                del arrived
                told.append(outcome)
                if os.getpid() != self._process:  # a task forked, and its child came out of the body as well
                    os._exit(0)
                if type(outcome) is not Finished and lane.waiting and _is_awaited(outcome, spec, lane):
                    self._speak(number, told)
                    self._give_back(number, all_of_it=True)
                    break
                now = time.perf_counter()
                if now - spoken > _SPEAK_EVERY_S or not lane.waiting:
                    self._speak(number, told)
                    told, spoken = [], now
            if told:
                self._speak(number, told)
            self._manners.mend()
            if len(self._lanes) == 1:  # else the folder is that of other tasks, too
                self._manners.go_home()

    def _speak(self, number: int, told: list[Outcome]) -> None:
        if told:
            let_go = tuple([self._let_go.popleft() for _ in range(len(self._let_go))])
            notes = tuple([self._notes.popleft() for _ in range(len(self._notes))])
            outcomes = tuple([(specs.KINDS.index(type(item)), tuple(item)) for item in told])
            self._voice.say((specs.DONE, number, outcomes, let_go, notes))
            told.clear()


def _is_awaited(outcome: Outcome, spec: Spec, lane: _Lane) -> bool:
    """Whether a task that has left no output keeps the next ones of its chunk from running."""
    if type(outcome) is Failed:
        return True
    return any(
        source[0] == HELD and source[1][0] == spec.id for item, _ in tuple(lane.waiting) for source in item.sources
    )
