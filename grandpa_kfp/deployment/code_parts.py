"""What the code of a deployed pipeline consists of, kept in its store, so that `plan` can tell what has changed since.

One record for each version of a pipeline, `parts/ITS ID.json`: by the fingerprint that a task's args hold, the
functions, classes and constants that it reaches, each with a hash of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from grandpa_kfp_compiler.graph import Graph
from grandpa_kfp_compiler.kfp import Compiled
from grandpa_kfp_compiler.passes.fused_steps import nodes_in_steps
from grandpa_kfp_runtime.contract import TaskCall
from grandpa_kfp_runtime.errors import PayloadError, StoreError
from grandpa_kfp_runtime.stores import Store

from ..engine.kfp_containers import Container
from ..engine.kfp_reading import read_pipeline

ROOM = "parts/"
_FORMAT = 1

Parts = Mapping[str, Mapping[str, str]]
"""By fingerprint: `module:qualname` to a hash."""


def call_of(container: Container) -> TaskCall | None:
    """What a container of ours is told to run; None for another one, for what brings the code, and for those of
    versions that this one does not understand."""
    if not container.is_task:
        return None
    try:
        return TaskCall.from_argv(container.args)[0]
    except PayloadError:
        return None


def parts_of(graph: Graph, compiled: Compiled, root: Path | None) -> Parts:
    """Of the pipeline's tasks; those whose code cannot be told apart have none."""
    from ..engine.memo.code import GraphCode

    code = GraphCode(graph, root)
    known = graph.nodes()
    steps = {} if compiled.prepared is None else nodes_in_steps(compiled.prepared)
    found: dict[str, dict[str, str]] = {}
    for _, _, container in read_pipeline(compiled.text).dag.containers():
        call = call_of(container)
        if call is None or call.fingerprint in found:
            continue
        parts: dict[str, str] = {}
        inside = steps.get(call.node, ())
        for key in (call.node, *[item.node for item in call.interface.instances], *inside):
            own = code.of(key) if key in known else ""
            parts.update({} if isinstance(own, str) else own.parts)
        found[call.fingerprint] = parts
    return found


def put_parts(store: Store, version: str, graph: Graph, compiled: Compiled, root: Path | None) -> None:
    """Keeps them. Nobody but `plan` asks for them, so that a store that does not take them changes nothing."""
    code = {fingerprint: dict(parts) for fingerprint, parts in parts_of(graph, compiled, root).items()}
    try:
        store.put_record(f"{ROOM}{version}.json", {"format": _FORMAT, "code": code})
    except StoreError:
        return


def get_parts(store: Store, version: str) -> Parts:
    """What `put_parts` has kept; empty where nothing is known."""
    try:
        record = store.get_record(f"{ROOM}{version}.json")
    except StoreError:
        return {}
    code = record.get("code") if isinstance(record, dict) and record.get("format") == _FORMAT else None
    return {key: parts for key, parts in code.items() if isinstance(parts, dict)} if isinstance(code, dict) else {}
