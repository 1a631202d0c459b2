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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from grandpa_kfp_runtime.errors import CompileError

from .pipeline import Dag, Executor, FromConstant, Leaf, Pipeline, Task

WORKFLOW_LIMIT_BYTES = 1024 * 1024
WORKFLOW_BUDGET_BYTES = WORKFLOW_LIMIT_BYTES // 2
UPLOAD_LIMIT_BYTES = 32 * 1024 * 1024
ARGUMENT_LIMIT_BYTES = 124 * 1024
"""Linux ends one argument or environment string at 128 KiB; the rest is the launcher's own."""

INLINE_CODE_LIMIT_BYTES = 96 * 1024

_SPEC_TASK_BYTES = 1100  # what a task takes in the spec, its Argo templates included; two inputs add some 500
_SPEC_COMPONENT_BYTES = 400  # a component beside its container
_SPEC_OUTPUT_BYTES = 60  # an output's declaration
_STATUS_TASK_DIGITS = 1000  # what gzip cannot shrink in a task's status: ids, times, addresses
_STATUS_DAG_BYTES = 700  # the same of a DAG, which has no pod of its own, compressed


@dataclass(frozen=True, slots=True)
class WorkflowSize:
    """Bytes of the Argo Workflow: spec as it is, status compressed."""

    spec: int
    status: int

    @property
    def total(self) -> int:
        return self.spec + self.status


def predict_workflow(pipeline: Pipeline, env: Mapping[str, str] | None = None) -> WorkflowSize:
    """The Workflow's size when every task has run. env: what each container gets besides its own.

    The spec holds each task once, the status each round of a loop, as far as their number is known.
    """
    extra = sum(len(name) + len(value) + 30 for name, value in (env or {}).items())
    tasks = [task for dag in pipeline.dags() for task in dag.tasks]
    leaves = pipeline.leaves()
    spec = sum(_SPEC_TASK_BYTES + 2 * _inputs_bytes(task) for task in tasks) + sum(
        _SPEC_COMPONENT_BYTES
        + container_bytes(leaf.executor)
        + (0 if leaf.theirs else extra)
        + platform_bytes(leaf.executor)
        + _SPEC_OUTPUT_BYTES * (len(leaf.outputs) + len(leaf.values))
        for leaf in leaves
    )
    counts = run_counts(pipeline)
    dags = sum(counts[dag.key] for dag in pipeline.dags()) - 1
    if spec > WORKFLOW_LIMIT_BYTES:  # over already: the rest is not worth the time
        return WorkflowSize(spec, sum(counts[leaf.key] for leaf in leaves) * _STATUS_TASK_DIGITS)
    return WorkflowSize(spec, _status(leaves, counts, env or {}) + dags * _STATUS_DAG_BYTES)


def run_counts(pipeline: Pipeline) -> Counter[str]:
    """How often each component runs, the root included; rounds that are not known count as one."""
    dags = {dag.key: dag for dag in pipeline.dags()}
    counts: Counter[str] = Counter()

    def visit(dag: Dag, times: int) -> None:
        counts[dag.key] += times
        for task in dag.tasks:
            rounds = 1 if task.rounds is None or task.rounds.count is None else task.rounds.count
            if task.component in dags:
                visit(dags[task.component], times * rounds)
            else:
                counts[task.component] += times * rounds

    visit(pipeline.root, 1)
    return counts


def _status(leaves: Sequence[Leaf], counts: Mapping[str, int], env: Mapping[str, str]) -> int:
    """The compressed status of all tasks: the first of each component together, the others as the second one alone."""
    firsts = _compressed("".join([_finished(leaf, 0, env) for leaf in leaves if counts[leaf.key]]))
    return firsts + sum([_second(leaf, env) * (counts[leaf.key] - 1) for leaf in leaves if counts[leaf.key] > 1])


def _second(leaf: Leaf, env: Mapping[str, str]) -> int:
    first = _finished(leaf, 0, env)
    return _compressed(first + _finished(leaf, 1, env)) - _compressed(first)


def _finished(leaf: Leaf, index: int, env: Mapping[str, str]) -> str:
    """What the status says of a finished task, about."""
    env = {} if leaf.theirs else dict(env)
    pod = json.dumps([leaf.executor.args, leaf.executor.env, leaf.executor.kubernetes, env])
    return f"{_noise(leaf.key, index)}{pod}{pod}"


def _compressed(text: str) -> int:
    """As Argo stores it: gzip, then base64."""
    return len(gzip.compress(text.encode(), 6, mtime=0)) * 4 // 3


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
            size = _inputs_bytes(task)
            if size > ARGUMENT_LIMIT_BYTES:
                raise CompileError(_too_large(task, size))


def _inputs_bytes(task: Task) -> int:
    return sum([_source_bytes(name, source) for name, source in task.inputs])


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
    """Containers that a run starts, drivers left out; rounds that are not known count as one."""
    counts = run_counts(pipeline)
    return sum(counts[leaf.key] for leaf in pipeline.leaves())
