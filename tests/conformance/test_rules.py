"""Compiled workflows of the table and golden files obey Kubeflow's rules, and are read by Kubeflow's own code."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import control_flows as flows
import pytest
import yaml
from conformance.table import ROWS
from google.protobuf.json_format import ParseDict
from kfp.components import load_component_from_text
from kfp.kubernetes.kubernetes_executor_config_pb2 import KubernetesExecutorConfig
from kfp.pipeline_spec.pipeline_spec_pb2 import PipelineSpec, PlatformSpec
from kfp_rules import broken_rules

from grandpa_kfp import compile

REPOSITORY = Path(__file__).parents[2]
GOLDEN = [*sorted(REPOSITORY.glob("samples/*/pipeline.yaml")), REPOSITORY / "tests/compiler/cases/emit.yaml"]
WORKFLOWS = list(dict.fromkeys(row.workflow for row in ROWS))


def check(text: str) -> None:
    documents = list(yaml.load_all(text, Loader=yaml.CSafeLoader))
    assert broken_rules(*documents) == []
    load_component_from_text(text)
    ParseDict(documents[0], PipelineSpec())
    for platform in documents[1:]:
        ParseDict(platform, PlatformSpec())
        for config in platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values():
            ParseDict(config, KubernetesExecutorConfig())


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda item: item.name)
def test_a_compiled_workflow_obeys_kubeflows_rules(workflow: Any, tmp_path: Path) -> None:
    check(compile(workflow, tmp_path / "pipeline.yaml").text)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda item: item.relative_to(REPOSITORY).as_posix())
def test_a_golden_file_obeys_kubeflows_rules(path: Path) -> None:
    check(path.read_text("utf-8"))


# --- the checker can fail --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Branches, and loops with branches."""
    text = compile(flows.mixed, tmp_path_factory.mktemp("whole") / "pipeline.yaml").text
    spec: dict[str, Any] = next(yaml.safe_load_all(text))
    return spec


def root(spec: Any) -> Any:
    return spec["root"]["dag"]["tasks"]


def dag_of(spec: Any, key: str) -> Any:
    return spec["components"][root(spec)[key]["componentRef"]["name"]]["dag"]


def rounds(spec: Any) -> Any:
    """The task that loops, and its component."""
    for item in spec["components"].values():
        for task in item.get("dag", {}).get("tasks", {}).values():
            if "parameterIterator" in task:
                return task, spec["components"][task["componentRef"]["name"]]
    for task in root(spec).values():
        if "parameterIterator" in task:
            return task, spec["components"][task["componentRef"]["name"]]
    raise AssertionError("nothing loops")


def swap(mapping: Any, old: str, new: str) -> None:
    mapping[new] = mapping.pop(old)


BREAKS: list[tuple[Callable[[Any], Any], str]] = [
    (lambda s: root(s)["plus"]["inputs"]["parameters"].pop("x"), "root/plus: its input x is not bound"),
    (lambda s: root(s)["plus"]["inputs"]["parameters"].update(z={"componentInputParameter": "n"}),
     "root/plus: its component has no input z"),
    (lambda s: root(s)["when"].update(dependentTasks=[]), "which it does not wait for"),
    (lambda s: root(s)["when"]["dependentTasks"].append("gone"), "root/when: waits for gone"),
    (lambda s: root(s)["plus"].update(dependentTasks=["result"]), "wait for each other"),
    (lambda s: root(s)["plus"]["taskInfo"].update(name="Plus"), "root/plus: the UI shows Plus"),
    (lambda s: swap(root(s), "plus", "Plus"), "root/Plus: a key has lower-case letters"),
    (lambda s: s["pipelineInfo"].update(name="my_pipe"), "my_pipe: a name has"),
    (lambda s: s["components"].update(spare=s["components"]["comp-plus"]), "spare: no task uses it"),
    (lambda s: s["deploymentSpec"]["executors"].update(spare={}), "spare: no component uses it"),
    (lambda s: dag_of(s, "when")["tasks"].clear(), "a DAG has a task"),
    (lambda s: root(s).update({f"t-{n}": root(s)["plus"] for n in range(101)}), "a DAG has 100 at most"),
    (lambda s: root(s)["plus"]["inputs"]["parameters"].update(x={"runtimeValue": {"constant": "{{y}}"}}),
     "Argo replaces this"),
    (lambda s: root(s)["plus"]["inputs"]["parameters"].update(y={"runtimeValue": {"constant": "1"}}),
     "but a NUMBER_INTEGER in its component"),
    (lambda s: dag_of(s, "when")["tasks"]["arm-0"]["triggerPolicy"].update(
        condition="inputs.parameter_values['nothing'] == '0'"), "its condition reads nothing"),
    (lambda s: root(s)["result"].update(triggerPolicy={"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}), "is a hook of"),
    (lambda s: dag_of(s, "when")["tasks"]["arm-0"].pop("triggerPolicy"),
     "which always runs, so that it is not one of several"),
    (lambda s: dag_of(s, "when")["outputs"]["parameters"].clear(), "declares the outputs"),
    (lambda s: rounds(s)[0]["parameterIterator"]["items"].update(inputParameter="none"), "loops over its input none"),
    (lambda s: rounds(s)[0]["parameterIterator"].update(itemInput="none"), "its item goes to none"),
    (lambda s: rounds(s)[0].update(iteratorPolicy={"parallelismLimit": 0}), "no round of it may run"),
    (lambda s: rounds(s)[1]["outputDefinitions"]["parameters"]["result"].update(parameterType="STRING"),
     "is collected, so it is a LIST"),
    (lambda s: s["deploymentSpec"]["executors"]["exec-plus"]["container"]["args"].append("{{x}}"),
     "Argo replaces this"),
    (lambda s: s["deploymentSpec"]["executors"]["exec-plus"]["container"]["env"].append(
        {"name": "BIG", "value": "x" * 2**17}), "an argument or variable of 131072 bytes"),
    (lambda s: s["deploymentSpec"]["executors"].update(
        {"exec-plus": s["deploymentSpec"]["executors"]["exec-total"]}), "the backend takes it for"),
    (lambda s: root(s)["plus"].update(retryPolicy={"maxRetryCount": 2, "backoffMaxDuration": "3600s"}),
     "is not retried once its first attempt has taken 3600s"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "says"), BREAKS, ids=[says for _, says in BREAKS])
def test_a_broken_rule_is_found(whole: dict[str, Any], change: Callable[[Any], Any], says: str) -> None:
    spec = copy.deepcopy(whole)
    assert broken_rules(spec) == []
    change(spec)
    assert any(says in fault for fault in broken_rules(spec)), broken_rules(spec)
