"""How many threads numeric libraries use in worker processes, so that tasks side by side do not fight for cores.

The libraries read these variables when they are loaded. Where threadpoolctl is installed, libraries that are
loaded already are told too. What the user has set in the environment stays as it is.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from . import machine

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from .environment import Setting

VARIABLES = ("MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_LOADED = ("numpy", "torch", "scipy", "sklearn", "numexpr", "mkl")


def setting(threads: int, environ: Mapping[str, str]) -> Setting:
    """The variables for so many threads; none for 0, nor where the user has set one of them.

    >>> setting(2, {})[2:], setting(2, {"OMP_NUM_THREADS": "8"}), setting(0, {})
    ((('OMP_NUM_THREADS', '2'), ('OPENBLAS_NUM_THREADS', '2')), (), ())
    """
    if not threads or not environ.keys().isdisjoint(VARIABLES):
        return ()
    return tuple((name, str(threads)) for name in VARIABLES)


def environ(at_once: int) -> dict[str, str]:
    """This process's environment for workers that run so many tasks at once: the cores are shared among them."""
    return {**os.environ, **dict(setting(max(1, machine.whole_cores() // at_once), os.environ))}


def limited(env: Iterable[tuple[str, str]]) -> AbstractContextManager[Any]:
    """Holds libraries that are loaded to the number that a task's variables say, if they say one."""
    asked = next((text for name, text in env if name in VARIABLES), "")
    if not asked.isdecimal() or not any(name in sys.modules for name in _LOADED):
        return nullcontext()
    return _limited(int(asked))


@contextmanager
def _limited(threads: int) -> Iterator[None]:
    try:
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
    except ImportError:
        yield
        return
    with threadpool_limits(limits=threads):
        yield
