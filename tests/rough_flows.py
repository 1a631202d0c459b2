"""Nodes that treat their process badly: importable, as a user's are."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from grandpa_kfp import Node


class BadReduce:
    def __reduce__(self) -> Any:
        raise RuntimeError("it does not want to be pickled")


def explode() -> Any:
    raise RuntimeError("it does not want to come back")


class BadReturn:
    """Pickles, but does not come back."""

    def __reduce__(self) -> Any:
        return explode, ()


class TwoArguments(Exception):
    """Pickles, but does not come back: its pickle calls it with one."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} and {second}")


class BadException(Exception):
    def __reduce__(self) -> Any:
        raise RuntimeError("it does not want to be pickled")


@Node
def makes(what: str) -> Any:
    return {"reduce": BadReduce, "return": BadReturn, "generator": lambda: (i for i in "ab")}[what]()


@Node
def raises(what: str) -> Any:
    if what == "two":
        raise TwoArguments(1, 2)
    raise {"bad": BadException, "interrupt": KeyboardInterrupt, "exit": GeneratorExit}[what]("the user's words")


@Node
def reads(value: Any) -> str:
    return type(value).__name__


@Node
def deaf_to_sigterm() -> int:
    """Its children would be deaf as well."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return os.getpid()


@Node
def pools(kind: str) -> list[int]:
    """Ending a pool sends SIGTERM to what it started."""
    with multiprocessing.get_context(kind).Pool(2) as pool:
        return pool.map(abs, [-1, -2])


@Node
def lingering_thread() -> int:
    threading.Thread(target=time.sleep, args=(600,)).start()
    return os.getpid()


@Node
def lingering_child() -> int:
    return subprocess.Popen(["sleep", "600"]).pid


@Node
def forked_child() -> int:
    child = os.fork()
    if not child:
        time.sleep(600)
        os._exit(0)
    return child


@Node
def child_raises() -> int:
    """The fork comes out of the body by an exception."""
    child = os.fork()
    if not child:
        raise ValueError("in the child")
    os.waitpid(child, 0)
    return 1


@Node
def folder_gone() -> str:
    """Leaves the process in a folder that is no more."""
    path = Path(os.environ["TMPDIR_OF_TEST"]) / f"gone-{os.getpid()}"
    path.mkdir()
    os.chdir(path)
    path.rmdir()
    return "gone"


@Node
def current_folder(_: Any = None) -> str:
    return os.getcwd()


@Node
def prints(mib: int) -> int:
    line = "x" * 1023 + "\n"
    for _ in range(mib * 1024):
        sys.stdout.write(line)
    return mib


@Node
def array(mib: int, fill: int = 1) -> Any:
    return np.full(mib << 20, fill, dtype=np.uint8)


@Node
def ends(value: Any) -> list[int]:
    """The first and the last byte, and how many there are."""
    return [int(value[0]), int(value[-1]), len(value)]


@Node
def waits(folder: Path, name: str) -> int:
    """Says where it runs, and what it has started, then sleeps."""
    child = subprocess.Popen(["sleep", "600"])
    (folder / f"{name}.new").write_text(f"{os.getpid()} {child.pid}")
    (folder / f"{name}.new").rename(folder / name)
    time.sleep(600)
    return 0


@Node
def breaks_writes(code: int, everywhere: bool) -> int:
    """From now on this process finds its shared memory full, or the disk too."""
    write = os.pwrite

    def full(descriptor: int, data: Any, offset: int) -> int:
        if everywhere or os.readlink(f"/proc/self/fd/{descriptor}").startswith("/memfd:"):
            raise OSError(code, os.strerror(code))
        return write(descriptor, data, offset)

    os.pwrite = full
    return 7
