"""Environment variables of tasks that share one process.

A process has one environment. So variables that have one value in the whole run are set as long as any
of its tasks runs; tasks that want different values of one variable never run at the same time: those of
one setting run side by side, those of another wait. Separate runs in one process wait for each other by
the same rule. Tasks with no environment at all pay nothing, and wait for nobody.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from typing import TypeAlias

Setting: TypeAlias = "tuple[tuple[str, str], ...]"


class _Gate:
    """The process's environment: one setting at a time, by as many tasks as want just that."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._setting: Setting = ()
        self._inside = 0
        self._before: dict[str, str | None] = {}

    def enter(self, setting: Setting) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._inside or self._setting == setting)
            if not self._inside:
                self._setting = setting
                self._before = {name: os.environ.get(name) for name, _ in setting}
                os.environ.update(setting)
            self._inside += 1

    def leave(self) -> None:
        with self._changed:
            self._inside -= 1
            if self._inside:
                return
            for name, value in self._before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
            self._changed.notify_all()


_GATE = _Gate()
enter = _GATE.enter
leave = _GATE.leave


def settings(wanted: Sequence[Mapping[str, str]]) -> list[Setting]:
    """For each task the variables that hold while it runs.

    >>> settings([{"A": "1", "B": "2"}, {"B": "3"}, {}])
    [(('A', '1'), ('B', '2')), (('A', '1'), ('B', '3')), (('A', '1'),)]
    """
    if not any(wanted):
        return [()] * len(wanted)
    values: dict[str, set[str]] = {}
    for env in wanted:
        for name, value in env.items():
            values.setdefault(name, set()).add(value)
    common = {name: next(iter(found)) for name, found in values.items() if len(found) == 1}
    return [tuple(sorted({**common, **env}.items())) for env in wanted]


def merged(setting: Setting, more: Setting | None) -> Setting:
    """The setting with more variables, which win.

    >>> merged((("A", "1"), ("B", "2")), (("B", "3"),))
    (('A', '1'), ('B', '3'))
    """
    return tuple(sorted({**dict(setting), **dict(more)}.items())) if more else setting
