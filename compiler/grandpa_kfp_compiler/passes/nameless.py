"""What of a graph counts for what it computes: its code, its edges and its constants, under no names of the user's.

The pass `fused_steps` hashes it, so that a task that is called otherwise, has moved to another line or is tried
more often than before gives no new cache key, as it gives none where it is a step of its own.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

from ..graph import (
    Call,
    Graph,
    Group,
    Instance,
    InstanceValue,
    Loop,
    Operation,
    Options,
    TaskOutput,
    Value,
    bodies_of,
    with_bodies,
)
from ..json_format import dumps
from .bodies import changed, with_values


def print_of(graph: Graph) -> str:
    """The hash of the graph's file, hex. Raises CodecError for a constant that cannot be encoded."""
    return hashlib.sha256(dumps(graph, compact=True).encode("utf-8", "surrogatepass")).hexdigest()


def nameless(graph: Graph) -> Graph:
    """The graph with numbers for the names of its tasks and instances, without places, descriptions and the options
    that count for no result.

    >>> from ..graph import PythonNode
    >>> node = PythonNode("calc:load", "load", fingerprint="f")
    >>> one, other = (Graph("g", operations=(Call(name, node, where=name),)) for name in ("load", "load-2"))
    >>> nameless(one) == nameless(other)
    True
    """
    nodes = {key: replace(node, where="", description="") for key, node in graph.nodes().items()}
    return _nameless(graph.with_nodes(nodes))


def _nameless(graph: Graph) -> Graph:
    tasks = {item.id: str(number) for number, item in enumerate(graph.operations)}
    instances = {item.id: str(number) for number, item in enumerate(graph.instances)}

    def change(value: Value) -> Value:
        if isinstance(value, TaskOutput):
            return replace(value, task=tasks[value.task])
        return InstanceValue(instances[value.instance]) if isinstance(value, InstanceValue) else value

    def renamed(item: Operation) -> Operation:
        item = with_values(item, change)
        after = tuple(sorted({tasks[task] for task in item.after}))
        if isinstance(item, Call):
            options, instance = _counted(item.options), instances[item.instance] if item.instance else ""
            return replace(item, id=tasks[item.id], where="", after=after, scope=(), options=options, instance=instance)
        inner = with_bodies(item, [_nameless(body) for body in bodies_of(item)])
        inner = replace(inner, id=tasks[item.id], where="", after=after)
        if isinstance(inner, Loop):
            return replace(inner, parallelism=None)
        return replace(inner, fused=False, options=Options()) if isinstance(inner, Group) else inner

    def kept(item: Instance) -> Instance:
        return replace(with_values(item, change), id=instances[item.id], where="")

    return replace(
        graph,
        name="",
        description="",
        where="",
        components=(),
        instances=tuple(map(kept, graph.instances)),
        operations=tuple(map(renamed, graph.operations)),
        outputs=tuple((name, changed(value, change)) for name, value in graph.outputs),
    )


def _counted(options: Options) -> Options:
    """Those that are part of a task's own cache key, or of the graph's meaning; the step is not cached where one of its
    tasks is not."""
    return Options(
        version=options.version,
        env=options.env,
        packages=options.packages,
        image=options.image,
        always=options.always,
    )
