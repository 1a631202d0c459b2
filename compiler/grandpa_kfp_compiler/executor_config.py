"""From a task's options to KFP's KubernetesExecutorConfig, as plain data by its JSON names.

Each option becomes entries of the config in the very form that `kubernetes={...}` gives them, so that both
are merged, and two that claim one thing (a variable, a folder, a label) are told apart by whoever set them.
`verify` asks for the conflicts, `kfp/executors.py` for the config.
"""

from __future__ import annotations

import json
import math
import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from .graph import Json, Options
from .options.names import RESERVED
from .options.placement import toleration_json
from .options.volumes import ConfigMapVolume, EmptyDir, EphemeralVolume, Pvc, SecretVolume, Volume

DEADLINE_MARGIN_S = 60
"""The pod's deadline stands behind the runtime's own timer: a killed pod leaves no log."""
SHARED_MEMORY = "/dev/shm"

_FIRST = ("secretAsEnv", "emptyDirMounts", "activeDeadlineSeconds", "imagePullPolicy")
_LISTS = frozenset(
    {
        "secretAsVolume", "secretAsEnv", "pvcMount", "imagePullSecret", "configMapAsVolume", "configMapAsEnv",
        "fieldPathAsEnv", "tolerations", "genericEphemeralVolume", "nodeAffinity", "podAffinity", "emptyDirMounts",
    }
)  # fmt: skip
_MAPS = {"nodeSelector": ("labels",), "podMetadata": ("labels", "annotations")}
_KFP_FOLDERS = ("/kfp-launcher", "/gcs", "/s3", "/minio", "/.local", "/.cache", "/.config")
_KFP_VOLUMES = (
    "kfp-launcher", "ca-bundle", "gcs-scratch", "s3-scratch", "minio-scratch", "dot-local-scratch",
    "dot-cache-scratch", "dot-config-scratch",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Entry:
    """One part of a config: an item of a list field, one text of a map field, or a whole other field.

    origin: who set it, for messages; named_here: its volume's name is ours to choose.
    """

    origin: str
    field: str
    value: Json
    named_here: bool = False


def executor_config(options: Options, own: Iterable[Entry] = ()) -> dict[str, Json]:
    """The config of a task, whole. own: what every task has; it gives way to a user's entry that claims the same."""
    entries = list(option_entries(options))
    taken = {thing for entry in entries for thing, _ in _claims(entry)}
    entries += [entry for entry in own if taken.isdisjoint(thing for thing, _ in _claims(entry))]
    config: dict[str, Json] = dict.fromkeys(_FIRST)
    for entry in _with_names(entries):
        if entry.field in _LISTS:
            config[entry.field] = [*(config.get(entry.field) or ()), entry.value]
        elif entry.field in _MAPS:
            found = config.setdefault(entry.field, {})
            for name, value in entry.value.items():
                found[name] = {**found.get(name, {}), **value} if name in _MAPS[entry.field] else value
        else:
            config[entry.field] = entry.value
    for field, order in (("secretAsEnv", "envVar"), ("configMapAsEnv", "envVar")):
        if config.get(field):
            config[field] = _grouped(config[field], order)
    return {field: value for field, value in config.items() if value not in (None, [], {})}


def conflicts(options: Options) -> list[str]:
    """What two options set both, one sentence each, and what is not the user's to set.

    >>> conflicts(Options(shm="1Gi", volumes=(("/dev/shm", EmptyDir("1Gi")),)))
    ['the folder /dev/shm is set both by the option shm and by the option volumes; drop one']
    """
    found: dict[str, None] = {}
    before: dict[str, tuple[str, str | None]] = {name: ("the option env", None) for name, _ in options.env or ()}
    for entry in option_entries(options):
        for thing, content in _claims(entry):
            if thing in _NOT_THE_USERS:
                found[f"{entry.origin} sets {thing}, which {_NOT_THE_USERS[thing]}; choose another"] = None
            elif thing not in before:
                before[thing] = (entry.origin, content)
            elif content is None or content != before[thing][1]:
                first = before[thing][0]
                how = f"twice by {first}" if first == entry.origin else f"both by {first} and by {entry.origin}"
                found[f"{thing} is set {how}; drop one"] = None
    return list(found)


def secret_variables(config: dict[str, Json]) -> list[str]:
    """The environment variables that the user's secrets fill."""
    pairs = [pair for item in config.get("secretAsEnv", ()) for pair in item.get("keyToEnv", ())]
    return sorted({pair["envVar"] for pair in pairs if "envVar" in pair} - RESERVED)


def secret_entry(origin: str, variable: str, secret: str, key: str) -> Entry:
    """An environment variable out of a secret."""
    pairs = [{"secretKey": key, "envVar": variable}]
    return Entry(origin, "secretAsEnv", {**_named("secret", secret), "keyToEnv": pairs, "optional": False})


def scratch_entry(origin: str, path: str, size: str | None) -> Entry:
    """The folder for temporary files, at most of this size."""
    return Entry(origin, "emptyDirMounts", _empty_dir("scratch", path, size or "", memory=False), named_here=True)


# --- from options --------------------------------------------------------------------------------


def option_entries(options: Options) -> Iterator[Entry]:
    """The entries that a task's options ask for, `kubernetes` last."""
    for name, source in options.secrets or ():
        if name.startswith("/"):
            yield _volume_entry("the option secrets", name, SecretVolume(source), 0)
        else:
            secret, _, key = source.partition("/")
            yield secret_entry("the option secrets", name, secret, key)
    for name, source in options.config_maps or ():
        if name.startswith("/"):
            yield _volume_entry("the option config_maps", name, ConfigMapVolume(source), 0)
        else:
            yield _config_map_entry(name, source)
    if options.timeout_s is not None:
        deadline = str(math.ceil(options.timeout_s) + DEADLINE_MARGIN_S)
        yield Entry("the option timeout_s", "activeDeadlineSeconds", deadline)
    if options.shm is not None:
        value = _empty_dir("shm", SHARED_MEMORY, options.shm, memory=True)
        yield Entry("the option shm", "emptyDirMounts", value, named_here=True)
    for number, (path, volume) in enumerate(options.volumes or (), 1):
        yield _volume_entry("the option volumes", path, volume, number)
    yield from _placement_entries(options)
    for name, text in options.kubernetes or ():
        yield from _given_entries(name, json.loads(text))


def _config_map_entry(variable: str, source: str) -> Entry:
    config_map, _, key = source.partition("/")
    pairs = [{"configMapKey": key, "envVar": variable}]
    value = {**_named("configMap", config_map), "keyToEnv": pairs, "optional": False}
    return Entry("the option config_maps", "configMapAsEnv", value)


def _volume_entry(origin: str, path: str, volume: Volume, number: int) -> Entry:
    """number: of the volume, for its name where it has none of its own."""
    value: Json
    if isinstance(volume, Pvc):
        value = {"constant": volume.pvc, "mountPath": path, "pvcNameParameter": _constant(volume.pvc)}
        return Entry(origin, "pvcMount", {**value, **({"subPath": volume.sub_path} if volume.sub_path else {})})
    if isinstance(volume, SecretVolume):
        value = {**_named("secret", volume.secret), "mountPath": path, "optional": volume.optional}
        return Entry(origin, "secretAsVolume", value)
    if isinstance(volume, ConfigMapVolume):
        value = {**_named("configMap", volume.config_map), "mountPath": path, "optional": volume.optional}
        return Entry(origin, "configMapAsVolume", value)
    name = f"volume-{number}"
    if isinstance(volume, EmptyDir):
        value = _empty_dir(name, path, volume.empty_dir, memory=volume.memory)
        return Entry(origin, "emptyDirMounts", value, named_here=True)
    return Entry(origin, "genericEphemeralVolume", _ephemeral(name, path, volume), named_here=True)


def _empty_dir(name: str, path: str, size: str, *, memory: bool) -> dict[str, Json]:
    found = {"volumeName": name, "mountPath": path}
    return {**found, **({"medium": "Memory"} if memory else {}), **({"sizeLimit": size} if size else {})}


def _ephemeral(name: str, path: str, volume: EphemeralVolume) -> dict[str, Json]:
    chosen = {"storageClassName": volume.storage_class} if volume.storage_class else {"defaultStorageClass": True}
    modes = list(volume.access_modes)
    return {"volumeName": name, "mountPath": path, "accessModes": modes, "size": volume.ephemeral, **chosen}


def _named(kind: str, name: str) -> dict[str, Json]:
    """By both names: older servers read the first, newer ones the second."""
    return {f"{kind}Name": name, f"{kind}NameParameter": _constant(name)}


def _constant(value: Json) -> dict[str, Json]:
    return {"runtimeValue": {"constant": value}}


def _placement_entries(options: Options) -> Iterator[Entry]:
    for name, value in options.node_selector or ():
        yield Entry("the option node_selector", "nodeSelector", {"labels": {name: value}})
    for item in options.tolerations or ():
        value = toleration_json(item)
        if item.seconds is not None:
            value["tolerationSeconds"] = str(item.seconds)
        yield Entry("the option tolerations", "tolerations", value)
    for kind, text in options.affinity or ():
        yield from _affinity_entries(kind, json.loads(text))
    for field in ("labels", "annotations"):
        for name, value in getattr(options, field) or ():
            yield Entry(f"the option {field}", "podMetadata", {field: {name: value}})
    for name in options.image_pull_secrets or ():
        yield Entry("the option image_pull_secrets", "imagePullSecret", _named("secret", name))


def _affinity_entries(kind: str, affinity: Json) -> Iterator[Entry]:
    """Kubernetes' affinity as KFP's flat terms: one with a weight is preferred, one without is required."""
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution", [])
    preferred = affinity.get("preferredDuringSchedulingIgnoredDuringExecution", [])
    if kind == "nodeAffinity":
        terms = [*(required or {}).get("nodeSelectorTerms", [])]
        terms += [{**item.get("preference", {}), "weight": item.get("weight", 1)} for item in preferred]
        for term in terms:
            yield Entry("the option affinity", "nodeAffinity", term)
        return
    pods: list[tuple[Json, dict[str, Json]]] = [(item, {}) for item in required]
    pods += [(item.get("podAffinityTerm", {}), {"weight": item.get("weight", 1)}) for item in preferred]
    for item, more in pods:
        selector, namespaces = item.get("labelSelector", {}), item.get("namespaceSelector", {})
        term = {
            "matchPodExpressions": selector.get("matchExpressions"),
            "matchPodLabels": selector.get("matchLabels"),
            "topologyKey": item.get("topologyKey"),
            "namespaces": item.get("namespaces"),
            "matchNamespaceExpressions": namespaces.get("matchExpressions"),
            "matchNamespaceLabels": namespaces.get("matchLabels"),
            **more,
            **({"anti": True} if kind == "podAntiAffinity" else {}),
        }
        yield Entry("the option affinity", "podAffinity", {name: value for name, value in term.items() if value})


def _given_entries(field: str, value: Json) -> Iterator[Entry]:
    """A field as the user gave it in `kubernetes`, taken apart."""
    origin = f"the option kubernetes ({field})"
    if field in _LISTS:
        for item in value:
            yield Entry(origin, field, item)
    elif field in _MAPS:
        for name, texts in value.items():
            if name in _MAPS[field]:
                for key, text in texts.items():
                    yield Entry(origin, field, {name: {key: text}})
            else:
                yield Entry(origin, field, {name: texts})
    else:
        yield Entry(origin, field, value)


# --- what belongs to whom ------------------------------------------------------------------------


def _claims(entry: Entry) -> Iterator[tuple[str, str | None]]:
    """What can be set once, and what it is set to where setting it to the same again does no harm."""
    field, value = entry.field, entry.value
    if field not in _LISTS and field not in _MAPS:
        yield field, None
        if field == "enabledSharedMemory":
            yield f"the folder {SHARED_MEMORY}", None
        return
    for name in _MAPS.get(field, ()):
        for key, text in value.get(name, {}).items():
            yield f"{field}.{name} {key}", text
    if field == "nodeSelector":  # a server looks at one of the two
        yield field, "labels" if "labels" in value else None
    for pair in value.get("keyToEnv", ()):
        yield str(pair.get("envVar")), None
    if field == "fieldPathAsEnv":
        yield str(value.get("name")), None
    if "mountPath" in value:
        yield f"the folder {posixpath.normpath(value['mountPath'])}", None
        if not entry.named_here:
            name, shared = _volume_name(value)
            yield f"the volume {name}", field if shared else None


def _volume_name(value: Json) -> tuple[str, bool]:
    """The name that KFP gives the entry's volume, and whether another entry may mount that same volume."""
    if "volumeName" in value:
        return str(value["volumeName"]), False
    for name in ("pvcName", "secretName", "configMapName"):
        parameter = value.get(f"{name}Parameter", {})
        found = parameter.get("runtimeValue", {}).get("constant") or value.get(name)
        if found:
            return str(found), True
    return str(value.get("constant", "")), True


_NOT_THE_USERS = {
    **dict.fromkeys(RESERVED, "the runtime itself sets"),
    **{f"the folder {path}": "is KFP's own" for path in _KFP_FOLDERS},
    **{f"the volume {name}": "is KFP's own" for name in _KFP_VOLUMES},
}


def _with_names(entries: list[Entry]) -> Iterator[Entry]:
    """Names of volumes that are ours to choose, none of them twice."""
    taken = {_volume_name(entry.value)[0] for entry in entries if entry.field in _LISTS and not entry.named_here}
    for entry in entries:
        if not entry.named_here:
            yield entry
            continue
        wanted = name = entry.value["volumeName"]
        number = 2
        while name in taken:
            name, number = f"{wanted}-{number}", number + 1
        taken.add(name)
        yield Entry(entry.origin, entry.field, {**entry.value, "volumeName": name})


def _grouped(items: list[Json], order: str) -> list[Json]:
    """One item for each secret or config map, its variables in order; sorted by name."""
    groups: dict[str, dict[str, Any]] = {}
    for item in items:
        rest = {name: value for name, value in item.items() if name != "keyToEnv"}
        group = groups.setdefault(
            json.dumps(rest, sort_keys=True), {**item, "keyToEnv": [], "optional": item.get("optional", False)}
        )
        group["keyToEnv"] += item.get("keyToEnv", ())
    for group in groups.values():
        group["keyToEnv"].sort(key=lambda pair: str(pair.get(order)))
    return [group for _, group in sorted(groups.items())]
