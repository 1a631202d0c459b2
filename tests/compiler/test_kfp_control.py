"""Branches and loops as Kubeflow's own: conditions, iterators, joined outputs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import control_flows as flows
import pytest
from control_flows import CASES, Case
from kfp_by_hand import Cluster, TaskFailed, cluster

from grandpa_kfp import Workflow, collect, compile, each, when
from grandpa_kfp.engine.pipeline_yaml import run_pipeline_yaml
from grandpa_kfp_runtime.builtins import choose, collected_handles, spread_handles
from grandpa_kfp_runtime.errors import LoadError, TaskError
from grandpa_kfp_runtime.stores.memory import MemoryStore
from grandpa_kfp_runtime.values.handles import from_handle, to_handle, write_handles


def compiled(workflow: Any, folder: Path) -> Cluster:
    return cluster(compile(workflow, folder / "pipeline.yaml").text, folder)


def by_name(case: Case) -> str:
    return f"{case.workflow.name}-{'-'.join(map(str, case.params.values()))}"


@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_a_compiled_workflow_means_what_it_means_in_python(case: Case, tmp_path: Path) -> None:
    plain = case.plain(**case.params)
    value = compiled(case.workflow, tmp_path).run(case.params)
    assert value == plain
