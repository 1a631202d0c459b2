"""JSON with comments and trailing commas, as VS Code keeps its files: read, and added to.

`appended` changes nothing but the place where it adds: comments, commas, spacing and order of the rest stay, to
the byte. Called by `vscode`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


class JsoncError(ValueError):
    """The text is no JSON with comments; the message says where."""


@dataclass(slots=True)
class Value:
    """A value and its place in the text: `text[start:end]`. key_at: where its key begins, of an object's member.

    members: of an object, by key (the last of two that are the same, as editors read them); items: of a list.
    """

    start: int
    end: int = 0
    plain: Any = None
    members: dict[str, Value] | None = None
    items: list[Value] | None = None
    key_at: int = -1
    trailing_comma: bool = False
    parts: list[Value] = field(default_factory=list)

    @property
    def data(self) -> Any:
        """The value as Python's own."""
        if self.members is not None:
            return {key: value.data for key, value in self.members.items()}
        return [item.data for item in self.items] if self.items is not None else self.plain


_BLANK = re.compile(r"(?:[\s\ufeff]|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
_STRING = re.compile(r'"(?:[^"\\\n]|\\.)*"')
_WORD = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null")
_DEEPEST = 200


def is_blank(text: str) -> bool:
    """Whether there is nothing in it but space and comments.

    >>> is_blank("// mine"), is_blank("{}")
    (True, False)
    """
    return _blank_from(text, 0) == len(text)


def parse(text: str) -> Value:
    """The value, with the places of all its parts. Raises JsoncError.

    >>> parse('{"a": [1, /* two */ 2,], // end' + chr(10) + '}').data
    {'a': [1, 2]}
    """
    value, at = _value(text, _blank_from(text, 0), 0)
    at = _blank_from(text, at)
    if at < len(text):
        raise _wrong(text, at, "nothing more is expected")
    return value


def appended(text: str, container: Value, additions: Sequence[tuple[str, Any]]) -> str:
    """The text with values added at the end of a list or an object.

    container: out of `parse(text)`. additions: key and value; keys are for objects alone.

    >>> text = '{"a": [ // mine' + chr(10) + '  1 // one' + chr(10) + ']}'
    >>> print(appended(text, parse(text).members["a"], [("", 2)]))
    {"a": [ // mine
      1, // one
      2
    ]}
    """
    if not additions:
        return text
    newline = "\r\n" if "\r\n" in text else "\n"
    closing = container.end - 1
    outer = _indent_at(text, container.key_at if container.key_at >= 0 else container.start)
    first = container.parts[0] if container.parts else None
    unit = _unit(text)
    inner = outer + unit
    if first is not None:
        begins = first.key_at if first.key_at >= 0 else first.start
        if text[:begins].rpartition("\n")[2].strip() == "":
            inner = _indent_at(text, begins)
    written = [
        (f"{json.dumps(key, ensure_ascii=False)}: " if container.members is not None else "")
        + json.dumps(value, indent=unit, ensure_ascii=False).replace("\n", newline + inner)
        for key, value in additions
    ]
    body = f",{newline}{inner}".join(written) + ("," if container.trailing_comma else "")
    kept = text[:closing].rstrip()
    if first is not None and not container.trailing_comma:
        last = container.parts[-1].end
        kept = kept[:last] + "," + kept[last:]
    return f"{kept}{newline}{inner}{body}{newline}{outer}{text[closing:]}"


def _unit(text: str) -> str:
    """One step of the file's indentation."""
    found = re.search(r"^([ \t]+)\S", text, re.MULTILINE)
    return found[1] if found is not None and not found[1].startswith(" *") else "    "


def _indent_at(text: str, at: int) -> str:
    """The indentation of the line that a place is in."""
    line = text[:at].rpartition("\n")[2]
    return line[: len(line) - len(line.lstrip())].lstrip("\ufeff")


# --- reading ---------------------------------------------------------------------------------------


def _value(text: str, at: int, depth: int) -> tuple[Value, int]:
    if depth > _DEEPEST:
        raise _wrong(text, at, "it is nested too deeply")
    if text[at : at + 1] in ("{", "["):
        return _container(text, at, depth)
    if text[at : at + 1] == '"':
        plain, end = _string(text, at)
        return Value(at, end, plain), end
    match = _WORD.match(text, at)
    if match is None:
        raise _wrong(text, at, "a value is expected")
    return Value(at, match.end(), json.loads(match[0])), match.end()


def _container(text: str, at: int, depth: int) -> tuple[Value, int]:
    is_object = text[at] == "{"
    close = "}" if is_object else "]"
    found = Value(at, members={} if is_object else None, items=None if is_object else [])
    at = _blank_from(text, at + 1)
    while text[at : at + 1] != close:
        if found.parts and not found.trailing_comma:
            raise _wrong(text, at, f"`,` or `{close}` is expected")
        key, key_at = "", -1
        if is_object:
            key_at = at
            key, at = _string(text, at)
            at = _blank_from(text, at)
            if text[at : at + 1] != ":":
                raise _wrong(text, at, "`:` is expected")
            at = _blank_from(text, at + 1)
        value, at = _value(text, at, depth + 1)
        value.key_at = key_at
        found.parts.append(value)
        if found.members is not None:
            found.members[key] = value
        if found.items is not None:
            found.items.append(value)
        at = _blank_from(text, at)
        found.trailing_comma = text[at : at + 1] == ","
        if found.trailing_comma:
            at = _blank_from(text, at + 1)
    found.end = at + 1
    return found, at + 1


def _string(text: str, at: int) -> tuple[str, int]:
    match = _STRING.match(text, at)
    if match is None:
        raise _wrong(text, at, 'a text in `"` is expected')
    try:
        return json.loads(match[0], strict=False), match.end()
    except ValueError:
        raise _wrong(text, at, "this text has an escape that JSON does not know") from None


def _blank_from(text: str, at: int) -> int:
    match = _BLANK.match(text, at)
    assert match is not None
    return match.end()


def _wrong(text: str, at: int, what: str) -> JsoncError:
    line = text.count("\n", 0, at) + 1
    return JsoncError(f"line {line}: {what}")
