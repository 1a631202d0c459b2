"""Constants as text: one canonical form, whether the value is alive or known by its handle alone.

A graph traced from source holds live values, a graph read from a file holds handles. Binding, the
printer and the graph file ask here, so that both kinds print the same, compile to the same bytes and
are written to the same file.
"""

from __future__ import annotations

import base64
import io
import json
import pickle
from typing import Any, Literal, NoReturn, TypeAlias

from grandpa_kfp_runtime.code.class_fingerprints import class_fingerprint
from grandpa_kfp_runtime.errors import CodecError, ParameterError
from grandpa_kfp_runtime.parameters import to_json
from grandpa_kfp_runtime.values.handles import CONSTANT_LIMIT_BYTES, inline_constant, raw_or_handle
from grandpa_kfp_runtime.values.sharing import describing

from .graph import Constant, Json, Parameter

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
    with describing():
        return inline_constant(constant.value, limit=None, class_fingerprint=class_fingerprint)


def encode_constant(constant: Constant, *, name: str = "the constant") -> tuple[Literal["raw", "handle"], Raw]:
    """How the constant enters a pipeline: the value itself, or its handle.

    name: what messages call it. Raises CodecError for a value that cannot be encoded or is too large
    for a pipeline's file.

    >>> encode_constant(Constant(5)), encode_constant(Constant(handle="5"))
    (('raw', 5), ('raw', 5))
    """
    if constant.handle is None:
        with describing():
            return raw_or_handle(constant.value, name=name, class_fingerprint=class_fingerprint)
    if not constant.handle.startswith(INLINE):
        return raw_or_handle(json.loads(constant.handle), name=name)
    if len(constant.handle) > CONSTANT_LIMIT_BYTES:
        raise CodecError(
            f"{name} takes {len(constant.handle):,} bytes, and a constant is part of the YAML: "
            f"at most {CONSTANT_LIMIT_BYTES:,} fit; make it in a node and pass its result"
        )
    return "handle", constant.handle


def default_json(parameter: Parameter) -> Json:
    """A parameter's default as the JSON value that `parameters.convert` turns back into it.

    Raises ParameterError for a default that cannot be a parameter's value.

    >>> from .graph import TypeSpec
    >>> default_json(Parameter("a", TypeSpec("tuple"), Constant((1, 2))))
    [1, 2]
    """
    default = parameter.default
    assert isinstance(default, Constant)
    if default.handle is not None and not default.handle.startswith("@"):
        return json.loads(default.handle)
    try:
        return to_json(plain_value(default), parameter.type)
    except NotPlain:
        raise ParameterError(
            f"the default of parameter {parameter.name} is of a class of its own; annotate the parameter with its type"
        ) from None


class NotPlain(Exception):
    """A constant's value is more than builtin containers and atoms."""


class _PlainUnpickler(pickle.Unpickler):
    """Reads builtin containers and atoms; refuses every class, so that no code of anybody's runs."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise NotPlain

    def persistent_load(self, pid: Any) -> NoReturn:
        raise NotPlain


def plain_value(constant: Constant) -> Any:
    """The value, alive or from a handle that holds nothing but builtin containers and atoms.

    Raises NotPlain for a handle whose value takes somebody's code to decode.

    >>> plain_value(Constant(handle=handle_text(Constant((1, "a")))))
    (1, 'a')
    """
    handle = constant.handle
    if handle is None:
        return constant.value
    if not handle.startswith("@"):
        return json.loads(handle)
    codec, _, content = handle[len(INLINE) :].partition(":")
    data = base64.b64decode(content)
    if codec == "bytes":
        return data
    if codec == "text":
        return data.decode("utf-8", "surrogatepass")
    if codec == "json":
        return json.loads(data)
    if codec != "pickle":
        raise NotPlain
    try:
        return _PlainUnpickler(io.BytesIO(data)).load()
    except (pickle.UnpicklingError, EOFError, ValueError, IndexError) as error:
        raise NotPlain from error
