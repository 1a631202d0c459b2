"""What Kubeflow would do with each task of a deployment: take its result from its cache, or run it, and why.

Kubeflow tells nobody what its cache holds. But its key is known (image, command, args, input values: `lower.py` writes
them for it), and what a task took and gave stands in the record that it left in the store. So a task is `cached` where
a run of the same pipeline had a container of the same image, command and args that Kubeflow might keep, whose record
names the same inputs, and the objects of its outputs are still there. What it gives is known then, and with it the
inputs of what comes after it.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from typing import Any

from grandpa_kfp_runtime.contract import FUSED, Interface, TaskCall
from grandpa_kfp_runtime.errors import DeployError, LoadError, ParameterError
from grandpa_kfp_runtime.stores import Store

from ..engine.kfp_containers import Container
from ..engine.kfp_pipeline import FromConstant, FromOneOf, FromParameter, FromTask, Source, YamlPipeline, YamlTask
from ..engine.kfp_reading import read_pipeline
from ..engine.kfp_values import arrives, from_output_file
from ..engine.memo.results import objects_of
from ..forcing import Forced
from ..planning import Planned, changed_parts, listed
from .code_parts import Parts, call_of, get_parts, parts_of
from .connecting import connect
from .preparing import Prepared, prepare
from .reaching import reach_store
from .remote import RemoteRun, pipeline_of, run_of
from .server import Server

_MOST_RUNS = 50
"""The newest runs of the pipeline that are looked through."""
_MOST_SEARCHED = 1000
_UNKNOWN = object()
_NOTHING = FromConstant(None)
_Key = tuple[str, tuple[str, ...], tuple[str, ...]]


def plan_deployment(workflow: Any, params: Mapping[str, Any] | None = None, **options: Any) -> list[Planned]:
    """For each task of a workflow what Kubeflow would do with it. Nothing is sent, nothing is written.

    params, options: as of `deploy`. Raises what `deploy` raises before it sends anything; DeployError where the store
    cannot be reached from here.
    """
    ready = prepare(workflow, params, options)
    with ExitStack() as stack:
        server = stack.enter_context(connect(ready.address))
        reached = reach_store(
            ready.options.store, here=ready.chosen.store_here, secret=ready.options.secret, address=ready.address
        )
        stack.callback(reached.close)
        if reached.store is None:
            raise DeployError(f"what earlier runs left in the store cannot be read: {reached.why}")
        past = [_Past(server, reached.store, run) for run in _runs_of(server, ready.compiled.pipeline.name)]
        return list(_Plan(ready, past, reached.store).tasks())


def _runs_of(server: Server, pipeline: str) -> Iterator[RemoteRun]:
    """The newest runs of a pipeline: Kubeflow's cache knows no other's."""
    found = server.pipeline_named(pipeline)
    if found is None:
        return
    own = str(found["pipeline_id"])
    runs = map(run_of, itertools.islice(server.runs(), _MOST_SEARCHED))
    yield from itertools.islice((run for run in runs if run.pipeline[0] == own), _MOST_RUNS)


class _Past:
    """An earlier run of the pipeline. Everything is read when it is first asked for."""

    def __init__(self, server: Server, store: Store, run: RemoteRun) -> None:
        self._server = server
        self._store = store
        self._run = run
        self._records: dict[str, list[Mapping[str, Any]]] = {}

    @property
    def name(self) -> str:
        return self._run.name

    @cached_property
    def tasks(self) -> dict[str, tuple[YamlTask, Container]]:
        """The containers of its pipeline by id; none where that is not ours, or gone."""
        try:
            pipeline = pipeline_of(self._server, self._run)
        except (DeployError, LoadError):
            return {}
        return {id_: (task, container) for id_, task, container in pipeline.dag.containers()}

    @cached_property
    def parts(self) -> Parts:
        return get_parts(self._store, self._run.pipeline[1])

    @cached_property
    def _paths(self) -> list[str]:
        paths = self._store.list_records(f"runs/{self._run.id}/")
        return [path for path in paths if path.endswith("/done.json")]

    def results(self, task: str) -> list[Mapping[str, Any]]:
        """The records of tasks of this name that succeeded."""
        found = self._records.get(task)
        if found is None:
            read = [self._store.get_record(path) for path in self._paths if path.split("/")[2] == task]
            found = [record for record in read if isinstance(record, dict) and not record.get("fell_back")]
            self._records[task] = found
        return found

    def same(self, key: _Key) -> Iterator[str]:
        """The names of its tasks that Kubeflow's cache does not tell from this one, but for their inputs."""
        names = [_name(id_) for id_, (task, container) in self.tasks.items() if task.cache and _key(container) == key]
        yield from dict.fromkeys(names)


class _Plan:
    """past: newest first."""

    def __init__(self, ready: Prepared, past: Sequence[_Past], store: Store) -> None:
        self._ready = ready
        self._past = past
        self._store = store
        self._pipeline: YamlPipeline = read_pipeline(ready.compiled.text)
        given = ready.values
        self._parameters = {item.name: given.get(item.name, item.default) for item in self._pipeline.parameters}
        self._outputs: dict[int, Mapping[str, str]] = {}
        self._reached: dict[int, bool | None] = {}  # whether its branch is taken, None where that is not known

    @cached_property
    def _parts(self) -> Parts:
        return parts_of(self._ready.graph, self._ready.compiled, self._ready.root)

    def tasks(self) -> Iterator[Planned]:
        """In an order in which they may run; code that travels as a task is none, nor is what will be skipped."""
        for number, task in enumerate(self._pipeline.dag.tasks):
            reached = self._reached[number] = self._is_reached(task)
            for planned in self._of(number, task) if reached is not False else ():
                told = f"{planned.why}, if its branch is taken" if reached is None else planned.why
                yield replace(planned, why=told)

    def _of(self, number: int, task: YamlTask) -> Iterator[Planned]:
        if task.container is not None:
            call = call_of(task.container)
            if call is not None:
                yield self._at(number, task, task.container, call)
            elif task.container.args[:1] != ("code",):
                yield Planned(task.id, "unknown", "its container leaves no record")
        elif task.loop is not None:
            for id_, inner, container in task.loop.body.containers(f"{task.id}/*/"):
                call = call_of(container)
                if call is not None:
                    yield self._inside(id_, inner, container, call)

    def _is_reached(self, task: YamlTask) -> bool | None:
        """False where it will be skipped, None where that is not known."""
        before = [self._reached[other] for other in (task.after if task.heeds is None else task.heeds)]
        if False in before:
            return False
        if None in before or task.condition is None:
            return None if None in before else True
        values = {item.name: self._value(item.source) for item in task.inputs if item.name in task.condition.reads}
        if _UNKNOWN in values.values():
            return None
        types = {item.name: item.type for item in task.inputs}
        try:
            return task.condition.holds({name: arrives(value, types[name]) for name, value in values.items()})
        except ParameterError:
            return None

    def _at(self, number: int, task: YamlTask, container: Container, call: TaskCall) -> Planned:
        why = self._why_run(task.id, task, container, call)
        if why:
            return Planned(task.id, "run", why)
        inputs, missing = self._inputs(task)
        if missing:
            return Planned(task.id, "unknown", f"it depends on what {', '.join(missing)} gives")
        gone = ""
        for past in self._past:
            for name in past.same(_key(container)):
                for record in past.results(name):
                    if record.get("inputs") != inputs:
                        continue
                    outputs = record.get("outputs") or {}
                    if all(self._store.exists(key) for key in objects_of(outputs)):
                        self._outputs[number] = outputs
                        return Planned(task.id, "cached", f"run {past.name}")
                    gone = gone or past.name
        if gone:
            return Planned(
                task.id,
                "cached",
                f"run {gone}, but the objects of its result are gone: what reads them will fail; raise --epoch",
            )
        return Planned(task.id, "run", self._why_other_inputs(task.id, container, inputs))

    def _inside(self, id_: str, task: YamlTask, container: Container, call: TaskCall) -> Planned:
        why = self._why_run(id_, task, container, call)
        return Planned(id_, "run" if why else "unknown", why or "what a round of the loop is given is not known yet")

    def _why_run(self, id_: str, task: YamlTask, container: Container, call: TaskCall) -> str:
        """Why the task runs whatever its inputs are; empty where it may not."""
        if not task.cache:
            chosen = self._ready.chosen
            meant = not chosen.cache or Forced(tuple(chosen.force)).means(id_, _name(id_), call.node.rpartition(":")[2])
            return "it is forced" if meant else "Kubeflow's cache is off for it"
        key = _key(container)
        if any(True for past in self._past for _ in past.same(key)):
            return ""
        for past in self._past:
            if id_ in past.tasks:
                return self._changed(container, call, past.tasks[id_][1], past)
        return "it never ran"

    def _changed(self, container: Container, call: TaskCall, other: Container, past: _Past) -> str:
        """What differs between the task's container and that of an earlier run."""
        before = call_of(other)
        steps = before is not None and before.node.startswith(FUSED) and call.node.startswith(FUSED)
        if before is None or (before.node != call.node and not steps):
            return "it was another node"
        if before.fingerprint != call.fingerprint:
            parts, known = self._parts.get(call.fingerprint, {}), past.parts.get(before.fingerprint, {})
            names = changed_parts(parts, known) if parts and known else ""
            return f"its code changed: {names}" if names else "its code, or an option that counts as code, changed"
        if other.image != container.image:
            return f"its image changed: {other.image} → {container.image}"
        if before.epoch != call.epoch:
            return f"the epoch changed: {before.epoch} → {call.epoch}"
        if before.store != call.store:
            return "the store changed"
        if _shape(before.interface) != _shape(call.interface):
            return "it is called in another way"
        if other == container:
            return "Kubeflow's cache was off for it"
        return "its container changed"

    def _why_other_inputs(self, id_: str, container: Container, inputs: Mapping[str, str]) -> str:
        for past in self._past:
            for name in dict.fromkeys([_name(id_), *past.same(_key(container))]):
                for record in past.results(name):
                    given = record.get("inputs") or {}
                    names = [item for item, text in inputs.items() if given.get(item) != text]
                    if names:
                        return f"its input{'s' if len(names) > 1 else ''} {listed(names)} changed"
        return "it has left no record of success"

    def _inputs(self, task: YamlTask) -> tuple[dict[str, str], list[str]]:
        """As a record has them, and the tasks whose outputs are not known."""
        found, missing = {}, []
        for item in task.inputs:
            value = self._value(item.source)
            if value is _UNKNOWN:
                missing.append(self._maker(item.source))
                continue
            arrived = arrives(value, item.type)
            found[item.name] = arrived if isinstance(arrived, str) else json.dumps(arrived)
        return found, sorted(dict.fromkeys(missing))

    def _value(self, source: Source) -> Any:
        if isinstance(source, FromConstant):
            return source.value
        if isinstance(source, FromParameter):
            return self._parameters.get(source.name, _UNKNOWN)
        if isinstance(source, FromOneOf):
            made = (
                item
                for item in source.sources
                if not isinstance(item, FromTask) or self._reached[item.task] is not False
            )
            return self._value(next(made, _NOTHING))
        if self._reached[source.task] is None:
            return _UNKNOWN
        text = self._outputs.get(source.task, {}).get(source.output)
        outputs = dict(self._pipeline.dag.tasks[source.task].outputs)
        return _UNKNOWN if text is None else from_output_file(text, outputs[source.output])

    def _maker(self, source: Source) -> str:
        return self._pipeline.dag.tasks[source.task].id if isinstance(source, FromTask) else "a branch or a loop"


def _key(container: Container) -> _Key:
    """What of a container counts for Kubeflow's cache: its environment does not."""
    return container.image, container.command, container.args


def _shape(interface: Interface) -> str:
    return json.dumps(interface.to_json(), sort_keys=True)


def _name(id_: str) -> str:
    return id_.rpartition("/")[2]
