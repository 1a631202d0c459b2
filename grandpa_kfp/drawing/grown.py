"""What bodies became in a run, put into the drawing of its graph: a box for each task that grew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..engine.run import TaskRun
from .model import Arrow, Box, Drawing, Flow, Item, State, Task

_MOST_TASKS = 150
"""Tasks that are put in; a picture with more shows nothing any more."""


def with_grown(drawing: Drawing, tasks: Mapping[str, TaskRun], states: Mapping[str, State]) -> Drawing:
    """The drawing with the tasks below those that have grown; where there are too many, with their number.

    tasks: every task of the run; states: theirs.
    """
    below: dict[str, list[TaskRun]] = {}
    for run in tasks.values():
        if run.parent:
            below.setdefault(run.parent, []).append(run)
    if not below:
        return drawing
    grower = _Grower(below, states)
    grower.open([task.id for task in drawing.tasks()])
    return replace(drawing, items=grower.items(drawing.items), arrows=(*drawing.arrows, *grower.arrows))


class _Grower:
    """opened: tasks whose inner ones are shown."""

    def __init__(self, below: Mapping[str, Sequence[TaskRun]], states: Mapping[str, State]) -> None:
        self._below = below
        self._states = states
        self._opened: set[str] = set()
        self.arrows: list[Arrow] = []

    def open(self, waiting: list[str]) -> None:
        """Level by level, as long as there is room."""
        shown = 0
        for task in waiting:  # grows while it is walked
            inner = self._below.get(task, ())
            if inner and shown + len(inner) <= _MOST_TASKS:
                shown += len(inner)
                self._opened.add(task)
                waiting.extend(run.id for run in inner)

    def items(self, items: tuple[Item, ...]) -> tuple[Item, ...]:
        """The same items, tasks that have grown in boxes."""
        return tuple([self._item(item) for item in items])

    def _item(self, item: Item) -> Item:
        if isinstance(item, Box):
            return replace(item, items=self.items(item.items))
        inner = self._below.get(item.id, ())
        if not inner:
            return item
        if item.id not in self._opened:
            count = "1 task" if len(inner) == 1 else f"{len(inner):,} tasks"
            return replace(item, inside=(), lines=(*item.lines, f"became {count}"))
        tasks = [self._item(self._task(run)) for run in inner]
        return Box(f"{item.id} ", item.name, (replace(item, inside=()), *tasks))

    def _task(self, run: TaskRun) -> Task:
        for before in run.waits_for:
            self.arrows.append(Arrow(before, run.id, (Flow(),)))
        return Task(run.id, run.name, state=self._states.get(run.id), where=run.where)
