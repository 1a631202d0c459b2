"""What follows on a failure: everything else, a summary, a handler, a fallback, the debugger."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command_line import Project

from grandpa_kfp import FailureInfo, Node, ParameterError, RunCancelled, TaskError, TraceError, Workflow, run
from grandpa_kfp.engine.record import read_run

both = pytest.mark.parametrize("processes", [0, 1])


@Node
def bad(x: int) -> int:
    raise ValueError(f"no {x}")


@Node
def double(x: int) -> int:
    return 2 * x


@Node
def write_down(folder: str, info: FailureInfo) -> None:
    Path(folder, "told").write_text(f"{info.workflow} {info.task} {info.error} {dict(info.parameters)} {info.others}")
    Path(folder, "report").write_text(info.traceback)


@Node
def to_folder(info: FailureInfo) -> str:
    """A handler that calls another node."""
    return write_down(info.parameters["folder"], info)


@Node
def broken_handler(info: FailureInfo) -> None:
    raise KeyError("the mail server")


# --- on_failure ----------------------------------------------------------------------------------


@Workflow(on_failure=to_folder)
def failing(folder: str, x: int = 7):
    return [bad(x), bad(8), double(x)]


@both
def test_the_handler_is_told_of_the_failure(processes: int, tmp_path: Path) -> None:
    """Once, with run, task, error, report, parameters and the other failures; it is a task of the run."""
    with pytest.raises(TaskError, match="ValueError: no 7") as caught:
        run(failing, {"folder": str(tmp_path)}, processes=processes, threads=1, keep_going=True, root=tmp_path)
    parameters = {"folder": str(tmp_path), "x": 7}
    assert (tmp_path / "told").read_text() == f"failing bad ValueError: no 7 {parameters} ('bad-2',)"
    assert "raise ValueError" in (tmp_path / "report").read_text()
    states = {name: task.state for name, task in caught.value.run.tasks.items()}
    expected = {"bad": "failed", "bad-2": "failed", "double": "succeeded", "to_folder": "succeeded"}
    assert {name: states[name] for name in expected} == expected
    recorded = read_run(tmp_path)
    assert recorded.state == "failed"
    assert {name: recorded.tasks[name].state for name in expected} == expected


@both
def test_a_failing_handler_is_told_beside_the_first_failure(processes: int) -> None:
    """The task's failure stays the error; the handler's stands behind it."""

    @Workflow(on_failure=broken_handler)
    def flow():
        return bad(1)

    with pytest.raises(TaskError) as caught:
        run(flow, processes=processes, record=False)
    first, _, second = str(caught.value).partition("The handler of its failure, on_failure=broken_handler, has failed")
    assert "bad (" in first
    assert "ValueError: no 1" in first
    assert "the mail server" in second
    assert caught.value.task == "bad"
    assert isinstance(caught.value.__cause__, ValueError)
    assert caught.value.run.tasks["broken_handler"].state == "failed"


def test_the_handler_does_not_run_when_nothing_failed(tmp_path: Path) -> None:
    """Neither after success nor after a run that was stopped."""
    from grandpa_kfp import CancelToken

    @Workflow(on_failure=broken_handler)
    def flow():
        return double(1)

    assert run(flow, record=False).value == 2
    token = CancelToken()
    token.cancel()
    with pytest.raises(RunCancelled, match=r"^flow was cancelled$"):
        run(flow, cancel=token, record=False)


def test_a_handler_of_a_name_that_a_task_has() -> None:
    """It gets a number, and both stand in the run."""

    @Node
    def bad(info: Any) -> None:
        return None

    @Workflow(on_failure=bad)
    def flow():
        return globals()["bad"](3)

    with pytest.raises(TaskError) as caught:
        run(flow, record=False)
    assert {name: task.state for name, task in caught.value.run.tasks.items()} == {
        "bad": "failed",
        "bad-2": "succeeded",
    }


def test_a_handler_must_be_a_node_of_one_argument() -> None:
    """Both are told where the workflow is defined."""
    with pytest.raises(TraceError, match=r"test_failures.py:\d+: on_failure of a workflow must be a node"):
        Workflow(on_failure=print)

    @Node
    def two(a: int, b: int) -> None:
        return None

    with pytest.raises(TraceError, match="argument b is missing"):
        Workflow(on_failure=two)


def test_the_handler_is_compiled_as_an_exit_handler() -> None:
    """Kubeflow has nothing that runs after failures alone: it begins in any case, and then looks."""
    from grandpa_kfp import compile

    @Workflow(on_failure=broken_handler)
    def flow():
        return double(1)

    assert "ALL_UPSTREAM_TASKS_COMPLETED" in compile(flow).text


# --- keep_going ----------------------------------------------------------------------------------


@Node
def grows(n: int) -> int:
    return double(bad(n))


@both
def test_keep_going_sums_all_failures_up(processes: int) -> None:
    """Each with its own line; growing tasks and maps among them, and what does not depend on them runs."""

    @Workflow
    def flow():
        return [bad(1), grows(2), bad.map([3, 4]), double(double(5))]

    with pytest.raises(TaskError) as caught:
        run(flow, processes=processes, keep_going=True, record=False)
    text = str(caught.value)
    assert "3 more failed:" in text
    for number in (1, 2, 3, 4):
        assert f"ValueError: no {number}" in text
    tasks = caught.value.run.tasks
    assert tasks["double-2"].state == "succeeded"
    assert tasks["grows"].state == "failed"
    assert not {"waiting", "running"} & {task.state for task in tasks.values()}


# --- fallback ------------------------------------------------------------------------------------


@Node(outputs=("mean", "rest"), fallback=(0.5, [1]))
def two_outputs() -> tuple[float, list[int]]:
    raise ValueError("no numbers")


@Node
def append(items: list[int], x: int) -> list[int]:
    items.append(x)
    return items


@both
def test_a_fallback_takes_the_place_of_the_result(processes: int, tmp_path: Path) -> None:
    """What follows goes on, the run succeeds; the task has failed, and bears the mark, in the record too."""

    @Workflow
    def flow():
        return double(bad.options(fallback=21)(3))

    told: list[Any] = []
    ended = run(flow, processes=processes, root=tmp_path, listeners=[told.append])
    assert ended.value == 42
    assert ended.state == "succeeded"
    for task in (ended.tasks["bad"], read_run(tmp_path).tasks["bad"]):
        assert (task.state, task.fell_back, task.error) == ("failed", True, "ValueError: no 3")
        assert task.outputs == {"result": "21"}
        assert "raise ValueError" in task.report
    failed = [event for event in told if type(event).__name__ == "TaskFailed"]
    assert [event.fallback for event in failed] == [{"result": "21"}]


@both
def test_fallbacks_of_several_outputs_are_isolated(processes: int) -> None:
    """Each consumer has its own copy, in each run."""

    @Workflow
    def flow():
        mean, rest = two_outputs()
        return [mean, append(rest, 2), append(rest, 3), rest]

    for _ in range(2):
        assert run(flow, processes=processes, record=False).value == [0.5, [1, 2], [1, 3], [1]]


@both
def test_a_fallback_follows_the_last_attempt(processes: int) -> None:
    """Also after a timeout; None is a fallback like any other."""

    @Node
    def sleeps() -> int:
        import time

        time.sleep(30)
        return 1

    @Workflow
    def flow():
        slow = sleeps.options(timeout_s=0.2, fallback=None)()
        return [bad.options(retries=2, backoff_s=0.01, fallback={"a": (1, 2)})(1), slow]

    ended = run(flow, processes=processes, record=False)
    assert ended.value == [{"a": (1, 2)}, None]
    assert ended.tasks["bad"].attempts == 3


@both
def test_a_fallback_that_does_not_fit_is_told_beside_the_failure(processes: int) -> None:
    """The task has failed then like any other."""

    @Workflow
    def flow():
        return two_outputs.options(fallback=7)().mean

    with pytest.raises(TaskError, match=r"no numbers(?s:.*)Its fallback cannot take the place of its result"):
        run(flow, processes=processes, record=False)


def test_a_fallback_must_be_a_small_value() -> None:
    """One that cannot be encoded, or is too large to travel with the task's definition, is refused where it stands."""
    with pytest.raises(TraceError, match=r"test_failures.py:\d+: .*fallback"):
        Node(fallback=(x for x in []))
    with pytest.raises(TraceError, match="the option fallback of a node takes"):
        Node(fallback=bytes(20_000))


def test_a_fallback_survives_the_graph_file() -> None:
    """As the text of its handle."""
    from grandpa_kfp import trace
    from grandpa_kfp_compiler.json_format import dumps, loads

    @Workflow
    def flow():
        return bad.options(fallback=(1, {"a"}))(3)

    graph = trace(flow)
    assert [call.options for call in loads(dumps(graph)).calls()] == [call.options for call in graph.calls()]


FALLING = """
    @Node(fallback=(1, 2), retries=1, backoff_s=0.1)
    def fails() -> tuple[int, int]:
        print("an attempt")
        raise ValueError("no numbers")


    @Node(timeout_s=0.3, fallback=None)
    def sleeps() -> None:
        import time
        time.sleep(30)


    @Node
    def total(pair: tuple[int, int], nothing: None) -> int:
        return sum(pair) if nothing is None else -1


    @Workflow
    def flow():
        return total(fails(), sleeps())
"""


def test_a_compiled_task_falls_back_in_its_container(project: Project) -> None:
    """After its last attempt, whichever way it failed; the run succeeds, its record has the marks."""
    project.flow(FALLING)
    assert project.grandpa("compile", "flow.py").code == 0
    text = (project.folder / "flow.yaml").read_text()
    assert "GRANDPA_FALLBACK" in text
    ended = project.process("run", "flow.yaml")
    assert (ended.code, ended.out) == (0, "3\n")
    assert ended.err.count("fails | an attempt") == 2
    tasks = read_run(project.folder).tasks
    marks = {name: (task.state, task.fell_back) for name, task in tasks.items() if name in ("fails", "sleeps", "total")}
    assert marks == {"fails": ("failed", True), "sleeps": ("failed", True), "total": ("succeeded", False)}
    assert "no numbers" in tasks["fails"].report
    shown = project.grandpa("inspect", read_run(project.folder).id).out
    assert "fails failed, fell back" in shown
    assert "fell back" in ended.err


def test_kubeflow_does_not_cache_what_may_be_a_fallback() -> None:
    """Else a later run would take the fallback for the result."""
    import yaml

    from grandpa_kfp import compile

    @Workflow
    def flow():
        return [bad.options(fallback=1)(1), bad(1), bad.options(fallback=1, retries=2)(1)]

    spec = next(yaml.safe_load_all(compile(flow).text))
    tasks = spec["root"]["dag"]["tasks"]
    cached = {name: task["cachingOptions"].get("enableCache", False) for name, task in tasks.items() if "bad" in name}
    assert cached == {"bad": False, "bad-2": True, "bad-3": False}
    assert len({task["componentRef"]["name"] for name, task in tasks.items() if "bad" in name}) == 3


@pytest.mark.parametrize("before", [0, 1, 2])
def test_a_container_counts_the_attempts_that_have_begun(before: int) -> None:
    """Kubeflow tells no task which attempt it is, but all have one place for their records."""
    from grandpa_kfp_runtime.contract import ENV_FALLBACK
    from grandpa_kfp_runtime.launch.executor_io import Place
    from grandpa_kfp_runtime.launch.fallback import fallback
    from grandpa_kfp_runtime.launch.records import Records
    from grandpa_kfp_runtime.redaction import NOTHING_SECRET
    from grandpa_kfp_runtime.stores.memory import MemoryStore

    store = MemoryStore()
    made = [Records(store, Place("run", "task", "uuid"), f"attempt-{n}", NOTHING_SECRET) for n in range(before + 1)]
    for records in made:
        records.put("started", {})
        records.put("failure", {})
    env = {ENV_FALLBACK: '{"attempts":3,"value":"7"}'}
    expected = {"result": 7} if before == 2 else None
    assert fallback(ValueError(), ["result"], made[-1], env) == expected
    assert fallback(RunCancelled("stopped"), ["result"], made[-1], env) is None


# --- the report ----------------------------------------------------------------------------------


@both
def test_the_report_ends_with_the_way_to_the_task(processes: int) -> None:
    """The tasks before it, the first of several; and the inputs' summaries, the user's frames first."""

    @Workflow
    def flow(x: int = 1):
        return bad(double.options(name="clean")(double.options(name="load")(x)))

    with pytest.raises(TaskError) as caught:
        run(flow, processes=processes, record=False)
    text = str(caught.value)
    assert text.startswith("bad (")
    assert text.index("Traceback") < text.index('raise ValueError(f"no {x}")') < text.index("Inputs:\n  x = 4")
    assert text.endswith("\n\nComes after: load → clean → bad")


def test_a_long_way_is_shortened() -> None:
    """To the last eight tasks."""

    @Workflow
    def flow():
        value = 0
        for _ in range(12):
            value = double(value)
        return bad(value)

    with pytest.raises(TaskError) as caught:
        run(flow, record=False)
    shown = " → ".join(f"double-{number}" for number in range(6, 13))
    assert str(caught.value).endswith(f"Comes after: ... → {shown} → bad")


# --- the debugger --------------------------------------------------------------------------------

FLOW = """
    @Node
    def halve(numbers: list[int]) -> float:
        middle = len(numbers) // 2
        return numbers[middle] / 0


    @Node
    def slow() -> None:
        import time
        time.sleep(30)


    @Workflow
    def flow(n: int = 4):
        return halve([1, 2, 3])


    @Workflow
    def too_slow():
        return slow.options(timeout_s=0.05)()
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path)
    made.flow(FLOW)
    return made


def test_pdb_opens_in_the_frame_that_failed(project: Project) -> None:
    """Its variables are there; standard output stays empty, and the exit code is that of a failed task."""
    ended = project.process("run", "flow.py:flow", "--pdb", typed="p middle + 41\nq\n")
    assert ended.code == 3
    assert ended.out == ""
    assert "ZeroDivisionError" in ended.err
    assert "-> return numbers[middle] / 0" in ended.err
    assert "(Pdb) 42" in ended.err


def test_pdb_after_a_timeout_has_no_frame(project: Project) -> None:
    """Nothing of the user's raised it, which is said."""
    ended = project.process("run", "flow.py:too_slow", "--pdb")
    assert ended.code == 3
    assert "timeout_s of 0.05 s" in ended.err
    assert "no debugger: no line of yours raised this" in ended.err


def test_pdb_and_worker_processes(project: Project) -> None:
    """Asked for on the command line they exclude each other; the configuration's give way, with a note."""
    assert project.grandpa("run", "flow.py:flow", "--pdb", "--processes", "2").code == 2
    (project.folder / "grandpa.toml").write_text("processes = 2\n")
    ended = project.process("run", "flow.py:flow", "--pdb", typed="p numbers\nq\n")
    assert "note: --pdb runs the tasks in this process" in ended.err
    assert "(Pdb) [1, 2, 3]" in ended.err
    with pytest.raises(ParameterError, match="pdb=True debugs in this process"):
        run(double, {"x": 1}, processes=1, pdb=True)


def test_run_with_pdb_in_a_script(project: Project) -> None:
    """The debugger, and after it the error."""
    project.write(
        "script.py", "from grandpa_kfp import run\nfrom flow import flow\nrun(flow, pdb=True, record=False)\n"
    )
    ended = subprocess.run(
        [sys.executable, "script.py"],
        cwd=project.folder, input="p middle\nq\n", capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert "(Pdb) 1" in ended.stdout
    assert ended.returncode == 1
    assert "TaskError" in ended.stderr
