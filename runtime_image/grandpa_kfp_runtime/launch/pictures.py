"""Pictures in previews: image files and matplotlib's figures as `data:` URIs."""

from __future__ import annotations

import os
from base64 import b64encode
from typing import Any

_LARGEST_BYTES = 180 * 1024  # base64 takes a third more, and the preview has a limit
_MAGIC = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
}
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".gif")


def picture_of(value: Any) -> str:
    """The `data:` URI of a picture; empty for any other value and for a picture that is too large."""
    kind = type(value)
    if kind.__module__.startswith("matplotlib.") and kind.__name__ == "Figure":
        return _uri(_figure(value))
    if not hasattr(kind, "__fspath__"):
        return ""
    path = os.fspath(value)
    if not isinstance(path, str) or not path.lower().endswith(PICTURE_SUFFIXES):
        return ""
    if not os.path.isfile(path) or os.path.getsize(path) > _LARGEST_BYTES:
        return ""
    with open(path, "rb") as file:
        return _uri(file.read())


def _uri(data: bytes) -> str:
    """By what the bytes are, never by their name: nothing but a picture is to be drawn."""
    for magic, mime in _MAGIC.items():
        if data.startswith(magic) and len(data) <= _LARGEST_BYTES:
            return f"data:{mime};base64,{b64encode(data).decode('ascii')}"
    return ""


def _figure(figure: Any) -> bytes:
    import io

    from matplotlib.backends.backend_agg import FigureCanvasAgg  # draws without a display

    stream = io.BytesIO()
    canvas = figure.canvas
    try:
        own: Any = FigureCanvasAgg(figure)
        own.print_png(stream)
    finally:
        figure.set_canvas(canvas)
    return stream.getvalue()
