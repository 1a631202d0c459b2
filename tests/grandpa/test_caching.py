"""Results of earlier runs stand for tasks whose code and inputs are the same; whatever is in doubt runs."""

from __future__ import annotations

import functools
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from command_line import Project, says
from servers import S3Endpoint

import grandpa_kfp
from grandpa_kfp import Node, Workflow, log_metric, sync
from grandpa_kfp.engine.kfp_reading import read_pipeline
from grandpa_kfp.engine.memo.results import folder_of
from grandpa_kfp.planning import plan
from grandpa_kfp_runtime.errors import ParameterError, TaskError

FLOW = """
from pathlib import Path
from grandpa_kfp import File, GeneratorNode, log_metric

def told(name):
    with open("ran.txt", "a") as file:
        file.write(name + " ")

def helper(x):
    return x + 1

@Node
def load(n: int) -> list:
    told("load")
    return list(range(n))

@Node
def count(rows: list) -> int:
    told("count")
    log_metric("rows", len(rows))
    return len(rows)

@Node
def double(x: int) -> int:
    told("double")
    return 2 * helper(x) - 2

@Workflow
def flow(n: int = 3):
    return double(count(load(n)))
"""

run = functools.partial(grandpa_kfp.run, cache=True)


class Flow:
    """A project whose nodes tell when their bodies run."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.source = FLOW
        project.flow(FLOW)

    def change(self, old: str, new: str) -> None:
        """Edits the file, and sees to it that its time of change differs."""
        assert old in self.source
        self.source = self.source.replace(old, new)
        file = self.project.flow(self.source)
        later = time.time() + len(self.source) / 1e3
        os.utime(file, (later, later))

    def run(self, *options: str, code: int = 0) -> list[str]:
        """The bodies that ran, sorted."""
        (self.project.folder / "ran.txt").unlink(missing_ok=True)
        self.ended = self.project.grandpa("run", "flow.py", *options)
        assert self.ended.code == code, self.ended.err
        ran = self.project.folder / "ran.txt"
        return sorted(ran.read_text().split()) if ran.exists() else []

    def plan(self, *options: str) -> dict[str, tuple[str, str]]:
        ended = self.project.grandpa("plan", "flow.py", "--json", *options)
        assert ended.code == 0, ended.err
        return {item["task"]: (item["outcome"], item["why"]) for item in json.loads(ended.out)}


@pytest.fixture
def flow(project: Project) -> Flow:
    return Flow(project)


ON = pytest.mark.parametrize("where", [(), ("--processes", "2")], ids=["threads", "processes"])


# --- what is cached ------------------------------------------------------------------------------------


@ON
def test_a_second_run_runs_nothing(flow: Flow, where: tuple[str, ...]) -> None:
    """The same value, the states `cached`, and a summary that says so."""
    assert flow.run(*where) == ["count", "double", "load"]
    assert flow.ended.value == 6
    assert flow.run(*where) == []
    assert flow.ended.value == 6
    assert "3 tasks (3 cached, 0 ran)" in flow.ended.err
    assert flow.run("-p", "n=4", *where) == ["count", "double", "load"]


def test_threads_and_processes_share_results(flow: Flow) -> None:
    """The key is that of the task, wherever it ran."""
    flow.run()
    assert flow.run("--processes", "2") == []
    flow.change("return len(rows)", "return len(rows) + 0")
    assert flow.run("--processes", "2") == ["count"]
    assert flow.run() == []


@ON
def test_a_changed_body_runs_alone_where_its_value_is_the_same(flow: Flow, where: tuple[str, ...]) -> None:
    """What comes after it has the inputs that it had."""
    flow.run(*where)
    flow.change("return list(range(n))", "return [*range(n)]")
    assert flow.run(*where) == ["load"]
    assert "(2 cached, 1 ran)" in flow.ended.err
    flow.change("return [*range(n)]", "return [*range(n), 0]")
    assert flow.run(*where) == ["count", "double", "load"]
    assert flow.ended.value == 8


def test_a_helper_is_code_of_the_node_that_uses_it(flow: Flow) -> None:
    """A comment is no code."""
    flow.run()
    flow.change("def helper(x):", "def helper(x):  # a comment")
    assert flow.run() == []
    flow.change("return x + 1", "return 1 + x")
    assert flow.run() == ["double"]


def test_options_that_count_are_in_the_key(flow: Flow) -> None:
    """`version` and `env` do, `retries` does not."""
    flow.run()
    flow.change("@Node\ndef count", "@Node(retries=1)\ndef count")
    assert flow.run() == []
    flow.change("@Node(retries=1)", "@Node(version='2')")
    assert flow.run() == ["count"]
    flow.change("@Node(version='2')", "@Node(env={'A': '1'})")
    assert flow.run() == ["count"]


@ON
def test_a_cached_task_tells_its_metrics_again(flow: Flow, where: tuple[str, ...]) -> None:
    """In the progress, and in the record that is read later."""
    flow.run(*where)
    flow.run(*where)
    assert "count cached: rows 3" in flow.ended.err
    assert "count cached: rows 3" in flow.project.grandpa("inspect").out


def test_values_are_read_only_when_wanted(flow: Flow) -> None:
    """The object of a value that only cached tasks read may be damaged."""
    flow.change("return list(range(n))", "return [0.5] * 1000 + list(range(n))")
    flow.run()
    for file in flow.project.objects():
        file.write_bytes(b"damaged")
    assert flow.run() == []


@ON
def test_a_result_whose_object_is_gone_is_made_again(flow: Flow, where: tuple[str, ...]) -> None:
    """Only what made it runs."""
    flow.change("return list(range(n))", "return [0.5] * 1000 + list(range(n))")
    flow.run(*where)
    for file in flow.project.objects():
        file.unlink()
    assert flow.plan()["load"][1].startswith("the objects of its result in run ")
    assert flow.run(*where) == ["load"]


@ON
def test_a_grown_task_is_cached_as_a_whole(flow: Flow, where: tuple[str, ...]) -> None:
    """Of a body that returned calls, nothing below it runs; nor of a map."""
    flow.change(
        "@Workflow\ndef flow(n: int = 3):\n    return double(count(load(n)))",
        "@Node\ndef grow(n: int):\n    told('grow')\n    return double(double(n))\n"
        "@Workflow\ndef flow(n: int = 3):\n    return [grow(n), double.map(load(n))]",
    )
    assert flow.run(*where).count("double") == 5
    value = flow.ended.value
    assert flow.run(*where) == []
    assert flow.ended.value == value == [12, [0, 2, 4]]


@ON
def test_a_generator_is_cached_with_its_consumer(flow: Flow, where: tuple[str, ...]) -> None:
    """A change of its code runs both."""
    flow.change(
        "@Workflow\ndef flow(n: int = 3):\n    return double(count(load(n)))",
        "@GeneratorNode\ndef rows(n: int):\n    told('rows')\n    yield from range(n)\n"
        "@Node\ndef total(items):\n    told('total')\n    return sum(items)\n"
        "@Workflow\ndef flow(n: int = 3):\n    return total(rows(n))",
    )
    assert flow.run(*where) == ["rows", "total"]
    assert flow.run(*where) == []
    flow.change("yield from range(n)", "yield from range(n + 1)")
    assert flow.run(*where) == ["rows", "total"]
    assert flow.ended.value == 6


def test_what_had_finished_before_a_failure_is_kept(flow: Flow) -> None:
    """The failure itself is not."""
    flow.change("return 2 * helper(x) - 2", "raise ValueError(x)")
    assert flow.run(code=3) == ["count", "double", "load"]
    assert flow.run(code=3) == ["double"]
    assert "✗ flow: 3 tasks (2 cached, 0 ran, 1 failed) in " in flow.ended.err
    flow.change("raise ValueError(x)", "return 2 * x")
    assert flow.run() == ["double"]


@ON
def test_what_fell_back_inside_a_body_is_no_result(flow: Flow, where: tuple[str, ...]) -> None:
    """Neither the task that failed nor the one that grew it is cached; what follows on it may be."""
    flow.change(
        "@Workflow\ndef flow(n: int = 3):\n    return double(count(load(n)))",
        "@Node(fallback=5)\ndef fails(n: int) -> int:\n    told('fails')\n    raise ValueError(n)\n"
        "@Node\ndef grow(n: int) -> int:\n    told('grow')\n    return fails(n)\n"
        "@Workflow\ndef flow(n: int = 3):\n    return double(grow(n))",
    )
    assert flow.run(*where) == ["double", "fails", "grow"]
    assert flow.run(*where) == ["fails", "grow"]
    assert flow.ended.value == 10


# --- what is not ---------------------------------------------------------------------------------------


def test_no_cache_runs_everything(flow: Flow) -> None:
    """And leaves nothing."""
    assert flow.run("--no-cache") == ["count", "double", "load"]
    assert flow.run("--no-cache") == ["count", "double", "load"]
    assert flow.run() == ["count", "double", "load"]


@ON
def test_forced_nodes_run(flow: Flow, where: tuple[str, ...]) -> None:
    """By name, several, by pattern; the result is the one that counts from then on."""
    flow.run(*where)
    assert flow.run("--force", "load", *where) == ["load"]
    assert flow.run("--force", "load", "--force", "double", *where) == ["double", "load"]
    assert flow.run("--force", "*", *where) == ["count", "double", "load"]
    assert flow.run(*where) == []


def test_a_name_that_forces_nothing_is_a_fault(flow: Flow) -> None:
    """With the nearest one, by `run` and by `plan`."""
    for verb in ("run", "plan"):
        says(flow.project.grandpa(verb, "flow.py", "--force", "lode"), 1, "no task or node is called 'lode'", "load")
    assert not (flow.project.folder / "ran.txt").exists()


def test_cache_false_runs_and_what_follows_goes_by_its_value(flow: Flow) -> None:
    """As on Kubeflow."""
    flow.change("@Node\ndef load", "@Node(cache=False)\ndef load")
    flow.run()
    assert flow.run() == ["load"]
    assert flow.plan()["load"] == ("run", "cache=False")
    assert flow.plan()["count"] == ("unknown", "it depends on what load gives")


def test_a_time_to_live(flow: Flow) -> None:
    """A result that is older runs again."""
    flow.change("@Node\ndef load", "@Node(cache='1h')\ndef load")
    flow.run()
    assert flow.run() == []
    for file in (flow.project.folder / ".grandpa/store" / folder_of("flow:load")).iterdir():
        record = json.loads(file.read_text())
        results = json.loads(record["results"])
        for result in results.values():
            result["at"] -= 3601
        record["results"] = json.dumps(results)
        file.write_text(json.dumps(record))
    assert flow.plan()["load"] == ("run", "it expired: its result is older than 1h")
    assert flow.run() == ["load"]
    assert flow.run() == []


def test_files_count_by_content_and_paths_by_time_of_change(flow: Flow) -> None:
    """A folder that is named by a Path is not looked through, so its task always runs."""
    data = flow.project.write("data.txt", "one")
    flow.change(
        "@Workflow\ndef flow(n: int = 3):\n    return double(count(load(n)))",
        "@Node\ndef read(file):\n    told('read')\n    return Path(file).read_text()\n"
        "@Node\ndef look(path):\n    told('look')\n    return path.read_text()\n"
        "@Node\ndef names(folder):\n    told('names')\n    return 1\n"
        "@Workflow\ndef flow(n: int = 3):\n"
        "    return [read(File('data.txt')), look(Path('data.txt')), names(Path('.'))]",
    )
    flow.run()
    assert flow.run() == ["names"]
    later = time.time() + 60
    os.utime(data, (later, later))
    assert flow.run() == ["look", "names"]
    data.write_text("two")
    assert flow.run() == ["look", "names", "read"]
    assert flow.ended.value == ["two", "two", 1]


RUNS: list[str] = []


@Node
def shares(items: Any) -> int:
    _count("shares")
    return items.qsize()


@Node
def plus(a: int, b: int) -> int:
    _count("plus")
    log_metric("sum", a + b)
    return a + b


@Node
def many(n: int) -> list[int]:
    _count("many")
    return [n] * 5000


def _count(name: str) -> None:
    RUNS.append(name)


@pytest.fixture(autouse=True)
def forget() -> None:
    RUNS.clear()


def test_tasks_with_shared_objects_always_run(tmp_path: Path) -> None:
    """What they do is more than their value."""

    @Workflow
    def workflow() -> Any:
        return shares(sync.Queue())

    for _ in range(2):
        assert run(workflow, root=tmp_path).value == 0
    assert RUNS == ["shares"] * 2


def test_runs_without_a_record_neither_take_nor_leave(tmp_path: Path) -> None:
    """Nothing of them is in the store."""
    workflow = Workflow(lambda: plus(1, 2))
    run(workflow, record=False, root=tmp_path)
    run(workflow, root=tmp_path)
    run(workflow, record=False, root=tmp_path)
    assert len(RUNS) == 3
    assert run(workflow, root=tmp_path).tasks["plus"].state == "cached"
    assert len(RUNS) == 3


def test_the_call_in_python_takes_cache_and_force(tmp_path: Path) -> None:
    """The same as the command line does."""
    workflow = Workflow(lambda: plus(1, 2))
    states = [
        run(workflow, root=tmp_path, **options).tasks["plus"].state
        for options in ({}, {}, {"cache": False}, {"force": ["plus"]}, {})
    ]
    assert states == ["succeeded", "cached", "succeeded", "succeeded", "cached"]
    with pytest.raises(ParameterError, match="no task or node is called 'minus'"):
        run(workflow, root=tmp_path, force=["minus"])


def test_what_cannot_be_fingerprinted_runs(tmp_path: Path) -> None:
    """A closure over what no pickle holds; `plan` says so."""
    lock = threading.Lock()

    @Node
    def closed(x: int) -> int:
        RUNS.append("closed")
        with lock:
            return x

    workflow = Workflow(lambda: closed(1))
    assert [run(workflow, root=tmp_path).value for _ in range(2)] == [1, 1]
    (planned,) = plan(workflow, root=tmp_path)
    assert len(RUNS) == 2
    assert planned.outcome == "run"
    assert planned.why.startswith("its code holds a _thread.lock")


def test_a_closure_counts_by_value(tmp_path: Path) -> None:
    """Another value is another node."""

    def workflow(factor: int) -> Any:
        @Node
        def scaled(x: int) -> int:
            return x * factor

        return Workflow(lambda: scaled(2))

    assert [run(workflow(factor), root=tmp_path).value for factor in (2, 3)] == [4, 6]
    again = run(workflow(2), root=tmp_path)
    assert (again.value, again.tasks["scaled"].state) == (4, "cached")


def test_a_module_that_was_changed_after_it_was_loaded_is_not_trusted(flow: Flow, tmp_path: Path) -> None:
    """What runs is the old code: it must not be kept as the new code's result."""
    from command_line import here

    from grandpa_kfp.loading import load_target

    with here(flow.project.folder):
        workflow = load_target("flow.py")
        first = run(workflow, root=tmp_path)
        flow.change("2 * helper(x) - 2", "3 * helper(x) - 3")
        second = run(workflow, root=tmp_path)
    with here(flow.project.folder):
        third = run(load_target("flow.py"), root=tmp_path)
    assert (first.value, second.value, third.value) == (6, 6, 9)
    assert second.tasks["double"].state == "succeeded"


def test_outputs_that_are_given_count_by_value(tmp_path: Path) -> None:
    """A task that reads one is cached for the same value and for no other."""
    workflow = Workflow(lambda: plus(plus(1, 2), 4))
    graph = grandpa_kfp.trace(workflow)
    runs = [run(graph, root=tmp_path, given={"plus": value}) for value in (10, 10, 11)]
    assert [item.value for item in runs] == [14, 14, 15]
    assert [item.tasks["plus-2"].state for item in runs] == ["succeeded", "cached", "succeeded"]


@ON
def test_branches_are_decided_each_time(flow: Flow, where: tuple[str, ...]) -> None:
    """The tasks in them are cached like those before and after them, and `plan` tells them where it can decide."""
    flow.change(
        "@Workflow\ndef flow(n: int = 3):\n    return double(count(load(n)))",
        "@Node\ndef inside(x: int) -> int:\n    told('inside')\n    return x + 1\n"
        "@Workflow\ndef flow(n: int = 3):\n    size = count(load(n))\n"
        "    with when(size > 2):\n        big = inside(size)\n"
        "    with otherwise():\n        small = double(size)\n"
        "    return double(either(big, small))",
    )
    flow.change("import File, Gen", "import either, otherwise, when, File, Gen")
    assert flow.run(*where) == ["count", "double", "inside", "load"]
    assert flow.run(*where) == []
    assert flow.ended.value == 8
    assert {task: outcome for task, (outcome, _) in flow.plan().items()} == dict.fromkeys(
        ["load", "count", "when/inside", "double"], "cached"
    )
    planned = flow.plan("-p", "n=1")
    assert planned["when"] == ("unknown", "what is in it depends on what count gives")
    assert planned["double"] == ("unknown", "it depends on what when gives")
    assert flow.run("--force", "inside", *where) == ["inside"]


# --- the records ---------------------------------------------------------------------------------------


def test_damaged_records_are_passed_over(flow: Flow) -> None:
    """Half a file, other JSON, another format: the task runs."""
    flow.run()
    records = sorted((flow.project.folder / ".grandpa/store/memo").glob("*/*"))
    assert len(records) == 3
    for file, text in zip(records, ("{", '{"format": 1, "results": 5}', '{"format": 99}'), strict=True):
        file.write_text(text)
    assert flow.run() == ["count", "double", "load"]
    assert flow.run() == []


def test_a_store_whose_records_cannot_be_read_costs_the_cache_alone(flow: Flow) -> None:
    """The run goes on, and says so once."""
    flow.run()
    memo = flow.project.folder / ".grandpa/store/memo"
    memo.rename(memo.with_name("other"))
    memo.symlink_to(memo)  # a loop
    assert flow.run() == ["count", "double", "load"]
    assert flow.ended.err.count("results of earlier runs are neither taken nor left") == 1


def test_a_run_that_fails_leaves_its_cached_states_in_the_record(tmp_path: Path) -> None:
    """As `read_run` reads them."""
    from grandpa_kfp.engine.record import read_run

    @Node
    def fails(x: int) -> int:
        raise ValueError(x)

    run(Workflow(lambda: plus(1, 2)), root=tmp_path)
    with pytest.raises(TaskError):
        run(Workflow(lambda: fails(plus(1, 2))), root=tmp_path)
    read = read_run(tmp_path)
    assert {task.id: task.state for task in read.tasks.values()} == {"plus": "cached", "fails": "failed"}
    assert read.tasks["plus"].outputs == {"result": "3"}
    assert read.tasks["plus"].logged.last() == {"sum": 3.0}


@pytest.mark.server
def test_machines_share_results_in_a_bucket(
    s3_endpoints: S3Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another project folder with the same code and store takes what the first has left; objects are asked for."""
    for name, value in s3_endpoints.env.items():
        monkeypatch.setenv(name, value)
    store = s3_endpoints.uri(s3_endpoints.new_bucket())
    workflow = Workflow(lambda: many(1))
    runs = [run(workflow, root=tmp_path / name, store=store) for name in ("one", "another")]
    assert [item.tasks["many"].state for item in runs] == ["succeeded", "cached"]
    assert runs[1].value == [1] * 5000
    assert RUNS == ["many"]
    (planned,) = plan(workflow, root=tmp_path / "third", store=store)
    assert planned.outcome == "cached"


# --- plan ----------------------------------------------------------------------------------------------


def test_a_plan_says_why(flow: Flow) -> None:
    """Never ran, cached, which input, which function; unknown behind what would run."""
    never = ("run", "it never ran")
    assert flow.plan() == {"load": never, "count": never, "double": never}
    assert not (flow.project.folder / ".grandpa").exists()
    flow.run()
    assert {outcome for outcome, _ in flow.plan().values()} == {"cached"}
    behind = ("unknown", "it depends on what load gives")
    assert flow.plan("-p", "n=4")["load"] == ("run", "its input n changed")
    assert flow.plan("-p", "n=4")["count"] == behind
    assert flow.plan("--force", "load") == {
        "load": ("run", "it is forced"),
        "count": behind,
        "double": ("unknown", "it depends on what count gives"),
    }
    flow.change("return x + 1", "return 1 + x")
    assert flow.plan()["double"] == ("run", "its code changed: helper (flow)")
    flow.change("return list(range(n))", "return [*range(n)]")
    planned = flow.plan()
    assert planned["load"] == ("run", "its code changed: load (flow)")
    assert planned["count"] == behind
    assert planned["double"] == ("run", "its code changed: helper (flow)")


def test_a_plan_runs_nothing_and_is_what_happens(flow: Flow) -> None:
    """A line a task, then the counts."""
    flow.run()
    flow.change("return list(range(n))", "return [*range(n)]")
    (flow.project.folder / "ran.txt").unlink()
    ended = flow.project.grandpa("plan", "flow.py")
    assert ended.out.splitlines()[0].split()[:2] == ["load", "run"]
    assert ended.out.splitlines()[-1] == "1 to run, 2 unknown"
    assert not (flow.project.folder / "ran.txt").exists()
    assert flow.run() == ["load"]


def test_a_graph_file_shares_results_with_its_source(flow: Flow) -> None:
    """It has the same fingerprints, and knows no parts of the code."""
    flow.run()
    flow.project.graph_file()
    ended = flow.project.grandpa("run", "flow.json")
    assert (ended.code, ended.value) == (0, 6), ended.err
    assert "(3 cached, 0 ran)" in ended.err
    assert flow.project.grandpa("plan", "flow.json").out.endswith("3 cached\n")
    flow.change("return list(range(n))", "return [*range(n)]")
    flow.project.graph_file()
    assert (
        flow.project.grandpa("plan", "flow.json").out.splitlines()[0].split(None, 2)[2].startswith("its code changed")
    )


def test_a_compiled_yaml_has_no_plan(flow: Flow) -> None:
    """Nor a cache here; usage errors that say so."""
    assert flow.project.grandpa("compile", "flow.py").code == 0
    says(flow.project.grandpa("plan", "flow.yaml"), 2, "always run")
    says(flow.project.grandpa("run", "flow.yaml", "--no-cache"), 2, "always run")
    says(flow.project.grandpa("run", "flow.yaml", "--force", "load"), 2, "always run")


def test_a_deploy_turns_the_cache_of_forced_tasks_off(flow: Flow) -> None:
    """Of these alone, in groups too; a name that means nothing is a fault."""
    from command_line import here

    from grandpa_kfp.forcing import with_forced
    from grandpa_kfp.loading import load_target

    with here(flow.project.folder):
        graph = grandpa_kfp.trace(load_target("flow.py"))
    off = {call.id for call in with_forced(graph, ["count", "d*"]).calls() if call.options.cache is False}
    assert off == {"count", "double"}
    assert with_forced(graph, ()) is graph
    with pytest.raises(ParameterError, match="did you mean count"):
        with_forced(graph, ["coun"])
    says(flow.project.grandpa("deploy", "flow.py", "--force", "coun", "--host", "http://127.0.0.1:1"), 1, "count")


def test_a_compiled_yaml_says_what_kubeflow_may_not_take_from_its_cache(flow: Flow) -> None:
    """A node by name, or all; the same bytes each time."""

    def cached(*options: str) -> list[bool]:
        texts = [flow.project.grandpa("compile", "flow.py", "-o", "-", *options).out for _ in range(2)]
        assert texts[0] == texts[1]
        return [task.cache for task in read_pipeline(texts[0]).dag.tasks]

    assert cached() == [True] * 3
    assert sorted(cached("--force", "count")) == [False, True, True]
    assert cached("--no-cache") == [False] * 3
    says(flow.project.grandpa("compile", "flow.py", "--force", "coun"), 1, "did you mean count")
