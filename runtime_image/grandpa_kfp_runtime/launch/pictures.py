"""Pictures in previews: image files as `data:` URIs."""

from __future__ import annotations

import os
from typing import Any

from ..logged.figures import data_uri, mime_of

_LARGEST_BYTES = 180 * 1024  # base64 takes a third more, and the preview has a limit
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".svg")


def picture_of(value: Any) -> str:
    """The `data:` URI of a picture; empty for any other value and for a picture that is too large."""
    if not hasattr(type(value), "__fspath__"):
        return ""
    path = os.fspath(value)
    if not isinstance(path, str) or not path.lower().endswith(PICTURE_SUFFIXES):
        return ""
    if not os.path.isfile(path) or os.path.getsize(path) > _LARGEST_BYTES:
        return ""
    with open(path, "rb") as file:
        data = file.read()
    mime = mime_of(data)  # by what the bytes are, never by their name: nothing but a picture is to be drawn
    return data_uri(mime, data) if mime else ""
