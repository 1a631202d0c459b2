"""What a drawing shows, apart from how it is drawn: boxes inside boxes, tasks, ovals, arrows.

`draw` makes a `Drawing` from a graph; text.py, mermaid.py and dot.py turn it into their formats.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from grandpa_kfp_compiler.graph import (
    ANY,
    MISSING,
    RESULT,
    Arm,
    Branch,
    Call,
    Constant,
    Graph,
    Group,
    Instance,
    InstanceValue,
    Loop,
    Options,
    Parameter,
    ParameterValue,
    Signature,
    TaskOutput,
    Value,
    bodies_of,
    dependencies,
    leaves,
)
from grandpa_kfp_compiler.printer import predicate_text, value_text

from .words import constant_text, path_text, seconds_text

_MOST_LINES = 5
_MOST_LABELS = 4


@dataclass(frozen=True, slots=True)
class Inside:
    """A node that a node's body refers to. repeats: it stands further out already, so it is not opened again."""

    name: str
    kind: str = "node"
    repeats: bool = False
    inside: tuple[Inside, ...] = ()


@dataclass(frozen=True, slots=True)
class State:
    """What became of a task in a run: a name of `palette.STATES`, and how long it took."""

    name: str
    seconds: float | None = None

    @property
    def text(self) -> str:
        """`failed, 1.2 s`; of one that succeeded its duration alone, of one that never ran its state."""
        if self.seconds is None:
            return self.name
        return seconds_text(self.seconds) if self.name == "succeeded" else f"{self.name}, {seconds_text(self.seconds)}"


@dataclass(frozen=True, slots=True)
class Task:
    """One task. call: `Divide(divisor=7)` where its name does not say it; lines: constants, then options."""

    id: str
    name: str
    call: str = ""
    lines: tuple[str, ...] = ()
    inside: tuple[Inside, ...] = ()
    state: State | None = None
    where: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class Box:
    """A component (or nested graph) and what stands in it, in the order of the calls."""

    id: str
    name: str
    items: tuple[Item, ...] = ()


Item: TypeAlias = "Task | Box"


@dataclass(frozen=True, slots=True)
class Oval:
    """A parameter of the workflow, or its result."""

    id: str
    name: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Flow:
    """One value along an arrow. part: what of the source it is (`mean`, `[0]`); argument: where it arrives."""

    part: str = ""
    argument: str = ""

    @property
    def text(self) -> str:
        """`mean → x`."""
        if self.part == self.argument:
            return self.part
        return " → ".join(filter(None, (self.part, self.argument)))


@dataclass(frozen=True, slots=True)
class Arrow:
    """Values that flow from one shape to another; without flows, a task that only waits.

    plain: the target has no other argument, so that its name says nothing in a picture.
    """

    source: str
    target: str
    flows: tuple[Flow, ...] = ()
    plain: bool = False

    @property
    def ordered(self) -> bool:
        """Nothing flows: the target was called with `after=`."""
        return not self.flows

    @property
    def label(self) -> str:
        """Outputs and arguments, where they help; at most a few."""
        texts = [flow.part if self.plain else flow.text for flow in self.flows]
        texts = list(dict.fromkeys(filter(None, texts)))
        return ", ".join(texts if len(texts) <= _MOST_LABELS else [*texts[: _MOST_LABELS - 1], "…"])


@dataclass(frozen=True, slots=True)
class Drawing:
    """A whole picture; ids of tasks, boxes and ovals are all distinct."""

    name: str
    description: str
    where: str
    parameters: tuple[Oval, ...]
    items: tuple[Item, ...]
    results: tuple[Oval, ...]
    arrows: tuple[Arrow, ...]

    def tasks(self) -> Iterator[Task]:
        """Every task, those in boxes included, in order."""
        waiting = list(reversed(self.items))
        while waiting:
            item = waiting.pop()
            if isinstance(item, Task):
                yield item
            else:
                waiting.extend(reversed(item.items))


def draw(
    graph: Graph, *, insides: Mapping[str, tuple[Inside, ...]] | None = None, states: Mapping[str, State] | None = None
) -> Drawing:
    """The drawing of a graph.

    insides: by node key, what `body_refs.insides` found. states: by task id, what became of it in a run.
    """
    painter = _Painter(insides or {}, states)
    parameters = {item.name: (Source(f"parameter {item.name}"),) for item in graph.parameters}
    scene = painter.scene(graph, "", parameters)
    results = tuple(Oval(f"result {name}", name, _type_text(graph)) for name, _ in graph.outputs)
    for name, value in graph.outputs:
        for source in scene.sources(value):
            painter.arrow(source, f"result {name}", Flow(source.part, name), plain=True)
    return Drawing(
        graph.name,
        graph.description,
        graph.where,
        tuple(Oval(f"parameter {item.name}", item.name, parameter_text(item)) for item in graph.parameters),
        scene.items,
        results,
        painter.arrows(),
    )


def parameter_text(parameter: Parameter) -> str:
    """Its type and default: `int = 10`."""
    typed = "" if parameter.type == ANY else str(parameter.type)
    if parameter.default is MISSING:
        return typed
    return f"{typed} = {constant_text(parameter.default)}".lstrip()


def _type_text(graph: Graph) -> str:
    return "" if graph.returns == ANY else str(graph.returns)


@dataclass(frozen=True, slots=True)
class Source:
    """Where an arrow starts: a task's or oval's id, and what of it flows (`mean`, `[0]`)."""

    id: str
    part: str = ""


@dataclass(frozen=True, slots=True)
class _Scene:
    """One graph, painted: its items, and where its values come from."""

    items: tuple[Item, ...]
    prefix: str
    parameters: Mapping[str, tuple[Source, ...]]
    groups: Mapping[str, Mapping[str, tuple[Source, ...]]]
    outputs: Mapping[str, tuple[str, ...]]

    def sources(self, value: Value) -> Iterator[Source]:
        """Where a value comes from; nothing for constants and instances."""
        for leaf in leaves(value):
            if isinstance(leaf, ParameterValue):
                yield from (_deeper(source, leaf.path) for source in self.parameters.get(leaf.name, ()))
            elif isinstance(leaf, TaskOutput) and leaf.task in self.groups:
                yield from (_deeper(source, leaf.path) for source in self.groups[leaf.task].get(leaf.output, ()))
            elif isinstance(leaf, TaskOutput):
                named = leaf.output if self.outputs.get(leaf.task, (RESULT,)) != (RESULT,) else ""
                yield _deeper(Source(self.prefix + leaf.task, named), leaf.path)


def _arm_text(arm: Arm) -> str:
    return "otherwise" if arm.predicate is None else f"when {predicate_text(arm.predicate)}"


def _deeper(source: Source, path: tuple[object, ...]) -> Source:
    return Source(source.id, source.part + path_text(path)) if path else source


class _Painter:
    """Paints graphs inside graphs; collects their arrows."""

    def __init__(self, insides: Mapping[str, tuple[Inside, ...]], states: Mapping[str, State] | None) -> None:
        self._insides = insides
        self._states = states
        self._flows: dict[tuple[str, str], dict[Flow, bool]] = {}

    def arrow(self, source: Source, target: str, flow: Flow | None, *, plain: bool = False) -> None:
        """One arrow; several between the same two become one with all their flows."""
        flows = self._flows.setdefault((source.id, target), {})
        if flow is not None:
            flows[flow] = plain

    def arrows(self) -> tuple[Arrow, ...]:
        return tuple(
            Arrow(source, target, tuple(flows), bool(flows) and all(flows.values()))
            for (source, target), flows in self._flows.items()
        )

    def scene(self, graph: Graph, prefix: str, parameters: Mapping[str, tuple[Source, ...]]) -> _Scene:
        """The graph's items; its arrows are noted."""
        instances = {instance.id: instance for instance in graph.instances}
        groups: dict[str, Mapping[str, tuple[Source, ...]]] = {}
        outputs = {item.id: item.node.outputs for item in graph.operations if isinstance(item, Call)}
        nest = _Nest(prefix)
        scene = _Scene((), prefix, parameters, groups, outputs)
        for operation in graph.operations:
            if not isinstance(operation, Call):
                box, groups[operation.id] = self._nested(operation, scene)
                if box.items:
                    nest.put((), box)
            else:
                nest.put(operation.scope, self._task(operation, instances, scene))
        self._orders(graph, scene)
        return _Scene(nest.items(), prefix, parameters, groups, outputs)

    def _nested(self, operation: Group | Branch | Loop, outer: _Scene) -> tuple[Box, Mapping[str, tuple[Source, ...]]]:
        """A box of its own for each arm that has tasks."""
        prefix, id_ = f"{outer.prefix}{operation.id}/", f"{outer.prefix}{operation.id} "
        parameters = {name: tuple(outer.sources(value)) for name, value in operation.arguments}
        if isinstance(operation, Loop):
            parameters[operation.item] = tuple(outer.sources(operation.items))
        inner = [self.scene(body, prefix, parameters) for body in bodies_of(operation)]
        outputs: dict[str, tuple[Source, ...]] = {}
        for body, scene in zip(bodies_of(operation), inner, strict=True):
            for name, value in body.outputs:
                outputs[name] = (*outputs.get(name, ()), *scene.sources(value))
        if isinstance(operation, Branch):
            boxes = [
                Box(f"{id_}{number} ", _arm_text(arm), scene.items)
                for number, (arm, scene) in enumerate(zip(operation.arms, inner, strict=True))
                if scene.items
            ]
            return Box(id_, operation.id, tuple(boxes)), outputs
        title = f"each of {value_text(operation.items)}" if isinstance(operation, Loop) else operation.body.name
        return Box(id_, title, inner[0].items), outputs

    def _orders(self, graph: Graph, scene: _Scene) -> None:
        for operation in graph.operations:
            for earlier in operation.after:
                if isinstance(operation, Call) and earlier in scene.outputs:
                    source = Source(scene.prefix + earlier)
                    self.arrow(source, scene.prefix + operation.id, None)
                elif isinstance(operation, Call) and operation.options.always and earlier in scene.groups:
                    for last in _last(graph, earlier, scene.prefix):
                        self.arrow(Source(last), scene.prefix + operation.id, None)

    def _task(self, call: Call, instances: Mapping[str, Instance], scene: _Scene) -> Task:
        task = scene.prefix + call.id
        lines: list[str] = []
        arguments = list(named_arguments(call.node.signature(_method(call)), call.args, call.kwargs))
        plain = len(arguments) == 1 and not call.instance
        for name, value in arguments:
            sources = list(scene.sources(value))
            for source in sources:
                self.arrow(source, task, Flow(source.part, name), plain=plain)
            self._instances(value, task, instances, scene)
            if isinstance(value, Constant):
                lines.append(f"{name} = {constant_text(value)}")
            elif isinstance(value, InstanceValue) and value.instance in instances:
                lines.append(f"{name} = {made_text(instances[value.instance])}")
        made = ""
        if call.instance in instances:
            made = made_text(instances[call.instance])
            self._instances(InstanceValue(call.instance), task, instances, scene)
            if call.method and call.method != "__call__":
                made += f".{call.method}"
        elif not _says(call.name, call.node.name):
            made = call.node.name
        if len(lines) > _MOST_LINES:
            lines[_MOST_LINES - 1 :] = [f"and {len(lines) - _MOST_LINES + 1} more"]
        state = None if self._states is None else self._states.get(task, State("waiting"))
        options = options_text(call.options)
        return Task(
            task,
            call.name,
            made,
            (*lines, options) if options else tuple(lines),
            self._insides.get(call.node.key, ()),
            state,
            call.where,
            call.node.description,
        )

    def _instances(self, value: Value, task: str, instances: Mapping[str, Instance], scene: _Scene) -> None:
        """Arrows for what the instances in a value are made with, those in their arguments included."""
        waiting = [leaf.instance for leaf in leaves(value) if isinstance(leaf, InstanceValue)]
        seen: set[str] = set()
        while waiting:
            found = instances.get(waiting.pop())
            if found is None or found.id in seen:
                continue
            seen.add(found.id)
            for name, inner in named_arguments(found.node.signature("__init__"), found.args, found.kwargs):
                for source in scene.sources(inner):
                    self.arrow(source, task, Flow(source.part, name))
                waiting.extend(leaf.instance for leaf in leaves(inner) if isinstance(leaf, InstanceValue))


def _last(graph: Graph, nested: str, prefix: str) -> Iterator[str]:
    """The tasks of a nested graph that no other of it waits for."""
    for body in next((bodies_of(item) for item in graph.operations if item.id == nested), ()):
        awaited = {task for before in dependencies(body).values() for task in before}
        for item in body.operations:
            if item.id not in awaited and isinstance(item, Call):
                yield f"{prefix}{nested}/{item.id}"
            elif item.id not in awaited:
                yield from _last(body, item.id, f"{prefix}{nested}/")


class _Nest:
    """Puts tasks into the boxes of their components, each box where its first task stands."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._inside: dict[tuple[str, ...], list[Item | tuple[str, ...]]] = {(): []}

    def put(self, scope: tuple[str, ...], item: Item) -> None:
        for depth in range(1, len(scope) + 1):
            if scope[:depth] not in self._inside:
                self._inside[scope[:depth]] = []
                self._inside[scope[: depth - 1]].append(scope[:depth])
        self._inside[scope].append(item)

    def items(self, scope: tuple[str, ...] = ()) -> tuple[Item, ...]:
        return tuple(
            Box(f"{self._prefix}{'/'.join(item)} ", item[-1], self.items(item)) if isinstance(item, tuple) else item
            for item in self._inside[scope]
        )


def _method(call: Call) -> str:
    return call.method or ("__call__" if call.instance else "")


def _says(name: str, node: str) -> bool:
    """Whether a task's name is its node's, or that and a number."""
    return name == node or (name.startswith(f"{node}-") and name[len(node) + 1 :].isdigit())


def named_arguments(
    signature: Signature, args: tuple[Value, ...], kwargs: tuple[tuple[str, Value], ...]
) -> Iterator[tuple[str, Value]]:
    """Every argument with its parameter's name; `paths[1]` for those of `*paths`."""
    names = [item.name for item in signature.parameters if item.kind.startswith("positional")]
    rest = next((item.name for item in signature.parameters if item.kind == "var_positional"), "args")
    for position, value in enumerate(args):
        yield names[position] if position < len(names) else f"{rest}[{position - len(names)}]", value
    yield from kwargs


def made_text(instance: Instance) -> str:
    """How an instance is made: `Scale(factor=2)`; what flows in is left out, its arrow tells it."""
    named = named_arguments(instance.node.signature("__init__"), instance.args, instance.kwargs)
    shown = [f"{name}={constant_text(value)}" for name, value in named if isinstance(value, Constant)]
    return f"{instance.node.name}({', '.join(shown)})"


def _pair_text(pair: tuple[str | None, str | None]) -> str:
    """A request and a limit: `500m to 2`, `from 500m`."""
    request, limit = pair
    return f"{request} to {limit}" if limit is not None else f"from {request}"


def options_text(options: Options) -> str:
    """The options that bear on how a task runs, in a few words; empty where none is set."""
    parts: list[str] = []
    if options.retries:
        parts.append(f"retries {options.retries}")
    if options.timeout_s is not None:
        parts.append(f"at most {options.timeout_s:g} s")
    for name in ("cpu", "memory", "gpu"):
        amount = getattr(options, name)
        if amount is not None:
            parts.append(f"{name} {_pair_text(amount) if isinstance(amount, tuple) else amount}")
    if options.cache is False:
        parts.append("not cached")
    if options.always:
        parts.append("runs always")
    return " · ".join(parts)
