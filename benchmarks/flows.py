"""The workflows that engine.py measures; their bodies are those that the peers run."""

from __future__ import annotations

import os
import time
from typing import Any

import bodies

from grandpa_kfp import Node, Static, Workflow


@Node
def inc(x: int) -> int:
    return x + 1


@Node
def add(a: int, b: int) -> int:
    return a + b


@Workflow
def independent(tasks: Static[int] = 1000) -> list[int]:
    return [inc(index) for index in range(tasks)]


@Workflow
def chain(tasks: Static[int] = 1000) -> int:
    value = 0
    for _ in range(tasks):
        value = inc(value)
    return value


@Workflow
def mapped(items: list[int]) -> list[int]:
    return inc.map(items)


@Workflow
def ladder(steps: Static[int] = 30) -> int:
    value = 1
    for _ in range(steps):
        value = add(value, value)
    return value


@Node
def countdown(n: int, passed: int) -> int:
    return countdown(n - 1, passed + 1) if n else passed


@Node
def fib(n: int) -> int:
    return add(fib(n - 1), fib(n - 2)) if n > 1 else n


@Node
def counted(executions: str, seconds: float, *_: Any) -> int:
    """Leaves a byte in a file each time it runs."""
    file = os.open(executions, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(file, b"x")
    os.close(file)
    time.sleep(seconds)
    return 1


@Workflow
def a_to_g(executions: str, seconds: float = 1.0) -> int:
    """Seven sleeps, four of them after each other: TinyComputationGraph's demonstration."""
    a = counted(executions, seconds)
    b, c, d = (counted(executions, seconds, a) for _ in range(3))
    e, f = counted(executions, seconds, c, d), counted(executions, seconds, b)
    return counted(executions, seconds, f, c, e)


@Workflow
def counted_ladder(executions: str, steps: Static[int] = 30) -> int:
    value = 0
    for _ in range(steps):
        value = counted(executions, 0.0, value, value)
    return value


@Node
def produce(size_bytes: int) -> Any:
    return bodies.produce(size_bytes)


@Node
def consume(array: Any) -> tuple[float, bool]:
    return bodies.consume(array)


@Workflow
def array_to_two(size_bytes: int = bodies.ARRAY_BYTES) -> list[Any]:
    made = produce(size_bytes)
    return [consume(made), consume(made)]


@Workflow
def array_to_one(size_bytes: int = bodies.ARRAY_BYTES) -> Any:
    return consume(produce(size_bytes))
