"""What had finished when an attempt at a step failed: stored then, and taken by the next attempt.

A step that succeeds writes nothing here. Kept is what later tasks have yet to read, and of all else only that it was
done. Results are known by the tasks' own cache keys, as `memo` makes them, the key of a producer standing for its
handle: so the pod that Kubeflow starts again takes them, a run that is retried, and the next run with the same inputs,
also where the code of the task that failed has been changed meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING

from grandpa_kfp_compiler.graph import Constant, Graph, TaskOutput, inputs_of
from grandpa_kfp_runtime.contract import FUSED
from grandpa_kfp_runtime.errors import CodecError, StoreError
from grandpa_kfp_runtime.launch.step import Room

from ..memo.results import Batch, Result, folder_of, is_there, read_batches
from ..plan import Key, Plan
from .tasks import StepTasks
from .values import StepValues

if TYPE_CHECKING:
    from ..memo.identity import Identity

_GONE = ""
"""The handle of an output that was not kept, since all that read it were done too."""


class Kept:
    """graph: flat, its nodes with their fingerprints alone; parameters: of this attempt."""

    def __init__(self, room: Room, graph: Graph, plan: Plan, parameters: Mapping[str, Constant]) -> None:
        self._room = room
        self._graph = graph
        self._plan = plan
        self._parameters = parameters
        self._node = f"{FUSED}{room.task}"
        self._order = tuple(TopologicalSorter(dict(enumerate(plan.waits_for))).static_order())
        self._found: dict[int, Result] = {}
        self._keys: list[Identity | None] | None = None

    def look(self) -> bool:
        """Whether results of an earlier attempt stand for tasks. One that the store cannot tell of are not missed."""
        try:
            known = {
                key: item for batch in read_batches(self._room.store, self._node) for key, item in batch.results.items()
            }
            self._found = self._standing(known) if known else {}
        except StoreError as error:
            self._room.warn(f"what an earlier attempt has left cannot be read, so all tasks run: {error}")
        return bool(self._found)

    def recall(self, task: int) -> Result | None:
        """The result that stands for the task; `memo.Memo.recall` for `GraphTasks`."""
        return self._found.pop(task, None)

    def keep(self, work: StepTasks, values: StepValues) -> None:
        """Stores the results of what has finished. Raises StoreError."""
        batch = Batch(self._node, "", {}, self._room.run_id)
        keys = self._identities_of_all()
        for task, call in enumerate(self._plan.calls):
            run, identity = work.table.runs[task], keys[task]
            if not run.has_result or identity is None:
                continue
            try:
                outputs = {name: self._handle(work, values, (call.id, name)) for name in call.node.outputs}
            except CodecError:
                continue  # it runs again
            at = time.time()
            batch.results[_key(identity)] = Result(
                call.id, self._room.run_id, at, run.duration_s, identity.inputs, outputs, run.logged
            )
        if batch.results:
            name = f"{self._room.run_id}-{int(time.time() * 1000)}"
            self._room.store.put_record(f"{folder_of(self._node)}{name}.json", batch.to_json())

    def _handle(self, work: StepTasks, values: StepValues, output: Key) -> str:
        return work.left.get(output) or values.stored(*output, self._room.class_fingerprint) or _GONE

    def _standing(self, known: Mapping[str, Result]) -> dict[int, Result]:
        """Of the results those that stand: what others still need of them is there."""
        from ..memo.memo import is_fresh

        keys, now = self._identities_of_all(), time.time()
        readers: dict[Key, set[int]] = {}
        for task, bound in enumerate(self._plan.bounds):
            for _, leaf in bound.sources:
                if isinstance(leaf, TaskOutput):
                    readers.setdefault((leaf.task, leaf.output), set()).add(task)
        wanted = {(leaf.task, leaf.output) for leaf in _final(self._graph)}
        found: dict[int, Result] = {}
        for task in reversed(self._order):
            call, identity = self._plan.calls[task], keys[task]
            result = None if identity is None else known.get(_key(identity))
            if result is None or not is_fresh(call, result, now) or result.outputs.keys() != set(call.node.outputs):
                continue
            needed = {
                name: result.outputs[name]
                for name in call.node.outputs
                if (call.id, name) in wanted or not readers.get((call.id, name), set()) <= found.keys()
            }
            if all(needed.values()) and is_there(self._room.store, _with(result, needed)):
                found[task] = result
        return found

    def _identities_of_all(self) -> list[Identity | None]:
        """The identity of each task, None for one that always runs, or comes after such a one."""
        if self._keys is None:
            from ..memo.code import GraphCode
            from ..memo.identity import Identities

            identities = Identities(GraphCode(self._graph), self._parameters)
            keys: list[Identity | None] = [None] * len(self._plan.calls)
            number = {call.id: task for task, call in enumerate(self._plan.calls)}

            def handle(task: str, output: str) -> str | None:
                made = keys[number[task]]
                return None if made is None else f"{_key(made)}/{output}"

            for task in self._order:
                found = identities.of(self._plan.calls[task], self._plan.bounds[task], handle)
                keys[task] = None if isinstance(found, str) else found
            self._keys = keys
        return self._keys


def _key(identity: Identity) -> str:
    """With the node: all of the compiler's own have one fingerprint."""
    return f"{identity.node}/{identity.key}"


def _with(result: Result, outputs: Mapping[str, str]) -> Result:
    return Result(result.task, result.run, result.at, result.duration_s, result.inputs, outputs)


def _final(graph: Graph) -> list[TaskOutput]:
    from grandpa_kfp_compiler.graph import Call, PythonNode

    result = Call("", PythonNode("", ""), tuple([value for _, value in graph.outputs]))
    instances = {item.id: item for item in graph.instances}
    return [leaf for leaf in inputs_of(result, instances) if isinstance(leaf, TaskOutput)]
