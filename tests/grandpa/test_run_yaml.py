"""Compiled YAML on this machine: what is taken, what is refused, and how its tasks run as processes."""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from yaml_specs import Spec, constant, output, parameter, raw, task

from grandpa_kfp.engine.kfp_reading import read_pipeline
from grandpa_kfp.engine.pipeline_yaml import bind_parameters, run_pipeline_yaml
from grandpa_kfp.engine.record import read_run
from grandpa_kfp_runtime.contract import Input
from grandpa_kfp_runtime.errors import LoadError, ParameterError, StoreError, TaskError
from grandpa_kfp_runtime.typespec import TypeSpec

HELPERS = """
import os, sys, time


def fail(a):
    print("about to fail")
    raise ValueError(f"no {a}")


def fail_once(path):
    if os.path.exists(path):
        return "second time"
    open(path, "w").close()
    raise OSError("first time")


def pair(a):
    return a, [a]


def environment(name):
    return [os.environ.get(name), os.environ.get("GRANDPA_TASK_NAME"), os.getcwd() == os.environ["HOME"]]


def show(value):
    print("shown:", value)
    print("on stderr", file=sys.stderr)
    return value


def leave_child():
    import subprocess
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]).pid


def sleep(seconds):
    time.sleep(seconds)


def die():
    os.kill(os.getpid(), 9)


def kind(value):
    return [type(value).__name__, repr(value)]
"""


@pytest.fixture(autouse=True)
def helpers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that the tasks' processes find, as if it were installed in the image."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "yaml_helpers.py").write_text(HELPERS)
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
    monkeypatch.chdir(tmp_path)


def adding() -> Spec:
    """flow(a=1) = (a + 2) + (a + 2)"""
    return (
        Spec()
        .parameters(a={"parameterType": "NUMBER_INTEGER", "defaultValue": 1.0, "isOptional": True})
        .node("plus", "operator:add", raw("a", "int"), raw("b", "int"))
        .node("sum", "operator:add", Input("x"), Input("y"))
        .task("plus", "plus", {"a": parameter("a"), "b": constant(2.0)})
        .task("sum", "sum", {"x": output("plus"), "y": output("plus")}, dependentTasks=["plus"])
        .result("sum")
    )


def one(node: str, *values: Any, **more: Any) -> Spec:
    """A workflow of one task; the values are handles."""
    inputs = tuple(Input(f"i{index}") for index in range(len(values)))
    given = {item.name: constant(json.dumps(value)) for item, value in zip(inputs, values, strict=True)}
    return Spec().node("one", node, *inputs).task("one", "one", given, **more).result("one")


def run(spec: Spec | str, parameters: Any = None, **options: Any) -> Any:
    return run_pipeline_yaml(spec if isinstance(spec, str) else spec.text(), parameters, **options)


# --- running -------------------------------------------------------------------------------------


def test_a_pipeline_runs_and_its_record_tells_of_it(tmp_path: Path) -> None:
    """Values through the store, parameters by name or by default, a record as of any run."""
    done = run(adding(), {"a": 5})
    assert done.value == 14
    assert {name: item.outputs["result"] for name, item in done.tasks.items()} == {"plus": "7", "sum": "14"}
    again = read_run(tmp_path, done.id)
    assert [item.state for item in again.tasks.values()] == ["succeeded", "succeeded"]
    assert (again.folder / "pipeline.yaml").read_text() == adding().text()
    assert run(adding()).value == 6


def test_what_tasks_print_is_prefixed_and_kept(capfd: pytest.CaptureFixture[str]) -> None:
    """On standard error, whole lines with the task's name; the run's folder has the log."""
    done = run(one("yaml_helpers:show", "ä"))
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "one | shown: ä\n" in captured.err
    assert "one | on stderr\n" in captured.err
    assert "shown: ä\n" in (done.folder / "tasks" / "one" / "attempt-1" / "log.txt").read_text()


def test_nested_dags_pass_parameters_in_and_outputs_out() -> None:
    """A DAG in a DAG: inputs by name, constants and defaults inside, an output of the inner as the outer's."""
    spec = Spec().node("plus", "operator:add", raw("a", "int"), Input("b"))
    inner = {
        "dag": {
            "tasks": {"plus": task("plus", "plus", {"a": parameter("n"), "b": parameter("h")})},
            "outputs": {"parameters": {"o": {"valueFromParameter": {
                "producerSubtask": "plus", "outputParameterKey": "result",
            }}}},
        },
        "inputDefinitions": {"parameters": {
            "n": {"parameterType": "NUMBER_INTEGER", "defaultValue": 40.0, "isOptional": True},
            "h": {"parameterType": "STRING"},
        }},
    }  # fmt: skip
    outer = copy.deepcopy(inner)
    outer["dag"]["tasks"] = {"inner": task("inner", "inner", {"h": parameter("h")})}
    outer["dag"]["outputs"]["parameters"]["o"]["valueFromParameter"] = {
        "producerSubtask": "inner", "outputParameterKey": "o",
    }  # fmt: skip
    spec.components |= {"comp-inner": inner, "comp-outer": outer}
    spec.node("first", "operator:neg", raw("a", "int"))
    spec.task("first", "first", {"a": constant(-2.0)})
    spec.task("outer", "outer", {"h": output("first")}, dependentTasks=["first"])
    spec.node("last", "operator:neg", Input("a")).task("last", "last", {"a": output("outer", "o")})
    done = run(spec.result("last"))
    assert done.value == -42
    assert list(done.tasks) == ["first", "outer/inner/plus", "last"]


def test_a_dag_waits_for_what_it_depends_on_and_is_waited_for(tmp_path: Path) -> None:
    """Order alone: inside tasks start behind dependentTasks, and what depends on the DAG behind all of them."""
    spec = Spec().node("make", "os:mkdir", Input("p")).node("move", "os:rename", Input("a"), Input("b"))
    places = [json.dumps(str(tmp_path / name)) for name in ("a", "b", "c")]
    spec.components["comp-group"] = {
        "dag": {"tasks": {"move": task("move", "move", {"a": constant(places[0]), "b": constant(places[1])})}}
    }
    spec.task("last", "move", {"a": constant(places[1]), "b": constant(places[2])}, dependentTasks=["group"])
    spec.task("group", "group", {}, dependentTasks=["make"])
    spec.task("make", "make", {"p": constant(places[0])})
    run(spec)
    assert (tmp_path / "c").is_dir()


def test_several_outputs_cross_by_name() -> None:
    """Declared outputs are parameters of their own."""
    spec = Spec().node("pair", "yaml_helpers:pair", raw("a", "str"), outputs=("one", "many"))
    spec.task("pair", "pair", {"a": constant("x")}).result("pair", "many")
    done = run(spec)
    assert done.value == ["x"]
    assert done.tasks["pair"].outputs == {"one": '"x"', "many": '["x"]'}


def test_constants_arrive_with_kfps_losses() -> None:
    """The runtime is given 2 for 2.0 and "" for null, and converts by the declared type."""
    spec = Spec().node("kind", "yaml_helpers:kind", raw("value", "float"))
    assert run(spec.task("kind", "kind", {"value": constant(2.0)}).result("kind")).value == ["float", "2.0"]
    spec = Spec().node("kind", "yaml_helpers:kind", raw("value", "str"))
    assert run(spec.task("kind", "kind", {"value": constant(None)}).result("kind")).value == ["str", "''"]


def test_the_containers_environment_reaches_the_task() -> None:
    """Its env, and the task's name from the engine."""
    env = [{"name": "FLAVOUR", "value": "sweet"}]
    spec = Spec().node("env", "yaml_helpers:environment", Input("name"), env=env)
    done = run(spec.task("env", "env", {"name": constant('"FLAVOUR"')}).result("env"))
    assert done.value == ["sweet", "env", False]


def test_a_failed_task_is_retried_as_its_policy_says(tmp_path: Path) -> None:
    """maxRetryCount; the second attempt's output counts, both logs are kept."""
    spec = one(
        "yaml_helpers:fail_once", str(tmp_path / "mark"), retryPolicy={"maxRetryCount": 1, "backoffDuration": "0.01s"}
    )
    done = run(spec)
    assert done.value == "second time"
    assert done.tasks["one"].attempts == 2
    logs = done.folder / "tasks" / "one"
    assert "first time" in (logs / "attempt-1" / "log.txt").read_text()


def test_a_failure_is_the_runtimes_own_report() -> None:
    """Exception, the user's frames, inputs; exit code 3; the rest is skipped."""
    spec = Spec().node("fail", "yaml_helpers:fail", Input("a")).node("after", "operator:neg", Input("a"))
    spec.task("fail", "fail", {"a": constant("41")}).task("after", "after", {"a": output("fail")}).result("after")
    with pytest.raises(TaskError) as caught:
        run(spec)
    text = str(caught.value)
    assert "fail" in text.splitlines()[0]
    assert "ValueError: no 41" in text
    assert "yaml_helpers.py" in text
    assert "a = 41" in text
    assert caught.value.task == "fail"
    assert {k: v.state for k, v in caught.value.run.tasks.items()} == {"fail": "failed", "after": "skipped"}


def test_a_process_that_is_killed_is_a_failed_task_and_its_last_words_are_told() -> None:
    """No report of the runtime's own: the signal, and the end of the log."""
    with pytest.raises(TaskError, match="killed by signal 9"):
        run(one("yaml_helpers:die"))


def test_a_deadline_of_the_platform_kills_the_process() -> None:
    """activeDeadlineSeconds, where the runtime's own timer did not fire first."""
    spec = one("yaml_helpers:sleep", 600)
    spec.platform["exec-one"] = {"activeDeadlineSeconds": "1"}
    begun = time.monotonic()
    with pytest.raises(TaskError, match="timeout_s of 1 s"):
        run(spec)
    assert time.monotonic() - begun < 300


def test_children_of_a_task_end_with_it() -> None:
    """A process that a node started and left neither outlives its task nor keeps it from ending."""
    pid = run(one("yaml_helpers:leave_child")).value
    assert not _alive(pid)


def test_ctrl_c_kills_all_processes(tmp_path: Path) -> None:
    """Though each of them sleeps for ten minutes, in sessions of their own."""
    spec = Spec().node("sleep", "yaml_helpers:sleep", Input("s"))
    for index in range(3):
        spec.task(f"s{index}", "sleep", {"s": constant("600")})
    (tmp_path / "p.yaml").write_text(spec.text())
    script = (
        "from grandpa_kfp.engine.pipeline_yaml import run_pipeline_yaml\n"
        "try: run_pipeline_yaml('p.yaml', parallelism=3)\n"
        "except KeyboardInterrupt: raise SystemExit(130)"
    )
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        process = subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path, stderr=subprocess.DEVNULL)
        children = _wait_for(lambda: _processes_in(tmp_path), 3)
        process.send_signal(number)
        assert process.wait(120) == code
        assert [pid for pid in children if _alive(pid)] == []
        assert read_run(tmp_path).state == "stopped"


def test_a_store_can_be_chosen_and_memory_cannot(tmp_path: Path) -> None:
    """The one in the args is not used; a store in memory belongs to one process."""
    spec = Spec().node("big", "operator:mul", Input("a"), raw("n", "int"))
    spec.task("big", "big", {"a": constant('"x"'), "n": constant(5000.0)}).result("big")
    assert run(spec, store=tmp_path / "elsewhere").value == "x" * 5000
    assert len(list((tmp_path / "elsewhere" / "objects").rglob("*"))) >= 2
    with pytest.raises(StoreError, match="memory"):
        run(spec, store="memory:")


def _alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def _processes_in(folder: Path) -> list[int]:
    """Tasks' processes: those whose current folder lies below the run's."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if (
                entry.name.isdigit()
                and "/attempt-1" in os.readlink(entry / "cwd")
                and str(folder) in os.readlink(entry / "cwd")
            ):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def _wait_for(look: Any, count: int) -> list[int]:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        found: list[int] = look()
        if len(found) >= count:
            return found
        time.sleep(0.02)
    raise AssertionError(f"{count} processes did not start")


# --- what is refused -----------------------------------------------------------------------------


def broken(change: Any) -> str:
    documents = copy.deepcopy(adding().documents())
    change(documents[0])
    return yaml.safe_dump_all(documents, sort_keys=False)


def in_executor(change: Any) -> str:
    return broken(lambda spec: change(spec["deploymentSpec"]["executors"]))


def in_tasks(change: Any) -> str:
    return broken(lambda spec: change(spec["root"]["dag"]["tasks"]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("just: something\nelse: 1\n", "not a pipeline"),
        ("a: [1\nb: 2", "line 2"),
        ("- 1\n- 2\n", "not a pipeline"),
        (broken(lambda spec: spec.update(sdkVersion="kfp-2.17.0")), "compiled by kfp-2.17.0"),
        (broken(lambda spec: spec.pop("sdkVersion")), "sdkVersion is missing"),
        (broken(lambda spec: spec["root"]["dag"].pop("tasks")), "root.dag.tasks is missing"),
        (broken(lambda spec: spec["components"].pop("comp-sum")), "comp-sum"),
        (in_executor(lambda found: found.pop("exec-sum")), "exec-sum"),
        (in_executor(lambda found: found["exec-sum"]["container"].update(command=["rm"])), "exec-sum runs `rm task`"),
        (in_executor(lambda found: found["exec-sum"]["container"].update(args=["other"])), "exec-sum runs"),
        (in_executor(lambda found: found.update(x={"importer": {}})), "executors.x is no container"),
        (in_tasks(lambda tasks: tasks["sum"].update(dependentTasks=["gone"])), "waits for gone"),
        (in_tasks(lambda tasks: tasks["plus"].update(dependentTasks=["sum"])), "wait for each other"),
        (in_tasks(lambda tasks: tasks["sum"].update(parameterIterator={})), "parameterIterator"),
        (in_tasks(lambda tasks: tasks["sum"]["inputs"]["parameters"].pop("y")), "binds no input y"),
    ],
)
def test_a_yaml_that_is_not_ours_or_was_changed_is_refused(text: str, message: str) -> None:
    """Before anything runs, with the place in the file."""
    with pytest.raises(LoadError, match=message):
        run(text)


def test_a_file_that_was_cut_off_anywhere_never_runs_half() -> None:
    """Cut behind any line: refused, or, where only the platform spec's end is lost, whole all the same."""
    spec = adding()
    spec.executors["exec-sum"]["container"]["env"] = [{"name": "TMPDIR", "value": "/scratch"}]
    spec.platform["exec-sum"] = {"emptyDirMounts": [{"volumeName": "scratch", "mountPath": "/scratch"}]}
    lines = spec.text().splitlines(keepends=True)
    whole = read_pipeline(spec.text()).dag
    for count in range(1, len(lines)):
        try:
            read = read_pipeline("".join(lines[:count]) + "\n")
        except LoadError:
            continue
        assert read.dag == whole


def test_a_missing_file_is_named() -> None:
    """Without a traceback's worth of words."""
    with pytest.raises(LoadError, match=r"nowhere\.yaml: No such file"):
        run_pipeline_yaml("nowhere.yaml")


def test_parameters_are_checked_against_the_file() -> None:
    """Unknown with the nearest name, wrong type, missing: all at once."""
    pipeline = read_pipeline(
        adding().parameters(alpha={"parameterType": "NUMBER_INTEGER"}, a={"parameterType": "STRING"}).text()
    )
    with pytest.raises(ParameterError) as caught:
        bind_parameters(pipeline, {"alhpa": 1, "a": 5})
    text = str(caught.value)
    assert "no parameter 'alhpa'; did you mean 'alpha'?" in text
    assert "parameter a: it wants a string" in text
    assert "parameter alpha (NUMBER_INTEGER) is missing" in text


def test_a_parameter_that_travels_as_json_text_takes_python_values_and_text() -> None:
    """Of an Optional[int]: a value, None, or the JSON text that Kubeflow's form would hold."""
    spec = Spec().parameters(n={"parameterType": "STRING", "defaultValue": "null", "isOptional": True})
    optional = TypeSpec("union", (TypeSpec("int"), TypeSpec("None")))
    spec.node("kind", "yaml_helpers:kind", Input("n", "json", optional)).task("kind", "kind", {"n": parameter("n")})
    pipeline = read_pipeline(spec.text())
    assert [bind_parameters(pipeline, given) for given in ({}, {"n": 5}, {"n": "5"}, {"n": None})] == [
        {"n": "null"},
        {"n": "5"},
        {"n": "5"},
        {"n": "null"},
    ]
