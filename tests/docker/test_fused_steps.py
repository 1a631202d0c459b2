"""A fused step in the released runtime's image, which holds the whole wheel and none of what the command line needs."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import Project

from grandpa_kfp.engine.pipeline_yaml import run_pipeline_yaml
from grandpa_kfp.loading import load_target
from grandpa_kfp_runtime.errors import TaskError

pytestmark = [pytest.mark.docker, pytest.mark.server]

FLOW = """
import os
from pathlib import Path
from grandpa_kfp import log_metric

@Node(cpu="1")
def count(n: int) -> list:
    log_metric("count", n)
    return list(range(n))

@Node(cpu="1")
def largest(values: list) -> int:
    return max(values)

@Node
def ratio(value: int, of: int) -> float:
    return value / (of - 4)

@Component(fuse=True)
def part(n):
    return ratio(largest(count(n)), n)

@Workflow
def flow(n: int = 4) -> float:
    return part(n)
"""


def test_the_runtime_image_runs_fused_steps(project: Project, runtime_image: str, tmp_path: Path) -> None:
    """With the values, states and metrics of its tasks; a failure names the one that failed."""
    import grandpa_kfp

    flow = load_target(str(project.flow(FLOW)))
    text = grandpa_kfp.compile(flow, tmp_path / "flow.yaml", image=runtime_image).text
    done = run_pipeline_yaml(text, {"n": 6}, root=tmp_path, engine="docker")
    assert done.value == 2.5
    assert {name: task.state for name, task in done.tasks.items()} == {
        "part": "succeeded", "part/count": "succeeded", "part/largest": "succeeded", "part/ratio": "succeeded",
    }  # fmt: skip
    assert done.tasks["part"].logged.last() == {"count": 6.0}
    with pytest.raises(TaskError, match=r"part/ratio \(flow.py:\d+\) failed: ZeroDivisionError"):
        run_pipeline_yaml(text, {"n": 4}, root=tmp_path, engine="docker")
