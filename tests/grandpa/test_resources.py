"""Tasks start when what they ask of the machine is free: never more at once, nobody starved, everything given back."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import Project
from resource_flows import (
    asks_late,
    asks_wrongly,
    broken,
    found,
    gpu_seen,
    grows,
    killed,
    most,
    on_gpu,
    one_core,
    shaky,
    slow,
    threads_told,
    told,
    visible,
    work,
)

from grandpa_kfp import Workflow, run
from grandpa_kfp.engine import machine
from grandpa_kfp.engine.numeric import VARIABLES
from grandpa_kfp_runtime.errors import ParameterError, TaskError, TaskTimeout

ENGINES = pytest.mark.parametrize("processes", [0, 2], ids=["threads", "processes"])


@pytest.fixture
def log(tmp_path: Path) -> str:
    return str(tmp_path / "log")


@ENGINES
def test_no_more_runs_at_once_than_the_limit_allows(processes: int, log: str) -> None:
    """Tasks of several sizes on several resources; what ran at the same time is read from what they wrote."""

    @Workflow
    def flow() -> object:
        sizes = [work.options(cpu=2 if x % 3 else 1)(log, "two" if x % 3 else "one", x) for x in range(12)]
        return sizes + [work.options(uses={"licence": 1})(log, "licence", x) for x in range(4)]

    value = run(flow, limits={"cpu": 3, "licence": 1}, processes=processes, threads=4, record=False).value
    assert value == [*range(12), *range(4)]
    assert most(log, {"one": 1, "two": 2, "licence": 0}) <= 3
    assert most(log, {"one": 0, "two": 0, "licence": 1}) == 1


@ENGINES
def test_many_small_tasks_do_not_starve_a_big_one(processes: int, log: str) -> None:
    """The big one is ready with the second small one: it has run long before the last of the others."""

    @Workflow
    def flow() -> object:
        first = work.options(cpu=1)(log, "small")
        big = work.options(cpu=2)(log, "big")
        return [first, big, *[work.options(cpu=1)(log, "small") for _ in range(20)]]

    run(flow, limits={"cpu": 2}, processes=processes, threads=4, record=False)
    assert told(log).index("+big") <= 2 * 3
    assert most(log, {"small": 1, "big": 2}) <= 2


@ENGINES
def test_a_task_larger_than_the_machine_runs_alone_with_a_note(processes: int, log: str) -> None:
    """Not even a task that asks for nothing runs beside it."""

    @Workflow
    def flow() -> object:
        huge = work.options(memory="64Gi")(log, "huge")
        return [huge, *[work(log, "other") for _ in range(8)], work.options(cpu=1)(log, "other")]

    ended = run(flow, limits={"cpu": 2, "memory": "1Gi"}, processes=processes, threads=4, record=False)
    lines = told(log)
    assert lines[lines.index("+huge") + 1] == "-huge"
    (note,) = ended.notes
    assert note.startswith("work (")
    assert note.endswith("asks for memory 64Gi, but there is memory 1Gi: it runs alone")


@ENGINES
def test_a_task_that_goes_on_as_others_holds_nothing(processes: int, log: str) -> None:
    """With one core both the body that asks for it and what it becomes run."""
    bodies = 3

    @Workflow
    def flow() -> object:
        return [grows(log, 2) for _ in range(bodies)]

    assert run(flow, limits={"cpu": 1}, processes=processes, threads=2, record=False).value == [[0, 1]] * bodies
    assert most(log, {"one": 1}) == 1


@ENGINES
def test_maps_count(processes: int, log: str) -> None:
    @Workflow
    def flow() -> object:
        return one_core.map([log] * 12, list(range(12)))

    assert run(flow, limits={"cpu": 2}, processes=processes, threads=4, record=False).value == list(range(12))
    assert most(log, {"one": 1}) <= 2


@ENGINES
def test_requests_that_come_up_while_the_run_goes_on_count(processes: int, log: str) -> None:
    @Workflow
    def flow() -> object:
        return asks_late(log), [work(log, "other") for _ in range(4)]

    run(flow, limits={"licence": 1}, processes=processes, threads=4, record=False)
    assert most(log, {"licence": 1, "other": 0}) == 1


@ENGINES
def test_retries_give_back_and_take_again(processes: int, log: str) -> None:
    @Workflow
    def flow() -> object:
        return [shaky(log, x) for x in range(4)]

    assert run(flow, limits={"licence": 1}, processes=processes, threads=4, record=False).value == [0, 1, 2, 3]
    assert most(log, {"shaky": 1}) == 1


@ENGINES
@pytest.mark.parametrize(("node", "error"), [(broken, TaskError), (slow, TaskTimeout)], ids=["failed", "timed out"])
def test_failed_tasks_give_back(processes: int, log: str, node: object, error: type[TaskError]) -> None:
    """The one token comes back from every end: the task behind it runs."""

    @Workflow
    def flow() -> object:
        failing = node(log) if node is slow else node()  # type: ignore[operator]
        return failing, work.options(uses={"licence": 1})(log, "after")

    with pytest.raises(error):
        run(flow, limits={"licence": 1}, processes=processes, keep_going=True, record=False)
    assert told(log) == ["+after", "-after"]


def test_a_killed_worker_gives_back(log: str) -> None:
    @Workflow
    def flow() -> object:
        return killed(), work.options(uses={"licence": 1})(log, "after")

    with pytest.raises(TaskError, match="SIGKILL"):
        run(flow, limits={"licence": 1}, processes=1, keep_going=True, record=False)
    assert told(log) == ["+after", "-after"]


# --- GPUs ----------------------------------------------------------------------------------------------


def test_gpus_of_running_tasks_are_distinct(log: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tasks that wait for each other each see one GPU, by the names that this process sees."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-5a")

    @Workflow
    def flow() -> object:
        return [on_gpu(log, 2) for _ in range(2)]

    assert sorted(run(flow, processes=2, record=False).value) == ["3", "GPU-5a"]


@ENGINES
def test_a_gpu_is_never_held_twice(processes: int, log: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")

    @Workflow
    def flow() -> object:
        return [gpu_seen(log, x) for x in range(8)], visible()

    seen, all_of_them = run(flow, processes=processes, threads=1 if processes else 3, record=False).value
    assert set(seen) <= {"0", "1"}
    assert most(log, {"0": 1, "1": 0}) <= 1
    assert most(log, {"0": 0, "1": 1}) <= 1
    if processes:  # tasks on threads share one environment
        assert all_of_them == "0,1"


@pytest.mark.parametrize("processes", [2, 3])
def test_a_process_keeps_the_gpus_that_it_has_seen(processes: int, log: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Libraries look once: what the first task of a process saw is what each later one holds, also where one task
    holds one and another all of them."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")

    @Workflow
    def flow() -> object:
        first = [found(log, x % 3) for x in range(8)]
        both = [found.options(gpu=2, after=first)(log, 0) for _ in range(2)]
        return first + both + [found.options(after=both)(log, 0) for _ in range(3)]

    value = run(flow, processes=processes, record=False).value
    assert [first for first, _ in value] == [held for _, held in value]
    assert [held for _, held in value[8:10]] == ["0,1", "0,1"]


def test_gpus_as_cuda_reads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to the first that is none; an empty variable shows none."""
    for text, expected in {"0,1": ("0", "1"), "": (), "-1": (), "2, -1,3": ("2",), "NoDevFiles": ()}.items():
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", text)
        assert machine.gpus() == expected


def test_a_limit_of_gpus_hides_the_others(log: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")

    @Workflow
    def flow() -> object:
        return [gpu_seen(log, x) for x in range(3)]

    assert run(flow, processes=2, limits={"gpu": 1}, record=False).value == ["4", "4", "4"]


# --- threads of numeric libraries ------------------------------------------------------------------------


def test_threads_of_numeric_libraries_follow_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task with cpu=3 gets three; one that says nothing its share of the cores; and it is as before afterwards."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)

    @Workflow
    def flow() -> object:
        before = threads_told()
        asked = threads_told.options(cpu=3, after=[before])()
        return before, asked, threads_told.options(after=[asked])()

    share = [str(machine.whole_cores())] * 4
    assert run(flow, processes=1, limits={"cpu": 4}, record=False).value == (share, ["3"] * 4, share)


def test_threads_that_the_user_has_set_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")

    @Workflow
    def flow() -> object:
        return threads_told(), threads_told.options(cpu=2)()

    expected = ["7" if name == "OMP_NUM_THREADS" else "" for name in VARIABLES]
    assert run(flow, processes=1, limits={"cpu": 4}, record=False).value == (expected, expected)


# --- what is told ----------------------------------------------------------------------------------------


def test_a_token_that_no_limit_names_is_told_before_anything_runs(log: str) -> None:
    @Workflow
    def flow() -> object:
        return work(log, "first"), work.options(uses={"licenze": 1})(log, "second")

    with pytest.raises(
        ParameterError, match=r"work \(.*\): uses 'licenze', which no limit names; did you mean 'licence'"
    ):
        run(flow, limits={"licence": 1}, record=False)
    with pytest.raises(ParameterError, match=r"limits={'licenze': 1}, or --limit licenze=1"):
        run(flow, record=False)
    assert not Path(log).exists()


def test_more_tokens_than_there_are_is_an_error() -> None:
    @Workflow
    def flow() -> object:
        return work.options(uses={"licence": 3})("", "")

    with pytest.raises(ParameterError, match="uses 3 of 'licence', but the limit is 2"):
        run(flow, limits={"licence": 2}, record=False)


@ENGINES
def test_a_body_whose_calls_use_an_unknown_token_fails(processes: int) -> None:
    @Workflow
    def flow() -> object:
        return asks_wrongly()

    with pytest.raises(TaskError, match="uses 'licenze', which no limit names"):
        run(flow, processes=processes, record=False)


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ({"cpu": 0}, "the limit of cpu must be a number of cores above 0, but is 0"),
        ({"memory": "much"}, "the limit of memory must be a size above 0, such as '16Gi', but is 'much'"),
        ({"gpu": -1}, "the limit of gpu must be a whole number, 0 or more, but is -1"),
        ({"licence": 1.5}, "the limit of licence must be a whole number, 0 or more, but is 1.5"),
        ({"licence": True}, "the limit of licence must be a whole number, 0 or more, but is True"),
        ({"cpu": "2", "memory": "x", "a": "b"}, "the limit of a must be a whole number, 0 or more, but is 'b'"),
    ],
)
def test_limits_that_cannot_be_are_refused(limits: dict[str, object], told: str) -> None:
    with pytest.raises(ParameterError) as caught:
        run(Workflow(lambda: work("", "")), limits=limits, record=False)
    assert told in str(caught.value)


FLOW = """
@Node(uses={"licence": 1})
def square(x: int) -> int:
    return x * x

@Workflow
def flow(x: int = 3):
    return square(x)
"""


def test_the_command_line_and_the_configuration_set_limits(project: Project) -> None:
    """The command line wins, name by name."""
    project.flow(FLOW)
    assert project.grandpa("run", "flow.py").code == 1
    assert "--limit licence=1" in project.grandpa("run", "flow.py").err
    assert project.grandpa("run", "flow.py", "--limit", "licence=1").value == 9
    project.write("grandpa.toml", "[limits]\nlicence = 0\ncpu = 2\n")
    assert "the limit is 0" in project.grandpa("run", "flow.py").err
    assert project.grandpa("run", "flow.py", "--limit", "licence=2").value == 9
    assert project.grandpa("run", "flow.py", "--limit", "licence").code == 2
