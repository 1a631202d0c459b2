"""KFP's rules, as seen on a real backend: each numbered fact that bears on the YAML holds here."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
import yaml
from kfp_graphs import (
    ADD,
    CODE,
    STATS,
    TOTAL,
    call,
    chain,
    compiled,
    documents,
    edges_of,
    graph,
    listed,
    node,
    parameter,
    with_options,
    written,
)

from grandpa_kfp_compiler.graph import (
    Call,
    Code,
    Constant,
    Graph,
    Instance,
    ParameterValue,
    PythonNode,
    TaskOutput,
    TypeSpec,
    inputs_of,
)
from grandpa_kfp_compiler.kfp.emit import RETRY_FOR
from grandpa_kfp_runtime.contract import EXECUTOR_INPUT, TaskCall
from grandpa_kfp_runtime.errors import CodecError, CompileError
from grandpa_kfp_runtime.stores.memory import MemoryStore
from grandpa_kfp_runtime.values.handles import from_handle

ONE = node("one")


def full() -> Graph:
    """A graph with most of what a graph can have."""
    scale = PythonNode("calc:Scale", "Scale", is_class=True, fingerprint="5" * 64)
    first = with_options(
        call("add", ADD, ParameterValue("a"), 2),
        retries=2, timeout_s=90.5, cpu="500m", memory="2Gi", gpu=1, env=(("MODE", "fast"),),
        secrets=(("TOKEN", "hub/token"), ("USER", "hub/user")), verbose=True,
    )  # fmt: skip
    operations = (
        first,
        call("part/stats", STATS, listed(TaskOutput("add"), ParameterValue("a")), scope=("part",)),
        Call("scale", scale, (TaskOutput("part/stats", "mean"),), instance="Scale", after=("add",), where="calc.py:12"),
        with_options(call("total", TOTAL, listed(TaskOutput("scale"), TaskOutput("part/stats", "std"))), cache=False),
    )
    parameters = (
        parameter("a", "int", 3, "how many"),
        parameter("name", "str"),
        replace(parameter("day", "datetime:date"), default=Constant(__import__("datetime").date(2024, 2, 29))),
    )
    return Graph(
        "my_flow",
        parameters,
        (Instance("Scale", scale, (Constant(2.5),)),),
        operations,
        (("result", TaskOutput("total")),),
        "Adds up.",
        code=CODE,
    )


def containers(spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: item["container"] for name, item in spec["deploymentSpec"]["executors"].items()}


def dags(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [spec["root"]["dag"], *(item["dag"] for item in spec["components"].values() if "dag" in item)]


def all_tasks(spec: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [pair for dag in dags(spec) for pair in dag["tasks"].items()]


def task_call(container: dict[str, Any]) -> TaskCall:
    return TaskCall.from_argv(container["args"])[0]


GRAPHS = [full(), chain(5), chain(250)]


# --- 1: component specs are shared by hash of the container --------------------------------------


@pytest.mark.parametrize("of", GRAPHS)
def test_1_no_two_components_have_equal_containers(of: Graph) -> None:
    spec, _ = documents(of)
    texts = [json.dumps(container, sort_keys=True) for container in containers(spec).values()]
    assert len(texts) == len(set(texts))


def test_1_args_hold_node_fingerprint_and_interface() -> None:
    spec, _ = documents(graph(call("add", ADD, 1, 2)))
    (container,) = containers(spec).values()
    found = task_call(container)
    assert (found.node, found.fingerprint, found.epoch) == ("calc:add", ADD.fingerprint, 0)
    assert [item.name for item in found.interface.inputs] == ["a", "b"]
    assert container["command"] == ["python", "-m", "grandpa_kfp_runtime"]


def test_1_tasks_of_the_same_shape_share_a_component_and_others_do_not() -> None:
    tasks = [
        call("one", ADD, 1, 2),
        call("two", ADD, 3, 4),
        call("three", ADD, 1.5, 2),
        call("four", ADD, 1, TaskOutput("one")),
        with_options(call("five", ADD, 1, 2), memory="1Gi"),
        with_options(call("six", ADD, 1, 2), retries=5, cache=False),
    ]
    spec, _ = documents(graph(*tasks))
    by_task = {key: task["componentRef"]["name"] for key, task in all_tasks(spec)}
    assert by_task == {
        "one": "comp-add", "two": "comp-add", "six": "comp-add",
        "three": "comp-add-2", "four": "comp-add-3", "five": "comp-add-4",
    }  # fmt: skip


# --- 2: every parameter is bound -----------------------------------------------------------------


@pytest.mark.parametrize("of", GRAPHS)
def test_2_every_component_parameter_is_bound_by_every_task(of: Graph) -> None:
    spec, _ = documents(of)
    for key, task in all_tasks(spec):
        component = spec["components"][task["componentRef"]["name"]]
        declared = component.get("inputDefinitions", {}).get("parameters", {})
        assert task.get("inputs", {}).get("parameters", {}).keys() == declared.keys(), key


# --- 3: values cross as handles ------------------------------------------------------------------


@pytest.mark.parametrize("of", GRAPHS)
def test_3_no_artifact_is_an_input(of: Graph) -> None:
    spec, _ = documents(of)
    assert all("artifacts" not in task.get("inputs", {}) for _, task in all_tasks(spec))
    assert all("artifacts" not in item.get("inputDefinitions", {}) for item in spec["components"].values())


def test_3_outputs_are_strings_with_one_preview_artifact_each() -> None:
    spec, _ = documents(graph(call("stats", STATS, 1), result=TaskOutput("stats", "mean")))
    assert spec["components"]["comp-stats"]["outputDefinitions"] == {
        "parameters": {"mean": {"parameterType": "STRING"}, "std": {"parameterType": "STRING"}},
        "artifacts": {
            name: {"artifactType": {"schemaTitle": "system.Artifact", "schemaVersion": "0.0.1"}}
            for name in ("mean-preview", "std-preview")
        },
    }


# --- 4: placeholders -----------------------------------------------------------------------------


@pytest.mark.parametrize("of", GRAPHS)
def test_4_the_executor_input_is_the_only_placeholder(of: Graph) -> None:
    text = compiled(of).text
    assert set(re.findall(r"\{\{.*?\}\}", text)) == {EXECUTOR_INPUT}
    spec = next(yaml.safe_load_all(text))
    for container in containers(spec).values():
        assert container["args"][-2:] == ["--executor-input", EXECUTOR_INPUT]
        assert not any("{{" in arg or "}}" in arg or "$(" in arg for arg in container["args"][:-1])


# --- 6: the cache key covers args, not env -------------------------------------------------------


def test_6_other_code_and_timeouts_change_env_and_leave_args() -> None:
    task = call("add", ADD, 1, 2)
    before, _ = documents(graph(task))
    after, _ = documents(graph(with_options(task, timeout_s=5), code=replace(CODE, sha256="cd" * 32)))
    (one,), (other,) = containers(before).values(), containers(after).values()
    assert one["args"] == other["args"]
    assert one["env"] != other["env"]


def test_6_another_fingerprint_store_or_epoch_changes_args() -> None:
    task = call("add", ADD, 1, 2)
    args = [
        next(iter(containers(documents(graph(one), **options)[0]).values()))["args"]
        for one, options in [
            (task, {}),
            (replace(task, node=replace(ADD, fingerprint="0" * 64)), {}),
            (task, {"store": "s3://other"}),
            (task, {"epoch": 1}),
        ]
    ]
    assert len({tuple(one) for one in args}) == 4


def test_6_cache_follows_the_option() -> None:
    tasks = [
        call("a", ONE), with_options(call("b", ONE), cache=True), with_options(call("c", ONE), cache=False),
        with_options(call("d", ONE), cache="1d"),
    ]  # fmt: skip
    spec, _ = documents(graph(*tasks))
    assert {key: task["cachingOptions"] for key, task in all_tasks(spec)} == {
        "a": {"enableCache": True}, "b": {"enableCache": True}, "c": {"enableCache": False}, "d": {"enableCache": True},
    }  # fmt: skip
    assert any("d (1d)" in note and "time to live" in note for note in compiled(graph(*tasks)).notes)


# --- 7: sizes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [101, 1000])
def test_7_no_dag_holds_more_than_100_tasks(count: int) -> None:
    spec = next(yaml.safe_load_all(written(chain(count))))
    assert max(len(dag["tasks"]) for dag in dags(spec)) <= 100


def random_zip(size: int) -> Code:
    import hashlib

    data = b"".join(hashlib.sha256(b"%d" % index).digest() for index in range(size // 32))
    return replace(CODE, zip=data)


@pytest.mark.parametrize("mode", ["auto", "inline", "task", "store"])
def test_7_no_environment_string_and_no_container_is_longer_than_an_argument(mode: str) -> None:
    for size in (2_000, 60_000):
        spec, _ = documents(graph(call("add", ADD, 1, 2), code=random_zip(size)), code=mode)
        for container in containers(spec).values():
            assert max(len(item["value"]) for item in container["env"]) <= 96 * 1024
            assert len(json.dumps(container)) < 128 * 1024


def test_7_the_budget_counts_tasks_times_code() -> None:
    """Two tasks with 80 KB of code fit inline, twenty do not; twenty with a little do."""
    few, many = chain(2), chain(20)
    assert compiled(replace(few, code=random_zip(60_000))).code == "inline"
    assert compiled(replace(many, code=random_zip(60_000))).code == "task"
    assert compiled(replace(many, code=random_zip(4_000))).code == "inline"


def test_7_many_tasks_for_one_workflow_are_noted_too_many_are_refused() -> None:
    assert compiled(chain(50)).notes == ()
    *_, note = compiled(chain(300), fuse="none").notes
    assert re.fullmatch(r"300 tasks make an Argo Workflow of about [\d,]+ KiB, .* 1,024 KiB", note)
    with pytest.raises(
        CompileError, match=r"^calc: its 700 tasks .* stores 1,024: compile with --fuse auto .*--fuse none"
    ):
        compiled(chain(700), fuse="none")


def test_7_large_code_beside_few_tasks_is_no_reason_to_fuse_them() -> None:
    """The way out is the store, which `deploy` takes by itself."""
    found = compiled(replace(chain(30), code=random_zip(280_000)))
    assert found.tasks == 30 + 4
    assert found.notes[-1].endswith("let the code lie in the store (--code store)")


# --- 8, 12, 14: what is rewritten on the way -----------------------------------------------------

HARD = [
    "x{{workflow.name}}y", "}}", "$$(HOME)", "$(HOME)", "quotes ' and \"", "new\nlines\n", "tab\t", "umläut", "😀", "",
    "n", "y", "on", "no", "null", "1", "1.0", "true", "~", "@inline:json:e30=", "@" + "a" * 43, "[1]", "\\", " x ",
    "\x00", "\r\n", None, True, False, 0, -1, 2**53, 2**53 + 1, 10**30, 2.0, 0.1, 1e22, -0.0, float("inf"),
    [1, 2.0, None], {"a": {"b": {"c": 1}}}, {"{{": "}}"}, (1, (2,)), {1: 2}, b"bytes", {3, 4}, ["$$(X)"],
]  # fmt: skip


@pytest.mark.parametrize("value", HARD, ids=ascii)
def test_8_constants_arrive_unchanged(value: Any) -> None:
    """Nothing that Argo or Kubernetes replace is in the YAML, and the receiver gets the very value."""
    spec, _ = documents(graph(call("add", ADD, value, 1)))
    constant = spec["root"]["dag"]["tasks"]["add"]["inputs"]["parameters"]["a"]["runtimeValue"]["constant"]
    (container,) = containers(spec).values()
    kind = task_call(container).interface.inputs[0]
    if isinstance(constant, str):
        assert not any(mark in constant for mark in ("{{", "}}", "$$("))
    arrived = constant if kind.kind == "raw" else from_handle(constant, MemoryStore())
    assert repr(arrived) == repr(value)
    assert type(arrived) is type(value)


def test_8_constants_keep_their_own_type_where_kfp_is_exact() -> None:
    """So that the UI shows `epochs = 5`; 14: everything else would change on the way."""
    take = node("take", "*values")
    spec, _ = documents(graph(call("take", take, "x", True, 5, 2.5, None, 2**53 + 1, [1], "{{x}}")))
    component = spec["components"]["comp-take"]
    assert [item["parameterType"] for item in component["inputDefinitions"]["parameters"].values()] == [
        "STRING", "BOOLEAN", "NUMBER_INTEGER", "NUMBER_DOUBLE", "STRING", "STRING", "STRING", "STRING",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["n", "y", "on", "no", "null", "true"])
def test_12_names_that_yaml_takes_for_booleans_stay_names(name: str) -> None:
    of = graph(call(name, node(name, name, outputs=(name,)), ParameterValue(name)), name=name,
               result=TaskOutput(name, name), parameters=[parameter(name, "str", name)])  # fmt: skip
    spec, _ = documents(of)
    ((key, task),) = all_tasks(spec)
    assert key == name
    assert task["inputs"]["parameters"] == {name: {"componentInputParameter": name}}
    assert spec["root"]["inputDefinitions"]["parameters"][name]["defaultValue"] == name
    assert spec["pipelineInfo"]["name"] == name


@pytest.mark.parametrize("default", ["{{workflow.name}}", "a}}b", "$$(HOME)"])
def test_8_a_default_that_would_be_rewritten_travels_as_json_text(default: str) -> None:
    of = graph(call("add", ADD, ParameterValue("p"), 1), parameters=[parameter("p", "str", default)])
    spec, _ = documents(of)
    declared = spec["root"]["inputDefinitions"]["parameters"]["p"]
    assert declared["parameterType"] == "STRING"
    assert not any(mark in declared["defaultValue"] for mark in ("{{", "}}", "$$("))
    assert json.loads(declared["defaultValue"]) == default
    (container,) = containers(spec).values()
    assert task_call(container).interface.inputs[0].kind == "json"
    assert any("parameter p" in note for note in compiled(of).notes)


def test_8_descriptions_hold_no_placeholder() -> None:
    """They are part of the root component, which Argo looks through like everything else."""
    of = replace(full(), description="Use {{this}}", parameters=(
        parameter("a", "int", 3, "not {{that}}"), *full().parameters[1:]))  # fmt: skip
    assert set(re.findall(r"\{\{.*?\}\}", compiled(of).text)) == {EXECUTOR_INPUT}


@pytest.mark.parametrize("value", ["{{x}}", "a}}", "$(HOME)", "$$(HOME)"])
def test_8_an_environment_value_that_would_be_replaced_is_refused(value: str) -> None:
    task = with_options(call("add", ADD, 1, 2), env=(("GREETING", value),))
    with pytest.raises(
        CompileError, match=r"^add \(calc.py:9\): env GREETING holds .* which Argo and Kubernetes replace"
    ):
        compiled(graph(task))


def test_8_a_constant_too_large_names_task_line_argument_and_ways_out() -> None:
    with pytest.raises(CompileError, match=r"^add \(calc.py:9\).*: .*bytes.*16,384.*result") as caught:
        compiled(graph(call("add", ADD, "x" * 20_000, 1)))
    assert "argument a" in str(caught.value)
    assert isinstance(caught.value.__cause__, CodecError)


def test_14_workflow_parameters_have_kfps_own_types() -> None:
    types = {"s": "str", "i": "int", "f": "float", "b": "bool", "l": "list", "d": "dict", "o": "datetime:date"}
    of = graph(call("one", ONE), parameters=[parameter(name, type_) for name, type_ in types.items()])
    spec, _ = documents(of)
    assert {k: v["parameterType"] for k, v in spec["root"]["inputDefinitions"]["parameters"].items()} == {
        "s": "STRING", "i": "NUMBER_INTEGER", "f": "NUMBER_DOUBLE", "b": "BOOLEAN", "l": "LIST", "d": "STRUCT",
        "o": "STRING",
    }  # fmt: skip


def test_14_a_parameter_of_another_type_is_json_text() -> None:
    declared = documents(full())[0]["root"]["inputDefinitions"]["parameters"]
    assert declared["day"] == {"parameterType": "STRING", "defaultValue": '"2024-02-29"', "isOptional": True}
    assert declared["name"] == {"parameterType": "STRING"}
    assert declared["a"] == {
        "parameterType": "NUMBER_INTEGER", "defaultValue": 3, "isOptional": True, "description": "how many",
    }  # fmt: skip


# --- 9: retries ----------------------------------------------------------------------------------


def test_9_a_retry_is_not_bounded_by_the_first_attempts_length() -> None:
    spec, _ = documents(full())
    policies = {key: task.get("retryPolicy") for key, task in all_tasks(spec)}
    assert policies.pop("add") == {
        "maxRetryCount": 2, "backoffDuration": "0s", "backoffFactor": 2.0, "backoffMaxDuration": RETRY_FOR,
    }  # fmt: skip
    assert f"{30 * 24 * 3600}s" == RETRY_FOR
    assert set(policies.values()) == {None}


@pytest.mark.parametrize("of", GRAPHS)
def test_9_every_producer_is_a_dependent_task(of: Graph) -> None:
    """KFP orders tasks by dependentTasks alone."""
    spec, _ = documents(of)
    for key, task in all_tasks(spec):
        sources = task.get("inputs", {}).get("parameters", {}).values()
        producers = {item["taskOutputParameter"]["producerTask"] for item in sources if "taskOutputParameter" in item}
        assert producers <= set(task.get("dependentTasks", ())), key
    if of is GRAPHS[0]:
        assert spec["root"]["dag"]["tasks"]["scale"]["dependentTasks"] == ["add", "part-stats"]


# --- 10: what the UI shows -----------------------------------------------------------------------


@pytest.mark.parametrize("of", GRAPHS)
def test_10_a_tasks_text_is_its_key_and_holds_no_dot(of: Graph) -> None:
    for key, task in all_tasks(documents(of)[0]):
        assert task["taskInfo"]["name"] == key
        assert "." not in key


# --- 11, 15: the platform spec -------------------------------------------------------------------


def test_11_store_credentials_come_from_the_secret() -> None:
    _, platform = documents(chain(3), secret="my-store")
    for config in platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values():
        assert config["secretAsEnv"] == [
            {
                "secretName": "my-store",
                "secretNameParameter": {"runtimeValue": {"constant": "my-store"}},
                "keyToEnv": [
                    {"secretKey": "accesskey", "envVar": "GRANDPA_STORE_ACCESS_KEY"},
                    {"secretKey": "secretkey", "envVar": "GRANDPA_STORE_SECRET_KEY"},
                ],
                "optional": False,
            }
        ]


def test_11_every_executor_of_an_s3_store_gets_credentials() -> None:
    for mode in ("inline", "task", "store"):
        spec, platform = documents(full(), code=mode)
        configs = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
        assert configs.keys() == spec["deploymentSpec"]["executors"].keys()
        assert all("secretAsEnv" in config for config in configs.values())


def test_11_a_nodes_own_secrets_are_added_and_their_names_redacted() -> None:
    spec, platform = documents(full())
    config = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-add"]
    assert {item["secretName"]: item["keyToEnv"] for item in config["secretAsEnv"]}["hub"] == [
        {"secretKey": "token", "envVar": "TOKEN"}, {"secretKey": "user", "envVar": "USER"},
    ]  # fmt: skip
    env = {item["name"]: item["value"] for item in containers(spec)["exec-add"]["env"]}
    assert env["GRANDPA_REDACT"] == "TOKEN,USER"


@pytest.mark.parametrize("store", ["s3://key:secret@bucket/x", "s3://bucket?secret_key=abc", "memory:", "s3://b/{{x}}"])
def test_11_a_store_with_credentials_or_placeholders_is_refused(store: str) -> None:
    with pytest.raises(CompileError, match="store"):
        compiled(chain(2), store=store)


def test_15_the_deadline_stands_a_minute_behind_the_timeout() -> None:
    spec, platform = documents(full())
    configs = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert configs["exec-add"]["activeDeadlineSeconds"] == "151"  # 90.5 s, rounded up, and 60
    env = {item["name"]: item["value"] for item in containers(spec)["exec-add"]["env"]}
    assert env["GRANDPA_TIMEOUT_S"] == "90.5"
    assert "activeDeadlineSeconds" not in configs["exec-stats"]


def test_15_scratch_space_is_an_empty_dir_at_tmpdir() -> None:
    spec, platform = documents(chain(2))
    for name, config in platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].items():
        (mount,) = config["emptyDirMounts"]
        env = {item["name"]: item["value"] for item in containers(spec)[name]["env"]}
        assert env["TMPDIR"] == mount["mountPath"]


def test_15_resources_have_todays_and_the_older_fields() -> None:
    assert containers(documents(full())[0])["exec-add"]["resources"] == {
        "resourceCpuLimit": "500m", "cpuLimit": 0.5, "resourceMemoryLimit": "2Gi", "memoryLimit": 2.147483648,
        "accelerator": {
            "resourceType": "nvidia.com/gpu", "resourceCount": "1", "type": "nvidia.com/gpu", "count": "1",
        },
    }  # fmt: skip


def test_15_pull_policy_only_if_asked() -> None:
    assert "imagePullPolicy" not in compiled(chain(2)).text
    _, platform = documents(chain(2), pull_policy="Always")
    configs = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert {config["imagePullPolicy"] for config in configs.values()} == {"Always"}


# --- 16: names -----------------------------------------------------------------------------------


def test_16_names_are_lower_case_letters_digits_and_dashes_and_unique() -> None:
    odd = ["Größe", "a/b", "a-b", "A_b", "<lambda>", "模型", "model", "x" * 300, "x" * 301, "_", "a--b"]
    tasks = [call(name, node(name, "x"), 1) for name in odd]
    spec, _ = documents(graph(*tasks, name="My_Pipe.Line"))
    keys = [key for key, _ in all_tasks(spec)]
    names = [*keys, *spec["components"], *spec["deploymentSpec"]["executors"], spec["pipelineInfo"]["name"]]
    assert len(keys) == len(set(keys)) == len(odd)
    assert all(re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", name) for name in names)
    assert max(map(len, names)) <= 110
    assert spec["pipelineInfo"]["name"] == "my-pipe-line"
    assert keys[1:4] == ["a-b", "a-b-2", "a-b-3"]


def test_16_no_component_is_called_like_the_pipeline() -> None:
    """The kfp SDK takes such a component for the pipeline itself."""
    from kfp import components

    text = compiled(
        graph(call("add", ADD, 1, ParameterValue("p")), name="add", parameters=[parameter("p", "int")])
    ).text
    assert list(components.load_component_from_text(text).component_spec.inputs) == ["p"]


# --- all of it, by KFP's own readers -------------------------------------------------------------


@pytest.mark.parametrize("of", GRAPHS)
@pytest.mark.parametrize("mode", ["inline", "task"])
def test_both_documents_parse_as_kfps_protobuf(of: Graph, mode: str) -> None:
    from google.protobuf import json_format
    from kfp.kubernetes import kubernetes_executor_config_pb2
    from kfp.pipeline_spec import pipeline_spec_pb2

    spec, platform = documents(of, code=mode)
    message = json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
    json_format.ParseDict(platform, pipeline_spec_pb2.PlatformSpec())
    for config in platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values():
        json_format.ParseDict(config, kubernetes_executor_config_pb2.KubernetesExecutorConfig())
    for executor in spec["deploymentSpec"]["executors"].values():
        json_format.ParseDict(executor, pipeline_spec_pb2.PipelineDeploymentConfig.ExecutorSpec())
    assert json_format.MessageToDict(message)["root"]["dag"]["tasks"].keys() == spec["root"]["dag"]["tasks"].keys()


@pytest.mark.parametrize("of", GRAPHS)
def test_the_kfp_loader_takes_the_file_and_sees_the_same_edges(of: Graph) -> None:
    from google.protobuf import json_format
    from kfp import components

    loaded = components.load_component_from_text(compiled(of).text)
    assert list(loaded.component_spec.inputs or {}) == [item.name for item in of.parameters]
    spec = json_format.MessageToDict(loaded.pipeline_spec)
    instances = {instance.id: instance for instance in of.instances}
    expected = {
        (value.task.replace("/", "-"), value.output, operation.id.replace("/", "-"))
        for operation in of.operations
        for value in inputs_of(operation, instances)
        if isinstance(value, TaskOutput)
    }
    assert edges_of(spec) == expected


def test_the_loader_reads_the_description() -> None:
    from kfp import components

    of = replace(full(), description="Adds up.\n\nAnd more: # Description: no")
    loaded = components.load_component_from_text(compiled(of).text)
    assert loaded.description == "Adds up.\n\nAnd more: # Description: no"


def test_a_list_of_strings_as_a_type_is_a_list() -> None:
    of = graph(
        call("one", ONE), parameters=[replace(parameter("xs", "list"), type=TypeSpec("list", (TypeSpec("str"),)))]
    )
    assert documents(of)[0]["root"]["inputDefinitions"]["parameters"]["xs"] == {"parameterType": "LIST"}
