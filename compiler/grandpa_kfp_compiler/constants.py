"""Constants as text: one canonical form, whether the value is alive or known by its handle alone.

A graph traced from source holds live values, a graph read from a file holds handles. Binding, the
printer and the graph file ask here, so that both kinds print the same, compile to the same bytes and
are written to the same file.
"""

from __future__ import annotations

import json
from typing import Any, Literal, TypeAlias

from grandpa_kfp_runtime.errors import CodecError
from grandpa_kfp_runtime.handles import CONSTANT_LIMIT_BYTES, inline_constant, raw_or_handle

from .graph import Constant, Json

Raw: TypeAlias = "str | bool | int | float"

INLINE = "@inline:"


class PathKey(dict[str, str]):
    """A key of a path that JSON cannot hold, as `{"@": handle}`; hashable, so that interfaces are too."""

    def __hash__(self) -> int:  # type: ignore[override]  # a path's key is never changed
        return hash(self["@"])


def path_keys(path: tuple[Any, ...]) -> tuple[Json, ...]:
    """A path as plain data: str and int as they are, any other key by its handle.

    >>> path_keys(("a", 0, None))
    ('a', 0, {'@': 'null'})
    """
    for key in path:
        if type(key) is not str and type(key) is not int:
            return tuple(_path_key(key) for key in path)
    return path


def _path_key(key: Any) -> Json:
    if type(key) in (str, int, PathKey):
        return key
    return PathKey({"@": handle_text(Constant(key))})


def handle_text(constant: Constant) -> str:
    """The constant's handle: JSON text where JSON gives back exactly the value, else `@inline:codec:base64`.

    Of any size: a graph file may hold what is too large for a pipeline. Raises CodecError for a value
    that cannot be encoded.

    >>> handle_text(Constant({"a": [1, 2.5, None]}))
    '{"a":[1,2.5,null]}'
    """
    if constant.handle is not None:
        return constant.handle
    return inline_constant(constant.value, limit=None)


def encode_constant(constant: Constant, *, name: str = "the constant") -> tuple[Literal["raw", "handle"], Raw]:
    """How the constant enters a pipeline: the value itself, or its handle.

    name: what messages call it. Raises CodecError for a value that cannot be encoded or is too large
    for a pipeline's file.

    >>> encode_constant(Constant(5)), encode_constant(Constant(handle="5"))
    (('raw', 5), ('raw', 5))
    """
    if constant.handle is None:
        return raw_or_handle(constant.value, name=name)
    if not constant.handle.startswith(INLINE):
        return raw_or_handle(json.loads(constant.handle), name=name)
    if len(constant.handle) > CONSTANT_LIMIT_BYTES:
        raise CodecError(
            f"{name} takes {len(constant.handle):,} bytes, and a constant is part of the YAML: "
            f"at most {CONSTANT_LIMIT_BYTES:,} fit; make it in a node and pass its result"
        )
    return "handle", constant.handle
