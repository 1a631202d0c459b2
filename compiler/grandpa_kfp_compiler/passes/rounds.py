"""How often the body of a loop runs, as far as that is known before it does."""

from __future__ import annotations

import json

from grandpa_kfp_runtime.errors import CodecError

from ..constants import handle_text
from ..graph import Call, Constant, Filled, Graph, Loop, TaskOutput, Value
from .builtins import SPREAD
from .gather_inputs import is_list_of_holes


def rounds_of(loop: Loop, graph: Graph) -> int | None:
    """The number of rounds of a loop in a graph; None where only the run knows.

    >>> rounds_of(Loop("each", Constant([1, 2, 3]), "item", Graph("each")), Graph("flow"))
    3
    """
    items: Value = loop.items
    if isinstance(items, TaskOutput):
        makers = [item for item in graph.operations if item.id == items.task and isinstance(item, Call)]
        if not makers or makers[0].node != SPREAD:
            return None
        items = makers[0].args[0]
    if isinstance(items, Filled):
        return len(items.holes) if is_list_of_holes(items) else None
    if not isinstance(items, Constant):
        return None
    if items.handle is None and isinstance(items.value, list | tuple | range):
        return len(items.value)
    try:
        text = handle_text(items)
    except CodecError:
        return None  # binding tells which argument it is
    return len(json.loads(text)) if text.startswith("[") else None
