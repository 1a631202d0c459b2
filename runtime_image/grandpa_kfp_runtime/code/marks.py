"""What lies below a mark, and what an import finds: nodes, components and workflows as plain callables.

`payload`, `loader` and the fingerprint look through marks with these; `by_value` names functions below a
node by them.
"""

from __future__ import annotations

import operator
import sys
import types
from typing import Any

_ATOMS = frozenset({type(None), bool, int, float, str, bytes, list, tuple, dict, set, frozenset, types.FunctionType})


def unmarked(value: Any) -> Any:
    """The callable below a node, the function below a component or workflow; other values as they are."""
    kind = type(value)
    if isinstance(value, type) or kind in _ATOMS:
        return value
    mark = getattr(kind, "__grandpa_node__", None)
    if mark is not None and not isinstance(mark, type):  # a real object of a marked class is no node
        return value.__grandpa_node__
    if hasattr(kind, "__grandpa_traced__"):
        return getattr(value, "fn", value)
    return value


def importable(value: Any) -> tuple[str, str] | None:
    """(module, qualname) of a function or class that can be imported, as it is or below a node; else None."""
    module, qualname = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(qualname, str) or module == "__main__":
        return None
    found = walk(sys.modules.get(module), qualname)
    if found is value or (found is not None and unmarked(found) is value):
        return module, qualname
    return None


def walk(found: Any, qualname: str) -> Any:
    """The attribute at the end of a dotted name, None where there is none."""
    for name in qualname.split("."):
        found = getattr(found, name, None)
    return found


def plain_function(module: str, qualname: str) -> Any:
    """The function below the node of that name; pickles of partials and closures over nodes name it."""
    __import__(module)
    found = operator.attrgetter(qualname)(sys.modules[module])
    return getattr(found, "__grandpa_node__", found)
