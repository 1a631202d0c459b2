"""The digits sample, deployed to the server and followed: from upload to result, and to a traceback."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from command_line import Project
from deploy.kfp_server import KfpServer, running_as_processes

SAMPLE = Path(__file__).resolve().parents[2] / "samples" / "digits" / "pipeline.py"


@pytest.mark.slow
@pytest.mark.server
def test_digits_is_deployed_followed_and_fails_with_its_traceback(
    tmp_path: Path, kfp: KfpServer, moto_server, monkeypatch: pytest.MonkeyPatch
) -> None:  # type: ignore[no-untyped-def]
    """Code by the store, values through S3; with a share of tests that cannot be, the task's lines are shown."""
    store = moto_server.uri(moto_server.new_bucket())
    for name, value in moto_server.env.items():
        monkeypatch.setenv(name, value)
    project = Project(tmp_path / "project")
    image = f"python:{sys.version_info[0]}.{sys.version_info[1]}-slim"
    project.write("grandpa.toml", f'store = "{store}"\nimage = "{image}"\nexperiment = "digits"\n')
    shutil.copy(SAMPLE, project.folder / "pipeline.py")
    kfp.start = running_as_processes(store, tmp_path / "server")
    words = ("deploy", "pipeline.py", "--host", kfp.url, "--code", "store", "--wait")
    done = project.grandpa(*words, "-p", "trees=5")
    assert done.code == 0, done.err
    (run,) = kfp.runs.values()
    for item in run["run_details"]["task_details"]:
        if item["task_id"] != "id-root":
            assert item["display_name"].endswith("-driver") or item["state"] == "SUCCEEDED", item
    failed = project.grandpa(*words, "-p", "test_share=7.5")
    assert failed.code == 3, failed.err
    assert (len(kfp.versions), len(kfp.runs)) == (1, 2)
    assert "pipeline.py" in failed.err.split("error: ")[-1]
    assert "Error: " in failed.err.split("error: ")[-1]
