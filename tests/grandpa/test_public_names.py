"""What `grandpa_kfp` gives its users, and that importing it is cheap."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

import grandpa_kfp

NAMES = [
    "CancelToken", "ClassificationMetrics", "CodecError", "CompileError", "Component", "ConfigError",
    "ContainerError", "ContainerNode", "DeployError", "Executor", "FailureInfo", "Figure", "File", "GeneratorNode",
    "GrandpaError", "GraphError", "Html", "LoadError", "Markdown", "Metrics", "Node", "ObjectCorrupt", "ObjectGone",
    "PackagesError", "ParameterError", "PayloadError", "ProgressBar", "Ref", "RunCancelled", "Static",
    "StoreDenied", "StoreError", "StoreFull", "StoreUnavailable", "TaskError", "TaskNode", "TaskTimeout",
    "TemplateParser", "TraceError", "Workflow", "collect", "compile", "config_map_volume", "current", "deploy",
    "each", "either", "elsewhen", "empty_dir", "ephemeral_volume", "events", "inspect_run", "is_in",
    "kfp_component", "launch", "log_artifact", "log_metric", "log_params", "on_exit", "otherwise", "pvc",
    "register_codec", "resolve", "run", "secret_volume", "sync", "task_executor", "trace", "when",
]  # fmt: skip
HEAVY = ["kfp", "kubernetes", "minio", "jinja2", "numpy", "click", "rich", "yaml", "zstandard", "cloudpickle"]


def test_all_is_pinned():
    """A change of the public names is a decision."""
    assert grandpa_kfp.__all__ == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_name_exists(name):
    """And is listed by dir()."""
    assert getattr(grandpa_kfp, name) is not None
    assert name in dir(grandpa_kfp)


def test_an_unknown_name():
    """As every module says it."""
    with pytest.raises(AttributeError, match="has no attribute 'nodes_of_the_world'"):
        _ = grandpa_kfp.nodes_of_the_world


def test_importing_loads_nothing_heavy():
    """Neither the package nor the decorators."""
    code = (
        "import sys, grandpa_kfp\n"
        "from grandpa_kfp import Node, Component, Workflow, Ref, Static, resolve, trace\n"
        f"print(sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.strip() == "[]"


def test_tracing_is_linear_in_calls():
    """Ten times the calls take ten times as long, not a hundred."""
    from grandpa_kfp import Node, Workflow, trace

    @Node
    def add(a: int, b: int) -> int:
        return a + b

    def seconds_of(count: int) -> float:
        @Workflow
        def chain(x: int = 0):
            for index in range(count):
                x = add(x, index)
            return x

        start = time.process_time()
        assert len(trace(chain).operations) == count
        return time.process_time() - start

    few, many = (min(seconds_of(count) for _ in range(3)) for count in (500, 5_000))
    assert many < 40 * few
