"""Reads the options that a user writes at a node, a call or a workflow into `graph.Options`.

They are checked where they are written: an unknown name, a wrong type or an impossible value is a
TraceError with that file and line.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from grandpa_kfp_compiler.graph import NO_OPTIONS, OPTION_NAMES, Options
from grandpa_kfp_compiler.options import RULES, Wrong, nearest
from grandpa_kfp_runtime.errors import TraceError

from .where import here

__all__ = ["check_name", "nearest", "read_options"]


def read_options(given: Mapping[str, Any], *, of: str) -> Options:
    """The options in `given`; None leaves one unset.

    of: whose they are, for messages (`the node train`).
    Raises TraceError for an unknown option (naming the nearest) and for a value that cannot be.
    """
    if not given:
        return NO_OPTIONS
    chosen: dict[str, Any] = {}
    for name, value in given.items():
        rule = RULES.get(name)
        if rule is None:
            raise TraceError(
                f"{here()}: {of} has no option {name!r}{nearest(name, (*OPTION_NAMES, 'name', 'outputs'))}"
            )
        if value is None:
            continue
        try:
            chosen[name] = rule.read(value)
        except Wrong as wrong:
            raise TraceError(f"{here()}: the option {name} of {of} {wrong}") from None
        for mistake in rule.mistakes(chosen[name]):
            raise TraceError(f"{here()}: the option {name} of {of} {mistake}")
    return Options(**chosen)


def check_name(name: Any, *, of: str) -> str:
    """A name for a node, component, workflow or task. Raises TraceError for one that cannot stand in a path."""
    if not isinstance(name, str) or not name.strip() or "/" in name or not name.isprintable():
        raise TraceError(f"{here()}: the name of {of} must be a text without '/' and line breaks, but is {name!r}")
    return name
