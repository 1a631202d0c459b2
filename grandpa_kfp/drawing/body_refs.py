"""The nodes that a node's body refers to, found in its compiled code without running it.

A drawing shows them inside the node, dashed: they may become tasks when the body runs. Names are
followed as Python would: globals, closures, `module.node`, `self.node`, imports inside the body (of
modules that are loaded already), helper functions of the project, components.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grandpa_kfp_compiler.graph import NO_OPTIONS, Graph, Options
from grandpa_kfp_runtime.errors import GrandpaError

from .code_names import named_values, plain
from .model import Inside

_DEEPEST = 12


def insides(graph: Graph) -> dict[str, tuple[Inside, ...]]:
    """By node key, the nodes in the body of each node of the graph; nothing for nodes without their code.

    The code of a graph file is unpacked and imported, as a Python file would be; where that cannot be, for
    another version of Python say, the graph is drawn without.
    """
    if graph.code is not None and any(node.target is None for node in graph.nodes().values()):
        return _insides_of_file(graph)
    return _opened({key: node.target for key, node in graph.nodes().items()})


def _insides_of_file(graph: Graph) -> dict[str, tuple[Inside, ...]]:
    from ..engine.targets import Targets

    with tempfile.TemporaryDirectory(prefix="grandpa-graph-") as folder:
        try:
            targets = Targets(graph, lambda: Path(folder))
        except GrandpaError:
            return {}
        try:
            return _opened({key: targets.load(key) for key in graph.nodes()})
        except GrandpaError:
            return {}
        finally:
            targets.close()


def _opened(targets: Mapping[str, Any]) -> dict[str, tuple[Inside, ...]]:
    found = {key: body_refs(target) for key, target in targets.items() if target is not None}
    return {key: inner for key, inner in found.items() if inner}


def body_refs(target: Any) -> tuple[Inside, ...]:
    """The nodes and components that the body of a function or class refers to, those in theirs inside them.

    >>> from grandpa_kfp import Node
    >>> @Node
    ... def fib(n: int) -> int:
    ...     return n if n < 2 else add(fib(n - 1), fib(n - 2))
    >>> @Node
    ... def add(a: int, b: int) -> int:
    ...     return a + b
    >>> [item.name for item in body_refs(lambda: (fib, add))]
    ['fib', 'add']
    """
    return _Opener().open(target, (id(plain(target)),))


def nodes_inside(target: Any) -> Iterator[tuple[str, Options]]:
    """Every node that the body of a function or class may call, bodies inside bodies included, and its options."""
    waiting, seen = [target], {id(plain(target))}
    while waiting:
        body = waiting.pop()
        for found in _references(plain(body)) if body is not None else ():
            if id(plain(found.target)) not in seen:
                seen.add(id(plain(found.target)))
                waiting.append(found.target)
                if found.kind == "node":
                    yield found.name, found.options


@dataclass(frozen=True, slots=True)
class _Found:
    """A node or component that a name means."""

    name: str
    kind: str
    target: Any
    options: Options = NO_OPTIONS


class _Opener:
    """Opens bodies inside bodies; each distinct one is read once."""

    def __init__(self) -> None:
        self._read: dict[int, tuple[_Found, ...]] = {}

    def open(self, target: Any, path: tuple[int, ...]) -> tuple[Inside, ...]:
        key = id(plain(target))
        found = self._read.get(key)
        if found is None:
            found = self._read[key] = tuple(_references(plain(target)))
        shown = []
        for item in found:
            inner = id(plain(item.target))
            repeats = inner in path or len(path) >= _DEEPEST
            shown.append(
                Inside(item.name, item.kind, repeats, () if repeats else self.open(item.target, (*path, inner)))
            )
        return tuple(shown)


def _references(target: Any) -> Iterator[_Found]:
    """Each node or component once, in order of first use; helper functions are looked through."""
    seen: set[int] = set()
    for value in named_values(target, stop=lambda value: _as_node(value) is not None):
        found = _as_node(value)
        if found is not None and id(plain(found.target)) not in seen:
            seen.add(id(plain(found.target)))
            yield found


def _as_node(value: Any) -> _Found | None:
    """What the value is to a graph: a node, an instance of a class node, a component, or None."""
    from ..authoring.classes import ClassMark, Instance
    from ..authoring.components import ComponentFunction
    from ..authoring.nodes import FunctionNode
    from ..authoring.workflows import WorkflowFunction

    if isinstance(value, Instance):
        definition = object.__getattribute__(value, "_definition")
        return _Found(definition.name, "node", definition.target, definition.options)
    if isinstance(value, FunctionNode):
        return _Found(value._definition.name, "node", value._definition.target, value._definition.options)
    if isinstance(value, ComponentFunction):
        return _Found(value._name, "component", value._function)
    if isinstance(value, WorkflowFunction):
        return _Found(value.name, "component", value.fn)
    if isinstance(value, type) and "__grandpa_node__" in vars(value):
        mark = vars(value).get("__new__")
        return _Found(mark.name if isinstance(mark, ClassMark) else value.__name__, "node", value)
    return None
