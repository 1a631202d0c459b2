"""One entry for a compiled YAML: `run_pipeline_yaml` runs its containers' commands on this machine.

As Kubeflow Pipelines would: the same arguments, the same environment, values through a store, parameters
with KFP's losses, branches and loops decided when their inputs are there. `kfp_reading.py` reads the file,
`yaml_table.py` knows the tasks, `yaml_tasks.py` runs one, as a process (`subprocesses.py`) or in a container
(`containers.py`), `session.py` the whole.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from grandpa_kfp_runtime.contract import RESULT, Input, TaskCall
from grandpa_kfp_runtime.errors import CodecError, GrandpaError, ParameterError, StoreError, TaskError
from grandpa_kfp_runtime.stores import Store, check_reachable, open_store
from grandpa_kfp_runtime.stores.file import FileStore
from grandpa_kfp_runtime.typespec import Json
from grandpa_kfp_runtime.values.handles import from_handle, to_handle

from .cancelling import CancelToken
from .events import Subscriber, as_listener
from .kfp_pipeline import FILE, Source, YamlParameter, YamlPipeline
from .kfp_reading import check_ours, read_pipeline
from .kfp_values import arrives, check
from .parameters import missing, unknown
from .record import Record, new_id
from .resources import Limits
from .run import Run
from .scratch import Scratch
from .session import Settings, Tasks, conduct, note, on_threads
from .subprocesses import Processes
from .threads import default_lanes
from .yaml_table import NotMade, YamlTable
from .yaml_tasks import Echo, Place, Runner, YamlTasks, to_stderr


def run_pipeline_yaml(
    source: str | Path,
    parameters: Mapping[str, Any] | None = None,
    *,
    store: Store | str | Path | None = None,
    listeners: Sequence[Subscriber] = (),
    parallelism: int | None = None,
    limits: Mapping[str, Any] | None = None,
    keep_going: bool = False,
    cancel: CancelToken | None = None,
    root: str | Path | None = None,
    echo: Echo | None = None,
    engine: Literal["subprocess", "docker"] = "subprocess",
) -> Run:
    """Runs a pipeline that `grandpa compile` wrote, each task as a process of its own, and returns its `Run`.

    source: the file, or its text. parameters: by name; a value of the pipeline's own parameter type, or a
    Python value where the type travels as JSON text (a date, an enum). store: where values go, by default
    `.grandpa/store` below `root` (by default the current folder); the one in the file is not used.
    parallelism: processes at once. limits: what running tasks may hold together of `cpu`, `memory` and `gpu`.
    cancel: stops the run when somebody calls its `cancel`. echo: takes each line that a task prints, which then is no
    event.
    engine: `docker` runs each task in a container of its own image.

    Raises LoadError for a file that is not ours or was cut off, ParameterError, StoreError, ContainerError for
    what is wrong with Docker or an image, and TaskError for the first task that fails. Ctrl-C kills all
    processes within a second, containers within some seconds.
    """
    heard = tuple(map(as_listener, listeners))
    pipeline = read_pipeline(source)
    if engine != "docker":
        check_ours(source, pipeline)
    bound = bind_parameters(pipeline, parameters or {})
    run = Run(new_id(), pipeline.name, started=time.time())
    counted = Limits(limits, lambda text: note(run, text))
    folder = Path(root) if root is not None else Path.cwd()
    opened = _open(store, folder)
    host = None
    if engine == "docker":
        from .container_host import prepare

        host = prepare(pipeline, opened, echo or to_stderr)
    record = Record.create(
        run, folder, {"where": _where(source), "store": opened.location}, lambda text: note(run, text), logs=False
    )
    record.add("pipeline.yaml", lambda: pipeline.text)
    scratch = Scratch()
    place = Place((run.folder or scratch.folder("run")).resolve(), opened)
    runner: Runner
    shown = echo or (lambda task, line: work.printed(task, line))
    if host is None:
        runner = Processes(opened, shown)
    else:
        from .containers import Containers

        runner = Containers(run.id, place.folder, host, shown)
    table = YamlTable(run, pipeline.dag, bound, counted)
    work = Pods(YamlTasks(run, pipeline, table, place, runner), table, pipeline, place, scratch)
    waits_for = [task.after for task in pipeline.dag.tasks]
    tasks = Tasks(table.runs, waits_for, table.policies, table.requests, work.budget, always=pipeline.dag.always)
    settings = Settings(parallelism or default_lanes(), keep_going, cancel=cancel, listeners=heard)
    with _ended_by_sigterm():
        return conduct(run, tasks, work, on_threads(work, settings, work.skips), settings, record)


def bind_parameters(pipeline: YamlPipeline, given: Mapping[str, Any]) -> dict[str, Json]:
    """A value for every parameter, as it arrives in a container. Raises ParameterError naming all that is wrong."""
    faults = unknown(given, [parameter.name for parameter in pipeline.parameters], pipeline.name)
    bound: dict[str, Json] = {}
    for parameter in pipeline.parameters:
        name = parameter.name
        if name in given:
            try:
                bound[name] = _as_kfp(pipeline, parameter, given[name])
            except (ParameterError, CodecError) as error:
                faults.append(f"{pipeline.name}: parameter {name}: {error}")
        elif parameter.optional:
            bound[name] = arrives(parameter.default, parameter.type)
        else:
            faults.append(f"{pipeline.name}: {missing(name, parameter.type)}")
    if faults:
        raise ParameterError("\n".join(faults))
    return bound


def _as_kfp(pipeline: YamlPipeline, parameter: YamlParameter, value: Any) -> Json:
    from grandpa_kfp_runtime.parameters import UnknownClass, convert, no_class, to_json

    declared = _declared(pipeline, parameter.name)
    if declared is not None and declared.kind == "json" and declared.type is not None:
        if isinstance(value, str):
            try:
                convert(json.loads(value), declared.type, no_class)
                return value
            except UnknownClass:  # JSON it is; whether it fits, the tasks alone know
                return value
            except (ValueError, GrandpaError):
                pass  # not the JSON text of a value, so it is the value itself
        text = json.dumps(to_json(value, declared.type))
        _check_fits(json.loads(text), declared)
        return text
    wrong = check(value, parameter.type)
    if wrong:
        raise ParameterError(wrong)
    arrived = arrives(value, parameter.type)
    if declared is not None and declared.kind == "raw":
        _check_fits(arrived, declared)
    return arrived


def _check_fits(value: Json, declared: Input) -> None:
    """Raises ParameterError before anything runs where a task would; of the project's classes the tasks alone know."""
    from grandpa_kfp_runtime.parameters import UnknownClass, convert, no_class

    if declared.type is None or declared.path:
        return
    try:
        convert(value, declared.type, no_class)
    except UnknownClass:
        return


def _declared(pipeline: YamlPipeline, parameter: str) -> Input | None:
    """How the first task that reads the parameter declares it."""
    for task, name in pipeline.dag.consumers(parameter):
        if task.container is not None and task.container.is_task:
            call, _ = TaskCall.from_argv(task.container.args)
            return next((item for item in call.interface.inputs if item.name == name), None)
    return None


class Pods:
    """The run's work: its tasks, and its value at the end."""

    def __init__(
        self, tasks: YamlTasks, table: YamlTable, pipeline: YamlPipeline, place: Place, scratch: Scratch
    ) -> None:
        self._tasks = tasks
        self._table = table
        self._pipeline = pipeline
        self._place = place
        self._scratch = scratch
        self.budget, self.skips = tasks.budget, tasks.skips
        self.connect, self.run, self.publish, self.report = tasks.connect, tasks.run, tasks.publish, tasks.report
        self.give_up, self.ended, self.printed = tasks.give_up, tasks.ended, tasks.printed
        self.fall_back = tasks.fall_back

    def collect(self) -> tuple[Any, Mapping[str, str]]:
        handles: dict[str, str] = {}
        for name, source in self._pipeline.dag.outputs:
            with suppress(NotMade):  # of a task that was skipped
                handles[name] = self._handle(source)
        if RESULT not in handles:
            return None, handles
        return self._decode(handles[RESULT]), handles

    def close(self) -> None:
        self._tasks.close()
        self._scratch.close()

    def _handle(self, source: Source) -> str:
        """Of an output of the pipeline, which a task may have given in Kubeflow's own form."""
        value = self._table.value(self._table.root, source)
        kind = self._pipeline.dag.own_form(source)
        if not kind:
            return str(value)
        if isinstance(value, dict) and kind == FILE:
            return to_handle(Path(value["uri"]), self._place.store)
        return json.dumps(float(value) if kind == "NUMBER_DOUBLE" and isinstance(value, int) else value)

    def _decode(self, handle: str) -> Any:
        """The value of the workflow's handle; files in it go into the run's folder."""
        files = self._place.folder / "files"
        files.mkdir(exist_ok=True)
        try:
            return from_handle(handle, self._place.store, scratch=files)
        except CodecError:
            with self._code():  # its classes are in the code that the tasks carry
                return from_handle(handle, self._place.store, scratch=files)
        except StoreError as error:
            raise TaskError(f"{self._pipeline.name}: its result cannot be read: {error}") from error
        finally:
            if not any(files.iterdir()):
                files.rmdir()

    @contextmanager
    def _code(self) -> Iterator[None]:
        """The pipeline's modules, importable in this process for a moment."""
        from grandpa_kfp_runtime.launch.task_code import open_code

        containers = self._pipeline.dag.containers()
        env = next((dict(container.env) for _, _, container in containers if container.is_task), {})
        code = open_code(env, self._place.store, self._place.folder / "code")
        try:
            yield
        finally:
            code.close()


def _open(store: Store | str | Path | None, root: Path) -> Store:
    """The store, which other processes must be able to open by its location."""
    if store is None:
        return FileStore(root.resolve() / ".grandpa" / "store")
    opened = open_store(store) if isinstance(store, str | Path) else store
    if opened.location.startswith("memory:"):
        raise StoreError(
            "a store in memory belongs to one process, and each task of a compiled pipeline is a process of its own; "
            "use a folder or s3://bucket/prefix?endpoint=http://host:port"
        )
    check_reachable(opened)
    return opened


def _where(source: str | Path) -> str:
    return "" if isinstance(source, str) and "\n" in source else str(source)


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM ends the run as Ctrl-C does, so that no process of a task outlives this one."""
    ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if ours:
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
