"""The other end: a clean interpreter that runs tasks for one parent, and ends when the parent does.

    python -c "..." SOCKET BOARD CODE_FOLDER LANES   # two descriptors, the unpacked code, tasks at once

A thread listens; lane 0 is the main thread, further lanes are threads. Each lane runs its tasks in order,
by the same `perform` that a container runs.
"""

from __future__ import annotations

import contextlib
import contextvars
import mmap
import os
import pickle
import signal
import socket
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from types import FrameType
from typing import TYPE_CHECKING, Any

from grandpa_kfp_runtime.code.marks import unmarked
from grandpa_kfp_runtime.context import TaskContext, put
from grandpa_kfp_runtime.contract import Interface
from grandpa_kfp_runtime.errors import TaskTimeout
from grandpa_kfp_runtime.logged.outputs import note_outputs
from grandpa_kfp_runtime.task import call, perform, split_outputs

from .. import environment
from ..growth import Growth
from . import segments, specs
from .channel import Closed, Incoming, Voice
from .fragments import EMPTY, GATHER, Fragment, FragmentMaker
from .holdings import Holdings, read_stored
from .parcels import HELD, PACKED, PLAIN, SEGMENT, STORED, Key, Parcel, in_segment, unpacked
from .specs import Failed, Finished, Grew, Outcome, Setting, Spec
from .teller import Teller

if TYPE_CHECKING:
    from grandpa_kfp_compiler.graph import Graph
    from grandpa_kfp_runtime.code.loader import Loader
    from grandpa_kfp_runtime.logged.entries import Logged
    from grandpa_kfp_runtime.logged.task_log import TaskLog
    from grandpa_kfp_runtime.recording import TaskBody
    from grandpa_kfp_runtime.stores import Store

    from ...authoring.mapping import Series

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
    os.register_at_fork(after_in_child=sock.close)  # a task's own child keeps nobody waiting for our end
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears of Ctrl-C, and decides
    Worker(sock, progress, folder, lanes).serve()


class _Arrived:
    """A segment's descriptor, open until its message's tasks have run."""

    __slots__ = ("descriptor", "lease")

    def __init__(self, descriptor: int, lease: segments.Lease) -> None:
        self.descriptor = descriptor
        self.lease = lease

    def __del__(self) -> None:
        os.close(self.descriptor)


class _Lane:
    """specs: what is still to run, each with the segments that its message brought; thread: where it runs."""

    __slots__ = ("current", "inputs", "thread", "waiting", "wake")

    def __init__(self) -> None:
        self.waiting: deque[tuple[Spec, dict[int, _Arrived]]] = deque()
        self.wake: SimpleQueue[bool] = SimpleQueue()
        self.thread = 0
        self.current: Spec | None = None
        self.inputs: dict[str, Any] = {}


class Worker:
    """progress: shared with the parent, counts the tasks that each lane has begun; folder: the unpacked code."""

    def __init__(self, sock: socket.socket, progress: mmap.mmap, folder: str, lanes: int) -> None:
        self._incoming = Incoming(sock)
        self._voice = Voice(sock)
        self._progress = progress
        self._folder = folder
        self._lanes = [_Lane() for _ in range(lanes)]
        self._interfaces: list[tuple[str, Interface, bytes | None]] = []
        self._functions: dict[str, Any] = {}  # of nodes that came as bytes
        self._growing: dict[int, Growth] = {}  # tasks that have more to tell of what they become
        self._fragments = FragmentMaker(self._parcel)
        self._opening = threading.Lock()
        self._teller = Teller()
        self._arrived: dict[int, _Arrived] = {}
        self._let_go: deque[int] = deque()
        self._notes: deque[str] = deque()
        self._loader: Loader | None = None
        self._process = os.getpid()
        self._base = contextvars.copy_context()
        self._setting = Setting("", "", "", "", "", 0, {})
        self._store: Store | None = None
        self._spool_store: Store | None = None
        self._holdings = Holdings(self._spool, None, self._notes.append)

    def serve(self) -> None:
        """Returns when the parent says so; when it is gone, nothing of this process stays."""
        for number, lane in enumerate(self._lanes[1:], 1):
            threading.Thread(target=self._work, args=(lane, number), name=f"grandpa-{number}", daemon=True).start()
        threading.Thread(target=self._listen, name="grandpa-parent", daemon=True).start()
        self._voice.say((specs.READY,))
        self._work(self._lanes[0], 0)

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
                self._arrived[number] = _Arrived(descriptor, segments.Lease(number, self._let_go.append))
        elif kind == specs.EXPORT:
            self._export(message[1], message[2], message[3], descriptors[0])
        elif kind == specs.INTERFACES:
            self._interfaces[message[1] :] = message[2]
        elif kind == specs.MORE:
            self._say_more(message[1])
        elif kind == specs.DROP_HELD:
            for key in message[1]:
                self._holdings.drop(key)
        elif kind == specs.GIVE_BACK:
            self._give_back(message[1])
        elif kind == specs.EXPIRE:
            self._expire(*message[1:])
        elif kind == specs.SETTING:
            self._begin_run(message[1])
        elif kind == specs.END:
            for lane in self._lanes:
                lane.wake.put(False)

    def _begin_run(self, setting: Setting) -> None:
        from grandpa_kfp_runtime.stores import open_store

        for name in os.environ.keys() - setting.environ.keys():
            del os.environ[name]
        os.environ.update(setting.environ)
        self._setting = setting
        self._interfaces.clear()
        self._growing.clear()
        self._spool_store = None
        self._store = open_store(setting.store) if setting.store else None
        self._holdings.clear()
        self._holdings = Holdings(self._spool, self._store, self._notes.append)

    def _spool(self) -> Store:
        if self._spool_store is None:
            from grandpa_kfp_runtime.stores.file import FileStore

            self._spool_store = FileStore(self._setting.spool)
        return self._spool_store

    def _export(self, key: Key, segment: int, used_before: bool, descriptor: int) -> None:
        try:
            layout, codec, meta = self._holdings.export(key, descriptor, used_before=used_before)
        except OSError as error:
            self._voice.say((specs.NOT_EXPORTED, key, segment, str(error)))
        else:
            self._voice.say((specs.EXPORTED, key, segment, layout, codec, meta))
        finally:
            os.close(descriptor)

    def _give_back(self, number: int, *, all_of_it: bool = False) -> None:
        """Hands back what the lane has not begun. A task that takes what the one before it made stays with that one,
        unless that has failed (`all_of_it`)."""
        lane = self._lanes[number]
        back: list[int] = []
        group: list[tuple[Spec, dict[int, _Arrived]]] = []
        with contextlib.suppress(IndexError):
            while True:
                group.append(lane.waiting.pop())
                inside = [source[1] for source in group[-1][0].sources if source[0] == HELD]
                if all_of_it or not inside:
                    back.extend([spec.number for spec, _ in group])
                    group = []
                if all_of_it:
                    for key in inside:
                        self._holdings.cancel(key)
        if group:
            lane.waiting.extend(reversed(group))
            lane.wake.put(True)
        self._voice.say((specs.BACK, number, tuple(back)))

    def _expire(self, number: int, task: int, message: str) -> None:
        """The time of a task is over: says where it is. The parent ends this process then."""
        lane = self._lanes[number]
        spec = lane.current
        if spec is None or spec.number != task:
            return  # it has just ended; its report is under way
        frame = sys._current_frames().get(lane.thread)
        error = TaskTimeout(message)
        self._voice.say((specs.EXPIRED, number, tuple(self._failure(spec, lane.inputs, error, 0.0, 0.0, frame))))

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
                self._holdings.settle()
                outcome = self._run(lane, spec, arrived)
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

    def _speak(self, number: int, told: list[Outcome]) -> None:
        if told:
            let_go = tuple([self._let_go.popleft() for _ in range(len(self._let_go))])
            notes = tuple([self._notes.popleft() for _ in range(len(self._notes))])
            outcomes = tuple([(specs.KINDS.index(type(item)), tuple(item)) for item in told])
            self._voice.say((specs.DONE, number, outcomes, let_go, notes))
            told.clear()

    def _run(self, lane: _Lane, spec: Spec, arrived: dict[int, _Arrived]) -> Outcome:
        key, interface, code = self._interfaces[spec.interface]
        lane.current = spec
        context = TaskContext(self._setting.run_id, spec.id, spec.attempt, open_log=lambda: self._open_log(spec))
        inputs: dict[str, Any] = {}
        lane.inputs = inputs
        if spec.env:
            environment.enter(spec.env)
        started, begun = time.time(), time.perf_counter()
        try:
            loader = self._loader or self._open()
            for item, source in zip(interface.inputs, spec.sources, strict=True):
                inputs[item.name] = (
                    source[1] if source[0] == PLAIN else self._input(source, arrived, context.scratch_dir)
                )
            if key == GATHER:
                outputs: Any = _gathered(spec, interface, inputs, loader.load)
            else:
                if spec.flags & specs.VERBOSE:
                    _say(spec, f"attempt {spec.attempt}", inputs)
                load = loader.load if code is None else self._loading(key, code, loader)
                outputs = self._base.copy().run(_perform, context, key, interface, inputs, load, self._grown)
            if type(outputs) is _Grown:
                return Grew(spec.number, started, time.perf_counter() - begun, *self._become(spec, outputs))
            if spec.flags & specs.VERBOSE:
                _say(spec, f"after {time.perf_counter() - begun:.3f} s", outputs)
            parcels, handles = self._holdings.publish(spec.id, outputs, spec.wanted)
            note_outputs(context.log, outputs, handles, {})
            logged = self._all_logged(spec, context)
            return Finished(spec.number, started, time.perf_counter() - begun, parcels, handles, logged)
        except BaseException as error:
            failed = self._failure(spec, inputs, error, started, time.perf_counter() - begun)
            return failed._replace(logged=self._all_logged(spec, context))
        finally:
            if spec.env:
                environment.leave()
            lane.current = None
            lane.inputs = {}
            context.close()

    # --- what tasks become -----------------------------------------------------------------------------

    def _grown(self, result: Any, body: TaskBody) -> _Grown | None:
        """What a body returned, where it is more calls. Asked while its calls are known."""
        from ...authoring.grown import graph_of_result
        from ...authoring.mapping import Series

        if isinstance(result, Series):
            return _Grown(result, None)
        graph = graph_of_result(result, body.calls) if body.calls else None
        return None if graph is None else _Grown(None, graph)

    def _become(self, spec: Spec, grown: _Grown) -> tuple[bool, Fragment]:
        """The first part of what a task goes on as; whether its parts are those of a list."""
        outputs = self._interfaces[spec.interface][1].outputs
        name = spec.id.rpartition("/")[2]
        if grown.series is not None:
            parts = grown.series.graphs(self._setting.window, where=spec.where, body=name)
        else:
            assert grown.graph is not None
            parts = iter([(grown.graph, 0)])
        growth = Growth(outputs, parts, listed=grown.series is not None)
        fragment = self._fragments.next_of(growth) or EMPTY
        if fragment.more:
            self._growing[spec.number] = growth
        return growth.listed, fragment

    def _say_more(self, number: int) -> None:
        growth = self._growing[number]
        try:
            fragment: Fragment | str = self._fragments.next_of(growth) or EMPTY
        except Exception as error:  # the parent makes it the task's failure
            fragment = f"{type(error).__name__}: {error}"
        if not isinstance(fragment, Fragment) or not fragment.more:
            del self._growing[number]
        self._voice.say((specs.NEXT, number, fragment))

    def _parcel(self, value: Any, name: str) -> Parcel:
        """A constant of a task to come."""
        return self._holdings.constant(value, name)

    def _loading(self, key: str, code: bytes, loader: Loader) -> Callable[[str], Any]:
        """Finds a function that came as bytes under its key, and everything else where it always is."""
        function = self._functions.get(key)
        if function is None:
            function = self._functions[key] = unmarked(pickle.loads(code))
        return lambda asked: function if asked == key else loader.load(asked)

    # --- what tasks log --------------------------------------------------------------------------------

    def _open_log(self, spec: Spec) -> TaskLog:
        from grandpa_kfp_runtime.redaction import Redactor

        from ..task_logs import LaneLog

        def tell(take: Callable[[], Logged]) -> None:
            self._teller.tell(lambda: self._voice.say((specs.LOGGED, spec.number, spec.attempt, take())))

        return LaneLog(tell, self._holdings.keep, Redactor.from_environment(spec.secrets)).log

    def _all_logged(self, spec: Spec, context: TaskContext) -> Logged | None:
        """All that the task logged, what was not yet told of it told now; None for nothing."""
        log = context.opened_log
        if log is None:
            return None
        self._voice.say((specs.LOGGED, spec.number, spec.attempt, log.take()))
        return log.logged()

    # --- inputs, code ----------------------------------------------------------------------------------

    def _input(self, source: Parcel, arrived: dict[int, _Arrived], scratch: Callable[[], Path]) -> Any:
        kind = source[0]
        if kind == PACKED:
            return unpacked(source, scratch)
        if kind == HELD:
            return self._holdings.fetch(source[1], take=source[2])
        if kind == SEGMENT:
            segment = arrived[source[1]]
            return in_segment(source, segments.map_frames(segment.descriptor, source[2], segment.lease), scratch)
        assert kind == STORED
        return read_stored(source, self._store, self._spool, scratch())

    def _open(self) -> Loader:
        """The project's code, and the parent's script under the name `__main__` too, where it is part of it."""
        with self._opening:
            if self._loader is not None:
                return self._loader
            from grandpa_kfp_runtime.code.loader import Loader

            loader = Loader(self._folder)
            main = self._setting.main
            if main in loader.modules:
                import importlib

                sys.modules["__main__"] = importlib.import_module(main)
            self._loader = loader
            return loader

    def _failure(
        self,
        spec: Spec,
        inputs: dict[str, Any],
        error: BaseException,
        started: float,
        duration_s: float,
        frame: FrameType | None = None,
    ) -> Failed:
        from ..ledger import one_line
        from ..reports import Failing, failure

        task = Failing(spec.id, self._interfaces[spec.interface][0], spec.where, spec.secrets)
        handles = {
            item.name: source[1]
            for item, source in zip(self._interfaces[spec.interface][1].inputs, spec.sources, strict=True)
            if source[0] == STORED
        }
        told = failure(
            task,
            self._setting.run_id,
            spec.attempt,
            error,
            inputs=inputs,
            handles=handles,
            root=self._setting.root,
            frame=frame,
        )
        return Failed(
            spec.number, started, duration_s, type(told).__name__, one_line(error), str(told), _pickled(error)
        )


def _is_awaited(outcome: Outcome, spec: Spec, lane: _Lane) -> bool:
    """Whether a task that has left no output keeps the next ones of its chunk from running."""
    if type(outcome) is Failed:
        return True
    return any(
        source[0] == HELD and source[1][0] == spec.id for item, _ in tuple(lane.waiting) for source in item.sources
    )


class _Grown:
    """What a body returned that is more calls: those of a map, or a graph of them."""

    __slots__ = ("graph", "series")

    def __init__(self, series: Series | None, graph: Graph | None) -> None:
        self.series = series
        self.graph = graph


def _perform(
    context: TaskContext,
    key: str,
    interface: Interface,
    inputs: dict[str, Any],
    load: Callable[[str], Any],
    grown: Callable[[Any, TaskBody], Any],
) -> Any:
    put(context)
    return perform(key, interface, inputs, load, extend=grown)


def _gathered(spec: Spec, interface: Interface, inputs: dict[str, Any], load: Callable[[str], Any]) -> dict[str, Any]:
    """A grown task's outputs, made of what it has become."""
    parts = call(GATHER, interface, inputs, lambda key: _listed if key == GATHER else load(key))
    value = [item for part in parts for item in part] if spec.flags & specs.LISTED else parts[0]
    return split_outputs(value, interface.outputs)


def _listed(*parts: Any) -> list[Any]:
    return list(parts)


def _pickled(error: BaseException) -> bytes:
    """The exception for the parent, empty where it does not come back from a pickle."""
    try:
        data = pickle.dumps(error)
        pickle.loads(data)
    except Exception:  # whatever a user's exception does to be pickled
        return b""
    return data


def _say(spec: Spec, when: str, values: dict[str, Any]) -> None:
    from grandpa_kfp_runtime.values.summaries import summary

    listed = ", ".join(f"{name} = {summary(value)}" for name, value in values.items()) or "nothing"
    print(f"{spec.id}: {when}: {listed}", file=sys.stderr)
