"""The key under which a worker finds a node: `module:qualname` where that imports to the same object."""

from __future__ import annotations

import sys
from typing import Any


def importable_key(target: Any) -> str:
    """`module:qualname` of a callable that can be found by it, empty for one that travels by value.

    `__main__` of another process is another module, so what lives there has no key of this kind.
    """
    module, qualname = getattr(target, "__module__", None), getattr(target, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(qualname, str) or module == "__main__":
        return ""
    found: Any = sys.modules.get(module)
    for name in qualname.split("."):
        found = getattr(found, name, None)
    if found is target or getattr(found, "__grandpa_node__", None) is target:
        return f"{module}:{qualname}"
    return ""
