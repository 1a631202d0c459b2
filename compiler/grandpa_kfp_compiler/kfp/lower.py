"""From the graph, its passes run, to a pipeline as data: every choice is made here.

Chosen here: names, what shares a component, how each input is bound, the order of tasks. A component
stands for a node, an interface and options that change its container, and is shared by all its tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from operator import attrgetter
from typing import Any

from grandpa_kfp_runtime.code.fingerprint import call_fingerprint
from grandpa_kfp_runtime.contract import INLINE_LIMIT_BYTES, Interface, TaskCall, json_for_args
from grandpa_kfp_runtime.errors import CodecError, CompileError, GraphError
from grandpa_kfp_runtime.parameters import kfp_type
from grandpa_kfp_runtime.values.sharing import describing

from ..bind import Bound, bind
from ..constants import default_json
from ..containers import arguments_of, is_parameter
from ..graph import (
    HANDLE,
    MISSING,
    OPTION_NAMES,
    RESULT,
    Branch,
    Call,
    Constant,
    ContainerNode,
    Graph,
    Group,
    Loop,
    Operation,
    Outcome,
    Port,
    TaskOutput,
    Value,
    bodies_of,
)
from ..graph import Parameter as GraphParameter
from ..passes.builtins import ABSENT, COLLECTED, SPREAD
from ..passes.control_tasks import chosen_by
from ..passes.rounds import rounds_of
from ..verify.faults import place_of
from .artifacts import artifacts_of
from .executors import Executors
from .fan_in import inline_limits
from .names import Names, sanitise
from .options import CompileOptions
from .pipeline import Dag, FromParameter, FromTask, Leaf, Parameter, Pipeline, Rounds, Task
from .retries import backoff
from .room import Room, output_names, result_of
from .root_value import made_by_python, value_port

_NOT_THE_CONTAINERS = {
    "retries", "backoff_s", "backoff_factor", "backoff_max_s", "cache", "version", "keep", "uses", "always", "artifact",
}  # fmt: skip
_container_options = attrgetter(*(name for name in OPTION_NAMES if name not in _NOT_THE_CONTAINERS))
"""Tasks that are alike in these share a container."""

PARALLELISM = 100
"""Rounds of a loop at once, where its user says nothing: Kubeflow would start all of them."""


def lower(graph: Graph, options: CompileOptions, executors: Executors) -> Pipeline:
    """The pipeline, without the code that its tasks need.

    graph: verified and packed, after the passes. Raises CompileError for what Kubeflow cannot hold,
    GraphError for what its tasks cannot share.
    """
    name = sanitise(options.name or graph.name, fallback="pipeline")
    lowering = _Lowering(options, executors, inline_limits(graph), Names(name))
    parameters = tuple(_root_parameter(parameter) for parameter in graph.parameters)
    known = {parameter.name: parameter.name for parameter in graph.parameters}
    value = value_port(graph) if options.outputs == "value" else None
    graph = graph if value is None else made_by_python(graph)
    with describing() as described:
        root = lowering.dag("root", graph, parameters, known, value)
    if faults := described.faults():
        raise GraphError(faults)
    return Pipeline(name, _text(graph.description), root, tuple(lowering.components()))


@dataclass(slots=True)
class _Lowering:
    """One pipeline in the making: the components met so far.

    The room of component names begins with the pipeline's own name: the kfp SDK takes a component that is
    called like its pipeline for the pipeline.
    """

    options: CompileOptions
    executors: Executors
    limits: Mapping[str, int]
    names: Names
    leaves: dict[Any, Leaf] = field(default_factory=dict)
    dags: list[Dag] = field(default_factory=list)

    def components(self) -> list[Leaf | Dag]:
        return [*self.leaves.values(), *self.dags]

    def dag(
        self,
        key: str,
        graph: Graph,
        parameters: tuple[Parameter, ...],
        known: Mapping[str, str],
        value: Port | None = None,
    ) -> Dag:
        """A graph as a DAG. known: the graph's names of its parameters -> the DAG's; value: what its result is, None
        for a handle."""
        names = Names()
        keys = {operation.id: names.pick(operation.id) for operation in graph.operations}
        room = Room(graph, keys, known, {}, [] if value is None else [(result_of(graph), value)])
        for operation in graph.operations:
            if not isinstance(operation, Call):
                room.given[operation.id] = output_names(bodies_of(operation)[0])
        tasks = tuple([self._task(operation, room) for operation in graph.operations])
        if value is not None:
            made = result_of(graph)
            source = FromTask(keys[made.task], room.exports.name(made, value), value.is_file)
            return Dag(key, parameters, tasks, typed=((RESULT, source, value.type),))
        named = output_names(graph)
        outputs = tuple(
            [
                (named[name], keys[value.task], room.output(value))
                for name, value in graph.outputs
                if type(value) is TaskOutput
            ]
        )
        absent = next((item.id for item in graph.operations if isinstance(item, Call) and item.node == ABSENT), None)
        if absent is None:
            return Dag(key, parameters, tasks, outputs)
        instead = FromTask(keys[absent], RESULT)
        calls = {keys[item.id] for item in graph.operations if isinstance(item, Call)}
        joined = tuple([(name, (FromTask(task, output), instead)) for name, task, output in outputs if task in calls])
        return Dag(key, parameters, tasks, tuple([item for item in outputs if item[1] not in calls]), joined)

    def _task(self, operation: Operation, room: Room) -> Task:
        if isinstance(operation, Group):
            return self._group(operation, room)
        if isinstance(operation, Branch):
            return self._branch(operation, room)
        if isinstance(operation, Loop):
            return self._loop(operation, room)
        if isinstance(operation.node, ContainerNode):
            return self._container(operation, operation.node, room)
        call = operation
        try:
            with describing(place_of(call), rounds=place_of(call) if call.node == SPREAD else ""):
                bound = bind(call, room.instances, room.parameters, encode=True, containers=room.containers)
        except CodecError as error:
            raise CompileError(str(error)) from error
        bound = replace(bound, interface=replace(bound.interface, exports=room.exports.of(call)))
        chosen = call.options
        after = room.after((value for _, value in bound.sources), call.after)
        guard = self._guard(call, after, room) if chosen.always else None
        cached = chosen.cache is not False and not chosen.always
        return Task(
            room.keys[call.id],
            self._leaf(call, bound, room, guard).key,
            tuple(
                [
                    (
                        name,
                        room.ended(call)
                        if isinstance(value, Outcome)
                        else room.source(value, bound.constants.get(name)),
                    )
                    for name, value in bound.sources
                ]
            ),
            after,
            cached and chosen.fallback is None,  # Kubeflow would keep a fallback as the result
            chosen.retries or 0,
            call.where,
            backoff(chosen),
            always=guard is not None,
        )

    def _guard(self, call: Call, after: tuple[str, ...], room: Room) -> tuple[str, ...]:
        """The containers of the DAG whose exit handler the task is. Raises CompileError where it is of no one."""
        group = next((item for item in room.graph.operations if room.keys[item.id] in after), None)
        if len(after) != 1 or not isinstance(group, Group):
            raise CompileError(
                f"{place_of(call)}: what runs always comes after one group of tasks on Kubeflow, but this waits for "
                f"{', '.join(after)}; call fewer tasks beside it, or pass it smaller arguments"
            )
        dags = {dag.key: dag for dag in self.dags}
        waiting, found = [room.components[group.id]], set()
        while waiting:
            for task in dags[waiting.pop()].tasks:
                if task.component in dags:
                    waiting.append(task.component)
                else:
                    found.add(task.key)
        return tuple(sorted(found))

    def _container(self, call: Call, node: ContainerNode, room: Room) -> Task:
        """A task of somebody else's image and command: it is given values and files instead of handles."""
        chosen = call.options
        key = (node.key, _container_options(chosen))
        leaf = self.leaves.get(key)
        if leaf is None:
            executor = self.executors.container(call, node)
            leaf = self.leaves[key] = Leaf(
                f"comp-{self.names.pick(node.name)}",
                tuple((port.name, port.type) for port in node.inputs),
                (),
                tuple((port.name, port.type) for port in node.gives if port.is_file),
                executor,
                place_of(call),
                values=tuple((port.name, port.type) for port in node.gives if not port.is_file),
                optional=tuple(port.name for port in node.inputs if port.optional),
                theirs=True,
            )
        given = dict(arguments_of(node, call))
        after = room.after(given.values(), call.after)
        if chosen.always:
            self._guard(call, after, room)
        inputs = [(port.name, room.for_container(port, given.get(port))) for port in node.inputs]
        return Task(
            room.keys[call.id],
            leaf.key,
            tuple([(name, source) for name, source in inputs if source is not None]),
            after,
            chosen.cache is not False and not chosen.always,
            chosen.retries or 0,
            call.where,
            backoff(chosen),
            always=bool(chosen.always),
        )

    def _leaf(self, call: Call, bound: Bound, room: Room, guard: tuple[str, ...] | None = None) -> Leaf:
        node, chosen = call.node, call.options
        classes = [room.prints[item.node] for item in bound.interface.instances]
        fingerprint = call_fingerprint(node.fingerprint, chosen, classes)
        limit = self.limits.get(call.id, INLINE_LIMIT_BYTES)
        attempts = chosen.retries if chosen.fallback is not None else None
        if not any(isinstance(value, Outcome) for _, value in bound.sources):
            guard = None
        key = (node.key, fingerprint, bound.interface, limit, _container_options(chosen), attempts, guard)
        leaf = self.leaves.get(key)
        if leaf is None:
            logs = [room.logs[item.node] for item in bound.interface.instances]
            leaf = self.leaves[key] = self._new_leaf(call, fingerprint, bound.interface, limit, logs, guard)
        return leaf

    def _new_leaf(
        self,
        call: Call,
        fingerprint: str,
        interface: Interface,
        limit: int,
        logs: list[tuple[str, ...]],
        guard: tuple[str, ...] | None,
    ) -> Leaf:
        args = TaskCall(call.node.key, fingerprint, interface, self.options.store, self.options.epoch)
        where = f"{call.id} ({call.where})" if call.where else call.id
        lists = "LIST" if call.node.key == COLLECTED.key else ""
        return Leaf(
            f"comp-{self.names.pick(call.node.name)}",
            tuple((item.name, lists or _input_type(item.kind, item.type)) for item in interface.inputs),
            interface.outputs,
            (
                *artifacts_of(call, logs),
                *((item.name, item.type) for item in interface.exports if not is_parameter(item.type)),
            ),
            self.executors.task(call, args, limit, guard),
            where,
            call.node.key == SPREAD.key,
            tuple((item.name, item.type) for item in interface.exports if is_parameter(item.type)),
        )

    def _group(self, group: Group, room: Room) -> Task:
        inside = _Inside(group.body.parameters)
        key = room.components[group.id] = self._add_dag(group.id, lambda key: self._body(group.body, inside, key))
        return self._nested(key, group, inside, room)

    def _branch(self, branch: Branch, room: Room) -> Task:
        """A DAG of the arms, of which one runs and gives the outputs."""
        inside = _Inside(_parameters_of(branch))
        chosen = inside.add("chosen", "STRING")
        key = self._add_dag(branch.id, lambda key: self._arms(key, branch, inside, chosen))
        return self._nested(key, branch, inside, room, ((chosen, chosen_by(branch)),))

    def _arms(self, key: str, branch: Branch, around: _Inside, chosen: str) -> Dag:
        tasks = []
        for number, arm in enumerate(branch.arms):
            if not arm.body.operations:
                continue  # nothing runs where it is taken, and nothing is given
            name = f"arm-{number}"
            inside = _Inside(arm.body.parameters)
            own = inside.add("chosen", "STRING")
            arm_key = self._add_dag(f"{branch.id}-{name}", partial(self._body, arm.body, inside))
            inputs = [(inside.known[item.name], FromParameter(around.known[item.name])) for item in arm.body.parameters]
            condition = f"inputs.parameter_values['{own}'] == '{number}'"
            given = (*inputs, (own, FromParameter(chosen)))
            tasks.append(Task(name, arm_key, given, where=branch.where, condition=condition))
        names = [output_names(arm.body) for arm in branch.arms]
        joined = tuple([
            (picked, tuple([FromTask(task.key, found[name]) for task, found in zip(tasks, names, strict=True)]))
            for name, picked in names[0].items()
        ])  # fmt: skip
        return Dag(key, tuple(around.parameters), tuple(tasks), joined=joined)

    def _body(self, body: Graph, inside: _Inside, key: str) -> Dag:
        return self.dag(key, body, tuple(inside.parameters), inside.known)

    def _loop(self, loop: Loop, room: Room) -> Task:
        """A DAG that runs once for each handle in a LIST."""
        inside = _Inside(loop.body.parameters)
        items = inside.add("items", "LIST")
        with describing(rounds=place_of(loop)):
            key = self._add_dag(loop.id, lambda key: replace(self._body(loop.body, inside, key), listed=True))
        task = self._nested(key, loop, inside, room, ((items, loop.items),))
        count = rounds_of(loop, room.graph)
        at_once = loop.parallelism or (PARALLELISM if count is None or count > PARALLELISM else None)
        return replace(task, rounds=Rounds(inside.known[loop.item], items, at_once, count))

    def _add_dag(self, id_: str, make: Callable[[str], Dag]) -> str:
        key = f"comp-{self.names.pick(id_)}"
        self.dags.append(make(key))
        return key

    def _nested(
        self, key: str, item: Group | Branch | Loop, inside: _Inside, room: Room,
        more: tuple[tuple[str, Value], ...] = (),
    ) -> Task:  # fmt: skip
        given = [(inside.known[name], value) for name, value in item.arguments if name in inside.known]
        inputs = tuple([(name, room.source(value, None)) for name, value in (*given, *more)])
        after = room.after((value for _, value in (*given, *more)), item.after)
        return Task(room.keys[item.id], key, inputs, after, where=item.where)


class _Inside:
    """The parameters of a nested graph's DAG. known: the graph's names of them -> the DAG's."""

    __slots__ = ("_names", "known", "parameters")

    def __init__(self, parameters: Sequence[GraphParameter]) -> None:
        self._names = Names(*(item.name for item in parameters if item.type != HANDLE))
        self.known: dict[str, str] = {}
        self.parameters: list[Parameter] = []
        for item in parameters:
            is_handle = item.type == HANDLE
            name = self.known[item.name] = self._names.pick(item.name) if is_handle else item.name
            self.parameters.append(Parameter(name, _input_type("handle" if is_handle else "raw", item.type)))

    def add(self, name: str, type_: str) -> str:
        """One more, that the graph does not know of; its name."""
        self.parameters.append(Parameter(self._names.pick(name), type_))
        return self.parameters[-1].name


def _parameters_of(branch: Branch) -> list[GraphParameter]:
    """Those of all its arms, each once."""
    found = {item.name: item for arm in branch.arms for item in arm.body.parameters}
    return list(found.values())


def _input_type(kind: str, spec: Any) -> str:
    if kind == "file":
        return str(spec.name)
    return (kfp_type(spec) if kind == "raw" and spec is not None else None) or "STRING"


def _root_parameter(parameter: GraphParameter) -> Parameter:
    """A workflow parameter in KFP's own type, or as JSON text where KFP has none."""
    own = kfp_type(parameter.type)
    default = None
    if isinstance(parameter.default, Constant):
        value = default_json(parameter)
        default = value if own is not None else json_for_args(value)
    return Parameter(
        parameter.name, own or "STRING", default, parameter.default is not MISSING, _text(parameter.description)
    )


def _text(description: str) -> str:
    """A description as Argo leaves it: it replaces what stands in double braces even here."""
    return description.replace("{{", "{ {").replace("}}", "} }")
