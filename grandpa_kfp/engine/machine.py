"""What this machine has, or what its container may use of it: cores, memory, GPUs. Asked when it is needed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

VISIBLE_DEVICES = "CUDA_VISIBLE_DEVICES"
_CGROUP = Path("/sys/fs/cgroup")
_DEVICE = re.compile(r"nvidia[0-9]+")
_ASKED_FOR_S = 10.0


def cores() -> float:
    """Cores that this process may use: those it is bound to, and no more than its container's share.

    >>> cores() > 0
    True
    """
    found = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    for folder in _groups(""):
        with suppress(OSError, ValueError):  # "max 100000" where there is no limit
            quota_us, period_us = (folder / "cpu.max").read_text(encoding="ascii").split()
            found = min(found, int(quota_us) / int(period_us))
    for folder in _groups("cpu"):
        with suppress(OSError, ValueError):
            quota = int((folder / "cpu.cfs_quota_us").read_text(encoding="ascii"))
            if quota > 0:
                found = min(found, quota / int((folder / "cpu.cfs_period_us").read_text(encoding="ascii")))
    return found


def whole_cores() -> int:
    """Cores to share out, at least one."""
    return max(1, int(cores()))


def memory_bytes() -> int:
    """Memory of the machine, or what the container may use of it.

    >>> memory_bytes() > 0
    True
    """
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for kind, name in (("", "memory.max"), ("memory", "memory.limit_in_bytes")):
        for folder in _groups(kind):
            with suppress(OSError, ValueError):
                total = min(total, int((folder / name).read_text(encoding="ascii")))
    return total


def gpus() -> tuple[str, ...]:
    """The GPUs that this process sees, by the names that CUDA_VISIBLE_DEVICES gives them; none where there are none."""
    visible = os.environ.get(VISIBLE_DEVICES)
    if visible is not None:
        return tuple(_listed(visible))
    with suppress(OSError):
        found = sum(1 for name in os.listdir("/dev") if _DEVICE.fullmatch(name))
        if found:
            return tuple(map(str, range(found)))
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    with suppress(OSError, subprocess.SubprocessError):
        told = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=_ASKED_FOR_S, check=True)
        return tuple(map(str, range(sum(1 for line in told.stdout.splitlines() if line.startswith("GPU ")))))
    return ()


def _listed(visible: str) -> Iterator[str]:
    """As CUDA reads it: up to the first that is none."""
    for item in visible.split(","):
        name = item.strip()
        if not name or name.startswith("-") or name == "NoDevFiles":
            return
        yield name


def _groups(kind: str) -> Iterator[Path]:
    """This process's control group and those above it, of the one hierarchy ("") or of a controller's own."""
    root = _CGROUP / kind
    yield root
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text(encoding="ascii", errors="replace").splitlines():
            _, controllers, path = line.split(":", 2)
            if kind in controllers.split(","):
                folder = root / path.lstrip("/")
                while folder != root and root in folder.parents:
                    yield folder
                    folder = folder.parent
