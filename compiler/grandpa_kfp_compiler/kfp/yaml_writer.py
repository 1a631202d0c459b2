"""Plain data as YAML, fast, and the same bytes every time; used by `emit` alone.

Written for two readers that disagree in places: PyYAML and libyaml (YAML 1.1) and go-yaml (mostly
1.2). So everything that either could take for something else is quoted (`n`, `on`, `1e3`, `0x1`,
`2024-01-01`, `~`), and non-BMP characters are written as themselves, never as surrogate pairs.
Mappings and lists stand on one line where that line stays short, else one entry a line.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

Plain = Any
"""None, bool, int, finite float, str, list, dict with str keys."""

WIDTH = 110
"""A mapping or list that fits into this many columns stands on one line."""

_BARE = re.compile(r"-?-?[A-Za-z_/][A-Za-z0-9_./-]*")
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
_UNPRINTABLE = re.compile("[^\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
_SURROGATE = re.compile("[\ud800-\udfff]")


def dump(value: Plain) -> str:
    """One YAML document, without a `---`.

    Raises ValueError for what YAML cannot hold: NaN, infinity, lone surrogates, foreign types.

    >>> print(dump({"n": "y", "tasks": {"add": {"inputs": ["a", 1, 2.5, None, True]}}}), end="")
    {"n": "y", tasks: {add: {inputs: [a, 1, 2.5, null, true]}}}
    """
    flow, text = _Writer().render(value, "")
    return text + "\n" if flow else text


class _Writer:
    """Renders bottom up, so that a node knows at once whether its children fit on its line."""

    def __init__(self) -> None:
        self._quoted: dict[str, str] = {}

    def render(self, value: Plain, indent: str) -> tuple[bool, str]:
        """(True, text for one line) or (False, whole lines, each at `indent`)."""
        kind = type(value)
        if kind is str:
            return True, self._quoted.get(value) or self._quote(value)
        if kind is dict:
            return self._mapping(value, indent) if value else (True, "{}")
        if kind is list or kind is tuple:
            return self._sequence(value, indent) if value else (True, "[]")
        return True, _scalar(value)

    def _mapping(self, mapping: dict[str, Plain], indent: str) -> tuple[bool, str]:
        deeper = indent + "  "
        quoted, render = self._quoted, self.render
        parts = []
        width = len(indent)
        for key, value in mapping.items():
            name = quoted.get(key) or self._quote(key)
            flow, text = render(value, deeper)
            if flow:
                parts.append(f"{name}: {text}")
                width += len(name) + len(text) + 4
            else:
                parts.append(f"{name}:\n{text}")
                width = WIDTH + 1
        if width <= WIDTH:
            return True, "{" + ", ".join(parts) + "}"
        return False, "".join([f"{indent}{part}" if part[-1] == "\n" else f"{indent}{part}\n" for part in parts])

    def _sequence(self, items: list[Plain] | tuple[Plain, ...], indent: str) -> tuple[bool, str]:
        deeper = indent + "  "
        parts = []
        width = len(indent)
        for item in items:
            flow, text = self.render(item, deeper)
            if flow:
                parts.append(text)
                width += len(text) + 2
            else:
                parts.append(text[len(deeper) :])
                width = WIDTH + 1
        if width <= WIDTH:
            return True, "[" + ", ".join(parts) + "]"
        return False, "".join([f"{indent}- {part}" if part[-1] == "\n" else f"{indent}- {part}\n" for part in parts])

    def _quote(self, text: str) -> str:
        quoted = quote(text)
        if len(text) < 256:
            self._quoted[text] = quoted
        return quoted


def quote(text: str) -> str:
    """A string as a YAML scalar: bare where no reader can mistake it, else quoted.

    >>> quote("add-17"), quote("on"), quote("12"), quote('say "n"'), quote("a\\nb")
    ('add-17', '"on"', '"12"', '\\'say "n"\\'', '"a\\\\nb"')
    """
    if _BARE.fullmatch(text) and text.lower() not in _WORDS:
        return text
    if _SURROGATE.search(text):
        raise ValueError(f"YAML cannot hold the lone surrogate in {text[:40]!r}")
    if ('"' in text or "\\" in text) and not _UNPRINTABLE.search(text):
        return "'" + text.replace("'", "''") + "'"
    return _UNPRINTABLE.sub(_escape, json.dumps(text, ensure_ascii=False))


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match.group()):04x}"


def _scalar(value: Plain) -> str:
    if value is None:
        return "null"
    if value is True:
        return "true"
    if value is False:
        return "false"
    if type(value) is int:
        return repr(value)
    if type(value) is float:
        if not math.isfinite(value):
            raise ValueError(f"YAML for Kubeflow cannot hold {value!r}")
        text = repr(value)
        return text.replace("e", ".0e") if "e" in text and "." not in text else text
    raise ValueError(f"YAML cannot hold a {type(value).__name__}")
