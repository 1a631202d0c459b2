"""Any figure as a picture or a page: known by what it can do, so that no library is imported for it."""

from __future__ import annotations

import html
import io
import os
from base64 import b64encode
from pathlib import PurePath
from typing import Any

from .checks import refuse_ref

_MAGIC = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
}


def mime_of(data: bytes) -> str:
    """What the bytes are, by their beginning and never by a name; empty for what is no picture.

    >>> mime_of(b"GIF89a"), mime_of(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), mime_of(b"text")
    ('image/gif', 'image/svg+xml', '')
    """
    for magic, mime in _MAGIC.items():
        if data.startswith(magic):
            return mime
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    start = data[:1000].lstrip()
    return "image/svg+xml" if start.startswith(b"<svg") or (start[:1] == b"<" and b"<svg" in start) else ""


def is_figure(value: Any) -> bool:
    """Whether `draw` makes a picture or page of the object, told without drawing it."""
    kind = type(value)
    return callable(getattr(kind, "savefig", None)) or _is_pil(value) or callable(getattr(kind, "to_html", None))


def draw(figure: Any) -> tuple[str, bytes]:
    """(mime, bytes) of the figure as it looks now. Raises TypeError, TraceError for a Ref."""
    kind = type(figure)
    refuse_ref(figure, "Figure")
    if isinstance(figure, bytes | bytearray | memoryview):
        return _picture(bytes(figure), "the bytes")
    if isinstance(figure, PurePath):
        with open(figure, "rb") as file:
            return _picture(file.read(), os.fspath(figure))
    if callable(getattr(figure, "savefig", None)):  # a module, pyplot, has it too
        return "image/png", png_of(figure)
    if _is_pil(figure):
        return "image/png", _pil(figure)
    for name in ("to_html", "_repr_html_"):
        made = getattr(figure, name, None)
        text = made() if callable(made) else None
        if isinstance(text, str):
            return "text/html", text.encode("utf-8", "replace")
    raise TypeError(
        f"Figure: {kind.__module__}.{kind.__qualname__} cannot be drawn; it takes what has savefig, to_html or "
        "_repr_html_, an image of PIL, a picture's bytes, or a Path"
    )


def _picture(data: bytes, what: str) -> tuple[str, bytes]:
    mime = mime_of(data)
    if not mime:
        raise TypeError(f"Figure: {what} is no picture; PNG, JPEG, GIF, WebP and SVG are")
    return mime, data


def png_of(figure: Any) -> bytes:
    """PNG of anything with `savefig`; a figure of matplotlib is drawn without a display, and keeps its canvas."""
    stream = io.BytesIO()
    kind = type(figure)
    if not (kind.__module__.startswith("matplotlib.") and kind.__name__ == "Figure"):
        figure.savefig(stream, format="png")
        return stream.getvalue()
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = figure.canvas
    try:
        own: Any = FigureCanvasAgg(figure)
        own.print_png(stream)
    finally:
        figure.set_canvas(canvas)
    return stream.getvalue()


def _is_pil(value: Any) -> bool:
    return any(base.__module__ == "PIL.Image" and base.__name__ == "Image" for base in type(value).__mro__)


def _pil(image: Any) -> bytes:
    stream = io.BytesIO()
    plain = image if image.mode in ("1", "L", "LA", "I", "P", "RGB", "RGBA") else image.convert("RGB")
    plain.save(stream, format="PNG")
    return stream.getvalue()


def html_of(mime: str, data: bytes) -> str:
    """The figure as a piece of HTML: a page as it is, a picture inside it."""
    if mime == "text/html":
        return data.decode("utf-8", "replace")
    return f'<img alt="" src="{html.escape(data_uri(mime, data))}">'


def data_uri(mime: str, data: bytes) -> str:
    return f"data:{mime};base64,{b64encode(data).decode('ascii')}"
