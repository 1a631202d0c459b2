"""What a process has: open files, memory, worker processes below it. For tests that nothing is left behind."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

WORKER = "grandpa_kfp.engine.processes"


def open_files(pid: int | str = "self") -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def resident_mib(pid: int | str = "self") -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def lives(pid: int) -> bool:
    """A process that has ended but was not waited for counts as gone."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in ("Z", "X")


def workers_of(parent: int) -> set[int]:
    """The worker processes that this process has started, those that have ended unwaited too."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                above = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                command = (entry / "cmdline").read_text()
            except OSError:
                continue
            if above == parent and WORKER in command:
                found.add(int(entry.name))
    return found


def comes(true: Callable[[], object], patience_s: float = 60.0) -> bool:
    """Whether something becomes true soon enough."""
    until = time.monotonic() + patience_s
    while time.monotonic() < until:
        if true():
            return True
        time.sleep(0.02)
    return bool(true())
