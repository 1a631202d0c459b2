"""What is checked before anything is sent: store, images, sizes; and what is known of an image."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import timedelta
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from command_line import here

from grandpa_kfp.compiling import packed
from grandpa_kfp.deployment.preflight import UsedImage, check_image, check_sizes, check_store
from grandpa_kfp.deployment.reaching import Reached, reach_store
from grandpa_kfp.images import docker as docker_module
from grandpa_kfp.images.probe import Facts, known_facts
from grandpa_kfp.loading import load_target
from grandpa_kfp_compiler.graph import Code
from grandpa_kfp_compiler.kfp import CompileOptions, compile_graph
from grandpa_kfp_runtime.code.payload import write_zip
from grandpa_kfp_runtime.contract import CONTRACT
from grandpa_kfp_runtime.errors import StoreError, StoreUnavailable
from grandpa_kfp_runtime.stores.memory import MemoryStore


@pytest.fixture
def code(tmp_path: Path) -> Code:
    """Of a workflow that imports numpy."""
    (tmp_path / "flow.py").write_text(
        "import numpy\nfrom grandpa_kfp import Node, Workflow\n@Node\ndef ones(n: int):\n    return numpy.ones(n)\n"
        "@Workflow\ndef flow(n: int = 2):\n    return ones(n)\n"
    )
    (tmp_path / "grandpa.toml").write_text("")
    with here(tmp_path):
        made = packed(load_target("flow.py")).code
    assert made is not None
    return made


IMAGE = UsedImage("team/img:1")


def facts(python: str, distributions: dict[str, str] | None, **changes: Any) -> Facts:
    """Of an image with the runtime in it."""
    return Facts(**{"python": python, "distributions": distributions, "contract": CONTRACT, "pip": True, **changes})


def test_an_image_of_another_python_is_an_error_where_code_travels_by_value(code: Code) -> None:
    """All else is source, and runs on it."""
    (finding,) = check_image(IMAGE, Facts("2.7"), code)
    assert finding.level == "ok"
    manifest = json.dumps({"values": ["scaled"], "distributions": {}}).encode()
    by_value = replace(code, zip=write_zip({"__grandpa__/manifest.json": manifest}))
    (finding,) = check_image(IMAGE, Facts("2.7"), by_value)
    assert (finding.level, "has Python 2.7 and scaled, which travels by value" in finding.text) == ("error", True)


def test_an_image_without_a_package_is_a_warning(code: Code) -> None:
    (finding,) = check_image(IMAGE, facts(code.python, {"minio": "7.2"}), code)
    assert (finding.level, "lacks numpy, which the code imports" in finding.text) == ("warning", True)


def test_an_image_with_another_version_names_both(code: Code) -> None:
    here_version = metadata.version("numpy")
    (finding,) = check_image(IMAGE, facts(code.python, {"NumPy": "1.0"}), code)
    assert (finding.level, finding.text) == (
        "warning",
        f"team/img:1 has other versions than here: numpy 1.0 (here {here_version})",
    )
    (right,) = check_image(IMAGE, facts(code.python, {"numpy": here_version}), code)
    assert right.level == "ok"


def test_packages_that_tasks_install_are_not_missed(code: Code) -> None:
    (finding,) = check_image(UsedImage("team/img:1", frozenset({"numpy"})), facts(code.python, {}), code)
    assert finding.level == "ok"


def test_an_image_needs_the_runtime_or_for_bootstrap_pip(code: Code) -> None:
    (finding,) = check_image(IMAGE, facts(code.python, {}, contract=0), code)
    assert (finding.level, "no runtime of ours" in finding.text, "--bootstrap" in finding.text) == ("error", True, True)
    bare = UsedImage("python:3.12-slim", frozenset({"numpy"}), bootstrap=True)
    assert check_image(bare, facts(code.python, {}, contract=0), code)[0].level == "ok"
    (finding,) = check_image(bare, facts(code.python, {}, contract=0, pip=False), code)
    assert (finding.level, "has no pip" in finding.text) == ("error", True)


def test_a_local_image_is_asked_and_another_is_known_by_its_tag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for docker: it has two images, and runs the Python of one."""
    docker = tmp_path / "docker"
    docker.write_text(
        "#!/bin/sh\n"
        'if [ "$1 $2" = "image inspect" ]; then\n'
        '  case "$3" in *there*) echo \'[{"Id": "1", "Size": 1}]\' ;; *) echo "No such image" >&2; exit 1 ;; esac\n'
        'else case "$*" in\n'
        "  *odd-there*) echo hello ;;\n"
        '  *) echo \'{"python": "3.9", "distributions": {"numpy": "1.26"}}\' ;;\n'
        "esac; fi\n"
    )
    docker.chmod(0o755)
    monkeypatch.setattr(docker_module.shutil, "which", lambda name: str(docker))
    assert known_facts("there:1") == Facts("3.9", distributions={"numpy": "1.26"})
    assert known_facts("odd-there:1-py3.11") == Facts("3.11")
    assert known_facts("python:3.12-slim") == Facts("3.12")
    assert known_facts("registry:5000/team/img:1") == Facts()


def test_a_store_that_is_not_reached_is_an_error_only_where_it_is_needed() -> None:
    assert check_store(Reached(None, "no server"), needed=True).level == "error"
    finding = check_store(Reached(None, "no server"), needed=False)
    assert (finding.level, "tracebacks of failing tasks will not be shown here" in finding.text) == ("warning", True)


@pytest.mark.parametrize(("error", "needed", "level"), [
    (StoreUnavailable("down"), False, "warning"), (StoreUnavailable("down"), True, "error"),
    (StoreError("bucket x does not exist"), False, "error"),
])  # fmt: skip
def test_what_a_store_says_is_weighed(error: StoreError, needed: bool, level: str) -> None:
    """A missing bucket fails the tasks too; a store that only this machine cannot reach does not."""

    class Broken(MemoryStore):
        def put_record(self, path: str, record: object) -> None:
            raise error

    finding = check_store(Reached(Broken()), needed=needed)
    assert (finding.level, str(error) in finding.text) == (level, True)


def test_a_store_is_written_to_unless_it_must_not_be() -> None:
    store = MemoryStore()
    assert check_store(Reached(store), needed=True, write=False).level == "ok"
    assert store.list_records() == []
    assert check_store(Reached(store), needed=True).level == "ok"
    assert store.list_records() == ["preflight/probe.json"]


def test_sizes_are_told_before_kubernetes_refuses_them(tmp_path: Path) -> None:
    (tmp_path / "flow.py").write_text(
        "from grandpa_kfp import Node, Workflow, Static\n@Node\ndef one(n: int):\n    return n\n"
        "@Workflow\ndef flow(tasks: Static[int] = 2):\n    return [one(n) for n in range(tasks)]\n"
    )
    (tmp_path / "grandpa.toml").write_text("")
    levels = []
    with here(tmp_path):
        flow = load_target("flow.py")
        for tasks in (2, 300):
            compiled = compile_graph(packed(flow, {"tasks": tasks}), CompileOptions())
            (finding,) = check_sizes(compiled)
            levels.append(finding.level)
    assert levels == ["ok", "warning"]


@pytest.mark.server
def test_wrong_credentials_and_a_missing_bucket_are_found(minio_server, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    """Against a real MinIO; the secret stands in no message."""
    monkeypatch.setenv("GRANDPA_STORE_ACCESS_KEY", minio_server.access_key)
    monkeypatch.setenv("GRANDPA_STORE_SECRET_KEY", minio_server.secret_key)
    assert check_store(reach_store(minio_server.uri(minio_server.new_bucket())), needed=True).level == "ok"
    missing = check_store(reach_store(minio_server.uri("no-such-bucket")), needed=False)
    assert (missing.level, "no-such-bucket" in missing.text) == ("error", True)
    monkeypatch.setenv("GRANDPA_STORE_SECRET_KEY", "wr0ng-5ecret")
    denied = check_store(reach_store(minio_server.uri(minio_server.new_bucket())), needed=True)
    assert (denied.level, "5ecret" in denied.text) == ("error", False)


@pytest.mark.server
def test_clocks_that_differ_are_told_with_both_times(minio_server, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    """A real MinIO refuses what was signed two hours ago; that is no matter of credentials."""
    from minio import time as minio_time

    monkeypatch.setenv("GRANDPA_STORE_ACCESS_KEY", minio_server.access_key)
    monkeypatch.setenv("GRANDPA_STORE_SECRET_KEY", minio_server.secret_key)
    reached = reach_store(minio_server.uri(minio_server.new_bucket()))
    real = minio_time.utcnow
    monkeypatch.setattr(minio_time, "utcnow", lambda: real() - timedelta(hours=2))
    finding = check_store(reached, needed=True)
    assert finding.level == "error"
    assert "RequestTimeTooSkewed" in finding.text
    assert re.search(r"clock says \d{4}-.* UTC, the server's says \d{4}-.* UTC", finding.text)
