"""Values, paths and durations as the few characters that fit into a drawing."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

from grandpa_kfp_compiler.graph import Constant
from grandpa_kfp_runtime.values.summaries import summary

_MOST = 36
_BUILTIN = (str, int, float, bool, type(None))


def constant_text(constant: Constant, most: int = _MOST) -> str:
    """A constant in at most `most` characters or so, alive or known by its handle.

    >>> constant_text(Constant([1, 2])), constant_text(Constant(list(range(99)))), constant_text(Constant(handle="5"))
    ('[1, 2]', 'list of 99', '5')
    """
    if constant.handle is None:
        return value_text(constant.value, most)
    if constant.handle.startswith("@"):
        return constant.handle.split(":")[1] if constant.handle.startswith("@inline:") else "stored object"
    return value_text(json.loads(constant.handle), most)


def value_text(value: Any, most: int = _MOST) -> str:
    """The value as Python writes it where that is short, else what it is; no code of the user's is called."""
    text = _plain(value, most, 3)
    return text if text is not None and len(text) <= most else summary(value)


def _plain(value: Any, most: int, deep: int) -> str | None:
    """repr of builtins in builtins; None for everything else and for what is long."""
    kind = type(value)
    if kind is int and value.bit_length() > 200:
        return None
    if kind in _BUILTIN:
        return None if kind is str and len(value) > most else repr(value)
    if kind not in (list, tuple, dict) or len(value) > most or not deep:
        return None
    if kind is dict:
        keys = [_plain(key, most, deep - 1) for key in value]
        values = [_plain(item, most, deep - 1) for item in value.values()]
        if None in keys or None in values:
            return None
        return "{" + ", ".join(f"{key}: {item}" for key, item in zip(keys, values, strict=True)) + "}"
    items = [_plain(item, most, deep - 1) for item in value]
    if None in items:
        return None
    joined = ", ".join(map(str, items))
    if kind is list:
        return f"[{joined}]"
    return f"({joined},)" if len(items) == 1 else f"({joined})"


def path_text(path: tuple[object, ...]) -> str:
    """What is taken out of a value: `[0]["mean"]`."""
    return "".join(f"[{key!r}]" if isinstance(key, str | int) else "[…]" for key in path)


def seconds_text(seconds: float) -> str:
    """A duration in at most six characters.

    >>> seconds_text(0.0042), seconds_text(3.14159), seconds_text(75), seconds_text(7322)
    ('4 ms', '3.1 s', '1:15', '2:02 h')
    """
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02} h"


def size_text(size_bytes: int) -> str:
    """A size in at most seven characters.

    >>> size_text(512), size_text(2048), size_text(5 * 1024 * 1024)
    ('512 B', '2.0 KiB', '5.0 MiB')
    """
    if size_bytes < 1024:
        return f"{size_bytes} B"
    size = float(size_bytes)
    for unit in ("KiB", "MiB", "GiB"):
        size /= 1024
        if size < 1024 or unit == "GiB":
            break
    return f"{size:.1f} {unit}"


def tasks_text(states: Iterable[str]) -> str:
    """How many tasks a run had, and how they ended where they did not all run.

    >>> tasks_text(["succeeded", "succeeded"]), tasks_text(["cached", "succeeded", "skipped"])
    ('2 tasks', '3 tasks (1 cached, 1 ran, 1 skipped)')
    """
    counts = Counter(states)
    whole = sum(counts.values())
    others = {name: counts[name] for name in ("failed", "skipped", "stopped", "canceled") if counts[name]}
    ran = whole - counts["cached"] - sum(others.values())
    told = {"cached": counts["cached"], "ran": ran, **others} if counts["cached"] else {"ran": ran, **others}
    text = "1 task" if whole == 1 else f"{whole:,} tasks"
    return text if ran == whole else f"{text} ({', '.join(f'{count:,} {name}' for name, count in told.items())})"
