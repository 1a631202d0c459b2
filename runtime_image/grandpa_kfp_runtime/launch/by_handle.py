"""Nodes of the compiler's own that work on handles: no value is decoded, no code of the user's is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..builtins import ByHandle
from ..contract import ABSENT, Interface
from ..errors import PayloadError
from ..stores.base import Store
from ..values.pickling import ClassFingerprint
from .outputs import Output


def run_by_handle(
    run: ByHandle, interface: Interface, handles: Mapping[str, str], store: Store, class_fingerprint: ClassFingerprint
) -> Output:
    """The node's one output. handles: of the inputs, by name. Raises PayloadError where one is missing."""
    sources = [argument.source for argument in interface.call.positional]
    missing = [source for source in sources if source not in handles]
    if missing:
        raise PayloadError(f"the inputs {', '.join(missing)} are missing in the executor input")
    handle = run([handles[source] for source in sources], store, class_fingerprint)
    (name,) = interface.outputs
    made = "list" if handle[0] in "@[" else "value"
    facts: dict[str, Any] = {"type": made, "size_bytes": len(handle), "codec": "handles"}
    if handle.startswith("@") and handle != ABSENT:
        facts["key"] = handle[1:]
    return Output(name, handle, facts, f"{made} of {len(sources)} tasks' results")
