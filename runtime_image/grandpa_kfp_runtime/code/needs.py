"""Whether the outside distributions that a node's code uses are here, and in which version.

The code zip's manifest tells what was there when the code was packed; the launcher asks before it loads a node.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import PayloadError
from .distributions import distribution_of


def check_needs(manifest: Mapping[str, Any], keys: Iterable[str]) -> list[str]:
    """What is here in another major version than the code was packed with, a sentence each.

    manifest: of the code zip; keys: of the task's nodes. Raises PayloadError naming every distribution that
    is not here, with its version there; what the code itself can do without is no fault.
    """
    modules: dict[str, list[str]] = {}
    for module, name in manifest.get("imports", {}).items():
        modules.setdefault(name, []).append(module)
    versions, optional = manifest.get("distributions", {}), set(manifest.get("optional", ()))
    used = sorted({name for key in keys for name in manifest.get("uses", {}).get(key, ())})
    missing, notes = [], []
    for name in used:
        version, brings = versions.get(name, ""), sorted(modules.get(name, ()))
        if not version or not brings:
            continue  # it was not installed where the code was packed, or is no import of its own
        found = [module for module in brings if _is_there(module)]
        if not found:
            if not optional.intersection(brings):
                missing.append(f"{name}=={version}")
            continue
        here = distribution_of(found[0])
        if here.name == name and here.version and _major(here.version) != _major(version):
            notes.append(f"{name} is {here.version} here, and the code was packed with {version}")
    if missing:
        pins = ", ".join(f'"{item}"' for item in missing)
        raise PayloadError(
            f"the node's code uses {' and '.join(missing)} (the versions it was packed with), not installed here, "
            f"under Python {sys.version_info[0]}.{sys.version_info[1]}: add packages=[{pins}] to the node, or use an "
            "image that has it (image=, --image)"
        )
    return notes


def _is_there(module: str) -> bool:
    if module in sys.modules:
        return True
    try:
        return importlib.util.find_spec(module) is not None
    except ValueError:  # a module that hides what it was loaded from
        return True


def _major(version: str) -> tuple[str, ...]:
    """The part of a version whose change may break its users: `1` of 1.26.4, `0.5` of 0.5.2."""
    parts = version.split(".")
    return tuple(parts[:2]) if parts[0] == "0" else tuple(parts[:1])
