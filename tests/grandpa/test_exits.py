"""Exit handlers, tasks that run always, workflows in workflows; on threads and worker processes.

That Kubeflow and the compiled YAML do the same is in `tests/conformance`, what they become in `tests/compiler`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import exit_flows as flows
import pytest
from command_line import Project

from grandpa_kfp import (
    CancelToken,
    FailureInfo,
    GraphError,
    Node,
    RunCancelled,
    TaskError,
    TraceError,
    Workflow,
    each,
    either,
    on_exit,
    run,
    trace,
    when,
)
from grandpa_kfp.engine.processes.crew import Crew
from grandpa_kfp.engine.run import Run
from grandpa_kfp_compiler.verify import verified


@pytest.fixture(scope="module")
def crew() -> Iterator[Crew]:
    made = Crew(2, 1)
    yield made
    made.close()


@pytest.fixture(params=["threads", "workers"])
def lanes(request: pytest.FixtureRequest, crew: Crew) -> dict[str, Any]:
    return {"processes": crew} if request.param == "workers" else {}


def failed(workflow: Any, lanes: dict[str, Any], **params: Any) -> tuple[TaskError, Run]:
    with pytest.raises(TaskError) as caught:
        run(workflow, params, record=False, **lanes)
    return caught.value, caught.value.run


def states(of: Run) -> dict[str, str]:
    return {name: task.state for name, task in of.tasks.items()}


# --- what runs ------------------------------------------------------------------------------------


def test_a_handler_runs_when_the_block_has_ended_well(lanes: dict[str, Any], tmp_path: Path) -> None:
    """It is told so, and values of the block are there behind it."""
    log = tmp_path / "log"
    ended = run(flows.guarded, {"log": str(log), "x": 1}, record=False, **lanes)
    assert (ended.value, ended.state, flows.told(log)) == (1, "succeeded", ["1: well"])


def test_a_handler_runs_after_a_failure(lanes: dict[str, Any], tmp_path: Path) -> None:
    """It is told which task it was; what follows the block does not run, and the run has failed."""
    log = tmp_path / "log"
    error, ended = failed(flows.guarded, lanes, log=str(log), x=2)
    assert flows.told(log) == ["2: guarded/work ValueError: 2 is bad"]
    assert (error.task, ended.state) == ("guarded/work", "failed")
    assert states(ended) == {"work": "succeeded", "guarded/work": "failed", "clean": "succeeded", "work-2": "skipped"}


def test_neither_block_nor_handler_runs_where_what_they_take_has_failed(lanes: dict[str, Any], tmp_path: Path) -> None:
    """As a `with` statement that is never entered."""
    log = tmp_path / "log"
    _, ended = failed(flows.before, lanes, log=str(log))
    assert flows.told(log) == []
    assert states(ended) == {"work": "failed", "guarded/work": "skipped", "clean": "skipped", "work-2": "skipped"}


@pytest.mark.parametrize("keep_going", [False, True])
def test_each_round_has_its_handler(lanes: dict[str, Any], tmp_path: Path, keep_going: bool) -> None:
    """A round that did not begin before the first failure has none."""
    log = tmp_path / "log"
    failed(flows.rounds, {**lanes, "keep_going": keep_going}, log=str(log))
    lines = sorted(flows.told(log))
    assert "2: each/1/guarded/work ValueError: 2 is bad" in lines
    if keep_going:
        assert [line.partition(" ")[0] for line in lines] == ["1:", "2:", "3:"]
        assert (lines[0], lines[2]) == ("1: well", "3: well")


def test_a_block_may_hold_a_branch_in_a_component(lanes: dict[str, Any], tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert run(flows.branch_in_part, {"log": str(log), "x": 1}, record=False, **lanes).value == 1
    failed(flows.branch_in_part, lanes, log=str(log), x=2)
    assert flows.told(log) == ["part: well", "part: part/guarded/when/work ValueError: 2 is bad"]


def test_a_block_may_hold_a_generator(lanes: dict[str, Any], tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert run(flows.generated, {"log": str(log)}, record=False, **lanes).value == 3
    failed(flows.generated, lanes, log=str(log), bad=1)
    assert flows.told(log)[0] == "stream: well"
    assert flows.told(log)[1].startswith("stream: guarded/total ")


def test_blocks_stand_in_blocks(lanes: dict[str, Any], tmp_path: Path) -> None:
    """The inner handler runs first; its failure is no other than that of the block."""
    log = tmp_path / "log"
    _, ended = failed(flows.nested_exits, lanes, log=str(log))
    assert flows.told(log) == [
        "inner: guarded/guarded/work ValueError: 2 is bad", "outer: guarded/guarded/work ValueError: 2 is bad",
    ]  # fmt: skip
    assert ended.tasks["guarded/work"].state == "skipped"


def test_what_failed_tasks_should_have_made_is_the_default(lanes: dict[str, Any], tmp_path: Path) -> None:
    """Of an argument by position, by name, and of a list that lacks one of its parts."""
    log = tmp_path / "log"
    run(flows.missing, {"log": str(log), "bad": -1}, record=False, **lanes)
    failed(flows.missing, lanes, log=str(log), bad=2)
    assert flows.told(log) == ["1 2 [1, 2]", "1 -2 [-3]"]


def test_a_workflow_in_a_workflow_has_a_handler_of_its_own(lanes: dict[str, Any], tmp_path: Path) -> None:
    """Where the workflow never began, for what it was called with has failed, the handler does not run either."""
    log = tmp_path / "log"

    @Workflow
    def here(log: str, x: int = 1):
        return flows.outer(log, x)

    _, ended = failed(flows.outer, lanes, log=str(log), x=1)
    assert flows.told(log) == ["tried"]
    assert states(ended)["inner/clean_badly"] == "failed"
    _, ended = failed(flows.outer, lanes, log=str(log), x=2)
    assert flows.told(log) == ["tried"]
    assert states(ended)["inner/clean_badly"] == "skipped"
    assert [item.id for item in trace(here).operations] == ["outer"]


def test_what_runs_beside_the_block_is_not_waited_for(lanes: dict[str, Any], tmp_path: Path) -> None:
    """The first failure ends it, when the handler has run."""
    log = tmp_path / "log"
    _, ended = failed(flows.beside, lanes, log=str(log))
    assert flows.told(log) == ["spinning", "block: guarded/fail_once_it_spins ValueError: enough"]
    assert states(ended) == {"spin": "stopped", "guarded/fail_once_it_spins": "failed", "clean": "succeeded"}


def test_handlers_run_side_by_side_to_their_ends(lanes: dict[str, Any], tmp_path: Path) -> None:
    """The run waits for the slower one; that of a block which never began does not run."""
    log = tmp_path / "log"
    _, ended = failed(flows.two_handlers, lanes, log=str(log))
    assert sorted(flows.told(log)) == ["-1 -2 [-3]", "slowly"]
    assert [name for name, state in states(ended).items() if state == "skipped"] == ["guarded/work", "clean_slowly"]


def test_what_runs_always_is_never_taken_from_an_earlier_run(lanes: dict[str, Any], tmp_path: Path) -> None:
    """Though its inputs and its code are the same."""
    log = tmp_path / "log"
    for _ in range(2):
        ended = run(flows.guarded, {"log": str(log)}, root=tmp_path, cache=True, **lanes)
    assert flows.told(log) == ["1: well"] * 2
    assert states(ended) == {"work": "cached", "guarded/work": "cached", "clean": "succeeded", "work-2": "cached"}


# --- handlers that fail ---------------------------------------------------------------------------


def test_a_handler_that_fails_fails_the_run(lanes: dict[str, Any], tmp_path: Path) -> None:
    error, ended = failed(flows.broken, lanes, log=str(tmp_path / "log"), x=1)
    assert (error.task, ended.state) == ("clean_badly", "failed")
    assert "OSError: no way to clean" in str(error)


def test_the_first_error_stays_the_first(lanes: dict[str, Any], tmp_path: Path) -> None:
    """The handler's report stands behind it, whole."""
    error, ended = failed(flows.broken, lanes, log=str(tmp_path / "log"), x=2)
    assert (error.task, ended.tasks["clean_badly"].state) == ("guarded/work", "failed")
    first, _, second = str(error).partition("A task that runs always has failed too:\n")
    assert "ValueError: 2 is bad" in first
    assert "clean_badly (" in second
    assert "OSError: no way to clean" in second


def test_a_handler_is_tried_again(lanes: dict[str, Any], tmp_path: Path) -> None:
    log = tmp_path / "log"
    _, ended = failed(flows.trying, lanes, log=str(log))
    assert flows.told(log) == ["try", "try"]
    assert (ended.tasks["clean_at_second_try"].state, ended.tasks["clean_at_second_try"].attempts) == ("succeeded", 2)


def test_a_handler_has_its_time(lanes: dict[str, Any], tmp_path: Path) -> None:
    error, _ = failed(flows.expiring, lanes, log=str(tmp_path / "log"))
    assert error.task == "clean_for_ever"
    assert "timeout_s of 0.2 s" in str(error)


def test_a_run_that_is_stopped_once_runs_its_handlers(lanes: dict[str, Any], tmp_path: Path) -> None:
    """What was under way counts as left undone."""
    log, token = tmp_path / "log", CancelToken()

    def stop() -> None:
        while not flows.told(log):
            pass
        token.cancel("enough")

    stopper = threading.Thread(target=stop)
    stopper.start()
    with pytest.raises(RunCancelled) as caught:
        run(flows.dozing, {"log": str(log)}, cancel=token, record=False, **lanes)
    stopper.join()
    assert flows.told(log) == ["begun", "dozed:  TaskError: the run was stopped"]
    assert states(caught.value.run) == {"guarded/doze": "stopped", "clean": "succeeded"}


def test_the_command_tells_of_both(tmp_path: Path) -> None:
    """It exits with 3; the handler is a task like others."""
    project = Project(tmp_path)
    project.write(
        "flow.py",
        """
        from grandpa_kfp import Node, Workflow

        @Node
        def work(x: int) -> int:
            raise ValueError("bad")

        @Node
        def clean() -> None:
            print("cleaned")

        @Workflow(on_exit=clean)
        def pipeline(x: int = 1):
            return work(x)
        """,
    )
    ended = project.grandpa("run", "flow.py")
    assert ended.code == 3
    assert "guarded/work (flow.py:14) failed: ValueError: bad" in ended.err
    assert "cleaned" in ended.out + ended.err
    shown = project.grandpa("graph", "flow.py", "--format", "text")
    assert (shown.code, "clean" in shown.out, "guarded" in shown.out) == (0, True, True)
    assert project.grandpa("check", "flow.py").code == 0
    assert project.grandpa("plan", "flow.py").code == 0


# --- what cannot be -------------------------------------------------------------------------------


def test_a_handler_is_a_node_not_a_call() -> None:
    @Workflow
    def called(x: int = 1):
        with on_exit(flows.work(x)):  # type: ignore[arg-type]
            flows.work(x)

    with pytest.raises(TraceError, match=r"on_exit was given .*work.*, a call that runs where it stands"):
        trace(called)
    with pytest.raises(TraceError, match=r"test_exits.py:\d+: on_exit of a workflow takes a node"):
        Workflow(on_exit=print)
    with pytest.raises(TraceError, match="on_exit belongs in a workflow's body"), on_exit(flows.work, 1):
        pass


def test_a_handler_of_failures_alone_says_what_it_means() -> None:
    """FailureInfo without None would be a promise that nobody keeps."""

    @Node
    def notify(info: FailureInfo) -> None: ...

    @Workflow(on_exit=notify)
    def flow(x: int = 1):
        return flows.work(x)

    with pytest.raises(TraceError, match=r"notify \(.*\): info is a FailureInfo, .* write `info: FailureInfo | None`"):
        trace(flow)


def test_a_workflow_that_calls_itself_is_refused() -> None:
    @Workflow
    def first(x: int = 1):
        return second(x)

    @Workflow
    def second(x: int = 1):
        return first(x)

    with pytest.raises(TraceError, match=r"the workflow first calls itself, first → second → first"):
        trace(first)


def test_branches_and_loops_of_a_block_are_joined_in_it() -> None:
    @Workflow
    def outside(x: int = 1):
        with on_exit(flows.work, 1), when(x > 1):
            inside = flows.work(x)
        return either(inside, 0)

    @Workflow
    def used(x: int = 1):
        with on_exit(flows.work, 1), each([1, 2]):
            inside = flows.work(x)
        return flows.work(inside)

    with pytest.raises(TraceError, match=r"of a branch inside of guarded \(.*\); join it there"):
        trace(outside)
    with pytest.raises(TraceError, match=r"is used outside the loop at .*test_exits.py"):
        trace(used)


def test_an_empty_block_is_a_fault() -> None:
    @Workflow
    def empty(x: int = 1):
        with on_exit(flows.work, 1):
            pass
        return flows.work(x)

    with pytest.raises(GraphError, match="it calls no node"):
        verified(trace(empty))


def test_defaults_of_a_workflow_reach_elements_of_maps_in_it() -> None:
    """Also where it is called in another one."""

    @Workflow(defaults={"retries": 3})
    def inner(xs: list[int]):
        return flows.work.map(xs)

    @Workflow
    def pipeline(xs: list[int] = [1, 2]):  # noqa: B006
        return inner(xs)

    assert [call.options.retries for call in trace(pipeline).calls()] == [3]


def test_a_workflow_with_a_handler_is_no_plain_python() -> None:
    """In a node's body nobody would call the handler."""

    @Node
    def calls(log: str) -> Any:
        return flows.broken(log)

    with pytest.raises(TaskError, match="the workflow broken uses on_exit, so it cannot be called in a node's body"):
        run(calls, {"log": "log"}, record=False)


def test_a_handler_is_replayed_with_what_it_was_told(tmp_path: Path) -> None:
    """On this machine and of a compiled YAML."""
    project, log = Project(tmp_path), tmp_path / "log"
    project.write("flow.py", "from exit_flows import nested_exits, guarded\n")
    for file in ("flow.py:guarded", "flow.yaml"):
        project.grandpa("compile", "flow.py:guarded", "-p", f"log={log}", "-o", "flow.yaml")
        given = [] if file.endswith("yaml") else ["-p", f"log={log}"]
        assert project.grandpa("run", file, "-p", "x=2", *given).code == 3
        (first,) = flows.told(log)
        name = "clean-around/clean" if file.endswith("yaml") else "clean"
        run_id = max(folder.name for folder in (tmp_path / ".grandpa/runs").iterdir())
        assert project.grandpa("replay", run_id, name).code == 0, file
        assert flows.told(log) == [first] * 2
        log.unlink()
