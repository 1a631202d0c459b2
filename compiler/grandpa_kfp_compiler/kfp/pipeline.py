"""A Kubeflow pipeline as plain data: what `lower` chose and `emit` writes, and nothing decided twice.

Pipeline = root Dag + components (Leaf | Dag) by key
Dag      = tasks, each of one component, its inputs bound to a Source; some run on a condition, some in Rounds
Leaf     = one container: interface to KFP and Executor
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

from .retries import NO_BACKOFF, Backoff

GPU = "nvidia.com/gpu"
"""The resource that `gpu` counts where nothing else is said."""


@dataclass(frozen=True, slots=True)
class Amount:
    """Of CPU or memory, in Kubernetes' text; None where it is not set."""

    request: str | None = None
    limit: str | None = None


@dataclass(frozen=True, slots=True)
class Executor:
    """One container. env is sorted by name; accelerator: a further resource and its amount.

    kubernetes: its KubernetesExecutorConfig as plain data. resources: further ones, as KFP's container spec has them.
    """

    image: str
    command: tuple[str, ...]
    args: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()
    cpu: Amount = Amount()
    memory: Amount = Amount()
    accelerator: tuple[str, str] | None = None
    kubernetes: dict[str, Any] = field(default_factory=dict)
    resources: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Leaf:
    """A component that is a container. inputs: (name, KFP's type, of an artifact its schema title); outputs: names,
    handles all of them; artifacts: (name, schema title).

    where: the task it was made for first, for messages; listed: its outputs are not handles but LISTs of them.
    values: (name, KFP's type) of outputs that are no handles. optional: inputs that a task may do without. theirs: the
    container runs a command of its own, and none of our code.
    """

    key: str
    inputs: tuple[tuple[str, str], ...]
    outputs: tuple[str, ...]
    artifacts: tuple[tuple[str, str], ...]
    executor: Executor
    where: str = ""
    listed: bool = False
    values: tuple[tuple[str, str], ...] = ()
    optional: tuple[str, ...] = ()
    theirs: bool = False


@dataclass(frozen=True, slots=True)
class FromConstant:
    """An input bound to a value known now: str, bool, int, float; of other people's containers also list and dict."""

    value: Any


@dataclass(frozen=True, slots=True)
class FromTask:
    """An input bound to an output of a task of the same DAG. file: an artifact."""

    task: str
    output: str
    file: bool = False


@dataclass(frozen=True, slots=True)
class FromParameter:
    """An input bound to a parameter of the DAG."""

    name: str


Source: TypeAlias = "FromConstant | FromTask | FromParameter"


@dataclass(frozen=True, slots=True)
class Rounds:
    """A task that runs once for each item of a LIST. item, items: the inputs that hold them; parallelism: how many at
    once, None for as many as there are; count: how many there are, None where only the run knows."""

    item: str
    items: str
    parallelism: int | None = None
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """One task of a DAG. after: every task it waits for, sorted. cache: None for a DAG. where: for messages.

    condition: of its inputs, in CEL; empty for a task that always runs. always: it is the exit handler of what it waits
    for.
    """

    key: str
    component: str
    inputs: tuple[tuple[str, Source], ...] = ()
    after: tuple[str, ...] = ()
    cache: bool | None = None
    retries: int = 0
    where: str = ""
    backoff: Backoff = NO_BACKOFF
    condition: str = ""
    rounds: Rounds | None = None
    always: bool = False


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a DAG. default: a JSON value, meant only where optional is set."""

    name: str
    type: str
    default: Any = None
    optional: bool = False
    description: str = ""


@dataclass(frozen=True, slots=True)
class Dag:
    """A component that is a graph. outputs: (name, task, the task's output); joined: outputs that one of several
    tasks gives, whichever runs; listed: it runs in rounds, and its outputs are LISTs; typed: outputs that are no
    handles, (name, where from, KFP's type or an artifact's schema title)."""

    key: str
    parameters: tuple[Parameter, ...]
    tasks: tuple[Task, ...]
    outputs: tuple[tuple[str, str, str], ...] = ()
    joined: tuple[tuple[str, tuple[FromTask, ...]], ...] = ()
    listed: bool = False
    typed: tuple[tuple[str, FromTask, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A whole pipeline; components in the order they are written."""

    name: str
    description: str
    root: Dag
    components: tuple[Leaf | Dag, ...]

    def leaves(self) -> list[Leaf]:
        """The components that are containers."""
        return [item for item in self.components if isinstance(item, Leaf)]

    def dags(self) -> list[Dag]:
        """The root and the components that are graphs."""
        return [self.root, *(item for item in self.components if isinstance(item, Dag))]
