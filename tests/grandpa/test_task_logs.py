"""What tasks log, on every engine of this machine: events, the record, what `grandpa run` and `inspect` show."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import Project
from engine_graphs import call, graph

import grandpa_kfp
from grandpa_kfp import Html, Metrics, log_artifact, log_metric, log_params
from grandpa_kfp.engine import events
from grandpa_kfp.engine.execute import execute
from grandpa_kfp.engine.pipeline_yaml import run_pipeline_yaml
from grandpa_kfp.engine.record import event_line, read_event, read_run
from grandpa_kfp.engine.run import Run
from grandpa_kfp.engine.task_logs import events_of, logged_in
from grandpa_kfp_runtime.errors import TaskError
from grandpa_kfp_runtime.logged.entries import Artifact, Logged, Point, Series
from grandpa_kfp_runtime.stores.file import FileStore
from grandpa_kfp_runtime.values.handles import from_handle

FLOW = """
from grandpa_kfp import ClassificationMetrics, Figure, Html, Metrics, log_artifact, log_metric, log_params

@Node
def train(epochs: int) -> Metrics:
    log_params({"optimizer": "adam"})
    for epoch in range(epochs):
        log_metric("loss", 1 / (epoch + 1), step=epoch)
    log_metric("bad", float("nan"))
    log_artifact("rows", [1, (2, 3)])
    return Metrics(accuracy=0.97)

@Node(retries=1)
def again(n: int) -> int:
    from grandpa_kfp import current
    log_metric(f"attempt {current().attempt}", n)
    if str(current().attempt) == "1":
        raise ValueError("not yet")
    return n

@Node(outputs=("page", "matrix"))
def report(scores: Metrics, n: int) -> tuple[Html, ClassificationMetrics]:
    return Html(f"<h1>{scores['accuracy']}</h1>"), ClassificationMetrics([[1, 0], [0, n]])

@Workflow
def flow(epochs: int = 3):
    scores = train(epochs)
    page, matrix = report(scores, again(2))
    return scores
"""


def told(logged: Logged) -> Any:
    """What does not differ between engines: no times, and of artifacts form and handle."""
    return (
        {
            name: (series.count, [(repr(point.value), point.step) for point in series.points])
            for name, series in logged.metrics.items()
        },
        dict(logged.params),
        {name: (artifact.form, artifact.handle, artifact.output) for name, artifact in logged.artifacts.items()},
    )


def heard(events_heard: list[events.Event]) -> dict[str, Any]:
    """By task what its last attempt's events told."""
    from grandpa_kfp_runtime.logged.task_log import Collector

    found: dict[str, Collector] = {}
    for event in events_heard:
        if isinstance(event, events.TaskStarted):
            found[event.task] = Collector()
        logged = logged_in(event)
        if logged is not None:
            found[event.task].add(logged)  # type: ignore[attr-defined]
    return {name: told(collector.logged()) for name, collector in found.items()}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path)
    made.flow(FLOW)
    return made


def on_threads(project: Project, listener: Any) -> Run:
    from grandpa_kfp.loading import load_target

    target = load_target(str(project.folder / "flow.py"))
    return grandpa_kfp.run(target, root=project.folder, listeners=[listener])


def as_processes(project: Project, listener: Any) -> Run:
    project.grandpa("compile", "flow.py", "-o", "flow.yaml")
    return run_pipeline_yaml(project.folder / "flow.yaml", root=project.folder, listeners=[listener])


def on_workers(project: Project, listener: Any) -> Run:
    from grandpa_kfp.loading import load_target

    target = load_target(str(project.folder / "flow.py"))
    return grandpa_kfp.run(target, root=project.folder, listeners=[listener], processes=2)


ENGINES = {"threads": on_threads, "workers": on_workers, "yaml": as_processes}


@pytest.mark.parametrize("engine", ENGINES)
def test_each_engine_tells_the_same(engine: str, project: Project) -> None:
    """As events with the task's name, in the run's tasks, and in the record that is read again."""
    listened: list[events.Event] = []
    run = ENGINES[engine](project, listened.append)
    train, report = run.tasks["train"].logged, run.tasks["report"].logged
    metrics, params, artifacts = told(train)
    assert metrics == {
        "loss": (3, [("1.0", 0), ("0.5", 1), (repr(1 / 3), 2)]),
        "bad": (1, [("nan", None)]),
        "accuracy": (1, [("0.97", None)]),
    }
    assert params == {"optimizer": "adam"}
    store = FileStore(project.folder / ".grandpa" / "store")
    assert from_handle(artifacts["rows"][1], store) == [1, (2, 3)]
    assert told(report)[2] == {
        "page": ("html", run.tasks["report"].outputs["page"], "page"),
        "matrix": ("classification", run.tasks["report"].outputs["matrix"], "matrix"),
    }
    expected = {name: told(task.logged) for name, task in run.tasks.items()}
    assert expected["again"][0] == {"attempt 2": (1, [("2", None)])}
    assert heard(listened) == expected
    assert {name: told(task.logged) for name, task in read_run(project.folder, run.id).tasks.items()} == expected


def test_inspect_shows_it(project: Project) -> None:
    """A line for each task with its metrics, all of it for one task; Python loads artifacts."""
    assert project.grandpa("run", "flow.py").code == 0
    shown = project.grandpa("inspect").out
    assert "loss 0.33333" in next(line for line in shown.splitlines() if " train " in line)
    shown = project.grandpa("inspect", "", "train").out
    for line in (
        "loss = 0.33333 at step 2 (3 values, 0.33333 to 1)",
        "optimizer = adam (parameter)",
        "accuracy = 0.97",
    ):
        assert f"  {line}\n" in shown
    with grandpa_kfp.inspect_run(root=project.folder) as run:
        assert run.task("train").artifact("rows") == [1, (2, 3)]
        assert run.task("train").logged.last()["accuracy"] == 0.97
        assert run.task("report").artifact("page") == Html("<h1>0.97</h1>")


def test_run_says_a_tasks_metrics_when_it_ends(project: Project) -> None:
    """In the line of the task, once."""
    ended = project.grandpa("run", "flow.py")
    lines = [line for line in ended.err.splitlines() if "loss" in line]
    assert len(lines) == 1
    assert "train" in lines[0]
    assert lines[0].endswith("loss 0.33333, bad nan, accuracy 0.97")


def test_a_failed_task_keeps_what_it_logged(tmp_path: Path) -> None:
    """In the run that the error carries, and in the record."""

    def fails() -> None:
        log_metric("loss", 3)
        raise ValueError("gone wrong")

    with pytest.raises(TaskError) as caught:
        execute(graph(call("fails", fails)), root=tmp_path)
    assert caught.value.run.tasks["fails"].logged.last() == {"loss": 3}
    assert read_run(tmp_path).tasks["fails"].logged.last() == {"loss": 3}


def test_what_is_logged_is_no_part_of_what_a_task_gives(tmp_path: Path) -> None:
    """Handles of outputs, the cache key of consumers, are the same with and without."""

    def make(logs: bool) -> list[int]:
        if logs:
            log_metric("loss", 1)
            log_artifact("x", [5])
        return [1, 2]

    runs = [execute(graph(call("make", make, logs)), root=tmp_path) for logs in (True, False)]
    assert runs[0].tasks["make"].outputs == runs[1].tasks["make"].outputs
    assert [bool(run.tasks["make"].logged) for run in runs] == [True, False]


def test_without_a_record_logging_works_and_leaves_nothing(tmp_path: Path) -> None:
    """Listeners and the run's tasks have it; artifacts have no handle."""

    def make() -> Metrics:
        log_params({"a": 1})
        log_artifact("x", [5])
        return Metrics(loss=2)

    listened: list[events.Event] = []
    run = execute(graph(call("make", make)), record=False, root=tmp_path, listeners=[listened.append])
    logged = run.tasks["make"].logged
    assert (logged.last(), logged.params, logged.artifacts["x"].handle) == ({"loss": 2}, {"a": 1}, "")
    assert heard(listened)["make"] == told(logged)
    assert list(tmp_path.iterdir()) == []


def test_an_artifact_that_cannot_be_stored_fails_its_task(tmp_path: Path) -> None:
    """With a record and without: as in a container."""
    import threading

    def make() -> None:
        log_artifact("lock", threading.Lock())

    for recorded in (True, False):
        with pytest.raises(TaskError, match="lock"):
            execute(graph(call("make", make)), record=recorded, root=tmp_path)


def test_tasks_that_run_at_once_log_each_its_own(tmp_path: Path) -> None:
    """Twenty at a time, each from its body."""

    def work(n: int) -> int:
        for step in range(50):
            log_metric("n", n, step=step)
        return n

    run = execute(graph(*(call(f"work-{n}", work, n) for n in range(20))), root=tmp_path, threads=20)
    assert {name: (task.logged.last(), task.logged.metrics["n"].count) for name, task in run.tasks.items()} == {
        f"work-{n}": ({"n": n}, 50) for n in range(20)
    }


def test_threads_of_a_grown_task_log_for_it(project: Project) -> None:
    """The task that it grew from waits, and is no candidate for the calls of a thread without a context."""
    source = """
    from threading import Thread
    from grandpa_kfp import log_metric

    @Node
    def inner(n: int) -> int:
        thread = Thread(target=log_metric, args=("n", n))
        thread.start()
        thread.join()
        return n

    @Node
    def outer(n: int):
        return inner(n)

    @Workflow
    def flow(n: int = 3):
        return outer(n)
    """
    project.flow(source, "grown.py")
    assert project.grandpa("run", "grown.py").value == 3
    tasks = read_run(project.folder).tasks
    assert {name: task.logged.last() for name, task in tasks.items()} == {"outer": {}, "outer/inner": {"n": 3}}


def test_ten_thousand_calls_make_few_events(tmp_path: Path) -> None:
    """Told in batches; the record stays small, the count exact."""

    def work() -> None:
        for step in range(10_000):
            log_metric("loss", step, step=step)

    listened: list[events.Event] = []
    run = execute(graph(call("work", work)), root=tmp_path, listeners=[listened.append])
    batches = [event for event in listened if isinstance(event, events.MetricsLogged)]
    assert sum(event.metrics["loss"].count for event in batches) == 10_000
    assert len(batches) < 500
    again = read_run(tmp_path).tasks["work"].logged.metrics["loss"]
    assert (again.count, again.least, again.most, again.last, len(again.points) <= 1_001) == (
        10_000,
        0,
        9_999,
        9_999,
        True,
    )
    assert run.folder is not None
    assert (run.folder / "results.json").stat().st_size < 200_000


EVENTS = [
    events.MetricsLogged(
        1.5, "train", 2, {"größe": Series(2, 0.5, float("inf"), (Point(float("inf"), None, 1.0), Point(0.5, 3, 2.0)))}
    ),
    events.ParamsLogged(1.5, "train", 1, {"rate": 0.1, "name": None}),
    events.ArtifactLogged(1.5, "train", 1, "page", Artifact("html", "@key", {"size_bytes": 3}, "result")),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_events_come_back_from_their_lines(event: events.Event) -> None:
    """One line each, valid JSON whatever was logged."""
    line = event_line(event)
    json.loads(line, parse_constant=lambda text: pytest.fail(text))
    assert read_event(line) == event


def test_what_an_earlier_run_logged_is_told_again() -> None:
    """The events of a result that is taken from it: of what its record holds."""
    logged = Logged({"loss": Series(1, 2, 2, (Point(2, None, 1.0),))}, {"a": 1}, {"page": Artifact("html", "@key")})
    again = [logged_in(event) for event in events_of("train", 1, logged)]
    assert again == [
        Logged(metrics=logged.metrics), Logged(params=logged.params), Logged(artifacts=logged.artifacts),
    ]  # fmt: skip


def test_secrets_do_not_reach_the_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_TOKEN", "hunter2-hunter2")

    def work() -> None:
        log_params({"token": "hunter2-hunter2"})

    run = execute(graph(call("work", work)), root=tmp_path)
    assert run.folder is not None
    assert not [file for file in run.folder.iterdir() if "hunter2" in file.read_text()]
    assert run.tasks["work"].logged.params == {"token": "[API_TOKEN]"}


def test_a_store_that_is_full_costs_an_artifact_and_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it is with outputs."""
    from grandpa_kfp_runtime.errors import StoreFull

    def full(*_: object) -> str:
        raise StoreFull("no space left")

    def work() -> int:
        log_artifact("rows", list(range(5000)))
        return 5

    monkeypatch.setattr(FileStore, "write", full)
    run = execute(graph(call("work", work), result="work"), root=tmp_path)
    assert (run.value, run.tasks["work"].logged.artifacts["rows"].handle) == (5, "")
    assert "no space left" in run.notes[0]
