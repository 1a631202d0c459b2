"""Nodes that worker processes run in the tests of the engine: importable, as a user's are."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from grandpa_kfp import Node, Workflow
from grandpa_kfp.api import run

MIB = 1 << 20


@dataclass
class Point:
    x: int
    y: int = 0


@Node
def inc(x: int) -> int:
    return x + 1


@Node
def inverse(x: int) -> int:
    return 1 // x


@Node
def add(a: Any, b: Any) -> Any:
    return a + b


@Node
def total(items: list[Any]) -> Any:
    return sum(items)


@Node
def pid(*_: Any) -> int:
    return os.getpid()


@Node
def ones(count: int) -> Any:
    return np.ones(count, dtype=np.uint8)


@Node
def spoil(array: Any) -> int:
    """Changes what it got, and says what it had been."""
    before = int(array[0])
    array += 1
    return before


@Node
def first_and_pid(array: Any, pause_s: float = 0.0) -> tuple[int, int]:
    time.sleep(pause_s)
    return int(array[0]), os.getpid()


@Node
def meet(folder: Path, mine: str, other: str) -> bool:
    """Waits until the other task runs too."""
    (folder / mine).touch()
    end = time.monotonic() + 60
    while not (folder / other).exists():
        if time.monotonic() > end:
            return False
        time.sleep(0.002)
    return True


@Node
def mark(folder: Path, name: str, value: Any = None) -> Any:
    """Leaves a line for each time it runs."""
    with (folder / name).open("a") as file:
        file.write("ran\n")
    return value


@Node
def die(how: str, folder: Path | None = None) -> int:
    """Ends its own process; with a folder, only the first time."""
    if folder is not None:
        (folder / f"try-{os.getpid()}-{time.monotonic_ns()}").touch()
        if len(list(folder.glob("try-*"))) > 1:
            return 7
    if how == "exit":
        os._exit(3)
    if how == "segfault":
        import ctypes

        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
        ctypes.string_at(0)
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


@Node
def sleep(seconds: float, value: Any = None) -> Any:
    time.sleep(seconds)
    return value


@Node
def fail(text: str) -> int:
    raise ValueError(text)


class Stubborn(Exception):
    """Does not pickle."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()


@Node
def stubborn() -> int:
    raise Stubborn("cannot be pickled")


@Node
def unpicklable() -> Any:
    return threading.Lock()


@Node
def leave() -> int:
    sys.exit(4)


@Node
def forks() -> int:
    child = os.fork()
    if child == 0:
        return -1  # comes out of the body as its parent does
    os.waitpid(child, 0)
    return child and 1


@Node
def chatty(lines: int) -> int:
    for number in range(lines):
        print("line", number)
    return lines


@Node
def moves(folder: Path) -> str:
    os.chdir(folder)
    return os.getcwd()


@Node
def deaf() -> int:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)
    return 0


@Node
def environ(name: str) -> str | None:
    return os.environ.get(name)


@Node
def moved(point: Point) -> Point:
    return Point(point.y, point.x)


@Node
def write_file(text: str) -> Path:
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"grandpa-test-{os.getpid()}-{time.monotonic_ns()}"
    path.write_text(text)
    return path


@Node
def read_file(path: Path) -> str:
    return path.read_text()


@Node
def nested() -> Any:
    """A run inside a run."""
    return run(inner, {"n": 3}, record=False).value


@Node
def nested_on(processes: int) -> Any:
    """The same on other worker processes."""
    return run(inner, {"n": 3}, processes=processes, record=False).value


@Workflow
def inner(n: int = 1) -> Any:
    return inc(inc(n))


@Node
class Scale:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    def __call__(self, x: int) -> int:
        return self.factor * x


@Node
def fib(n: int) -> Any:
    if n < 2:
        return n
    return add(fib(n - 1), fib(n - 2))


@Node
def deeper(n: int) -> Any:
    return n if n == 0 else deeper(n - 1)


@Node
def pair_up(n: int) -> Any:
    """Refs inside a structure."""
    return {"both": [inc(n), (inc(n + 1), n)], "same": inc(n)}


@Node(outputs=("low", "high"))
def bounds(n: int) -> Any:
    return inc(n - 2), inc(n)


@Node
def meeting(folder: Path) -> Any:
    """Its two calls wait for each other."""
    return [meet(folder, "in-a", "in-b"), meet(folder, "in-b", "in-a")]


@Node
def with_lambda(n: int) -> Any:
    by = n + 1
    return Node(lambda x: x * by)(n)


@Node
def with_array(count: int) -> Any:
    return spoil(np.full(count, 5, dtype=np.uint8))


@Node
def grows_big(count: int) -> Any:
    return ones(count)


@Node
def fails_below() -> Any:
    return inc(fail("down there"))


@Node
def resolves(n: int) -> Any:
    return inc(inc(n)).resolve()  # type: ignore[attr-defined]
