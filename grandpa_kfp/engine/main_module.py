"""A script that runs as `__main__` has a name in its project, by which workers know its classes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from grandpa_kfp_runtime.code.project import main_file, real_name


def main_name() -> str:
    """The running script's name in its project; empty in a notebook, a console or a library's tool."""
    return real_name("__main__") if main_file() is not None else ""


@contextmanager
def main_by_its_name() -> Iterator[None]:
    """What comes from a worker finds the classes of the running script under that name."""
    name = main_name()
    if not name or name in sys.modules:
        yield
        return
    sys.modules[name] = sys.modules["__main__"]
    try:
        yield
    finally:
        sys.modules.pop(name, None)
