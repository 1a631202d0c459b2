"""A pipeline as the text that Kubeflow reads: two YAML documents in one file. Nothing is decided here.

The first document is KFP's PipelineSpec, the second its PlatformSpec for Kubernetes (secrets, scratch
space, deadlines). Field by field what the kfp SDK's own protobuf writes as JSON, without importing it.
"""

from __future__ import annotations

import json
import re

from .pipeline import Dag, Executor, FromConstant, FromTask, Leaf, Parameter, Pipeline, Source, Task
from .yaml_writer import Plain, dump

SCHEMA_VERSION = "2.1.0"
RETRY_FOR = "2592000s"
"""KFP counts a retry's bound from the first attempt's start, running time included: 30 days."""

_ARTIFACT_VERSION = "0.0.1"
_STRING = {"parameterType": "STRING"}
_LIST = {"parameterType": "LIST"}
_GIGABYTE = 1e9
_UNITS = {"K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
_BINARY_UNITS = {unit + "i": 1024.0 ** (power + 1) for power, unit in enumerate(_UNITS)}


def emit(pipeline: Pipeline, version: str) -> str:
    """The file's text. Raises ValueError for text that YAML cannot hold."""
    text = _header(pipeline) + dump(pipeline_spec(pipeline, version))
    platform = platform_spec(pipeline)
    return text + "---\n" + dump(platform) if platform else text


def pipeline_spec(pipeline: Pipeline, version: str) -> dict[str, Plain]:
    """The PipelineSpec as plain data."""
    info = {"name": pipeline.name}
    if pipeline.description:
        info["description"] = pipeline.description
    executors = {_label(leaf): {"container": _container(leaf.executor)} for leaf in pipeline.leaves()}
    return {
        "pipelineInfo": info,
        "root": _dag(pipeline.root, pipeline),
        "components": {item.key: _component(item, pipeline) for item in pipeline.components},
        "deploymentSpec": {"executors": executors},
        "schemaVersion": SCHEMA_VERSION,
        "sdkVersion": f"grandpa-kfp-{version}",
    }


def platform_spec(pipeline: Pipeline) -> dict[str, Plain]:
    """The PlatformSpec as plain data; empty where no executor needs one."""
    executors = {_label(leaf): leaf.executor.kubernetes for leaf in pipeline.leaves() if leaf.executor.kubernetes}
    return {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}} if executors else {}


def _label(leaf: Leaf) -> str:
    return "exec-" + leaf.key.removeprefix("comp-")


# --- components and tasks ------------------------------------------------------------------------


def _component(component: Leaf | Dag, pipeline: Pipeline) -> dict[str, Plain]:
    if isinstance(component, Dag):
        return _dag(component, pipeline)
    found: dict[str, Plain] = {"executorLabel": _label(component)}
    if component.inputs:
        found["inputDefinitions"] = _inputs(component)
    given: dict[str, Plain] = {}
    if component.outputs or component.values:
        handles = dict.fromkeys(component.outputs, _LIST if component.listed else _STRING)
        given["parameters"] = handles | {name: {"parameterType": type_} for name, type_ in component.values}
    if component.artifacts:
        given["artifacts"] = {name: _artifact(schema) for name, schema in component.artifacts}
    if given:
        found["outputDefinitions"] = given
    return found


def _inputs(component: Leaf) -> dict[str, Plain]:
    found: dict[str, Plain] = {}
    for name, type_ in component.inputs:
        kind = "parameters" if type_ in _TYPES else "artifacts"
        told = {"parameterType": type_} if type_ in _TYPES else _artifact(type_)
        found.setdefault(kind, {})[name] = told | ({"isOptional": True} if name in component.optional else {})
    return found


def _artifact(schema_title: str) -> dict[str, Plain]:
    return {"artifactType": {"schemaTitle": schema_title, "schemaVersion": _ARTIFACT_VERSION}}


def _dag(dag: Dag, pipeline: Pipeline) -> dict[str, Plain]:
    body: dict[str, Plain] = {"tasks": {task.key: _task(task) for task in dag.tasks}}
    found: dict[str, Plain] = {"dag": body}
    if dag.parameters:
        found["inputDefinitions"] = {"parameters": {item.name: _parameter(item) for item in dag.parameters}}
    outputs = {name: {"valueFromParameter": _selected(task, output)} for name, task, output in dag.outputs}
    for name, sources in dag.joined:
        selectors = [_selected(source.task, source.output) for source in sources]
        outputs[name] = {"valueFromOneof": {"parameterSelectors": selectors}}
    if outputs:
        body["outputs"] = {"parameters": outputs}
        found["outputDefinitions"] = {"parameters": dict.fromkeys(outputs, _LIST if dag.listed else _STRING)}
    for name, source, type_ in dag.typed:
        kind = "parameters" if type_ in _TYPES else "artifacts"
        selector: Plain = {"valueFromParameter": _selected(source.task, source.output)}
        if source.file:
            chosen = {"producerSubtask": source.task, "outputArtifactKey": source.output}
            selector = {"artifactSelectors": [chosen]}
        body.setdefault("outputs", {}).setdefault(kind, {})[name] = selector
        told = {"parameterType": type_} if type_ in _TYPES else _artifact(type_)
        found.setdefault("outputDefinitions", {}).setdefault(kind, {})[name] = told
    return found


def _selected(task: str, output: str) -> dict[str, Plain]:
    return {"producerSubtask": task, "outputParameterKey": output}


def _parameter(parameter: Parameter) -> dict[str, Plain]:
    found: dict[str, Plain] = {"parameterType": parameter.type}
    if parameter.optional:
        found["defaultValue"] = parameter.default
        found["isOptional"] = True
    if parameter.description:
        found["description"] = parameter.description
    return found


def _task(task: Task) -> dict[str, Plain]:
    found: dict[str, Plain] = {"taskInfo": {"name": task.key}, "componentRef": {"name": task.component}}
    for name, source in task.inputs:
        kind = "artifacts" if isinstance(source, FromTask) and source.file else "parameters"
        found.setdefault("inputs", {}).setdefault(kind, {})[name] = _source(source)
    if task.after:
        found["dependentTasks"] = list(task.after)
    if task.cache is not None:
        found["cachingOptions"] = {"enableCache": task.cache}
    if task.condition:
        found["triggerPolicy"] = {"condition": task.condition}
    if task.always:
        found["triggerPolicy"] = {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}
    if task.rounds:
        found["parameterIterator"] = {"items": {"inputParameter": task.rounds.items}, "itemInput": task.rounds.item}
        if task.rounds.parallelism:
            found["iteratorPolicy"] = {"parallelismLimit": task.rounds.parallelism}
    if task.retries:
        found["retryPolicy"] = {
            "maxRetryCount": task.retries,
            "backoffDuration": f"{task.backoff.first_s}s",
            "backoffFactor": float(task.backoff.factor),
            "backoffMaxDuration": RETRY_FOR,
        }
    return found


def _source(source: Source) -> dict[str, Plain]:
    if isinstance(source, FromTask) and source.file:
        return {"taskOutputArtifact": {"producerTask": source.task, "outputArtifactKey": source.output}}
    if isinstance(source, FromTask):
        return {"taskOutputParameter": {"producerTask": source.task, "outputParameterKey": source.output}}
    if isinstance(source, FromConstant):
        return {"runtimeValue": {"constant": source.value}}
    return {"componentInputParameter": source.name}


# --- containers ----------------------------------------------------------------------------------


def _container(executor: Executor) -> dict[str, Plain]:
    found: dict[str, Plain] = {"image": executor.image}
    for name, words in (("command", executor.command), ("args", executor.args)):
        if words:
            found[name] = list(words)
    if executor.env:
        found["env"] = [{"name": name, "value": value} for name, value in executor.env]
    resources = _resources(executor)
    if resources:
        found["resources"] = resources
    return found


def _resources(executor: Executor) -> dict[str, Plain]:
    """Each amount in the field of today (text, as the user wrote it) and in the one older servers read."""
    found: dict[str, Plain] = dict(executor.resources)
    for kind, part, text, number in (
        ("cpu", "Limit", executor.cpu.limit, cores),
        ("cpu", "Request", executor.cpu.request, cores),
        ("memory", "Limit", executor.memory.limit, gigabytes),
        ("memory", "Request", executor.memory.request, gigabytes),
    ):
        if text is not None:
            found[f"resource{kind.capitalize()}{part}"] = text
            if (value := number(text)) is not None:
                found[f"{kind}{part}"] = value
    if executor.accelerator:
        resource, amount = executor.accelerator
        found["accelerator"] = {"resourceType": resource, "resourceCount": amount}
        if amount.isdecimal():
            found["accelerator"] |= {"type": resource, "count": amount}
    return found


def cores(text: str) -> float | None:
    """Kubernetes' text for CPUs as a number, None for a form that only it knows.

    >>> cores("500m"), cores("2")
    (0.5, 2.0)
    """
    match = re.fullmatch(r"([0-9.]+)(m?)", text)
    return float(match[1]) / (1000 if match[2] else 1) if match else None


def gigabytes(text: str) -> float | None:
    """Kubernetes' text for memory in units of 1e9 bytes, None for a form that only it knows.

    >>> gigabytes("2Gi"), gigabytes("500M"), gigabytes("1000000000")
    (2.147483648, 0.5, 1.0)
    """
    match = re.fullmatch(r"([0-9.]+)([kKMGTPE]i?)?", text)
    if match is None:
        return None
    number, unit = match.groups(default="")
    return float(number) * {**_UNITS, **_BINARY_UNITS, "": 1.0}[unit.replace("k", "K")] / _GIGABYTE


# --- the comment on top --------------------------------------------------------------------------

_TYPES = {
    "STRING": "str",
    "NUMBER_INTEGER": "int",
    "NUMBER_DOUBLE": "float",
    "BOOLEAN": "bool",
    "LIST": "list",
    "STRUCT": "dict",
}


def _header(pipeline: Pipeline) -> str:
    """What a person wants to know first, in the form that the kfp SDK writes and reads back."""
    lines = ["# PIPELINE DEFINITION", f"# Name: {pipeline.name}"]
    if pipeline.description:
        first, *more = _printable(pipeline.description).splitlines() or [""]
        lines.append(f"# Description: {first}")
        lines.extend(f"#              {line}" for line in more)
    if pipeline.root.parameters:
        lines.append("# Inputs:")
    for item in pipeline.root.parameters:
        default = f" [Default: {json.dumps(item.default)}]" if item.optional else ""
        lines.append(f"#    {_printable(item.name)}: {_TYPES[item.type]}{default}")
    if pipeline.root.outputs or pipeline.root.typed:
        lines.append("# Outputs:")
    lines.extend(f"#    {name}: str" for name, _, _ in pipeline.root.outputs)
    lines.extend(f"#    {name}: {_TYPES.get(type_, type_)}" for name, _, type_ in pipeline.root.typed)
    return "\n".join(lines) + "\n"


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() or char == "\n" else "?" for char in text)
