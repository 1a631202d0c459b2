"""Shows what tasks print: whole lines with the task's name before each, `train | epoch 1`."""

from __future__ import annotations

import sys

from .events import Event, TaskPrinted


def echo(event: Event) -> None:
    """A listener. Writes to what `sys.stdout` and `sys.stderr` are in the context of whoever runs the workflow."""
    if type(event) is TaskPrinted:
        stream = sys.stdout if event.stream == "stdout" else sys.stderr
        if stream is not None:
            stream.write(prefixed(event.task, event.text))
            stream.flush()


def prefixed(task: str, text: str) -> str:
    """Each line of the text with the task's name.

    >>> prefixed("train", "epoch 1\\nepoch 2\\n")
    'train | epoch 1\\ntrain | epoch 2\\n'
    """
    before = f"{task} | "
    return before + text.removesuffix("\n").replace("\n", f"\n{before}") + "\n"
