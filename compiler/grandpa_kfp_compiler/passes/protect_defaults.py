"""Defaults of workflow parameters that the cluster would rewrite.

Before: a parameter of a type that KFP has (`str`, `list`, `dict`) may have a default that holds `{{`,
    `}}` or `$$(`, which Argo and Kubernetes replace wherever they meet them, or be infinite.
After: such a parameter's type is `... | None`, which KFP does not have, so that it travels as JSON text,
    and JSON can spell these characters in another way.
Why: the default must arrive unchanged, and a parameter that a person edits in the UI cannot be a handle.
    The price: in the UI this one parameter is JSON text (`"{{x}}"`, with its quotes); `compile` notes it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from grandpa_kfp_runtime.parameters import kfp_type
from grandpa_kfp_runtime.typespec import NONE, TypeSpec

from ..constants import default_json
from ..graph import MISSING, Graph, Parameter

_NOT_FINITE = ("NaN", "Infinity", "-Infinity")  # how JSON spells them; a text that says so takes no harm


def protect_defaults(graph: Graph) -> Graph:
    """No default of a KFP type holds what the cluster rewrites; see the module."""
    parameters = tuple(map(_protect, graph.parameters))
    return graph if parameters == graph.parameters else replace(graph, parameters=parameters)


def _protect(parameter: Parameter) -> Parameter:
    if parameter.default is MISSING or kfp_type(parameter.type) is None or not is_rewritten(default_json(parameter)):
        return parameter
    return replace(parameter, type=TypeSpec("union", (parameter.type, NONE)))


def is_rewritten(value: Any) -> bool:
    """Whether `value` holds text that Argo or Kubernetes replace, or a number that KFP does not have.

    >>> is_rewritten(["a", {"b": "x{{y}}"}]), is_rewritten("$(HOME)"), is_rewritten("$$(HOME)")
    (True, False, True)
    """
    if isinstance(value, str):
        return "{{" in value or "}}" in value or "$$(" in value or value in _NOT_FINITE
    if isinstance(value, dict):
        return any(is_rewritten(key) or is_rewritten(item) for key, item in value.items())
    return isinstance(value, list | tuple) and any(map(is_rewritten, value))
