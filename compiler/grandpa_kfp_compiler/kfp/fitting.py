"""A graph that would not fit Kubeflow made to fit, where that is asked for; what it came to is told.

`compile_graph` calls `fitted`: it lowers the graph, predicts the size of Argo's object for a run, and where that is
too large, in the mode `auto`, does it again with fewer steps.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from grandpa_kfp_runtime.contract import ROUNDS_LIMIT
from grandpa_kfp_runtime.errors import CompileError, GrandpaError
from grandpa_kfp_runtime.values.sharing import describing

from ..graph import Call, ComponentCall, Graph, Group, Loop, bodies_of
from ..passes import run_passes
from ..passes.builtins import is_builtin
from ..passes.critical_path import critical_path
from ..passes.fuse import MOST_STEPS, ROOM, component_parts, fused_groups, steps
from ..passes.nest_groups import DAG_TASKS
from ..passes.rounds import rounds_of
from ..verify.faults import place_of
from .code import CodePlan, add_code, plan_code
from .executors import Executors
from .lower import PARALLELISM, lower
from .options import CompileOptions
from .pipeline import Pipeline
from .sizes import WORKFLOW_BUDGET_BYTES, WORKFLOW_LIMIT_BYTES, WorkflowSize, check_tasks, count_tasks, predict_workflow

ACCEPTED_BYTES = WORKFLOW_LIMIT_BYTES * 9 // 10
"""Up to here a pipeline stays as it is: a prediction may be wrong."""

WANTED_BYTES = WORKFLOW_LIMIT_BYTES * 4 // 5
"""What `auto` aims at where it fuses."""

_TRIES = 6


@dataclass(frozen=True, slots=True)
class Fitted:
    """The pipeline with its code in it. stages: the graph after each pass; size: predicted."""

    stages: Mapping[str, Graph]
    prepared: Graph
    executors: Executors
    pipeline: Pipeline
    plan: CodePlan
    size: WorkflowSize

    @property
    def code_bytes(self) -> int:
        """What tasks that carry the code take of the Workflow: once in the specification, twice in the status."""
        return 3 * sum(map(len, self.plan.parts))

    @property
    def tasks_bytes(self) -> int:
        """What all others take."""
        return self.size.total - self.code_bytes


def fitted(graph: Graph, options: CompileOptions, make_executors: Callable[[], Executors]) -> Fitted:
    """The graph as a pipeline that Kubeflow holds.

    graph: verified and packed. Raises CompileError where it cannot hold it, with the numbers and the ways out.
    """
    most = MOST_STEPS
    for _ in range(_TRIES):
        written: list[str] = []
        try:
            with describing():  # what tasks share is noted by the passes and by the lowering
                found = _lowered(graph, options, make_executors(), most, written.append)
        except GrandpaError:
            _write(written, options)  # what --print-after was asked for is wanted most now
            raise
        room = max(WANTED_BYTES - found.code_bytes, WORKFLOW_LIMIT_BYTES // 4)
        if options.fuse != "auto" or found.size.total <= ACCEPTED_BYTES or found.tasks_bytes <= room:
            break
        fewer = int(min(most, steps(found.stages["fuse"]) / ROOM) * room / found.tasks_bytes * 0.95)
        if fewer < 1:
            break
        most = fewer
    _write(written, options)
    if found.tasks_bytes > WORKFLOW_LIMIT_BYTES:
        raise CompileError(_too_large(graph, found, options))
    return found


def _write(texts: list[str], options: CompileOptions) -> None:
    for text in texts:
        (options.write or sys.stderr.write)(text)


def _lowered(
    graph: Graph, options: CompileOptions, executors: Executors, most: int, write: Callable[[str], object]
) -> Fitted:
    stages: dict[str, Graph] = {}
    prepared = run_passes(
        graph, mode=options.fuse, most=most, print_after=options.print_after, write=write, stages=stages
    )
    _check_rounds(stages["fuse"], options)
    code = prepared.code or graph.code
    assert code is not None
    bare = lower(prepared, options, executors)
    check_tasks(bare)
    plan = plan_code(code, bare, options)
    pipeline = add_code(bare, plan, code, options, executors)
    return Fitted(stages, prepared, executors, pipeline, plan, predict_workflow(pipeline))


def _check_rounds(graph: Graph, options: CompileOptions) -> None:
    """Raises CompileError for a loop that alone is too much, before anything is said of its list."""
    for item, rounds in _rounds(graph):
        tasks = max(1, _containers(item.body))
        size = (rounds or 0) * tasks * _ROUND_BYTES
        if size > WORKFLOW_LIMIT_BYTES:
            fuse = "" if options.fuse == "auto" else f"compile with --fuse auto (it is --fuse {options.fuse}), "
            raise CompileError(
                f"{place_of(item)}: its {rounds:,} rounds of {_number(tasks, 'task')} make an Argo Workflow of about "
                f"{size // 1024:,} KiB, and Kubernetes stores {WORKFLOW_LIMIT_BYTES // 1024:,}: {fuse}loop over fewer "
                "items, or inside a node"
            )


def _rounds(graph: Graph) -> Iterator[tuple[Loop, int | None]]:
    """Each loop outside of steps, and how many rounds it is known to have."""
    for item in graph.operations:
        if isinstance(item, Loop):
            yield item, rounds_of(item, graph)
        if not (isinstance(item, Group) and item.fused):
            for body in bodies_of(item):
                yield from _rounds(body)


def _too_large(graph: Graph, found: Fitted, options: CompileOptions) -> str:
    tasks, size = count_tasks(found.pipeline), found.size
    text = (
        f"{graph.name}: its {tasks:,} tasks make an Argo Workflow of about {size.total // 1024:,} KiB (specification "
        f"{size.spec // 1024:,}, status {size.status // 1024:,}), and Kubernetes stores "
        f"{WORKFLOW_LIMIT_BYTES // 1024:,}"
    )
    ways = []
    if options.fuse != "auto":
        ways.append(f"compile with --fuse auto (it is --fuse {options.fuse})")
    else:
        text += ", though all that may share a container does"
        if any(not item.fuse for item in graph.components):
            ways.append("drop fuse=False")
    if found.plan.parts:
        ways.append("let the code lie in the store (--code store)")
    if any(_rounds(graph)):
        ways.append("loop over fewer items, or inside a node")
    return f"{text}: {', '.join([*ways, 'do more in each node'])}"


# --- what is told ---------------------------------------------------------------------------------


def told(graph: Graph, found: Fitted, options: CompileOptions) -> Iterator[str]:
    """What the user should know of fusion and size, a line each; nothing where nothing happened."""
    fused = found.stages["fuse"]
    groups = list(fused_groups(fused))
    if options.fuse != "none":
        yield from _split_components(graph, fused)
    tasks = count_tasks(found.pipeline)
    if groups:
        saved = _containers(graph) - _containers(fused)
        yield f"pods: {2 * (tasks + saved):,} -> {2 * tasks:,} (2 a task), {len(groups):,} of them run several tasks"
    nested = [item for item in found.prepared.operations if isinstance(item, Group)]
    if groups or nested:
        inside = {group.id: critical_path(group.body).tasks for group in groups}
        before, after = critical_path(graph), critical_path(found.prepared, inside)
        yield (
            f"critical path: {before.tasks:,} -> {after.tasks:,} tasks, {before.containers:,} -> "
            f"{after.containers:,} containers one after the other"
        )
    if nested and tasks > DAG_TASKS:
        dags = len(found.pipeline.dags()) - 1
        yield f"groups: {_number(dags, 'DAG')} of at most {DAG_TASKS} tasks hold {_number(tasks, 'task')}"
    size = found.size
    if size.total > WORKFLOW_BUDGET_BYTES:
        way = ": let the code lie in the store (--code store)" if size.total > WORKFLOW_LIMIT_BYTES else ""
        yield (
            f"{_number(tasks, 'task')} make an Argo Workflow of about {size.total // 1024:,} KiB, and Kubernetes "
            f"stores {WORKFLOW_LIMIT_BYTES // 1024:,} KiB{way}"
        )
    yield from _open_loops(fused, found)


def _containers(graph: Graph) -> int:
    """Tasks of the user's that are containers; a step is one."""
    count = 0
    for item in graph.operations:
        if isinstance(item, Call):
            count += not is_builtin(item.node)
        elif isinstance(item, Group) and item.fused:
            count += 1
        else:
            rounds = (rounds_of(item, graph) or 1) if isinstance(item, Loop) else 1
            count += rounds * sum(_containers(body) for body in bodies_of(item))
    return count


def _split_components(graph: Graph, fused: Graph) -> Iterator[str]:
    """Each component that asked to be one step and is not, with the reason."""
    for component, parts, reason in component_parts(graph, fused):
        yield f"{_name(component)}: it was to be one step and is {parts}: {reason}"


def _name(component: ComponentCall) -> str:
    return "/".join(component.path)


def _open_loops(graph: Graph, found: Fitted) -> Iterator[str]:
    """Loops of which only the run knows the rounds, and how many there may be."""
    for item, rounds in _rounds(graph):
        if rounds is None:
            tasks = max(1, _containers(item.body))
            room = WORKFLOW_LIMIT_BYTES - found.size.total
            most = min(ROUNDS_LIMIT, max(1, room // (_ROUND_BYTES * (tasks + 1))))
            yield (
                f"{place_of(item)}: Kubeflow holds about {most:,} rounds of it ({_number(tasks, 'task')} each), "
                f"{item.parallelism or PARALLELISM:,} at once; in a @Component(fuse=True) all of them are one step"
            )


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


_ROUND_BYTES = 900
"""A task's share of the compressed status, about."""
