"""What users write as the values of `volumes={"/data": pvc("datasets")}`.

Each names a kind of volume that Kubeflow Pipelines can mount; where it is given to a node it is checked. A
task on this machine has none of them: it reads what lies at that path here, if anything does.
"""

from __future__ import annotations

from collections.abc import Sequence

from grandpa_kfp_compiler.options.volumes import ConfigMapVolume, EmptyDir, EphemeralVolume, Pvc, SecretVolume


def pvc(claim: str, *, sub_path: str = "") -> Pvc:
    """A persistent volume claim that exists in the cluster, by its name.

    sub_path: the folder in it that is mounted, by default the whole.

    >>> from grandpa_kfp import Node
    >>> @Node(volumes={"/data": pvc("datasets", sub_path="2024")})
    ... def count(pattern: str) -> int:
    ...     from pathlib import Path
    ...     return len(list(Path("/data").glob(pattern)))
    """
    return Pvc(claim, sub_path)


def empty_dir(size: str = "", *, memory: bool = False) -> EmptyDir:
    """A folder that is empty when the task starts and gone when it has ended.

    size: Kubernetes' text (`20Gi`), beyond which the pod is evicted; memory: in RAM, where it counts against
    the task's memory limit.

    >>> empty_dir("1Gi", memory=True)
    EmptyDir(empty_dir='1Gi', memory=True)
    """
    return EmptyDir(size, memory)


def ephemeral_volume(
    size: str, *, storage_class: str = "", access_modes: Sequence[str] = ("ReadWriteOnce",)
) -> EphemeralVolume:
    """A volume of this size that the cluster provides for the task and deletes after it.

    size: Kubernetes' text (`1Ti`); storage_class: by default the cluster's; access_modes: as Kubernetes names them.

    >>> ephemeral_volume("1Ti", storage_class="fast").ephemeral
    '1Ti'
    """
    return EphemeralVolume(size, storage_class, tuple(access_modes))


def config_map_volume(name: str, *, optional: bool = False) -> ConfigMapVolume:
    """A config map as a folder, in which each key is a file. optional: it may not exist.

    >>> config_map_volume("settings")
    ConfigMapVolume(config_map='settings', optional=False)
    """
    return ConfigMapVolume(name, optional)


def secret_volume(name: str, *, optional: bool = False) -> SecretVolume:
    """A secret as a folder, in which each key is a file. optional: it may not exist.

    >>> secret_volume("vault")
    SecretVolume(secret='vault', optional=False)
    """
    return SecretVolume(name, optional)
