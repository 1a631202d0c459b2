"""Constants and structures as Python literals, for the printer.

Only what a reader can see whole is a literal: None, numbers, strings, bytes, and lists, tuples, dicts,
sets of those. Anything else is shown as its codec, size and hash. A constant that is known by its
handle alone looks the same as when it was alive.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import pickle
from collections.abc import Iterable
from typing import Any, NoReturn

from grandpa_kfp_runtime.errors import CodecError

from .constants import INLINE, handle_text
from .graph import Constant

_ATOMS = frozenset({type(None), bool, int, float, complex, str, bytes, type(...)})
_LONGEST = 120
_SHOWN = 80

At = tuple[int, ...]


def constant_text(constant: Constant) -> str:
    """The constant as a literal, shortened where it is long, else `<pickle, 214 bytes, 3f9a2c1b>`.

    >>> constant_text(Constant((1, "a"))), constant_text(Constant(handle="[null]"))
    ("(1, 'a')", '[None]')
    """
    text = structure_text(constant, [])
    if text is None:
        return opaque_text(constant)
    if len(text) <= _LONGEST:
        return text
    return f"{text[:_SHOWN]}… <{len(text)} characters, {_digest(text)}>"


def structure_text(skeleton: Constant, holes: Iterable[tuple[At, str]]) -> str | None:
    """The skeleton as a literal with each hole's text in its place; None where it is no literal.

    >>> structure_text(Constant([1, {"a": None}]), [((1, 0), "%load")])
    "[1, {'a': %load}]"
    """
    try:
        return _text(_plain_value(skeleton), list(holes))
    except (_NotPlain, RecursionError):
        return None


def opaque_text(constant: Constant) -> str:
    """What can be said of a constant that is no literal."""
    try:
        handle = handle_text(constant)
    except CodecError:
        return f"<{type(constant.value).__qualname__}, which cannot be stored>"
    codec, _, content = handle[len(INLINE) :].partition(":")
    size = len(content) * 3 // 4 - content.count("=", -2)
    return f"<{codec}, {size} bytes, {_digest(handle)}>"


class _NotPlain(Exception):
    """The value is more than builtin containers and atoms."""


class _PlainUnpickler(pickle.Unpickler):
    """Reads builtin containers and atoms; refuses every class, so that no code of anybody's runs."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise _NotPlain

    def persistent_load(self, pid: Any) -> NoReturn:
        raise _NotPlain


def _plain_value(constant: Constant) -> Any:
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
        raise _NotPlain
    try:
        return _PlainUnpickler(io.BytesIO(data)).load()
    except (pickle.UnpicklingError, EOFError, ValueError, IndexError) as error:
        raise _NotPlain from error


def _text(value: Any, holes: list[tuple[At, str]]) -> str:
    kind = type(value)
    below: dict[int, list[tuple[At, str]]] = {}
    for at, text in holes:
        if not at:
            return text
        below.setdefault(at[0], []).append((at[1:], text))
    if kind in _ATOMS:
        return repr(value)
    if kind is dict:
        pairs = enumerate(value.items())
        return (
            f"{{{', '.join(f'{_text(key, [])}: {_text(item, below.get(index, []))}' for index, (key, item) in pairs)}}}"
        )
    if kind is set or kind is frozenset:
        items = sorted(_text(item, []) for item in value)
        shown = f"{{{', '.join(items)}}}" if items else ""
        return shown if kind is set and shown else f"{kind.__name__}({shown})"
    if kind is not list and kind is not tuple:
        raise _NotPlain
    items = [_text(item, below.get(index, [])) for index, item in enumerate(value)]
    if kind is list:
        return f"[{', '.join(items)}]"
    return f"({items[0]},)" if len(items) == 1 else f"({', '.join(items)})"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
