"""What stands for a constant's value in a task's cache key.

For `identity.py`, and for worker processes, which alone see the constants that a body has made there.
"""

from __future__ import annotations

import os
import stat
from collections import OrderedDict
from pathlib import Path
from typing import Any

from grandpa_kfp_compiler.graph import Constant
from grandpa_kfp_runtime.code.class_fingerprints import class_fingerprint
from grandpa_kfp_runtime.stores.base import key_of
from grandpa_kfp_runtime.values.codecs import encode, is_json_exact, json_text
from grandpa_kfp_runtime.values.objects import pack
from grandpa_kfp_runtime.values.sharing import describing

_MOST_VALUES = 4
"""Values that are encoded to be told apart, and remembered: those that many tasks get from one body."""
_LONGEST_TEXT = 64
"""Characters of an input in a record: a hash stands for longer ones."""


class ValueTexts:
    """What stands for constants in keys. Of those that have to be encoded for it the last few are remembered."""

    def __init__(self) -> None:
        self._last: OrderedDict[int, tuple[Any, str | None]] = OrderedDict()

    def text(self, constant: Constant) -> str | None:
        """None where nothing stands for it."""
        value = constant.value
        if constant.handle is not None or is_json_exact(value):
            return constant_text(constant)
        known = self._last.get(id(value))
        if known is None:
            known = self._last[id(value)] = (value, constant_text(constant))
            if len(self._last) > _MOST_VALUES:
                self._last.popitem(last=False)
        return known[1]


def short(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else f"#{key_of(text.encode('utf-8', 'surrogatepass'))}"


def constant_text(constant: Constant) -> str | None:
    """The same text for the same value and no other; None where there is no such text."""
    if constant.handle is not None:
        return short(constant.handle)
    value = constant.value
    if is_json_exact(value):
        return short(json_text(value))
    files = _files_text(value)
    if files is None:
        return None
    try:
        with describing("a task") as described:
            encoded = encode(value, files=False, here=True, class_fingerprint=class_fingerprint)
            return None if described.any else f"#{key_of(pack(encoded))}{files}"
    except Exception:  # the task that takes it will tell what is wrong with it
        return None


def _files_text(value: Any) -> str | None:
    """Size and time of change of the files that paths in it name; None for a folder, which is not looked through."""
    if isinstance(value, Path):
        try:
            at = os.stat(value)
        except OSError:
            return ""
        return None if stat.S_ISDIR(at.st_mode) else f" {at.st_size} {at.st_mtime_ns}"
    kind = type(value)
    items = value if kind in (list, tuple, set, frozenset) else value.values() if kind is dict else ()
    texts = [_files_text(item) for item in items]
    return None if None in texts else "".join(text for text in texts if text)
