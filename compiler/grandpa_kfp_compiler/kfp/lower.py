"""From the graph, its passes run, to a pipeline as data: every choice is made here.

Chosen here: names, what shares a component, how each input is bound, the order of tasks. A component
stands for a node, an interface and options that change its container, and is shared by all its tasks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from grandpa_kfp_runtime.code.fingerprint import call_fingerprint
from grandpa_kfp_runtime.contract import INLINE_LIMIT_BYTES, Interface, TaskCall, json_for_args
from grandpa_kfp_runtime.errors import CodecError, CompileError, GraphError
from grandpa_kfp_runtime.parameters import kfp_type
from grandpa_kfp_runtime.values.sharing import describing

from ..bind import Bound, bind
from ..constants import default_json
from ..graph import HANDLE, MISSING, OPTION_NAMES, Call, Constant, Graph, Group, Operation, ParameterValue, TaskOutput
from ..graph import Parameter as GraphParameter
from ..verify.faults import place_of
from .artifacts import artifacts_of
from .executors import Executors
from .fan_in import inline_limits
from .names import Names, sanitise
from .options import CompileOptions
from .pipeline import Dag, FromConstant, FromParameter, FromTask, Leaf, Parameter, Pipeline, Source, Task
from .retries import backoff

_NOT_THE_CONTAINERS = {
    "retries", "backoff_s", "backoff_factor", "backoff_max_s", "cache", "version", "keep", "uses", "always", "artifact",
}  # fmt: skip
_container_options = attrgetter(*(name for name in OPTION_NAMES if name not in _NOT_THE_CONTAINERS))
"""Tasks that are alike in these share a container."""


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
            if isinstance(operation, Group):
                room.given[operation.id] = _output_names(operation.body)
        tasks = tuple([self._task(operation, room) for operation in graph.operations])
        named = _output_names(graph)
        outputs = tuple(
            [
                (named[name], keys[value.task], room.output(value))
                for name, value in graph.outputs
                if type(value) is TaskOutput
            ]
        )
        return Dag(key, parameters, tasks, outputs)

    def _task(self, operation: Operation, room: _Room) -> Task:
        if isinstance(operation, Group):
            return self._group(operation, room)
        assert isinstance(operation, Call), "a pipeline holds no branches and loops"
        call = operation
        try:
            with describing(place_of(call)):
                bound = bind(call, room.instances, room.parameters, encode=True)
        except CodecError as error:
            raise CompileError(str(error)) from error
        chosen = call.options
        return Task(
            room.keys[call.id],
            self._leaf(call, bound, room).key,
            tuple([(name, room.source(value, bound.constants.get(name))) for name, value in bound.sources]),
            room.after((value for _, value in bound.sources), call.after),
            chosen.cache is not False and chosen.fallback is None,  # Kubeflow would keep a fallback as the result
            chosen.retries or 0,
            call.where,
            backoff(chosen),
        )

    def _leaf(self, call: Call, bound: Bound, room: _Room) -> Leaf:
        node, chosen = call.node, call.options
        classes = [room.prints[item.node] for item in bound.interface.instances]
        fingerprint = call_fingerprint(node.fingerprint, chosen, classes)
        limit = self.limits.get(call.id, INLINE_LIMIT_BYTES)
        attempts = chosen.retries if chosen.fallback is not None else None
        key = (node.key, fingerprint, bound.interface, limit, _container_options(chosen), attempts)
        leaf = self.leaves.get(key)
        if leaf is None:
            logs = [room.logs[item.node] for item in bound.interface.instances]
            leaf = self.leaves[key] = self._new_leaf(call, fingerprint, bound.interface, limit, logs)
        return leaf

    def _new_leaf(
        self, call: Call, fingerprint: str, interface: Interface, limit: int, logs: list[tuple[str, ...]]
    ) -> Leaf:
        args = TaskCall(call.node.key, fingerprint, interface, self.options.store, self.options.epoch)
        where = f"{call.id} ({call.where})" if call.where else call.id
        return Leaf(
            f"comp-{self.names.pick(call.node.name)}",
            tuple((item.name, _input_type(item.kind, item.type)) for item in interface.inputs),
            interface.outputs,
            artifacts_of(call, logs),
            self.executors.task(call, args, limit),
            where,
        )

    def _group(self, group: Group, room: _Room) -> Task:
        names = Names(*(parameter.name for parameter in group.body.parameters if parameter.type != HANDLE))
        known = {
            parameter.name: names.pick(parameter.name) if parameter.type == HANDLE else parameter.name
            for parameter in group.body.parameters
        }
        parameters = tuple(
            Parameter(
                known[parameter.name], _input_type("handle" if parameter.type == HANDLE else "raw", parameter.type)
            )
            for parameter in group.body.parameters
        )
        key = f"comp-{self.names.pick(group.id)}"
        self.dags.append(self.dag(key, group.body, parameters, known))
        return Task(
            room.keys[group.id],
            key,
            tuple((known[name], room.source(value, None)) for name, value in group.arguments),
            room.after((value for _, value in group.arguments), group.after),
            where=group.where,
        )


@dataclass(slots=True)
class _Room:
    """One DAG's names: its tasks' keys, its parameters', and what its groups give out."""

    graph: Graph
    keys: dict[str, str]
    known: Mapping[str, str]
    given: dict[str, dict[str, str]]
    parameters: dict[str, GraphParameter] = field(init=False)
    instances: dict[str, Any] = field(init=False)
    prints: dict[str, str] = field(init=False)
    logs: dict[str, tuple[str, ...]] = field(init=False)

    def __post_init__(self) -> None:
        self.parameters = {parameter.name: parameter for parameter in self.graph.parameters}
        self.instances = {instance.id: instance for instance in self.graph.instances}
        self.prints = {instance.node.key: instance.node.fingerprint for instance in self.graph.instances}
        self.logs = {instance.node.key: instance.node.logs for instance in self.graph.instances}

    def source(self, value: Any, constant: Any) -> Source:
        if isinstance(value, TaskOutput):
            return FromTask(self.keys[value.task], self.output(value))
        if isinstance(value, ParameterValue):
            return FromParameter(self.known[value.name])
        return FromConstant(constant)

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
