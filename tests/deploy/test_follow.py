"""Following a run: what is told of each task, and what happens when server, session or run break."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from deploy.kfp_server import Fault, KfpServer, detail, now, set_task

from grandpa_kfp.deployment.connecting import Address, connect
from grandpa_kfp.deployment.failures import reports
from grandpa_kfp.deployment.follow import Follower, raise_outcome
from grandpa_kfp.deployment.server import Server
from grandpa_kfp_runtime.errors import DeployError, RunCancelled, TaskError

RUN = "aaaaaaaa-0000-4000-8000-000000000001"


@pytest.fixture
def server(kfp: KfpServer) -> Iterator[Server]:
    kfp.runs[RUN] = {
        "run_id": RUN, "display_name": "nightly", "state": "RUNNING", "created_at": now(),
        "run_details": {"task_details": [{"display_name": "root", "task_id": "r", "state": "RUNNING"}]},
    }  # fmt: skip
    with connect(Address(kfp.url)) as opened:
        yield opened


class Script:
    """Time that passes only when the follower sleeps; each sleep takes one step of a script."""

    def __init__(self, *steps: Callable[[], object]) -> None:
        self.steps = list(steps)
        self.time = 0.0
        self.told: list[str] = []

    def follower(self, server: Server, **options: float) -> Follower:
        return Follower(server, RUN, lambda told: self.told.append(told.text), clock=lambda: self.time,
                        sleep=self.sleep, **options)  # fmt: skip

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        if self.steps:
            self.steps.pop(0)()


def end(kfp: KfpServer, state: str, **more: object) -> None:
    kfp.runs[RUN] |= {"state": state, "finished_at": now(), **more}


def test_each_change_of_a_task_is_told_once(kfp: KfpServer, server: Server) -> None:
    run = kfp.runs[RUN]
    script = Script(
        lambda: set_task(run, "train", "RUNNING"),
        lambda: None,
        lambda: set_task(run, "train", "SUCCEEDED"),
        lambda: end(kfp, "SUCCEEDED"),
    )
    assert script.follower(server).wait().state == "SUCCEEDED"
    assert [line.partition(",")[0] for line in script.told] == ["train runs", "train succeeded"]


def test_a_task_out_of_the_cache_is_told_as_such(kfp: KfpServer, server: Server) -> None:
    """KFP shows it as succeeded, with a container that was skipped."""
    run = kfp.runs[RUN]
    set_task(run, "train", "SUCCEEDED")
    run["run_details"]["task_details"][-1]["state"] = "SKIPPED"
    end(kfp, "SUCCEEDED")
    script = Script()
    assert [task.state for task in script.follower(server).wait().tasks] == ["CACHED"]
    assert script.told[0].startswith("train cached")


def test_a_cancelled_run_has_ended(kfp: KfpServer, server: Server) -> None:
    script = Script(lambda: kfp.runs[RUN].update(state="CANCELING"), lambda: end(kfp, "CANCELED"))
    run = script.follower(server).wait()
    assert script.told == ["the run is being cancelled"]
    with pytest.raises(RunCancelled, match="nightly was cancelled"):
        raise_outcome(run, [])


@pytest.mark.parametrize(
    "fault", [Fault("GET .*/runs/", 503), Fault("GET .*/runs/", 500), Fault("GET .*/runs/", 0, hang_up=True)]
)
def test_a_break_of_the_network_is_waited_out(kfp: KfpServer, server: Server, fault: Fault) -> None:
    """It is told once when it begins and once when it is over, and each pause is longer."""
    fault = Fault(fault.match, fault.status, times=4, hang_up=fault.hang_up)
    kfp.faults.append(fault)
    script = Script(lambda: None, lambda: None, lambda: None, lambda: end(kfp, "SUCCEEDED"))
    assert script.follower(server).wait().state == "SUCCEEDED"
    assert [("asking again" in line, "answers again" in line) for line in script.told] == [(True, False), (False, True)]
    assert script.time == 1 + 2 + 4 + 8


def test_a_server_that_stays_away_is_given_up_and_the_run_goes_on(kfp: KfpServer, server: Server) -> None:
    kfp.faults.append(Fault("GET .*/runs/", 503))
    with pytest.raises(DeployError, match=f"The run goes on; follow it again by: grandpa logs {RUN} -f"):
        Script().follower(server, patience_s=60).wait()


def test_an_expired_session_says_how_to_log_in_and_go_on(kfp: KfpServer, server: Server) -> None:
    script = Script(lambda: kfp.faults.append(Fault("GET .*/runs/", 401)))
    with pytest.raises(DeployError, match=r"session .* has expired; log in again.*grandpa logs"):
        script.follower(server).wait()


def test_a_run_that_is_deleted_meanwhile_is_told(kfp: KfpServer, server: Server) -> None:
    with pytest.raises(DeployError, match="is gone: someone deleted it"):
        Script(lambda: kfp.runs.clear()).follower(server).wait()


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        ("OOMKilled (exit code 137)", "ran out of memory"),
        ("ImagePullBackOff: Back-off pulling image x", "cannot pull the image"),
        ("Pod was active on the node longer than the specified deadline: DeadlineExceeded", "timeout_s"),
    ],
)
def test_a_task_that_could_leave_no_report_is_explained(kfp: KfpServer, server: Server, error: str, hint: str) -> None:
    """A container that was killed, or never began, is told by what the server knows."""
    set_task(kfp.runs[RUN], "train", "FAILED", error)
    end(kfp, "FAILED")
    run = Script().follower(server).wait()
    with pytest.raises(TaskError, match="train failed: ") as raised:
        raise_outcome(run, reports(server, None, RUN, run.tasks, "the store is down"))
    assert hint in str(raised.value)
    assert "the store is down" in str(raised.value)
    assert raised.value.task == "train"


def test_with_the_store_down_the_report_is_read_from_the_log(kfp: KfpServer, server: Server) -> None:
    import io

    from grandpa_kfp_runtime.failure import report, write_marked

    stream = io.StringIO("epoch 1\n")
    write_marked(report(ValueError("bad shape"), task="train", where="flow.py:3"), stream)
    set_task(kfp.runs[RUN], "train", "FAILED", "exit code 3")
    kfp.logs[RUN, "train-pod"] = stream.getvalue()
    end(kfp, "FAILED")
    run = Script().follower(server).wait()
    assert reports(server, None, RUN, run.tasks) == ["train (flow.py:3) failed: ValueError: bad shape"]


def test_attempts_of_a_retried_task_are_its_pods_and_no_tasks(kfp: KfpServer, server: Server) -> None:
    """Argo shows a retried container as a node with a child an attempt; what follows the last is another task."""
    run = kfp.runs[RUN]
    detail(run, "train")
    details = run["run_details"]["task_details"]
    details[-1]["child_tasks"] = [{"pod_name": "try-0"}, {"pod_name": "try-1"}]
    for number in (0, 1):
        details.append({"display_name": f"executor({number})", "task_id": f"t{number}", "pod_name": f"try-{number}",
                        "state": "RUNNING", "child_tasks": [{"pod_name": "evaluate-driver-pod"}]})  # fmt: skip
    detail(run, "evaluate")
    end(kfp, "SUCCEEDED")
    tasks = {task.name: task.pods for task in Script().follower(server).wait().tasks}
    assert tasks == {"train": ("try-0", "try-1"), "evaluate": ("evaluate-pod",)}


def test_groups_and_drivers_are_no_tasks_but_a_task_may_be_called_driver(kfp: KfpServer, server: Server) -> None:
    """A DAG within the pipeline is listed like a task; `lr-driver` is a user's own, for it has a driver itself."""
    run = kfp.runs[RUN]
    set_task(run, "lr-driver", "SUCCEEDED")
    run["run_details"]["task_details"] += [
        {"display_name": "group-1", "task_id": "g", "pod_name": "node-g", "state": "RUNNING",
         "child_tasks": [{"pod_name": "lr-driver-driver-pod"}]},
        {"display_name": "group-1-driver", "task_id": "gd", "pod_name": "gd", "child_tasks": [{"pod_name": "node-g"}]},
    ]  # fmt: skip
    end(kfp, "SUCCEEDED")
    assert [task.name for task in Script().follower(server).wait().tasks] == ["lr-driver"]
