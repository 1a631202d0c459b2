"""Rules of options: what is read, what is told, how one goes over another, how long retries pause."""

from __future__ import annotations

from typing import Any

import pytest
from kfp_graphs import ADD, call, documents, graph, with_options
from kubernetes_options import CASES, options

from grandpa_kfp_compiler.graph import OPTION_NAMES
from grandpa_kfp_compiler.kfp.retries import backoff
from grandpa_kfp_compiler.options import RULES, Wrong
from grandpa_kfp_compiler.verify.settings import option_mistakes


@pytest.mark.parametrize("name", CASES)
def test_what_is_written_as_json_is_read_back(name: str) -> None:
    chosen = options(CASES[name])
    assert options({item: RULES[item].json(value) for item, value in chosen.chosen()}) == chosen
    assert hash(chosen) == hash(options(CASES[name]))


JUNK = [object(), [], {}, [[]], {"a": []}, {1: 2}, b"x", True, 1.5, -1, "", "x y\n", ("a", []), [{"key": []}],
        {"/a": {}}, {"/a": {"pvc": []}}, float("nan"), 10**400, None]  # fmt: skip


@pytest.mark.parametrize("name", OPTION_NAMES)
def test_whatever_is_given_is_read_refused_or_told_and_never_a_defect(name: str) -> None:
    for value in JUNK:
        try:
            found = RULES[name].read(value)
        except Wrong:
            continue
        hash(found)
        assert all(isinstance(text, str) for text in RULES[name].mistakes(found))


@pytest.mark.parametrize(
    ("given", "mistake"),
    [
        ({"cpu": ("4", "2")}, "cpu asks for more than its limit: 4 above 2"),
        ({"memory": ("1Gi", "2 GB")},
         "memory must be a size above 0, such as '512Mi' or '2Gi', but is ('1Gi', '2 GB')"),
        ({"gpu_type": "a100"}, "gpu_type must be a resource of Kubernetes such as 'nvidia.com/gpu' or 'amd.com/gpu', "
         "but is 'a100'"),
        ({"shm": "8 Gi"}, "shm must be a size above 0, such as '512Mi' or '2Gi', but is '8 Gi'"),
        ({"disk": 0}, "disk must be a size above 0, such as '512Mi' or '2Gi', but is '0'"),
        ({"volumes": {"data": {"pvc": "a"}}}, "volumes mounts at 'data', which is no absolute path of a folder"),
        ({"volumes": {"/a/../b": {"pvc": "a"}}}, "volumes mounts at '/a/../b', which is no absolute path of a folder"),
        ({"volumes": {"/a": {"pvc": "My.Claim"}}}, "volumes names pvc 'My.Claim' at /a: KFP names a volume after it, "
         "so it must be letters in lower case, digits and '-', at most 63 of them"),
        ({"volumes": {"/a": {"ephemeral": ""}}},
         "volumes wants a size such as '20Gi' for the volume at /a, but has ''"),
        ({"volumes": {"/a": {"ephemeral": "1Gi", "access_modes": ["RWX"]}}}, "volumes has access_modes=('RWX',) for "
         "the volume at /a; there are ReadWriteOnce, ReadOnlyMany, ReadWriteMany, ReadWriteOncePod"),
        ({"secrets": {"/etc/vault": "vault/token"}}, "secrets must name a secret alone for the folder /etc/vault, "
         "where each key becomes a file: write '/etc/vault': 'vault' and read /etc/vault/token"),
        ({"config_maps": {"LEVEL": "settings"}}, "config_maps must name a config map and a key in it for LEVEL, as "
         "'config-map/key', but has 'settings'"),
        ({"tolerations": ["gpu=yes:NoSchedul"]}, "tolerations has the effect 'NoSchedul'; did you mean 'NoSchedule'?"),
        ({"tolerations": [{}]}, "tolerations has no key in {}; to tolerate every taint write {'operator': 'Exists'}"),
        ({"labels": {"team": "two words"}}, "labels has 'two words' as team; a label is letters, digits, '-', '_', "
         "'.', at most 63 of them"),
        ({"image_pull_secrets": ["A"]}, "image_pull_secrets must be names of secrets, but is ('A',)"),
        ({"affinity": {"nodeAfinity": {}}},
         "affinity has nodeAfinity, which is not known; did you mean 'nodeAffinity'?"),
        ({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": []}}}, "affinity must have a "
         "dict as nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution, but has []"),
        ({"kubernetes": {"pvc_mount": []}}, "kubernetes has pvc_mount, which is not known; did you mean 'pvcMount'?"),
        ({"kubernetes": {"pvcMount": [{"mountPath": "/a", "mountpath": "/a"}]}},
         "kubernetes has pvcMount[0].mountpath, which is not known; did you mean 'mountPath'?"),
        ({"kubernetes": {"securityContext": {"runAsUser": True}}}, "kubernetes must have a whole number as "
         "securityContext.runAsUser, but has True"),
        ({"kubernetes": {"pvcMount": [{"constant": "a"}]}}, "kubernetes has no mountPath in pvcMount[0]"),
        ({"kubernetes": {"secretAsEnv": [{"secretName": "a", "keyToEnv": [{"envVar": "A"}]}]}},
         "kubernetes has no secretKey in secretAsEnv[0].keyToEnv[0]"),
        ({"kubernetes": {"enabledSharedMemory": {"size": "much"}}}, "kubernetes must have a size such as '1Gi' as "
         "enabledSharedMemory.size, but has 'much'"),
        ({"uses": {"gpu": 1}}, "uses holds 'gpu', which is an option of its own: write gpu=1"),
        ({"uses": {"licence": 0}}, "uses must hold whole numbers from 1 on, but the value of licence is 0"),
        ({"backoff_factor": 0.5}, "backoff_factor must be a number from 1 to 100, but is 0.5"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_in_one_sentence(given: dict[str, Any], mistake: str) -> None:
    assert option_mistakes(options(given)) == [f"the option {mistake}"]


# --- over, retries -----------------------------------------------------------------------------------


def test_what_is_kept_by_name_is_merged_by_name() -> None:
    """A call's over a node's over the workflow's; lists are taken whole."""
    base = options(
        {
            "volumes": {"/a": {"pvc": "a"}, "/b": {"pvc": "b"}}, "labels": {"x": "1"}, "tolerations": ["a"],
            "kubernetes": {"imagePullPolicy": "Never", "securityContext": {"runAsUser": 1}}, "uses": {"seats": 1},
        }
    )  # fmt: skip
    mine = options(
        {
            "volumes": {"/b": {"pvc": "mine"}}, "labels": {"x": "2", "y": "3"}, "tolerations": ["b"],
            "kubernetes": {"imagePullPolicy": "Always"}, "uses": {"licence": 2},
        }
    )  # fmt: skip
    assert mine.over(base) == options(
        {
            "volumes": {"/a": {"pvc": "a"}, "/b": {"pvc": "mine"}}, "labels": {"x": "2", "y": "3"},
            "tolerations": ["b"], "uses": {"seats": 1, "licence": 2},
            "kubernetes": {"imagePullPolicy": "Always", "securityContext": {"runAsUser": 1}},
        }
    )  # fmt: skip


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, (0, 2)),
        ({"backoff_s": 5}, (5, 2)),
        ({"backoff_s": 0.2, "backoff_factor": 1.5}, (1, 2)),
        ({"backoff_factor": 3}, (1, 3)),
        ({"backoff_s": 10, "backoff_max_s": 40}, (10, 2)),
        ({"backoff_s": 10, "backoff_max_s": 39.5}, (39, 1)),
        ({"backoff_max_s": 0.1}, (1, 1)),
    ],
)
def test_pauses_are_whole_seconds_that_grow_by_a_whole_factor(given: dict[str, Any], expected: tuple[int, int]) -> None:
    """Argo reads no others, and its bound is no bound on a pause: see retries.py."""
    found = backoff(options({"retries": 3, **given}))
    assert (found.first_s, found.factor) == expected
    chosen = dict(options({"retries": 3, **given}).chosen())
    spec, _ = documents(graph(with_options(call("add", ADD, 1, 2), **chosen)))
    assert spec["root"]["dag"]["tasks"]["add"]["retryPolicy"] == {
        "maxRetryCount": 3,
        "backoffDuration": f"{expected[0]}s",
        "backoffFactor": float(expected[1]),
        "backoffMaxDuration": "2592000s",
    }


def test_backoff_of_a_million_retries_takes_no_time() -> None:
    assert backoff(options({"retries": 10**9, "backoff_s": 1, "backoff_factor": 100})).factor == 100
    assert backoff(options({"retries": 10**9, "backoff_s": 1, "backoff_max_s": 60})).first_s == 60
