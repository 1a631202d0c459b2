"""Runs whose tasks have become others: pictures, `grandpa inspect`, progress."""

from __future__ import annotations

from typing import Any

import pytest
from command_line import Project

from grandpa_kfp import Node, TaskError, Workflow, run, trace
from grandpa_kfp.cli.progress import PlainProgress
from grandpa_kfp.drawing import drawing_of, render
from grandpa_kfp.drawing.model import Box
from grandpa_kfp.drawing.text import to_text
from grandpa_kfp.engine import events

FLOW = """
@Node
def add(a: int, b: int) -> int:
    return a + b
@Node
def fib(n: int) -> int:
    return n if n < 2 else add(fib(n - 1), fib(n - 2))
@Node
def square(x: int) -> int:
    return x * x
@Workflow
def flow(n: int = 2, count: int = 3):
    return add(fib(n), 1), square.map(list(range(30)))
"""


@Node
def add(a: int, b: int) -> int:
    return a + b


@Node
def total(n: int) -> Any:
    return add(add(n, 1), n)


@Node
def boom(n: int) -> int:
    raise ValueError(n)


@Node
def bad(n: int) -> Any:
    return boom(n)


def test_a_grown_task_is_a_box_with_its_body_and_what_it_became() -> None:
    """In every format; arrows between the inner tasks; the task's own arrows stay at its body."""

    @Workflow
    def flow(n: int = 2) -> Any:
        return add(total(n), 1)

    drawing = drawing_of(trace(flow), run(flow, record=False))
    box = drawing.items[0]
    assert isinstance(box, Box)
    assert [item.id for item in box.items] == ["total", "total/add", "total/add-2"]
    assert {("parameter n", "total"), ("total/add", "total/add-2"), ("total", "add")} <= {
        (arrow.source, arrow.target) for arrow in drawing.arrows
    }
    text = to_text(drawing)
    assert "├─ total\n│  ├─ ✓ total" in text
    assert "← total/add\n" in text
    assert 'subgraph n1["total"]' in str(render(drawing, "mermaid"))
    assert "total/add → total/add-2" in str(render(drawing, "dot"))


def test_a_failure_inside_shows_the_whole_way_to_it() -> None:
    """Every task on it has failed."""

    @Workflow
    def flow() -> Any:
        return add(bad(1), 1)

    with pytest.raises(TaskError) as caught:
        run(flow, record=False)
    drawing = drawing_of(trace(flow), caught.value.run)
    assert {task.id: task.state.name for task in drawing.tasks() if task.state} == {
        "bad": "failed", "bad/boom": "failed", "add": "skipped",
    }  # fmt: skip


def test_a_picture_shows_no_more_than_one_can_look_at() -> None:
    """A task that has become thousands says how many."""

    @Workflow
    def flow() -> Any:
        return add.map(list(range(500)), list(range(500)))

    drawing = drawing_of(trace(flow), run(flow, record=False))
    assert len(list(drawing.tasks())) == 1
    assert "became 500 tasks" in to_text(drawing)


def test_the_command_line(project: Project) -> None:
    """Pictures of recorded runs, inspect nests and counts, progress keeps to the tasks of the graph."""
    project.flow(FLOW)
    ended = project.grandpa("run", "flow.py")
    assert ended.value == (2, [x * x for x in range(30)])
    assert "square.map" in ended.err
    assert "square.map/square" not in ended.err
    assert "[36/36]" in ended.err
    assert "│  ├─ ✓ fib-2" in project.grandpa("graph", "flow.py", "--run", "last").out
    shown = project.grandpa("inspect").out
    assert "\n  fib succeeded" in shown
    assert "\n    fib/add succeeded" in shown
    assert ", became 30 tasks" in shown


def test_progress_counts_new_tasks(capsys: pytest.CaptureFixture[str]) -> None:
    """And tells of an inner one that lasts."""
    progress = PlainProgress()
    progress(events.RunStarted(0, "run", "flow", ("fib",)))
    progress(events.TaskStarted(0, "fib", 1))
    progress(events.TaskGrew(0, "fib", {"fib/a": (), "fib/b": ()}))
    progress(events.TaskFinished(0, "fib/a", 1, 0.001, {}))
    progress(events.TaskFinished(0, "fib/b", 1, 1.5, {}))
    progress(events.TaskFinished(0, "fib", 1, 0.01, {}))
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("]")[0] + "]" for line in lines] == ["[2/3]", "[3/3]"]
    assert "fib/b 1.5 s" in lines[0]
