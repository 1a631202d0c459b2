"""Nodes that ask for something of the machine, and write down when they run. What they say is read by `most`."""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path

from grandpa_kfp import Node
from grandpa_kfp.engine.numeric import VARIABLES

WAIT_S = 60.0


def tell(log: str, text: str) -> None:
    """One line, whole, whoever writes beside."""
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{text}\n".encode())
    os.close(descriptor)


def told(log: str | Path) -> list[str]:
    return Path(log).read_text().splitlines()


def most(log: str | Path, weights: dict[str, int]) -> int:
    """The most that ran at any time, each kind of task counted as the weights say."""
    running: Counter[str] = Counter()
    highest = 0
    for line in told(log):
        running[line[1:]] += 1 if line[0] == "+" else -1
        highest = max(highest, sum(weights[kind] * count for kind, count in running.items()))
    return highest


@Node
def work(log: str, kind: str, x: int = 0, pause_s: float = 0.01) -> int:
    tell(log, f"+{kind}")
    time.sleep(pause_s)
    tell(log, f"-{kind}")
    return x


@Node(cpu=1)
def one_core(log: str, x: int) -> int:
    return int(work.fn(log, "one", x))


@Node(retries=2, backoff_s=0.01, uses={"licence": 1})
def shaky(log: str, x: int) -> int:
    """Fails at its first attempt."""
    tell(log, "+shaky")
    first = not os.path.exists(f"{log}-{x}")
    Path(f"{log}-{x}").touch()
    tell(log, "-shaky")
    if first:
        raise ValueError("not yet")
    return x


@Node(uses={"licence": 1}, timeout_s=0.2)
def slow(log: str) -> None:
    time.sleep(WAIT_S)


@Node(uses={"licence": 1})
def broken() -> None:
    raise ValueError("broken")


@Node(uses={"licence": 1})
def killed() -> None:
    os.kill(os.getpid(), 9)


@Node(gpu=1)
def on_gpu(log: str, n: int) -> str:
    """Waits until n of them run at the same time, and says which GPU it sees."""
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    tell(log, f"+{seen}")
    until = time.monotonic() + WAIT_S
    while len(told(log)) < n and time.monotonic() < until:
        time.sleep(0.005)
    return seen


@Node(gpu=1)
def gpu_seen(log: str, x: int) -> str:
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    tell(log, f"+{seen}")
    time.sleep(0.01)
    tell(log, f"-{seen}")
    return seen


FIRST: list[str] = []


@Node(gpu=1)
def found(log: str, n: int) -> tuple[str, str]:
    """What a library does: looks once a process which GPUs there are. And which the task holds."""
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    FIRST.append(seen)
    tell(log, f"+{seen}")
    until = time.monotonic() + 0.1 * n
    while time.monotonic() < until:
        time.sleep(0.005)
    return FIRST[0], seen


@Node
def visible() -> str:
    return os.environ.get("CUDA_VISIBLE_DEVICES", "")


@Node
def threads_told(x: int = 0) -> list[str]:
    return [os.environ.get(name, "") for name in VARIABLES]


@Node(cpu=1)
def grows(log: str, n: int) -> object:
    """As many tasks of one core each, while it asks for a core itself."""
    return [one_core(log, number) for number in range(n)]


@Node
def asks_late(log: str) -> object:
    """No task of the graph asks for anything until this one has run."""
    return [work.options(uses={"licence": 1})(log, "licence", number) for number in range(4)]


@Node
def asks_wrongly() -> object:
    return work.options(uses={"licenze": 1})("", "")
