"""Fused groups as one task each, whose container runs the group's graph.

Before: a group may be marked `fused`: one container is to run all of its tasks.
After: each such group is a call of a node of its own, under the group's id and with its options. What the node runs
    is the group's body as a graph file, a member of the graph's code zip, which the engine in the container reads.
    The arguments of the call are whole outputs and parameters; constants and structures have moved into the body.
Why: Kubeflow starts a container for each task. The rest of the compiler takes a fused step for any other task.
    Its fingerprint is that of the body, and so of every task in it, whatever these are called and wherever they stand.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace

from grandpa_kfp_runtime.code.payload import with_members
from grandpa_kfp_runtime.contract import FUSED, RESULT, fused_member
from grandpa_kfp_runtime.errors import CodecError, CompileError, GraphError
from grandpa_kfp_runtime.typespec import TypeSpec
from grandpa_kfp_runtime.values.sharing import describing

from ..constants import handle_text
from ..graph import (
    ANY,
    HANDLE,
    Call,
    Code,
    Constant,
    Filled,
    Graph,
    Group,
    Instance,
    InstanceValue,
    Loop,
    NodeParameter,
    Operation,
    Options,
    Parameter,
    ParameterValue,
    PythonNode,
    Signature,
    TaskOutput,
    Value,
    bodies_of,
    leaves,
    values_of,
    with_bodies,
)
from ..json_format import dumps, loads
from ..verify.edges import Edges
from ..verify.faults import place_of
from .bodies import Change, changed, with_values
from .builtins import IDENTITY, free_id
from .nameless import nameless, print_of

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


def fused_steps(graph: Graph) -> Graph:
    """Each fused group as a call; see the module. The graph itself where it has none.

    Raises CompileError for a group that no container could run, GraphError for what its tasks cannot share.
    """
    files: dict[str, bytes] = {}
    made = _with_steps(graph, files)
    if not files:
        return graph
    if graph.code is None:
        raise CompileError(f"{graph.name}: the graph has no code with it, to which its fused steps could be added")
    data, sha256 = with_members(graph.code.zip, {fused_member(name): text for name, text in files.items()})
    return replace(made, code=Code(sha256, data, graph.code.python))


def nodes_in_steps(graph: Graph) -> dict[str, tuple[str, ...]]:
    """After the pass: by the key of each step the keys of the nodes that run in it, sorted."""
    keys = {key for key in graph.nodes() if key.startswith(FUSED)}
    if not keys or graph.code is None:
        return {}
    found = {}
    with zipfile.ZipFile(io.BytesIO(graph.code.zip)) as archive:
        for key in sorted(keys):
            body = loads(archive.read(fused_member(key.removeprefix(FUSED))))
            found[key] = tuple(sorted(body.nodes()))
    return found


def _with_steps(graph: Graph, files: dict[str, bytes]) -> Graph:
    if all(isinstance(item, Call) for item in graph.operations):
        return graph
    operations: list[Operation] = []
    renamed: dict[tuple[str, str], str] = {}
    for item in graph.operations:
        if isinstance(item, Group) and item.fused:
            call, names = _step(item, files)
            operations.append(call)
            renamed.update({(item.id, old): new for old, new in names.items() if old != new})
        elif isinstance(item, Call):
            operations.append(item)
        else:
            with describing(rounds=place_of(item)) if isinstance(item, Loop) else nullcontext():
                operations.append(with_bodies(item, [_with_steps(body, files) for body in bodies_of(item)]))
    graph = replace(graph, operations=tuple(operations))
    if not renamed:
        return graph

    def change(value: Value) -> Value:
        if isinstance(value, TaskOutput) and (value.task, value.output) in renamed:
            return replace(value, output=renamed[value.task, value.output])
        return value

    return _changed_graph(graph, change)


def _changed_graph(graph: Graph, change: Change) -> Graph:
    return replace(
        graph,
        instances=tuple([with_values(item, change) for item in graph.instances]),
        operations=tuple([with_values(item, change) for item in graph.operations]),
        outputs=tuple([(name, changed(value, change)) for name, value in graph.outputs]),
    )


def _step(group: Group, files: dict[str, bytes]) -> tuple[Call, dict[str, str]]:
    """The call that stands for the group, and the new names of its outputs."""
    shares = _check(group)
    body, args = _Moving(group).moved()
    if shares:  # what the engine takes from an attempt before would lack what its tasks did to the objects
        body = _uncached(body)
    names = _output_names(body)
    body = replace(body, outputs=tuple([(names[name], value) for name, value in body.outputs]), code=None)
    fingerprint = _add(group, body, files)
    signature = Signature(
        tuple([NodeParameter(item.name, type=ANY if item.type == HANDLE else item.type) for item in body.parameters]),
        _returns(body),
    )
    nodes = [node for node in body.nodes().values() if isinstance(node, PythonNode)]
    node = PythonNode(
        f"{FUSED}{fingerprint}",
        group.id.rpartition("/")[2],
        signatures=(("", signature),),
        outputs=tuple(names.values()),
        fingerprint=fingerprint,
        where=group.where,
        logs=tuple(sorted({name for node in nodes for name in node.logs})),
    )
    call = Call(group.id, node, args, options=_options(group), after=group.after, where=group.where)
    return call, names


def _check(group: Group) -> bool:
    """Whether tasks of the group have shared objects. Raises GraphError for one that tasks outside of it have too."""
    for call in group.body.calls():
        if not isinstance(call.node, PythonNode):
            raise CompileError(
                f"{place_of(call)}: it is a container of its own, so it cannot be fused into the step {group.id}"
            )
    with describing(container=group.id) as described:
        for item in _readers(group.body):
            with describing(place_of(item)):
                for value in values_of(item):
                    _note_shared(value)
    if faults := described.faults():
        raise GraphError(faults)
    return described.within(group.id)


def _uncached(body: Graph) -> Graph:
    operations = [
        replace(item, options=replace(item.options, cache=False))
        if isinstance(item, Call)
        else with_bodies(item, [_uncached(inner) for inner in bodies_of(item)])
        for item in body.operations
    ]
    return replace(body, operations=tuple(operations))


def _readers(body: Graph) -> Iterator[Operation | Instance]:
    yield from body.instances
    for item in body.operations:
        yield item
        for inner in bodies_of(item):
            yield from _readers(inner)


def _note_shared(value: Value) -> None:
    """Has what several tasks share noted: within the step it is one object, of which others know nothing."""
    constants = [value.skeleton, *leaves(value)] if isinstance(value, Filled) else [value]
    for constant in constants:
        if isinstance(constant, Constant) and constant.handle is None and type(constant.value) not in _ATOMS:
            handle_text(constant)


_ATOMS = frozenset({type(None), bool, int, float, str, bytes})


def _add(group: Group, body: Graph, files: dict[str, bytes]) -> str:
    """Puts the body among the files; its fingerprint, under which it stands there.

    Two bodies that differ only in what counts for no result, in retries perhaps, are two files all the same.
    """
    try:
        with describing(together=True):
            text = dumps(body, compact=True).encode("utf-8", "surrogatepass")
            fingerprint = print_of(nameless(body))
        known = files.setdefault(fingerprint, text)
        if known != text and dumps(_placeless(known), compact=True) != dumps(_placeless(text), compact=True):
            with describing(together=True):
                fingerprint = print_of(body)
            files[fingerprint] = text
    except CodecError as error:
        raise CompileError(str(error)) from error
    return fingerprint


def _placeless(text: bytes) -> Graph:
    """The graph of a file without the lines of the user's code that it comes from."""
    return without_places(loads(text))


def without_places(graph: Graph) -> Graph:
    """The graph without file:line anywhere."""
    nodes = {key: replace(node, where="") for key, node in graph.nodes().items()}
    return _unplaced(graph.with_nodes(nodes))


def _unplaced(graph: Graph) -> Graph:
    operations = [
        replace(item, where="")
        if isinstance(item, Call)
        else replace(with_bodies(item, [_unplaced(body) for body in bodies_of(item)]), where="")
        for item in graph.operations
    ]
    instances = [replace(item, where="") for item in graph.instances]
    return replace(graph, where="", operations=tuple(operations), instances=tuple(instances))


def _options(group: Group) -> Options:
    """Kubeflow must not take the step from its cache where one of its tasks is always to run."""
    uncached = any(call.options.cache is False or call.options.fallback is not None for call in group.body.calls())
    return replace(group.options, cache=False) if uncached else group.options


def _output_names(body: Graph) -> dict[str, str]:
    """Names that Kubeflow takes, by the body's; of a single output `result`."""
    names = [name for name, _ in body.outputs]
    if len(names) == 1:
        return {names[0]: RESULT}
    taken = {name for name in names if _PLAIN.fullmatch(name)}
    made: dict[str, str] = {}
    for place, name in enumerate(names):
        made[name] = name
        if name not in taken:
            new = f"output-{place}"
            while new in taken:
                new += "-"
            taken.add(new)
            made[name] = new
    return made


def _returns(body: Graph) -> TypeSpec:
    """As of a function: the type of the one output, a tuple of several."""
    edges = Edges(body)
    types = [edges.given(value) if isinstance(value, TaskOutput | ParameterValue) else ANY for _, value in body.outputs]
    if [name for name, _ in body.outputs] == [RESULT]:
        return types[0]
    return TypeSpec("tuple", tuple(types)) if types else ANY


@dataclass(slots=True)
class _Moving:
    """The arguments of a group: what is no whole output or parameter moves into the body."""

    group: Group
    parameters: list[Parameter] = field(default_factory=list)
    args: list[Value] = field(default_factory=list)
    inside: dict[str, Value] = field(default_factory=dict)
    operations: list[Call] = field(default_factory=list)

    def moved(self) -> tuple[Graph, tuple[Value, ...]]:
        body = self.group.body
        given = dict(self.group.arguments)
        constants: list[Parameter] = []
        for parameter in body.parameters:
            value = given.get(parameter.name)
            if value is None:
                constants.append(parameter)
            elif isinstance(value, Constant):
                typed = ANY if parameter.type == HANDLE else parameter.type
                constants.append(replace(parameter, type=typed, default=value))
            else:
                self._take(parameter, value)
        operations = (*self.operations, *body.operations)
        body = replace(body, parameters=(*self.parameters, *constants))
        if self.inside:
            body = _changed_graph(body, self._change)
        return replace(body, operations=(*self.operations, *body.operations)) if operations else body, tuple(self.args)

    def _take(self, parameter: Parameter, value: Value) -> None:
        if isinstance(value, TaskOutput | ParameterValue):
            self.parameters.append(parameter)
            self.args.append(replace(value, path=()) if value.path else value)
            if value.path:
                self.inside[parameter.name] = ParameterValue(parameter.name, value.path)
            return
        if not isinstance(value, Filled) or any(isinstance(leaf, InstanceValue) for leaf in leaves(value)):
            raise CompileError(f"{place_of(self.group)}: a live instance cannot be handed into a fused step")
        made = changed(value, lambda leaf: self._leaf(parameter.name, leaf))
        known = replace(self.group.body, operations=(*self.group.body.operations, *self.operations))
        call = Call(free_id(known, f"{parameter.name}-argument"), IDENTITY, (made,), where=self.group.where)
        self.operations.append(call)
        self.inside[parameter.name] = TaskOutput(call.id)

    def _leaf(self, name: str, leaf: Value) -> Value:
        if not isinstance(leaf, TaskOutput | ParameterValue):
            return leaf
        taken = {item.name for item in (*self.group.body.parameters, *self.parameters)}
        new = f"{name}--{len(self.args)}"
        while new in taken:
            new += "-"
        self.parameters.append(Parameter(new, HANDLE))
        self.args.append(replace(leaf, path=()))
        return ParameterValue(new, leaf.path)

    def _change(self, value: Value) -> Value:
        if not isinstance(value, ParameterValue) or value.name not in self.inside:
            return value
        found = self.inside[value.name]
        assert isinstance(found, TaskOutput | ParameterValue)
        return replace(found, path=(*found.path, *value.path))
