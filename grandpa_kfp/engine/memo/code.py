"""Fingerprints of a graph's nodes, and of those that its bodies call: made when first asked for, each once a run."""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from grandpa_kfp_compiler.graph import Graph, PythonNode
from grandpa_kfp_compiler.passes.builtins import is_builtin
from grandpa_kfp_runtime.code.marks import unmarked, walk

from ...containers.in_python import FINGERPRINT, RUN_CONTAINER

if TYPE_CHECKING:
    from grandpa_kfp_runtime.code.fingerprint import Fingerprints

_VALUE = "value:"
_MOST_BY_VALUE = 20
"""Functions made inside bodies that are looked into, each of which takes about a millisecond."""
_NOT_FROM_HERE = "its code is not known here"

_loaded: weakref.WeakKeyDictionary[ModuleType, tuple[int, int]] = weakref.WeakKeyDictionary()
"""Time of change and size of modules' files when they were first looked at, soon after they were loaded."""


@dataclass(frozen=True, slots=True)
class NodeCode:
    """fingerprint: of the node's code; parts: what it consists of, `module:qualname` to a hash of its own."""

    fingerprint: str
    parts: Mapping[str, str]


class GraphCode:
    """graph: with its groups, branches, loops; root: the project's folder, by default found from the nodes' files."""

    def __init__(self, graph: Graph, root: Path | None = None) -> None:
        self._graph = graph
        self._root = root
        self._nodes = graph.nodes()
        self._fingerprints: Fingerprints | None = None
        self._known: dict[str, NodeCode | str] = {}
        self._by_value: dict[int, tuple[object, NodeCode | str]] = {}

    def of(self, key: str, targets: Mapping[str, object] | None = None) -> NodeCode | str:
        """The code of the node with this key; in words why it cannot be told.

        targets: what keys mean where the task stands, of a task that another has become.
        """
        if key == RUN_CONTAINER:
            return NodeCode(FINGERPRINT, {})
        target = None if targets is None else targets.get(key)
        if target is not None and key.startswith(_VALUE):
            return self._of_value(key, target)
        found = self._known.get(key)
        if found is None:
            node = self._nodes.get(key) or _called_in_bodies(key, target, self._nodes)
            found = self._known[key] = _NOT_FROM_HERE if node is None else self._look(node)
        return found

    def _of_value(self, key: str, target: object) -> NodeCode | str:
        """Keys by value mean something in one graph alone, so that the function itself counts."""
        known = self._by_value.get(id(target))
        if known is None:
            if len(self._by_value) == _MOST_BY_VALUE:
                return _NOT_FROM_HERE
            own = self._nodes.get(key)
            node = own if own is not None and own.target is target else PythonNode(key, key, target=target)
            known = self._by_value[id(target)] = (target, self._look(node))
        return known[1]

    def _look(self, node: PythonNode) -> NodeCode | str:
        if is_builtin(node) or node.target is None:  # of a graph file, which was packed with its code
            return NodeCode(node.fingerprint, {}) if node.fingerprint else "its code is not known"
        from grandpa_kfp_runtime.code.fingerprint import code_fingerprint

        try:
            parts = self._reach().explain(node.target)
            opaque = self._reach().opaque(node.target)
        except Exception as error:  # whatever a user's own objects raise while they are pickled: it can still run
            return f"its code cannot be fingerprinted: {error}"
        if opaque:
            return f"its code holds a {opaque[0]}, whose content cannot be told"
        changed = _changed({name.partition(":")[0] for name, _ in parts if ":" in name})
        if changed:
            return f"{changed} was changed after it was loaded: what runs is not what its file says"
        named = {f"{own}, a package" if name == "outside" else name: own for name, own in parts}
        return NodeCode(code_fingerprint(parts), named)

    def _reach(self) -> Fingerprints:
        if self._fingerprints is None:
            from grandpa_kfp_runtime.code.fingerprint import Fingerprints
            from grandpa_kfp_runtime.code.imports import Locator
            from grandpa_kfp_runtime.code.payload import add_main

            from ...packing import root_of

            locator = Locator([str(self._root or root_of(self._graph))])
            add_main(locator)
            self._fingerprints = Fingerprints(locator=locator)
        return self._fingerprints


def _called_in_bodies(key: str, target: object, own: Mapping[str, PythonNode]) -> PythonNode | None:
    """The node of the project that a body has called by this key; None where it is not at hand, as in a graph file."""
    if target is None and not key.startswith(_VALUE) and all(node.target is not None for node in own.values()):
        module, _, qualname = key.partition(":")
        target = unmarked(walk(sys.modules.get(module), qualname))
    return None if target is None else PythonNode(key, key, target=target)


def _changed(modules: set[str]) -> str:
    """The first of these modules whose file is not what it was when it was looked at first; empty for none."""
    for name in sorted(modules):
        module = sys.modules.get(name)
        file = getattr(module, "__file__", None)
        if module is None or not isinstance(file, str):
            continue
        try:
            at = os.stat(file)
        except OSError:
            return name
        if _loaded.setdefault(module, (at.st_mtime_ns, at.st_size)) != (at.st_mtime_ns, at.st_size):
            return name
    return ""
