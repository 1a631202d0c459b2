"""How the code reaches the tasks: in their environment, by tasks that store it, or from the store.

The code zip is compressed with zstd. `inline`: its base64 is GRANDPA_CODE of every task. `task`: it is
cut into parts, a task `code` for each stores its part, every other task runs after them and has
GRANDPA_CODE=`@key,@key`. `store`: one part, which `deploy` (or `compile`, where it reaches the store)
writes. Keys are hashes of the parts, so they are known here.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass, replace

from grandpa_kfp_runtime.contract import ENV_CODE, ENV_CODE_SHA256, CodeCall
from grandpa_kfp_runtime.errors import CompileError

from ..graph import Code
from .executors import Executors
from .names import Names
from .options import CompileOptions
from .pipeline import Leaf, Pipeline, Task
from .sizes import (
    ARGUMENT_LIMIT_BYTES,
    INLINE_CODE_LIMIT_BYTES,
    WORKFLOW_BUDGET_BYTES,
    WORKFLOW_LIMIT_BYTES,
    WorkflowSize,
    container_bytes,
    predict_workflow,
)

PART_BYTES = INLINE_CODE_LIMIT_BYTES * 3 // 4
MAX_PARTS = 4
"""The root DAG leaves room for so many tasks; more would not fit into a Workflow either."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object that must lie in the store before the pipeline runs: its key and its bytes."""

    key: str
    buffers: tuple[bytes, ...]

    @property
    def size_bytes(self) -> int:
        return sum(map(len, self.buffers))


@dataclass(frozen=True, slots=True)
class CodePlan:
    """The choice. env: what every task gets; parts: base64 for each code task; upload: for `store`.

    size: what was predicted for it, where that was asked.
    """

    mode: str
    env: tuple[tuple[str, str], ...]
    parts: tuple[str, ...] = ()
    upload: tuple[StoredObject, ...] = ()
    size: WorkflowSize | None = None


def plan_code(code: Code, pipeline: Pipeline, options: CompileOptions) -> CodePlan:
    """Chooses by `options.code`. Raises CompileError where the code does not fit as asked."""
    text = _encoded(code.zip)
    sha256 = (ENV_CODE_SHA256, code.sha256)
    if options.code == "store":
        upload = stored_part(b64decode(text))
        return CodePlan("store", ((ENV_CODE, f"@{upload.key}"), sha256), upload=(upload,))
    inline = CodePlan("inline", ((ENV_CODE, text), sha256))
    if options.code == "inline":
        _check_inline(text, pipeline)
        return inline
    if options.code == "auto" and (size := _inline_size(inline, text, pipeline)):
        return replace(inline, size=size)
    return _by_tasks(b64decode(text), sha256)


def add_code(pipeline: Pipeline, plan: CodePlan, code: Code, options: CompileOptions, executors: Executors) -> Pipeline:
    """The pipeline with the code in it: every container's environment, and the code tasks before the rest."""
    components = tuple(
        replace(item, executor=replace(item.executor, env=tuple(sorted((*item.executor.env, *plan.env)))))
        if isinstance(item, Leaf) and not item.theirs
        else item
        for item in pipeline.components
    )
    pipeline = replace(pipeline, components=components)
    if not plan.parts:
        return pipeline
    names = Names(*(task.key for task in pipeline.root.tasks))
    keys = Names(*(item.key.removeprefix("comp-") for item in components), pipeline.name)
    leaves: list[Leaf] = []
    tasks: list[Task] = []
    for number, text in enumerate(plan.parts, 1):
        call = CodeCall(code.sha256, number, len(plan.parts), options.store)
        executor = executors.code_task(tuple(call.argv()), ((ENV_CODE, text), (ENV_CODE_SHA256, code.sha256)))
        leaves.append(Leaf(f"comp-{keys.pick('code')}", (), (), (), executor, "code"))
        tasks.append(Task(names.pick("code"), leaves[-1].key, cache=False, retries=2))
    first = tuple(sorted(task.key for task in tasks))
    later = tuple(task if task.after else replace(task, after=first) for task in pipeline.root.tasks)
    root = replace(pipeline.root, tasks=(*tasks, *later))
    return replace(pipeline, root=root, components=(*leaves, *components))


def stored_part(part: bytes) -> StoredObject:
    """The part as the store holds it: the object of a `bytes` value, which is what a code task writes."""
    from grandpa_kfp_runtime.stores.base import key_of
    from grandpa_kfp_runtime.values.codecs import encode
    from grandpa_kfp_runtime.values.objects import pack

    buffers = tuple(bytes(buffer) for buffer in pack(encode(part)))
    return StoredObject(key_of(buffers), buffers)


def _encoded(zip_bytes: bytes) -> str:
    from grandpa_kfp_runtime.code.payload import encode_code_env

    encode_code: Callable[[bytes], str] = encode_code_env
    return encode_code(zip_bytes)


def _check_inline(text: str, pipeline: Pipeline) -> None:
    if len(text) > INLINE_CODE_LIMIT_BYTES or _largest(pipeline) + len(text) > ARGUMENT_LIMIT_BYTES:
        raise CompileError(
            f"the code takes {len(text):,} bytes, and inline at most {INLINE_CODE_LIMIT_BYTES:,} fit together with "
            "a task's arguments: compile with --code task or --code store"
        )


def _inline_size(plan: CodePlan, text: str, pipeline: Pipeline) -> WorkflowSize | None:
    """The Workflow's size where inline code is right, else None.

    It is right within one argument, and within half a Workflow or nearly free beside the tasks themselves.
    """
    if len(text) > INLINE_CODE_LIMIT_BYTES or _largest(pipeline) + len(text) > ARGUMENT_LIMIT_BYTES:
        return None
    size = predict_workflow(pipeline, dict(plan.env))
    fits = size.total <= WORKFLOW_BUDGET_BYTES or size.total <= predict_workflow(pipeline).total * 1.1
    return size if fits else None


def _largest(pipeline: Pipeline) -> int:
    return max((container_bytes(leaf.executor) for leaf in pipeline.leaves() if not leaf.theirs), default=0)


def _by_tasks(compressed: bytes, sha256: tuple[str, str]) -> CodePlan:
    slices = [compressed[at : at + PART_BYTES] for at in range(0, len(compressed), PART_BYTES)]
    if len(slices) > MAX_PARTS:
        raise CompileError(
            f"the code takes {len(compressed):,} bytes compressed, and tasks can carry {MAX_PARTS * PART_BYTES:,} "
            f"within Argo's limit of {WORKFLOW_LIMIT_BYTES:,} for a workflow: compile with --code store, "
            "or leave data files out (include=)"
        )
    keys = ",".join(f"@{stored_part(part).key}" for part in slices)
    return CodePlan("task", ((ENV_CODE, keys), sha256), tuple(b64encode(part).decode("ascii") for part in slices))
