"""Environment variables of tasks that share one process.

A process has one environment. So a variable is set as long as a task runs that wants it, and then has again the value
that it had before; tasks that want different values of one variable never run at the same time: those of one value run
side by side, those of another wait. Separate runs in one process wait for each other by the same rule. Tasks with no
environment at all pay nothing and wait for nobody: they see what those set that happen to run beside them.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from typing import TypeAlias

Setting: TypeAlias = "tuple[tuple[str, str], ...]"


@dataclass(slots=True)
class _Variable:
    """value: that it has now; before: None where it was not set; tasks: how many want it so."""

    value: str
    before: str | None
    tasks: int = 0


class _Gate:
    """The process's environment: each variable has one value at a time, for all tasks that want just that."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._variables: dict[str, _Variable] = {}

    def enter(self, setting: Setting) -> None:
        """Waits until every variable can have its value, and sets them."""
        with self._changed:
            self._changed.wait_for(lambda: self._admits(setting))
            for name, value in setting:
                found = self._variables.get(name)
                if found is None:
                    found = self._variables[name] = _Variable(value, os.environ.get(name))
                    os.environ[name] = value
                found.tasks += 1

    def leave(self, setting: Setting) -> None:
        """To be called once for each `enter`, with the same setting."""
        with self._changed:
            for name, _ in setting:
                found = self._variables[name]
                found.tasks -= 1
                if found.tasks:
                    continue
                del self._variables[name]
                if found.before is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = found.before
            self._changed.notify_all()

    def _admits(self, setting: Setting) -> bool:
        return all(name not in self._variables or self._variables[name].value == value for name, value in setting)


_GATE = _Gate()
enter = _GATE.enter
leave = _GATE.leave


def merged(setting: Setting, more: Setting | None) -> Setting:
    """The setting with more variables, which win.

    >>> merged((("A", "1"), ("B", "2")), (("B", "3"),))
    (('A', '1'), ('B', '3'))
    """
    return tuple(sorted({**dict(setting), **dict(more)}.items())) if more else setting
