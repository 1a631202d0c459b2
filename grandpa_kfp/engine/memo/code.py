"""Fingerprints of a graph's nodes: made when they are first asked for, each node's once a run."""

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

if TYPE_CHECKING:
    from grandpa_kfp_runtime.code.fingerprint import Fingerprints

_loaded: weakref.WeakKeyDictionary[ModuleType, tuple[int, int]] = weakref.WeakKeyDictionary()
"""Time of change and size of modules' files when they were first looked at, soon after they were loaded."""


@dataclass(frozen=True, slots=True)
class NodeCode:
    """fingerprint: of the node's code; parts: what it consists of, `module:qualname` to a hash of its own."""

    fingerprint: str
    parts: Mapping[str, str]


class GraphCode:
    """root: the project's folder, by default found from the nodes' files."""

    def __init__(self, graph: Graph, root: Path | None = None) -> None:
        self._graph = graph
        self._root = root
        self._nodes = graph.nodes()
        self._fingerprints: Fingerprints | None = None
        self._known: dict[str, NodeCode | str] = {}

    def of(self, key: str) -> NodeCode | str:
        """The code of the node with this key; in words why it cannot be told."""
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._look(self._nodes[key])
        return found

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
