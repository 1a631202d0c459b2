"""One short line about a value, for reports, logs and previews: `ndarray (100, 3) float64`."""

from __future__ import annotations

import os
from pathlib import PurePath
from typing import Any

_MOST = 60


def summary(value: Any) -> str:
    """What the value is, in at most some 80 characters; calls no code of the user's and never raises.

    >>> summary([1, 2, 3]), summary("x" * 100), summary(2.5)
    ('list of 3', 'str of 100 characters', '2.5')
    """
    kind = type(value)
    if value is None or kind is bool or kind is float:
        return repr(value)
    if kind is int:
        return repr(value) if value.bit_length() < 200 else f"int of {value.bit_length()} bits"
    if kind is str:
        return repr(value) if len(value) <= _MOST else f"str of {len(value):,} characters"
    if kind is bytes or kind is bytearray:
        return f"{kind.__name__} of {len(value):,}"
    if kind in (list, tuple, dict, set, frozenset):
        return f"{kind.__name__} of {len(value):,}"
    if issubclass(kind, PurePath):
        return _path(value)
    return _shaped(value, kind) or kind.__qualname__


def _path(value: PurePath) -> str:
    try:
        size = os.stat(value).st_size
    except OSError:
        return f"path {value.name}"
    return f"folder {value.name}" if os.path.isdir(value) else f"file {value.name}, {size:,} bytes"


def _shaped(value: Any, kind: type) -> str:
    """Arrays, frames and series, known by their class's home; no import of theirs."""
    home = kind.__module__.partition(".")[0]
    if home not in ("numpy", "pandas", "torch", "polars", "scipy", "jax", "tensorflow"):
        return ""
    try:
        shape = tuple(value.shape)
        dtype = getattr(value, "dtype", "")
    except Exception:  # a summary is never worth a failure
        return ""
    return f"{kind.__name__} {shape} {dtype}".rstrip()
