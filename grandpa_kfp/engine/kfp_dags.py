"""Opens the DAGs of a compiled YAML: tasks in order, numbered, their inputs bound to what makes them.

A DAG in a DAG becomes a start, its tasks and an end. The body of a loop stays a DAG of its own, since only the run
knows its items. As Kubeflow's compiler does, a task waits for those that it depends on and for those that it reads.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from grandpa_kfp_runtime.errors import LoadError

from .kfp_conditions import Condition, read_condition
from .kfp_containers import Container
from .kfp_pipeline import (
    FromConstant,
    FromOneOf,
    FromParameter,
    FromTask,
    Source,
    YamlDag,
    YamlInput,
    YamlLoop,
    YamlTask,
)

_NOT_RUN_HERE = ("iterator", "artifactIterator")
_ALWAYS = "ALL_UPSTREAM_TASKS_COMPLETED"
_STRATEGIES = ("TRIGGER_STRATEGY_UNSPECIFIED", "ALL_UPSTREAM_TASKS_SUCCEEDED", _ALWAYS)
_DEEPEST = 50


def needed(name: str, holder: Any, key: str, kind: type, place: str) -> Any:
    """What a file must have there. Raises LoadError."""
    found = holder.get(key) if isinstance(holder, dict) else None
    if not isinstance(found, kind):
        full = f"{place}.{key}" if place else key
        raise LoadError(f"{name}: {full} is missing; the file was cut off or changed, compile it again")
    return found


@dataclass(frozen=True, slots=True)
class _Part:
    """A task of a DAG, opened. end: the number that stands for its end."""

    end: int
    outputs: Mapping[str, Source]


@dataclass(slots=True)
class _Scope:
    """A DAG that is being opened. tasks: all of the DAG that stays one; start: of the one within it, what its tasks
    wait for; parameters: what its inputs are; parts: task name -> its opened form; depth: how many it lies in."""

    tasks: list[YamlTask]
    prefix: str
    start: tuple[int, ...]
    parameters: Mapping[str, Source]
    depth: int
    parts: dict[str, _Part] = field(default_factory=dict)

    def add(self, task: YamlTask) -> int:
        self.tasks.append(task)
        return len(self.tasks) - 1


class Dags:
    """The DAGs of one file. Every look-up names its place when it fails, by LoadError."""

    def __init__(self, name: str, components: Mapping[str, Any], containers: Mapping[str, Container]) -> None:
        self._name = name
        self._components = components
        self._containers = containers

    def read(self, component: Mapping[str, Any], place: str, parameters: Iterable[str], depth: int = 0) -> YamlDag:
        """A DAG that stays one. parameters: its own."""
        scope = _Scope([], "", (), {name: FromParameter(name) for name in parameters}, depth)
        outputs = self._open(component, place, scope)
        return YamlDag(tuple(scope.tasks), tuple(outputs.items()))

    def _open(self, component: Mapping[str, Any], place: str, scope: _Scope) -> dict[str, Source]:
        """Opens a DAG into the scope's tasks; its outputs in terms of them."""
        if scope.depth > _DEEPEST:
            raise LoadError(f"{self._name}: {place} contains itself")
        dag = self._need(component, "dag", dict, place)
        tasks = self._need(dag, "tasks", dict, f"{place}.dag")
        for name in self._in_order(tasks, place):
            scope.parts[name] = self._task(name, tasks[name], f"{place}.dag.tasks.{name}", scope)
        return {
            name: self._chosen(output, f"{place}.dag.outputs.{name}", scope)
            for kind in ("parameters", "artifacts")
            for name, output in dag.get("outputs", {}).get(kind, {}).items()
        }

    def _chosen(self, output: Any, place: str, scope: _Scope) -> Source:
        several = output.get("valueFromOneof", {}).get("parameterSelectors") or output.get("artifactSelectors")
        selectors = several or [self._need(output, "valueFromParameter", dict, place)]
        sources = [self._output(scope, item["producerSubtask"], _key_of(item), place) for item in selectors]
        return FromOneOf(tuple(sources)) if len(sources) > 1 else sources[0]

    # --- one task --------------------------------------------------------------------------------------

    def _task(self, name: str, task: Any, place: str, scope: _Scope) -> _Part:
        for key in _NOT_RUN_HERE:
            if key in task:
                raise LoadError(f"{self._name}: {place} has {key}, which Kubeflow does not run either")
        key = self._need(self._need(task, "componentRef", dict, place), "name", str, f"{place}.componentRef")
        component = self._need(self._components, key, dict, "components")
        inputs = self._inputs(task, component, place, scope)
        before = [scope.parts[producer].end for producer in _waits(task)]
        always = task.get("triggerPolicy", {}).get("strategy") == _ALWAYS
        common = YamlTask(
            scope.prefix + name,
            after=tuple(dict.fromkeys((*scope.start, *before))),
            inputs=inputs,
            condition=self._condition(task, inputs, place),
            heeds=scope.start if always else None,
            always=always,
        )
        if "parameterIterator" in task:
            return self._loop(task, component, key, common, place, scope)
        if "dag" in component:
            if always:
                raise LoadError(f"{self._name}: {place} is a DAG that runs always, which is not run on this machine")
            return self._group(component, key, common, scope)
        made = self._leaf(task, component, key, common)
        number = scope.add(made)
        return _Part(number, {item: FromTask(number, item) for item, _ in (*made.outputs, *made.artifacts)})

    def _leaf(self, task: Mapping[str, Any], component: Mapping[str, Any], key: str, common: YamlTask) -> YamlTask:
        label = self._need(component, "executorLabel", str, f"components.{key}")
        if label not in self._containers:
            raise LoadError(f"{self._name}: components.{key} names the executor {label}, which is not there")
        produced = component.get("outputDefinitions", {})
        outputs = {item: str(spec["parameterType"]) for item, spec in produced.get("parameters", {}).items()}
        retry = task.get("retryPolicy", {})
        return replace(
            common,
            container=self._containers[label],
            outputs=tuple(outputs.items()),
            artifacts=tuple((item, spec["artifactType"]) for item, spec in produced.get("artifacts", {}).items()),
            retries=int(retry.get("maxRetryCount", 0)),
            pause_s=float(str(retry.get("backoffDuration", "0s")).removesuffix("s") or 0),
            pause_factor=float(retry.get("backoffFactor") or 2.0),
            cache=bool(task.get("cachingOptions", {}).get("enableCache", False)),
        )

    def _group(self, component: Mapping[str, Any], key: str, common: YamlTask, scope: _Scope) -> _Part:
        reads = common.condition.reads if common.condition is not None else ()
        asked = tuple(item for item in common.inputs if item.name in reads)
        prefix = f"{common.id}/"
        start = scope.add(replace(common, id=f"{prefix}start", inputs=asked))
        first = len(scope.tasks)
        parameters = {item.name: item.source for item in common.inputs}
        inner = _Scope(scope.tasks, prefix, (start,), parameters, scope.depth + 1)
        outputs = self._open(component, f"components.{key}", inner)
        end = scope.add(YamlTask(f"{prefix}end", after=(start, *range(first, len(scope.tasks))), heeds=(start,)))
        return _Part(end, outputs)

    def _loop(
        self, task: Mapping[str, Any], component: Mapping[str, Any], key: str, common: YamlTask, place: str,
        scope: _Scope,
    ) -> _Part:  # fmt: skip
        place = f"{place}.parameterIterator"
        iterator = task["parameterIterator"]
        of = self._need(iterator, "items", dict, place)
        item = self._need(iterator, "itemInput", str, place)
        items = tuple(self._list(of["raw"], place)) if "raw" in of else self._need(of, "inputParameter", str, place)
        if isinstance(items, str) and items not in [one.name for one in common.inputs]:
            raise LoadError(f"{self._name}: {place} reads the parameter {items}, which is not there")
        declared = _declared(component)
        if "dag" in component:
            dag = self.read(component, f"components.{key}", declared, scope.depth + 1)
        else:  # Kubeflow does not collect the outputs of such containers
            inputs = tuple(_input(name, spec, FromParameter(name)) for name, spec in declared.items())
            name = common.id.rpartition("/")[2]
            dag = YamlDag((self._leaf(task, component, key, YamlTask(name, inputs=inputs)),), ())
        end = YamlTask("end", after=tuple(range(len(dag.tasks))), heeds=())
        parallelism = int(task.get("iteratorPolicy", {}).get("parallelismLimit", 0))
        kind = str(declared.get(item, {}).get("parameterType", ""))
        loop = YamlLoop(replace(dag, tasks=(*dag.tasks, end)), item, kind, items, parallelism)
        outputs = [name for name, _ in dag.outputs]
        number = scope.add(replace(common, loop=loop, outputs=tuple((name, "LIST") for name in outputs)))
        return _Part(number, {name: FromTask(number, name) for name in outputs})

    def _list(self, text: Any, place: str) -> list[Any]:
        found = json.loads(text)
        if not isinstance(found, list):
            raise LoadError(f"{self._name}: {place} goes over {text[:60]}, which is no list")
        return found

    def _condition(self, task: Mapping[str, Any], inputs: Sequence[YamlInput], place: str) -> Condition | None:
        policy = task.get("triggerPolicy", {})
        place = f"{self._name}: {place}.triggerPolicy"
        if policy.get("strategy", _STRATEGIES[0]) not in _STRATEGIES:
            raise LoadError(f"{place}.strategy is {policy['strategy']}, which is not run on this machine")
        if not policy.get("condition"):
            return None
        try:
            condition = read_condition(str(policy["condition"]))
        except ValueError as error:
            raise LoadError(f"{place}.condition is not understood on this machine: {error}") from error
        unknown = [name for name in condition.reads if name not in [item.name for item in inputs]]
        if unknown:
            raise LoadError(f"{place}.condition reads the parameter {unknown[0]}, which is not there")
        return condition

    def _in_order(self, tasks: Mapping[str, Any], place: str) -> list[str]:
        """The tasks' names, each behind those it waits for."""
        followers: dict[str, list[str]] = {name: [] for name in tasks}
        missing: dict[str, int] = {}
        for name, task in tasks.items():
            if not isinstance(task, dict):
                raise LoadError(f"{self._name}: {place}.dag.tasks.{name} is cut off")
            waits = _waits(task)
            missing[name] = len(waits)
            for producer in waits:
                if producer not in tasks:
                    raise LoadError(f"{self._name}: {place}.dag.tasks.{name} waits for {producer}, which is not there")
                followers[producer].append(name)
        ready = [name for name, count in missing.items() if not count]
        for name in ready:  # grows while it is walked
            for follower in followers[name]:
                missing[follower] -= 1
                if not missing[follower]:
                    ready.append(follower)
        if len(ready) < len(tasks):
            stuck = ", ".join(name for name, count in missing.items() if count)
            raise LoadError(f"{self._name}: in {place} tasks wait for each other: {stuck}")
        return ready

    # --- values ----------------------------------------------------------------------------------------

    def _inputs(
        self, task: Mapping[str, Any], component: Mapping[str, Any], place: str, scope: _Scope
    ) -> tuple[YamlInput, ...]:
        given = _given(task)
        found = {name: self._source(scope, source, f"{place}.inputs.{name}") for name, source in given.items()}
        declared = _declared(component)
        item = task.get("parameterIterator", {}).get("itemInput")
        for name, definition in declared.items():
            if name not in found and "defaultValue" in definition:
                found[name] = FromConstant(definition["defaultValue"])
            elif name not in found and name != item and not definition.get("isOptional"):
                raise LoadError(f"{self._name}: {place} binds no input {name}; the file was changed")
        return tuple(_input(name, declared[name], source) for name, source in found.items())

    def _source(self, scope: _Scope, source: Any, place: str) -> Source:
        if "runtimeValue" in source and "constant" in source["runtimeValue"]:
            return FromConstant(source["runtimeValue"]["constant"])
        produced = _produced(source)
        if produced is not None:
            return self._output(scope, produced["producerTask"], _key_of(produced), place)
        name = source.get("componentInputParameter") or source.get("componentInputArtifact")
        if name is not None:
            if name in scope.parameters:
                return scope.parameters[name]
            raise LoadError(f"{self._name}: {place} reads the parameter {name}, which is not there")
        raise LoadError(f"{self._name}: {place} is bound to {sorted(source)}, which is not run on this machine")

    def _output(self, scope: _Scope, task: str, output: str, place: str) -> Source:
        part = scope.parts.get(task)
        if part is None or output not in part.outputs:
            raise LoadError(f"{self._name}: {place} reads the output {output} of {task}, which is not there")
        return part.outputs[output]

    def _need(self, holder: Any, key: str, kind: type, place: str) -> Any:
        return needed(self._name, holder, key, kind, place)


def _waits(task: Mapping[str, Any]) -> list[str]:
    """The names of the tasks that it reads or depends on."""
    produced = map(_produced, _given(task).values())
    producers = [item["producerTask"] for item in produced if item is not None]
    return list(dict.fromkeys((*producers, *task.get("dependentTasks", ()))))


def _given(task: Mapping[str, Any]) -> dict[str, Any]:
    """What its inputs are bound to, parameters and artifacts."""
    inputs = task.get("inputs", {})
    return {**inputs.get("parameters", {}), **inputs.get("artifacts", {})}


def _declared(component: Mapping[str, Any]) -> dict[str, Any]:
    """A component's inputs, parameters and artifacts."""
    inputs = component.get("inputDefinitions", {})
    return {**inputs.get("parameters", {}), **inputs.get("artifacts", {})}


def _input(name: str, spec: Mapping[str, Any], source: Source) -> YamlInput:
    is_file = "artifactType" in spec
    optional = bool(spec.get("isOptional")) or "defaultValue" in spec
    kind = "" if is_file else str(spec["parameterType"])
    return YamlInput(name, kind, source, optional, spec.get("defaultValue"), is_file)


def _produced(source: Mapping[str, Any]) -> dict[str, Any] | None:
    """Whose output it is, None for what is no task's."""
    found: dict[str, Any] | None = source.get("taskOutputParameter") or source.get("taskOutputArtifact")
    return found


def _key_of(selector: Mapping[str, Any]) -> str:
    return str(selector["outputArtifactKey"] if "outputArtifactKey" in selector else selector["outputParameterKey"])
