"""Which tasks ran and which were skipped, by the names of their nodes: the same for every way of running."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from grandpa_kfp.engine.run import Run
from grandpa_kfp_compiler.graph import Call, Graph, Loop, Operation, bodies_of

_COUNTED = re.compile(r"-\d+$")
_STEP = "grandpa_kfp.engine.fused:"
_BUILTIN = "grandpa_kfp_runtime.builtins:"


def of_run(run: Run, graph: Graph) -> tuple[Counter[str], Counter[str]]:
    """Of a run of the workflow itself. Tasks that a body has called are part of the task whose body it is."""
    return _counted(run, {id_: _operation(graph, id_.split("/")) for id_ in run.tasks})


def _counted(run: Run, named: Mapping[str, Operation | None]) -> tuple[Counter[str], Counter[str]]:
    ran: Counter[str] = Counter()
    skipped: Counter[str] = Counter()
    for id_, operation in named.items():
        state = run.tasks[id_].state
        if isinstance(operation, Call) and not operation.node.key.startswith(_BUILTIN):
            ran[operation.node.name] += state in ("succeeded", "failed")
        if operation is not None and state == "skipped":
            has_parts = any(other.startswith(f"{id_}/") for other in run.tasks)
            skipped.update([] if has_parts else _calls(operation))
    return +ran, +skipped


def of_yaml_run(run: Run, graph: Graph, spec: Spec) -> tuple[Counter[str], Counter[str]]:
    """Of a run of the compiled file; what ran within a fused step has the names that it has in the workflow itself."""
    inside = {id_: _operation(graph, _as_written(id_)) for id_ in run.tasks if spec.is_within_step(id_)}
    ran, skipped = _counted(run, inside)
    by_state: dict[str, list[str]] = {}
    for id_, task in run.tasks.items():
        if id_ not in inside:
            by_state.setdefault(task.state, []).append(id_)
    ran += spec.ran([*by_state.get("succeeded", ()), *by_state.get("failed", ())])
    return ran, skipped + spec.skipped(by_state.get("skipped", ()))


def _as_written(way: str) -> list[str]:
    """The id that a task would have without the DAGs that the compiler adds for arms and rounds."""
    return [part for part in way.split("/") if part != "rounds" and not part.startswith("arm-")]


def _operation(graph: Graph, parts: list[str]) -> Operation | None:
    """What a task's id names; None for a round of a loop, and for what a body has called."""
    for operation in graph.operations:
        own = operation.id.split("/")
        if parts == own:
            return operation
        if parts[: len(own)] == own:
            rest = parts[len(own) :]
            rest = rest[1:] if isinstance(operation, Loop) else rest
            inside = (_operation(body, rest) for body in bodies_of(operation) if rest)
            return next((found for found in inside if found is not None), None)
    return None


def _calls(operation: Operation) -> Iterator[str]:
    """The tasks that an operation stands for; how often a loop would have gone round nobody knows."""
    if isinstance(operation, Call):
        yield operation.node.name
    elif not isinstance(operation, Loop):
        for body in bodies_of(operation):
            for inner in body.operations:
                yield from _calls(inner)


class Spec:
    """The components of a compiled pipeline, found by the ways of its tasks: `each/arm-1/rounds/0/double`."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self._spec = spec

    def ran(self, ways: Iterable[str]) -> Counter[str]:
        return Counter(name for way in ways for name in self._nodes(way, whole=False))

    def skipped(self, ways: Iterable[str]) -> Counter[str]:
        """What a skipped DAG holds is skipped with it; how often a loop in it would have gone round nobody knows."""
        return Counter(name for way in ways for name in self._nodes(way, whole=True))

    @property
    def has_steps(self) -> bool:
        """Whether some containers run several tasks, of which the cluster knows nothing."""
        return _STEP in str(self._spec["deploymentSpec"])

    def is_within_step(self, way: str) -> bool:
        component = self._spec["root"]
        for key in way.split("/"):
            if "dag" not in component and not key.isdigit():
                return True
            component = component if key.isdigit() else self._below(component, key)[0]
        return False

    def _below(self, component: Any, key: str) -> tuple[Any, Any]:
        task = component["dag"]["tasks"][key]
        return self._spec["components"][task["componentRef"]["name"]], task

    def _nodes(self, way: str, *, whole: bool) -> Iterator[str]:
        component, task = self._spec["root"], {}
        for key in way.split("/"):
            if not key.isdigit():
                component, task = self._below(component, key)
        return self._within(component, task) if whole else self._own(component)

    def _within(self, component: Any, task: Any) -> Iterator[str]:
        if "dag" not in component:
            yield from self._own(component)
        elif "parameterIterator" not in task:
            for inner in component["dag"]["tasks"].values():
                yield from self._within(self._spec["components"][inner["componentRef"]["name"]], inner)

    def _own(self, component: Any) -> Iterator[str]:
        if "executorLabel" in component:
            label = component["executorLabel"]
            container = self._spec["deploymentSpec"]["executors"][label]["container"]
            if "grandpa_kfp_runtime" in container["command"]:
                yield from node_of(container["args"])
            else:
                yield _COUNTED.sub("", label.removeprefix("exec-")).replace("-", "_")


def node_of(args: list[str]) -> Iterator[str]:
    """The user's node that a container's args name; none of what a pass added."""
    if "--node" in args:
        key = args[args.index("--node") + 1]
        if not key.startswith((_BUILTIN, _STEP)):
            yield key.rpartition(":")[2].rpartition("<locals>.")[2]
