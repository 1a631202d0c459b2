"""What tasks log: numbers and names as they come, values to be drawn, and the bounds of a log."""

from __future__ import annotations

import contextvars
import itertools
import json
import logging
import math
import os
import pickle
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from grandpa_kfp_runtime import context
from grandpa_kfp_runtime.context import TaskContext, activate_process, log_artifact, log_metric, log_params, put
from grandpa_kfp_runtime.errors import TaskError, TraceError
from grandpa_kfp_runtime.logged.entries import Artifact, Logged, Point, Series
from grandpa_kfp_runtime.logged.figures import mime_of
from grandpa_kfp_runtime.logged.kinds import ClassificationMetrics, Figure, Html, Markdown, Metrics
from grandpa_kfp_runtime.logged.outputs import note_outputs
from grandpa_kfp_runtime.logged.task_log import MOST_NAMES, POINTS_IN_ALL, POINTS_OF_A_METRIC, TaskLog
from grandpa_kfp_runtime.redaction import Redactor

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)


class Kept:
    """A sink that counts and keeps."""

    def __init__(self) -> None:
        self.woken = 0
        self.values: dict[str, Any] = {}

    def wake(self) -> None:
        self.woken += 1

    def keep(self, name: str, value: Any) -> Artifact:
        self.values[name] = value
        return Artifact("value", f"@{name}")


@pytest.fixture
def sink() -> Kept:
    return Kept()


@pytest.fixture
def log(sink: Kept) -> Iterator[TaskLog]:
    """The log of the task that this process runs, as in a container."""
    made = TaskLog(sink, Redactor({"TOKEN": "hunter22"}))
    task = TaskContext("run-1", "train", open_log=lambda: made)
    activate_process(task)
    yield made
    activate_process(None)
    task.close()


class Ref:
    def __grandpa_resolve__(self) -> Any: ...


# --- numbers, names, parameters ---


def test_metrics_params_and_artifacts_are_logged(log: TaskLog, sink: Kept) -> None:
    """With step and time; an artifact's value goes to the sink at once."""
    log_metric("loss", 0.5, step=1)
    log_metric("loss", 0.25, step=2)
    log_params({"rate": 0.1, "name": "adam", "nothing": None})
    log_artifact("rows", [1, 2])
    logged = log.logged()
    assert [(point.value, point.step) for point in logged.metrics["loss"].points] == [(0.5, 1), (0.25, 2)]
    assert (logged.metrics["loss"].count, logged.metrics["loss"].least, logged.last()) == (2, 0.25, {"loss": 0.25})
    assert logged.params == {"rate": 0.1, "name": "adam", "nothing": None}
    assert (logged.artifacts["rows"].handle, sink.values) == ("@rows", {"rows": [1, 2]})


def test_numbers_of_numpy_are_pythons_own(log: TaskLog) -> None:
    """Scalars, arrays of a single item, Decimal; a bool is 0 or 1."""
    numpy = pytest.importorskip("numpy")
    for name, value in {"a": numpy.float32(0.5), "b": numpy.int64(3), "c": numpy.array([2.5]), "d": Decimal(1)}.items():
        log_metric(name, value, step=numpy.int32(4))
    log_metric("e", True)
    log_params({"size": numpy.int64(8), "flag": numpy.bool_(True), "shape": numpy.array([1, 2])})
    logged = log.logged()
    assert {name: (type(value), value) for name, value in logged.last().items()} == {
        "a": (float, 0.5), "b": (int, 3), "c": (float, 2.5), "d": (float, 1.0), "e": (int, 1),
    }  # fmt: skip
    assert type(logged.metrics["a"].points[0].step) is int
    assert logged.params == {"size": 8, "flag": True, "shape": "[1 2]"}


def test_nan_and_infinity_are_kept_and_leave_json_valid(log: TaskLog) -> None:
    """They come back from JSON as they were, and bound nothing."""
    for value in (math.nan, 2.0, math.inf, 1.0):
        log_metric("loss", value)
    text = json.dumps(log.logged().to_json(), allow_nan=False)
    series = Logged.from_json(json.loads(text)).metrics["loss"]
    assert math.isnan(series.points[0].value)
    assert (series.points[2].value, series.least, series.most, series.last) == (math.inf, 1.0, math.inf, 1.0)


@pytest.mark.parametrize("value", ["0.5", None, [1, 2], {}, object(), 10**400, b"1", 1j])
def test_a_metric_that_is_no_number_is_an_error_at_the_call(value: Any, log: TaskLog) -> None:
    """Not later, where nobody knows who it was."""
    with pytest.raises(TypeError, match="log_metric"):
        log_metric("loss", value)
    assert not log.logged()


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 201, "\ud800", "nul\0"])
def test_a_name_that_fits_no_line_is_refused(name: str, log: TaskLog) -> None:
    with pytest.raises(ValueError, match="name"):
        log_metric(name, 1)


@pytest.mark.parametrize("name", ["größe/loss", "a.b[0]", "{{x}}", "$(HOME)", "top 5 %", "<b>"])
def test_names_may_have_odd_characters(name: str, log: TaskLog) -> None:
    """As they are, in JSON too."""
    log_metric(name, 1)
    assert list(Logged.from_json(json.loads(json.dumps(log.logged().to_json()))).metrics) == [name]


def test_a_name_that_is_no_text_and_a_step_that_is_no_whole_number(log: TaskLog) -> None:
    with pytest.raises(TypeError, match="name must be a text"):
        log_metric(3, 1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="step must be a whole number"):
        log_metric("loss", 1, step=0.5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="takes a dict"):
        log_params(["rate"])  # type: ignore[arg-type]


def test_a_ref_is_told_to_belong_into_a_body(log: TaskLog) -> None:
    """Whoever logs in a workflow's body meant to log in a node's."""
    for call in (lambda: log_metric("a", Ref()), lambda: log_params({"a": Ref()}), lambda: log_artifact("a", Ref())):
        with pytest.raises(TraceError, match=r"^test_logged.py:\d+: .* in the body of a node"):
            call()


def test_a_text_that_names_a_file_is_warned_of(
    log: TaskLog, sink: Kept, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is stored as the text that it is: a file is meant by a Path."""
    (tmp_path / "plot.png").write_bytes(PNG)
    name = str(tmp_path / "plot.png")
    with caplog.at_level(logging.WARNING):
        log_artifact("plot", name)
    assert "write Path(" in caplog.text
    assert sink.values == {"plot": name}


def test_parameters_that_json_lacks_are_texts(log: TaskLog) -> None:
    """Long ones are cut."""
    log_params({"path": Path("a/b"), "list": [1, (2,)], "long": "x" * 5000, "huge": 2**70, "inf": math.inf})
    params = dict(log.logged().params)
    assert params.pop("long") == "x" * 999 + "…"
    assert params == {"path": "a/b", "list": "[1, (2,)]", "huge": str(2**70), "inf": "Infinity"}


def test_secrets_are_struck_out(log: TaskLog) -> None:
    """Of names and of parameters."""
    log_params({"login hunter22": "as hunter22"})
    log_metric("hunter22", 1)
    assert "hunter22" not in json.dumps(log.logged().to_json())
    assert log.logged().params == {"login [TOKEN]": "as [TOKEN]"}


# --- bounds ---


def test_a_metric_logged_many_times_is_thinned_but_counted(log: TaskLog, sink: Kept) -> None:
    """First and last stay, the rest is evenly chosen; the sink is woken once until somebody takes."""
    for step in range(10_000):
        log_metric("loss", 10_000 - step, step=step)
    series = log.logged().metrics["loss"]
    assert (series.count, series.least, series.most, series.last) == (10_000, 1, 10_000, 1)
    assert len(series.points) <= POINTS_OF_A_METRIC + 1
    steps = [point.step for point in series.points]
    assert (steps[0], steps[-1]) == (0, 9_999)
    assert len({after - before for before, after in itertools.pairwise(steps[:-1])}) == 1  # type: ignore[operator]
    assert sink.woken == 1


def test_many_metrics_share_a_bound(log: TaskLog) -> None:
    """A thousand names with a hundred values each; names beyond are dropped."""
    for step in range(100):
        for name in range(MOST_NAMES + 5):
            log_metric(f"m{name}", step)
    metrics = log.logged().metrics
    assert len(metrics) == MOST_NAMES
    assert sum(len(series.points) for series in metrics.values()) <= POINTS_IN_ALL + MOST_NAMES
    assert metrics["m0"].count == 100


def test_what_is_new_is_taken_once(log: TaskLog, sink: Kept) -> None:
    """Batches add up to the whole."""
    log_metric("loss", 3)
    first = log.take()
    log_metric("loss", 2)
    log_params({"a": 1})
    second = log.take()
    assert (first.last(), second.last(), second.params, log.take()) == ({"loss": 3}, {"loss": 2}, {"a": 1}, Logged())
    assert sink.woken == 2
    assert log.logged().metrics["loss"].count == 2


def test_threads_log_at_once_and_nothing_is_lost(log: TaskLog) -> None:
    def work() -> None:
        for _ in range(500):
            log_metric("loss", 1)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert log.logged().metrics["loss"].count == 4000


def test_a_child_process_is_warned_and_loses_nothing_silently(
    log: TaskLog, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its copy of the log is nobody's."""
    log_metric("loss", 1)
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with caplog.at_level(logging.WARNING):
        log_metric("loss", 2)
    assert "child process" in caplog.text
    assert log.logged().last() == {"loss": 1}


def test_after_the_end_of_its_task_nothing_is_logged(log: TaskLog, caplog: pytest.LogCaptureFixture) -> None:
    """By a thread that the task left behind."""
    log.close()
    with caplog.at_level(logging.WARNING):
        log_metric("loss", 2)
        log_metric("loss", 3)
    assert caplog.text.count("left behind") == 1
    assert not log.logged()


# --- outside, and in threads ---


def test_outside_a_task_it_is_checked_and_dropped(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a unit test may call a node's function; told once."""
    monkeypatch.setattr(context, "_drops", None)
    with caplog.at_level(logging.WARNING):
        log_metric("loss", 0.5)
        log_params({"a": 1})
        log_artifact("rows", [1])
    assert caplog.text.count("no task runs here") == 1
    with pytest.raises(TypeError):
        log_metric("loss", "much")  # type: ignore[arg-type]


def in_thread(work: Any) -> list[BaseException]:
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return errors


def test_a_thread_that_a_task_started_logs_for_it() -> None:
    """While one task runs in the process its threads are known; of several, by the context they were given."""
    logs = {name: TaskLog(Kept()) for name in ("one", "two")}
    tasks = [TaskContext("run", name, open_log=lambda name=name: logs[name]) for name in logs]  # type: ignore[misc]
    contexts = [contextvars.copy_context() for _ in tasks]
    try:
        contexts[0].run(put, tasks[0])
        assert contexts[0].run(in_thread, lambda: log_metric("alone", 1)) == []
        contexts[1].run(put, tasks[1])
        (error,) = contexts[0].run(in_thread, lambda: log_metric("who", 1))
        assert isinstance(error, TaskError)
        assert "copy_context" in str(error)
        assert in_thread(lambda: contexts[1].run(log_metric, "told", 1)) == []
    finally:
        for task in tasks:
            task.close()
    assert (logs["one"].logged().last(), logs["two"].logged().last()) == ({"alone": 1}, {"told": 1})


# --- values to be drawn ---


def test_a_confusion_matrix_is_what_kfp_draws() -> None:
    """As the kfp SDK's own type writes it."""
    dsl = pytest.importorskip("kfp.dsl")
    theirs = dsl.ClassificationMetrics()
    theirs.log_confusion_matrix(["cat", "dog"], [[50, 2], [3, 45]])
    theirs.log_roc_curve([0.0, 0.1, 1.0], [0.0, 0.9, 1.0], [1.5, 0.5, 0.0])
    ours = ClassificationMetrics(
        [[50, 2], [3, 45]], ["cat", "dog"], roc_curve=([0.0, 0.1, 1.0], [0.0, 0.9, 1.0], [math.inf, 0.5, 0.0])
    )
    assert ours.metadata() == theirs.metadata


def test_scikit_learns_arrays_fit() -> None:
    """confusion_matrix and roc_curve, as they return them; labels may be numbers."""
    metrics = pytest.importorskip("sklearn.metrics")
    truth, scores = [0, 0, 1, 1], [0.1, 0.6, 0.35, 0.8]
    matrix = metrics.confusion_matrix(truth, [0, 1, 0, 1])
    made = ClassificationMetrics(matrix, [0, 1], roc_curve=metrics.roc_curve(truth, scores))
    assert json.dumps(made.metadata(), allow_nan=False)
    assert (made.labels, made.matrix) == (("0", "1"), ((1, 1), (1, 1)))


@pytest.mark.parametrize(
    ("arguments", "named", "what"),
    [
        (([[1, 2]],), {}, "as many columns"),
        (([[1, 2], [3, 4]], ["a"]), {}, "1 labels for 2 rows"),
        ((), {}, "takes a confusion matrix"),
        (([[math.nan]],), {}, "cannot be drawn"),
        ((), {"roc_curve": ([0], [0, 1], [1])}, "one length"),
        ((), {"roc_curve": ([], [], [])}, "one length"),
        ((), {"roc_curve": ([0], [0], [math.nan])}, "NaN"),
    ],
)
def test_classification_metrics_that_do_not_fit(arguments: Any, named: Any, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        ClassificationMetrics(*arguments, **named)


def test_a_long_curve_is_thinned() -> None:
    """Its ends stay."""
    rates = [step / 100_000 for step in range(100_001)]
    curve = ClassificationMetrics(roc_curve=(rates, rates, rates[::-1])).curve
    assert len(curve) <= 1_001
    assert (curve[0], curve[-1]) == ((0.0, 0.0, 1.0), (1.0, 1.0, 0.0))


def test_metrics_are_a_dict_of_numbers() -> None:
    """And refuse what is none."""
    numpy = pytest.importorskip("numpy")
    made = Metrics({"top 5": numpy.float64(0.5)}, loss=1)
    assert made == {"top 5": 0.5, "loss": 1}
    assert type(made["top 5"]) is float
    with pytest.raises(TypeError):
        Metrics(loss="much")


@pytest.mark.parametrize(
    "value", [Metrics(a=1), ClassificationMetrics([[1]]), Html("<p>"), Markdown("*a*"), Figure(PNG)], ids=repr
)
def test_values_to_be_drawn_travel(value: Any) -> None:
    """Pickled and back, of the same type."""
    again = pickle.loads(pickle.dumps(value, 5))
    assert (type(again), again) == (type(value), value)


def test_html_and_markdown_take_texts() -> None:
    for kind in (Html, Markdown):
        with pytest.raises(TypeError, match="takes a text"):
            kind(5)


def test_figures_of_any_library_are_drawn_when_they_are_made(tmp_path: Path) -> None:
    """By what they can do: savefig, to_html, _repr_html_; files and bytes by what they are."""

    class Saves:
        def savefig(self, stream: Any, format: str) -> None:
            stream.write(PNG)

    class Plotly:
        def to_html(self) -> str:
            return "<div>plot</div>"

    class Rich:
        def _repr_html_(self) -> str:
            return "<p>rich</p>"

    (tmp_path / "plot").write_bytes(PNG)
    made = [Figure(item) for item in (Saves(), Plotly(), Rich(), tmp_path / "plot", b"<svg></svg>")]
    assert [figure.mime for figure in made] == ["image/png", "text/html", "text/html", "image/png", "image/svg+xml"]
    assert made[1]._repr_html_() == "<div>plot</div>"
    assert made[3]._repr_html_().startswith('<img alt="" src="data:image/png;base64,')


def test_matplotlib_and_pil_are_drawn() -> None:
    figures = pytest.importorskip("matplotlib.figure")
    figure = figures.Figure(figsize=(1, 1))
    figure.subplots().plot([1, 2])
    assert Figure(figure).data.startswith(b"\x89PNG")
    image = pytest.importorskip("PIL.Image").new("CMYK", (2, 2))
    assert Figure(image).mime == "image/png"


@pytest.mark.parametrize("value", [5, "plot.png", b"text", object()])
def test_what_is_no_figure_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="Figure"):
        Figure(value)


def test_a_picture_is_known_by_its_bytes() -> None:
    assert [mime_of(data) for data in (b"\xff\xd8\xff", b"RIFF....WEBP", b"<?xml?><svg>", b"<p>text")] == [
        "image/jpeg", "image/webp", "image/svg+xml", "",
    ]  # fmt: skip


# --- as data ---


def test_what_was_logged_comes_back_from_a_done_record() -> None:
    """So that a task whose result is taken from an earlier run shows again what that had logged."""
    logged = Logged(
        {"loss": Series(5, 0.5, math.inf, (Point(math.inf, None, 1.5), Point(0.5, 4, 2.5)))},
        {"rate": 0.1},
        {"page": Artifact("html", "@key", {"type": "Html"}, "result")},
    )
    record = json.loads(json.dumps({"task": "train", "logged": logged.to_json()}, allow_nan=False))
    assert Logged.of_record(record) == logged


@pytest.mark.parametrize(
    "record",
    [None, {}, {"logged": 5}, {"logged": {"metrics": {"a": {"points": []}}}}, {"logged": {"artifacts": {"a": 1}}}],
)
def test_a_record_of_anything_else_holds_nothing(record: Any) -> None:
    """Those of other versions, too."""
    assert not Logged.of_record(record)


def test_outputs_to_be_drawn_are_logged_with_their_handles(log: TaskLog) -> None:
    """Metrics as metrics; an output does not take the place of an artifact with its name."""
    log_artifact("page", 1)
    outputs = {"scores": Metrics(accuracy=0.5), "page": Html("<p>"), "rest": [1]}
    note_outputs(lambda: log, outputs, {"page": "@html"}, {"page": {"size_bytes": 3}})
    logged = log.logged()
    assert logged.last() == {"accuracy": 0.5}
    assert logged.artifacts["page (output)"] == Artifact("html", "@html", {"size_bytes": 3}, "page")
    assert logged.artifacts["page"].handle == "@page"


def test_plain_outputs_open_no_log() -> None:
    def never() -> TaskLog:
        raise AssertionError

    note_outputs(never, {"result": 5}, {}, {})
