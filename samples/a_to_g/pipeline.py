"""Seven nodes of one second each. The longest path has four, so four seconds is the ideal.

grandpa run samples/a_to_g/pipeline.py
"""

from __future__ import annotations

import time

from grandpa_kfp import Node, Workflow, launch


@Node
def a(value: int) -> int:
    time.sleep(1)
    return value


@Node
def b(a: int) -> int:
    time.sleep(1)
    return a


@Node
def c(a: int) -> int:
    time.sleep(1)
    return a - 2


@Node
def d(a: int) -> int:
    time.sleep(1)
    return a - 2


@Node
def e(c: int, d: int) -> int:
    time.sleep(1)
    return c - d


@Node
def f(b: int) -> int:
    time.sleep(1)
    return b * 10


@Node
def g(f: int, c: int, e: int) -> int:
    time.sleep(1)
    return f + c - e


@Workflow
def a_to_g(start: int = 10) -> int:
    """b, c and d run side by side, and so do e and f."""
    first = a(start)
    left, middle, right = b(first), c(first), d(first)
    return g(f(left), middle, e(middle, right))


if __name__ == "__main__":
    launch()
