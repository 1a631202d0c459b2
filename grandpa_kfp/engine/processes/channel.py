"""Messages between the parent and a worker: pickled tuples over a socket, descriptors beside them.

Both ends trust each other: they are one program. The parent never waits for a worker, the worker waits
for the parent only while it writes.
"""

from __future__ import annotations

import array
import os
import pickle
import socket
import struct
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

Message: TypeAlias = "tuple[Any, ...]"

MOST_DESCRIPTORS = 200
"""A message carries so many at most; the kernel's own limit is 253."""
_HEAD = struct.Struct("<QI")  # bytes of the body, descriptors that belong to it
_READ_BYTES = 1 << 18
_CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
_ROOM = socket.CMSG_SPACE(256 * array.array("i").itemsize)


class Closed(Exception):
    """The other end is gone."""


class Incoming:
    """Bytes that have arrived, taken apart into messages."""

    __slots__ = ("_data", "_descriptors", "_socket")

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._data = bytearray()
        self._descriptors: deque[int] = deque()

    def read(self) -> list[tuple[Message, list[int]]]:
        """The messages that are complete after one read, each with its descriptors. Raises Closed."""
        try:
            data, ancillary, _, _ = self._socket.recvmsg(_READ_BYTES, _ROOM, _CLOEXEC)
        except BlockingIOError:
            return []
        except (ConnectionError, OSError) as error:
            raise Closed from error
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                found = array.array("i")
                found.frombytes(content[: len(content) - len(content) % found.itemsize])
                self._descriptors.extend(found)
        if not data:
            raise Closed
        self._data += data
        return self._complete()

    def close(self) -> None:
        _close(self._descriptors)
        self._descriptors.clear()

    def _complete(self) -> list[tuple[Message, list[int]]]:
        messages = []
        at, data = 0, self._data
        while len(data) - at >= _HEAD.size:
            size, count = _HEAD.unpack_from(data, at)
            end = at + _HEAD.size + size
            if len(data) < end:
                break
            with memoryview(data)[at + _HEAD.size : end] as body:
                message = pickle.loads(body)
            messages.append((message, [self._descriptors.popleft() for _ in range(count)]))
            at = end
        del data[:at]
        return messages


def _packed(message: Message, descriptors: int) -> bytes:
    body = pickle.dumps(message, 5)
    return _HEAD.pack(len(body), descriptors) + body


class Outgoing:
    """The parent's side: what cannot be written at once waits here, in order."""

    __slots__ = ("_socket", "_waiting")

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._waiting: deque[tuple[memoryview, list[int]]] = deque()

    def send(self, message: Message, descriptors: Sequence[int] = ()) -> bool:
        """Takes the message; whether all is written. The caller keeps its descriptors, and may close them."""
        own = [os.dup(descriptor) for descriptor in descriptors]
        self._waiting.append((memoryview(_packed(message, len(own))), own))
        return self.flush()

    def flush(self) -> bool:
        """Writes what the socket takes; whether nothing waits any more. A worker that is gone takes everything."""
        while self._waiting:
            data, descriptors = self._waiting[0]
            try:
                some = descriptors
                sent = socket.send_fds(self._socket, [data], some) if some else self._socket.send(data)
            except BlockingIOError:
                return False
            except OSError:  # its end is heard of by reading
                self.close()
                return True
            _close(descriptors)
            if sent == len(data):
                self._waiting.popleft()
            else:
                self._waiting[0] = (data[sent:], [])
        return True

    def close(self) -> None:
        for _, descriptors in self._waiting:
            _close(descriptors)
        self._waiting.clear()


def _close(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


class Voice:
    """The worker's side: any of its threads may speak."""

    __slots__ = ("_lock", "_socket")

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._lock = threading.Lock()

    def say(self, message: Message) -> None:
        data = _packed(message, 0)
        with self._lock, suppress(ConnectionError):  # the thread that listens sees to it that this process ends
            self._socket.sendall(data)
