"""How a worker runs one task: its inputs from parcels, its code, its body by the same `perform` that a container
runs, and what the parent is told of it. `worker` calls it, on any of its lanes.
"""

from __future__ import annotations

import contextlib
import contextvars
import os
import pickle
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from grandpa_kfp_runtime.code.marks import unmarked
from grandpa_kfp_runtime.context import TaskContext, put
from grandpa_kfp_runtime.contract import Interface
from grandpa_kfp_runtime.keeping import Keeper
from grandpa_kfp_runtime.keeping import put as keep_in
from grandpa_kfp_runtime.logged.outputs import note_outputs
from grandpa_kfp_runtime.task import call, perform, split_outputs

from .. import environment, numeric
from ..control import columns
from ..growth import Growth
from . import segments, specs
from .fragments import EMPTY, GATHER, Fragment, FragmentMaker
from .holdings import Holdings, read_stored
from .parcels import HELD, MISSING, PACKED, PLAIN, SEGMENT, STORED, Parcel, in_segment, unpacked
from .prints import FramedOutput, Owner, Voice
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


class Arrived:
    """A segment's descriptor, open until its message's tasks have run."""

    __slots__ = ("descriptor", "lease")

    def __init__(self, descriptor: int, lease: segments.Lease) -> None:
        self.descriptor = descriptor
        self.lease = lease

    def __del__(self) -> None:
        os.close(self.descriptor)


class UnderWay:
    """What a lane works on: its task, None between two; the inputs that it has so far."""

    __slots__ = ("inputs", "spec")

    def __init__(self) -> None:
        self.spec: Spec | None = None
        self.inputs: dict[str, Any] = {}


class Runner:
    """folder: the unpacked code; say: tells the parent; note: keeps a remark for it."""

    def __init__(self, folder: str, say: Callable[[tuple[Any, ...]], None], note: Callable[[str], None]) -> None:
        self._folder = folder
        self._scratch = ""
        self._say = say
        self._note = note
        self._interfaces: list[tuple[str, Interface, bytes | None]] = []
        self._functions: dict[str, Any] = {}  # of nodes that came as bytes
        self._growing: dict[int, Growth] = {}  # tasks that have more to tell of what they become
        self._fragments = FragmentMaker(self._parcel)
        self._opening = threading.Lock()
        self._teller = Teller()
        self._prints = Voice()
        self._opened: Loader | None = None  # of this or an earlier run
        self._loader: Loader | None = None  # when it is known to have the code of this run
        self._base = contextvars.copy_context()
        self._keeper = Keeper()
        self._base.run(keep_in, self._keeper)
        self._setting = Setting("", "", "", "", "", 0, {}, "")
        self._store: Store | None = None
        self._spool_store: Store | None = None
        self.holdings = Holdings(self._spool, None, note)

    def learn(self, first: int, interfaces: tuple[tuple[str, Interface, bytes | None], ...]) -> None:
        """Interfaces that specs name by number, from `first` on."""
        self._interfaces[first:] = interfaces

    def begin(self, setting: Setting) -> None:
        """Another run: nothing of the one before it stays."""
        from grandpa_kfp_runtime.stores import open_store

        for name in os.environ.keys() - setting.environ.keys():
            del os.environ[name]
        os.environ.update(setting.environ)
        self._setting = setting
        self._scratch = os.path.join(os.path.dirname(setting.spool), "tasks")  # goes with the run, if not before
        self._interfaces.clear()
        self._growing.clear()
        self._fragments.begin(caching=setting.caching)
        self._spool_store = None
        self._store = open_store(setting.store) if setting.store else None
        self.holdings.clear()
        self.holdings = Holdings(self._spool, self._store, self._note)
        self._loader = None

    def close(self) -> None:
        """The worker ends in order: what it has kept ends too."""
        self._keeper.close()

    def _spool(self) -> Store:
        if self._spool_store is None:
            from grandpa_kfp_runtime.stores.file import FileStore

            self._spool_store = FileStore(self._setting.spool)
        return self._spool_store

    def run(self, spec: Spec, arrived: dict[int, Arrived], under_way: UnderWay) -> Outcome:
        """The task's end, of whatever kind. arrived: the segments that it reads, by number."""
        key, interface, code = self._interfaces[spec.interface]
        under_way.spec = spec
        output = FramedOutput(self._prints, Owner(self._setting.run_id, spec.number, spec.attempt))
        context = TaskContext(
            self._setting.run_id,
            spec.id,
            spec.attempt,
            folder=self._scratch,
            open_log=lambda: self._open_log(spec),
            output=output,
        )
        inputs: dict[str, Any] = {}
        under_way.inputs = inputs
        if spec.env:
            environment.enter(spec.env)
        started, begun = time.time(), time.perf_counter()
        try:
            loader = self._loader or self._open()
            for item, source in zip(interface.inputs, spec.sources, strict=True):
                if source[0] == MISSING:
                    continue
                inputs[item.name] = (
                    source[1] if source[0] == PLAIN else self._input(source, arrived, context.scratch_dir)
                )
            if key == GATHER:
                outputs: Any = _gathered(spec, interface, inputs, loader.load)
            else:
                if spec.flags & specs.VERBOSE:
                    output.write("stderr", _told(f"attempt {spec.attempt}", inputs))
                load = loader.load if code is None else self._loading(key, code, loader)
                with numeric.limited(spec.env) if spec.env else _AS_IT_IS:
                    outputs = self._base.copy().run(_perform, context, key, interface, inputs, load, self._grown)
            if type(outputs) is _Grown:
                return Grew(spec.number, started, time.perf_counter() - begun, *self._become(spec, outputs))
            if spec.flags & specs.VERBOSE:
                output.write("stderr", _told(f"after {time.perf_counter() - begun:.3f} s", outputs))
            parcels, handles = self.holdings.publish(spec.id, outputs, spec.wanted)
            note_outputs(context.log, outputs, handles, {})
            logged = self._all_logged(spec, context)
            return Finished(spec.number, started, time.perf_counter() - begun, parcels, handles, logged)
        except BaseException as error:
            failed = self.failure(spec, inputs, error, started, time.perf_counter() - begun)
            return failed._replace(logged=self._all_logged(spec, context))
        finally:
            if spec.env:
                environment.leave(spec.env)
            under_way.spec = None
            under_way.inputs = {}
            output.close()
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
            for _ in range(spec.flags // specs.PARTS):
                next(parts, None)
        else:
            assert grown.graph is not None
            parts = iter([(grown.graph, 0)])
        growth = Growth(outputs, parts, listed=grown.series is not None)
        fragment = self._fragments.next_of(growth) or EMPTY
        if fragment.more:
            self._growing[spec.number] = growth
        return growth.listed, fragment

    def say_more(self, number: int) -> None:
        growth = self._growing[number]
        try:
            fragment: Fragment | str = self._fragments.next_of(growth) or EMPTY
        except Exception as error:  # the parent makes it the task's failure
            fragment = f"{type(error).__name__}: {error}"
        if not isinstance(fragment, Fragment) or not fragment.more:
            del self._growing[number]
        self._say((specs.NEXT, number, fragment))

    def _parcel(self, value: Any, name: str) -> Parcel:
        """A constant of a task to come."""
        return self.holdings.constant(value, name)

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
            self._teller.tell(lambda: self._say((specs.LOGGED, spec.number, spec.attempt, take())))

        return LaneLog(tell, self.holdings.keep, Redactor.from_environment(spec.secrets)).log

    def _all_logged(self, spec: Spec, context: TaskContext) -> Logged | None:
        """All that the task logged, what was not yet told of it told now; None for nothing."""
        log = context.opened_log
        if log is None:
            return None
        self._say((specs.LOGGED, spec.number, spec.attempt, log.take()))
        return log.logged()

    # --- inputs, code ----------------------------------------------------------------------------------

    def _input(self, source: Parcel, arrived: dict[int, Arrived], scratch: Callable[[], Path]) -> Any:
        kind = source[0]
        if kind == PACKED:
            return unpacked(source, scratch)
        if kind == HELD:
            return self.holdings.fetch(source[1], take=source[2])
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

            loader = self._opened
            if loader is None:
                loader = self._opened = Loader(self._folder)
            else:
                loader.refresh()
            self._enter_main(loader)
            self._loader = loader
            return loader

    def _enter_main(self, loader: Loader) -> None:
        main = self._setting.main
        if main not in loader.modules or sys.modules["__main__"] is sys.modules.get(main):
            return
        import importlib

        from ...loading import marked_as_loading

        with marked_as_loading(main):  # a run at its top level would load it in workers again, without end
            sys.modules["__main__"] = importlib.import_module(main)

    def failure(
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


_AS_IT_IS = contextlib.nullcontext()


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
    rows = [row for part in parts for row in part] if spec.flags & specs.LISTED else None
    value = parts[0] if rows is None else columns(rows, interface.outputs)
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


def _told(when: str, values: dict[str, Any]) -> str:
    from grandpa_kfp_runtime.values.summaries import summary

    listed = ", ".join(f"{name} = {summary(value)}" for name, value in values.items()) or "nothing"
    return f"{when}: {listed}\n"
