"""Tracebacks as users want to read them: their frames and those of the libraries they call, none of ours."""

from __future__ import annotations

import os
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from traceback import FrameSummary, StackSummary, TracebackException, walk_stack
from types import FrameType

_PACKAGES = ("grandpa_kfp", "grandpa_kfp_compiler", "grandpa_kfp_runtime")
_TASK_FILE = str(Path(__file__).with_name("task.py"))
_ASYNCIO = f"{os.sep}asyncio{os.sep}"
_LIBRARIES = ("<", "...", sysconfig.get_path("stdlib") + os.sep, sysconfig.get_path("platstdlib") + os.sep)
_MOST_FRAMES = 40
_FIRST_FRAMES = 10


@dataclass(frozen=True, slots=True)
class Told:
    """A traceback. stack: the frames of the error itself; in_body: a file of the user's is among those of a task."""

    text: str
    stack: StackSummary
    in_body: bool


def of_error(error: BaseException) -> Told:
    """The error, its causes and its members, each with the user's frames only.

    An error that the user's code did not lead to keeps all its frames: they are what a developer needs.
    """
    found = TracebackException.from_exception(error)
    ours = _our_folders()
    in_task = any(frame.filename == _TASK_FILE for frame in found.stack)
    if _is_by_user(_all_frames(found, set()), ours):
        _trim(found, ours, set())
    in_body = in_task and any(is_users_file(frame.filename) for frame in found.stack)
    return Told("".join(found.format()).rstrip("\n"), found.stack, in_body)


def of_frame(frame: FrameType) -> StackSummary:
    """Where a thread is, the user's frames only."""
    stack = StackSummary.extract(walk_stack(frame))
    stack.reverse()
    return _kept(stack, _our_folders())


def users_last(stack: StackSummary) -> FrameSummary | None:
    """The innermost frame in the user's own files, else the innermost of all."""
    for frame in reversed(stack):
        if not _is_library(frame.filename):
            return frame
    return stack[-1] if stack else None


def _is_by_user(frames: list[FrameSummary], ours: tuple[str, ...]) -> bool:
    """A file of the user's stands in it; or, for a node out of a library, what a task called."""
    foreign = [frame for frame in frames if not _is_ours(frame, ours)]
    if any(not _is_library(frame.filename) for frame in foreign):
        return True
    return bool(foreign) and any(frame.filename == _TASK_FILE for frame in frames)


def _trim(found: TracebackException, ours: tuple[str, ...], seen: set[int]) -> None:
    if id(found) in seen:
        return
    seen.add(id(found))
    found.stack = _kept(found.stack, ours)
    for inner in _linked(found):
        _trim(inner, ours, seen)


def _linked(found: TracebackException) -> list[TracebackException]:
    members = getattr(found, "exceptions", None) or []  # of an exception group, from Python 3.11 on
    return [inner for inner in (found.__cause__, found.__context__, *members) if inner is not None]


def _all_frames(found: TracebackException, seen: set[int]) -> list[FrameSummary]:
    if id(found) in seen:
        return []
    seen.add(id(found))
    return [*found.stack, *(frame for inner in _linked(found) for frame in _all_frames(inner, seen))]


def _kept(stack: StackSummary, ours: tuple[str, ...]) -> StackSummary:
    """What came after a task was called; of that what is not ours, nor what we called it through."""
    start = next((index for index, frame in enumerate(stack) if frame.filename == _TASK_FILE), 0)
    frames: list[FrameSummary] = []
    behind_ours = False
    for frame in stack[start:]:
        if _is_ours(frame, ours):
            behind_ours = True
        elif not (behind_ours and _ASYNCIO in frame.filename):
            behind_ours = False
            frames.append(frame)
    if len(frames) > _MOST_FRAMES:
        left_out = len(frames) - _MOST_FRAMES
        note = FrameSummary("...", 0, f"{left_out} more frames", lookup_line=False, line="")
        frames = [*frames[:_FIRST_FRAMES], note, *frames[_FIRST_FRAMES - _MOST_FRAMES :]]
    return StackSummary.from_list(frames)


def _is_ours(frame: FrameSummary, ours: tuple[str, ...]) -> bool:
    return frame.filename.startswith((*ours, "<frozen "))


def _our_folders() -> tuple[str, ...]:
    here = str(Path(__file__).parent) + os.sep
    above = (getattr(sys.modules.get(name), "__file__", None) for name in _PACKAGES)
    return tuple({here, *(str(Path(file).parent) + os.sep for file in above if file)})


def _is_library(filename: str) -> bool:
    return filename.startswith(_LIBRARIES) or f"{os.sep}site-packages{os.sep}" in filename


def is_users_file(filename: str) -> bool:
    """Whether a frame's file is the user's: no library's, and none of ours."""
    return not filename.startswith((*_our_folders(), "<frozen ")) and not _is_library(filename)
