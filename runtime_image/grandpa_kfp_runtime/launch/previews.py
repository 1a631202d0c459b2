"""What a person sees of a task's output in the UI: a small file, and a few facts about the value.

The launcher writes the file as the output's artifact and the facts as its metadata; `grandpa inspect`
and notebooks may show the same. Values of NumPy, pandas and polars are known by their class's home, none of these
is imported here. A preview never says all: at most 256 KiB, first rows, first lines; what draws itself (`drawn`)
is shown whole.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from ..logged.kinds import Html, Markdown, Metrics
from ..typespec import Json
from ..values.summaries import summary
from .drawn import drawn, page
from .pictures import PICTURE_SUFFIXES, picture_of
from .tables import Table, table_of

Form: TypeAlias = Literal["text", "markdown", "html"]

LIMIT_BYTES = 256 * 1024
_TEXT_CHARACTERS = 16 * 1024
_ENTRIES = 100
_COLUMNS_NAMED = 100
_KEY_CHARACTERS = 80
_LARGEST_SCAN = 20_000_000  # items of an array that are looked at for the smallest and the largest


@dataclass(frozen=True, slots=True)
class Preview:
    """text: the file's content; metadata: JSON facts, no nulls in them; suffix: of the file's name."""

    text: str
    metadata: dict[str, Json]
    suffix: str


def preview(value: Any, form: Form = "text") -> Preview:
    """The preview of a value in the form that the artifact's type is drawn in.

    Raises whatever a user's `__repr__` or a library raises; the caller makes a warning of it.

    >>> made = preview({"a": 1})
    >>> print(made.text)
    dict of 1
    <BLANKLINE>
    {
      "a": 1
    }
    >>> made.metadata
    {'type': 'dict', 'summary': 'dict of 1', 'keys': ['a']}
    """
    own = None if form == "text" or table_of(value) is not None else drawn(value, form)
    if own is not None:
        return Preview(own, _metadata(value, _Parts(_line(value))), _SUFFIXES[form])
    parts = _parts(value)
    text = _FORMS[form](parts)
    return Preview(_cut(text, LIMIT_BYTES), _metadata(value, parts), _SUFFIXES[form])


def form_for(schema_title: str) -> Form:
    """The form that KFP's UI draws for an artifact type: `system.HTML` is HTML, most are text."""
    forms: dict[str, Form] = {"system.HTML": "html", "system.Markdown": "markdown"}
    return forms.get(schema_title, "text")


@dataclass(frozen=True, slots=True)
class _Parts:
    """What there is to show: one line, then a table, a picture or a text."""

    line: str
    table: Table | None = None
    picture: str = ""  # `data:image/png;base64,...`
    text: str = ""


_SUFFIXES: dict[Form, str] = {"text": ".txt", "markdown": ".md", "html": ".html"}


def _parts(value: Any) -> _Parts:
    line = _line(value)
    table = table_of(value)
    if table is not None:
        return _Parts(line, table=table)
    picture = picture_of(value)
    if picture:
        return _Parts(line, picture=picture)
    return _Parts(line, text=_shorten(_text(value), _TEXT_CHARACTERS))


def _as_text(parts: _Parts) -> str:
    body = parts.table.markdown() if parts.table is not None else parts.text
    return _joined(parts.line, body)


def _as_markdown(parts: _Parts) -> str:
    if parts.table is not None:
        return _joined(_escape_markdown(parts.line), parts.table.markdown())
    if parts.picture:
        return _joined(_escape_markdown(parts.line), f"![]({parts.picture})")
    return _joined(_escape_markdown(parts.line), _fenced(parts.text) if parts.text else "")


def _as_html(parts: _Parts) -> str:
    if parts.table is not None:
        body = parts.table.html()
    elif parts.picture:
        body = f'<img alt="" src="{parts.picture}">'
    else:
        body = f"<pre>{html.escape(parts.text)}</pre>" if parts.text else ""
    return page(f"<p>{html.escape(parts.line)}</p>", body)


_PLAIN_REPR: Any = object.__repr__  # says an address in memory and nothing else
_FORMS: dict[Form, Callable[[_Parts], str]] = {"text": _as_text, "markdown": _as_markdown, "html": _as_html}


def _joined(line: str, body: str) -> str:
    return f"{line}\n\n{body}" if body else line


def _escape_markdown(line: str) -> str:
    for mark in "\\`*_[]":
        line = line.replace(mark, "\\" + mark)
    return line.replace("&", "&amp;").replace("<", "&lt;")


def _fenced(text: str) -> str:
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}\n{text}\n{fence}"


# --- the value in words --------------------------------------------------------------------------


def _line(value: Any) -> str:
    line = summary(value)
    bounds = _bounds(value)
    return f"{line}, min {bounds[0]}, max {bounds[1]}" if bounds else line


def _bounds(value: Any) -> tuple[Any, Any] | None:
    """The smallest and the largest number of an array."""
    if not _is_array(value) or value.dtype.kind not in "biuf" or not 0 < value.size <= _LARGEST_SCAN:
        return None
    return value.min(), value.max()


def _is_array(value: Any) -> bool:
    kind = type(value)
    return kind.__module__.partition(".")[0] == "numpy" and kind.__name__ in ("ndarray", "matrix", "memmap")


def _text(value: Any) -> str:
    from ..values.codecs import is_json_exact

    kind = type(value)
    if kind is str:
        return value if summary(value) != repr(value) else ""
    if kind is Html or kind is Markdown:
        return str(value.text)
    if kind is Metrics:
        return "\n".join(f"{name}: {number}" for name, number in value.items())
    if kind is bytes or kind is bytearray:
        return _hex(bytes(value[:1024]))
    if value is None or kind in (bool, int, float):
        return ""
    if is_json_exact(value) and _is_small(value):
        import json

        return json.dumps(value, indent=2, ensure_ascii=False)
    if hasattr(kind, "__fspath__") and not isinstance(value, str):
        return _path(value)
    if kind in (list, tuple, set, frozenset):
        return _entries((f"[{index}]", item) for index, item in enumerate(value))
    if kind is dict:
        return _entries((_key(key), item) for key, item in value.items())
    if _is_array(value) or kind.__repr__ is not _PLAIN_REPR:
        return str(value) if _is_array(value) else repr(value)
    return ""


def _is_small(value: Any) -> bool:
    """A cheap upper bound, so that no list of a million items is written out for its first lines."""
    left = [5_000]

    def count(item: Any) -> bool:
        left[0] -= 1
        if left[0] < 0 or (isinstance(item, str) and len(item) > _TEXT_CHARACTERS):
            return False
        if isinstance(item, dict):
            return all(map(count, item.values()))
        return all(map(count, item)) if isinstance(item, list) else True

    return count(value)


def _entries(entries: Any) -> str:
    lines: list[str] = []
    for name, item in entries:
        if len(lines) == _ENTRIES:
            lines.append("...")
            break
        lines.append(f"{name}: {summary(item)}")
    return "\n".join(lines)


def _key(key: Any) -> str:
    return key[:_KEY_CHARACTERS] if type(key) is str else summary(key)


def _hex(data: bytes) -> str:
    rows = (data[at : at + 32] for at in range(0, len(data), 32))
    return "\n".join(row.hex(" ") for row in rows)


def _path(value: Any) -> str:
    """A text file's first lines, a folder's entries."""
    import os

    path = os.fspath(value)
    if os.path.isdir(path):
        with os.scandir(path) as found:
            names = sorted(entry.name + "/" * entry.is_dir() for entry in found)
        return "\n".join([*names[:_ENTRIES], *(["..."] if len(names) > _ENTRIES else [])])
    if not os.path.isfile(path) or path.lower().endswith(PICTURE_SUFFIXES):
        return ""
    with open(path, "rb") as file:
        start = file.read(_TEXT_CHARACTERS)
    if b"\0" in start:
        return _hex(start[:1024])
    return start.decode("utf-8", "replace")


def _shorten(text: str, characters: int) -> str:
    return text if len(text) <= characters else f"{text[:characters]}\n... {len(text) - characters:,} characters more"


def _cut(text: str, size_bytes: int) -> str:
    data = text.encode("utf-8", "replace")
    if len(data) <= size_bytes:
        return data.decode("utf-8")
    return data[: size_bytes - 8].decode("utf-8", "ignore") + "\n..."


# --- facts ---------------------------------------------------------------------------------------


def _metadata(value: Any, parts: _Parts) -> dict[str, Json]:
    kind = type(value)
    found: dict[str, Json] = {"type": _type_name(kind), "summary": parts.line}
    shape = getattr(value, "shape", None) if _is_array(value) or parts.table is not None else None
    if isinstance(shape, tuple):
        found["shape"] = [int(size) for size in shape]
    if _is_array(value):
        found["dtype"] = str(value.dtype)
    if parts.table is not None:
        found["columns"] = [name[:_KEY_CHARACTERS] for name in parts.table.all_columns[:_COLUMNS_NAMED]]
    elif isinstance(value, Mapping) and kind is dict:
        found["keys"] = [_key(key) for key in list(value)[:_COLUMNS_NAMED]]
    return found


def _type_name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
