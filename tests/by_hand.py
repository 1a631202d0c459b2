"""Calls the bodies of nodes without any engine, and notes which: what workflows of tests are held to."""

from __future__ import annotations

from typing import Any

CALLED: list[str] = []
"""Names of the nodes that were called, in order."""


def by_hand(node: Any, *args: Any) -> Any:
    """What a node's body gives for arguments; of an instance of a class node, what a call of the object gives."""
    CALLED.append(node._definition.name)
    return _call(node, *args)


def mapped_by_hand(node: Any, *lists: Any) -> list[Any]:
    """What a node's body gives for each place of the lists; one call, as a map is one task."""
    CALLED.append(f"{node._definition.name}.map")
    return [_call(node, *row) for row in zip(*lists, strict=True)]


def _call(node: Any, *args: Any) -> Any:
    from grandpa_kfp import resolve

    body = node.fn if hasattr(node, "fn") else resolve(node)
    return resolve(body(*args))
