"""What uploads and downloads share: pieces of an object, worked on side by side."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from .keys import cut
from .s3_bucket import CONNECTIONS

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_PIECE_BYTES = 256 * 1024  # a socket's timeout counts for each piece, so that a slow network is not an error
_SMALL_BYTES = 16 * 1024


@contextmanager
def side_by_side(
    act: Callable[[_Item], _Result], items: Iterable[_Item], stop: threading.Event
) -> Iterator[Iterator[_Result]]:
    """Begins all of them on a few threads and gives their results in order. At the end nothing is left running.

    Where the block fails, `stop` is set, what has not begun never does, and what waits gives up.
    """
    pool = ThreadPoolExecutor(CONNECTIONS, "grandpa-s3")
    try:
        yield pool.map(act, items)
    except BaseException:
        stop.set()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def pieces(data: Sequence[memoryview], start: int, end: int) -> list[memoryview]:
    """The bytes from `start` to `end` of buffers that follow each other, in pieces to be sent one by one.

    Large buffers are not copied; many tiny ones become one piece, as each costs a call into the system.

    >>> [bytes(piece) for piece in pieces([memoryview(b"abc"), memoryview(b"defg")], 2, 6)]
    [b'cdef']
    """
    made: list[memoryview] = []
    small: list[memoryview] = []
    waiting = 0
    for piece in _slices(data, start, end):
        tiny = len(piece) < _SMALL_BYTES
        if small and (not tiny or waiting >= _PIECE_BYTES):
            made.append(memoryview(b"".join(small)))
            small, waiting = [], 0
        if tiny:
            small.append(piece)
            waiting += len(piece)
        else:
            made.append(piece)
    return [*made, memoryview(b"".join(small))] if small else made


def _slices(data: Sequence[memoryview], start: int, end: int) -> Iterator[memoryview]:
    for part in cut(data, start, end):
        for here in range(0, len(part), _PIECE_BYTES):
            yield part[here : here + _PIECE_BYTES]
