"""A compiled YAML as data: its parameters and its tasks, those of loops in DAGs of their own.

`kfp_reading.py` makes it of a file, `pipeline_yaml.py` runs it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from grandpa_kfp_runtime.contract import TaskCall
from grandpa_kfp_runtime.typespec import Json

from .kfp_conditions import Condition
from .kfp_containers import Container

FILE = "file"


@dataclass(frozen=True, slots=True)
class YamlParameter:
    """One parameter of the pipeline; `type` is KFP's name for it."""

    name: str
    type: str
    default: Json = None
    optional: bool = False
    description: str = ""


@dataclass(frozen=True, slots=True)
class FromConstant:
    value: Json


@dataclass(frozen=True, slots=True)
class FromParameter:
    """A parameter of the DAG that the task stands in: the pipeline's, or a loop's body's."""

    name: str


@dataclass(frozen=True, slots=True)
class FromTask:
    """task: its number in the DAG."""

    task: int
    output: str


@dataclass(frozen=True, slots=True)
class FromOneOf:
    """The first of these that was made: an output of branches."""

    sources: tuple[Source, ...]


Source: TypeAlias = "FromConstant | FromParameter | FromTask | FromOneOf"


@dataclass(frozen=True, slots=True)
class YamlInput:
    """type: KFP's. optional: the task runs with `default`, or without it where that is None, if nobody made it. file:
    it is an artifact, whose value is what an ExecutorInput says of it."""

    name: str
    type: str
    source: Source
    optional: bool = False
    default: Json = None
    file: bool = False


@dataclass(frozen=True, slots=True)
class YamlLoop:
    """What a task does for each item. item: the body's parameter that holds one; type: KFP's of it; items: the input
    that holds them all, or the list itself; parallelism: rounds under way at once, 0 for all."""

    body: YamlDag
    item: str
    type: str
    items: str | tuple[Json, ...]
    parallelism: int = 0


@dataclass(frozen=True, slots=True)
class YamlTask:
    """One task: a container, a loop, or the start or the end of a DAG, at which tasks wait.

    id: `group/name`; outputs: parameter names -> KFP type; artifacts: names -> schema; retries, pause_s and
    pause_factor as in its retryPolicy; condition: of the inputs, without which it is skipped; heeds: the tasks with
    which it is skipped, None for all of `after`; always: it runs when those in `after` have ended, whatever became of
    them; cache: Kubeflow may take its result from its cache.
    """

    id: str
    container: Container | None = None
    after: tuple[int, ...] = ()
    inputs: tuple[YamlInput, ...] = ()
    outputs: tuple[tuple[str, str], ...] = ()
    artifacts: tuple[tuple[str, Json], ...] = ()
    retries: int = 0
    pause_s: float = 0.0
    pause_factor: float = 2.0
    condition: Condition | None = None
    loop: YamlLoop | None = None
    heeds: tuple[int, ...] | None = None
    always: bool = False
    cache: bool = False

    @property
    def is_told(self) -> bool:
        """Whether it is a task to the user."""
        return self.container is not None or self.loop is not None


@dataclass(frozen=True, slots=True)
class YamlDag:
    """Tasks by number, and outputs by name. DAGs in it are opened, but for the bodies of loops."""

    tasks: tuple[YamlTask, ...]
    outputs: tuple[tuple[str, Source], ...]

    @property
    def always(self) -> dict[int, tuple[int, ...]]:
        """The tasks that run always, and what of that which they wait for has to succeed all the same."""
        return {number: task.heeds or () for number, task in enumerate(self.tasks) if task.always}

    def containers(self, prefix: str = "") -> Iterator[tuple[str, YamlTask, Container]]:
        """Every task that is a container, with its id, where a loop's rounds have a `*`."""
        for task in self.tasks:
            if task.container is not None:
                yield prefix + task.id, task, task.container
            elif task.loop is not None:
                yield from task.loop.body.containers(f"{prefix}{task.id}/*/")

    def own_form(self, source: Source) -> str:
        """KFP's type of an output that holds a value itself, `FILE` for an artifact, empty for one that is a handle."""
        if isinstance(source, FromOneOf):
            return self.own_form(source.sources[0])
        task = self.tasks[source.task] if isinstance(source, FromTask) else None
        if task is None or task.container is None or not isinstance(source, FromTask):
            return ""
        if source.output in dict(task.artifacts):
            return FILE
        exports = TaskCall.from_argv(task.container.args)[0].interface.exports if task.container.is_task else ()
        is_handle = task.container.is_ours and source.output not in [item.name for item in exports]
        return "" if is_handle else dict(task.outputs)[source.output]

    def consumers(self, parameter: str) -> Iterator[tuple[YamlTask, str]]:
        """The containers that read a parameter of the DAG, and the inputs they read it by."""
        for task in self.tasks:
            for item in task.inputs:
                if item.source == FromParameter(parameter):
                    if task.container is not None:
                        yield task, item.name
                    elif task.loop is not None:
                        yield from task.loop.body.consumers(item.name)


@dataclass(frozen=True, slots=True)
class YamlPipeline:
    """A whole file. dag: the root's."""

    name: str
    description: str
    parameters: tuple[YamlParameter, ...]
    dag: YamlDag
    text: str = field(repr=False)
