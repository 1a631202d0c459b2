"""Compiled YAML made by hand: for tests of how it is read and run."""

from __future__ import annotations

import json
import re
from typing import Any

import yaml

from grandpa_kfp_runtime.contract import Argument, Arguments, Input, Interface, TaskCall
from grandpa_kfp_runtime.typespec import TypeSpec


def container(node: str, *inputs: Input, outputs: tuple[str, ...] = ("result",)) -> dict[str, Any]:
    interface = Interface(inputs, Arguments(tuple(Argument(item.name) for item in inputs)), outputs=outputs)
    args = TaskCall(node, "f" * 64, interface, "s3://mlpipeline/grandpa").argv()
    return {"image": "runtime", "command": ["python", "-m", "grandpa_kfp_runtime"], "args": args}


class Spec:
    """A PipelineSpec under construction: components named after what they are made of."""

    def __init__(self) -> None:
        self.components: dict[str, Any] = {}
        self.executors: dict[str, Any] = {}
        self.root: dict[str, Any] = {"dag": {"tasks": {}}}
        self.platform: dict[str, Any] = {}

    def node(self, name: str, node: str, *inputs: Input, outputs: tuple[str, ...] = ("result",), **more: Any) -> Spec:
        self.executors[f"exec-{name}"] = {"container": {**container(node, *inputs, outputs=outputs), **more}}
        types = {"handle": "STRING", "json": "STRING"}
        declared = {item.name: {"parameterType": types.get(item.kind) or KFP_TYPES[str(item.type)]} for item in inputs}
        self.components[f"comp-{name}"] = {
            "executorLabel": f"exec-{name}",
            "inputDefinitions": {"parameters": declared},
            "outputDefinitions": {"parameters": {item: {"parameterType": "STRING"} for item in outputs}},
        }
        return self

    def parameters(self, **definitions: Any) -> Spec:
        self.root["inputDefinitions"] = {"parameters": definitions}
        return self

    def result(self, task: str, output: str = "result") -> Spec:
        chosen = {"valueFromParameter": {"producerSubtask": task, "outputParameterKey": output}}
        self.root["dag"]["outputs"] = {"parameters": {"result": chosen}}
        return self

    def task(self, name: str, component: str, inputs: dict[str, Any] | None = None, **more: Any) -> Spec:
        self.root["dag"]["tasks"][name] = task(name, component, inputs or {}, **more)
        return self

    def documents(self) -> list[dict[str, Any]]:
        spec = {
            "pipelineInfo": {"name": "flow"},
            "root": self.root,
            "components": self.components,
            "deploymentSpec": {"executors": self.executors},
            "schemaVersion": "2.1.0",
            "sdkVersion": "grandpa-kfp-0.1.0",
        }
        if not self.platform:
            return [spec]
        return [spec, {"platforms": {"kubernetes": {"deploymentSpec": {"executors": self.platform}}}}]

    def text(self) -> str:
        return yaml.safe_dump_all(self.documents(), sort_keys=False)


KFP_TYPES = {"int": "NUMBER_INTEGER", "float": "NUMBER_DOUBLE", "str": "STRING", "bool": "BOOLEAN"}


def task(name: str, component: str, inputs: dict[str, Any], **more: Any) -> dict[str, Any]:
    made = {"taskInfo": {"name": name}, "componentRef": {"name": f"comp-{component}"}, **more}
    if inputs:
        made["inputs"] = {"parameters": inputs}
    return made


def constant(value: Any) -> dict[str, Any]:
    return {"runtimeValue": {"constant": value}}


def output(of: str, key: str = "result") -> dict[str, Any]:
    return {"taskOutputParameter": {"producerTask": of, "outputParameterKey": key}}


def parameter(name: str) -> dict[str, Any]:
    return {"componentInputParameter": name}


def raw(name: str, type_: str) -> Input:
    return Input(name, "raw", TypeSpec(type_))


def dag(tasks: dict[str, Any], *, takes: dict[str, str] | None = None, gives: dict[str, Any] | None = None) -> Any:
    """A component that is a DAG. takes: its parameters' types; gives: for each output the task whose `result` it is, or
    several tasks of which one has run."""
    found: dict[str, Any] = {"dag": {"tasks": tasks}}
    if takes:
        found["inputDefinitions"] = {"parameters": {name: {"parameterType": kind} for name, kind in takes.items()}}
    if gives:
        outputs = {}
        for name, of in gives.items():
            chosen = [
                {"producerSubtask": one, "outputParameterKey": "result"} for one in (of if type(of) is list else [of])
            ]
            one_of = {"valueFromOneof": {"parameterSelectors": chosen}}
            outputs[name] = one_of if type(of) is list else {"valueFromParameter": chosen[0]}
        found["dag"]["outputs"] = {"parameters": outputs}
        found["outputDefinitions"] = {"parameters": {key: {"parameterType": "STRING"} for key in gives}}
    return found


def when(condition: str) -> dict[str, Any]:
    """Of a task that runs on a condition; `x == 1` means the input x."""
    text = re.sub(r"\b([a-z]+)\b(?=\s*[=<>!])", r"inputs.parameter_values['\1']", condition)
    return {"triggerPolicy": {"condition": text}}


def over(items: str | list[Any], item: str = "item", parallelism: int = 0) -> dict[str, Any]:
    """Of a task that is iterated: over the LIST in an input, or over a list that is known."""
    of = {"inputParameter": items} if isinstance(items, str) else {"raw": json.dumps(items)}
    found: dict[str, Any] = {"parameterIterator": {"items": of, "itemInput": item}}
    return {**found, "iteratorPolicy": {"parallelismLimit": parallelism}} if parallelism else found


def always(*after: str) -> dict[str, Any]:
    return {"triggerPolicy": {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}, "dependentTasks": list(after)}
