"""Values that say themselves what they look like: pages, texts in Markdown, figures. Used by previews alone.

Only where an artifact was declared to be drawn: the user's own HTML is shown as it is, in the UI's sandbox.
"""

from __future__ import annotations

import html
from typing import Any, Literal

from ..logged import figures
from ..logged.kinds import Figure, Html, Markdown

LARGEST_BYTES = 16 * 1024 * 1024
_STYLE = (
    "<style>body{font:14px sans-serif;margin:1em}table{border-collapse:collapse}"
    "td,th{border:1px solid #ccc;padding:.2em .5em;text-align:left}img{max-width:100%}pre{white-space:pre-wrap}"
    "iframe{width:100%;height:30em;border:1px solid #ccc}</style>"
)
_HEAD = f'<!DOCTYPE html>\n<meta charset="utf-8">\n{_STYLE}\n'


def page(*parts: str) -> str:
    """A page of pieces of HTML."""
    return _HEAD + "\n".join((*parts, ""))


def piece(text: str) -> str:
    """One page as a piece of another: what we have made, and so escaped, as it is, a user's in a frame of its own.

    >>> piece(page("<p>5</p>")), piece("<p>mine</p>")
    ('<p>5</p>\\n', '<iframe sandbox="allow-scripts" srcdoc="&lt;p&gt;mine&lt;/p&gt;"></iframe>')
    """
    if text.startswith(_HEAD):
        return text.removeprefix(_HEAD)
    return f'<iframe sandbox="allow-scripts" srcdoc="{html.escape(text)}"></iframe>'


def drawn(value: Any, form: Literal["html", "markdown"]) -> str | None:
    """The value as it draws itself in that form; None for one that does not.

    >>> drawn(Html("<b>97 %</b>"), "html"), drawn(Markdown("**97 %**"), "html")
    ('<b>97 %</b>', None)
    """
    text = _html(value) if form == "html" else _markdown(value)
    if text is None or len(text) <= LARGEST_BYTES:
        return text
    told = f"{type(value).__name__} of {len(text):,} characters, too many to be drawn; inspect_run loads it"
    return page(f"<p>{html.escape(told)}</p>") if form == "html" else told


def _html(value: Any) -> str | None:
    if type(value) is Html:
        return value.text
    figure = _figure(value)
    if figure is None:
        return None
    made = figures.html_of(figure.mime, figure.data)
    return made if figure.mime == "text/html" else page(made)


def _markdown(value: Any) -> str | None:
    if type(value) is Markdown:
        return value.text
    figure = _figure(value)
    if figure is None or figure.mime == "text/html":
        return None
    return f"![]({figures.data_uri(figure.mime, figure.data)})"


def _figure(value: Any) -> Figure | None:
    if type(value) is Figure:
        return value
    return Figure(value) if figures.is_figure(value) else None
