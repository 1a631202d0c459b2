"""`grandpa deploy` against a server that answers by KFP's models, with the real kfp.Client over real HTTP."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import Project, here, says
from deploy.kfp_server import Fault, KfpServer, running_as_processes

from grandpa_kfp_runtime.errors import DeployError

CALC = """
    @Node
    def add(a: int, b: int) -> int:
        return a + b

    @Node
    def check(x: int, limit: int) -> int:
        if x > limit:
            raise ValueError(f"{x} is over {limit}")
        return x

    @Workflow
    def calc(a: int = 10, b: int = 2, limit: int = 100, times: Static[int] = 1):
        "Adds, and looks."
        x = add(a, b)
        for _ in range(times):
            x = check(x, limit)
        return x
"""


@pytest.fixture
def calc(project: Project) -> Project:
    project.flow(CALC)
    return project


def deploy(project: Project, server: KfpServer, *args: str):
    return project.grandpa("deploy", "flow.py", "--host", server.url, *args)


def test_a_deploy_uploads_the_pipeline_and_starts_a_run(calc: Project, kfp: KfpServer) -> None:
    """Pipeline, experiment and run are made; the last line on standard output is the run's address."""
    done = deploy(calc, kfp, "-p", "a=4", "--experiment", "nightly", "--tag", "team=vision")
    assert done.code == 0, done.err
    (pipeline,), (run,), (experiment,) = kfp.pipelines.values(), kfp.runs.values(), kfp.experiments.values()
    assert (pipeline["name"], pipeline["description"].splitlines()[0]) == ("calc", "Adds, and looks.")
    assert experiment["display_name"] == "nightly"
    assert run["experiment_id"] == experiment["experiment_id"]
    assert run["runtime_config"]["parameters"] == {"a": 4}
    assert run["pipeline_version_reference"]["pipeline_id"] == pipeline["pipeline_id"]
    assert done.out == f"{kfp.url}/#/runs/details/{run['run_id']}\n"
    assert "Kubeflow Pipelines 2.17.0" in done.err


def test_the_same_code_is_not_uploaded_again(calc: Project, kfp: KfpServer) -> None:
    """Other parameters are another run of the same version; another body is another version."""
    assert deploy(calc, kfp).code == deploy(calc, kfp, "-p", "a=5").code == 0
    assert (len(kfp.versions), len(kfp.runs)) == (1, 2)
    calc.flow(CALC.replace("a + b", "b + a"))
    assert deploy(calc, kfp).code == 0
    assert (len(kfp.pipelines), len(kfp.versions), len(kfp.runs)) == (1, 2, 3)
    calc.flow(CALC)
    assert deploy(calc, kfp).code == 0
    assert len(kfp.versions) == 2  # what was there first is known again


def test_a_static_parameter_is_part_of_the_pipeline(calc: Project, kfp: KfpServer) -> None:
    """Static parameters make another version, and go with no run."""
    assert deploy(calc, kfp).code == deploy(calc, kfp, "-p", "times=2").code == 0
    assert len(kfp.versions) == 2
    assert [run["runtime_config"]["parameters"] for run in kfp.runs.values()] == [{}, {}]


def test_types_that_kfp_lacks_travel_as_json_text(project: Project, kfp: KfpServer) -> None:
    project.flow(
        """
        import datetime
        @Node
        def year(day: datetime.date, names: list[str]) -> int:
            return day.year
        @Workflow
        def dates(day: datetime.date, names: list[str]):
            return year(day, names)
        """
    )
    done = deploy(project, kfp, "-p", "day=2026-11-21", "-p", "names=x,y")
    assert done.code == 0, done.err
    (run,) = kfp.runs.values()
    assert run["runtime_config"]["parameters"] == {"day": '"2026-11-21"', "names": ["x", "y"]}


def test_a_text_that_the_cluster_would_replace_becomes_a_default(project: Project, kfp: KfpServer) -> None:
    """`{{...}}` in a run's parameter would be rewritten by Argo; in the pipeline it travels safely."""
    project.flow(
        "@Node\ndef same(x: str) -> str:\n    return x\n@Workflow\ndef flow(x: str = 'a'):\n    return same(x)\n"
    )
    assert deploy(project, kfp, "-p", "x={{workflow.name}}").code == 0
    (run,) = kfp.runs.values()
    assert run["runtime_config"]["parameters"] == {}


def test_a_missing_parameter_is_told_before_anything_is_sent(project: Project, kfp: KfpServer) -> None:
    project.flow("@Node\ndef same(x: int) -> int:\n    return x\n@Workflow\ndef flow(x: int):\n    return same(x)\n")
    says(deploy(project, kfp), 1, "parameter x (int) is missing")
    assert kfp.requests == []


def test_dry_run_shows_what_would_be_sent_and_sends_nothing(calc: Project, kfp: KfpServer, tmp_path: Path) -> None:
    done = deploy(calc, kfp, "--dry-run", "-p", "a=4", "--run-name", "{pipeline} a={a}")
    assert done.code == 0, done.err
    assert kfp.writes == []
    assert not (tmp_path / "store").exists() or not list((tmp_path / "store").rglob("probe.json"))
    for line in ("pipeline    calc", "run         calc a=4", "parameter   a = 4", "experiment  Default"):
        assert line in done.out.splitlines()


def test_preflight_tells_everything_at_once(calc: Project, kfp: KfpServer) -> None:
    """Server, store and image are all wrong: three messages, and nothing was sent."""
    calc.flow("""
        def multiply(factor: int):
            return Node("multiply")(lambda n: factor * n)

        @Workflow
        def flow(n: int = 1):
            return multiply(2)(n)
    """)
    kfp.faults.append(Fault("healthz", 503, "not yet"))
    done = deploy(
        calc, kfp, "--image", "python:3.5-slim", "--code", "store", "--store", "s3://none/x?endpoint=http://127.0.0.1:9"
    )
    message = says(
        done, 1, "server: cannot reach the server", "store: ", "image: python:3.5-slim has Python 3.5 and multiply"
    )
    assert message.rstrip().endswith("nothing was sent")
    assert kfp.writes == []


def test_code_that_is_stored_lies_in_the_store_before_the_run_starts(
    calc: Project, kfp: KfpServer, tmp_path: Path
) -> None:
    done = deploy(calc, kfp, "--code", "store")
    assert done.code == 0, done.err
    assert len(list((tmp_path / "store" / "objects").glob("*/*"))) == 1


def test_the_commit_is_recorded_with_the_run_and_never_in_the_yaml(calc: Project, kfp: KfpServer) -> None:
    folder = calc.folder
    git = ["git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@t"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *command], check=True)
    sha = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert deploy(calc, kfp).code == 0
    calc.write("other.txt", "new")
    assert deploy(calc, kfp).code == 0
    facts = [json.loads(run["description"].splitlines()[-1].partition(" ")[2])["git"] for run in kfp.runs.values()]
    assert facts == [{"commit": sha, "dirty": False}, {"commit": sha, "dirty": True}]
    assert not any(sha[:10] in text for text in kfp.yamls.values())
    assert len(kfp.versions) == 1


def test_two_deploys_at_once_make_one_pipeline(calc: Project, kfp: KfpServer) -> None:
    """The second finds the name taken between its question and its upload, and takes what is there."""
    with here(calc.folder):
        assert deploy(calc, kfp).code == 0
    kfp.faults.append(Fault(r"GET /apis/v2beta1/pipelines$", 200, "{}", times=1))
    done = deploy(calc, kfp)
    assert done.code == 0, done.err
    assert [item for item in kfp.writes if "upload" in item] == ["POST /apis/v2beta1/pipelines/upload"] * 2
    assert (len(kfp.pipelines), len(kfp.versions), len(kfp.runs)) == (1, 1, 2)


def test_a_name_that_someone_else_has_is_told(calc: Project, kfp: KfpServer) -> None:
    kfp.faults.append(Fault("POST .*upload$", 409, '{"error_details": "Failed: name taken"}'))
    says(deploy(calc, kfp), 1, "the name calc is taken", "--name")
    assert not kfp.runs


def test_a_multi_user_server_needs_a_namespace(calc: Project, kfp: KfpServer) -> None:
    kfp.health["multi_user"] = True
    says(deploy(calc, kfp), 1, "several users", "--namespace")
    done = deploy(calc, kfp, "--namespace", "team-a")
    assert done.code == 0, done.err
    (pipeline,), (experiment,) = kfp.pipelines.values(), kfp.experiments.values()
    assert pipeline["namespace"] == experiment["namespace"] == "team-a"


ANSWERS = [
    (Fault("healthz", 401, '{"message": "no token"}'), "does not know who you are (401): no token"),
    (Fault("healthz", 403, '{"message": "not yours"}'), "does not allow it (403): not yours"),
    (Fault("healthz", 404, '{"message": "none"}'), "does not have it (404)"),
    (Fault("healthz", 500, '{"message": "broken"}'), "failed (500): broken"),
    (Fault("healthz", 502, "<html>Bad gateway</html>", "text/html"), "is not ready (502)"),
    (Fault("healthz", 200, "<!doctype html><title>Log in</title>", "text/html"), "answers with a web page"),
    (Fault("healthz", 302, "", headers={"Location": "/dex/login"}), "does not have it (404)"),
    (Fault("healthz", 401, "<html>Log in</html>", "text/html"), "shows a login page (401)"),
    (Fault("healthz", 200, "[1]"), "is no JSON"),
    (Fault("healthz", 0, hang_up=True), "nothing answers"),
]


@pytest.mark.parametrize(("fault", "told"), ANSWERS, ids=[told for _, told in ANSWERS])
def test_what_a_server_or_a_proxy_answers_is_said_in_words(
    calc: Project, kfp: KfpServer, fault: Fault, told: str
) -> None:
    kfp.faults.append(Fault(**{name: getattr(fault, name) for name in Fault.__dataclass_fields__}))
    says(deploy(calc, kfp), 1, told, "nothing was sent")
    assert kfp.writes == []


def test_a_server_that_is_down_or_has_no_name_is_told(calc: Project, kfp: KfpServer) -> None:
    says(calc.grandpa("deploy", "flow.py", "--host", "http://127.0.0.1:9"), 1, "nothing answers at http://127.0.0.1:9")
    says(
        calc.grandpa("deploy", "flow.py", "--host", "http://kfp.invalid"),
        1,
        "no server of the name in http://kfp.invalid",
    )


def test_a_slow_server_is_given_up(calc: Project, kfp: KfpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    from grandpa_kfp.deployment import server as module

    monkeypatch.setattr(module, "_READ_S", 0.2)
    monkeypatch.setattr(module.Server._send, "__kwdefaults__", {"timeout_s": 0.2})
    kfp.faults.append(Fault("healthz", 200, "{}", delay_s=1.0))
    says(deploy(calc, kfp), 1, "does not answer in time")


def test_without_a_server_it_says_how_to_name_one(calc: Project, kfp: KfpServer) -> None:
    says(
        calc.grandpa("deploy", "flow.py"), 1, "no Kubeflow Pipelines server is known", "--host", "KF_PIPELINES_ENDPOINT"
    )


def test_the_environment_names_the_server(calc: Project, kfp: KfpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", kfp.url)
    monkeypatch.setenv("KF_PIPELINES_UI_ENDPOINT", "https://kfp.example/pipeline/")
    done = calc.grandpa("deploy", "flow.py")
    assert done.code == 0, done.err
    assert done.out.startswith("https://kfp.example/pipeline/#/runs/details/")


def test_no_secret_appears_anywhere(calc: Project, kfp: KfpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Token and store's keys are used, and stand in no output, YAML or run, whether it goes well or not."""
    kfp.token = "tok-5ecret"
    monkeypatch.setenv("GRANDPA_KFP_TOKEN", "tok-5ecret")
    monkeypatch.setenv("GRANDPA_STORE_SECRET_KEY", "key-5ecret")
    monkeypatch.setenv("GRANDPA_STORE_ACCESS_KEY", "acc-5ecret")
    done = deploy(calc, kfp)
    assert done.code == 0, done.err
    monkeypatch.setenv("GRANDPA_KFP_TOKEN", "wrong-5ecret")
    refused = deploy(calc, kfp)
    assert "(401)" in refused.err
    held = done.out + done.err + refused.out + refused.err + str(kfp.yamls) + str(kfp.runs) + str(kfp.pipelines)
    assert "5ecret" not in held


def test_a_url_with_a_password_is_refused_without_showing_it(calc: Project, kfp: KfpServer) -> None:
    message = says(calc.grandpa("deploy", "flow.py", "--host", "https://me:hunter22@kfp.example"), 1, "holds a")
    assert "hunter22" not in message


def test_a_failed_upload_leaves_nothing_behind(calc: Project, kfp: KfpServer) -> None:
    kfp.faults.append(Fault("POST .*upload$", 500))
    says(deploy(calc, kfp), 1, "cannot upload the pipeline calc")
    assert (kfp.pipelines, kfp.runs, kfp.experiments) == ({}, {}, {})


def test_a_schedule_is_made_instead_of_a_run(calc: Project, kfp: KfpServer) -> None:
    done = deploy(calc, kfp, "--schedule", "0 6 * * *", "-p", "a=7")
    assert done.code == 0, done.err
    (schedule,) = kfp.schedules.values()
    assert schedule["trigger"] == {"cron_schedule": {"cron": "0 0 6 * * *"}}
    assert (schedule["runtime_config"]["parameters"], kfp.runs) == ({"a": 7}, {})
    assert done.out.strip() == schedule["recurring_run_id"]


@pytest.mark.parametrize("wrong", ["daily", "61 * * * *", "* * * *", "0 25 * * *", "*/0 * * * *"])
def test_a_schedule_that_is_none_is_told_before_anything_is_sent(calc: Project, kfp: KfpServer, wrong: str) -> None:
    says(deploy(calc, kfp, "--schedule", wrong), 1, "is no schedule")
    assert kfp.writes == []


def test_a_run_is_followed_to_its_end(calc: Project, kfp: KfpServer, tmp_path: Path) -> None:
    """The server runs the uploaded YAML for real; each task has its lines, and the exit code is the outcome."""
    kfp.start = running_as_processes(str(tmp_path / "store"), tmp_path / "server")
    done = deploy(calc, kfp, "-p", "a=4", "--wait")
    assert done.code == 0, done.err
    assert "add succeeded" in done.err
    assert "check succeeded" in done.err
    told = {line.split()[1] for line in done.err.splitlines() if " succeeded" in line}
    assert {"add", "check"} == told - {"calc"} - {
        line.split()[1] for line in done.err.splitlines() if "tasks in" in line
    }


def test_the_traceback_of_a_failing_task_is_shown(calc: Project, kfp: KfpServer, tmp_path: Path) -> None:
    """From the record in the store: the user's line and error, and exit code 3."""
    kfp.start = running_as_processes(str(tmp_path / "store"), tmp_path / "server")
    done = deploy(calc, kfp, "-p", "limit=5", "--wait")
    assert done.code == 3, done.err
    assert "check failed" in done.err
    assert "ValueError: 12 is over 5" in done.err
    assert 'raise ValueError(f"{x} is over {limit}")' in done.err


def test_deploy_from_python_gives_the_run(calc: Project, kfp: KfpServer, tmp_path: Path) -> None:
    import grandpa_kfp
    from grandpa_kfp.loading import load_target

    kfp.start = running_as_processes(str(tmp_path / "store"), tmp_path / "server")
    with here(calc.folder):
        options = {"endpoint": kfp.url, "store": str(tmp_path / "store"), "image": "python:3-slim"}
        done = grandpa_kfp.deploy(load_target("flow.py"), {"a": 1}, **options, wait=True, interval_s=0.05)
    assert done.run is not None
    assert (done.run.state, done.uploaded) == ("SUCCEEDED", True)
    with pytest.raises(DeployError, match="did you mean experiment"):
        grandpa_kfp.deploy(None, experimnt="x")


def test_following_a_run_tells_what_its_tasks_told_in_order_and_once(
    calc: Project, kfp: KfpServer, tmp_path: Path
) -> None:
    """To subscribers here, out of the store: the whole life of each task, between the run's start and end."""
    import grandpa_kfp
    from grandpa_kfp import events
    from grandpa_kfp.loading import load_target
    from grandpa_kfp_runtime.errors import TaskError

    kfp.start = running_as_processes(str(tmp_path / "store"), tmp_path / "server")
    options = {"endpoint": kfp.url, "store": str(tmp_path / "store"), "image": "python:3-slim", "interval_s": 0.05}
    heard: list[events.Event] = []
    with here(calc.folder):
        target = load_target("flow.py")
        grandpa_kfp.deploy(target, {"a": 1}, **options, wait=True, on_event=heard.append)
        told = [(type(event).__name__, getattr(event, "task", "")) for event in heard]
        assert told == [
            ("RunStarted", ""),
            ("TaskStarted", "add"), ("TaskFinished", "add"),
            ("TaskStarted", "check"), ("TaskFinished", "check"),
            ("RunFinished", ""),
        ]  # fmt: skip
        heard.clear()
        with pytest.raises(TaskError):
            grandpa_kfp.deploy(target, {"limit": 5}, **options, wait=True, on_event=heard.append)
    (failed,) = [event for event in heard if isinstance(event, events.TaskFailed)]
    assert (failed.task, failed.error) == ("check", "ValueError: 12 is over 5")
    assert isinstance(heard[-1], events.RunFinished)
    assert heard[-1].state == "failed"


def test_a_script_deploys_itself(calc: Project, kfp: KfpServer) -> None:
    """`python flow.py deploy`, as any IDE starts it, sends the same pipeline as `grandpa deploy flow.py`."""
    calc.flow(CALC + '\n    if __name__ == "__main__":\n        from grandpa_kfp import launch\n        launch(calc)\n')
    command = [sys.executable, "flow.py", "deploy", "--host", kfp.url, "-p", "a=3"]
    done = subprocess.run(command, cwd=calc.folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert deploy(calc, kfp, "-p", "a=3").code == 0
    assert (len(kfp.versions), len(kfp.runs)) == (1, 2)
