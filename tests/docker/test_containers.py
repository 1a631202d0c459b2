"""`grandpa run pipeline.yaml --engine docker`: each task in a real container of its own image."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import docker_machine as machine
import pytest
from command_line import CONSOLE, Ended, Project
from servers import S3Endpoint

from grandpa_kfp.engine.pipeline_yaml import run_pipeline_yaml
from grandpa_kfp.engine.record import read_run
from grandpa_kfp.images.docker import docker
from grandpa_kfp_runtime.errors import ContainerError, TaskTimeout

pytestmark = [pytest.mark.docker, pytest.mark.server]
SAMPLES = Path(__file__).resolve().parents[2] / "samples"

FLOWS = """
import os, sys, time
from pathlib import Path
from grandpa_kfp import empty_dir, ephemeral_volume

@Node(env={"FLAVOUR": "sweet"})
def about(n: int) -> dict:
    import tempfile
    found = {"uid": os.getuid(), "flavour": os.environ["FLAVOUR"], "seed": os.environ["PYTHONHASHSEED"]}
    for place in ("/etc/x", os.path.expanduser("~/x"), "/grandpa/x"):
        try:
            open(place, "w")
            found[place] = "written"
        except OSError as error:
            found["refused"] = found.get("refused", 0) + 1
    with tempfile.NamedTemporaryFile() as file:
        found["scratch"] = file.name.startswith(os.environ["TMPDIR"])
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    found["capabilities"] = int(status["CapEff"], 16) + int(status["CapBnd"], 16)
    found["no new privileges"] = int(status["NoNewPrivs"])
    found["store keys"] = [name for name in os.environ if name.startswith(("GRANDPA_STORE_", "AWS_"))]
    return found

@Node(cpu="500m", memory="200Mi")
def limits(n: int) -> list:
    for cpu, memory in (("cpu/cpu.cfs_quota_us", "memory/memory.limit_in_bytes"), ("cpu.max", "memory.max")):
        try:
            quota = int(open(f"/sys/fs/cgroup/{cpu}").read().split()[0])
            return [quota, int(open(f"/sys/fs/cgroup/{memory}").read())]
        except FileNotFoundError:
            continue

@Node(memory="64Mi")
def greedy(n: int) -> int:
    return len(bytearray(10**9)) + n

@Node(shm="96Mi", disk="1Gi", labels={"team": "vision"}, cpu=("100m", "500m"), tolerations=["spot"],
      volumes={"/ram": empty_dir("8Mi", memory=True), "/big": ephemeral_volume("1Gi")},
      config_maps={"LEVEL": "settings/level"})
def places(n: int) -> list:
    sizes = [os.statvfs(path) for path in ("/dev/shm", "/ram")]
    for path in ("/dev/shm/x", "/ram/x", "/big/x"):
        Path(path).write_text("x")
    return [size.f_frsize * size.f_blocks // 2**20 for size in sizes] + [os.environ["LEVEL"]]

@Node(timeout_s=1)
def slow(n: int) -> int:
    time.sleep(60)

@Node
def boom(n: int) -> int:
    print("about to fail")
    raise ValueError(f"no {n}")

@Node
def leave(code: int) -> int:
    os._exit(code)

@Node
def sleep(n: int) -> int:
    print("asleep", flush=True)
    time.sleep(60)

@Node
def deaf(n: int) -> int:
    import signal
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("asleep", flush=True)
    time.sleep(60)

@Node(secrets={"TOKEN": "team/token"})
def token(n: int) -> list:
    return [len(os.environ["TOKEN"]), os.environ["TOKEN"].count(chr(10))]

@Node(retries=2)
def third_time(n: int) -> str:
    attempt = os.environ["GRANDPA_ATTEMPT"]
    if attempt != "3":
        raise OSError(f"attempt {attempt}")
    return attempt

@Node
def text(n: int) -> Path:
    from grandpa_kfp import current
    path = current().scratch_dir() / "out.txt"
    path.write_text("x" * n)
    return path

@Node
def length(path: Path) -> int:
    return len(Path(path).read_text())

@Workflow
def about_flow(n: int = 1):
    return about(n)

@Workflow
def limits_flow(n: int = 1):
    return limits(n)

@Workflow
def greedy_flow(n: int = 1):
    return greedy(n)

@Workflow
def places_flow(n: int = 1):
    return places(n)

@Workflow
def slow_flow(n: int = 1):
    return slow(n)

@Workflow
def boom_flow(n: int = 41):
    return boom(n)

@Workflow
def leave_flow(code: int = 0):
    return leave(code)

@Workflow
def sleep_flow(n: int = 1):
    return [sleep(n), sleep(n), deaf(n)]

@Workflow
def token_flow(n: int = 1):
    return token(n)

@Workflow
def third_flow(n: int = 1):
    return third_time(n)

@Workflow
def file_flow(n: int = 5000):
    return length(text(n))
"""


@pytest.fixture
def project(tmp_path: Path, runtime_image: str) -> Project:
    project = Project(tmp_path)
    project.flow(FLOWS)
    return project


def compiled(project: Project, workflow: str, image: str, *options: str) -> str:
    ended = project.grandpa("compile", f"flow.py:{workflow}", "-o", f"{workflow}.yaml", "--image", image, *options)
    assert ended.code == 0, ended.err
    return f"{workflow}.yaml"


def ran(project: Project, workflow: str, image: str, *options: str | Path) -> Ended:
    return project.grandpa("run", compiled(project, workflow, image), "--engine", "docker", *options)


# --- samples, end to end ---------------------------------------------------------------------------


def run_sample(name: str, image: str, folder: Path, store: str | Path, **options: Any) -> Any:
    import grandpa_kfp
    from grandpa_kfp.loading import load_target

    yaml = folder / f"{name}.yaml"
    grandpa_kfp.compile(load_target(str(SAMPLES / name / "pipeline.py")), yaml, image=image)
    return run_pipeline_yaml(yaml, {}, store=store, root=folder, engine="docker", **options)


def test_calculator_in_containers_with_values_in_a_folder(tmp_path: Path, runtime_image: str) -> None:
    """The value of the local run; the objects lie in the folder."""
    done = run_sample("calculator", runtime_image, tmp_path, tmp_path / "store")
    assert done.value == 3
    assert {task.state for task in done.tasks.values()} == {"succeeded"}


def test_calculator_in_containers_with_values_in_minio(
    tmp_path: Path, runtime_image: str, minio_server: S3Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each task reaches the server on this machine, and leaves its records there."""
    for name, value in minio_server.env.items():
        monkeypatch.setenv(name, value)
    bucket = minio_server.new_bucket()
    done = run_sample("calculator", runtime_image, tmp_path, minio_server.uri(bucket))
    assert done.value == 3
    names = [item.object_name for item in minio_server.client().list_objects(bucket_name=bucket, recursive=True)]
    assert sum(name.endswith("/done.json") for name in names) == len(done.tasks)


def test_digits_in_containers_with_values_in_minio(
    tmp_path: Path, digits_image: str, minio_server: S3Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arrays, models and a folder with a picture cross between containers; the report arrives here."""
    for name, value in minio_server.env.items():
        monkeypatch.setenv(name, value)
    bucket = minio_server.new_bucket()
    done = run_sample("digits", digits_image, tmp_path, minio_server.uri(bucket))
    assert 0.97 < done.value["accuracy"] <= 1.0
    assert done.value["report"] == ["confusion.png", "index.html"]
    objects = list(minio_server.client().list_objects(bucket_name=bucket, prefix="grandpa/objects", recursive=True))
    assert sum(item.size for item in objects) > 500_000
    secret = minio_server.secret_key.encode()
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and secret in path.read_bytes()]
    assert kept == []


def test_a_file_crosses_between_containers(project: Project, runtime_image: str) -> None:
    """A returned Path is read by the next task."""
    assert ran(project, "file_flow", runtime_image).value == 5000


# --- what a container may and has --------------------------------------------------------------------


def test_a_container_has_the_rights_of_a_pod(project: Project, runtime_image: str) -> None:
    """No root, no capabilities, nothing written but to scratch space; no keys of the store."""
    assert ran(project, "about_flow", runtime_image).value == {
        "uid": os.getuid() or 65532,
        "flavour": "sweet",
        "seed": "0",
        "refused": 3,
        "scratch": True,
        "capabilities": 0,
        "no new privileges": 1,
        "store keys": [],
    }


def test_limits_are_the_containers_own(project: Project, runtime_image: str) -> None:
    """Half a CPU and 200 MiB, as the kernel tells the task."""
    assert ran(project, "limits_flow", runtime_image).value == [50_000, 200 * 2**20]


def test_options_for_kubernetes_are_honoured_as_far_as_docker_can(
    project: Project, runtime_image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shared memory and empty volumes of their size, config maps from the environment; one note tells the rest."""
    monkeypatch.setenv("LEVEL", "debug")
    ended = ran(project, "places_flow", runtime_image)
    assert ended.value == [96, 8, "debug"]
    (note,) = [line for line in ended.err.splitlines() if "left aside" in line]
    assert note.endswith("left aside: ephemeral-storage, tolerations")


def test_secrets_come_from_the_environment_and_stand_in_no_command_line(
    project: Project, runtime_image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Line breaks included; where one is missing nothing is started."""
    monkeypatch.delenv("TOKEN", raising=False)
    ended = ran(project, "token_flow", runtime_image)
    assert ended.code == 1
    assert "TOKEN is not set" in ended.errors[0]
    monkeypatch.setenv("TOKEN", "first-line\nsecond-line")
    shown: list[tuple[str, ...]] = []

    def watched(*args: str, **more: Any) -> str:
        shown.append(args)
        return docker(*args, **more)

    monkeypatch.setattr("grandpa_kfp.engine.containers.docker", watched)
    ended = ran(project, "token_flow", runtime_image)
    assert ended.value == [22, 1]
    assert any("TOKEN" in argv for argv in shown)
    assert not any("first-line" in arg for argv in shown for arg in argv)
    assert "first-line" not in ended.err


# --- how tasks end -----------------------------------------------------------------------------------


def test_a_failure_is_the_tasks_own_report(project: Project, runtime_image: str) -> None:
    """Exit code 3; what it printed is shown and kept; the user's line is named."""
    ended = ran(project, "boom_flow", runtime_image)
    assert ended.code == 3
    assert "boom | about to fail" in ended.err
    assert "ValueError: no 41" in ended.errors[-1]
    assert "flow.py" in ended.errors[-1]
    run = read_run(project.folder)
    assert "about to fail" in (run.folder / "tasks" / "boom" / "attempt-1" / "log.txt").read_text()


def test_a_container_killed_for_memory_is_told_as_that(project: Project, runtime_image: str) -> None:
    """Its limit, and what to change."""
    ended = ran(project, "greedy_flow", runtime_image)
    assert ended.code == 3
    assert "used more memory than its limit of 64Mi" in ended.errors[-1]
    assert "memory=" in ended.errors[-1]


def test_a_timeout_is_the_tasks_own_report(project: Project, runtime_image: str) -> None:
    """Of the kind TaskTimeout, with the line where the task was."""
    yaml = project.folder / compiled(project, "slow_flow", runtime_image)
    begun = time.monotonic()
    with pytest.raises(TaskTimeout, match="timeout_s of 1 s") as caught:
        run_pipeline_yaml(yaml, root=project.folder, engine="docker")
    assert time.monotonic() - begun < 40
    assert "time.sleep(60)" in str(caught.value)


def test_a_deadline_ends_a_container_that_does_not_end_itself(project: Project, runtime_image: str) -> None:
    """The platform's own, behind the runtime's: here without one of the runtime's."""
    text = (project.folder / compiled(project, "slow_flow", runtime_image)).read_text()
    (project.folder / "hung.yaml").write_text(
        text.replace("GRANDPA_TIMEOUT_S", "UNUSED").replace('activeDeadlineSeconds: "61"', 'activeDeadlineSeconds: "2"')
    )
    with pytest.raises(TaskTimeout, match="timeout_s of 2 s"):
        run_pipeline_yaml(project.folder / "hung.yaml", root=project.folder, engine="docker")


def test_an_exit_without_a_word_is_no_success(project: Project, runtime_image: str) -> None:
    """Exit code 0 and no output, exit code 7 and no report: both failures, each told as it is."""
    ended = ran(project, "leave_flow", runtime_image)
    assert ended.code == 3
    assert "left no output result" in ended.errors[-1]
    ended = ran(project, "leave_flow", runtime_image, "-p", "code=7")
    assert ended.code == 3
    assert "ended with exit code 7" in ended.errors[-1]


def test_attempts_follow_each_other_in_containers_of_their_own(project: Project, runtime_image: str) -> None:
    """The third succeeds, and its output counts."""
    yaml = project.folder / compiled(project, "third_flow", runtime_image)
    done = run_pipeline_yaml(yaml, root=project.folder, engine="docker")
    assert done.value == "3"
    assert done.tasks["third-time"].attempts == 3


# --- when it is stopped ------------------------------------------------------------------------------


@pytest.fixture
def sleeping(project: Project, runtime_image: str) -> Any:
    """A run in a process of its own, its three containers asleep."""
    yaml = compiled(project, "sleep_flow", runtime_image)
    argv = [sys.executable, "-c", CONSOLE, "run", yaml, "--engine", "docker", "--threads", "3"]
    process = subprocess.Popen(argv, cwd=project.folder, stderr=subprocess.PIPE, text=True)
    said: list[str] = []
    assert process.stderr is not None
    for line in process.stderr:
        said.append(line)
        if sum(text.endswith("| asleep\n") for text in said) == 3:
            break
    else:
        pytest.fail(f"the run ended with exit code {process.wait()} before its tasks slept:\n{''.join(said)}")
    yield process
    process.kill()
    process.stderr.read()
    process.stderr.close()
    process.wait()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_leaves_no_container(sleeping: Any, number: int, code: int, project: Project) -> None:
    """Within seconds, though one of them does not hear SIGTERM; those that do leave a report."""
    assert len(running()) == 3
    begun = time.monotonic()
    sleeping.send_signal(number)
    assert sleeping.wait(30) == code
    assert time.monotonic() - begun < 20
    assert running() == []
    assert read_run(project.folder).state == "stopped"
    reports = list((project.folder / ".grandpa" / "store" / "runs").rglob("failure.json"))
    assert [json.loads(path.read_text())["exception"] for path in reports] == ["RunCancelled"] * 2


def test_what_a_killed_run_left_is_removed_by_the_next(sleeping: Any, project: Project, runtime_image: str) -> None:
    """SIGKILL gives nobody the time to clean up; the next run does, and leaves those of living runs alone."""
    sleeping.kill()
    sleeping.wait()
    assert len(running()) == 3
    assert ran(project, "leave_flow", runtime_image).code == 3
    assert running() == []


def running() -> list[str]:
    return machine.docker("ps", "--filter", "label=grandpa-kfp.owner", "--format", "{{.Names}}").split()


# --- what cannot be run ------------------------------------------------------------------------------


def test_an_image_that_cannot_be_had_is_told_before_anything_runs(project: Project) -> None:
    """Exit code 1, the image, the task, what to do; and no record of a run."""
    ended = ran(project, "boom_flow", "127.0.0.1:1/none/such:1")
    assert ended.code == 1
    assert "127.0.0.1:1/none/such:1 is not here and cannot be pulled" in ended.errors[0]
    assert "grandpa image build" in ended.errors[0]
    assert not (project.folder / ".grandpa" / "runs").exists()
    yaml = compiled(project, "boom_flow", "none-such:1", "--pull-policy", "Never")
    assert "its pull policy is Never" in project.grandpa("run", yaml, "--engine", "docker").errors[0]


def test_an_image_without_the_runtime_says_so(project: Project, base_image: str) -> None:
    """Python's own words, and the task's name."""
    ended = ran(project, "boom_flow", base_image)
    assert ended.code == 3
    assert "boom failed" in ended.errors[-1]
    assert "python" in ended.errors[-1]


def test_another_contract_is_refused_by_the_image(project: Project, runtime_image: str) -> None:
    """Both versions are named, and nothing of the pipeline's code is run."""
    text = (project.folder / compiled(project, "boom_flow", runtime_image)).read_text()
    newer, count = re.subn(r'(--contract\s+- )"1"', r'\1"9"', text)
    assert count == 1
    (project.folder / "new.yaml").write_text(newer)
    ended = project.grandpa("run", "new.yaml", "--engine", "docker")
    assert ended.code != 0
    assert "speaks contract 1" in ended.errors[-1]
    assert "contract 9" in ended.errors[-1]


def test_docker_that_does_not_answer(project: Project, runtime_image: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told in a line, with the other way to run it."""
    yaml = compiled(project, "boom_flow", runtime_image)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{project.folder}/none.sock")
    ended = project.grandpa("run", yaml, "--engine", "docker")
    assert ended.code == 1
    assert "Docker does not answer" in ended.errors[0]
    assert "--engine subprocess" in ended.errors[0]
    with pytest.raises(ContainerError):
        run_pipeline_yaml(project.folder / yaml, root=project.folder, engine="docker")


def test_a_python_file_is_to_be_compiled_first(project: Project) -> None:
    """Wrong usage, with both commands."""
    ended = project.grandpa("run", "flow.py:boom_flow", "--engine", "docker")
    assert ended.code == 2
    assert "grandpa compile" in ended.errors[0]
