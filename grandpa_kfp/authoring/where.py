"""Where in the user's code something happens: `calc.py:14`, never an absolute path.

Every record of tracing and every TraceError carries it, so it has to be cheap: one look at the calling
frames, and one dict look-up a file.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from types import CodeType, FrameType

from grandpa_kfp_runtime.code.project import OURS, find_root, is_library_file

_instead: ContextVar[str] = ContextVar("instead", default="")


@contextmanager
def told_as(place: str) -> Iterator[None]:
    """Has `here` tell this place: the user's frame that is meant has ended already."""
    token = _instead.set(place)
    try:
        yield
    finally:
        _instead.reset(token)


def here() -> str:
    """`file:line` of the innermost calling frame that is neither ours nor a library's."""
    if place := _instead.get():
        return place
    frame: FrameType | None = sys._getframe(1)
    outermost_foreign = ""
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] not in OURS:
            short = short_file(frame.f_code.co_filename)
            if short is not None:
                return f"{short}:{frame.f_lineno}"
            outermost_foreign = outermost_foreign or f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
        frame = frame.f_back
    return outermost_foreign


def folder_here() -> Path:
    """The folder of the file that `here` names; the current one for a cell of a notebook."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if frame.f_globals.get("__name__", "").partition(".")[0] not in OURS and short_file(file) is not None:
            return Path.cwd() if file.startswith("<") or short_file(file) == "cell" else Path(file).absolute().parent
        frame = frame.f_back
    return Path.cwd()


def at_line(frame: FrameType, line: int) -> str:
    """`file:line` of a frame of the user's, empty for ours and a library's."""
    if frame.f_globals.get("__name__", "").partition(".")[0] in OURS:
        return ""
    short = short_file(frame.f_code.co_filename)
    return f"{short}:{line}" if short else ""


def of_code(code: CodeType) -> str:
    """`file:line` of a function's definition."""
    return f"{short_file(code.co_filename) or Path(code.co_filename).name}:{code.co_firstlineno}"


@lru_cache(maxsize=1024)
def short_file(filename: str) -> str | None:
    """The file relative to its project's root, else its name alone; None for a file of a library.

    >>> short_file("/nowhere/at/all/calc.py")
    'calc.py'
    """
    if filename.startswith("<ipython-input") or "ipykernel_" in filename:
        return "cell"
    if filename.startswith("<"):
        return None if filename.startswith("<frozen") else filename
    if is_library_file(filename):
        return None
    path = Path(os.path.abspath(filename))
    return path.relative_to(find_root(path)).as_posix()
