"""The tasks of a run of a compiled YAML, by number: what they are given, which are skipped, the rounds of loops.

As `growth.py` has it for graphs. No threads here: the engine sees to it that a task is asked about when those before
it have ended, and that nobody else adds tasks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from grandpa_kfp_runtime.contract import ENV_FALLBACK
from grandpa_kfp_runtime.errors import ParameterError, TaskError
from grandpa_kfp_runtime.typespec import Json
from grandpa_kfp_runtime.values.summaries import summary

from .kfp_pipeline import FromConstant, FromOneOf, FromParameter, Source, YamlDag, YamlInput, YamlLoop, YamlTask
from .kfp_values import arrives, from_output_file
from .ledger import Policy, pause_s
from .resources import Limits, Request
from .run import Run, TaskRun


@dataclass(frozen=True, slots=True)
class Frame:
    """One opening of a DAG: the pipeline's own, or a loop's body for one item. first: the number of its first task;
    prefix: what their ids begin with; values: of its parameters."""

    dag: YamlDag
    first: int
    prefix: str
    values: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Rounds:
    """Tasks to come below a loop: as `Schedule.add` takes them. numbers: those that they get."""

    numbers: range
    waits_for: list[tuple[int, ...]]
    needs: list[int]
    always: dict[int, tuple[int, ...]]


class NotMade(Exception):
    """Nobody has made that value. task: the number of who would have, -1 for nobody in particular."""

    def __init__(self, task: int, output: str) -> None:
        super().__init__(output)
        self.task = task
        self.output = output


class YamlTable:
    """runs, policies, requests: of each task. A run whose id is empty is no task of the user's. root: the frame of the
    pipeline's own DAG."""

    def __init__(self, run: Run, dag: YamlDag, parameters: Mapping[str, Json], limits: Limits) -> None:
        self._run = run
        self.limits = limits
        self._shared: dict[int, tuple[list[Policy], list[Request | None]]] = {}
        self._share(dag, limits)
        self._frames: list[Frame] = []
        self._rounds: dict[int, list[Frame]] = {}  # of each loop
        self._given: dict[int, dict[str, Json]] = {}  # of each loop
        self._made: dict[tuple[int, str], Json] = {}
        self._skipped: dict[int, str] = {}
        self.runs: list[TaskRun] = []
        self.policies: list[Policy] = []
        self.requests: list[Request | None] = []
        self.root = Frame(dag, 0, "", parameters)
        self._open(self.root, "")

    def task(self, number: int) -> YamlTask:
        frame = self._frames[number]
        return frame.dag.tasks[number - frame.first]

    def id(self, number: int) -> str:
        """Also of a task that is not the user's."""
        return self._frames[number].prefix + self.task(number).id

    # --- values --------------------------------------------------------------------------------------

    def publish(self, number: int, texts: Mapping[str, str], files: Mapping[str, str]) -> None:
        """What the task's output files say, and where its artifacts are. Raises ParameterError for what is not of its
        type."""
        task = self.task(number)
        types = dict(task.outputs)
        for name, text in texts.items():
            self._made[number, name] = from_output_file(text, types[name])
        for name, schema in task.artifacts:
            if name in files:
                self._made[number, name] = {"name": name, "type": schema, "uri": files[name], "metadata": {}}

    def value(self, frame: Frame, source: Source) -> Json:
        """What a source holds for the tasks of a frame. Raises NotMade."""
        if isinstance(source, FromConstant):
            return source.value
        if isinstance(source, FromParameter):
            if source.name not in frame.values:
                raise NotMade(-1, source.name)
            return frame.values[source.name]
        if isinstance(source, FromOneOf):
            return self._first_made(frame, source)
        key = frame.first + source.task, source.output
        if key not in self._made:
            raise NotMade(*key)
        return self._made[key]

    def inputs(self, number: int) -> dict[str, Json]:
        """The task's inputs as its container gets them. Raises TaskError for one that nobody has made."""
        return self._values(number, self.task(number).inputs)

    def _first_made(self, frame: Frame, source: FromOneOf) -> Json:
        for one in source.sources:
            try:
                return self.value(frame, one)
            except NotMade as missing:
                last = missing
        raise last

    def _values(self, number: int, inputs: Sequence[YamlInput]) -> dict[str, Json]:
        frame, values = self._frames[number], {}
        for item in inputs:
            try:
                value = self.value(frame, item.source)
            except NotMade as missing:
                if not item.optional:
                    raise TaskError(f"its input {item.name} was not made: {self._why(missing)}") from None
                if item.default is None:
                    continue
                value = item.default
            values[item.name] = value if item.file else arrives(value, item.type)
        return values

    def _why(self, missing: NotMade) -> str:
        if missing.task < 0:
            return f"nobody gave {missing.output}"
        words = {"skipped": "was skipped", "failed": "failed"}
        how = words.get(self.runs[missing.task].state, "did not run")
        return f"it is the output {missing.output} of {self.id(missing.task)}, which {how}"

    # --- what does not run -----------------------------------------------------------------------------

    def why_skipped(self, number: int) -> str:
        """Why the task does not run, empty where it runs; those behind it ask afterwards.

        Raises TaskError where its condition cannot be decided.
        """
        task, first = self.task(number), self._frames[number].first
        for before in task.after if task.heeds is None else task.heeds:
            if first + before in self._skipped:
                return self._skip(number, self._skipped[first + before])
        if task.condition is None:
            return ""
        asked = [item for item in task.inputs if item.name in task.condition.reads]
        values = self._values(number, asked)
        try:
            if task.condition.holds(values):
                return ""
        except ParameterError as error:
            raise TaskError(f"its condition {task.condition.words} cannot be decided: {error}") from error
        name = self.id(number) if task.is_told else self.id(number).rpartition("/")[0]
        where = ", ".join(f"{key} is {summary(value)}" for key, value in values.items())
        return self._skip(number, f"the condition of {name} does not hold: {task.condition.words}, where {where}")

    def _skip(self, number: int, why: str) -> str:
        self._skipped[number] = why
        return why

    # --- loops -----------------------------------------------------------------------------------------

    def items(self, number: int) -> list[Json]:
        """What a loop goes over, whose inputs are there now. Raises TaskError for what is no list."""
        loop = self._loop(number)
        given = self._given[number] = self.inputs(number)
        self._rounds[number] = []
        if not isinstance(loop.items, str):
            return list(loop.items)
        given_items = given.pop(loop.items, None)
        items = _read(given_items) if isinstance(given_items, str) else given_items
        if not isinstance(items, list):
            raise TaskError(f"it loops over a list, but was given {summary(given_items)}; make it one in a node")
        return items

    def add_rounds(self, number: int, items: Sequence[Json]) -> Rounds:
        """The loop's next rounds."""
        loop, id_, begun = self._loop(number), self.id(number), self._rounds[number]
        first, count = len(self.runs), len(loop.body.tasks)
        for item in items:
            values = {**self._given[number], loop.item: arrives(item, loop.type)}
            begun.append(Frame(loop.body, len(self.runs), f"{id_}/{len(begun)}/", values))
            self._open(begun[-1], id_)
        starts = range(0, len(items) * count, count)
        always = loop.body.always
        return Rounds(
            range(first, len(self.runs)),
            [tuple([start + before for before in task.after]) for start in starts for task in loop.body.tasks],
            [start + count - 1 for start in starts],
            {
                start + task: tuple([start + need for need in needs])
                for start in starts
                for task, needs in always.items()
            },
        )

    def collected(self, number: int) -> dict[str, str]:
        """What the loop's rounds gave, a list of each output. Raises TaskError where one gave nothing."""
        found: dict[str, list[Json]] = {}
        for name, source in self._loop(number).body.outputs:
            try:
                found[name] = [self.value(frame, source) for frame in self._rounds[number]]
            except NotMade as missing:
                raise TaskError(f"a round gave no {name}: {self._why(missing)}") from None
        del self._rounds[number], self._given[number]
        return {name: json.dumps(values, ensure_ascii=False) for name, values in found.items()}

    def _loop(self, number: int) -> YamlLoop:
        loop = self.task(number).loop
        assert loop is not None
        return loop

    def _open(self, frame: Frame, parent: str) -> None:
        """Numbers for a DAG's tasks."""
        tasks = frame.dag.tasks
        ids = [frame.prefix + task.id if task.is_told else "" for task in tasks]
        runs = [
            TaskRun(id_, parent=parent, waits_for=tuple([ids[before] for before in task.after if ids[before]]))
            for id_, task in zip(ids, tasks, strict=True)
        ]
        policies, requests = self._shared[id(frame.dag)]
        self.runs += runs
        self.policies += policies
        self.requests += requests
        self._frames += [frame] * len(tasks)
        if parent:
            self._run.tasks.update((run.id, run) for run in runs if run.id)

    def _share(self, dag: YamlDag, limits: Limits, prefix: str = "") -> None:
        """What all openings of a DAG, and of those in it, have in common. Raises ParameterError for tasks that ask for
        what can never be had."""
        self._shared[id(dag)] = (
            list(map(_policy, dag.tasks)),
            [
                limits.request(task.container.limits.asked(), prefix + task.id) if task.container is not None else None
                for task in dag.tasks
            ],
        )
        for task in dag.tasks:
            if task.loop is not None:
                self._share(task.loop.body, limits, f"{prefix}{task.id}/*/")


def _read(text: str) -> Json:
    """As Kubeflow reads a text in place of a list; None where it is no JSON."""
    try:
        found: Json = json.loads(text)
    except ValueError:
        return None
    return found


def _policy(task: YamlTask) -> Policy:
    container = task.container
    if container is None:
        return Policy()
    first_s, deadline_s = task.pause_s or 1.0, container.platform.deadline_s
    fallback = dict(container.env).get(ENV_FALLBACK)
    return Policy(task.retries, deadline_s, lambda attempt: pause_s(attempt, first_s, task.pause_factor), fallback)
