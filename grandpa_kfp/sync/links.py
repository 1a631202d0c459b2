"""Asks another process's shared objects: one connection for each request under way, kept for the next."""

from __future__ import annotations

import os
import pickle
import socket
import threading
import uuid
from multiprocessing.connection import Connection
from typing import Any

from grandpa_kfp_runtime.errors import TaskError

from .serving import CANCEL, SOCKET

_lock = threading.Lock()
_idle: dict[str, list[Connection[Any, Any]]] = {}
_client = uuid.uuid4().hex


def ask(
    folder: str, ident: str, operation: str, args: tuple[Any, ...], wait: bool, timeout_s: float | None, shown: str
) -> Any:
    """The answer of the object's owner. Raises what the operation raises, TaskError where the owner has ended."""
    connection = None
    try:
        connection = _connection(folder)
        connection.send_bytes(pickle.dumps((ident, operation, args, wait)))
        if wait and timeout_s is not None and not connection.poll(max(0.0, timeout_s)):
            connection.send_bytes(CANCEL)
        fine, value = pickle.loads(connection.recv_bytes())
    except (EOFError, OSError) as error:
        if connection is not None:
            connection.close()
        raise TaskError(f"{shown} cannot be used any more: the process that made it has ended") from error
    except BaseException:  # Ctrl-C in the wait: the owner forgets a request whose connection ends
        if connection is not None:
            connection.close()
        raise
    with _lock:
        _idle.setdefault(folder, []).append(connection)
    if fine:
        return value
    raise value


def _connection(folder: str) -> Connection[Any, Any]:
    with _lock:
        waiting = _idle.get(folder)
        if waiting:
            return waiting.pop()
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.connect(os.path.join(folder, SOCKET))
    except BaseException:
        made.close()
        raise
    connection: Connection[Any, Any] = Connection(made.detach())
    connection.send_bytes(_client.encode())
    return connection


def close_idle() -> None:
    """Closes the connections that nobody uses at the moment."""
    with _lock:
        connections = [connection for waiting in _idle.values() for connection in waiting]
        _idle.clear()
    for connection in connections:
        connection.close()


def _in_child() -> None:
    """After a fork the connections are the parent's: two processes cannot share one."""
    global _lock, _client
    _lock = threading.Lock()
    _client = uuid.uuid4().hex
    close_idle()


os.register_at_fork(after_in_child=_in_child)
