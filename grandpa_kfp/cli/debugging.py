"""The debugger after an error, in the user's own frame: for `grandpa replay --pdb`."""

from __future__ import annotations

import sys
from pdb import Pdb
from types import FrameType, TracebackType

from grandpa_kfp_runtime.tracebacks import is_users_file


class _InUsersFrame(Pdb):
    """A debugger that begins at the innermost frame of the user's, below it what libraries did, above it ours."""

    def get_stack(self, f: FrameType | None, t: TracebackType | None) -> tuple[list[tuple[FrameType, int]], int]:
        stack, last = super().get_stack(f, t)
        users = [index for index, (frame, _) in enumerate(stack) if is_users_file(frame.f_code.co_filename)]
        return stack, users[-1] if users else last


def post_mortem(error: BaseException) -> None:
    """Opens the debugger at the error; returns when the user leaves it.

    It reads from standard input and writes to standard error, since standard output is for a task's value.
    """
    debugger = _InUsersFrame(stdout=sys.stderr)
    debugger.reset()
    debugger.interaction(None, error.__traceback__)
