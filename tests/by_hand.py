"""Calls the bodies of nodes without any engine, and notes which: what workflows of tests are held to."""

from __future__ import annotations

from typing import Any

CALLED: list[str] = []
"""Names of the nodes that were called, in order."""


def by_hand(node: Any, *args: Any) -> Any:
    """What a node's body gives for arguments; of an instance of a class node, what a call of the object gives."""
    from grandpa_kfp import resolve

    CALLED.append(node._definition.name)
    body = node.fn if hasattr(node, "fn") else resolve(node)
    return resolve(body(*args))
