"""`check`: everything that is wrong with a workflow, and what is worth knowing, before anything runs.

Goes as far as compiling, in memory: traces, verifies, encodes constants, packs the code, predicts sizes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from grandpa_kfp_runtime.errors import GrandpaError, GraphError

if TYPE_CHECKING:
    from grandpa_kfp_compiler.graph import Call, Graph
    from grandpa_kfp_compiler.kfp import CompileOptions

_OF_A_CONTAINER = ("cpu", "memory", "gpu", "gpu_type", "shm", "disk", "image", "volumes", "secrets", "config_maps")
_LARGE_CONSTANT_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Findings:
    """What `check` found.

    faults: what must be mended, a message each with its file:line; notes: what may be meant so.
    sizes: (what, bytes); packages: node name -> the outside distributions that its own code uses, `numpy==2.1.0`.
    """

    name: str
    tasks: int = 0
    faults: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    sizes: tuple[tuple[str, int], ...] = ()
    packages: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def pins(self) -> tuple[str, ...]:
        """All distributions that have a version, as `packages=[...]` takes them."""
        return tuple(sorted({item for items in self.packages.values() for item in items if "==" in item}))


def check(workflow: Any, params: Mapping[str, Any] | None = None, options: CompileOptions | None = None) -> Findings:
    """Everything that is found in a workflow (component, node) or Graph, without running a node.

    Raises TraceError where the workflow's body itself fails, ParameterError for wrong `params`.

    >>> from grandpa_kfp import Node, Workflow
    >>> @Node
    ... def add(a: int, b: int) -> int:
    ...     return a + b
    >>> @Workflow
    ... def sums():
    ...     add(1)
    ...     return add(1, "2")
    >>> for fault in check(sums).faults:
    ...     print(fault.partition(": ")[2])
    argument b is missing; the node takes (a, b)
    """
    from grandpa_kfp_compiler.graph import Graph
    from grandpa_kfp_compiler.verify import verify

    from .authoring.tracing import trace

    try:
        graph = workflow if isinstance(workflow, Graph) else trace(workflow, params or {})
    except GraphError as error:
        return Findings(getattr(workflow, "name", ""), faults=error.faults)
    tasks = sum(1 for _ in graph.calls())
    faults = [*(str(fault) for fault in verify(graph)), *_constant_faults(graph), *_travel_faults(graph)]
    notes = (*_unconsumed(graph), *_listed_generators(graph), *_larger_inside(graph))
    if faults:
        return Findings(graph.name, tasks, tuple(dict.fromkeys(faults)), notes)
    return _compiled(graph, tasks, notes, options)


def _compiled(graph: Graph, tasks: int, notes: tuple[str, ...], options: CompileOptions | None) -> Findings:
    """The findings of a graph that is right as far as it can be seen without compiling it."""
    from grandpa_kfp_compiler.kfp import compile_graph

    from .packing import pack

    packages = _packages(graph)
    try:
        packed = pack(graph)
        compiled = compile_graph(packed, options)
    except GrandpaError as error:
        found = error.faults if isinstance(error, GraphError) else (str(error),)
        return Findings(graph.name, tasks, tuple(found), notes, packages=packages)
    assert packed.code is not None
    sizes = (("code", len(packed.code.zip)), ("YAML", len(compiled.text.encode())), *_large_constants(graph))
    return Findings(graph.name, tasks, (), (*notes, *compiled.notes), sizes, packages)


def _constant_faults(graph: Graph) -> Iterator[str]:
    """Constants that no pipeline can hold: what cannot be pickled, what is too large."""
    from grandpa_kfp_compiler.bind import bind

    instances = {instance.id: instance for instance in graph.instances}
    parameters = {parameter.name: parameter for parameter in graph.parameters}
    for call in _plain_calls(graph):
        try:
            bind(call, instances, parameters, encode=True)
        except GrandpaError as error:
            yield str(error)
        except (KeyError, ValueError):  # a reference to what is not there: verify has told it
            continue


def _travel_faults(graph: Graph) -> Iterator[str]:
    """Nodes that go by value and cannot be pickled, each with its place."""
    from grandpa_kfp_compiler.verify.faults import place
    from grandpa_kfp_runtime.code.payload import VALUE
    from grandpa_kfp_runtime.values.by_value import dumps

    for node in graph.nodes().values():
        if node.target is not None and node.key.startswith(VALUE):
            try:
                dumps(node.target, of=place(node.name, node.where))
            except GrandpaError as error:
                yield str(error)


def _unconsumed(graph: Graph) -> Iterator[str]:
    """Tasks whose results nobody takes; they run all the same."""
    from grandpa_kfp_compiler.graph import TaskOutput, dependencies, leaves
    from grandpa_kfp_compiler.verify.faults import place_of

    taken = {leaf.task for _, value in graph.outputs for leaf in leaves(value) if isinstance(leaf, TaskOutput)}
    try:
        taken.update(name for names in dependencies(graph).values() for name in names)
    except KeyError:  # an instance that is not there: verify has told it
        return
    for call in _plain_calls(graph):
        if call.id not in taken and not call.options.always:
            yield f"{place_of(call)}: nothing takes what it returns; it runs all the same"


def _listed_generators(graph: Graph) -> Iterator[str]:
    """Generators that are tasks of their own, though tasks take their items."""
    from grandpa_kfp_compiler.passes.inline_generators import listed

    for call, why in listed(graph):
        yield f"{call.id} ({call.where}): {why}, so it is a task of its own and they get a list"


def _larger_inside(graph: Graph) -> Iterator[str]:
    """Nodes that a body calls, and that ask for more than the task whose container they will run in."""
    from grandpa_kfp_compiler.options import RULES
    from grandpa_kfp_compiler.verify.faults import place_of

    from .drawing.body_refs import nodes_inside

    for call in _plain_calls(graph):
        for name, options in nodes_inside(call.node.target):
            for option in _OF_A_CONTAINER:
                wanted, given = getattr(options, option), getattr(call.options, option)
                if RULES[option].by_name:
                    wanted = tuple(item for item in wanted or () if item not in (given or ())) or None
                if wanted is not None and wanted != given:
                    asked = f"{option}={RULES[option].json(wanted)!r}"
                    yield (
                        f"{place_of(call)}: its body calls {name}, which asks for {asked}; it runs inside "
                        f"this task's container, so ask for it here: options({asked})"
                    )


def _large_constants(graph: Graph) -> Iterator[tuple[str, int]]:
    from grandpa_kfp_compiler.constants import handle_text
    from grandpa_kfp_compiler.graph import Constant, Filled, values_of

    for call in _plain_calls(graph):
        for value in values_of(call):
            constant = value.skeleton if isinstance(value, Filled) else value
            if isinstance(constant, Constant) and (size := len(handle_text(constant))) >= _LARGE_CONSTANT_BYTES:
                yield f"constant of {call.id} ({call.where})", size


def _packages(graph: Graph) -> dict[str, tuple[str, ...]]:
    """By node, the outside distributions that its own code reaches; nothing for a graph that came from a file."""
    from grandpa_kfp_runtime.code.fingerprint import Fingerprints
    from grandpa_kfp_runtime.code.imports import Locator
    from grandpa_kfp_runtime.code.payload import add_main

    from .packing import root_of

    if graph.code is not None:
        return {}
    locator = Locator([str(root_of(graph))])
    add_main(locator)
    fingerprints = Fingerprints(locator=locator)
    return {
        node.name: tuple(
            name
            for kind, name in fingerprints.explain(node.target)
            if kind == "outside" and name.partition("==")[0] != "grandpa-kfp"
        )
        for node in graph.nodes().values()
    }


def _plain_calls(graph: Graph) -> Iterator[Call]:
    from grandpa_kfp_compiler.graph import Call

    return (operation for operation in graph.operations if isinstance(operation, Call))
