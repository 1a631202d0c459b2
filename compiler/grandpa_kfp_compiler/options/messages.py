"""Structured values by the tables of their messages: what Kubernetes and KFP call each field, and its type.

`AFFINITY` is Kubernetes' Affinity, `EXECUTOR_CONFIG` KFP's KubernetesExecutorConfig by its JSON names; a test
holds the latter against the package kfp-kubernetes, which is not needed to compile.
A type is `text`, `flag`, `number`, `amount` (a text such as `1Gi`), `json` (anything), a message's name, or one of
these in `[...]` for a list, in `{...}` for a map by text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from .names import nearest
from .rules import Json, Rule, Wrong, by_name_rule, is_size

Messages = dict[str, dict[str, str]]

AFFINITY: Messages = {
    "Affinity": {"nodeAffinity": "NodeAffinity", "podAffinity": "PodAffinity", "podAntiAffinity": "PodAffinity"},
    "NodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": "NodeSelector",
        "preferredDuringSchedulingIgnoredDuringExecution": "[PreferredSchedulingTerm]",
    },
    "NodeSelector": {"nodeSelectorTerms": "[NodeSelectorTerm]"},
    "PreferredSchedulingTerm": {"weight": "number", "preference": "NodeSelectorTerm"},
    "NodeSelectorTerm": {"matchExpressions": "[Requirement]", "matchFields": "[Requirement]"},
    "Requirement": {"key": "text", "operator": "text", "values": "[text]"},
    "PodAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": "[PodAffinityTerm]",
        "preferredDuringSchedulingIgnoredDuringExecution": "[WeightedPodAffinityTerm]",
    },
    "WeightedPodAffinityTerm": {"weight": "number", "podAffinityTerm": "PodAffinityTerm"},
    "PodAffinityTerm": {
        "labelSelector": "LabelSelector",
        "namespaceSelector": "LabelSelector",
        "namespaces": "[text]",
        "topologyKey": "text",
    },
    "LabelSelector": {"matchLabels": "{text}", "matchExpressions": "[Requirement]"},
}
_SECRET = {"secretName": "text", "optional": "flag", "secretNameParameter": "InputParameterSpec"}
_CONFIG_MAP = {"configMapName": "text", "optional": "flag", "configMapNameParameter": "InputParameterSpec"}
EXECUTOR_CONFIG: Messages = {
    "KubernetesExecutorConfig": {
        "secretAsVolume": "[SecretAsVolume]",
        "secretAsEnv": "[SecretAsEnv]",
        "pvcMount": "[PvcMount]",
        "nodeSelector": "NodeSelector",
        "podMetadata": "PodMetadata",
        "imagePullSecret": "[ImagePullSecret]",
        "imagePullPolicy": "text",
        "configMapAsVolume": "[ConfigMapAsVolume]",
        "configMapAsEnv": "[ConfigMapAsEnv]",
        "activeDeadlineSeconds": "number",
        "fieldPathAsEnv": "[FieldPathAsEnv]",
        "tolerations": "[Toleration]",
        "genericEphemeralVolume": "[GenericEphemeralVolume]",
        "nodeAffinity": "[NodeAffinityTerm]",
        "podAffinity": "[PodAffinityTerm]",
        "enabledSharedMemory": "EnabledSharedMemory",
        "emptyDirMounts": "[EmptyDirMount]",
        "securityContext": "SecurityContext",
    },
    "SecretAsVolume": {**_SECRET, "mountPath": "text"},
    "SecretAsEnv": {**_SECRET, "keyToEnv": "[SecretKeyToEnvMap]"},
    "SecretKeyToEnvMap": {"secretKey": "text", "envVar": "text"},
    "PvcMount": {
        "constant": "text",
        "taskOutputParameter": "TaskOutputParameterSpec",
        "componentInputParameter": "text",
        "mountPath": "text",
        "pvcNameParameter": "InputParameterSpec",
        "subPath": "text",
    },
    "NodeSelector": {"labels": "{text}", "nodeSelectorJson": "InputParameterSpec"},
    "PodMetadata": {"labels": "{text}", "annotations": "{text}"},
    "ImagePullSecret": {"secretName": "text", "secretNameParameter": "InputParameterSpec"},
    "ConfigMapAsVolume": {**_CONFIG_MAP, "mountPath": "text"},
    "ConfigMapAsEnv": {**_CONFIG_MAP, "keyToEnv": "[ConfigMapKeyToEnvMap]"},
    "ConfigMapKeyToEnvMap": {"configMapKey": "text", "envVar": "text"},
    "FieldPathAsEnv": {"name": "text", "fieldPath": "text"},
    "Toleration": {
        "key": "text",
        "operator": "text",
        "value": "text",
        "effect": "text",
        "tolerationSeconds": "number",
        "tolerationJson": "InputParameterSpec",
    },
    "GenericEphemeralVolume": {
        "volumeName": "text",
        "mountPath": "text",
        "accessModes": "[text]",
        "size": "amount",
        "defaultStorageClass": "flag",
        "storageClassName": "text",
        "metadata": "PodMetadata",
    },
    "SelectorRequirement": {"key": "text", "operator": "text", "values": "[text]"},
    "NodeAffinityTerm": {
        "matchExpressions": "[SelectorRequirement]",
        "matchFields": "[SelectorRequirement]",
        "weight": "number",
        "nodeAffinityJson": "InputParameterSpec",
    },
    "PodAffinityTerm": {
        "matchPodExpressions": "[SelectorRequirement]",
        "matchPodLabels": "{text}",
        "topologyKey": "text",
        "namespaces": "[text]",
        "matchNamespaceExpressions": "[SelectorRequirement]",
        "matchNamespaceLabels": "{text}",
        "weight": "number",
        "anti": "flag",
    },
    "EnabledSharedMemory": {"volumeName": "text", "size": "amount"},
    "EmptyDirMount": {"volumeName": "text", "mountPath": "text", "medium": "text", "sizeLimit": "amount"},
    "SecurityContext": {"runAsUser": "number", "runAsGroup": "number", "runAsNonRoot": "flag"},
    "InputParameterSpec": {
        "runtimeValue": "ValueOrRuntimeParameter",
        "componentInputParameter": "text",
        "taskOutputParameter": "TaskOutputParameterSpec",
    },
    "ValueOrRuntimeParameter": {"constant": "json"},
    "TaskOutputParameterSpec": {"producerTask": "text", "outputParameterKey": "text"},
}

_NEEDED: dict[str, tuple[str, ...]] = {
    "SecretAsVolume": ("mountPath",),
    "SecretAsEnv": ("keyToEnv",),
    "SecretKeyToEnvMap": ("secretKey", "envVar"),
    "PvcMount": ("mountPath",),
    "ConfigMapAsVolume": ("mountPath",),
    "ConfigMapAsEnv": ("keyToEnv",),
    "ConfigMapKeyToEnvMap": ("configMapKey", "envVar"),
    "FieldPathAsEnv": ("name", "fieldPath"),
    "GenericEphemeralVolume": ("volumeName", "mountPath", "size"),
    "EmptyDirMount": ("volumeName", "mountPath"),
}
"""What a message makes no pod without; KFP's server would tell only when the task is to start."""


def freeze(value: Json) -> str:
    """JSON data as its canonical text, which is frozen and hashable. Raises Wrong for what is no JSON."""
    _check_json(value, 0)
    return json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))


_DEEPEST = 50


def _check_json(value: Any, depth: int) -> None:
    if depth > _DEEPEST:
        raise Wrong("is nested too deeply")
    if isinstance(value, Mapping):
        for name, item in value.items():
            if not isinstance(name, str):
                raise Wrong(f"must have texts as names, but has {name!r}")
            _check_json(item, depth + 1)
    elif isinstance(value, list | tuple):
        for item in value:
            _check_json(item, depth + 1)
    elif not (value is None or isinstance(value, str | bool | int)) and not (
        isinstance(value, float) and value - value == 0
    ):
        raise Wrong(f"must hold texts, numbers, lists and dicts alone, but holds {value!r}")


def mistakes_of(value: Json, type_: str, messages: Messages, path: str) -> Iterator[str]:
    """Where a value is not of its type: `has nodeSelector.lables; did you mean 'labels'?`.

    >>> list(mistakes_of({"runAsUsr": 1}, "SecurityContext", EXECUTOR_CONFIG, "securityContext"))
    ["has securityContext.runAsUsr, which is not known; did you mean 'runAsUser'?"]
    """
    if type_ == "json":
        return
    inner = type_[1:-1]
    if type_[0] == "[" and isinstance(value, list):
        for index, item in enumerate(value):
            yield from mistakes_of(item, inner, messages, f"{path}[{index}]")
    elif type_[0] == "{" and isinstance(value, dict):
        for name, item in value.items():
            yield from mistakes_of(item, inner, messages, f"{path}.{name}")
    elif type_ in messages and isinstance(value, dict):
        known = messages[type_]
        for name in _NEEDED.get(type_, ()):
            if not value.get(name):
                yield f"has no {name} in {path}"
        for name, item in value.items():
            if name in known:
                yield from mistakes_of(item, known[name], messages, f"{path}.{name}")
            else:
                yield f"has {path}.{name}, which is not known{nearest(name, known)}"
    elif not _is_plain(value, type_):
        yield f"must have {_TYPES.get(type_[0], _TYPES.get(type_, 'a dict'))} as {path}, but has {value!r}"


_TYPES = {
    "text": "a text",
    "amount": "a size such as '1Gi'",
    "flag": "True or False",
    "number": "a whole number",
    "[": "a list",
    "{": "a dict of texts",
}


def _is_plain(value: Json, type_: str) -> bool:
    if type_ == "number":  # protobuf's JSON writes its 64-bit numbers as texts
        return type(value) is int or (isinstance(value, str) and value.lstrip("-").isdecimal())
    if type_ == "amount":
        return is_size(value)
    return (type_ == "text" and isinstance(value, str)) or (type_ == "flag" and isinstance(value, bool))


def message_rule(messages: Messages, message: str) -> Rule:
    """A dict of the message's fields, each frozen as its JSON text."""
    known = messages[message]

    def mistakes(name: str, text: str) -> Iterator[str]:
        if name in known:
            yield from mistakes_of(json.loads(text), known[name], messages, name)
        else:
            yield f"has {name}, which is not known{nearest(name, known)}"

    return by_name_rule("a dict", lambda _, value: freeze(value), mistakes, json.loads)
