"""A drawing as PNG: the SVG, painted by resvg from PyPI or by a Chromium that is installed, or by `dot`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from .dot import to_dot
from .layout import HINT, DrawingError
from .model import Drawing
from .svg import to_svg

_SCALE = 2
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge")
_TIMEOUT_S = 120


def to_png(drawing: Drawing) -> bytes:
    """The bytes of a PNG file, at twice the SVG's size. Raises DrawingError where nothing can paint it."""
    try:
        import resvg_py
    except ImportError:
        return _without_resvg(drawing)
    return bytes(resvg_py.svg_to_bytes(svg_string=to_svg(drawing), zoom=_SCALE))


def _without_resvg(drawing: Drawing) -> bytes:
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if browser is not None:
        return by_browser(browser, to_svg(drawing))
    dot = shutil.which("dot")
    if dot is None:
        raise DrawingError(f"PNG needs a renderer: {HINT}, or install Chromium or Graphviz; or draw SVG")
    return _run([dot, "-Tpng", "-Gdpi=144"], to_dot(drawing).encode())


def by_browser(browser: str, svg: str) -> bytes:
    """The SVG as a screenshot of a page without borders. Raises DrawingError."""
    size = re.search(r'width="(\d+)" height="(\d+)"', svg)
    assert size is not None
    with tempfile.TemporaryDirectory(prefix="grandpa-png-") as folder:
        page, picture = Path(folder) / "page.html", Path(folder) / "picture.png"
        page.write_text(f'<!doctype html><meta charset="utf-8"><body style="margin:0">{svg}', encoding="utf-8")
        root = hasattr(os, "geteuid") and os.geteuid() == 0  # Chromium's own sandbox refuses to run as root
        command = [
            browser,
            "--headless",
            *(["--no-sandbox"] if root else []),
            f"--user-data-dir={folder}/profile",
            "--hide-scrollbars",
            f"--force-device-scale-factor={_SCALE}",
            f"--window-size={size[1]},{size[2]}",
            f"--screenshot={picture}",
            page.as_uri(),
        ]
        _run(command, b"")
        if not picture.is_file():
            raise DrawingError(f"{browser} made no picture; {HINT} brings a renderer that needs no browser")
        return picture.read_bytes()


def _run(command: list[str], given: bytes) -> bytes:
    try:
        done = subprocess.run(command, input=given, capture_output=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DrawingError(
            f"{command[0]} could not paint the picture: {error}; {HINT} needs no such program"
        ) from error
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise DrawingError(f"{command[0]} could not paint the picture: {reason}; {HINT} needs no such program")
    return done.stdout
