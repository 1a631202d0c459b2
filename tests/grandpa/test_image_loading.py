"""`grandpa image build --load`: the commands of clusters on this machine, by stand-ins that note what they are told."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from grandpa_kfp.images.build import Built, load
from grandpa_kfp_runtime.errors import ContainerError

BUILT = Built("team/train:5", "team/train:5", "3.12", 1, "python:3.12-slim", 0)


@pytest.mark.parametrize(
    ("cluster", "told"), [("kind", "load docker-image team/train:5"), ("minikube", "image load team/train:5")]
)
def test_the_image_goes_into_the_cluster(
    cluster: Literal["kind", "minikube"], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / cluster
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    tool.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/told\n')
    tool.chmod(0o755)
    load(BUILT, cluster)
    assert (tmp_path / "told").read_text().strip() == told


@pytest.mark.parametrize("cluster", ["kind", "minikube"])
def test_a_cluster_that_cannot_take_it_is_told(
    cluster: Literal["kind", "minikube"], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """No command, and one that fails: its own words stand above ours, on standard error."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ContainerError, match=f"no {cluster} command on this machine to load team/train:5"):
        load(BUILT, cluster)
    (tmp_path / cluster).write_text("#!/bin/sh\necho 'no nodes found for cluster'\nexit 1\n")
    (tmp_path / cluster).chmod(0o755)
    with pytest.raises(
        ContainerError, match=f"{cluster} could not load team/train:5, see above; is its cluster running"
    ):
        load(BUILT, cluster)
    out, err = capfd.readouterr()
    assert (out, "no nodes found for cluster" in err) == ("", True)
