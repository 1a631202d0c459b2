"""What a task may ask about itself."""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from grandpa_kfp_runtime import context
from grandpa_kfp_runtime.context import TaskContext, activate, activate_process, current, in_task, log_to


@pytest.fixture
def _own_logger() -> Iterator[None]:
    """The tasks' logger is left as it was."""
    yield
    context._log_stream = None
    logging.getLogger(context.LOGGER).handlers.clear()
    logging.getLogger(context.LOGGER).setLevel(logging.NOTSET)


def test_current_is_the_task_that_runs_here() -> None:
    """Inside `activate` the context is the given one, after it the one before."""
    outer, inner = TaskContext("run-1", "outer"), TaskContext("run-1", "inner", 2)
    with activate(outer):
        with activate(inner):
            assert current() is inner
        assert current() is outer


def test_outside_a_task_the_context_has_no_names() -> None:
    """A node's function called by a test can ask, and gets the same folder each time."""
    assert (current().run_id, current().task, current().attempt) == ("", "", 1)
    assert current().scratch_dir() == current().scratch_dir()
    assert not in_task()


def test_in_task_is_true_inside_alone() -> None:
    with activate(TaskContext("run-1", "train")):
        assert in_task()
    assert not in_task()


def test_a_context_of_the_process_reaches_threads_that_the_task_starts() -> None:
    """A container runs one task, so a thread that its body starts belongs to it."""
    seen: list[str] = []
    activate_process(TaskContext("run-1", "train"))
    try:
        thread = threading.Thread(target=lambda: seen.append(current().task))
        thread.start()
        thread.join()
    finally:
        activate_process(None)
    assert seen == ["train"]


def test_scratch_is_one_folder_a_task_removed_at_its_end(tmp_path: Path) -> None:
    one, other = TaskContext("run", "a", folder=tmp_path / "new"), TaskContext("run", "b", folder=tmp_path / "new")
    folder = one.scratch_dir()
    (folder / "file").write_text("x")
    assert folder == one.scratch_dir() != other.scratch_dir()
    one.close()
    assert not folder.exists()
    assert other.scratch_dir().is_dir()
    other.close()


def test_records_carry_the_task(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger=context.LOGGER):
        TaskContext("run-1", "train").logger.info("epoch %d", 3)
    (record,) = caplog.records
    assert (record.getMessage(), vars(record)["task"], vars(record)["run_id"]) == ("epoch 3", "train", "run-1")


@pytest.mark.usefixtures("_own_logger")
def test_log_to_writes_lines_with_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # those of the test runner
    stream = io.StringIO()
    log_to(stream)
    TaskContext("run-1", "train").logger.info("epoch 3")
    TaskContext("run-1", "train").logger.debug("left out")
    assert stream.getvalue() == "INFO train: epoch 3\n"


@pytest.mark.usefixtures("_own_logger")
def test_log_to_leaves_a_program_that_logs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [logging.NullHandler()])
    log_to(io.StringIO())
    TaskContext("run-1", "train").logger.info("epoch 3")
    assert logging.getLogger(context.LOGGER).handlers == []
