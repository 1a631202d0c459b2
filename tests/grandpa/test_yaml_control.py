"""Branches, loops and exit handlers of a compiled YAML: what the engine makes of them, whatever its tasks compute.

That whole workflows mean the same here as elsewhere is the table of conformance.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import Project
from yaml_specs import Spec, always, constant, dag, output, over, parameter, raw, task, when

from grandpa_kfp.engine import pipeline_yaml
from grandpa_kfp.engine.kfp_reading import read_pipeline
from grandpa_kfp.engine.pipeline_yaml import run_pipeline_yaml
from grandpa_kfp.engine.record import read_run
from grandpa_kfp.engine.run import Run
from grandpa_kfp.engine.yaml_tasks import Attempt, Ended
from grandpa_kfp_runtime.contract import Input
from grandpa_kfp_runtime.errors import LoadError, ParameterError, TaskError

HANDLE = {"x": "STRING"}


class Computed:
    """Runs tasks by functions of this process, as fast as the engine gives them out."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.most = 0
        self._running = 0
        self._lock = threading.Lock()
        self.computes: dict[str, Callable[[dict[str, Any]], str]] = {
            "double": lambda inputs: str(2 * int(inputs["x"])),
            "plus": lambda inputs: str(int(inputs["x"]) + int(inputs["y"])),
            "fail": lambda inputs: "fails",
            "even": lambda inputs: "fails" if int(inputs["x"]) % 2 else str(inputs["x"]),
            "told": lambda inputs: json.dumps(inputs, sort_keys=True),
            "slow": self._slow,
        }

    def _slow(self, inputs: dict[str, Any]) -> str:
        with self._lock:
            self._running += 1
            self.most = max(self.most, self._running)
        time.sleep(0.01)
        with self._lock:
            self._running -= 1
        return str(inputs["x"])

    def open(self) -> None:
        """Nothing to open."""

    def close(self) -> None:
        """Nothing to close."""

    def sees(self, path: Path) -> str:
        return str(path)

    def give_up(self, key: tuple[int, int]) -> None:
        """It ends by itself."""

    def run(self, attempt: Attempt) -> Ended:
        self.began.append(attempt.task)
        given = json.loads(attempt.start.args[attempt.start.args.index("--executor-input") + 1])
        node = attempt.container.label.removeprefix("exec-")
        text = self.computes[node](given["inputs"]["parameterValues"])
        if text == "fails":
            return Ended("ended with exit code 3")
        (attempt.outputs / "result").write_text(text, encoding="utf-8")
        return Ended()


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Computed:
    made = Computed()
    monkeypatch.setattr(pipeline_yaml, "Processes", lambda store, echo: made)
    monkeypatch.chdir(tmp_path)
    return made


def spec() -> Spec:
    made = Spec()
    for name in ("double", "fail", "even", "slow"):
        made.node(name, "nobody:calls", Input("x"))
    return made.node("plus", "nobody:calls", Input("x"), Input("y")).node("told", "nobody:calls", raw("x", "int"))


def run(made: Spec, parameters: Any = None, **options: Any) -> Run:
    return run_pipeline_yaml(made.text(), parameters, **options)


def failing(made: Spec, **options: Any) -> TaskError:
    with pytest.raises(TaskError) as caught:
        run(made, **options)
    return caught.value


def states(of: Run | None) -> dict[str, str]:
    assert of is not None
    return {task.id: task.state for task in of.tasks.values()}


def doubled(x: Any, **more: Any) -> Any:
    return task("double", "double", {"x": x}, **more)


def test_what_the_runner_itself_has_to_say_is_said(
    computed: Computed, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """When no task is under way: that a container was left behind, say."""

    def runner(store: Any, echo: Any) -> Computed:
        monkeypatch.setattr(computed, "close", lambda: echo("docker", "warning: left behind"))
        return computed

    monkeypatch.setattr(pipeline_yaml, "Processes", runner)
    assert run(branching(1)).value == 8
    assert "docker | warning: left behind\n" in capsys.readouterr().err


# --- conditions ------------------------------------------------------------------------------------


def branching(x: int) -> Spec:
    """choice = 2 * x; when choice is 2 a = double, else b = double of double; result = double of what there is."""
    made = spec()
    second = {"first": doubled(parameter("x")), "second": doubled(output("first"), dependentTasks=["first"])}
    made.components["comp-other"] = dag(second, takes=HANDLE, gives={"result": "second"})
    arms = {
        "a": doubled(parameter("x"), **when("x == '2'")),
        "b": task("b", "other", {"x": parameter("x")}, **when("x != '2'")),
    }
    made.components["comp-branch"] = dag(arms, takes=HANDLE, gives={"result": ["a", "b"]})
    made.task("choice", "double", {"x": constant(str(x))})
    made.task("branch", "branch", {"x": output("choice")}, dependentTasks=["choice"])
    return made.task("last", "double", {"x": output("branch")}, dependentTasks=["branch"]).result("last")


def test_the_branch_that_is_taken_gives_the_value(computed: Computed) -> None:
    """The other one's tasks are skipped, and say why, in the record too; what waits for the branch goes on."""
    taken, other = run(branching(1)), run(branching(2))
    assert (taken.value, other.value) == (8, 32)
    assert states(taken) == {"choice": "succeeded", "branch/a": "succeeded", "branch/b/first": "skipped",
                             "branch/b/second": "skipped", "last": "succeeded"}  # fmt: skip
    why = "the condition of branch/b does not hold: x != '2', where x is '2'"
    for found in (taken, read_run(Path(), taken.id)):
        assert [found.tasks[name].reason for name in ("branch/b/first", "branch/b/second")] == [why, why]
    assert states(other)["branch/a"] == "skipped"


def test_whatever_waits_for_a_skipped_task_is_skipped(computed: Computed) -> None:
    """However far, for its value or its order; the run succeeds, and has no value where its maker was skipped."""
    made = spec().task("first", "double", {"x": constant("1")})
    made.task("not", "double", {"x": output("first")}, **when("x == '5'"))
    made.components["comp-group"] = dag({"in": doubled(constant("1"))})
    made.task("reads", "double", {"x": output("not")}, dependentTasks=["not"])
    made.task("group", "group", {}, dependentTasks=["reads"])
    made.task("after", "double", {"x": constant("1")}, dependentTasks=["group"])
    made.task("apart", "double", {"x": output("first")}).result("after")
    done = run(made)
    assert (done.state, done.value) == ("succeeded", None)
    skipped = {name for name, state in states(done).items() if state == "skipped"}
    assert skipped == {"not", "reads", "group/in", "after"}
    assert len({done.tasks[name].reason for name in skipped}) == 1


def test_an_input_that_nobody_made_has_its_default_or_fails_the_task(computed: Computed) -> None:
    """Of a DAG whose output a skipped task would have made; the DAG itself has ended well."""
    made = spec()
    inner = {"in": doubled(parameter("x"), **when("x == 'no'")), "other": doubled(parameter("x"))}
    made.components["comp-group"] = dag(inner, takes=HANDLE, gives={"result": "in"})
    made.task("group", "group", {"x": constant("1")}).task("told", "told", {"x": output("group")}).result("told")
    error = failing(made)
    assert str(error) == "told failed: its input x was not made: it is the output result of group/in, which was skipped"
    made.components["comp-told"]["inputDefinitions"]["parameters"]["x"] |= {"defaultValue": 7.0, "isOptional": True}
    assert run(made).value == {"x": 7}
    del made.components["comp-told"]["inputDefinitions"]["parameters"]["x"]["defaultValue"]
    assert run(made).value == {}


def test_a_condition_that_cannot_be_decided_fails_its_task(computed: Computed) -> None:
    made = spec().task("one", "double", {"x": constant("1")}, **when("x < 3"))
    assert str(failing(made)) == "one failed: its condition x < 3 cannot be decided: '1' < 3: they have no order"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (when("x == 1 ? true : false"), r"root.dag.tasks.one.triggerPolicy.condition is not understood .*at '\?"),
        (when("y == 1"), "condition reads the parameter y, which is not there"),
        ({"triggerPolicy": {"strategy": "SOMETIMES"}}, "strategy is SOMETIMES, which is not run on this machine"),
        ({**always(), "componentRef": {"name": "comp-group"}, "inputs": {}}, "is a DAG that runs always"),
        ({"artifactIterator": {}}, "has artifactIterator, which Kubeflow does not run either"),
        (over("gone"), "parameterIterator reads the parameter gone, which is not there"),
        ({"parameterIterator": {"items": {"raw": "5"}, "itemInput": "x"}}, "goes over 5, which is no list"),
        ({"parameterIterator": {"items": {"raw": "[1"}, "itemInput": "x"}}, "cut off or changed"),
        ({"parameterIterator": {}}, "parameterIterator.items is missing"),
    ],
)
def test_what_is_not_run_here_is_told_before_anything_runs(more: Any, message: str, computed: Computed) -> None:
    made = spec()
    made.components["comp-group"] = dag({"in": doubled(constant("1"))})
    made.task("one", "double", {"x": constant("1")})
    made.root["dag"]["tasks"]["one"] |= more
    with pytest.raises(LoadError, match=message):
        run(made)
    assert computed.began == []


# --- loops -----------------------------------------------------------------------------------------


def looping(items: Any, node: str = "double", parallelism: int = 0) -> Spec:
    """A loop over a list that is an input."""
    made = spec()
    body = dag({"one": task("one", node, {"x": parameter("item")})}, takes={"item": "STRING", "items": "LIST"},
               gives={"result": "one"})  # fmt: skip
    made.components["comp-body"] = body
    return made.task("loop", "body", {"items": constant(items)}, **over("items", parallelism=parallelism))


@pytest.mark.parametrize("parallelism", [0, 1, 2, 3, 50])
@pytest.mark.parametrize("count", [0, 1, 3, 70])
def test_results_come_in_the_order_of_the_items(count: int, parallelism: int, computed: Computed) -> None:
    done = run(looping([str(number) for number in range(count)], parallelism=parallelism))
    assert json.loads(done.tasks["loop"].outputs["result"]) == [str(2 * number) for number in range(count)]
    assert len(done.tasks) == count + 1
    assert sorted(computed.began) == sorted(f"loop/{number}/one" for number in range(count))


def test_a_thousand_rounds(computed: Computed) -> None:
    done = run(looping([str(number) for number in range(1000)]))
    assert json.loads(done.tasks["loop"].outputs["result"]) == [str(2 * number) for number in range(1000)]


def test_no_more_rounds_are_under_way_than_allowed(computed: Computed) -> None:
    run(looping(["1"] * 12, "slow", parallelism=3), parallelism=8)
    assert 1 <= computed.most <= 3


def test_items_may_stand_in_the_file_or_be_a_text(computed: Computed) -> None:
    """As Kubeflow reads them: numbers become texts where the body wants such."""
    made = looping(["0"])
    made.task("known", "body", {"items": constant([])}, **over([1, 2.5, "3", True, None]))
    made.components["comp-body"]["dag"]["tasks"]["one"]["componentRef"]["name"] = "comp-told"
    made.components["comp-told"]["inputDefinitions"]["parameters"]["x"]["parameterType"] = "STRING"
    made.root["dag"]["tasks"]["loop"]["inputs"]["parameters"]["items"] = constant('["4"]')
    done = run(made)
    texts = [json.loads(text)["x"] for text in json.loads(done.tasks["known"].outputs["result"])]
    assert texts == ["1", "2.5", "3", "true", ""]
    assert json.loads(done.tasks["loop"].outputs["result"]) == ['{"x": "4"}']


@pytest.mark.parametrize("items", ["text", 5, {"a": 1}, "5", True])
def test_what_is_no_list_fails_the_loop(items: Any, computed: Computed) -> None:
    error = failing(looping(items))
    assert (error.task, states(error.run)) == ("loop", {"loop": "failed"})
    assert str(error).startswith("loop failed: it loops over a list, but was given ")


def test_a_container_may_be_iterated_itself(computed: Computed) -> None:
    """Its outputs are not collected, since Kubeflow does not."""
    made = spec().task("each", "double", {}, **over(["1", "2"], "x"))
    assert states(run(made)) == {"each": "succeeded", "each/0/each": "succeeded", "each/1/each": "succeeded"}
    made.task("reads", "told", {"x": output("each")})
    with pytest.raises(LoadError, match="reads the output result of each, which is not there"):
        run(made)


def nested() -> Spec:
    """For each list of a list, for each of its items: its double where it is not 1, else 10."""
    made = looping([["1", "2"], [], ["3"]])
    body = made.components["comp-body"]
    body["inputDefinitions"]["parameters"]["item"]["parameterType"] = "LIST"
    body["dag"]["tasks"] = {"inner": task("inner", "inner", {"items": parameter("item")}, **over("items"))}
    body["dag"]["outputs"]["parameters"]["result"]["valueFromParameter"]["producerSubtask"] = "inner"
    arms = {
        "yes": doubled(parameter("item"), **when("x != '1'")),
        "no": task("no", "plus", {"x": parameter("item"), "y": constant("9")}, **when("x == '1'")),
    }
    made.components["comp-arms"] = dag(arms, takes={"item": "STRING"}, gives={"result": ["yes", "no"]})
    inside = {"arms": task("arms", "arms", {"item": parameter("item")})}
    made.components["comp-inner"] = dag(inside, takes={"item": "STRING", "items": "LIST"}, gives={"result": "arms"})
    return made


def test_branches_in_loops_in_loops(computed: Computed) -> None:
    done = run(nested())
    assert json.loads(done.tasks["loop"].outputs["result"]) == [["10", "4"], [], ["6"]]
    assert states(done) | {"loop/0/inner/0/arms/yes": "skipped", "loop/0/inner/1/arms/no": "skipped"} == states(done)
    assert done.tasks["loop/0/inner/1/arms/yes"].parent == "loop/0/inner"
    again = read_run(Path(), done.id)
    assert states(again) == states(done)
    assert {name: task.parent for name, task in again.tasks.items()} == {
        name: task.parent for name, task in done.tasks.items()
    }


def test_a_failure_in_a_loop_names_the_round(computed: Computed) -> None:
    """The loop fails with it, what waits for it is skipped, and nothing more begins."""
    made = looping(["0", "2", "3", "4"], "even", parallelism=1)
    made.task("last", "double", {"x": constant("1")}, dependentTasks=["loop"])
    error = failing(made)
    assert error.task == "loop/2/one"
    assert str(error) == "loop/2/one failed: its process ended with exit code 3"
    assert states(error.run) == {"loop": "failed", "last": "skipped", "loop/0/one": "succeeded",
                                 "loop/1/one": "succeeded", "loop/2/one": "failed"}  # fmt: skip


@pytest.mark.parametrize("parallelism", [0, 1, 2, 3])
def test_other_rounds_go_on_where_that_is_asked_for(parallelism: int, computed: Computed) -> None:
    """Those too that had not begun."""
    made = looping(["1", "2", "3", "4"], "even", parallelism)
    made.task("last", "double", {"x": constant("1")}, dependentTasks=["loop"])
    error = failing(made, keep_going=True)
    assert "1 more failed:\n  loop/" in str(error)
    found = states(error.run)
    assert [found[f"loop/{number}/one"] for number in range(4)] == ["failed", "succeeded", "failed", "succeeded"]
    assert (found["loop"], found["last"]) == ("failed", "skipped")


def test_a_parameter_is_checked_by_what_reads_it_in_a_loop(computed: Computed) -> None:
    """Before anything runs, as elsewhere."""
    made = looping(["1"], "told").parameters(n={"parameterType": "NUMBER_INTEGER"})
    made.root["dag"]["tasks"]["loop"]["inputs"]["parameters"]["n"] = parameter("n")
    body = made.components["comp-body"]
    body["inputDefinitions"]["parameters"]["n"] = {"parameterType": "NUMBER_INTEGER"}
    body["dag"]["tasks"]["one"]["inputs"]["parameters"]["x"] = parameter("n")
    assert [name for _, name in read_pipeline(made.text()).dag.consumers("n")] == ["x"]
    made.root["inputDefinitions"]["parameters"]["n"]["parameterType"] = "NUMBER_DOUBLE"
    with pytest.raises(ParameterError, match=r"parameter n: .*2.5"):
        run(made, {"n": 2.5})
    assert computed.began == []


LOOP = """
from grandpa_kfp import collect, each

@Node
def inverse(x: int) -> float:
    print("inverse of", x)
    return 1 / x

@Workflow
def flow(xs: list[int] = [2, 4]):
    with each(xs) as x:
        y = inverse(x)
    return collect(y)
"""


def test_rounds_are_tasks_to_every_verb(tmp_path: Path) -> None:
    """With processes as they are: what they print, fail by, took and gave, and that again."""
    project = Project(tmp_path)
    project.flow(LOOP)
    assert project.grandpa("compile", "flow.py", "-o", "flow.yaml").code == 0
    ended = project.grandpa("run", "flow.yaml", "-p", "xs=[2, 0]", "--keep-going")
    assert ended.code == 3
    (name,) = re.findall(r"\S+/rounds/1/inverse", ended.errors[0].splitlines()[0])
    first = name.replace("/1/", "/0/")
    assert f"{first} | inverse of 2\n" in ended.err
    assert "ZeroDivisionError" in ended.errors[0]
    told = project.grandpa("inspect").out
    assert f"    {first} succeeded" in told
    assert f"    {name} failed" in told
    assert "each/arm-0/result skipped: the condition of each/arm-0 does not hold" in told
    (again,) = (path.name for path in tmp_path.glob(".grandpa/runs/*"))
    assert project.grandpa("replay", again, first).value == 0.5
    assert "x = 0" in project.grandpa("replay", again, name).errors[0]
    loop = project.grandpa("replay", again, name.rpartition("/1/")[0])
    assert f"is a loop; replay a task of one of its rounds, such as {first}" in loop.errors[0]


# --- whatever happened -----------------------------------------------------------------------------


def guarded(node: str) -> Spec:
    """clean runs when the DAG work has ended: first, then second."""
    made = spec()
    inner = {"first": task("first", node, {"x": constant("1")}), "second": doubled(output("first"))}
    made.components["comp-work"] = dag(inner, gives={"result": "second"})
    made.task("work", "work", {}).task("clean", "double", {"x": constant("4")}, **always("work"))
    return made.task("last", "double", {"x": output("work")}).result("last")


def test_a_task_that_runs_always_follows_success_and_failure(computed: Computed) -> None:
    """The run fails all the same, and other tasks are skipped."""
    done = run(guarded("double"))
    assert (done.value, done.tasks["clean"].state) == (8, "succeeded")
    assert computed.began.index("clean") > computed.began.index("work/second")
    for keep_going in (False, True):
        error = failing(guarded("fail"), keep_going=keep_going)
        assert states(error.run) == {"work/first": "failed", "work/second": "skipped", "clean": "succeeded",
                                     "last": "skipped"}  # fmt: skip
        assert error.task == "work/first"


def test_a_task_that_runs_always_follows_what_was_skipped(computed: Computed) -> None:
    made = guarded("double")
    work = made.root["dag"]["tasks"]["work"]
    work |= {"inputs": {"parameters": {"x": constant("1")}}, **when("x == 2")}
    made.components["comp-work"]["inputDefinitions"] = {"parameters": {"x": {"parameterType": "STRING"}}}
    done = run(made)
    assert states(done) == {"work/first": "skipped", "work/second": "skipped", "last": "skipped", "clean": "succeeded"}


def test_what_a_failed_task_would_have_made_is_missing_where_it_is_read_always(computed: Computed) -> None:
    """Its default stands in; without one the task fails too, and both failures are told."""
    made = guarded("fail")
    made.task("clean", "told", {"x": output("work")}, **always("work"))
    text = str(failing(made))
    assert "work/first failed" in text
    assert "clean failed: its input x was not made: it is the output result of work/second, which did not run" in text
    made.components["comp-told"]["inputDefinitions"]["parameters"]["x"] |= {"defaultValue": 7.0, "isOptional": True}
    assert states(failing(made).run)["clean"] == "succeeded"


def test_each_round_of_a_loop_cleans_up_after_itself(computed: Computed) -> None:
    made = looping(["2", "3"])
    made.components["comp-work"] = dag({"in": task("in", "even", {"x": parameter("x")})}, takes=HANDLE)
    made.components["comp-body"] = dag(
        {
            "work": task("work", "work", {"x": parameter("item")}),
            "clean": task("clean", "double", {"x": parameter("item")}, **always("work")),
        },
        takes={"item": "STRING", "items": "LIST"},
    )
    error = failing(made, keep_going=True)
    assert error.task == "loop/1/work/in"
    found = states(error.run)
    assert [found[f"loop/{number}/clean"] for number in range(2)] == ["succeeded", "succeeded"]


def test_ctrl_c_ends_rounds_under_way_and_what_runs_always_follows(tmp_path: Path) -> None:
    """With processes as they are: each round sleeps for a minute."""
    made = Spec().node("sleep", "time:sleep", Input("s")).node("make", "os:mkdir", Input("p"))
    sleeps = {"sleep": task("sleep", "sleep", {"s": parameter("item")})}
    made.components["comp-round"] = dag(sleeps, takes={"item": "STRING"})
    made.components["comp-work"] = dag({"loop": task("loop", "round", {}, **over(["60", "60"]))})
    made.task("work", "work", {})
    made.task("clean", "make", {"p": constant(json.dumps(str(tmp_path / "clean")))}, **always("work"))
    (tmp_path / "p.yaml").write_text(made.text())
    script = (
        "from grandpa_kfp.engine.pipeline_yaml import run_pipeline_yaml\n"
        "try: run_pipeline_yaml('p.yaml', parallelism=2)\n"
        "except KeyboardInterrupt: raise SystemExit(130)"
    )
    process = subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path, stderr=subprocess.DEVNULL)
    _wait_for_sleepers(tmp_path, 2)
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 130
    assert (tmp_path / "clean").is_dir()
    assert states(read_run(tmp_path)) == {"work/loop": "stopped", "clean": "succeeded",
                                          "work/loop/0/sleep": "stopped", "work/loop/1/sleep": "stopped"}  # fmt: skip


def _wait_for_sleepers(folder: Path, count: int) -> None:
    """Until so many processes of tasks have the runtime's code loaded."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if len(list(folder.glob(".grandpa/store/runs/*/work/loop/*/sleep/*/*/started.json"))) >= count:
            return
        time.sleep(0.02)
    found = [os.fspath(path) for path in folder.rglob("*")]
    raise AssertionError(f"{count} tasks did not start: {found}")
