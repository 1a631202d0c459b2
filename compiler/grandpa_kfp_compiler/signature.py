"""What a callable takes and returns, as data: of Python nodes and of containers. `graph.py` hands it on."""

from __future__ import annotations

from dataclasses import dataclass

from grandpa_kfp_runtime.typespec import ANY, TypeSpec


@dataclass(frozen=True, slots=True)
class NodeParameter:
    """One parameter of a node's signature; `kind` is inspect's name in lower case (`keyword_only`)."""

    name: str
    kind: str = "positional_or_keyword"
    type: TypeSpec = ANY
    has_default: bool = False


@dataclass(frozen=True, slots=True)
class Signature:
    """The parameters of one callable and the type of what it returns."""

    parameters: tuple[NodeParameter, ...] = ()
    returns: TypeSpec = ANY


UNKNOWN = Signature()
"""Of what does not tell."""
