"""How the figures of engine.py are taken: repetitions of one piece of work, as seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Found = dict[str, dict[str, list[float]]]
"""Seconds by figure and by whose they are."""

_AT_MOST_S = 8.0


def repeat(work: Callable[[], object], times: int, *, warm: bool = True) -> list[float]:
    """Seconds of each of `times` repetitions, fewer where they take long. warm: one more before, not counted."""
    if warm:
        work()
    found: list[float] = []
    begun = time.perf_counter()
    while len(found) < times and (not found or time.perf_counter() - begun < _AT_MOST_S):
        start = time.perf_counter()
        kept = work()
        found.append(time.perf_counter() - start)
        del kept  # giving memory back is no part of it
    return found


@contextmanager
def ours(**options: Any) -> Iterator[Any]:
    """A TemplateParser whose workers, if it has any, end with the block."""
    from grandpa_kfp import TemplateParser

    with TemplateParser(**{"record": False, **options}) as parser:
        yield parser
