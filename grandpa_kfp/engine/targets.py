"""From a node's key to what is called: the live objects of a traced graph, or the code zip of one from a file."""

from __future__ import annotations

import importlib
import operator
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grandpa_kfp_compiler.graph import Graph
from grandpa_kfp_runtime.errors import PayloadError

if TYPE_CHECKING:
    from grandpa_kfp_runtime.code.payload import Loader


class Targets:
    """`load` finds a target by key. folder: where the code zip may be unpacked, asked for when it has to be.

    While it is open, modules of the zip stand in for modules of the same names that this process has.
    """

    def __init__(self, graph: Graph, folder: Callable[[], Path]) -> None:
        self._code = graph.code
        self._folder = folder
        self._loader: Loader | None = None
        self._known = {key: node.target for key, node in graph.nodes().items() if node.target is not None}
        if self._code is not None and len(self._known) < len(graph.nodes()):
            self._open()

    def load(self, key: str) -> Any:
        """The function or class, its @Node mark taken off. Raises PayloadError where there is none."""
        target = self._known.get(key)
        if target is None:
            target = self._known[key] = self._find(key)
        return target

    def load_type(self, key: str) -> Any:
        """The class that a type's name stands for. Raises PayloadError."""
        if key in self._known:
            return self._known[key]
        if self._loader is not None:
            return self._loader.load(key)
        from grandpa_kfp_runtime.parameters import load_class

        return load_class(key)

    def _find(self, key: str) -> Any:
        if self._loader is not None and not key.startswith("grandpa_kfp_runtime."):
            return self._loader.load(key)
        found = _import(key)
        return getattr(found, "__grandpa_node__", found)

    def close(self) -> None:
        """Puts the process's own modules back."""
        loader, self._loader = self._loader, None
        if loader is not None:
            loader.close()

    def _open(self) -> None:
        from grandpa_kfp_runtime.code.payload import Loader, unpack

        assert self._code is not None
        folder = self._folder()
        unpack(self._code.zip, self._code.sha256, folder)
        self._loader = Loader(folder)


def _import(key: str) -> Any:
    module, _, qualname = key.partition(":")
    try:
        return operator.attrgetter(qualname)(importlib.import_module(module)) if qualname else None
    except (ImportError, AttributeError) as error:
        raise PayloadError(f"{key} cannot be found ({error}), and the graph carries no code; pack the graph") from error
