"""Options for Kubernetes: each in the platform spec that KFP reads, each field of it within reach, no two at odds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from kfp.kubernetes import kubernetes_executor_config_pb2 as config_pb2
from kfp.pipeline_spec import pipeline_spec_pb2
from kfp_graphs import ADD, call, compiled, documents, graph, with_options
from kubernetes_options import CASES, FIELDS, OPTIONS, options

from grandpa_kfp_compiler.graph import OPTION_NAMES
from grandpa_kfp_compiler.options.messages import EXECUTOR_CONFIG
from grandpa_kfp_compiler.verify.settings import option_mistakes
from grandpa_kfp_runtime.errors import CompileError, GraphError

GOLDEN = Path(__file__).parent / "cases" / "kubernetes.yaml"


def parts(given: dict[str, Any], **more: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The container's resources and the executor config of a task with these options."""
    chosen = dict(options(given).chosen())
    spec, platform = documents(graph(with_options(call("add", ADD, 1, 2), **chosen)), **more)
    (container,) = (item["container"] for item in spec["deploymentSpec"]["executors"].values())
    (config,) = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values()
    return container.get("resources", {}), config


def parsed(config: dict[str, Any]) -> config_pb2.KubernetesExecutorConfig:
    """By KFP's own protobuf, which refuses what it does not know."""
    return json_format.ParseDict(config, config_pb2.KubernetesExecutorConfig())


@pytest.fixture(scope="module")
def golden(request: pytest.FixtureRequest) -> dict[str, Any]:
    if request.config.getoption("--update"):
        found = {}
        for name, given in CASES.items():
            resources, config = parts(given, secret="")
            found[name] = {"options": json.loads(json.dumps(given)), "resources": resources, "config": config}
        GOLDEN.write_text(yaml.safe_dump(found, sort_keys=False, width=120, default_flow_style=None), "utf-8")
    content: dict[str, Any] = yaml.safe_load(GOLDEN.read_text("utf-8"))
    return content


@pytest.mark.parametrize("name", CASES)
def test_each_option_and_each_field_is_the_golden_one_and_kfp_reads_it(name: str, golden: dict[str, Any]) -> None:
    assert option_mistakes(options(CASES[name])) == []
    resources, config = parts(CASES[name], secret="")
    expected = golden[name]
    assert expected["options"] == json.loads(json.dumps(CASES[name]))
    assert resources == expected["resources"]
    assert config == expected["config"]
    message = parsed(config)
    assert parsed(json_format.MessageToDict(message)) == message
    spec = pipeline_spec_pb2.PipelineDeploymentConfig.PipelineContainerSpec.ResourceSpec
    json_format.ParseDict(resources, spec())


def test_nothing_golden_is_left_over(golden: dict[str, Any]) -> None:
    assert list(golden) == list(CASES)


def test_every_option_for_kubernetes_has_a_case() -> None:
    plain = {
        "retries", "env", "image", "packages", "cache", "version", "verbose", "keep", "index_url", "backoff_s",
        "backoff_factor", "backoff_max_s", "uses", "always", "artifact", "kubernetes", "fallback",
    }  # fmt: skip
    assert {name for given in OPTIONS.values() for name in given} == set(OPTION_NAMES) - plain


def test_every_field_of_the_executor_config_has_a_case() -> None:
    assert sorted(FIELDS) == sorted(item.json_name for item in config_pb2.KubernetesExecutorConfig.DESCRIPTOR.fields)


# --- the table of fields ---------------------------------------------------------------------------


def _type(field: Any) -> str:
    plain = {field.TYPE_STRING: "text", field.TYPE_BOOL: "flag", field.TYPE_INT32: "number", field.TYPE_INT64: "number"}
    if field.message_type is None:
        name = plain[field.type]
    elif field.message_type.GetOptions().map_entry:
        return f"{{{_type(field.message_type.fields_by_name['value'])}}}"
    else:
        name = field.message_type.name
    return f"[{name}]" if field.label == field.LABEL_REPEATED else name


@pytest.mark.filterwarnings("ignore:label..:DeprecationWarning")
def test_the_table_of_fields_is_the_protobufs() -> None:
    """Message by message, as far as KubernetesExecutorConfig reaches within kfp-kubernetes."""
    waiting, seen = [config_pb2.KubernetesExecutorConfig.DESCRIPTOR], set()
    while waiting:
        message = waiting.pop()
        seen.add(message.name)
        ours = {name: type_.replace("amount", "text") for name, type_ in EXECUTOR_CONFIG[message.name].items()}
        assert ours == {field.json_name: _type(field) for field in message.fields}
        inner = [field.message_type for field in message.fields if field.message_type is not None]
        own = [item for item in inner if item.file is message.file and not item.GetOptions().map_entry]
        waiting += [item for item in own if item.name not in seen]
    beyond = {"InputParameterSpec", "ValueOrRuntimeParameter", "TaskOutputParameterSpec"}
    assert set(EXECUTOR_CONFIG) == seen | beyond
    inputs = pipeline_spec_pb2.TaskInputsSpec.InputParameterSpec.DESCRIPTOR.fields_by_name
    assert set(EXECUTOR_CONFIG["InputParameterSpec"]) <= {field.json_name for field in inputs.values()}


# --- together --------------------------------------------------------------------------------------


def test_what_the_generic_path_gives_joins_what_the_pipeline_needs() -> None:
    """The store's secret and the scratch space stay, whatever the user adds to the same fields."""
    _, config = parts({"kubernetes": {name: FIELDS[name] for name in ("secretAsEnv", "emptyDirMounts")}})
    names = [item["secretName"] for item in config["secretAsEnv"]]
    assert names == ["mlpipeline-minio-artifact", "vault"]
    assert [item["mountPath"] for item in config["emptyDirMounts"]] == ["/ram", "/scratch"]
    message = parsed(config)
    assert [len(item.key_to_env) for item in message.secret_as_env] == [2, 1]


def test_options_and_the_generic_path_meet_in_one_config() -> None:
    _, config = parts(
        {
            "node_selector": {"zone": "a"},
            "labels": {"team": "vision"},
            "annotations": {"a": "1"},
            "secrets": {"USER": "vault/user"},
            "timeout_s": 10,
            "kubernetes": {
                "nodeSelector": {"labels": {"disk": "ssd", "zone": "a"}},
                "podMetadata": {"annotations": {"b": "2"}},
                "secretAsEnv": [
                    {"secretName": "vault", "keyToEnv": [{"secretKey": "token", "envVar": "TOKEN"}], "optional": True}
                ],
                "imagePullPolicy": "Never",
            },
        },
        secret="", pull_policy="Always",
    )  # fmt: skip
    assert config["nodeSelector"] == {"labels": {"zone": "a", "disk": "ssd"}}
    assert config["podMetadata"] == {"labels": {"team": "vision"}, "annotations": {"a": "1", "b": "2"}}
    assert [(item["secretName"], item["optional"]) for item in config["secretAsEnv"]] == [
        ("vault", False), ("vault", True),
    ]  # fmt: skip
    assert config["activeDeadlineSeconds"] == "70"
    assert config["imagePullPolicy"] == "Never"  # a node's own goes before the pipeline's


def test_a_mount_of_the_users_takes_the_place_of_the_scratch_space() -> None:
    for given in (
        {"volumes": {"/scratch": {"pvc": "mine"}}},
        {"kubernetes": {"emptyDirMounts": [{"volumeName": "scratch", "mountPath": "/scratch/", "sizeLimit": "1Gi"}]}},
    ):
        message = parsed(parts(given)[1])
        assert len(message.empty_dir_mounts) + len(message.pvc_mount) == 1


def test_names_of_volumes_that_are_ours_give_way_to_the_users() -> None:
    """KFP calls a volume by its claim, and no two volumes of a pod may be called alike."""
    claims = {f"/{name}": {"pvc": name} for name in ("scratch", "shm", "volume-5")}
    _, config = parts({"shm": "1Gi", "volumes": {**claims, "/a": {"empty_dir": ""}, "/z": {"empty_dir": ""}}})
    assert [item["volumeName"] for item in config["emptyDirMounts"]] == ["shm-2", "volume-1", "volume-5-2"]


def test_names_of_the_users_secrets_are_redacted_in_logs() -> None:
    given = {"secrets": {"B": "vault/b"}, "kubernetes": {"secretAsEnv": FIELDS["secretAsEnv"]}}
    found = compiled(graph(with_options(call("add", ADD, 1, 2), **dict(options(given).chosen()))))
    assert dict(found.pipeline.leaves()[0].executor.env)["GRANDPA_REDACT"] == "B,TOKEN"


# --- at odds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"env": {"A": "1"}, "config_maps": {"A": "s/a"}},
         "A is set both by the option env and by the option config_maps; drop one"),
        ({"secrets": {"A": "s/a"}, "kubernetes": {"fieldPathAsEnv": [{"name": "A", "fieldPath": "x"}]}},
         "A is set both by the option secrets and by the option kubernetes (fieldPathAsEnv); drop one"),
        ({"volumes": {"/data": {"pvc": "a"}}, "secrets": {"/data": "b"}},
         "the folder /data is set both by the option secrets and by the option volumes; drop one"),
        ({"volumes": {"/data": {"pvc": "a"}}, "kubernetes": {"pvcMount": [{"constant": "b", "mountPath": "/data/"}]}},
         "the folder /data is set both by the option volumes and by the option kubernetes (pvcMount); drop one"),
        ({"kubernetes": {"pvcMount": [{"constant": "a", "mountPath": "/a"}, {"constant": "b", "mountPath": "/a"}]}},
         "the folder /a is set twice by the option kubernetes (pvcMount); drop one"),
        ({"volumes": {"/a": {"pvc": "same"}, "/b": {"secret": "same"}}},
         "the volume same is set twice by the option volumes; drop one"),
        ({"shm": "1Gi", "kubernetes": {"enabledSharedMemory": {"size": "2Gi"}}},
         "the folder /dev/shm is set both by the option shm and by the option kubernetes (enabledSharedMemory); "
         "drop one"),
        ({"timeout_s": 5, "kubernetes": {"activeDeadlineSeconds": 60}},
         "activeDeadlineSeconds is set both by the option timeout_s and by the option kubernetes "
         "(activeDeadlineSeconds); drop one"),
        ({"node_selector": {"zone": "a"}, "kubernetes": {"nodeSelector": {"labels": {"zone": "b"}}}},
         "nodeSelector.labels zone is set both by the option node_selector and by the option kubernetes "
         "(nodeSelector); drop one"),
        ({"node_selector": {"zone": "a"}, "kubernetes": {"nodeSelector": {"nodeSelectorJson": {}}}},
         "nodeSelector is set both by the option node_selector and by the option kubernetes (nodeSelector); drop one"),
        ({"kubernetes": {"secretAsEnv": [{"secretName": "mine", "keyToEnv": [
            {"secretKey": "k", "envVar": "GRANDPA_STORE_ACCESS_KEY"}]}]}},
         "the option kubernetes (secretAsEnv) sets GRANDPA_STORE_ACCESS_KEY, which the runtime itself sets; "
         "choose another"),
        ({"volumes": {"/minio": {"pvc": "a"}}},
         "the option volumes sets the folder /minio, which is KFP's own; choose another"),
    ],
)  # fmt: skip
def test_two_that_set_the_same_are_one_fault_that_names_both(given: dict[str, Any], fault: str) -> None:
    assert option_mistakes(options(given)) == [fault]
    with pytest.raises(GraphError, match=r"drop one|choose another"):
        parts(given)


@pytest.mark.parametrize(
    "given",
    [
        {"annotations": {"a": "{{workflow.name}}"}},
        {"volumes": {"/a": {"pvc": "a", "sub_path": "{{x}}"}}},
        {"kubernetes": {"podMetadata": {"annotations": {"{{a": "b"}}}},
    ],
)
def test_what_argo_would_replace_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises((CompileError, GraphError), match=r"\{\{"):
        parts(given)


def test_what_a_server_does_not_do_is_noted() -> None:
    def notes(given: dict[str, Any]) -> list[str]:
        return list(compiled(graph(with_options(call("add", ADD, 1, 2), **dict(options(given).chosen())))).notes)

    assert notes(OPTIONS["disk"]) == notes(OPTIONS["affinity-to-nodes"]) == []
    assert "reserves nothing" in notes(OPTIONS["disk-and-gpu"])[0]
    assert "podAffinity" in notes(OPTIONS["affinity-to-pods"])[0]
    assert "set shm=" in notes({"kubernetes": {"enabledSharedMemory": {"size": "1Gi"}}})[0]


def test_a_platform_spec_larger_than_one_argument_is_refused() -> None:
    """KFP hands it to the task's driver as one."""
    with pytest.raises(CompileError, match=r"add \(calc.py:9\): what it asks of Kubernetes takes 1\d\d,\d+ bytes"):
        parts({"annotations": {"notes": "x" * 130_000}})
