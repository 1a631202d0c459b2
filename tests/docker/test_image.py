"""The runtime image and `grandpa image build`, as a cluster and its users meet them."""

from __future__ import annotations

import functools
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker_machine as machine
import pytest
from command_line import Project
from servers import S3Endpoint, free_port

from grandpa_kfp.engine.kfp_reading import read_pipeline
from grandpa_kfp.images.wheel import write_wheel

pytestmark = [pytest.mark.docker, pytest.mark.server]
LARGEST_OVER_BASE_MB = 40
AS_A_POD = (
    "--user", "12345:0", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
    "--mount", "type=tmpfs,target=/scratch,tmpfs-mode=1777", "--env", "TMPDIR=/scratch",
)  # fmt: skip

FLOW = """
import time

@Node
def add(a: int, b: int) -> int:
    return a + b

@Node
def sleep(a: int) -> int:
    print("asleep", flush=True)
    time.sleep(60)

@Node(packages=["inflection"])
def plural(a: int) -> str:
    import inflection
    return inflection.pluralize("ox" if a else "")

@Workflow
def adding(a: int = 1):
    return add(a, 2)

@Workflow
def sleeping(a: int = 1):
    return sleep(a)

@Workflow
def words(a: int = 1):
    return plural(a)
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path)
    project.flow(FLOW)
    return project


def inspected(image: str) -> dict[str, Any]:
    (found,) = json.loads(machine.docker("image", "inspect", image))
    return dict(found)


def task(project: Project, workflow: str, image: str) -> tuple[list[str], dict[str, str]]:
    """The only task of a workflow as its container's argv and environment, its files in /scratch."""
    ended = project.grandpa("compile", f"flow.py:{workflow}", "-o", "one.yaml", "--image", image)
    assert ended.code == 0, ended.err
    ((_, found, container),) = read_pipeline(project.folder / "one.yaml").dag.containers()
    given = {
        "inputs": {"parameterValues": {"a": 1, "b": 2} if workflow == "adding" else {"a": 1}},
        "outputs": {
            "parameters": {"result": {"outputFile": "/scratch/out/result"}},
            "outputFile": "/scratch/out/executor.json",
        },
    }
    bound = [item.name for item in found.inputs]
    given["inputs"]["parameterValues"] = {
        name: value for name, value in given["inputs"]["parameterValues"].items() if name in bound
    }
    args = [json.dumps(given) if arg == "{{$}}" else arg for arg in container.args]
    env = {**dict(container.env), "GRANDPA_STORE": "/scratch/store"}
    return [*container.command, *args], env


# --- the image -----------------------------------------------------------------------------------------


def test_the_image_is_small(base_image: str, runtime_image: str) -> None:
    """What it adds to its base, of which clouds hold most already; and no second pip."""
    over_mb = (inspected(runtime_image)["Size"] - inspected(base_image)["Size"]) / 1e6
    print(f"{over_mb:.1f} MB over the base")
    assert over_mb < LARGEST_OVER_BASE_MB
    script = (
        "import importlib.util as u; print([n for n in ('pip', 'setuptools', 'jinja2', 'click') if u.find_spec(n)])"
    )
    assert machine.docker("run", "--rm", runtime_image, "python", "-c", script) == "[]\n"


def test_the_image_is_no_root_and_keeps_its_hash_seed(runtime_image: str) -> None:
    """By itself too, where nobody says whom to run as."""
    config = inspected(runtime_image)["Config"]
    assert config["User"] not in ("", "0", "root")
    assert "PYTHONHASHSEED=0" in config["Env"]
    assert not config["Entrypoint"]


@pytest.mark.parametrize("store", ["folder", "minio"])
def test_a_small_task_loads_little(store: str, project: Project, runtime_image: str, minio_server: S3Endpoint) -> None:
    """Its code unpacked and its output written, no module is loaded that only compiling, deploying or data need."""
    argv, env = task(project, "adding", runtime_image)
    if store == "minio":
        env |= {**minio_server.env, "GRANDPA_STORE": minio_server.uri(minio_server.new_bucket())}
    script = (
        "import json, os, subprocess, sys\n"
        "argv, env = json.load(sys.stdin)\n"
        "argv[1:1] = ['-X', 'importtime']\n"
        "done = subprocess.run(argv, env={**os.environ, **env}, check=True, stderr=subprocess.PIPE, text=True)\n"
        "print(json.dumps([open('/scratch/out/result').read(), done.stderr]))\n"
    )
    options = ("--rm", "--interactive", "--network", "host", *AS_A_POD)
    done = subprocess.run(
        ["docker", "run", *options, runtime_image, "python", "-c", script],
        input=json.dumps([argv, env]), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result, told = json.loads(done.stdout)
    loaded = {line.rpartition("|")[2].strip() for line in told.splitlines() if line.startswith("import time:")}
    assert result == "3"
    assert ("minio" in loaded) is (store == "minio")
    assert "grandpa_kfp_runtime.launch.launcher" in loaded
    assert not loaded & {
        "click", "grandpa_kfp.engine", "grandpa_kfp_compiler.passes", "grandpa_kfp_compiler.verify", "jinja2", "kfp",
        "kubernetes", "numpy", "pandas", "yaml",
    }  # fmt: skip


def test_sigterm_ends_the_users_code_with_a_report_and_143(project: Project, runtime_image: str) -> None:
    """As Kubernetes sends it, to the container's first process."""
    argv, env = task(project, "sleeping", runtime_image)
    given = [part for item in env.items() for part in ("--env", "=".join(item))]
    name = machine.docker("run", "--detach", *AS_A_POD, *given, runtime_image, *argv).strip()
    try:
        while "asleep" not in _logs(name):
            assert machine.docker("inspect", "--format", "{{.State.Running}}", name) == "true\n"
            time.sleep(0.05)
        begun = time.monotonic()
        machine.docker("kill", "--signal", "TERM", name)
        assert machine.docker("wait", name) == "143\n"
        assert time.monotonic() - begun < 20
        assert "stopped from outside (SIGTERM)" in _logs(name)
        assert "time.sleep(60)" in _logs(name)
    finally:
        machine.docker("rm", "--force", "--volumes", name)


def _logs(name: str) -> str:
    done = subprocess.run(["docker", "logs", name], capture_output=True, text=True, timeout=30)
    return done.stdout + done.stderr


# --- grandpa image build -------------------------------------------------------------------------------


def build(project: Project, *options: str, env: dict[str, str] | None = None) -> Any:
    return project.process("image", "build", "--network", "host", *options, env=env)


def test_a_plain_python_image_gets_the_runtime_that_is_here(project: Project, base_image: str) -> None:
    """Built, checked, named in the configuration; then compile and run use it with nothing said."""
    tag = "grandpa-test-derived:1"
    (project.folder / "requirements.txt").write_text("inflection\n")
    ended = build(project, "--tag", tag, "--base", base_image, "--requirements", "requirements.txt")
    assert ended.code == 0, ended.err
    assert ended.out == f"{tag}\n"
    assert (project.folder / "grandpa.toml").read_text() == f'image = "{tag}"\n'
    assert project.grandpa("compile", "flow.py:words", "-o", "words.yaml").code == 0
    ended = project.grandpa("run", "words.yaml", "--engine", "docker", "--json")
    assert ended.out == '"oxen"\n', ended.err


def test_what_pip_says_is_shown(project: Project, runtime_image: str) -> None:
    """Exit code 1, pip's own message, and nothing in the configuration."""
    (project.folder / "requirements.txt").write_text("grandpa-kfp-no-such-package==1\n")
    ended = build(
        project, "--tag", "grandpa-test-none:1", "--base", runtime_image, "--requirements", "requirements.txt"
    )
    assert ended.code == 1
    assert "No matching distribution found for grandpa-kfp-no-such-package==1" in ended.err
    assert "could not build grandpa-test-none:1" in ended.errors[-1]
    assert (project.folder / "grandpa.toml").read_text() == ""
    assert "no such file" in build(project, "--tag", "x:1", "--requirements", "none.txt").errors[0]


def test_a_base_of_another_contract_is_refused(project: Project, runtime_image: str, tmp_path: Path) -> None:
    """Both versions, and what to take instead."""
    context = tmp_path / "newer"
    context.mkdir()
    (context / "Dockerfile").write_text(
        f"FROM {runtime_image}\nUSER root\nRUN find / -name contract.py -path '*grandpa_kfp_runtime*' "
        "-exec sed -i 's/^CONTRACT = .*/CONTRACT = 9/' {} +\nUSER 1000\n"
    )
    environment = {**os.environ, "DOCKER_BUILDKIT": "0"}
    subprocess.run(
        ["docker", "build", "--quiet", "--tag", "grandpa-test-newer:1", context],
        env=environment, check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    ended = build(project, "--tag", "x:1", "--base", "grandpa-test-newer:1")
    assert ended.code == 1
    assert "contract 9" in ended.errors[0]
    assert "compiles for contract 1" in ended.errors[0]


def test_an_image_is_pushed_and_named_by_its_digest(project: Project, runtime_image: str, registry: str) -> None:
    """The digest goes into the profile in force; a run pulls the image by it."""
    project.write("grandpa.toml", '# ours\nthreads = 2\n\n[profile.staging] # the cluster\nnamespace = "team"\n')
    tag = f"{registry}/team/adding:5"
    ended = build(project, "--tag", tag, "--base", runtime_image, "--push", "--profile", "staging")
    assert ended.code == 0, ended.err
    reference = ended.out.strip()
    assert reference.startswith(f"{registry}/team/adding@sha256:")
    assert (project.folder / "grandpa.toml").read_text() == (
        f'# ours\nthreads = 2\n\n[profile.staging] # the cluster\nimage = "{reference}"\nnamespace = "team"\n'
    )
    machine.docker("rmi", "--force", tag, reference)
    project.grandpa("compile", "flow.py:adding", "-o", "adding.yaml", "--profile", "staging")
    ended = project.grandpa("run", "adding.yaml", "--engine", "docker")
    assert ended.value == 3
    assert f"docker | pulling {reference}" in ended.err


def test_an_image_is_loaded_into_a_cluster_on_this_machine(
    project: Project, runtime_image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the cluster's own tool, here one that writes down what it is asked; without the tool a plain error."""
    options = ("--tag", "grandpa-test-loaded:1", "--base", runtime_image, "--no-save")
    ended = build(project, *options, "--load", "minikube")
    assert "there is no minikube command" in ended.errors[-1]
    tools = project.folder / "tools"
    tools.mkdir()
    (tools / "kind").write_text(f'#!/bin/sh\necho "$@" > {project.folder}/asked\n')
    (tools / "kind").chmod(0o755)
    ended = build(project, *options, "--load", "kind", env={"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"})
    assert ended.code == 0, ended.err
    assert (project.folder / "asked").read_text() == "load docker-image grandpa-test-loaded:1\n"


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real registry on this machine, `127.0.0.1:port`."""
    binary = machine.CACHE / "bin" / "registry"
    if not binary.is_file():
        pytest.skip("no registry to push to: `make registry` builds one where Go is installed")
    folder, port = tmp_path_factory.mktemp("registry"), free_port()
    (folder / "config.yml").write_text(
        json.dumps(
            {
                "version": 0.1,
                "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
                "http": {"addr": f"127.0.0.1:{port}"},
            }
        )
    )
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen([binary, "serve", folder / "config.yml"], stdout=log, stderr=log)
    until = time.monotonic() + 20
    while not _answers(f"http://127.0.0.1:{port}/v2/"):
        assert process.poll() is None, (folder / "log").read_text()
        assert time.monotonic() < until, (folder / "log").read_text()
        time.sleep(0.05)
    yield f"127.0.0.1:{port}"
    process.terminate()
    process.wait(20)
    shutil.rmtree(folder, ignore_errors=True)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except OSError:
        return False


# --- --bootstrap ---------------------------------------------------------------------------------------


def test_bootstrap_needs_no_image_of_ours(
    project: Project, base_image: str, minio_server: S3Endpoint, wheels: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plain Python image, the runtime and the node's packages installed when the task starts."""
    for name, value in minio_server.env.items():
        monkeypatch.setenv(name, value)
    source = (project.folder / "flow.py").read_text()
    (project.folder / "flow.py").write_text(
        source.replace("@Workflow\ndef words", f'@Workflow(env={{"PIP_FIND_LINKS": "{wheels}"}})\ndef words')
    )
    ended = project.grandpa("compile", "flow.py:words", "-o", "w.yaml", "--image", base_image, "--bootstrap")
    assert ended.code == 0, ended.err
    uri = minio_server.uri(minio_server.new_bucket())
    ended = project.grandpa("run", "w.yaml", "--engine", "docker", "--store", uri, "--json")
    assert ended.out == '"oxen"\n', ended.err


@pytest.fixture
def wheels(tmp_path: Path) -> Iterator[str]:
    """A page with this version's wheel, as an index of a team would have it."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    write_wheel(folder)
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        """Nothing: the test's output is its own."""


def test_the_wheel_is_what_pip_takes(tmp_path: Path) -> None:
    """Made twice the same bytes, and pip finds every file as its record says."""
    first, second = tmp_path / "a", tmp_path / "b"
    for folder in (first, second):
        folder.mkdir()
        write_wheel(folder)
    (wheel,) = first.iterdir()
    assert wheel.read_bytes() == (second / wheel.name).read_bytes()
    target = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", target, wheel],
        check=True, timeout=120,
    )  # fmt: skip
    assert (target / "grandpa_kfp_runtime" / "launch" / "launcher.py").is_file()
    assert (target / "grandpa_kfp" / "images" / "Dockerfile.jinja").is_file()
