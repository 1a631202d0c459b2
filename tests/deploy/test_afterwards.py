"""The verbs after a deployment: ps, logs, terminate, retry, schedules; and Ctrl-C while following."""

from __future__ import annotations

import json
from functools import partial

import pytest
from command_line import Ended, Project, says
from deploy.kfp_server import Fault, KfpServer, now, set_task

FLOW = "@Node\ndef same(x: int) -> int:\n    return x\n@Workflow\ndef flow(x: int = 1):\n    return same(x)\n"


@pytest.fixture
def deployed(project: Project, kfp: KfpServer) -> str:
    """The id of a run that is under way."""
    project.flow(FLOW)
    done = project.grandpa("deploy", "flow.py", "--host", kfp.url, "--tag", "team=vision", "--run-name", "first")
    assert done.code == 0, done.err
    (run_id,) = kfp.runs
    kfp.runs[run_id]["state"] = "RUNNING"
    return run_id


def call(project: Project, kfp: KfpServer, *args: str) -> Ended:
    return project.grandpa(*args, "--host", kfp.url)


def test_ps_lists_runs_here_and_on_the_server(project: Project, kfp: KfpServer, deployed: str) -> None:
    assert project.grandpa("run", "flow.py").code == 0
    done = call(project, kfp, "ps", "--json")
    assert done.code == 0, done.err
    assert {(row["where"], row["name"], row["state"]) for row in json.loads(done.out)} == {
        ("here", "flow", "succeeded"),
        ("server", "first", "running"),
    }
    lines = call(project, kfp, "ps").out.splitlines()
    assert lines[0].split() == ["WHERE", "RUN", "NAME", "STATE", "STARTED", "TOOK", "TAGS"]
    assert any(deployed in line and "team=vision" in line for line in lines)


def test_ps_filters_by_tag_over_many_pages(project: Project, kfp: KfpServer, deployed: str) -> None:
    for number in range(250):
        kfp.runs[f"other-{number}"] = {"run_id": f"other-{number}", "display_name": "x", "created_at": now()}
    found = json.loads(call(project, kfp, "ps", "--json", "--tag", "team=vision").out)
    assert [row["id"] for row in found] == [deployed]
    assert json.loads(call(project, kfp, "ps", "--json", "--tag", "team=other").out) == []


def test_ps_without_a_server_lists_what_is_here(project: Project, kfp: KfpServer) -> None:
    project.flow(FLOW)
    assert project.grandpa("run", "flow.py").code == 0
    done = project.grandpa("ps")
    assert (done.code, "note: no Kubeflow Pipelines server is known" in done.err) == (0, True)
    assert "flow" in done.out
    says(project.grandpa("ps", "--remote"), 1, "no Kubeflow Pipelines server is known")


@pytest.mark.parametrize("name", ["id", "beginning", "name"])
def test_a_run_is_found_by_id_beginning_or_name_and_ended(
    project: Project, kfp: KfpServer, deployed: str, name: str
) -> None:
    wanted = {"id": deployed, "beginning": deployed[:8], "name": "first"}[name]
    assert call(project, kfp, "terminate", wanted).code == 0
    assert kfp.runs[deployed]["state"] == "CANCELED"
    says(call(project, kfp, "terminate", wanted), 1, "has ended already: canceled")


def test_a_run_that_is_not_there_is_told(project: Project, kfp: KfpServer, deployed: str) -> None:
    says(call(project, kfp, "terminate", "nothing"), 1, "has no run nothing", "grandpa ps")
    says(call(project, kfp, "terminate", "ffffffff-0000-4000-8000-000000000000"), 1, "does not have it (404)")


def test_only_a_failed_run_is_retried(project: Project, kfp: KfpServer, deployed: str) -> None:
    says(call(project, kfp, "retry", "first"), 1, "is running; only one that failed can be retried")
    kfp.runs[deployed]["state"] = "FAILED"
    done = call(project, kfp, "retry", "first")
    assert (done.code, kfp.runs[deployed]["state"]) == (0, "RUNNING")
    assert deployed in done.out


def test_logs_are_what_the_tasks_printed(project: Project, kfp: KfpServer, deployed: str) -> None:
    for name in ("train", "test"):
        set_task(kfp.runs[deployed], name, "SUCCEEDED")
        kfp.logs[deployed, f"{name}-pod"] = f"{name}: grün\nend"
    assert call(project, kfp, "logs", "first", "train").out == "train: grün\nend\n"
    assert sorted(call(project, kfp, "logs", "first").out.splitlines())[:2] == ["test: end", "test: test: grün"]
    says(call(project, kfp, "logs", "first", "trian"), 1, "has no task trian; it has", "train")


def test_logs_of_a_run_on_this_machine_tell_what_failed(project: Project, kfp: KfpServer) -> None:
    project.flow(FLOW.replace("return x", "return 1 // x", 1))
    assert project.grandpa("run", "flow.py", "-p", "x=0").code == 3
    run_id = json.loads(project.grandpa("ps", "--local", "--json").out)[0]["id"]
    done = project.grandpa("logs", run_id, "same")
    assert (done.code, "ZeroDivisionError" in done.out) == (0, True)


def test_schedules_are_listed_paused_resumed_and_removed(project: Project, kfp: KfpServer) -> None:
    project.flow(FLOW)
    made = project.grandpa("deploy", "flow.py", "--host", kfp.url, "--schedule", "0 6 * * *", "--run-name", "daily")
    (listed,) = json.loads(call(project, kfp, "schedules", "ls", "--json").out)
    assert listed == {"id": made.out.strip(), "name": "daily", "cron": "0 0 6 * * *", "enabled": True}
    assert call(project, kfp, "schedules", "pause", "daily").code == 0
    assert json.loads(call(project, kfp, "schedules", "ls", "--json").out)[0]["enabled"] is False
    assert call(project, kfp, "schedules", "resume", listed["id"][:8]).code == 0
    assert json.loads(call(project, kfp, "schedules", "ls", "--json").out)[0]["enabled"] is True
    assert call(project, kfp, "schedules", "rm", "daily").code == 0
    assert kfp.schedules == {}
    says(call(project, kfp, "schedules", "rm", "daily"), 1, "has no schedule daily")


@pytest.mark.parametrize(("answer", "code", "state"), [("l", 130, "RUNNING"), ("t", 3, "CANCELED")])
def test_ctrl_c_asks_whether_to_leave_or_terminate(
    project: Project, kfp: KfpServer, deployed: str, monkeypatch: pytest.MonkeyPatch, answer: str, code: int, state: str
) -> None:
    """Left, the run goes on and the exit code is 130; terminated, it is followed to its end."""
    from grandpa_kfp.cli import servers
    from grandpa_kfp.deployment import follow

    pressed = iter([True, False, False])

    def sleep(seconds: float) -> None:
        if next(pressed, False):
            raise KeyboardInterrupt

    monkeypatch.setattr(follow, "Follower", partial(follow.Follower, sleep=sleep))
    monkeypatch.setattr(servers, "_asked", lambda: {"l": "leave", "t": "terminate"}[answer])
    done = call(project, kfp, "logs", "first", "-f")
    assert (done.code, kfp.runs[deployed]["state"]) == (code, state), done.err


def test_ctrl_c_where_nobody_can_be_asked_leaves_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    import io
    import sys

    from grandpa_kfp.cli.servers import _asked

    monkeypatch.setattr(sys, "stdin", io.StringIO("t\n"))
    assert _asked() == "leave"


def test_a_question_is_asked_again_but_a_change_is_not(project: Project, kfp: KfpServer, deployed: str) -> None:
    """A GET that meets a server not ready is repeated; a POST, which may have been done, is not."""
    kfp.faults.append(Fault("GET .*/runs$", 503, times=1))
    kfp.faults.append(Fault("POST .*:terminate$", 503, times=1))
    says(call(project, kfp, "terminate", "first"), 1, "is not ready (503)")
    assert (len(kfp.asked("GET /apis/v2beta1/runs")) >= 3, len(kfp.asked("POST /apis/v2beta1/runs/"))) == (True, 1)
