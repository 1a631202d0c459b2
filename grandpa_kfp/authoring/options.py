"""Reads the options that a user writes at a node, a call or a workflow into `graph.Options`.

They are checked where they are written: an unknown name, a wrong type or an impossible value is a
TraceError with that file and line.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from grandpa_kfp_compiler.graph import NO_OPTIONS, OPTION_NAMES, Options
from grandpa_kfp_compiler.options import RULES, Wrong, nearest
from grandpa_kfp_runtime.errors import CodecError, TraceError

from .where import folder_here, here

__all__ = ["check_name", "nearest", "read_options"]

_ALL_NAMES = (*OPTION_NAMES, "requirements", "name", "outputs")


def read_options(given: Mapping[str, Any], *, of: str) -> Options:
    """The options in `given`; None leaves one unset, but as a fallback it is the value.

    of: whose they are, for messages (`the node train`).
    Raises TraceError for an unknown option (naming the nearest) and for a value that cannot be.
    """
    if not given:
        return NO_OPTIONS
    chosen: dict[str, Any] = {}
    for name, value in _with_file(given, of).items():
        rule = RULES.get(name)
        if rule is None:
            raise TraceError(f"{here()}: {of} has no option {name!r}{nearest(name, _ALL_NAMES)}")
        if name == "fallback":
            chosen[name] = _constant(value, of)  # None too: it is a value like any other
            continue
        if value is None:
            continue
        try:
            chosen[name] = rule.read(value)
        except Wrong as wrong:
            raise TraceError(f"{here()}: the option {name} of {of} {wrong}") from None
        for mistake in rule.mistakes(chosen[name]):
            raise TraceError(f"{here()}: the option {name} of {of} {mistake}")
    return Options(**chosen)


def _constant(value: Any, of: str) -> str:
    """The value of `fallback` as a handle that holds all of it."""
    from grandpa_kfp_runtime.values.handles import inline_constant

    try:
        return inline_constant(value, name=f"the option fallback of {of}")
    except CodecError as error:
        raise TraceError(f"{here()}: {error}") from None


def _with_file(given: Mapping[str, Any], of: str) -> Mapping[str, Any]:
    """The requirements of the file that `requirements` names among the packages.

    A relative path is taken from the folder of the user's own file.
    """
    file = given.get("requirements")
    rest = {name: value for name, value in given.items() if name != "requirements"}
    if file is None:
        return rest
    from grandpa_kfp_runtime.code.loader import is_packed
    from grandpa_kfp_runtime.code.requirements import read_file

    if not isinstance(file, str | os.PathLike):
        raise TraceError(f"{here()}: the option requirements of {of} must be the path of a file, but is {file!r}")
    folder = folder_here()
    if is_packed(folder):  # in a task, whose packages are there by now
        return rest
    try:
        found = read_file(folder / file)
    except ValueError as error:
        raise TraceError(f"{here()}: the option requirements of {of}: {error}") from None
    packages = given.get("packages")
    if packages is not None and not isinstance(packages, list | tuple):
        return rest  # which is told
    return {**rest, "packages": [*found, *(packages or ())]}


def check_name(name: Any, *, of: str) -> str:
    """A name for a node, component, workflow or task. Raises TraceError for one that cannot stand in a path."""
    if not isinstance(name, str) or not name.strip() or "/" in name or not name.isprintable():
        raise TraceError(f"{here()}: the name of {of} must be a text without '/' and line breaks, but is {name!r}")
    return name
