"""The graph file: a graph as JSON, whole and versioned, its code zip inside.

    writing.py    Graph -> dict           to_json
    layout.py     dict -> readable text
    reading.py    dict -> Graph           from_json, every field looked at with fields.py

`grandpa graph --format json` writes it, every verb reads it in place of a Python file. The format is
described in docs/graph-format.md, its JSON Schema is docs/graph.schema.json.
"""

from __future__ import annotations

import json
from typing import NoReturn

from grandpa_kfp_runtime.errors import LoadError

from ..graph import Graph
from .layout import layout
from .reading import from_json
from .writing import FORMAT, VERSION, to_json

__all__ = ["FORMAT", "VERSION", "dumps", "from_json", "is_graph_file", "loads", "to_json"]

_COMPACT = json.JSONEncoder(allow_nan=False, check_circular=False, separators=(",", ":")).encode


def dumps(graph: Graph, *, compact: bool = False) -> str:
    """The graph file's text: the same graph gives the same bytes (UTF-8), with a line break at the end.

    compact: all on one line, for programs alone, in a third of the time.
    Raises CodecError for a constant that cannot be encoded, GraphError for two nodes of one key.

    >>> print(dumps(Graph("empty")), end="")
    {
     "format": "grandpa-graph",
     "version": 1,
     "graph": {"name": "empty"},
     "nodes": {}
    }
    >>> loads(dumps(Graph("empty"), compact=True)) == Graph("empty")
    True
    """
    return _COMPACT(to_json(graph)) + "\n" if compact else layout(to_json(graph))


def loads(text: str | bytes, *, source: str = "the graph file") -> Graph:
    """The graph of a graph file's text.

    source: the file, for messages. Raises LoadError for what is no graph file, is cut off, was written
    by a newer version, or breaks the format (with the place in it); PayloadError for a damaged code zip.

    >>> loads(dumps(Graph("empty"))).name
    'empty'
    """
    try:
        data = json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise LoadError(f"{source}: it is nested too deeply for a graph file") from None
    except UnicodeDecodeError as error:
        raise LoadError(f"{source}: it is no graph file: not UTF-8 text ({error.reason})") from error
    except ValueError as error:
        place = f" in line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise LoadError(
            f"{source}: it is no valid JSON{place}: {error}; if it was cut off or edited, write it again with "
            "`grandpa graph --format json`"
        ) from error
    return from_json(data, source=source)


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON")


def is_graph_file(head: str | bytes) -> bool:
    """Whether a file that begins so (some 100 characters) is a graph file.

    >>> is_graph_file(dumps(Graph("empty"))), is_graph_file('{"name": "other"}')
    (True, False)
    """
    text = head.decode("utf-8", "replace") if isinstance(head, bytes) else head
    return text.lstrip().startswith("{") and f'"{FORMAT}"' in text[:200]
