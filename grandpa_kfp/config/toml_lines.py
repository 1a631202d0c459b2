"""TOML as data, and on which line each key stands, which the parser of the standard library does not tell.

Called by `reading`; `lines_of` with text that the parser has accepted, so that nothing is checked there.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

Path = tuple[str, ...]

_KEY_PART = r"""(?:[A-Za-z0-9_-]+|"(?:\\.|[^"\\\n])*"|'[^'\n]*')"""
_KEY = rf"{_KEY_PART}(?:[ \t]*\.[ \t]*{_KEY_PART})*"
_STATEMENT = re.compile(rf"\s*(?:#[^\n]*|\[{{1,2}}[ \t]*(?P<table>{_KEY})[ \t]*\]{{1,2}}|(?P<key>{_KEY})[ \t]*=)")
_VALUE = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}' r"|'''.*?'{3,5}"
    r'|"(?:\\.|[^"\\\n])*"' r"|'[^'\n]*'" r"|#[^\n]*"
    r"""|(?P<open>[\[{])|(?P<close>[\]}])|(?P<end>\n)|[^"'#\[\]{}\n]+""",
    re.DOTALL,
)  # fmt: skip


def parse_toml(text: str) -> dict[str, Any]:
    """The data of a TOML file. Raises ValueError with line and column."""
    parser = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    parsed: dict[str, Any] = parser.loads(text)
    return parsed


def lines_of(text: str) -> dict[Path, int]:
    """The line of each table and key by its path, counted from 1. Keys of an inline table stand where it does.

    >>> lines_of('a = 1\\n[b."x.y"]\\nc = [\\n  2,\\n]\\nd.e = 3\\n')[("b", "x.y", "d", "e")]
    6
    """
    found: dict[Path, int] = {}
    for path, line in _statements(text):
        for length in range(1, len(path) + 1):
            found.setdefault(path[:length], line)
    return found


def line_of(lines: Mapping[Path, int], path: Path) -> int:
    """The line of a path, else of what holds it."""
    return next((lines[path[:length]] for length in range(len(path), 0, -1) if path[:length] in lines), 1)


def _statements(text: str) -> Iterator[tuple[Path, int]]:
    text = text.replace("\r\n", "\n")
    table: Path = ()
    at, line, counted = 0, 1, 0
    while (match := _STATEMENT.match(text, at)) is not None:
        at = match.end()
        start = match.start("table") if match["table"] else match.start("key")
        if start < 0:  # a comment
            continue
        line += text.count("\n", counted, start)
        counted = start
        if match["table"]:
            table = _path(match["table"])
            yield table, line
        else:
            yield table + _path(match["key"]), line
            at = _behind_value(text, at)


def _path(key: str) -> Path:
    parsed: Any = parse_toml(f"{key} = 0")
    path = []
    while isinstance(parsed, dict):
        (name, parsed), = parsed.items()  # fmt: skip
        path.append(name)
    return tuple(path)


def _behind_value(text: str, at: int) -> int:
    depth = 0
    while (match := _VALUE.match(text, at)) is not None:
        at = match.end()
        depth += bool(match["open"]) - bool(match["close"])
        if match["end"] and depth <= 0:
            break
    return at
