"""Options for Kubernetes as users write them: a case for each, and one for each field of KFP's executor config."""

from __future__ import annotations

from typing import Any

from grandpa_kfp_compiler.graph import Options
from grandpa_kfp_compiler.options import RULES

ZONE = {"key": "zone", "operator": "In", "values": ["a", "b"]}
PODS = {"labelSelector": {"matchLabels": {"app": "cache"}, "matchExpressions": [ZONE]}, "topologyKey": "zone"}

OPTIONS: dict[str, dict[str, Any]] = {
    "cpu": {"cpu": 2},
    "cpu-request-and-limit": {"cpu": (0.5, 2)},
    "cpu-request": {"cpu": ("500m", None)},
    "memory": {"memory": "2Gi"},
    "memory-request-and-limit": {"memory": ("1Gi", "2Gi")},
    "gpu": {"gpu": 2},
    "gpu-type": {"gpu": 1, "gpu_type": "amd.com/gpu"},
    "timeout_s": {"timeout_s": 89.5},
    "shm": {"shm": "8Gi"},
    "disk": {"disk": "20Gi"},
    "disk-and-gpu": {"disk": "20Gi", "gpu": 1},
    "secrets": {"secrets": {"TOKEN": "vault/token", "USER": "vault/user", "/etc/vault": "vault", "KEY": "other/key"}},
    "config_maps": {"config_maps": {"LEVEL": "settings/level", "MODE": "settings/mode", "/etc/settings": "settings"}},
    "volumes": {
        "volumes": {
            "/data": {"pvc": "datasets"},
            "/data/old": {"pvc": "datasets", "sub_path": "2020"},
            "/ram": {"empty_dir": "1Gi", "memory": True},
            "/tmp": {"empty_dir": ""},
            "/big": {"ephemeral": "1Ti", "storage_class": "fast", "access_modes": ["ReadWriteMany"]},
            "/more": {"ephemeral": "100Gi"},
            "/etc/settings": {"config_map": "settings", "optional": True},
            "/etc/vault": {"secret": "vault"},
        }
    },
    "volume-as-scratch": {"volumes": {"/scratch": {"ephemeral": "100Gi"}}},
    "node_selector": {"node_selector": {"zone": "a", "cloud.google.com/gke-spot": "true"}},
    "tolerations": {
        "tolerations": [
            "gpu=yes:NoSchedule",
            "spot",
            {"key": "busy", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60},
        ]
    },
    "affinity-to-nodes": {
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [{"matchExpressions": [ZONE]}, {"matchFields": [{**ZONE, "key": "name"}]}]
                },
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {"weight": 10, "preference": {"matchExpressions": [ZONE]}}
                ],
            }
        }
    },
    "affinity-to-pods": {
        "affinity": {
            "podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [PODS]},
            "podAntiAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {
                        "weight": 7,
                        "podAffinityTerm": {
                            **PODS,
                            "namespaces": ["x"],
                            "namespaceSelector": {"matchLabels": {"a": "b"}},
                        },
                    }
                ]
            },
        }
    },
    "labels": {"labels": {"team": "vision", "example.com/cost": "12"}},
    "annotations": {"annotations": {"example.com/why": "Because; it's ok."}},
    "image_pull_secrets": {"image_pull_secrets": ["registry", "other"]},
}  # fmt: skip

FIELDS: dict[str, Any] = {
    "secretAsVolume": [{"secretName": "vault", "mountPath": "/etc/vault", "optional": True}],
    "secretAsEnv": [{"secretName": "vault", "keyToEnv": [{"secretKey": "token", "envVar": "TOKEN"}]}],
    "pvcMount": [
        {"constant": "datasets", "mountPath": "/data", "subPath": "2024"},
        {"pvcNameParameter": {"componentInputParameter": "claim"}, "mountPath": "/more"},
    ],
    "nodeSelector": {"labels": {"zone": "a"}},
    "podMetadata": {"labels": {"team": "vision"}, "annotations": {"why": "to show"}},
    "imagePullSecret": [{"secretNameParameter": {"runtimeValue": {"constant": "registry"}}}],
    "imagePullPolicy": "Always",
    "configMapAsVolume": [{"configMapName": "settings", "mountPath": "/etc/settings"}],
    "configMapAsEnv": [
        {"configMapName": "settings", "keyToEnv": [{"configMapKey": "level", "envVar": "LEVEL"}], "optional": True}
    ],
    "activeDeadlineSeconds": "7200",
    "fieldPathAsEnv": [{"name": "POD_IP", "fieldPath": "status.podIP"}],
    "tolerations": [{"key": "spot", "operator": "Exists", "tolerationSeconds": 60}],
    "genericEphemeralVolume": [
        {
            "volumeName": "big", "mountPath": "/big", "accessModes": ["ReadWriteOnce"], "size": "1Ti",
            "defaultStorageClass": True, "metadata": {"labels": {"team": "vision"}},
        }
    ],
    "nodeAffinity": [{"matchExpressions": [ZONE], "weight": 3}],
    "podAffinity": [{"matchPodLabels": {"app": "cache"}, "topologyKey": "zone", "anti": True}],
    "enabledSharedMemory": {"volumeName": "shared", "size": "1Gi"},
    "emptyDirMounts": [{"volumeName": "ram", "mountPath": "/ram", "medium": "Memory", "sizeLimit": "1Gi"}],
    "securityContext": {"runAsUser": "1000", "runAsGroup": 100, "runAsNonRoot": True},
}  # fmt: skip
CASES = {**OPTIONS, **{f"kubernetes-{name}": {"kubernetes": {name: value}} for name, value in FIELDS.items()}}


def options(given: dict[str, Any]) -> Options:
    """As a user's are read."""
    return Options(**{name: RULES[name].read(value) for name, value in given.items()})
