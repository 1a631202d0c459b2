"""Kubeflow's rules for a compiled pipeline, as a list of what is wrong with one: for tests, not part of the product.

Each rule is a fact of Kubeflow's own source or of a real run; none looks at how our compiler came to the file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

DAG_TASKS = 100  # two Argo tasks each, of which a DAG has 200 at most
ARGUMENT_BYTES = 128 * 1024  # one argument of a process, one variable, on Linux
RETRY_FOR = "2592000s"  # 30 days: counted from the start of the first attempt

_KEY = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_READS = re.compile(r"inputs\.parameter_values\['([^']+)'\]")
_PLACEHOLDER = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_OF_PORT = re.compile(r"\$\.(inputs|outputs)\.(parameters|artifacts)\['([^']+)'\](\.\w+|\[.*\])?")
_JSON_TYPES = {
    "STRING": str, "NUMBER_INTEGER": int, "NUMBER_DOUBLE": int | float, "BOOLEAN": bool, "LIST": list, "STRUCT": dict,
}  # fmt: skip
_ALWAYS = "ALL_UPSTREAM_TASKS_COMPLETED"


def broken_rules(spec: dict[str, Any], platform: dict[str, Any] | None = None) -> list[str]:
    """What is wrong, each with its place; empty for a file that Kubeflow takes and runs as it is meant."""
    return [*_Checked(spec).faults(), *_platform(spec, platform or {})]


def _platform(spec: dict[str, Any], platform: dict[str, Any]) -> Iterator[str]:
    kubernetes = platform.get("platforms", {}).get("kubernetes", {})
    for name in kubernetes.get("deploymentSpec", {}).get("executors", {}):
        if name not in spec["deploymentSpec"]["executors"]:
            yield f"platform spec: there is no executor {name}"


def _parameters(component: Any, side: str) -> dict[str, Any]:
    found: dict[str, Any] = component.get(f"{side}Definitions", {}).get("parameters", {})
    return found


def _artifacts(component: Any, side: str) -> dict[str, Any]:
    found: dict[str, Any] = component.get(f"{side}Definitions", {}).get("artifacts", {})
    return found


class _Checked:
    def __init__(self, spec: dict[str, Any]) -> None:
        self.components = spec.get("components", {})
        self.executors = spec["deploymentSpec"]["executors"]
        self.spec = spec

    def faults(self) -> Iterator[str]:
        yield from self._names()
        yield from self._whole()
        yield from self._dag("root", self.spec["root"])
        for name, component in self.components.items():
            if "dag" in component:
                yield from self._dag(name, component)
            else:
                yield from self._container(name, component)
        yield from self._shared_containers()

    def _names(self) -> Iterator[str]:
        for name in (self.spec["pipelineInfo"]["name"], *self.components, *self.executors):
            if not _KEY.fullmatch(name):
                yield f"{name}: a name has lower-case letters, digits and -"

    def _whole(self) -> Iterator[str]:
        """Every component is used, every executor too."""
        used = {task["componentRef"]["name"] for _, task in self._tasks()}
        yield from (f"{name}: no task uses it" for name in self.components.keys() - used)
        yield from (f"there is no component {name}" for name in used - self.components.keys())
        labels = {item["executorLabel"] for item in self.components.values() if "executorLabel" in item}
        yield from (f"{name}: no component uses it" for name in self.executors.keys() - labels)
        yield from (f"there is no executor {name}" for name in labels - self.executors.keys())

    def _tasks(self) -> Iterator[tuple[str, Any]]:
        for name, component in (("root", self.spec["root"]), *self.components.items()):
            for key, task in component.get("dag", {}).get("tasks", {}).items():
                yield f"{name}/{key}", task

    def _dag(self, name: str, component: Any) -> Iterator[str]:
        tasks = component["dag"].get("tasks", {})
        if not tasks:
            yield f"{name}: a DAG has a task"
        if len(tasks) > DAG_TASKS:
            yield f"{name}: {len(tasks)} tasks, a DAG has {DAG_TASKS} at most"
        for key, task in tasks.items():
            at = f"{name}/{key}"
            if not _KEY.fullmatch(key):
                yield f"{at}: a key has lower-case letters, digits and -"
            if task["taskInfo"]["name"] != key:
                yield f"{at}: the UI shows {task['taskInfo']['name']}"
            if task["componentRef"]["name"] not in self.components:
                continue
            yield from self._order(at, task, tasks)
            yield from self._inputs(at, task, tasks, component)
            yield from self._trigger(at, task, tasks)
            yield from self._iterator(at, task)
            yield from self._retry(at, task)
        yield from self._cycle(name, tasks)
        yield from self._outputs(name, component)

    def _component_of(self, task: Any) -> Any:
        return self.components[task["componentRef"]["name"]]

    def _order(self, at: str, task: Any, tasks: Any) -> Iterator[str]:
        for before in task.get("dependentTasks", ()):
            if before not in tasks:
                yield f"{at}: waits for {before}, which is not in its DAG"

    def _cycle(self, name: str, tasks: Any) -> Iterator[str]:
        waiting = {key: set(task.get("dependentTasks", ())) & tasks.keys() for key, task in tasks.items()}
        while ready := [key for key, before in waiting.items() if not before]:
            for key in ready:
                del waiting[key]
            for before in waiting.values():
                before.difference_update(ready)
        if waiting:
            yield f"{name}: {', '.join(sorted(waiting))} wait for each other"

    def _inputs(self, at: str, task: Any, tasks: Any, around: Any) -> Iterator[str]:
        component = self._component_of(task)
        declared = _parameters(component, "input")
        given = task.get("inputs", {}).get("parameters", {})
        iterator = task.get("parameterIterator")
        own = {iterator["itemInput"]} if iterator else set()
        lists = {iterator["items"].get("inputParameter")} - {None} if iterator else set()
        needed = {name for name, item in declared.items() if not item.get("isOptional") or "defaultValue" in item}
        yield from (f"{at}: its input {name} is not bound" for name in sorted(needed - given.keys() - own))
        files = task.get("inputs", {}).get("artifacts", {})
        unbound = {name for name, item in _artifacts(component, "input").items() if not item.get("isOptional")}
        yield from (f"{at}: its artifact {name} is not bound" for name in sorted(unbound - files.keys()))
        unknown = given.keys() - declared.keys() - lists
        yield from (f"{at}: its component has no input {name}" for name in sorted(unknown))
        for name, source in given.items():
            wanted = declared.get(name, {}).get("parameterType", "LIST" if name in lists else "")
            yield from self._source(f"{at}: its input {name}", source, wanted, task, tasks, around)
        for name, source in task.get("inputs", {}).get("artifacts", {}).items():
            if name not in _artifacts(component, "input"):
                yield f"{at}: its component has no artifact {name}"
            if "taskOutputArtifact" in source:
                of = source["taskOutputArtifact"]
                yield from self._producer(f"{at}: its artifact {name}", of["producerTask"], task, tasks)
                maker = tasks.get(of["producerTask"])
                if maker and of["outputArtifactKey"] not in _artifacts(self._component_of(maker), "output"):
                    yield f"{at}: its artifact {name} is {of['outputArtifactKey']}, which {of['producerTask']} has not"

    def _source(self, at: str, source: Any, wanted: str, task: Any, tasks: Any, around: Any) -> Iterator[str]:
        if "taskOutputParameter" in source:
            of = source["taskOutputParameter"]
            producer = of["producerTask"]
            yield from self._producer(at, producer, task, tasks)
            if producer in tasks:
                outputs = _parameters(self._component_of(tasks[producer]), "output")
                yield from _fits(at, f"{producer} has", outputs, of["outputParameterKey"], wanted)
        elif "componentInputParameter" in source:
            name = source["componentInputParameter"]
            yield from _fits(at, "its DAG is given", _parameters(around, "input"), name, wanted)
        else:
            constant = source["runtimeValue"]["constant"]
            types = _JSON_TYPES.get(wanted)
            if types is not None and (not isinstance(constant, types) or isinstance(constant, bool) != (types is bool)):
                yield f"{at} is {constant!r}, but a {wanted} in its component"
            yield from (f"{at} is {text!r}: Argo replaces this" for text in _texts(constant) if _replaced(text))

    def _producer(self, at: str, producer: str, task: Any, tasks: Any) -> Iterator[str]:
        if producer not in tasks:
            yield f"{at} comes from {producer}, which is not in its DAG"
        elif producer not in task.get("dependentTasks", ()):
            yield f"{at} comes from {producer}, which it does not wait for: dependentTasks alone order tasks"

    def _trigger(self, at: str, task: Any, tasks: Any) -> Iterator[str]:
        policy = task.get("triggerPolicy", {})
        condition = policy.get("condition", "")
        given = task.get("inputs", {}).get("parameters", {})
        for name in _READS.findall(condition):
            if name not in given:
                yield f"{at}: its condition reads {name}, which it is not given"
        if condition and not _READS.search(condition):
            yield f"{at}: its condition reads no input"
        strategy = policy.get("strategy")
        before = task.get("dependentTasks", [])
        if strategy not in (None, "ALL_UPSTREAM_TASKS_SUCCEEDED", _ALWAYS):
            yield f"{at}: there is no strategy {strategy}"
        if strategy == _ALWAYS:
            if len(before) != 1:
                yield f"{at}: is a hook of one task, but waits for {len(before)}"
            elif before[0] in tasks and "dag" not in self._component_of(tasks[before[0]]):
                yield f"{at}: is a hook of {before[0]}, which is no DAG"

    def _iterator(self, at: str, task: Any) -> Iterator[str]:
        if "artifactIterator" in task:
            yield f"{at}: Argo has no artifactIterator"
        iterator = task.get("parameterIterator")
        if iterator is None:
            if "iteratorPolicy" in task:
                yield f"{at}: has an iteratorPolicy and no iterator"
            return
        component = self._component_of(task)
        name = iterator["items"].get("inputParameter")
        if name is None:
            if not isinstance(json.loads(iterator["items"]["raw"]), list):
                yield f"{at}: loops over constants that are no list"
        elif name not in task.get("inputs", {}).get("parameters", {}):
            yield f"{at}: loops over its input {name}, which it is not given"
        if iterator["itemInput"] not in _parameters(component, "input"):
            yield f"{at}: its item goes to {iterator['itemInput']}, which its component does not have"
        if task.get("iteratorPolicy", {}).get("parallelismLimit", 1) < 1:
            yield f"{at}: no round of it may run"
        if self._is_read(at, task) and "dag" not in component:
            yield f"{at}: what a container gives in a loop cannot be collected, a DAG around it can"
        if "dag" in component:
            for output, item in _parameters(component, "output").items():
                if item["parameterType"] != "LIST":
                    yield f"{at}: its output {output} is collected, so it is a LIST"

    def _is_read(self, at: str, task: Any) -> bool:
        name, _, key = at.partition("/")
        around = self.spec["root"] if name == "root" else self.components[name]
        return any(
            source.get("taskOutputParameter", {}).get("producerTask") == key
            for other in around["dag"]["tasks"].values()
            for source in other.get("inputs", {}).get("parameters", {}).values()
        )

    def _retry(self, at: str, task: Any) -> Iterator[str]:
        policy = task.get("retryPolicy")
        if policy and policy.get("maxRetryCount") and policy.get("backoffMaxDuration") != RETRY_FOR:
            yield f"{at}: is not retried once its first attempt has taken {policy.get('backoffMaxDuration')}"

    def _outputs(self, name: str, component: Any) -> Iterator[str]:
        tasks = component["dag"].get("tasks", {})
        given = component["dag"].get("outputs", {}).get("parameters", {})
        declared = _parameters(component, "output")
        guarded = self._is_guarded(name)
        if declared.keys() != given.keys():
            yield f"{name}: declares the outputs {sorted(declared)}, but gives {sorted(given)}"
        for output, source in given.items():
            at = f"{name}: its output {output}"
            oneof = source.get("valueFromOneof", {}).get("parameterSelectors", [])
            selectors = oneof or [source["valueFromParameter"]]
            for selector in selectors:
                producer, key = selector["producerSubtask"], selector["outputParameterKey"]
                if producer not in tasks:
                    yield f"{at} comes from {producer}, which is not in it"
                    continue
                kinds = _parameters(self._component_of(tasks[producer]), "output")
                looped = self._collects(name)
                wanted = "" if looped else declared.get(output, {}).get("parameterType", "")
                yield from _fits(at, f"{producer} has", kinds, key, wanted)
                conditional = "condition" in tasks[producer].get("triggerPolicy", {})
                if conditional and not oneof:
                    yield f"{at} comes from {producer}, which may not have run"
                if oneof and not conditional and not guarded:
                    yield f"{at} comes from {producer}, which always runs, so that it is not one of several"
                if looped and "dag" in self._component_of(tasks[producer]):
                    yield f"{at} is collected from {producer}, a DAG: a container gives what a loop collects"

    def _is_guarded(self, name: str) -> bool:
        """Whether an exit handler asks for its outputs, also where some of its tasks have failed."""
        for component in (self.spec["root"], *self.components.values()):
            tasks = component.get("dag", {}).get("tasks", {})
            for task in tasks.values():
                before = [tasks[key] for key in task.get("dependentTasks", ()) if key in tasks]
                always = task.get("triggerPolicy", {}).get("strategy") == _ALWAYS
                if always and any(one["componentRef"]["name"] == name for one in before):
                    return True
        return False

    def _collects(self, name: str) -> bool:
        return any("parameterIterator" in task and task["componentRef"]["name"] == name for _, task in self._tasks())

    def _container(self, name: str, component: Any) -> Iterator[str]:
        container = self.executors.get(component.get("executorLabel"), {}).get("container")
        if container is None:
            return
        parts = [*container.get("command", ()), *container.get("args", ())]
        parts += [item["value"] for item in container.get("env", ())]
        for text in parts:
            if len(text.encode()) >= ARGUMENT_BYTES:
                yield f"{name}: an argument or variable of {len(text.encode())} bytes"
            for placeholder in _PLACEHOLDER.findall(text):
                yield from self._placeholder(f"{name}: {{{{{placeholder}}}}}", placeholder, component)
        if len(json.dumps(container).encode()) >= ARGUMENT_BYTES:
            yield f"{name}: its container does not fit one argument of the driver"

    def _placeholder(self, at: str, placeholder: str, component: Any) -> Iterator[str]:
        if placeholder == "$":
            return
        port = _OF_PORT.fullmatch(placeholder)
        if port is None:
            yield f"{at}: Argo replaces this"
            return
        side, kind = port[1].removesuffix("s"), port[2]
        of = _parameters if kind == "parameters" else _artifacts
        if port[3] not in of(component, side):
            yield f"{at}: its component has no such {side}"

    def _shared_containers(self) -> Iterator[str]:
        """The backend keeps one component for each container: two that differ in nothing else become one."""
        seen: dict[str, tuple[str, str]] = {}
        for name, component in self.components.items():
            if component.get("executorLabel") in self.executors:
                container = self.executors[component["executorLabel"]].get("container", {})
                ports = json.dumps({key: component.get(key) for key in ("inputDefinitions", "outputDefinitions")})
                first, others = seen.setdefault(json.dumps(container, sort_keys=True), (name, ports))
                if others != ports:
                    yield f"{name}: the backend takes it for {first}, whose container is the same"


_ALSO_FITS = {"NUMBER_DOUBLE": "NUMBER_INTEGER"}


def _fits(at: str, whose: str, declared: dict[str, Any], name: str, wanted: str) -> Iterator[str]:
    if name not in declared:
        yield f"{at} is {name}, but {whose} no such"
    elif wanted and declared[name]["parameterType"] not in (wanted, _ALSO_FITS.get(wanted)):
        yield f"{at} is a {declared[name]['parameterType']}, but a {wanted} in its component"


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def _replaced(text: str) -> bool:
    """`{{$.pipeline_...}}` alone is a placeholder of Kubeflow's own."""
    return any(part in text for part in ("{{", "}}", "$$(")) and not re.fullmatch(r"\{\{\$\.pipeline_\w+\}\}", text)
