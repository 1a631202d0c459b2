"""Runs a compiled pipeline as Kubeflow Pipelines does, one task after the other: conditions, iterators, joined outputs,
exit handlers.

Each container is a process of this machine. What Kubeflow does about skipped and failed tasks, LISTs and selectors is
written down here once, from its own source, to hold the lowering to it.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from warm_processes import WarmProcesses

from grandpa_kfp.containers.placeholders import filled
from grandpa_kfp_runtime.contract import EXECUTOR_INPUT
from grandpa_kfp_runtime.stores.file import FileStore
from grandpa_kfp_runtime.values.handles import from_handle

_CONDITION = re.compile(r"inputs\.parameter_values\['([^']+)'\] == '([^']*)'")
_ALWAYS = "ALL_UPSTREAM_TASKS_COMPLETED"

WARM = WarmProcesses()
atexit.register(WARM.close)


class TaskFailed(Exception):
    """A container has ended with another exit code than 0. outputs: of the DAG around it, those that are there."""

    def __init__(self, told: str, outputs: Mapping[str, Any] | None = None) -> None:
        super().__init__(told)
        self.outputs = outputs or {}


@dataclass(frozen=True)
class Lost:
    """A task that was skipped or has failed. failed: how it, or a task in it, did; None for a skipped one.

    outputs: of a DAG, what its driver finds of them all the same; only an exit handler asks for it.
    """

    failed: TaskFailed | None = None
    outputs: Mapping[str, Any] = field(default_factory=dict)


Outputs = dict[str, Any]


@dataclass
class Cluster:
    """folder: for outputs. store: where values go. ran: tasks that have run as containers, by their ways, failed ones
    too; skipped: those whose condition did not hold, or that wait for a task that has no outputs."""

    spec: dict[str, Any]
    folder: Path
    store: Path
    ran: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def run(self, parameters: Mapping[str, Any]) -> Any:
        """The value of the pipeline's result. Raises TaskFailed when all that can run has run."""
        declared = self.spec["root"].get("inputDefinitions", {}).get("parameters", {})
        given = {name: item["defaultValue"] for name, item in declared.items() if "defaultValue" in item}
        outputs = self._dag("", self.spec["root"], {**given, **parameters})
        return from_handle(outputs["result"], FileStore(self.store)) if "result" in outputs else None

    def _dag(self, way: str, component: Any, parameters: Mapping[str, Any]) -> Outputs:
        declared = component.get("inputDefinitions", {}).get("parameters", {})
        assert set(declared) <= set(parameters), "every parameter is bound"
        made: dict[str, Outputs | Lost] = {}
        waiting = dict(component["dag"]["tasks"])
        while waiting:
            key = next(key for key, task in waiting.items() if made.keys() >= set(task.get("dependentTasks", ())))
            made[key] = self._node(f"{way}{key}", waiting.pop(key), parameters, made)
        outputs = _outputs(component, made)
        failed = [one.failed for one in made.values() if isinstance(one, Lost) and one.failed is not None]
        if failed:
            raise TaskFailed(str(failed[0]), outputs)
        given = component["dag"].get("outputs", {})
        declared = {**given.get("parameters", {}), **given.get("artifacts", {})}
        assert outputs.keys() == declared.keys(), f"{way} gives {sorted(outputs)}, not {sorted(declared)}"
        return outputs

    def _node(self, way: str, task: Any, around: Mapping[str, Any], made: Mapping[str, Any]) -> Outputs | Lost:
        """What Argo makes of a task once all that it waits for has ended."""
        before = [made[key] for key in task.get("dependentTasks", ())]
        if task.get("triggerPolicy", {}).get("strategy") == _ALWAYS:
            assert len(before) == 1, "an exit handler is a hook of one task"
            ready = not isinstance(before[0], Lost) or before[0].failed is not None
        else:
            ready = not any(isinstance(one, Lost) for one in before)
        try:
            outputs = self._task(way, task, around, made) if ready else None
        except TaskFailed as failed:
            return Lost(failed, failed.outputs)
        if outputs is None:
            self.skipped.append(way)
            return Lost()
        return outputs

    def _task(self, way: str, task: Any, around: Mapping[str, Any], made: Mapping[str, Any]) -> Outputs | None:
        inputs = {}
        for name, source in task.get("inputs", {}).get("parameters", {}).items():
            if "taskOutputParameter" in source:
                of = source["taskOutputParameter"]
                assert of["producerTask"] in task["dependentTasks"], "KFP orders tasks by dependentTasks alone"
                producer = made[of["producerTask"]]
                inputs[name] = (producer.outputs if isinstance(producer, Lost) else producer)[of["outputParameterKey"]]
            elif "componentInputParameter" in source:
                inputs[name] = around[source["componentInputParameter"]]
            else:
                inputs[name] = source["runtimeValue"]["constant"]
        for name, source in task.get("inputs", {}).get("artifacts", {}).items():
            file = source["taskOutputArtifact"]
            assert file["producerTask"] in task["dependentTasks"], "KFP orders tasks by dependentTasks alone"
            inputs[name] = made[file["producerTask"]][file["outputArtifactKey"]]
        if "condition" in task.get("triggerPolicy", {}):
            match = _CONDITION.fullmatch(task["triggerPolicy"]["condition"])
            assert match is not None
            if inputs[match[1]] != match[2]:
                return None
        component = self.spec["components"][task["componentRef"]["name"]]
        if "parameterIterator" not in task:
            return self._component(way, component, inputs)
        iterator = task["parameterIterator"]
        items = inputs[iterator["items"]["inputParameter"]]
        assert isinstance(items, list)
        rounds = [
            self._component(f"{way}/{number}", component, {**inputs, iterator["itemInput"]: item})
            for number, item in enumerate(items)
        ]
        names = component.get("outputDefinitions", {}).get("parameters", {})
        assert all(item["parameterType"] == "LIST" for item in names.values())
        return {name: [one[name] for one in rounds] for name in names}

    def _component(self, way: str, component: Any, inputs: Mapping[str, Any]) -> Outputs:
        for name, item in component.get("inputDefinitions", {}).get("parameters", {}).items():
            if name not in inputs and item.get("isOptional"):
                continue
            assert isinstance(inputs[name], list) == (item["parameterType"] == "LIST"), (way, name, inputs[name])
        if "dag" in component:
            return self._dag(f"{way}/", component, inputs)
        return self._container(way, component, inputs)

    def _container(self, way: str, component: Any, inputs: Mapping[str, Any]) -> Outputs:
        self.ran.append(way)
        container = self.spec["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
        folder = self.folder / "outputs" / str(len(self.ran))
        folder.mkdir(parents=True)
        given, left = component.get("inputDefinitions", {}), component.get("outputDefinitions", {})
        types = {name: item["parameterType"] for name, item in left.get("parameters", {}).items()}
        files = {name: str(folder / name) for name in left.get("artifacts", {}) if not name.endswith("-preview")}
        read = {name: inputs[name] for name in given.get("artifacts", {}) if name in inputs}
        executor_input = {
            "inputs": {
                "parameterValues": {name: value for name, value in inputs.items() if name not in read},
                "artifacts": _artifacts(given, read),
            },
            "outputs": {
                "parameters": {name: {"outputFile": str(folder / name)} for name in types},
                "artifacts": _artifacts(left, files),
                "outputFile": str(folder / "executor_output.json"),
            },
        }
        env = {item["name"]: item["value"] for item in container.get("env", ())}
        if "grandpa_kfp_runtime" not in container["command"]:
            self._theirs(way, container, executor_input, env)
            texts = {name: (folder / name).read_text("utf-8") for name in types}
            return {**files, **_values(texts, types)}
        env |= {"GRANDPA_STORE": str(self.store), "GRANDPA_TASK_NAME": way}
        args = [json.dumps(executor_input) if arg == EXECUTOR_INPUT else arg for arg in container["args"]]
        ended = WARM.run(args, env, folder)
        if ended.code:
            raise TaskFailed(f"{way} ended with {ended.code}: {ended.text}")
        texts = {name: (folder / name).read_text("utf-8") for name in types}
        return {**files, **_values(texts, types)}

    def _theirs(self, way: str, container: Any, executor_input: Any, env: Mapping[str, str]) -> None:
        """Somebody else's command, its placeholders filled in."""
        words = [*container["command"], *container.get("args", ())]
        argv = filled(words, json.loads(json.dumps(executor_input)), str)
        ended = subprocess.run(argv, env={**os.environ, **env}, capture_output=True, text=True)
        if ended.returncode:
            raise TaskFailed(f"{way} ended with {ended.returncode}: {ended.stderr}")


def _artifacts(definitions: Any, places: Mapping[str, str]) -> Any:
    kinds = definitions.get("artifacts", {})
    return {
        name: {"artifacts": [{"name": name, "type": kinds[name]["artifactType"], "uri": place, "metadata": {}}]}
        for name, place in places.items()
    }


def _values(texts: Mapping[str, str], types: Mapping[str, str]) -> Outputs:
    return {name: text if types[name] == "STRING" else json.loads(text) for name, text in texts.items()}


def _outputs(component: Any, made: Mapping[str, Outputs | Lost]) -> Outputs:
    """Of a DAG, those whose tasks have run; of several selectors the first."""
    found = {}
    for name, of in component["dag"].get("outputs", {}).get("artifacts", {}).items():
        (one,) = of["artifactSelectors"]
        outputs = made[one["producerSubtask"]]
        assert not isinstance(outputs, Lost)
        found[name] = outputs[one["outputArtifactKey"]]
    for name, of in component["dag"].get("outputs", {}).get("parameters", {}).items():
        if "valueFromParameter" in of:
            selectors = [of["valueFromParameter"]]
        else:
            selectors = of["valueFromOneof"]["parameterSelectors"]
        ran = [(made[one["producerSubtask"]], one["outputParameterKey"]) for one in selectors]
        values = [outputs[key] for outputs, key in ran if not isinstance(outputs, Lost)]
        if values:
            found[name] = values[0]
    return found


def cluster(text: str, folder: Path, store: Path | None = None) -> Cluster:
    """The first document is the pipeline. store: by default below the folder."""
    return Cluster(next(yaml.safe_load_all(text)), folder, store or folder / "store")
