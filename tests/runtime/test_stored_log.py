"""What a task in a container logs: its records, and the artifacts that Kubeflow draws."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from grandpa_kfp_runtime import contract
from grandpa_kfp_runtime.contract import Interface, TaskCall
from grandpa_kfp_runtime.launch import stored_log
from grandpa_kfp_runtime.launch.executor_io import ExecutorInput, Place
from grandpa_kfp_runtime.launch.previews import preview
from grandpa_kfp_runtime.launch.records import Records
from grandpa_kfp_runtime.launch.stored_log import StoredLog
from grandpa_kfp_runtime.logged.entries import Logged
from grandpa_kfp_runtime.logged.kinds import ClassificationMetrics, Figure, Html, Markdown
from grandpa_kfp_runtime.redaction import Redactor
from grandpa_kfp_runtime.stores.file import FileStore
from grandpa_kfp_runtime.values.handles import from_handle

LIMIT_S = 60
NODES = """
import threading
from grandpa_kfp import ClassificationMetrics, Figure, Html, Markdown, Metrics, log_artifact, log_metric, log_params

def train():
    log_params({"optimizer": "adam", "loss": "log"})
    thread = threading.Thread(target=lambda: [log_metric("loss", 1 / (n + 1), step=n) for n in range(2000)])
    thread.start()
    thread.join()
    log_metric("bad", float("nan"))
    log_artifact("page", Html("<b>drawn</b><script>1</script>"))
    log_artifact("rows", ["<script>shown</script>"] * 2000)
    return Metrics(accuracy=0.97, worst=float("inf"))

def classify():
    return ClassificationMetrics([[50, 2], [3, 45]], ["cat", "dog"])

def pages():
    return Html("<h1>as it is</h1>"), Markdown("**bold**"), Figure(b"<svg></svg>")

def plain():
    return 5

def lies():
    return "no metrics"

def fails():
    log_metric("loss", 3)
    raise ValueError("gone wrong")

def secret():
    import os
    log_params({"token": os.environ["API_TOKEN"]})
    log_artifact("page", Html(os.environ["API_TOKEN"]))

def unstorable():
    log_artifact("lock", threading.Lock())
"""


class Task:
    """One task run as a container would run it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "code").mkdir()
        (folder / "code" / "logging_nodes.py").write_text(NODES)
        self.store = FileStore(folder / "store")
        self.uri = folder / "artifacts" / "flow" / "run-1" / "train" / "uuid-1"

    def run(self, node: str, artifacts: dict[str, str], outputs: tuple[str, ...] = ("result",), **env: str) -> Any:
        kinds = {name: {"schemaTitle": f"system.{kind}", "schemaVersion": "0.0.1"} for name, kind in artifacts.items()}
        given = {
            "outputs": {
                "parameters": {name: {"outputFile": str(self.folder / "out" / name)} for name in outputs},
                "artifacts": {
                    name: {"artifacts": [{"name": name, "type": kind, "uri": str(self.uri / name)}]}
                    for name, kind in {**kinds, "executor-logs": {}}.items()
                },
                "outputFile": str(self.folder / "executor_output.json"),
            }
        }
        call = TaskCall(f"logging_nodes:{node}", "f" * 64, Interface(outputs=outputs), str(self.folder / "store"))
        argv = [json.dumps(given) if arg == contract.EXECUTOR_INPUT else arg for arg in call.argv()]
        return subprocess.run(
            [sys.executable, "-m", "grandpa_kfp_runtime", *argv],
            env={**os.environ, "PYTHONPATH": str(self.folder / "code"), **env},
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )

    def record(self, name: str) -> Any:
        (path,) = [path for path in self.store.list_records("runs/") if path.endswith(f"/{name}.json")]
        return self.store.get_record(path)

    def metadata(self) -> dict[str, Any]:
        text = (self.folder / "executor_output.json").read_text()
        return {name: entry["artifacts"][0]["metadata"] for name, entry in json.loads(text)["artifacts"].items()}

    def file(self, name: str) -> str:
        return (self.uri / name).read_text()


@pytest.fixture
def task(tmp_path: Path) -> Task:
    return Task(tmp_path)


ALL = {"result-preview": "Metrics", "logged-metrics": "Metrics", "logged-artifacts": "HTML"}


def test_the_done_record_holds_what_was_logged(task: Task) -> None:
    """From threads too, thinned; artifacts by their handles, and what was returned to be drawn."""
    ended = task.run("train", ALL)
    assert (ended.returncode, ended.stderr) == (0, "")
    logged = Logged.of_record(task.record("done"))
    assert (logged.metrics["loss"].count, logged.last()["accuracy"]) == (2000, 0.97)
    assert logged.params == {"optimizer": "adam", "loss": "log"}
    assert from_handle(logged.artifacts["rows"].handle, task.store) == ["<script>shown</script>"] * 2000
    assert logged.artifacts["rows"].facts["summary"] == "list of 2,000"


def test_metrics_artifacts_hold_numbers_alone(task: Task) -> None:
    """The UI compares every entry: no type, size or key; what JSON cannot hold is a text."""
    task.run("train", ALL)
    metadata = task.metadata()
    assert metadata["result-preview"] == {"accuracy": 0.97, "worst": "Infinity"}
    assert metadata["logged-metrics"] == {
        "loss": 1 / 2000, "bad": "NaN", "optimizer": "adam", "loss (parameter)": "log",
    }  # fmt: skip
    assert "loss: 0.0005 (2,000 values" in task.file("logged-metrics")


def test_logged_artifacts_are_drawn_on_one_page(task: Task) -> None:
    """The user's HTML as it is, in a frame of its own, any other value escaped."""
    task.run("train", ALL)
    page = task.file("logged-artifacts")
    assert 'srcdoc="&lt;b&gt;drawn&lt;/b&gt;&lt;script&gt;1' in page
    assert "&lt;script&gt;shown" in page
    assert "<script" not in page
    keys = {name: artifact["handle"][1:] for name, artifact in task.record("done")["logged"]["artifacts"].items()}
    assert task.metadata()["logged-artifacts"] == {"names": ["page", "rows"], "keys": keys}


def test_classification_metrics_have_the_metadata_that_kfp_draws(task: Task) -> None:
    """Beside type, size and key."""
    task.run("classify", {"result-preview": "ClassificationMetrics"})
    metadata = task.metadata()["result-preview"]
    assert metadata["confusionMatrix"]["rows"] == [{"row": [50, 2]}, {"row": [3, 45]}]
    assert metadata["confusionMatrix"]["annotationSpecs"] == [{"displayName": "cat"}, {"displayName": "dog"}]
    assert {"type", "key", "size_bytes"} <= metadata.keys()
    assert "| cat | 50 | 2 |" in task.file("result-preview")


def test_pages_texts_and_figures_are_shown_as_they_are(task: Task) -> None:
    artifacts = {"page-preview": "HTML", "text-preview": "Markdown", "figure-preview": "HTML"}
    assert task.run("pages", artifacts, ("page", "text", "figure")).returncode == 0
    assert task.file("page-preview") == "<h1>as it is</h1>"
    assert task.file("text-preview") == "**bold**"
    assert '<img alt="" src="data:image/svg+xml;base64,' in task.file("figure-preview")
    forms = {name: item["form"] for name, item in task.record("done")["logged"]["artifacts"].items()}
    assert forms == {"page": "html", "text": "markdown", "figure": "figure"}


def test_a_task_that_logs_nothing_has_no_word_of_it(task: Task) -> None:
    task.run("plain", {"result-preview": "Artifact"})
    assert "logged" not in task.record("done")
    assert task.metadata().keys() == {"result-preview"}


def test_artifacts_that_were_not_declared_are_missed_with_a_warning(task: Task) -> None:
    """The compiler could not see it; the record holds it all the same."""
    ended = task.run("train", {"result-preview": "Metrics"})
    assert ended.returncode == 0
    assert "logged-metrics" in ended.stderr
    assert "logged-artifacts" in ended.stderr
    assert Logged.of_record(task.record("done")).last()["loss"] == 1 / 2000


def test_a_value_that_is_not_what_its_annotation_says_is_stored_all_the_same(task: Task) -> None:
    """The UI has no numbers to draw; the value is untouched."""
    ended = task.run("lies", {"result-preview": "Metrics"})
    assert ended.returncode == 0
    assert (task.folder / "out" / "result").read_text() == '"no metrics"'
    assert task.metadata()["result-preview"] == {}


def test_a_task_that_fails_keeps_what_it_logged(task: Task) -> None:
    """In its failure record."""
    ended = task.run("fails", ALL)
    assert ended.returncode == 3
    assert Logged.of_record(task.record("failure")).last() == {"loss": 3}
    assert "gone wrong" in ended.stderr


def test_secrets_stand_in_no_record_and_no_artifact(task: Task) -> None:
    task.run("secret", {**ALL, "result-preview": "Artifact"}, API_TOKEN="hunter2-hunter2")
    texts = [file.read_text() for file in (task.folder / "store" / "runs").rglob("*.json")]
    texts += [file.read_text() for file in task.uri.iterdir()]
    texts.append((task.folder / "executor_output.json").read_text())
    assert not [text for text in texts if "hunter2" in text]
    assert task.record("done")["logged"]["params"] == {"token": "[API_TOKEN]"}


def test_an_artifact_that_cannot_be_stored_fails_the_task(task: Task) -> None:
    """At the call, naming it."""
    ended = task.run("unstorable", ALL)
    assert ended.returncode == 3
    assert "lock" in ended.stderr


def test_a_record_is_written_while_the_task_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some seconds after the first word, so that a task that is killed leaves it."""
    monkeypatch.setattr(stored_log, "_EVERY_S", 0.01)
    store = FileStore(tmp_path)
    records = Records(store, Place("run-1", "train", "uuid-1"), "1", Redactor({}))
    given = ExecutorInput({}, {}, {}, "", ())
    logs = StoredLog(records, given, Redactor({}), lambda _: None, print, lambda take: None)
    logs.log.metric("loss", 0.5)
    assert logs._timer is not None
    logs._timer.join(LIMIT_S)
    logs.close()
    record = store.get_record("runs/run-1/train/uuid-1/1/logged.json")
    assert (record["task"], Logged.of_record(record).last()) == ("train", {"loss": 0.5})


@pytest.mark.parametrize("form", ["html", "markdown"])
def test_what_is_too_large_to_be_drawn_says_so(form: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a page would draw nonsense."""
    monkeypatch.setattr("grandpa_kfp_runtime.launch.drawn.LARGEST_BYTES", 100)
    for value in (Html("<p>" * 100), Markdown("*a*" * 100), Figure(b"<svg>" + b" " * 200)):
        text = preview(value, form).text
        assert re.search("<p><p>|svg[+]xml", re.sub(r"```.*```", "", text, flags=re.DOTALL)) is None
        assert "*a**a*" not in text or form == "html"


def test_figures_of_matplotlib_are_stored_as_they_look() -> None:
    """What anybody loads later needs no matplotlib; the module pyplot is its current figure."""
    pyplot = pytest.importorskip("matplotlib.pyplot")
    figure = pyplot.figure(figsize=(1, 1))
    kept = [stored_log.kept_value(value) for value in (figure, pyplot, [figure])]
    pyplot.close(figure)
    assert [type(value) for value in kept] == [Figure, Figure, list]
    assert [stored_log.form_kept(value) for value in kept] == ["figure", "figure", "value"]


def test_a_confusion_matrix_is_a_table_in_every_form() -> None:
    value = ClassificationMetrics([[50, 2], [3, 45]], ["<cat>", "dog"])
    assert "&lt;cat>" in preview(value, "markdown").text
    assert "<th>dog</th>" in preview(value, "html").text
    assert preview(value).metadata["columns"] == ["<cat>", "dog"]
