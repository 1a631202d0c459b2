"""The temporary folder of one run: made when first needed, gone when the run has ended."""

from __future__ import annotations

import shutil
import tempfile
import threading
from pathlib import Path

from grandpa_kfp_runtime.stores import Store
from grandpa_kfp_runtime.stores.file import FileStore


class Scratch:
    """Folders and a store of its own, for what a run cannot hold in memory alone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._root: Path | None = None
        self._spool: Store | None = None

    def folder(self, name: str) -> Path:
        """The folder of that name."""
        with self._lock:
            if self._root is None:
                self._root = Path(tempfile.mkdtemp(prefix="grandpa-run-"))
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
