"""`plan`: what a run would do with each task of a workflow, run it or take the result of an earlier run, and why."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from grandpa_kfp_runtime.errors import TaskError

if TYPE_CHECKING:
    from grandpa_kfp_compiler.bind import Bound
    from grandpa_kfp_compiler.graph import Call, Constant, Instance, Parameter, Value
    from grandpa_kfp_runtime.stores import Store

    from .engine.control import Control
    from .engine.memo.identity import Identities, Identity
    from .engine.memo.results import Batch, Result
    from .engine.plan import Plan
    from .engine.scratch import Scratch
    from .forcing import Forced

_MOST_NAMED = 5
_MOST_ROUNDS = 1_000
"""Tasks of a loop that get a line."""


@dataclass(frozen=True, slots=True)
class Planned:
    """One task. outcome: `unknown` where it depends on what another task gives that would run."""

    task: str
    outcome: Literal["cached", "run", "unknown"]
    why: str


def plan(
    workflow: Any,
    params: Mapping[str, Any] | None = None,
    *,
    store: Store | str | Path | None = None,
    force: Sequence[str] = (),
    root: str | Path | None = None,
) -> list[Planned]:
    """What `run` would do with each task of a workflow (or component, node, Graph), in the graph's order.

    Arguments as of `run`. Nothing runs and nothing is written. Raises ParameterError, TraceError, GraphError, and
    StoreError for a store that cannot be read.

    >>> from grandpa_kfp import Node, Workflow
    >>> @Node
    ... def square(x: int) -> int:
    ...     return x * x
    >>> @Workflow
    ... def pipeline(x: int = 3):
    ...     return square(x)
    >>> plan(pipeline, store="memory:")
    [Planned(task='square', outcome='run', why='it never ran')]
    """
    from grandpa_kfp_compiler.graph import Graph
    from grandpa_kfp_compiler.verify import verified
    from grandpa_kfp_runtime.stores import check_reachable, open_store

    from .api import root_of
    from .authoring.tracing import trace
    from .engine.flatten import flatten
    from .engine.memo.code import GraphCode
    from .engine.memo.identity import Identities
    from .engine.parameters import bind_parameters
    from .engine.plan import make_plan
    from .engine.scratch import Scratch
    from .engine.targets import Targets
    from .forcing import forced

    graph = workflow if isinstance(workflow, Graph) else trace(workflow, params or {})
    folder = Path(root) if root is not None else root_of(workflow)
    place = folder / ".grandpa" / "store" if store is None else store
    opened = open_store(place) if isinstance(place, str | Path) else place
    check_reachable(opened)
    given = params if workflow is graph else None
    flat = flatten(verified(graph))
    scratch = Scratch()
    code = Targets(graph, lambda: scratch.folder("code"))
    try:
        parameters = bind_parameters(flat, given or {}, code.load_type)
        identities = Identities(GraphCode(graph, folder), parameters)
        read = partial(_read, store=opened, parameters=parameters, load=code.load, scratch=scratch)
        looks = _Looks(opened, identities, forced(graph, force), read, flat.parameters)
        return list(looks.at_all(make_plan(flat, None, ())))
    finally:
        code.close()
        scratch.close()


def _in_order(waits_for: Sequence[Sequence[int]]) -> Iterator[int]:
    from .engine.scheduler import Schedule

    schedule = Schedule(waits_for)
    while (task := schedule.take()) is not None:
        yield task
        schedule.finish(task)


class _Undecided(Exception):
    """A value that a branch or a loop is decided by is not known. task: whose it is."""

    def __init__(self, task: str) -> None:
        super().__init__(task)
        self.task = task


def _read(
    bound: Bound,
    handle: Callable[[str, str], str | None],
    *,
    store: Store,
    parameters: Mapping[str, Constant],
    load: Callable[[str], Any],
    scratch: Scratch,
) -> Any:
    """The only argument of a task bound so. Raises _Undecided where an output is not known, StoreError."""
    from grandpa_kfp_compiler.graph import Constant, Outcome, TaskOutput
    from grandpa_kfp_runtime.task import call as run_call
    from grandpa_kfp_runtime.values.handles import from_handle

    from .engine.growth import AS_IT_IS

    folder = scratch.folder("planned")
    inputs: dict[str, Any] = {}
    for name, leaf in bound.sources:
        if isinstance(leaf, TaskOutput):
            known = handle(leaf.task, leaf.output)
            if known is None:
                raise _Undecided(leaf.task)
            inputs[name] = from_handle(known, store, scratch=folder)
            continue
        if isinstance(leaf, Outcome):
            raise _Undecided(name)
        constant = leaf if isinstance(leaf, Constant) else parameters[leaf.name]
        known = constant.handle
        inputs[name] = constant.value if known is None else from_handle(known, store, scratch=folder)
    return run_call(AS_IT_IS.key, bound.interface, inputs, lambda key: _same if key == AS_IT_IS.key else load(key))


def _same(value: Any) -> Any:
    return value


class _Looks:
    """What is known of the graph's nodes in the store, and of the outputs that would be there.

    read: a value that a branch or a loop is decided by; parameters: the workflow's.
    """

    def __init__(
        self,
        store: Store,
        identities: Identities,
        force: Forced,
        read: Callable[[Bound, Callable[[str, str], str | None]], Any],
        parameters: Sequence[Parameter],
    ) -> None:
        self._store = store
        self._identities = identities
        self._force = force
        self._read = read
        self._parameters = {item.name: item for item in parameters}
        self._batches: dict[str, list[Batch]] = {}
        self._outputs: dict[str, Mapping[str, str]] = {}

    def at_all(self, plan: Plan) -> Iterator[Planned]:
        """Every task of a plan, in the graph's order; what branches and loops become comes in their places."""
        from .engine.control import control_of

        found: dict[int, list[Planned]] = {}
        for number in _in_order(plan.waits_for):
            control = control_of(plan.calls[number])
            found[number] = (
                [self.at(plan.calls[number], plan.bounds[number])] if control is None else self._inside(control)
            )
        for number in range(len(plan.calls)):
            yield from found[number]

    def _inside(self, control: Control) -> list[Planned]:
        """The tasks that a branch or a loop becomes, as far as what it is decided by is known."""
        from grandpa_kfp_compiler.bind import bind
        from grandpa_kfp_compiler.graph import RESULT, Call, TaskOutput

        from .engine.growth import AS_IT_IS
        from .engine.plan import make_plan

        def evaluate(value: Value, instances: tuple[Instance, ...]) -> Any:
            call = Call(control.id, AS_IT_IS, (value,))
            return self._read(bind(call, {item.id: item for item in instances}, self._parameters), self._handle)

        found: list[Planned] = []
        try:
            for graph, _ in control.parts(evaluate, _MOST_ROUNDS):
                found += self.at_all(make_plan(graph, None, ()))
                result = graph.outputs[0][1]
                if control.once and isinstance(result, TaskOutput) and not result.path and result.task in self._outputs:
                    known = self._outputs[result.task].get(result.output)
                    if known is not None and control.outputs() == (RESULT,):
                        self._outputs[control.id] = {RESULT: known}
                if len(found) >= _MOST_ROUNDS:
                    return [*found, Planned(control.id, "unknown", "what else it becomes is not planned")]
        except _Undecided as undecided:
            return [Planned(control.id, "unknown", f"what is in it depends on what {undecided.task} gives")]
        except TaskError as error:
            return [Planned(control.id, "run", f"it will fail: {error}")]
        return found

    def at(self, call: Call, bound: Bound) -> Planned:
        from grandpa_kfp_compiler.graph import TaskOutput

        if self._force.means(call.id, call.name, call.node.name):
            return Planned(call.id, "run", "it is forced")
        if call.options.cache is False:
            return Planned(call.id, "run", "cache=False")
        if call.options.always:
            return Planned(call.id, "run", "it always runs")
        unknown = [
            leaf.task for _, leaf in bound.sources if type(leaf) is TaskOutput and leaf.task not in self._outputs
        ]
        batches = self._of(call.node.key)
        if unknown:
            code = self._identities.code(call, bound)
            if isinstance(code, str):
                return Planned(call.id, "run", code)
            if not any(batch.fingerprint == code[0] for batch in batches):
                return Planned(call.id, "run", _code_words(batches, call.id, code[1]))
            names = ", ".join(sorted(set(unknown)))
            return Planned(call.id, "unknown", f"it depends on what {names} gives")
        identity = self._identities.of(call, bound, self._handle)
        if isinstance(identity, str):
            return Planned(call.id, "run", identity)
        result = next((batch.results[identity.key] for batch in batches[::-1] if identity.key in batch.results), None)
        if result is None:
            return Planned(call.id, "run", self._why(call, bound, identity, batches))
        return self._with(call, result)

    def _with(self, call: Call, result: Result) -> Planned:
        from .engine.memo.memo import is_fresh
        from .engine.memo.results import is_there

        if not is_fresh(call, result, time.time()):
            return Planned(call.id, "run", f"it expired: its result is older than {call.options.cache}")
        if not is_there(self._store, result):
            return Planned(call.id, "run", f"the objects of its result in run {result.run} are gone")
        self._outputs[call.id] = result.outputs
        return Planned(call.id, "cached", f"run {result.run}")

    def _why(self, call: Call, bound: Bound, identity: Identity, batches: Sequence[Batch]) -> str:
        """Why there is no result: against the newest one of the same task, else of the same node."""
        same = [batch for batch in batches if batch.fingerprint == identity.fingerprint]
        if not same:
            code = self._identities.code(call, bound)
            return _code_words(batches, call.id, {} if isinstance(code, str) else code[1])
        result = _newest([item for batch in same for item in batch.results.values()], call.id)
        names = [name for name, text in identity.inputs.items() if result.inputs.get(name) != text]
        names += sorted(result.inputs.keys() - identity.inputs.keys())
        if not names:
            return "it is called in another way"
        return f"its input{'s' if len(names) > 1 else ''} {listed(names)} changed"

    def _of(self, node: str) -> list[Batch]:
        from .engine.memo.results import read_batches

        found = self._batches.get(node)
        if found is None:
            found = self._batches[node] = read_batches(self._store, node)
        return found

    def _handle(self, task: str, output: str) -> str | None:
        return self._outputs.get(task, {}).get(output)


def _newest(results: Sequence[Result], task: str) -> Result:
    return max([item for item in results if item.task == task] or results, key=lambda item: item.at)


def _code_words(batches: Sequence[Batch], task: str, parts: Mapping[str, str]) -> str:
    """Which parts of the code are not those of the newest result."""
    own = [batch for batch in batches if any(item.task == task for item in batch.results.values())]
    if not batches:
        return "it never ran"
    names = changed_parts(parts, (own or list(batches))[-1].parts)
    return f"its code changed: {names}" if names else "its code changed"


def changed_parts(parts: Mapping[str, str], before: Mapping[str, str]) -> str:
    """What of a node's code differs, in words; empty for nothing."""
    return listed([_part_words(name) for name in sorted({*parts, *before}) if parts.get(name) != before.get(name)])


def _part_words(name: str) -> str:
    """`train (flows)` for `flows:train`."""
    module, colon, qualname = name.partition(":")
    if not colon:
        return name
    return f"{qualname} ({module})" if qualname else f"what {module} does when it is loaded"


def listed(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more
