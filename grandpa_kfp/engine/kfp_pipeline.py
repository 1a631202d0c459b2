"""A compiled YAML as data: its containers, its parameters, its tasks with every DAG opened.

`read_pipeline` takes files that `grandpa compile` wrote and no others: nothing in a YAML from elsewhere
is ever run on this machine. `pipeline_yaml.py` runs what it returns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from grandpa_kfp_compiler.kfp.bootstrap import BOOTSTRAP_COMMAND
from grandpa_kfp_compiler.kfp.executors import COMMAND
from grandpa_kfp_runtime.errors import LoadError
from grandpa_kfp_runtime.typespec import Json

from .kfp_containers import Container, is_whole, read_limits, read_platform

_OURS = "grandpa-kfp"
_NOT_RUN_HERE = ("iterator", "parameterIterator", "artifactIterator", "triggerPolicy")


@dataclass(frozen=True, slots=True)
class YamlParameter:
    """One parameter of the pipeline; `type` is KFP's name for it."""

    name: str
    type: str
    default: Json = None
    optional: bool = False
    description: str = ""


@dataclass(frozen=True, slots=True)
class FromConstant:
    value: Json


@dataclass(frozen=True, slots=True)
class FromRoot:
    name: str


@dataclass(frozen=True, slots=True)
class FromTask:
    task: int
    output: str


Source: TypeAlias = "FromConstant | FromRoot | FromTask"


@dataclass(frozen=True, slots=True)
class YamlTask:
    """One task, or, where `container` is None, the start or the end of a DAG, at which tasks wait.

    id: `group/name`; inputs: name -> (KFP type, source); outputs: parameter names -> KFP type;
    artifacts: names -> schema; retries, pause_s and pause_factor as in its retryPolicy.
    """

    id: str
    container: Container | None
    after: tuple[int, ...] = ()
    inputs: tuple[tuple[str, tuple[str, Source]], ...] = ()
    outputs: tuple[tuple[str, str], ...] = ()
    artifacts: tuple[tuple[str, Json], ...] = ()
    retries: int = 0
    pause_s: float = 0.0
    pause_factor: float = 2.0


@dataclass(frozen=True, slots=True)
class YamlPipeline:
    """A whole file. outputs: of the root DAG, by name."""

    name: str
    description: str
    parameters: tuple[YamlParameter, ...]
    tasks: tuple[YamlTask, ...]
    outputs: tuple[tuple[str, Source], ...]
    text: str = field(repr=False)


def read_pipeline(source: str | Path) -> YamlPipeline:
    """The pipeline in a file, or in the text of one (anything with a line break).

    Raises LoadError, naming the file and the place in it, for a file that is missing, cut off, not YAML, not
    ours, or runs anything but our runtime.
    """
    name, text = _text_of(source)
    documents = _documents(name, text)
    spec = documents[0]
    if not isinstance(spec, dict) or not ({"root", "pipelineInfo", "deploymentSpec"} & spec.keys()):
        raise LoadError(f"{name}: not a pipeline; `grandpa compile` writes files that can be run here")
    try:
        return _Reader(name, spec, documents[1] if len(documents) > 1 else {}).pipeline(text)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise LoadError(f"{name}: cut off or changed, compile it again ({error!r})") from error


def _text_of(source: str | Path) -> tuple[str, str]:
    if isinstance(source, str) and "\n" in source:
        return "the YAML", source
    try:
        return str(source), Path(source).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise LoadError(f"{source}: not a text file in UTF-8 ({error.reason} at byte {error.start})") from error
    except OSError as error:
        raise LoadError(f"{source}: {error.strerror or error}") from error


def _documents(name: str, text: str) -> list[Any]:
    import yaml

    try:
        documents = list(yaml.load_all(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or error
        raise LoadError(f"{name}{line}: not YAML, or cut off: {problem}") from error
    if not 1 <= len(documents) <= 2:
        raise LoadError(f"{name}: {len(documents)} YAML documents; a compiled pipeline has one or two")
    return documents


@dataclass(slots=True)
class _Scope:
    """A DAG that is being opened. parameters: what its inputs are; parts: task name -> its opened form."""

    prefix: str
    start: tuple[int, ...]
    parameters: Mapping[str, Source]
    parts: dict[str, _Part] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Part:
    """A task of a DAG, opened. end: the number that stands for its end."""

    end: int
    outputs: Mapping[str, Source]


class _Reader:
    """Reads one file; every look-up names its place when it fails."""

    def __init__(self, name: str, spec: dict[str, Any], platform: Any) -> None:
        self._name = name
        self._spec = spec
        self._platform = platform
        self._tasks: list[YamlTask] = []
        self._containers: dict[str, Container] = {}

    def pipeline(self, text: str) -> YamlPipeline:
        spec = self._spec
        if not str(self._need(spec, "sdkVersion", str, "")).startswith(_OURS):
            raise LoadError(
                f"{self._name}: compiled by {spec['sdkVersion']}, not by grandpa-kfp; "
                "only what `grandpa compile` wrote is run on this machine"
            )
        info = self._need(spec, "pipelineInfo", dict, "")
        deployment = self._need(spec, "deploymentSpec", dict, "")
        executors = self._need(deployment, "executors", dict, "deploymentSpec")
        platform = self._platform_executors(executors)
        for label in executors:
            self._containers[label] = self._container(label, executors[label], platform.get(label, {}))
        self._components = self._need(spec, "components", dict, "")
        root = self._need(spec, "root", dict, "")
        parameters = self._parameters(root)
        outputs = self._dag(root, "root", _Scope("", (), {item.name: FromRoot(item.name) for item in parameters}), 0)
        return YamlPipeline(
            str(self._need(info, "name", str, "pipelineInfo")),
            str(info.get("description", "")),
            parameters,
            tuple(self._tasks),
            tuple(outputs.items()),
            text,
        )

    # --- executors -----------------------------------------------------------------------------------

    def _container(self, label: str, executor: Any, platform: Mapping[str, Any]) -> Container:
        place = f"deploymentSpec.executors.{label}"
        if not isinstance(executor, dict) or "container" not in executor:
            raise LoadError(f"{self._name}: {place} is no container; only our runtime's containers are run here")
        container = self._need(executor, "container", dict, place)
        command = tuple(map(str, self._need(container, "command", list, f"{place}.container")))
        args = tuple(map(str, self._need(container, "args", list, f"{place}.container")))
        if command not in (COMMAND, BOOTSTRAP_COMMAND) or not args or args[0] not in ("task", "code"):
            shown = " ".join((*command, *args[:1]))
            raise LoadError(
                f"{self._name}: {place} runs `{shown[:80]}`; only `{' '.join(COMMAND)} task` (or code), "
                "which grandpa compile writes, is run on this machine"
            )
        env = tuple((str(item["name"]), str(item["value"])) for item in container.get("env", ()))
        if not is_whole(platform, dict(env)):
            raise LoadError(f"{self._name}: the platform spec of {label} is not whole; the file was cut off")
        resources = container.get("resources", {})
        return Container(
            label,
            args,
            env,
            str(container.get("image", "")),
            command,
            read_limits(resources),
            read_platform(platform, resources),
        )

    def _platform_executors(self, executors: Mapping[str, Any]) -> Mapping[str, Any]:
        if not self._platform:
            return {}
        found: Any = self._platform
        for key in ("platforms", "kubernetes", "deploymentSpec", "executors"):
            found = self._need(found, key, dict, "the platform spec")
        for label, config in found.items():
            if label not in executors or not isinstance(config, dict):
                raise LoadError(f"{self._name}: the platform spec of {label} fits no executor; the file was changed")
        return dict(found)

    # --- DAGs ----------------------------------------------------------------------------------------

    def _dag(self, component: Mapping[str, Any], place: str, scope: _Scope, depth: int) -> dict[str, Source]:
        """Opens a DAG into `self._tasks`; its outputs in terms of them."""
        dag = self._need(component, "dag", dict, place)
        tasks = self._need(dag, "tasks", dict, f"{place}.dag")
        for name in self._in_order(tasks, place):
            self._task(name, tasks[name], f"{place}.dag.tasks.{name}", scope, depth)
        outputs: dict[str, Source] = {}
        for name, output in dag.get("outputs", {}).get("parameters", {}).items():
            where = f"{place}.dag.outputs.{name}"
            chosen = self._need(output, "valueFromParameter", dict, where)
            outputs[name] = self._output(scope, chosen["producerSubtask"], chosen["outputParameterKey"], where)
        return outputs

    def _task(self, name: str, task: Any, place: str, scope: _Scope, depth: int) -> None:
        for key in _NOT_RUN_HERE:
            if key in task:
                raise LoadError(
                    f"{self._name}: {place} has {key}: the pipeline branches or loops, and such a file is run by "
                    "Kubeflow alone; to run it on this machine, run the workflow itself: grandpa run FILE.py"
                )
        key = self._need(self._need(task, "componentRef", dict, place), "name", str, f"{place}.componentRef")
        component = self._need(self._components, key, dict, "components")
        given = task.get("inputs", {}).get("parameters", {})
        inputs = {item: self._source(scope, source, f"{place}.inputs.{item}") for item, source in given.items()}
        declared = component.get("inputDefinitions", {}).get("parameters", {})
        for item, definition in declared.items():
            if item not in inputs and "defaultValue" in definition:
                inputs[item] = FromConstant(definition["defaultValue"])
            elif item not in inputs and not definition.get("isOptional"):
                raise LoadError(f"{self._name}: {place} binds no input {item}; the file was changed")
        waits = [scope.parts[producer].end for producer in task.get("dependentTasks", ())]
        waits += [source.task for source in inputs.values() if isinstance(source, FromTask)]
        before = tuple(dict.fromkeys((*scope.start, *waits)))
        if "dag" in component:
            scope.parts[name] = self._group(name, component, key, before, scope, inputs, depth)
            return
        label = self._need(component, "executorLabel", str, f"components.{key}")
        if label not in self._containers:
            raise LoadError(f"{self._name}: components.{key} names the executor {label}, which is not there")
        produced = component.get("outputDefinitions", {})
        outputs = {item: str(spec["parameterType"]) for item, spec in produced.get("parameters", {}).items()}
        retry = task.get("retryPolicy", {})
        number = self._add(
            YamlTask(
                scope.prefix + name,
                self._containers[label],
                before,
                tuple((item, (str(declared[item]["parameterType"]), source)) for item, source in inputs.items()),
                tuple(outputs.items()),
                tuple((item, spec["artifactType"]) for item, spec in produced.get("artifacts", {}).items()),
                int(retry.get("maxRetryCount", 0)),
                float(str(retry.get("backoffDuration", "0s")).removesuffix("s") or 0),
                float(retry.get("backoffFactor") or 2.0),
            )
        )
        scope.parts[name] = _Part(number, {item: FromTask(number, item) for item in outputs})

    def _group(
        self, name: str, component: Mapping[str, Any], key: str, before: tuple[int, ...], scope: _Scope,
        inputs: Mapping[str, Source], depth: int,
    ) -> _Part:  # fmt: skip
        if depth > 50:
            raise LoadError(f"{self._name}: components.{key} contains itself")
        prefix = f"{scope.prefix}{name}/"
        start = self._add(YamlTask(prefix + "start", None, before))
        first = len(self._tasks)
        outputs = self._dag(component, f"components.{key}", _Scope(prefix, (start,), inputs), depth + 1)
        end = self._add(YamlTask(prefix + "end", None, (start, *range(first, len(self._tasks)))))
        return _Part(end, outputs)

    def _add(self, task: YamlTask) -> int:
        self._tasks.append(task)
        return len(self._tasks) - 1

    def _in_order(self, tasks: Mapping[str, Any], place: str) -> list[str]:
        """The tasks' names, each behind those it waits for."""
        waits: dict[str, list[str]] = {}
        followers: dict[str, list[str]] = {name: [] for name in tasks}
        for name, task in tasks.items():
            if not isinstance(task, dict):
                raise LoadError(f"{self._name}: {place}.dag.tasks.{name} is cut off")
            given = task.get("inputs", {}).get("parameters", {}).values()
            producers = [item["taskOutputParameter"]["producerTask"] for item in given if "taskOutputParameter" in item]
            waits[name] = list(dict.fromkeys((*producers, *task.get("dependentTasks", ()))))
            for producer in waits[name]:
                if producer not in tasks:
                    raise LoadError(f"{self._name}: {place}.dag.tasks.{name} waits for {producer}, which is not there")
                followers[producer].append(name)
        missing = {name: len(before) for name, before in waits.items()}
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

    # --- values --------------------------------------------------------------------------------------

    def _source(self, scope: _Scope, source: Any, place: str) -> Source:
        if "runtimeValue" in source and "constant" in source["runtimeValue"]:
            return FromConstant(source["runtimeValue"]["constant"])
        if "taskOutputParameter" in source:
            chosen = source["taskOutputParameter"]
            return self._output(scope, chosen["producerTask"], chosen["outputParameterKey"], place)
        if "componentInputParameter" in source:
            name = source["componentInputParameter"]
            if name in scope.parameters:
                return scope.parameters[name]
            raise LoadError(f"{self._name}: {place} reads the parameter {name}, which is not there")
        raise LoadError(f"{self._name}: {place} is bound to {sorted(source)}, which is not run on this machine")

    def _output(self, scope: _Scope, task: str, output: str, place: str) -> Source:
        part = scope.parts.get(task)
        if part is None or output not in part.outputs:
            raise LoadError(f"{self._name}: {place} reads the output {output} of {task}, which is not there")
        return part.outputs[output]

    def _parameters(self, root: Mapping[str, Any]) -> tuple[YamlParameter, ...]:
        declared = root.get("inputDefinitions", {}).get("parameters", {})
        return tuple(
            YamlParameter(
                name,
                str(self._need(spec, "parameterType", str, f"root.inputDefinitions.{name}")),
                spec.get("defaultValue"),
                bool(spec.get("isOptional")) or "defaultValue" in spec,
                str(spec.get("description", "")),
            )
            for name, spec in declared.items()
        )

    def _need(self, holder: Any, key: str, kind: type, place: str) -> Any:
        found = holder.get(key) if isinstance(holder, dict) else None
        if not isinstance(found, kind):
            full = f"{place}.{key}" if place else key
            raise LoadError(f"{self._name}: {full} is missing; the file was cut off or changed, compile it again")
        return found


def consumers(tasks: Sequence[YamlTask], parameter: str) -> list[tuple[YamlTask, str]]:
    """The tasks that read a parameter of the pipeline, and the inputs they read it by."""
    return [
        (task, name)
        for task in tasks
        for name, (_, source) in task.inputs
        if isinstance(source, FromRoot) and source.name == parameter
    ]
