"""The workflow's value as Kubeflow's own kind of output, for pipelines of the kfp SDK that use this one as a component.

Asked for by the option `outputs="value"`: the root's output `result` is then a parameter of KFP's type for the
workflow's annotation, or an artifact where that is a `Path`, instead of a handle.
"""

from __future__ import annotations

from dataclasses import replace

from grandpa_kfp_runtime.errors import CompileError
from grandpa_kfp_runtime.parameters import kfp_type

from ..containers import ARTIFACT, FILE, title_of
from ..graph import RESULT, Call, ContainerNode, Graph, Port, TaskOutput
from ..passes.builtins import IDENTITY, free_id, options_like
from ..passes.container_values import is_by_handle
from ..verify.edges import Edges
from ..verify.faults import place_of_graph


def value_port(graph: Graph) -> Port:
    """The root's output as a value. Raises CompileError for a workflow whose value Kubeflow has no type for."""
    value = dict(graph.outputs).get(RESULT)
    if not isinstance(value, TaskOutput):
        raise CompileError(f"{place_of_graph(graph)}: outputs='value' is for a workflow that returns something")
    edges = Edges(graph)
    spec = graph.returns if graph.returns.name != "any" else edges.given(value)
    producer = edges.producers[value.task]
    artifact = producer.options.artifact if isinstance(producer, Call) else None
    if artifact is not None:
        return Port(RESULT, title_of(artifact))
    if spec.name == FILE.name:
        return Port(RESULT, ARTIFACT)
    found = kfp_type(spec)
    if found is None:
        raise CompileError(
            f"{place_of_graph(graph)}: outputs='value' is for a workflow that returns str, int, float, bool, list, "
            f"dict or a Path, but this one returns {spec}: annotate it, or return one of these"
        )
    return Port(RESULT, found)


def made_by_python(graph: Graph) -> Graph:
    """The graph with its result made by a task that can leave it as a value."""
    value = dict(graph.outputs)[RESULT]
    assert isinstance(value, TaskOutput)
    maker = next(item for item in graph.operations if item.id == value.task)
    if isinstance(maker, Call) and not isinstance(maker.node, ContainerNode) and not is_by_handle(maker.node):
        return graph
    options = options_like(graph, [value.task])
    call = Call(free_id(graph, RESULT), IDENTITY, (value,), options=options, where=graph.where)
    return replace(graph, operations=(*graph.operations, call), outputs=((RESULT, TaskOutput(call.id)),))
