"""The debugger after an error, in the user's own frame: for `run(pdb=True)`, `grandpa run` and `replay --pdb`."""

from __future__ import annotations

import sys
from pdb import Pdb
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, TextIO

from grandpa_kfp_runtime.tracebacks import is_users_file

if TYPE_CHECKING:
    from grandpa_kfp_runtime.errors import TaskError


class _InUsersFrame(Pdb):
    """A debugger that begins at the innermost frame of the user's, below it what libraries did, above it ours."""

    def get_stack(self, f: FrameType | None, t: TracebackType | None) -> tuple[list[tuple[FrameType, int]], int]:
        stack, last = super().get_stack(f, t)
        users = [index for index, (frame, _) in enumerate(stack) if is_users_file(frame.f_code.co_filename)]
        return stack, users[-1] if users else last


def debug(error: TaskError, stdout: TextIO | None = None) -> None:
    """Prints the report to standard error and opens the debugger where the task failed; returns when the user leaves.

    stdout: where the debugger writes, by default standard output. An error that was raised nowhere, a timeout say,
    has no frame to look at, which is told.
    """
    print(error, file=sys.stderr)
    cause = error.__cause__
    if cause is None or cause.__traceback__ is None:
        print("no debugger: no line of yours raised this", file=sys.stderr)
        return
    options: dict[str, Any] = {} if stdout is None else {"stdout": stdout}
    debugger = _InUsersFrame(**options)
    debugger.reset()
    debugger.interaction(None, cause.__traceback__)
