"""The temporary folder of one run: made when first needed, gone when the run has ended.

A process that is killed cannot remove its own; the next one that makes a folder does. So each is locked by whoever
made it, and the system lets go of a lock with the process that has it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

from grandpa_kfp_runtime.stores import Store
from grandpa_kfp_runtime.stores.file import FileStore

_PREFIX = "grandpa-work-"
_UNLOCKED = "grandpa-new-"


class Scratch:
    """Folders and a store of its own, for what a run cannot hold in memory alone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._root: Path | None = None
        self._locked = -1
        self._spool: Store | None = None

    def folder(self, name: str) -> Path:
        """The folder of that name."""
        with self._lock:
            if self._root is None:
                remove_left_behind(Path(tempfile.gettempdir()))
                self._root, self._locked = _locked_folder()
            made = self._root / name
            made.mkdir(exist_ok=True)
            return made

    def spool(self) -> Store:
        if self._spool is None:
            self._spool = FileStore(self.folder("spool"))
        return self._spool

    def close(self) -> None:
        with self._lock:
            root, self._root = self._root, None
            if root is not None:
                shutil.rmtree(root, ignore_errors=True)
                os.close(self._locked)


def _locked_folder() -> tuple[Path, int]:
    """A new folder, and the descriptor that holds its lock. It gets its name with the lock, not before."""
    made = tempfile.mkdtemp(prefix=_UNLOCKED)
    descriptor = os.open(made, os.O_RDONLY)
    _lock(descriptor)
    root = Path(made).with_name(_PREFIX + Path(made).name.removeprefix(_UNLOCKED))
    os.rename(made, root)
    return root, descriptor


def remove_left_behind(parent: Path) -> None:
    """Removes the folders of runs whose process was killed."""
    with suppress(OSError):
        for path in parent.glob(f"{_PREFIX}*"):
            _remove_unlocked(path)


def _remove_unlocked(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY)
    except OSError:  # another user's, or gone
        return
    try:
        if os.fstat(descriptor).st_uid == os.getuid() and _lock(descriptor):
            shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Whether it is ours now. A file system that has no locks has none for anybody: nothing is ever removed there."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
