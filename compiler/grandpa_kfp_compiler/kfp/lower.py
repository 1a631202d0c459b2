"""From the graph, its passes run, to a pipeline as data: every choice is made here.

Chosen here: names, what shares a component, how each input is bound, the order of tasks. A component
stands for a node, an interface and options that change its container, and is shared by all its tasks.
"""

from __future__ import annotations

import json
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
from ..constants import default_json, plain_value
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
    ParameterValue,
    Port,
    TaskOutput,
    Value,
    bodies_of,
)
from ..graph import Parameter as GraphParameter
from ..passes.always_groups import ENDED
from ..passes.builtins import ABSENT, COLLECTED, SPREAD
from ..passes.control_tasks import chosen_by
from ..passes.rounds import rounds_of
from ..verify.faults import place_of
from .artifacts import artifacts_of
from .executors import Executors
from .exports import Exports
from .fan_in import inline_limits
from .names import Names, sanitise
from .options import CompileOptions
from .pipeline import Dag, FromConstant, FromParameter, FromTask, Leaf, Parameter, Pipeline, Rounds, Source, Task
from .retries import backoff

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
    with describing() as described:
        root = lowering.dag("root", graph, parameters, known)
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

    def dag(self, key: str, graph: Graph, parameters: tuple[Parameter, ...], known: Mapping[str, str]) -> Dag:
        """A graph as a DAG. known: the graph's names of its parameters -> the DAG's."""
        names = Names()
        keys = {operation.id: names.pick(operation.id) for operation in graph.operations}
        room = _Room(graph, keys, known, {})
        for operation in graph.operations:
            if not isinstance(operation, Call):
                room.given[operation.id] = _output_names(bodies_of(operation)[0])
        tasks = tuple([self._task(operation, room) for operation in graph.operations])
        named = _output_names(graph)
        outputs = tuple(
            [
                (named[name], keys[value.task], room.output(value))
                for name, value in graph.outputs
                if type(value) is TaskOutput
            ]
        )
        absent = [keys[item.id] for item in graph.operations if isinstance(item, Call) and item.node == ABSENT]
        if not absent:
            return Dag(key, parameters, tasks, outputs)
        instead = FromTask(absent[0], RESULT)
        joined = tuple([(name, (FromTask(task, output), instead)) for name, task, output in outputs])
        return Dag(key, parameters, tasks, joined=joined)

    def _task(self, operation: Operation, room: _Room) -> Task:
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

    def _guard(self, call: Call, after: tuple[str, ...], room: _Room) -> tuple[str, ...]:
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

    def _container(self, call: Call, node: ContainerNode, room: _Room) -> Task:
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
        inputs = [(port.name, room.for_container(port, given.get(port))) for port in node.inputs]
        return Task(
            room.keys[call.id],
            leaf.key,
            tuple([(name, source) for name, source in inputs if source is not None]),
            room.after(given.values(), call.after),
            chosen.cache is not False,
            chosen.retries or 0,
            call.where,
            backoff(chosen),
        )

    def _leaf(self, call: Call, bound: Bound, room: _Room, guard: tuple[str, ...] | None = None) -> Leaf:
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

    def _group(self, group: Group, room: _Room) -> Task:
        inside = _Inside(group.body.parameters)
        key = room.components[group.id] = self._add_dag(group.id, lambda key: self._body(group.body, inside, key))
        return self._nested(key, group, inside, room)

    def _branch(self, branch: Branch, room: _Room) -> Task:
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
        names = [_output_names(arm.body) for arm in branch.arms]
        joined = tuple([
            (picked, tuple([FromTask(task.key, found[name]) for task, found in zip(tasks, names, strict=True)]))
            for name, picked in names[0].items()
        ])  # fmt: skip
        return Dag(key, tuple(around.parameters), tuple(tasks), joined=joined)

    def _body(self, body: Graph, inside: _Inside, key: str) -> Dag:
        return self.dag(key, body, tuple(inside.parameters), inside.known)

    def _loop(self, loop: Loop, room: _Room) -> Task:
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
        self, key: str, item: Group | Branch | Loop, inside: _Inside, room: _Room,
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


@dataclass(slots=True)
class _Room:
    """One DAG's names: its tasks' keys, its parameters', what its groups give out, and their components."""

    graph: Graph
    keys: dict[str, str]
    known: Mapping[str, str]
    given: dict[str, dict[str, str]]
    components: dict[str, str] = field(init=False, default_factory=dict)
    parameters: dict[str, GraphParameter] = field(init=False)
    instances: dict[str, Any] = field(init=False)
    prints: dict[str, str] = field(init=False)
    logs: dict[str, tuple[str, ...]] = field(init=False)
    containers: dict[str, ContainerNode] = field(init=False)
    exports: Exports = field(init=False)

    def __post_init__(self) -> None:
        self.parameters = {parameter.name: parameter for parameter in self.graph.parameters}
        self.instances = {instance.id: instance for instance in self.graph.instances}
        self.prints = {instance.node.key: instance.node.fingerprint for instance in self.graph.instances}
        self.logs = {instance.node.key: instance.node.logs for instance in self.graph.instances}
        calls = [item for item in self.graph.operations if isinstance(item, Call)]
        self.containers = {call.id: call.node for call in calls if isinstance(call.node, ContainerNode)}
        self.exports = Exports(self.graph)

    def for_container(self, port: Port, value: Value | None) -> Source | None:
        """What a container's input is bound to; None for nothing, which an optional one may be."""
        if value is None or isinstance(value, Constant):
            found = (json.loads(port.default) if port.default else None) if value is None else plain_value(value)
            return None if found is None else FromConstant(found)
        if isinstance(value, TaskOutput) and value.task not in self.containers:
            return FromTask(self.keys[value.task], self.exports.name(value, port), port.is_file)
        return self.source(value, None)

    def source(self, value: Any, constant: Any) -> Source:
        if isinstance(value, TaskOutput):
            container = self.containers.get(value.task)
            port = None if container is None else container.port(value.output)
            return FromTask(self.keys[value.task], self.output(value), port is not None and port.is_file)
        if isinstance(value, ParameterValue):
            return FromParameter(self.known[value.name])
        return FromConstant(constant)

    def ended(self, call: Call) -> Source:
        """What is there when the group that the task waits for has succeeded."""
        return FromTask(self.keys[call.after[0]], self.given[call.after[0]][ENDED])

    def output(self, value: TaskOutput) -> str:
        given = self.given.get(value.task)
        return value.output if given is None else given[value.output]

    def after(self, values: Any, others: tuple[str, ...]) -> tuple[str, ...]:
        """KFP orders tasks by this alone: it does not look at where inputs come from."""
        waits = {self.keys[value.task] for value in values if isinstance(value, TaskOutput)}
        waits.update([self.keys[id_] for id_ in others])
        return tuple(sorted(waits))


def _output_names(graph: Graph) -> dict[str, str]:
    names = Names()
    return {name: names.pick(name, fallback="result") for name, _ in graph.outputs}


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
