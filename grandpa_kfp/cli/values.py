"""A workflow's value on standard output: one line that a person can read, or JSON."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import PurePath
from typing import Any

from grandpa_kfp_runtime.errors import GrandpaError
from grandpa_kfp_runtime.values.summaries import summary


class NoJson(GrandpaError):
    """The value is nothing that JSON holds."""


def value_line(value: Any) -> str:
    """The value as Python writes it, in one line; a path as its text.

    >>> value_line({"a": [1, "x"]})
    "{'a': [1, 'x']}"
    """
    if isinstance(value, PurePath):
        return str(value)
    try:
        text = repr(value)
    except Exception:  # a user's repr may raise anything; what the value is can be said without it
        return summary(value)
    return re.sub(r"\s*\n\s*", " ", text)


def value_json(value: Any) -> str:
    """The value as one line of JSON: tuples, sets, arrays as lists, dataclasses and named tuples by name.

    Raises NoJson, with where in the value, for what JSON cannot hold.
    """
    return json.dumps(_plain(value, "the value"), ensure_ascii=False, allow_nan=True)


def _plain(value: Any, at: str) -> Any:
    kind = type(value)
    if value is None or kind in (bool, int, float, str):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: _plain(getattr(value, item.name), f"{at}.{item.name}") for item in dataclasses.fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: _plain(item, f"{at}.{name}") for name, item in value._asdict().items()}
    if isinstance(value, dict):
        return {_key(key, at): _plain(item, f"{at}[{key!r}]") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{at}[{position}]") for position, item in enumerate(value)]
    if isinstance(value, set | frozenset):
        return sorted((_plain(item, at) for item in value), key=lambda item: json.dumps(item, sort_keys=True))
    if isinstance(value, bool | int | float | str):  # subclasses, enums of them included
        return next(base(value) for base in (bool, int, float, str) if isinstance(value, base))
    if isinstance(value, PurePath):
        return str(value)
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if kind.__module__.partition(".")[0] in ("numpy", "pandas") and hasattr(value, "tolist"):
        return _plain(value.tolist(), at)
    if kind.__module__.partition(".")[0] == "pandas" and hasattr(value, "to_dict"):
        return _plain(value.to_dict(orient="list"), at)
    raise NoJson(f"{at} is {summary(value)}, which JSON cannot hold; run without --json, or return plain data")


def _key(key: Any, at: str) -> str:
    if isinstance(key, str):
        return str(key)
    if key is None or isinstance(key, bool | int | float):
        return json.dumps(key)
    raise NoJson(f"{at} has the key {value_line(key)}, and JSON's keys are texts; run without --json")
