"""Options for Kubernetes as a user meets them: the page that tells of them, the helpers, where faults are told."""

from __future__ import annotations

import inspect
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from kfp.kubernetes import kubernetes_executor_config_pb2 as config_pb2
from kubernetes_options import CASES

from grandpa_kfp import Node, Workflow, config_map_volume, empty_dir, ephemeral_volume, pvc, secret_volume, trace
from grandpa_kfp.drawing.model import options_text
from grandpa_kfp_compiler.graph import OPTION_NAMES, Code
from grandpa_kfp_compiler.json_format import dumps, loads
from grandpa_kfp_compiler.kfp import compile_graph
from grandpa_kfp_compiler.options import RULES
from grandpa_kfp_compiler.options.messages import EXECUTOR_CONFIG
from grandpa_kfp_compiler.printer import format_graph
from grandpa_kfp_runtime.errors import TraceError

PAGE = (Path(__file__).parents[2] / "docs" / "kubernetes-options.md").read_text("utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def executors(node: Any) -> dict[str, Any]:
    """The platform spec of a workflow of one task."""
    graph = trace(Workflow(lambda: node.options()(1)))
    text = compile_graph(replace(graph, code=Code("ab" * 32, b"PK", "3.12"))).text
    found = list(yaml.safe_load_all(text))[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: re.findall(r"def (\w+)", block)[0])
def test_the_examples_of_the_page_compile_into_what_kfp_reads(block: str) -> None:
    found: dict[str, Any] = {}
    exec(compile(block, "kubernetes-options.md", "exec"), found)
    nodes = [value for value in found.values() if hasattr(value, "__grandpa_node__") and hasattr(value, "fn")]
    assert nodes
    for node in nodes:
        for config in executors(node).values():
            json_format.ParseDict(config, config_pb2.KubernetesExecutorConfig())


def test_the_page_names_every_option_and_every_field() -> None:
    elsewhere = {
        "retries", "timeout_s", "env", "image", "packages", "cache", "version", "verbose", "keep", "index_url", "uses",
        "always", "artifact", "fallback",
    }  # fmt: skip
    told = set(re.findall(r"\w+", PAGE))
    assert (set(OPTION_NAMES) - elsewhere) <= told
    assert set(EXECUTOR_CONFIG["KubernetesExecutorConfig"]) <= told


def test_a_helper_says_what_its_dict_says() -> None:
    """The dict is what a graph file and a configuration hold."""
    given = {
        "/a": pvc("claim", sub_path="x"), "/b": empty_dir(), "/d": config_map_volume("settings", optional=True),
        "/c": ephemeral_volume("1Ti", access_modes=["ReadWriteMany"]), "/e": secret_volume("vault"),
    }  # fmt: skip
    read = RULES["volumes"].read(given)
    assert RULES["volumes"].json(read) == {
        "/a": {"pvc": "claim", "sub_path": "x"},
        "/b": {"empty_dir": ""},
        "/c": {"ephemeral": "1Ti", "access_modes": ["ReadWriteMany"]},
        "/d": {"config_map": "settings", "optional": True},
        "/e": {"secret": "vault"},
    }
    assert RULES["volumes"].read(RULES["volumes"].json(read)) == read


@pytest.mark.parametrize("name", CASES)
def test_every_option_survives_the_graph_file_and_prints_the_same(name: str) -> None:
    node = Node(**CASES[name])(_double)
    graph = trace(Workflow(lambda: node(1)))
    again = loads(dumps(graph))
    assert next(again.calls()).options == next(graph.calls()).options
    assert format_graph(again) == format_graph(graph)


def _double(n: int) -> int:
    return 2 * n


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"volumes": {"/data": "datasets"}}, r"volumes of a node must hold volumes such as pvc\('datasets'\), but has"),
        ({"volumes": {"/data": {"pcv": "a"}}}, "must name the kind of volume at /data, one of pvc, empty_dir"),
        ({"volumes": {"/data": {"pvc": "a", "subpath": "b"}}}, "has 'subpath' at /data, .*; did you mean 'sub_path'?"),
        ({"volumes": [pvc("a")]}, "must be a dict of paths to volumes"),
        ({"tolerations": "spot"}, "must be a list of tolerations"),
        ({"tolerations": [{"keys": "a"}]}, "has 'keys', which a toleration has not; did you mean 'key'?"),
        ({"tolerations": ["a=b=c d"]}, "must write a taint as 'key=value:effect'"),
        ({"node_selector": ["a"]}, "must be a dict of names to texts"),
        ({"labels": {"a": None}}, "must hold texts, but the value of a is None"),
        ({"kubernetes": {"podMetadata": {"labels": {"a": float("nan")}}}}, "must hold texts, numbers, lists and dicts"),
        ({"kubernetes": {"nodeSelectr": {}}}, "has nodeSelectr, which is not known; did you mean 'nodeSelector'?"),
        ({"memory": ("1Gi", "2Gi", "3Gi")}, r"or a pair of such, \(request, limit\)"),
        ({"gpu_typ": "x"}, "has no option 'gpu_typ'; did you mean 'gpu_type'?"),
    ],
)
def test_a_fault_is_told_where_it_is_written(options: dict[str, Any], message: str) -> None:
    """File and line of the decorator, what was wrong, what there is."""
    frame = inspect.currentframe()
    assert frame is not None
    line = frame.f_lineno + 2
    with pytest.raises(TraceError, match=message) as caught:
        Node(**options)
    assert str(caught.value).startswith(f"tests/grandpa/test_kubernetes_options.py:{line}: ")


def test_local_runs_take_no_notice() -> None:
    node = Node(shm="1Gi", volumes={"/nowhere": pvc("a")}, tolerations=["spot"], gpu=8)(_double)
    assert node(21).resolve() == 42


def test_a_picture_tells_request_and_limit() -> None:
    node = Node(cpu=("500m", 2), memory=("1Gi", None))(_double)
    (call,) = trace(Workflow(lambda: node(1))).calls()
    assert options_text(call.options) == "cpu 500m to 2 · memory from 1Gi"


def test_calls_of_one_node_share_their_options_whatever_is_set() -> None:
    """The workflow's and a component's come in below; a call's own above."""
    node = Node(labels={"a": "1"})(_double)

    @Workflow(defaults={"labels": {"a": "0", "b": "2"}})
    def pipeline() -> list[int]:
        return [node(1), node(2), node.options(labels={"a": "3"})(3)]

    first, second, third = (call.options for call in trace(pipeline).calls())
    assert first is second
    assert first.labels == (("a", "1"), ("b", "2"))
    assert third.labels == (("a", "3"), ("b", "2"))
