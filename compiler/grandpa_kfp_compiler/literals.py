"""Constants and structures as Python literals, for the printer.

Only what a reader can see whole is a literal: None, numbers, strings, bytes, and lists, tuples, dicts,
sets of those. Anything else is shown as its codec, size and hash. A constant that is known by its
handle alone looks the same as when it was alive.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from grandpa_kfp_runtime.errors import CodecError

from .constants import INLINE, NotPlain, handle_text, plain_value
from .graph import Constant

_ATOMS = frozenset({type(None), bool, int, float, str, bytes})
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
        return _text(plain_value(skeleton), list(holes))
    except (NotPlain, RecursionError):
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
        raise NotPlain
    items = [_text(item, below.get(index, [])) for index, item in enumerate(value)]
    if kind is list:
        return f"[{', '.join(items)}]"
    return f"({items[0]},)" if len(items) == 1 else f"({', '.join(items)})"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
