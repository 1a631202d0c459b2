"""Containers as tasks that the local engine knows: calls of one Python function, `running.run_container`.

Its first argument is the container, as JSON text, so that a task's identity tells what runs, with the names of the
environment variables that the task's options set. The engine's `flatten`
asks for it, and whoever makes a graph of what a body has called.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import lru_cache

from grandpa_kfp_compiler.containers import arguments_of
from grandpa_kfp_compiler.graph import (
    RESULT,
    Call,
    Constant,
    ContainerNode,
    Graph,
    NodeParameter,
    Operation,
    PythonNode,
    Signature,
    bodies_of,
    with_bodies,
)
from grandpa_kfp_runtime.contract import CONTRACT

RUN_CONTAINER = "grandpa_kfp.containers.running:run_container"
FINGERPRINT = f"container-{CONTRACT}"
"""Of that function's code; what else tells two containers apart is its first argument."""

_TAKES = (NodeParameter("container", "positional_only"), NodeParameter("inputs", "var_keyword"))


def in_python(graph: Graph) -> Graph:
    """The graph without containers; the graph itself where it has none.

    >>> from grandpa_kfp_compiler.graph import Port
    >>> node = ContainerNode("count", "alpine:3", ("wc",), gives=(Port("lines", "NUMBER_INTEGER"),))
    >>> in_python(Graph("flow", operations=(Call("count", node),))).operations[0].node.outputs
    ('lines',)
    """
    if not graph.containers():
        return graph
    return replace(graph, operations=tuple([_operation(item) for item in graph.operations]))


def _operation(item: Operation) -> Operation:
    if not isinstance(item, Call):
        return with_bodies(item, [in_python(body) for body in bodies_of(item)])
    if not isinstance(item.node, ContainerNode):
        return item
    given = tuple([(port.name, value) for port, value in arguments_of(item.node, item)])
    options = item.options
    pairs = (*(options.env or ()), *(options.secrets or ()), *(options.config_maps or ()))
    variables = tuple(sorted({name for name, _ in pairs if not name.startswith("/")}))
    node, told = _as_function(item.node, variables)
    return replace(item, node=node, args=(told,), kwargs=given)


@lru_cache(maxsize=256)
def _as_function(node: ContainerNode, variables: tuple[str, ...]) -> tuple[PythonNode, Constant]:
    signature = Signature(_TAKES, node.signature().returns)
    function = PythonNode(
        RUN_CONTAINER,
        node.name,
        signatures=(("", signature),),
        outputs=node.outputs or (RESULT,),
        fingerprint=FINGERPRINT,
        where=node.where,
        description=node.description,
    )
    return function, Constant(json.dumps({**node.to_json(), "variables": list(variables)}, sort_keys=True))
