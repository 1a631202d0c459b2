"""From a workflow to a file that Kubeflow takes: what `compile` does around the compiler itself."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grandpa_kfp_runtime.errors import CompileError, StoreError

if TYPE_CHECKING:
    from grandpa_kfp_compiler.graph import Graph
    from grandpa_kfp_compiler.kfp import Compiled, CompileOptions


def packed(
    workflow: Any, params: Mapping[str, Any] | None = None, *, root: Path | None = None, include: Sequence[str] = ()
) -> Graph:
    """The workflow's graph with its code, its handler of failures a task in it; a graph that has its code, as it is."""
    from grandpa_kfp_compiler.graph import Graph

    from .packing import pack

    if isinstance(workflow, Graph):
        return workflow if workflow.code is not None else pack(workflow, root=root, include=include)
    from .authoring.workflows import as_workflow

    return pack(as_workflow(workflow).trace(params or {}, handled=True), root=root, include=include)


def upload_code(compiled: Compiled, options: CompileOptions) -> Compiled:
    """Writes what `--code store` needs into the store where it is reachable from here, else notes what is missing."""
    if not compiled.upload:
        return compiled
    from grandpa_kfp_runtime.stores import open_store

    notes = []
    for item in compiled.upload:
        try:
            store = open_store(options.store)
            if not store.exists(item.key):
                store.write(item.buffers)
            notes.append(f"code: stored as {store.uri(item.key)} ({item.size_bytes:,} bytes)")
        except StoreError as error:
            reason = str(error).splitlines()[0]
            notes.append(
                f"code: the store is not reachable from here ({reason}). Before the pipeline runs, object {item.key} "
                f"({item.size_bytes:,} bytes) must lie in {options.store}: compile again from where the store is "
                "reachable, or use `grandpa deploy`, which uploads it"
            )
    return replace(compiled, notes=(*compiled.notes, *notes))


def write_whole(path: Path, content: str | bytes) -> None:
    """Writes the file whole or not at all; what was there stays until the new one is complete.

    Raises CompileError where it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
            os.chmod(temporary, _mode(path))
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise CompileError(f"{path} cannot be written: {error.strerror or error}") from error


def _mode(path: Path) -> int:
    """What the file has, or what the user's other new files get: a temporary file is private."""
    if path.exists():
        return path.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
