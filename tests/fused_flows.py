"""Workflows whose components are fused: what their tasks do shows in values, files and logs."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from grandpa_kfp import (
    Component,
    GeneratorNode,
    Markdown,
    Metrics,
    Node,
    TaskNode,
    Workflow,
    collect,
    current,
    each,
    either,
    log_artifact,
    log_metric,
    otherwise,
    task_executor,
    when,
)


@Node
def numbers(n: int) -> list[int]:
    return list(range(n))


@Node
def total(values: list[int]) -> int:
    print("adding", len(values))
    log_metric("length", len(values))
    return sum(values)


@Node
def spoilt(values: list[int]) -> int:
    """Changes what it got."""
    values.append(1000)
    log_metric("length", len(values))
    return len(values)


@Node
def score(x: int, y: int) -> Metrics:
    log_artifact("note", Markdown(f"**{x}**"))
    return Metrics({"ratio": x / y})


@Node(outputs=("low", "high"))
def ends(values: list[int]) -> Any:
    return min(values), max(values)


@Component(fuse=True)
def measured(values: list[int]) -> Any:
    added, length = total(values), spoilt(values)
    low, high = ends(values)
    return added, score(added, length), low, high


@Node
def told(added: int, scored: Metrics, low: int, high: int) -> list[float]:
    return [added, scored["ratio"], low, high]


@Workflow
def measure(n: int = 4) -> list[float]:
    """A step between two others; what leaves it has annotations, logs, several outputs."""
    return told(*measured(numbers(n)))  # type: ignore[return-value]


# --- what the local engine runs and Kubeflow does not ----------------------------------------------


@Node
class Scale:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    def __call__(self, x: int) -> int:
        return self.factor * x


@Node
def who() -> str:
    return f"{current().task} in {bool(current().run_id)}"


@Node
def written(text: str) -> Path:
    path = current().scratch_dir() / "text.txt"
    path.write_text(text, encoding="utf-8")
    return path


@Node
def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@Node
def fib(n: int) -> int:
    return n if n < 2 else plus(fib(n - 1), fib(n - 2))  # type: ignore[return-value]


@Node
def plus(x: int, y: int) -> int:
    return x + y


@GeneratorNode
def counted(n: int) -> Iterator[int]:
    yield from range(n)


@Node
def summed(items: Any) -> int:
    return sum(items)


@TaskNode
def squared(x: int) -> int:
    return x * x


@Node
def side_by_side(n: int) -> int:
    jobs = [task_executor.add_task(abs, x) for x in range(-n, 0)]
    return sum(map(task_executor.get_task_result, jobs))


@Node(env={"LETTER": "a"})
def letter() -> str:
    return os.environ["LETTER"]


@Node(env={"LETTER": "b"})
def other_letter() -> str:
    return os.environ["LETTER"]


@Component(fuse=True)
def everything(n: int) -> Any:
    with each(numbers(n)) as number:
        with when(number > 1):
            big = Scale(10)(number)
        with otherwise():
            small = plus(number, 1)
        one = either(big, small)
    return [
        collect(one), who(), read(written("text")), fib(5), summed(counted(n)), squared(numbers(n)),
        side_by_side(n), letter(), other_letter(),
    ]  # fmt: skip


@Workflow
def many_ways(n: int = 4) -> Any:
    return everything(n)


@Node(cpu="1")
def by_itself(folder: str) -> int:
    """Fails where another one runs."""
    file = Path(folder) / "runs"
    file.touch(exist_ok=False)
    time.sleep(0.05)
    file.unlink()
    return 1


@Component(fuse=True)
def one_by_one(folder: str) -> Any:
    return [by_itself(folder) for _ in range(3)]


@Workflow
def shared(folder: str = "") -> Any:
    return one_by_one(folder)


# --- failure ---------------------------------------------------------------------------------------


def _mark(folder: str, name: str) -> int:
    """One more line in a file; how many there are."""
    file = Path(folder) / name
    with file.open("a", encoding="utf-8") as opened:
        opened.write("x\n")
    return len(file.read_text(encoding="utf-8").splitlines())


@Node
def costly(folder: str) -> list[int]:
    _mark(folder, "costly")
    return [1, 2]


@Node
def longer(values: list[int], folder: str) -> list[int]:
    _mark(folder, "longer")
    return [*values, 3]


@Node
def fails_at_first(values: list[int], folder: str) -> int:
    if _mark(folder, "fails_at_first") < 2:
        raise ValueError(f"no room for {len(values)}")
    return sum(values)


@Component(fuse=True)
def risky(folder: str) -> Any:
    made = longer(costly(folder), folder)
    return made, fails_at_first(made, folder)


@Workflow
def resumed(folder: str = "") -> Any:
    return risky(folder)


@Node(retries=1, backoff_s=0.01)
def second_time(folder: str) -> int:
    if _mark(folder, "second_time") < 2:
        raise ValueError("not yet")
    return 2


@Node(timeout_s=0.2)
def too_slow(x: int) -> int:
    time.sleep(60)
    return x


@Component(fuse=True)
def retried(folder: str) -> Any:
    return too_slow(second_time(folder))


@Workflow
def timed(folder: str = "") -> Any:
    return retried(folder)


@Node
def waits(x: int) -> int:
    time.sleep(60)
    return x


@Component(fuse=True)
def endless(folder: str) -> Any:
    return waits(fails_at_first(costly(folder), folder))


@Workflow
def stopped(folder: str = "") -> Any:
    return endless(folder)
