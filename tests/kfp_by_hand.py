"""Runs a compiled pipeline as Kubeflow Pipelines does, one task after the other: conditions, iterators, joined outputs.

Each container is a process of this machine. What Kubeflow does about skipped tasks, LISTs and
selectors is written down here once, from its own source, to hold the lowering to it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from grandpa_kfp_runtime.contract import EXECUTOR_INPUT
from grandpa_kfp_runtime.stores.file import FileStore
from grandpa_kfp_runtime.values.handles import from_handle

_CONDITION = re.compile(r"inputs\.parameter_values\['([^']+)'\] == '([^']*)'")


class TaskFailed(Exception):
    """A container has ended with another exit code than 0."""


@dataclass
class Cluster:
    """folder: for the store and outputs. ran: tasks that have run as containers, by their ways; skipped: those whose
    condition did not hold, or that wait for one of them."""

    spec: dict[str, Any]
    folder: Path
    ran: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def run(self, parameters: Mapping[str, Any]) -> Any:
        """The value of the pipeline's result."""
        declared = self.spec["root"].get("inputDefinitions", {}).get("parameters", {})
        given = {name: item["defaultValue"] for name, item in declared.items() if "defaultValue" in item}
        outputs = self._dag("", self.spec["root"], {**given, **parameters})
        return from_handle(outputs["result"], FileStore(self.folder / "store"))

    def _dag(self, way: str, component: Any, parameters: Mapping[str, Any]) -> dict[str, Any]:
        declared = component.get("inputDefinitions", {}).get("parameters", {})
        assert set(declared) <= set(parameters), "every parameter is bound"
        made: dict[str, dict[str, Any] | None] = {}
        waiting = dict(component["dag"]["tasks"])
        while waiting:
            key = next(key for key, task in waiting.items() if made.keys() >= set(task.get("dependentTasks", ())))
            task = waiting.pop(key)
            lost = any(made[before] is None for before in task.get("dependentTasks", ()))
            made[key] = None if lost else self._task(f"{way}{key}", task, parameters, made)
            if made[key] is None:
                self.skipped.append(f"{way}{key}")
        return _outputs(component, made)

    def _task(self, way: str, task: Any, around: Mapping[str, Any], made: Mapping[str, Any]) -> dict[str, Any] | None:
        inputs = {}
        for name, source in task.get("inputs", {}).get("parameters", {}).items():
            if "taskOutputParameter" in source:
                of = source["taskOutputParameter"]
                assert of["producerTask"] in task["dependentTasks"], "KFP orders tasks by dependentTasks alone"
                inputs[name] = made[of["producerTask"]][of["outputParameterKey"]]
            elif "componentInputParameter" in source:
                inputs[name] = around[source["componentInputParameter"]]
            else:
                inputs[name] = source["runtimeValue"]["constant"]
        if "triggerPolicy" in task:
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

    def _component(self, way: str, component: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
        for name, item in component.get("inputDefinitions", {}).get("parameters", {}).items():
            assert isinstance(inputs[name], list) == (item["parameterType"] == "LIST"), (way, name, inputs[name])
        if "dag" in component:
            return self._dag(f"{way}/", component, inputs)
        return self._container(way, component, inputs)

    def _container(self, way: str, component: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
        self.ran.append(way)
        container = self.spec["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
        folder = self.folder / "outputs" / str(len(self.ran))
        folder.mkdir(parents=True)
        types = {name: item["parameterType"] for name, item in component["outputDefinitions"]["parameters"].items()}
        executor_input = {
            "inputs": {"parameterValues": dict(inputs)},
            "outputs": {
                "parameters": {name: {"outputFile": str(folder / name)} for name in types},
                "outputFile": str(folder / "executor_output.json"),
            },
        }
        env = {item["name"]: item["value"] for item in container["env"]}
        env |= {"GRANDPA_STORE": str(self.folder / "store"), "GRANDPA_TASK_NAME": way}
        args = [json.dumps(executor_input) if arg == EXECUTOR_INPUT else arg for arg in container["args"]]
        command = [sys.executable, "-m", "grandpa_kfp_runtime", *args]
        ended = subprocess.run(
            command,
            env={**os.environ, **env},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if ended.returncode:
            raise TaskFailed(f"{way} ended with {ended.returncode}: {ended.stderr}")
        texts = {name: (folder / name).read_text("utf-8") for name in types}
        return {name: text if types[name] == "STRING" else json.loads(text) for name, text in texts.items()}


def _outputs(component: Any, made: Mapping[str, dict[str, Any] | None]) -> dict[str, Any]:
    """Of a DAG; of several selectors the first whose task has run."""
    found = {}
    for name, of in component["dag"].get("outputs", {}).get("parameters", {}).items():
        if "valueFromParameter" in of:
            selectors = [of["valueFromParameter"]]
        else:
            selectors = of["valueFromOneof"]["parameterSelectors"]
        ran = [one for one in selectors if made[one["producerSubtask"]] is not None]
        assert len(ran) == 1, f"{name} comes from one task that has run, not from {len(ran)}"
        values = made[ran[0]["producerSubtask"]]
        assert values is not None
        found[name] = values[ran[0]["outputParameterKey"]]
    return found


def cluster(text: str, folder: Path) -> Cluster:
    """The first document is the pipeline."""
    return Cluster(next(yaml.safe_load_all(text)), folder)
