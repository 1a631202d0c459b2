"""What a docstring says: the description, and one for each parameter.

Google's (`Args:`), numpy's (`Parameters` underlined) and Sphinx's (`:param x:`) ways of writing are read.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Docstring:
    """description: what stands before the sections; parameters: name -> description, in one line each."""

    description: str = ""
    parameters: dict[str, str] = field(default_factory=dict)


_GOOGLE = re.compile(r"(Args|Arguments|Parameters|Params|Keyword Args|Keyword Arguments):\s*")
_GOOGLE_SECTION = re.compile(
    r"(Args|Arguments|Parameters|Params|Keyword Args|Keyword Arguments|Returns?|Yields?|Raises|Examples?|Notes?|"
    r"Attributes|See Also|References|Warnings?|Todo):\s*"
)
_GOOGLE_ENTRY = re.compile(r"\*{0,2}(?P<name>\w+)\s*(\([^)]*\))?\s*:\s*(?P<text>.*)")
_NUMPY_ENTRY = re.compile(r"(?P<names>\*{0,2}\w+(\s*,\s*\*{0,2}\w+)*)\s*(:.*)?")
_SPHINX = re.compile(r":(?P<kind>\w+)(\s+(?P<rest>[^:]*))?:\s*(?P<text>.*)")
_SPHINX_PARAMETER = ("param", "parameter", "arg", "argument", "key", "keyword")


def parse_docstring(text: str | None) -> Docstring:
    """The docstring taken apart.

    >>> parse_docstring("Trains.\\n\\nArgs:\\n    epochs (int): how often").parameters
    {'epochs': 'how often'}
    """
    if not text:
        return Docstring()
    lines = inspect.cleandoc(text).splitlines()
    description: list[str] = []
    parameters: dict[str, str] = {}
    index = 0
    section = False
    while index < len(lines):
        line = lines[index]
        if _is_underlined(lines, index):
            index = _numpy_section(lines, index, parameters)
            section = True
        elif _GOOGLE_SECTION.fullmatch(line):
            index = _google_section(lines, index, parameters)
            section = True
        elif _SPHINX.match(line):
            index = _sphinx_field(lines, index, parameters)
            section = True
        else:
            if not section:
                description.append(line)
            index += 1
    return Docstring("\n".join(description).strip(), parameters)


def _is_underlined(lines: list[str], index: int) -> bool:
    following = lines[index + 1] if index + 1 < len(lines) else ""
    return bool(lines[index].strip()) and re.fullmatch(r"-{3,}", following.strip()) is not None


def _numpy_section(lines: list[str], index: int, parameters: dict[str, str]) -> int:
    wanted = lines[index].strip() in ("Parameters", "Other Parameters")
    index += 2
    names: list[str] = []
    while index < len(lines) and not _is_underlined(lines, index):
        line = lines[index]
        entry = _NUMPY_ENTRY.fullmatch(line)
        if line and not line[0].isspace() and entry:
            names = [name.strip().lstrip("*") for name in entry["names"].split(",")]
        elif wanted and line.strip():
            for name in names:
                parameters[name] = f"{parameters.get(name, '')} {line.strip()}".strip()
        index += 1
    return index


def _google_section(lines: list[str], index: int, parameters: dict[str, str]) -> int:
    wanted = _GOOGLE.fullmatch(lines[index]) is not None
    index += 1
    indent: int | None = None
    name = ""
    while index < len(lines) and (not lines[index].strip() or lines[index][0].isspace()):
        line = lines[index]
        index += 1
        if not wanted or not line.strip():
            continue
        depth = len(line) - len(line.lstrip())
        indent = depth if indent is None else indent
        entry = _GOOGLE_ENTRY.fullmatch(line.strip()) if depth == indent else None
        if entry:
            name = entry["name"]
            parameters[name] = entry["text"].strip()
        elif name:
            parameters[name] = f"{parameters[name]} {line.strip()}".strip()
    return index


def _sphinx_field(lines: list[str], index: int, parameters: dict[str, str]) -> int:
    entry = _SPHINX.match(lines[index])
    assert entry is not None
    text = entry["text"].strip()
    index += 1
    while index < len(lines) and lines[index].strip() and lines[index][0].isspace():
        text = f"{text} {lines[index].strip()}"
        index += 1
    words = (entry["rest"] or "").split()
    if entry["kind"] in _SPHINX_PARAMETER and words:
        parameters[words[-1].lstrip("*")] = text
    return index
