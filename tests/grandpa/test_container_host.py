"""What is decided about containers before there are any: no Docker is needed here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from grandpa_kfp.engine.container_host import Host, _faults, _reach, owner
from grandpa_kfp.engine.containers import _ended, _limit_options, _memory_options
from grandpa_kfp.engine.kfp_containers import Container, Limits, Platform, read_limits, read_platform
from grandpa_kfp.engine.yaml_tasks import Ended
from grandpa_kfp.images.docker import Server, _told, command
from grandpa_kfp_runtime.errors import ContainerError
from grandpa_kfp_runtime.stores import open_store

LINUX, DESKTOP = Server(4), Server(4, desktop=True)


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRANDPA_STORE_ACCESS_KEY", "any")
    monkeypatch.setenv("GRANDPA_STORE_SECRET_KEY", "any-secret")


def test_a_folder_is_mounted_at_a_place_of_its_own(tmp_path: Path) -> None:
    """Its path here says nothing in a container."""
    location, network, mounts = _reach(open_store(tmp_path), LINUX)
    assert (location, network, mounts) == ("file:///grandpa/store", "", {"/grandpa/store": tmp_path})


@pytest.mark.parametrize(
    ("endpoint", "server", "expected"),
    [
        ("http://127.0.0.1:9000", LINUX, ("http://127.0.0.1:9000", "host")),
        ("http://localhost:9000", DESKTOP, ("http://host.docker.internal:9000", "")),
        ("http://minio.example.org:9000", LINUX, ("http://minio.example.org:9000", "")),
        ("http://minio.example.org:9000", DESKTOP, ("http://minio.example.org:9000", "")),
    ],
)
def test_a_server_on_this_machine_is_reached_from_a_container(
    endpoint: str, server: Server, expected: tuple[str, str]
) -> None:
    """By the machine's own network; where Docker lives in a virtual machine, by the name that it has for ours."""
    location, network, mounts = _reach(open_store(f"s3://bucket/runs?endpoint={endpoint}"), server)
    assert (location, network, mounts) == (f"s3://bucket/runs?endpoint={expected[0]}", expected[1], {})


def test_limits_as_docker_takes_them() -> None:
    """No more CPUs than there are, which Docker refuses; memory without swap."""
    assert _limit_options(Limits(), 4) == []
    assert _limit_options(Limits(cpus=0.5), 4) == ["--cpus", "0.5"]
    assert _limit_options(Limits(cpus=16.0), 4) == ["--cpus", "4"]
    assert _limit_options(Limits(0, 1024, "1Ki", 2), 4) == [
        "--memory", "1024", "--memory-swap", "1024", "--gpus", "2"
    ]  # fmt: skip
    assert _limit_options(Limits(gpus=2), 4, ("0", "3")) == ["--gpus", '"device=0,3"']


def test_requests_bind_nothing_and_other_accelerators_than_nvidias_are_told() -> None:
    resources = {
        "resourceCpuRequest": "2", "cpuRequest": 2.0, "resourceMemoryLimit": "1Gi", "memoryLimit": 1.073741824,
        "accelerator": {"resourceType": "ephemeral-storage", "resourceCount": "20Gi"},
    }  # fmt: skip
    assert read_limits(resources) == Limits(memory_bytes=2**30, memory="1Gi")
    assert read_platform({}, resources).unheeded == ("ephemeral-storage",)
    amd = {"accelerator": {"resourceType": "amd.com/gpu", "resourceCount": "1", "type": "amd.com/gpu", "count": "1"}}
    assert (read_limits(amd).gpus, read_platform({}, amd).unheeded) == (0, ("amd.com/gpu",))


def test_volumes_that_are_empty_at_first_can_be_had_without_a_cluster() -> None:
    """Those on disk as folders, those in memory as memory; a claim of the cluster's cannot."""
    platform = read_platform(
        {
            "emptyDirMounts": [
                {"volumeName": "shm", "mountPath": "/dev/shm", "medium": "Memory", "sizeLimit": "8Gi"},
                {"volumeName": "a", "mountPath": "/ram", "medium": "Memory", "sizeLimit": "1Gi"},
                {"volumeName": "b", "mountPath": "/more, or less", "medium": "Memory"},
                {"volumeName": "scratch", "mountPath": "/scratch"},
            ],
            "genericEphemeralVolume": [{"volumeName": "c", "mountPath": "/big", "size": "1Ti"}],
            "pvcMount": [{"constant": "datasets", "mountPath": "/data"}],
            "podMetadata": {"labels": {"team": "vision"}, "annotations": {"why": "to show"}},
            "tolerations": [{"operator": "Exists"}],
        },
        {},
    )
    assert platform.scratch == ("/scratch", "/big")
    assert _memory_options(platform) == [
        "--shm-size", str(8 * 2**30), "--mount", f"type=tmpfs,target=/ram,tmpfs-size={2**30}",
        "--mount", 'type=tmpfs,"target=/more, or less"',
    ]  # fmt: skip
    assert platform.labels == (("team", "vision"),)
    assert platform.unheeded == ("tolerations",)
    assert _faults("train", Container("exec", (), image="i", platform=platform)) == [
        "train: it asks for pvcMount, which a cluster alone has"
    ]


def test_variables_of_secrets_and_config_maps_come_from_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Optional ones may be missing."""
    config = {
        "secretAsEnv": [{"keyToEnv": [{"envVar": "TOKEN"}], "optional": False}],
        "configMapAsEnv": [
            {"keyToEnv": [{"envVar": "LEVEL"}], "optional": False}, {"keyToEnv": [{"envVar": "MODE"}], "optional": True}
        ],
    }  # fmt: skip
    container = Container("exec", (), image="i", platform=read_platform(config, {}))
    monkeypatch.setenv("TOKEN", "x")
    (fault,) = _faults("train", container)
    assert "LEVEL is not set there" in fault
    monkeypatch.setenv("LEVEL", "debug")
    assert _faults("train", container) == []
    assert Host(LINUX, "1:1", "file:///x").secrets(container) == {"LEVEL": "debug", "TOKEN": "x"}
    assert Platform().variables == ()


def test_how_a_container_ended_is_what_docker_recorded() -> None:
    """An exit code of 0 beats a memory kill of some child; an error of Docker's is no end of the task's."""

    def ended(code: int, **more: object) -> Ended:
        return _ended({"State": {"ExitCode": code, "Error": "", "OOMKilled": False, **more}}, Limits(memory="64Mi"))

    assert ended(0) == ended(0, OOMKilled=True) == Ended()
    assert ended(3).how == "ended with exit code 3"
    assert "more memory than all that the machine has" in ended(137, OOMKilled=True).how
    assert "from outside" in ended(137).how
    with pytest.raises(ContainerError, match="no such file"):
        ended(127, Error="exec: no such file")


def test_docker_is_not_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Told with the way to run it without."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ContainerError, match="--engine subprocess"):
        command()


def test_what_docker_says_is_told_without_its_prefixes() -> None:
    """And what to do about the server."""
    assert _told("pull", "Error response from daemon: no such host\n") == "no such host"
    assert "docker pull failed" in _told("pull", "")
    refused = "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock"
    assert "group docker" in _told("info", refused)


def test_a_process_is_told_from_a_later_one_of_its_number() -> None:
    """Machine, number, and when it began."""
    node, pid, born = owner().rsplit(":", 2)
    assert node
    assert pid == str(os.getpid())
    assert born
    assert owner() == owner()
