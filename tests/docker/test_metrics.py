"""What tasks log in real containers: the same as on threads, in the record, the artifacts and `grandpa inspect`."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import grandpa_kfp
from grandpa_kfp.engine.pipeline_yaml import run_pipeline_yaml
from grandpa_kfp.engine.record import read_run
from grandpa_kfp.loading import load_target
from grandpa_kfp_runtime.logged.entries import Logged

pytestmark = [pytest.mark.docker, pytest.mark.server]
SAMPLE = Path(__file__).resolve().parents[2] / "samples" / "metrics" / "pipeline.py"


def told(logged: Logged) -> object:
    """What does not differ between two runs: no times; of artifacts form and handle."""
    return (
        {name: [(point.value, point.step) for point in series.points] for name, series in logged.metrics.items()},
        dict(logged.params),
        {name: (artifact.form, artifact.handle, artifact.output) for name, artifact in logged.artifacts.items()},
    )


def test_containers_log_what_threads_log(tmp_path: Path, runtime_image: str) -> None:
    """The metrics sample: same values, same handles; the files that the UI would draw lie in the artifacts."""
    workflow = load_target(str(SAMPLE))
    on_threads = grandpa_kfp.run(workflow, root=tmp_path / "threads")
    yaml = tmp_path / "metrics.yaml"
    grandpa_kfp.compile(workflow, yaml, image=runtime_image)
    here = run_pipeline_yaml(yaml, {}, root=tmp_path, engine="docker")
    assert here.value == on_threads.value == {"accuracy": 0.885}
    assert len(here.tasks["train"].logged.metrics["loss"].points) == 100
    expected = {name: told(task.logged) for name, task in on_threads.tasks.items()}
    assert {name: told(task.logged) for name, task in here.tasks.items()} == expected
    assert {name: told(task.logged) for name, task in read_run(tmp_path, here.id).tasks.items()} == expected
    assert here.folder is not None
    files = {file.name: file for file in (here.folder / "artifacts").rglob("*") if file.is_file()}
    assert {"logged-metrics", "logged-artifacts", "metrics-preview", "confusion-preview"} <= files.keys()
    assert "data:image/svg+xml" in files["logged-artifacts"].read_text()
    given = json.loads((here.folder / "tasks" / "evaluate" / "outputs" / "executor_output.json").read_text())
    metadata = {name: item["artifacts"][0]["metadata"] for name, item in given["artifacts"].items()}
    assert metadata["metrics-preview"] == {"accuracy": 0.885}
    assert metadata["confusion-preview"]["confusionMatrix"]["rows"] == [{"row": [183, 17]}, {"row": [29, 171]}]
    assert os.path.getsize(files["confusion-preview"])
