"""What the peers run: the same bodies as the nodes of flows.py, as plain functions that workers can import."""

from __future__ import annotations

import os
import time
from typing import Any

ARRAY_BYTES = 100 * 2**20
HOLD_S = 0.05
"""So long a consumer keeps its worker, that the other consumer has to run on the other one."""


def inc(x: int) -> int:
    return x + 1


def use_numpy(_: int = 0) -> int:
    """Has NumPy loaded by the worker and keeps it for a moment, so that two of these reach two; the process's id."""
    import numpy

    time.sleep(0.3 if numpy.__version__ else 0.0)
    return os.getpid()


def produce(size_bytes: int = ARRAY_BYTES) -> Any:
    """An array that says when it was finished, and in which process."""
    import numpy

    array = numpy.ones(size_bytes // 8)
    array[1] = os.getpid()
    array[0] = time.perf_counter()
    return array


def consume(array: Any) -> tuple[float, bool]:
    """Seconds from the end of the producer's body to the start of this one; whether that was another process."""
    waited_s = time.perf_counter() - array[0]
    other = int(array[1]) != os.getpid()
    time.sleep(HOLD_S)
    return float(waited_s), other
