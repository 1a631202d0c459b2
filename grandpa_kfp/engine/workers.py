"""From what a user asks for (`processes=4`, `memory="4Gi"`) to a crew of worker processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from grandpa_kfp_runtime.errors import ParameterError

from .machine import whole_cores

if TYPE_CHECKING:
    from .processes.crew import Crew

AUTO = "auto"


def workers(processes: int | str, threads: int | None, memory: str | int | None) -> Crew | None:
    """The crew that is asked for, none of it started; None where tasks are to run in this process.

    It ends at the latest with the last reference to it, or with the program.
    Raises ParameterError for numbers that cannot be.

    >>> workers(0, 4, None) is None
    True
    """
    count = whole_cores() if processes == AUTO else processes
    _check("processes", count, 0, f" or {AUTO!r}")
    if threads is not None:
        _check("threads", threads, 1)
    limit_bytes = None if memory is None else _bytes(memory)
    if not count:
        return None
    from .processes.crew import Crew

    assert isinstance(count, int)
    return Crew(count, threads or 1, limit_bytes)


@contextmanager
def own_or_given(processes: int | str | Crew, threads: int | None, memory: str | int | None) -> Iterator[Crew | None]:
    """A crew for one run, ended with it; or the one that is given, which stays."""
    if not isinstance(processes, int | str):
        yield processes
        return
    crew = workers(processes, threads, memory)
    try:
        yield crew
    finally:
        if crew is not None:
            crew.close()


def _check(name: str, value: object, least: int, more: str = "") -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ParameterError(f"{name} must be a whole number of at least {least}{more}, but is {value!r}")


def _bytes(memory: str | int) -> int:
    from grandpa_kfp_compiler.kfp.emit import gigabytes

    size = memory if isinstance(memory, int) else int((gigabytes(memory) or 0) * 1e9)
    if isinstance(memory, bool) or size <= 0:
        raise ParameterError(f"memory must be a number of bytes above 0, or a text such as '4Gi', but is {memory!r}")
    return size
