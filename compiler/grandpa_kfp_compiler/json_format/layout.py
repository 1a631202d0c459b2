"""JSON for people: what fits on a line stands on one, all else is broken up, indented by one."""

from __future__ import annotations

import json
import re

from ..graph import Json

_WIDTH = 120
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_COMPACT = json.JSONEncoder(ensure_ascii=False, allow_nan=False, check_circular=False, separators=(", ", ": ")).encode


def layout(data: Json) -> str:
    r"""The JSON text, with a line break at the end.

    >>> print(layout({"a": ["x" * 60, "y" * 60], "b": [1, 2]}), end="")
    {
     "a": [
      "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
      "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"
     ],
     "b": [1, 2]
    }
    """
    lines: list[str] = []
    _write(data, "", "", "", lines, broken=True)
    text = "\n".join(lines) + "\n"
    # a string may hold half a surrogate pair, which UTF-8 has no bytes for; JSON's escape keeps it
    return _LONE_SURROGATE.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def _write(value: Json, indent: str, key: str, comma: str, lines: list[str], *, broken: bool = False) -> None:
    """Appends `indent key value comma`. broken: one item a line even where all would fit on one."""
    if not broken or not value or not isinstance(value, dict | list):
        text = _COMPACT(value)
        if not isinstance(value, dict | list) or len(indent) + len(key) + len(text) + len(comma) <= _WIDTH:
            lines.append(f"{indent}{key}{text}{comma}")
            return
    inner = f"{indent} "
    last = len(value) - 1
    if isinstance(value, dict):
        lines.append(f"{indent}{key}{{")
        for index, (name, item) in enumerate(value.items()):
            _write(item, inner, f"{_COMPACT(name)}: ", "," if index < last else "", lines)
        lines.append(f"{indent}}}{comma}")
    else:
        lines.append(f"{indent}{key}[")
        for index, item in enumerate(value):
            _write(item, inner, "", "," if index < last else "", lines)
        lines.append(f"{indent}]{comma}")
