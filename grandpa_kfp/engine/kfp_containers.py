"""The containers of a compiled YAML as data: command, environment, limits, and what its platform spec asks for.

`kfp_pipeline.py` reads them; the runners `subprocesses.py` and `containers.py` use them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from grandpa_kfp_compiler.executor_config import SHARED_MEMORY
from grandpa_kfp_compiler.kfp.bootstrap import BOOTSTRAP_COMMAND
from grandpa_kfp_compiler.kfp.executors import COMMAND, SCRATCH
from grandpa_kfp_compiler.kfp.pipeline import GPU
from grandpa_kfp_compiler.options.rules import amount
from grandpa_kfp_runtime.contract import ENV_TIMEOUT_S

from .resources import CPU, MEMORY
from .resources import GPU as GPUS

_CLUSTER_ONLY = ("pvcMount", "secretAsVolume", "configMapAsVolume", "fieldPathAsEnv")
"""Of a platform spec: what gives a container something to read that this machine does not have."""

_UNHEEDED = (
    "nodeSelector", "tolerations", "nodeAffinity", "podAffinity", "imagePullSecret", "securityContext",
)  # fmt: skip
"""What says where a pod runs and as whom, and bears on nothing that a task computes."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a container may use; 0 and empty for no limit. memory: as the user wrote it."""

    cpus: float = 0.0
    memory_bytes: int = 0
    memory: str = ""
    gpus: int = 0

    def asked(self) -> dict[str, int]:
        """As `resources.py` counts it."""
        found = {CPU: round(self.cpus * 1000), MEMORY: self.memory_bytes, GPUS: self.gpus}
        return {name: count for name, count in found.items() if count}


@dataclass(frozen=True, slots=True)
class Platform:
    """What a container's platform spec asks for.

    variables: that secrets and config maps would fill; optional: those of them that may be missing; scratch:
    folders that are empty when it starts; in_memory: those of them in RAM, with their greatest size in bytes or 0;
    shm_bytes: of shared memory, 0 for Docker's own; labels: of the pod; cluster_only: what a cluster alone has;
    unheeded: what a container here goes without.
    """

    variables: tuple[str, ...] = ()
    optional: frozenset[str] = frozenset()
    deadline_s: float = 0.0
    scratch: tuple[str, ...] = ()
    in_memory: tuple[tuple[str, int], ...] = ()
    shm_bytes: int = 0
    labels: tuple[tuple[str, str], ...] = ()
    pull_policy: str = ""
    cluster_only: tuple[str, ...] = ()
    unheeded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Container:
    """One executor. Its command and args hold Kubeflow's placeholders."""

    label: str
    args: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()
    image: str = ""
    command: tuple[str, ...] = COMMAND
    limits: Limits = field(default_factory=Limits)
    platform: Platform = field(default_factory=Platform)

    @property
    def is_ours(self) -> bool:
        """Whether it runs our runtime, and not another image's program."""
        return self.command in (COMMAND, BOOTSTRAP_COMMAND) and self.args[:1] in (("task",), ("code",))

    @property
    def is_task(self) -> bool:
        """Whether it runs a node of the user's."""
        return self.is_ours and self.args[0] == "task"


def read_platform(config: Mapping[str, Any], resources: Mapping[str, Any]) -> Platform:
    """From a KubernetesExecutorConfig as the YAML has it. resources: of the container, for what of them is unheeded."""
    mounts = {str(item["mountPath"]): item for item in config.get("emptyDirMounts", ())}
    shared = mounts.pop(SHARED_MEMORY, None)
    in_memory = [path for path, item in mounts.items() if item.get("medium") == "Memory"]
    on_disk = [path for path in mounts if path not in in_memory]
    on_disk += [str(item["mountPath"]) for item in config.get("genericEphemeralVolume", ())]
    unheeded = [key for key in _UNHEEDED if config.get(key)]
    accelerator = str(resources.get("accelerator", {}).get("resourceType") or GPU)
    return Platform(
        tuple(name for name, _ in _variables(config)),
        frozenset(name for name, optional in _variables(config) if optional),
        float(config.get("activeDeadlineSeconds", 0)),
        tuple(on_disk),
        tuple((path, _bytes(mounts[path])) for path in in_memory),
        _bytes(shared or config.get("enabledSharedMemory", {})),
        tuple(sorted((str(k), str(v)) for k, v in config.get("podMetadata", {}).get("labels", {}).items())),
        str(config.get("imagePullPolicy", "")),
        tuple(key for key in _CLUSTER_ONLY if config.get(key)),
        (*unheeded, *((accelerator,) if accelerator != GPU else ())),
    )


def _variables(config: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """Each variable that a secret or a config map fills, and whether that may be missing."""
    for kind in ("secretAsEnv", "configMapAsEnv"):
        for item in config.get(kind, ()):
            for key in item["keyToEnv"]:
                yield str(key["envVar"]), bool(item.get("optional"))


def _bytes(volume: Mapping[str, Any]) -> int:
    size = volume.get("sizeLimit") or volume.get("size")
    return round(amount(str(size))) if size else 0


def read_limits(resources: Mapping[str, Any]) -> Limits:
    """Requests bind nothing where there is no one to share with."""
    accelerator = resources.get("accelerator", {})
    gigabytes = float(resources.get("memoryLimit", 0))
    gpus = accelerator.get("count") or accelerator.get("resourceCount") or 0
    return Limits(
        float(resources.get("cpuLimit", 0)),
        round(gigabytes * 1e9),
        str(resources.get("resourceMemoryLimit") or f"{gigabytes:g}G"),
        int(gpus) if (accelerator.get("resourceType") or GPU) == GPU else 0,
    )


def is_whole(config: Mapping[str, Any], env: Mapping[str, str]) -> bool:
    """Whether everything is there that the executor's environment speaks of; it stands last in the file."""
    mounted = {
        str(item.get("mountPath")).rstrip("/") for items in config.values() if isinstance(items, list) for item in items
    }
    scratch = env.get("TMPDIR") != SCRATCH or SCRATCH in mounted
    deadline = ENV_TIMEOUT_S not in env or "activeDeadlineSeconds" in config
    return scratch and deadline and all("optional" in item for item in config.get("secretAsEnv", ()))
