"""How large the cluster's own objects become, predicted: what one process and one Workflow can hold.

KFP turns a pipeline into one Argo Workflow. Its spec holds the whole pipeline, each container once. Its
status holds each task's finished pod spec, environment included, twice: as the driver's output and as the
pod's input. Argo compresses the status (gzip, then base64) and Kubernetes stores at most 1 MiB of it all;
above that a run never ends. So the budget counts tasks times code, and repeated code is free only while
it repeats within gzip's window of 32 KiB. Hence this: gzip what the status would hold, of a few tasks of
each component, and count on from there.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from grandpa_kfp_runtime.errors import CompileError

from .pipeline import Dag, Executor, FromConstant, Leaf, Pipeline, Task

WORKFLOW_LIMIT_BYTES = 1024 * 1024
WORKFLOW_BUDGET_BYTES = WORKFLOW_LIMIT_BYTES // 2
UPLOAD_LIMIT_BYTES = 32 * 1024 * 1024
ARGUMENT_LIMIT_BYTES = 124 * 1024
"""Linux ends one argument or environment string at 128 KiB; the rest is the launcher's own."""

INLINE_CODE_LIMIT_BYTES = 96 * 1024

_SPEC_TASK_BYTES = 1600  # what a task takes in the spec, its Argo templates included
_STATUS_TASK_DIGITS = 1000  # what gzip cannot shrink in a task's status: ids, times, addresses
_SAMPLES = 2


@dataclass(frozen=True, slots=True)
class WorkflowSize:
    """Bytes of the Argo Workflow: spec as it is, status compressed."""

    spec: int
    status: int

    @property
    def total(self) -> int:
        return self.spec + self.status


def predict_workflow(pipeline: Pipeline, env: Mapping[str, str] | None = None) -> WorkflowSize:
    """The Workflow's size when every task has run. env: what each container gets besides its own."""
    counts = Counter(task.component for dag in pipeline.dags() for task in dag.tasks)
    extra = sum(len(name) + len(value) + 30 for name, value in (env or {}).items())
    tasks = sum(counts.values())
    leaves = pipeline.leaves()
    spec = tasks * _SPEC_TASK_BYTES + sum(
        2 * container_bytes(leaf.executor) + extra + platform_bytes(leaf.executor) for leaf in leaves
    )
    if spec > WORKFLOW_LIMIT_BYTES:
        return WorkflowSize(spec, tasks * _STATUS_TASK_DIGITS)  # over already: the rest is not worth the time
    return WorkflowSize(spec, sum(_status(leaf, counts[leaf.key], env or {}) for leaf in leaves))


def _status(leaf: Leaf, count: int, env: Mapping[str, str]) -> int:
    """The compressed status of all tasks of one component; beyond a few, each costs what the last one did."""
    env = {} if leaf.theirs else dict(env)
    pod = json.dumps([leaf.executor.args, leaf.executor.env, leaf.executor.kubernetes, env])
    sizes = [0]
    for number in range(1, min(count, _SAMPLES) + 1):
        text = "".join(f"{_noise(leaf.key, index)}{pod}{pod}" for index in range(number))
        sizes.append(len(gzip.compress(text.encode(), 6, mtime=0)) * 4 // 3)
    last = sizes[-1] - sizes[-2] if len(sizes) > 1 else 0
    return sizes[-1] + last * max(0, count - _SAMPLES)


def _noise(key: str, index: int) -> str:
    seed = f"{key} {index} "
    return "".join(
        hashlib.sha256(f"{seed}{part}".encode()).hexdigest() for part in range(_STATUS_TASK_DIGITS // 64 + 1)
    )


def container_bytes(executor: Executor) -> int:
    """The container's JSON, which is one argument of its driver."""
    env = sum(len(name) + len(json.dumps(value)) + 20 for name, value in executor.env)
    words = sum(len(json.dumps(word)) + 1 for word in (*executor.command, *executor.args))
    return 100 + len(executor.image) + env + words


def platform_bytes(executor: Executor) -> int:
    """The JSON of what it asks of Kubernetes, another argument of its driver."""
    return len(json.dumps(executor.kubernetes, separators=(",", ":")))


def check_tasks(pipeline: Pipeline) -> None:
    """Raises CompileError for the first task whose inputs or container are too large for one argument."""
    for leaf in pipeline.leaves():
        size = container_bytes(leaf.executor)
        if size > ARGUMENT_LIMIT_BYTES:
            raise CompileError(
                f"{leaf.where}: its description takes {size:,} bytes, and Linux ends an argument at "
                f"{ARGUMENT_LIMIT_BYTES:,}: pass fewer arguments, or put many Refs into one list"
            )
        size = platform_bytes(leaf.executor)
        if size > ARGUMENT_LIMIT_BYTES:
            raise CompileError(
                f"{leaf.where}: what it asks of Kubernetes takes {size:,} bytes, and Linux ends an argument at "
                f"{ARGUMENT_LIMIT_BYTES:,}: shorten its annotations, or give fewer volumes and secrets"
            )
    for dag in pipeline.dags():
        for task in dag.tasks:
            size = sum(_source_bytes(name, source) for name, source in task.inputs)
            if size > ARGUMENT_LIMIT_BYTES:
                raise CompileError(_too_large(task, size))


def _source_bytes(name: str, source: object) -> int:
    if isinstance(source, FromConstant):
        value = source.value
        return len(name) + (len(json.dumps(value)) + 60 if isinstance(value, str | list | dict) else 60)
    return 2 * len(name) + 110


def _too_large(task: Task, size: int) -> str:
    where = f" ({task.where})" if task.where else ""
    constants = sum(_source_bytes(*pair) for pair in task.inputs if isinstance(pair[1], FromConstant))
    advice = (
        "make the large constants in a node and pass its result, or pass File(path)"
        if constants * 2 > size
        else f"it takes {len(task.inputs)} inputs of its own; pass the Refs as one list"
    )
    limit = f"Linux ends an argument at {ARGUMENT_LIMIT_BYTES:,}"
    return f"{task.key}{where}: its inputs take {size:,} bytes, and {limit}: {advice}"


def check_upload(text: str) -> None:
    """Raises CompileError where the file is larger than what KFP takes."""
    size = len(text.encode()) if not text.isascii() else len(text)
    if size > UPLOAD_LIMIT_BYTES:
        raise CompileError(
            f"the pipeline takes {size:,} bytes and Kubeflow takes {UPLOAD_LIMIT_BYTES:,}: "
            "compile with --code store, or do more in each node"
        )


def count_tasks(pipeline: Pipeline) -> int:
    """Containers that a run starts, drivers left out."""
    dags = {dag.key for dag in pipeline.dags() if isinstance(dag, Dag)}
    return sum(1 for dag in pipeline.dags() for task in dag.tasks if task.component not in dags)
