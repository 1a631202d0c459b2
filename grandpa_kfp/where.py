"""Where in the user's code something happens: `calc.py:14`, never an absolute path.

Every record of tracing and every TraceError carries it, so it has to be cheap: one look at the calling
frames, and one dict look-up a file.
"""

from __future__ import annotations

import sys
import sysconfig
from functools import lru_cache
from pathlib import Path
from types import CodeType, FrameType

_OURS = frozenset({"grandpa_kfp", "grandpa_kfp_compiler", "grandpa_kfp_runtime"})
_ROOT_MARKS = ("pyproject.toml", "grandpa.toml", ".git")
_paths = sysconfig.get_paths()
_LIBRARIES = tuple({_paths["stdlib"], _paths["platstdlib"], _paths["purelib"], _paths["platlib"]})


def here() -> str:
    """`file:line` of the innermost calling frame that is neither ours nor a library's."""
    frame: FrameType | None = sys._getframe(1)
    outermost_foreign = ""
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] not in _OURS:
            short = short_file(frame.f_code.co_filename)
            if short is not None:
                return f"{short}:{frame.f_lineno}"
            outermost_foreign = outermost_foreign or f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
        frame = frame.f_back
    return outermost_foreign


def at_line(frame: FrameType, line: int) -> str:
    """`file:line` of a frame of the user's, empty for ours and a library's."""
    if frame.f_globals.get("__name__", "").partition(".")[0] in _OURS:
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
    if "site-packages" in filename or filename.startswith(_LIBRARIES):
        return None
    path = Path(filename)
    for folder in path.parents:
        if folder != folder.parent and any((folder / mark).exists() for mark in _ROOT_MARKS):
            return path.relative_to(folder).as_posix()
    return path.name
