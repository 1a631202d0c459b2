"""A workflow's callbacks as text for its containers, which tell them the events of their own task.

They travel by reference, in the environment: which callbacks there are changes no task's cache key.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from grandpa_kfp_runtime.contract import json_for_args
from grandpa_kfp_runtime.errors import CodecError, PayloadError
from grandpa_kfp_runtime.events.subscribers import hears_tasks

from ..constants import handle_text
from ..graph import Constant

MOST_BYTES = 8 * 1024


def callbacks_text(callbacks: Iterable[Any]) -> tuple[str, list[str]]:
    """The value of `GRANDPA_CALLBACKS`, empty for none; notes about those that stay behind.

    >>> callbacks_text([])
    ('', [])
    >>> callbacks_text([lambda event: None])[1]
    ['callback <lambda> is told of nothing in containers: it is no function or class of a module']
    """
    handles: list[str] = []
    notes: list[str] = []
    for callback in callbacks:
        if not hears_tasks(callback):
            continue
        named = callback if hasattr(callback, "__qualname__") else type(callback)
        reason = ""
        if "<" in named.__qualname__ or named.__module__ == "__main__":
            reason = "it is no function or class of a module"
        else:
            try:
                handle = handle_text(Constant(callback))
                if sum(map(len, handles)) + len(handle) <= MOST_BYTES:
                    handles.append(handle)
                else:
                    reason = f"callbacks take more than {MOST_BYTES:,} bytes"
            except (CodecError, PayloadError) as error:
                reason = str(error).splitlines()[0]
        if reason:
            notes.append(f"callback {named.__qualname__} is told of nothing in containers: {reason}")
    return (json_for_args(handles) if handles else ""), notes
