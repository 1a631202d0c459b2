"""Branches and loops in the form that Kubeflow has: it compares texts, and loops over a list of texts.

Before: conditions test any values; a loop's items are any list; what arms and bodies give are any values.
After: a builtin task before each branch chooses the arm, and the condition of each arm is that it was its number.
    A builtin task before each loop makes its items handles, and one behind it makes one list of the handles of each
    output; nobody else reads the loop, which stands in a branch where its list may be empty. What arms give are whole
    outputs; what bodies of loops give are whole outputs of calls. What both are given are whole outputs and parameters,
    and each parameter of theirs is a handle or has the type of the parameter around it.
Why: Kubeflow has nothing to collect from a loop without rounds. It sees handles, and conditions see values in
    Python's own sense, whatever they are stored as.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from itertools import count

from grandpa_kfp_runtime.conditions import encode
from grandpa_kfp_runtime.errors import CodecError

from ..constants import handle_text, path_keys
from ..graph import (
    HANDLE,
    RESULT,
    Arm,
    Branch,
    Call,
    Constant,
    Filled,
    Graph,
    Json,
    Loop,
    Operation,
    Options,
    Parameter,
    ParameterValue,
    Predicate,
    PythonNode,
    TaskOutput,
    Value,
    leaves,
)
from .bodies import changed, in_bodies, with_values
from .builtins import CHOOSE, COLLECTED, FILLED, GATHER, IDENTITY, SPREAD, free_id, options_like
from .gather_inputs import GATHER_WIDTH, is_list_of_holes
from .result_task import is_handle, made_by


def control_tasks(graph: Graph) -> Graph:
    """The graph with what its branches and loops need around them; see the module."""
    if all(isinstance(item, Call) for item in graph.operations):
        return graph
    graph = _each(graph, lambda adding, item: adding.where_filled(item) if isinstance(item, Loop) else item)
    graph = _each(_reading_collected(graph), _Adding.prepared)
    graph = in_bodies(control_tasks, graph)
    rounds = [replace(item, body=_round(item.body)) if isinstance(item, Loop) else item for item in graph.operations]
    return replace(graph, operations=tuple(rounds))


def _each(graph: Graph, change: Callable[[_Adding, Operation], Operation]) -> Graph:
    adding = _Adding(graph)
    for item in graph.operations:
        adding.operations.append(change(adding, item))
    return replace(graph, operations=tuple(adding.operations))


def chosen_by(branch: Branch) -> Value:
    """After the pass: the value that is the number of the arm to take."""
    predicate = branch.arms[0].predicate
    assert predicate is not None
    return next(predicate.values())


# --- what loops give ------------------------------------------------------------------------------


def _reading_collected(graph: Graph) -> Graph:
    """A task behind each loop for each of its outputs, which all others read instead."""
    operations: list[Operation] = []
    instead: dict[tuple[str, str], str] = {}
    for item in graph.operations:
        operations.append(item)
        for name, _ in item.body.outputs if isinstance(item, Loop) else ():
            wider = replace(graph, operations=tuple(operations) + graph.operations)
            id_ = free_id(wider, f"{item.id}-collected")
            instead[item.id, name] = id_
            operations.append(Call(id_, COLLECTED, (TaskOutput(item.id, name),), where=item.where))
    if not instead:
        return graph

    def change(value: Value) -> Value:
        if isinstance(value, TaskOutput) and (value.task, value.output) in instead:
            return TaskOutput(instead[value.task, value.output], RESULT, value.path)
        return value

    made = set(instead.values())
    return replace(
        graph,
        instances=tuple(with_values(item, change) for item in graph.instances),
        operations=tuple(item if item.id in made else with_values(item, change) for item in operations),
        outputs=tuple((name, changed(value, change)) for name, value in graph.outputs),
    )


# --- what is needed before ------------------------------------------------------------------------


@dataclass(slots=True)
class _Adding:
    """One graph's operations in the making. They are called after the branch or loop that they serve."""

    graph: Graph
    operations: list[Operation] = field(default_factory=list)

    def prepared(self, item: Operation) -> Operation:
        if isinstance(item, Branch):
            return self.branch(item)
        return self.loop(item) if isinstance(item, Loop) else item

    def where_filled(self, loop: Loop) -> Loop | Branch:
        """The loop, or, where its list may be empty, a branch that loops or gives empty lists."""
        if self._is_filled(loop.items):
            return loop
        items = self._listed(loop)
        filled = self._task(loop, "filled", FILLED, (items,), loop.after)
        arguments = self._arguments(loop)
        name = next(name for number in count() if (name := f"items-{number}") not in dict(arguments))
        spread = Call("items", SPREAD, (ParameterValue(name),), options=self._options((items,)), where=loop.where)
        inner = replace(
            loop,
            id="rounds",
            items=TaskOutput(spread.id),
            arguments=tuple([(key, ParameterValue(key)) for key, _ in arguments]),
            after=(),
        )
        names = [key for key, _ in loop.body.outputs]
        nothing = Graph(loop.id, outputs=tuple([(key, Constant([])) for key in names]), where=loop.where)
        rounds = Graph(
            loop.id,
            tuple([Parameter(key, HANDLE) for key in (name, *dict(arguments))]),
            (),
            (spread, inner),
            tuple([(key, TaskOutput(inner.id, key)) for key in names]),
            where=loop.where,
        )
        arms = [Arm(Predicate("==", (filled, Constant(number))), body) for number, body in enumerate((nothing, rounds))]
        return Branch(loop.id, tuple(arms), ((name, items), *arguments), loop.after, loop.where)

    def branch(self, branch: Branch) -> Branch:
        chosen = self._chosen(branch)
        arguments = self._arguments(branch)
        types = self._types(arguments)
        arms = [
            Arm(Predicate("==", (chosen, Constant(number))), _arm(_typed(arm.body, types)))
            for number, arm in enumerate(branch.arms)
        ]
        if not any(arm.body.operations for arm in arms):
            arms[0] = replace(arms[0], body=_busy(arms[0].body))
        return replace(branch, arms=tuple(arms), arguments=arguments)

    def _chosen(self, branch: Branch) -> TaskOutput:
        """The number of the arm to take."""
        predicates = [arm.predicate for arm in branch.arms if arm.predicate is not None]
        asked = next(iter(predicates[0].values())) if predicates else None
        if isinstance(asked, TaskOutput) and self._is_made_by(asked, FILLED):
            return asked
        tested: list[Value] = []
        conditions = [encode(predicate, _Places(tested)) for predicate in predicates]
        return self._task(branch, "choice", CHOOSE, (Constant(conditions), *tested), branch.after)

    def loop(self, loop: Loop) -> Loop:
        items = loop.items
        if not self._is_made_by(items, SPREAD):
            items = self._task(loop, "items", SPREAD, (self._listed(loop),), loop.after)
        arguments = self._arguments(loop)
        types = {**self._types(arguments), loop.item: Parameter(loop.item, HANDLE)}
        return replace(loop, items=items, body=_typed(loop.body, types), arguments=arguments)

    def _listed(self, loop: Loop) -> Value:
        """The items as one handle's list, made by handle where that can be."""
        items = loop.items
        if isinstance(items, Constant) or is_handle(items, self.graph):
            return items
        whole = isinstance(items, Filled) and len(items.holes) <= GATHER_WIDTH and is_list_of_holes(items)
        if whole and all(is_handle(item, self.graph) for item in leaves(items)):
            return self._task(loop, "list", GATHER, tuple(leaves(items)), loop.after)
        return self._task(loop, "list", IDENTITY, (items,), loop.after)

    def _arguments(self, item: Branch | Loop) -> tuple[tuple[str, Value], ...]:
        """All of them whole; what is a part or a constant becomes a task's output."""
        return tuple([
            (name, value if _is_whole(value) else self._task(item, "argument", IDENTITY, (value,), item.after))
            for name, value in item.arguments
        ])  # fmt: skip

    def _types(self, arguments: Iterable[tuple[str, Value]]) -> dict[str, Parameter]:
        around = {parameter.name: parameter.type for parameter in self.graph.parameters}
        return {
            name: Parameter(name, around[value.name] if isinstance(value, ParameterValue) else HANDLE)
            for name, value in arguments
        }

    def _is_filled(self, items: Value) -> bool:
        """Whether a list is known to have an item."""
        if isinstance(items, Constant):
            try:
                text = handle_text(items)
            except CodecError:
                return False  # binding tells which argument it is
            return text.startswith("[") and text != "[]"
        if isinstance(items, Filled):
            return is_list_of_holes(items) and bool(items.holes)
        return self._is_made_by(items, SPREAD)

    def _is_made_by(self, value: Value, node: PythonNode) -> bool:
        if not isinstance(value, TaskOutput):
            return False
        makers = (item for item in (*self.graph.operations, *self.operations) if item.id == value.task)
        return any(isinstance(item, Call) and item.node == node for item in makers)

    def _task(
        self, item: Branch | Loop, verb: str, node: PythonNode, args: tuple[Value, ...], after: tuple[str, ...]
    ) -> TaskOutput:
        known = self._known()
        call = Call(
            free_id(known, f"{item.id}-{verb}"), node, args, options=self._options(args), after=after, where=item.where
        )
        self.operations.append(call)
        return TaskOutput(call.id)

    def _options(self, args: tuple[Value, ...]) -> Options:
        producers = [leaf.task for arg in args for leaf in leaves(arg) if isinstance(leaf, TaskOutput)]
        return options_like(self._known(), producers)

    def _known(self) -> Graph:
        return replace(self.graph, operations=(*self.graph.operations, *self.operations))


@dataclass(frozen=True, slots=True)
class _Places:
    """Gives each operand its place among the values, each value once, and the keys of its path."""

    values: list[Value]

    def __call__(self, operand: Value) -> list[Json]:
        keys: tuple[Json, ...] = ()
        if isinstance(operand, TaskOutput | ParameterValue):
            keys = path_keys(operand.path)
            operand = replace(operand, path=())
        if operand not in self.values:
            self.values.append(operand)
        return [self.values.index(operand), *[dict(key) if isinstance(key, dict) else key for key in keys]]


def _typed(body: Graph, types: dict[str, Parameter]) -> Graph:
    return replace(body, parameters=tuple([types[parameter.name] for parameter in body.parameters]))


def _arm(body: Graph) -> Graph:
    return made_by(body, {item.id for item in body.operations})


def _round(body: Graph) -> Graph:
    """What a loop collects comes from a container: Kubeflow does not look for it in DAGs below."""
    return made_by(_busy(body), {item.id for item in body.operations if isinstance(item, Call)})


def _busy(body: Graph) -> Graph:
    """The body, with a task that does nothing where it has none: a DAG has tasks."""
    if body.operations:
        return body
    return replace(body, operations=(Call("nothing", IDENTITY, (Constant(None),), where=body.where),))


def _is_whole(value: Value) -> bool:
    return isinstance(value, TaskOutput | ParameterValue) and not value.path
