"""The artifacts that tasks declare: by the annotations of outputs, and by what the code refers to."""

from __future__ import annotations

import importlib
import linecache
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import grandpa_kfp
from grandpa_kfp_compiler.json_format import dumps, loads
from grandpa_kfp_runtime.code.fingerprint import Fingerprints

FLOW = """
import grandpa_kfp
from grandpa_kfp import (
    ClassificationMetrics, Figure, Html, Markdown, Metrics, Node, Workflow, log_artifact, log_params as note,
)
from typing import Optional

def helper(x):
    grandpa_kfp.log_metric("x", x)

@Node
def scores(x: int) -> Metrics: ...

@Node
def page(x: int) -> Optional[Html]: ...

@Node
def text(x: int) -> Markdown: ...

@Node
def drawn(x: int) -> "Figure": ...

@Node
def confusion(x: int) -> ClassificationMetrics: ...

@Node(outputs=("numbers", "page", "rest"))
def three(x: int) -> tuple[Metrics, Html, int]: ...

@Node
def either(x: int) -> Html | Markdown: ...

@Node
def plain(x: int) -> int: ...

@Node
def bare(x): ...

@Node
def below(x: int):
    helper(x)

@Node
def params(x: int):
    note({"x": x})

@Node
def artifacts(x: int):
    def inner():
        log_artifact("x", x)
    inner()

@Node
class Model:
    def __init__(self, x): ...
    def __call__(self, y) -> Html:
        from grandpa_kfp import log_metric
        log_metric("y", y)

@Node
def takes(model): ...

@Workflow
def flow(x: int = 1):
    for node in (scores, page, text, drawn, confusion, three, either, plain, bare, below, params, artifacts):
        node(x)
    Model(x)(x)
    takes(Model(2))
"""
DECLARED = {
    "scores": {"result-preview": "Metrics"},
    "page": {"result-preview": "HTML"},
    "text": {"result-preview": "Markdown"},
    "drawn": {"result-preview": "HTML"},
    "confusion": {"result-preview": "ClassificationMetrics"},
    "three": {"numbers-preview": "Metrics", "page-preview": "HTML", "rest-preview": "Artifact"},
    "either": {"result-preview": "Artifact"},
    "plain": {"result-preview": "Artifact"},
    "bare": {"result-preview": "Artifact"},
    "below": {"result-preview": "Artifact", "logged-metrics": "Metrics"},
    "params": {"result-preview": "Artifact", "logged-metrics": "Metrics"},
    "artifacts": {"result-preview": "Artifact", "logged-artifacts": "HTML"},
    "model": {"result-preview": "HTML", "logged-metrics": "Metrics"},
    "takes": {"result-preview": "Artifact", "logged-metrics": "Metrics"},
}


@pytest.fixture
def flow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The workflow of a project of its own."""
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "artifact_flow.py").write_text(FLOW)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("artifact_flow").flow
    sys.modules.pop("artifact_flow")


def declared(text: str) -> dict[str, dict[str, str]]:
    """Schema titles of artifacts, by component."""
    spec = next(yaml.safe_load_all(text))
    return {
        name.removeprefix("comp-"): {
            key: item["artifactType"]["schemaTitle"].removeprefix("system.")
            for key, item in component.get("outputDefinitions", {}).get("artifacts", {}).items()
        }
        for name, component in spec["components"].items()
        if "executorLabel" in component
    }


def compiled(flow: Any, folder: Path) -> str:
    grandpa_kfp.compile(flow, folder / "pipeline.yaml")
    return (folder / "pipeline.yaml").read_text()


def test_each_task_declares_what_it_can_fill(flow: Any, tmp_path: Path) -> None:
    """And a plain task nothing but its preview."""
    assert declared(compiled(flow, tmp_path)) == DECLARED


def test_kfps_own_loader_takes_every_declaration(flow: Any, tmp_path: Path) -> None:
    """With the types of its own classes, in the version that it knows."""
    components = pytest.importorskip("kfp.components")
    from kfp.dsl.types import type_utils

    spec = components.load_component_from_text(compiled(flow, tmp_path)).pipeline_spec
    for name, artifacts in DECLARED.items():
        loaded = spec.components[f"comp-{name}"].output_definitions.artifacts
        assert loaded.keys() == artifacts.keys()
        for key, title in artifacts.items():
            known = type_utils.ARTIFACT_CLASSES_MAPPING[title.lower()]
            kind = loaded[key].artifact_type
            assert (kind.schema_title, kind.schema_version) == (known.schema_title, known.schema_version)


def test_a_graph_file_tells_what_its_nodes_log(flow: Any, tmp_path: Path) -> None:
    """So that it compiles to the same declarations."""
    from grandpa_kfp.packing import pack

    graph = loads(dumps(pack(grandpa_kfp.trace(flow))))
    assert {node.name: node.logs for node in graph.nodes().values() if node.logs} == {
        "below": ("log_metric",), "params": ("log_params",), "artifacts": ("log_artifact",), "Model": ("log_metric",),
    }  # fmt: skip


def test_a_notebooks_function_is_looked_at_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its source is that of the cell."""
    cell = "def by_name(): log_metric('a', 1)\ndef by_module(): grandpa_kfp.log_params({})\ndef none(): return 1\n"
    monkeypatch.setitem(linecache.cache, "<cell>", (len(cell), None, cell.splitlines(keepends=True), "<cell>"))
    names: dict[str, Any] = {"log_metric": grandpa_kfp.log_metric, "grandpa_kfp": grandpa_kfp, "__name__": "__main__"}
    exec(compile(cell, "<cell>", "exec"), names)
    found = Fingerprints()
    assert [sorted(found.logs(names[name])) for name in ("by_name", "by_module", "none")] == [
        ["log_metric"], ["log_params"], [],
    ]  # fmt: skip


def test_another_packages_log_metric_is_none_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """mlflow has functions of these names."""
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "other_flow.py").write_text("import mlflow\ndef train():\n    mlflow.log_metric('a', 1)\n")
    (tmp_path / "mlflow.py").write_text("def log_metric(name, value): ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module("other_flow")
    try:
        assert Fingerprints().logs(module.train) == frozenset()
    finally:
        for name in ("other_flow", "mlflow"):
            sys.modules.pop(name)
