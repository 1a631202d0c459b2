"""Shares this process's objects with others on this machine: a Unix socket in a folder of the user's own.

Started with the first object that leaves the process, ended with the last of them. The folder can be entered
by its owner alone, and nothing but its name travels. It is gone when the process is: a watcher, started
along, removes it when the pipe between them closes, whatever ended the process.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import pickle
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from grandpa_kfp_runtime.errors import GrandpaError, TaskError

from .cores import Core, Outcome, Request

SOCKET = "socket"
CANCEL = b"cancel"

_LONGEST_PATH_BYTES = 100  # of a socket's name; systems allow 104 or 108
_WATCH = """
import os, sys
sys.stdin.buffer.read()
for name in os.listdir(sys.argv[1]):
    os.unlink(os.path.join(sys.argv[1], name))
os.rmdir(sys.argv[1])
"""


class Server:
    """One socket and whoever is connected to it. find: the core of an object's id, None where it is gone."""

    def __init__(self, find: Callable[[str], Core | None]) -> None:
        self._find = find
        self._lock = threading.Lock()
        self._connections: dict[Connection[Any, Any], str] = {}
        self._used: dict[str, set[Core]] = {}  # by client
        self._closing = False
        self.pid = os.getpid()
        self.folder = _folder()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(str(self.folder / SOCKET))
        self._socket.listen(128)
        command = [sys.executable, "-I", "-S", "-c", _WATCH, str(self.folder)]
        none = subprocess.DEVNULL
        self._watcher = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=none, stderr=none, start_new_session=True, cwd="/"
        )
        self._accepting = threading.Thread(target=self._accept, name="grandpa-sync", daemon=True)
        self._accepting.start()
        atexit.register(self.close)

    def close(self) -> None:
        """Ends every connection; whoever waits at the other end is told. Leaves nothing behind."""
        if self.pid != os.getpid():  # a child that was forked
            return
        with self._lock:
            if self._closing:
                return
            self._closing = True
            connections = list(self._connections)
        atexit.unregister(self.close)
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as waker:
            waker.connect(str(self.folder / SOCKET))  # nothing else ends a waiting accept() on every system
        self._accepting.join()
        self._socket.close()
        for connection in connections:
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as same:
                same.shutdown(socket.SHUT_RDWR)
        shutil.rmtree(self.folder, ignore_errors=True)
        assert self._watcher.stdin is not None
        self._watcher.stdin.close()
        self._watcher.wait()

    @property
    def closed(self) -> bool:
        return self._closing

    def leave_to_parent(self) -> None:
        """In a child that was forked: holds nothing open that would keep others waiting for the parent."""
        self._socket.close()
        for connection in self._connections:
            connection.close()
        self._connections.clear()
        assert self._watcher.stdin is not None
        self._watcher.stdin.close()
        self._watcher.returncode = 0  # not this process's child, so not its to wait for

    def _accept(self) -> None:
        while True:
            accepted, _ = self._socket.accept()
            with self._lock:
                if self._closing:
                    accepted.close()
                    return
                connection: Connection[Any, Any] = Connection(accepted.detach())
                self._connections[connection] = ""
            name = "grandpa-sync-client"
            threading.Thread(target=self._serve, args=(connection,), name=name, daemon=True).start()

    def _serve(self, connection: Connection[Any, Any]) -> None:
        """Reads what one connection asks for until it ends; a request may wait meanwhile."""
        client = ""
        under_way: list[tuple[Core, Request]] = []
        try:
            client = connection.recv_bytes().decode()
            with self._lock:
                self._connections[connection] = client
            while True:
                message = connection.recv_bytes()
                if message != CANCEL:
                    under_way[:] = self._begin(connection, client, pickle.loads(message))
                elif under_way:
                    under_way[0][0].cancel(under_way[0][1])
        except (EOFError, OSError):  # the other end has closed, or its process has ended
            for core, request in under_way:
                core.drop(request)
        finally:
            self._ended(connection, client)

    def _begin(
        self, connection: Connection[Any, Any], client: str, asked: tuple[str, str, tuple[Any, ...], bool]
    ) -> list[tuple[Core, Request]]:
        ident, operation, args, wait = asked
        core = self._find(ident)
        if core is None:
            connection.send_bytes(pickle.dumps((False, TaskError("the object is gone: nobody holds it any more"))))
            return []
        with self._lock:
            self._used.setdefault(client, set()).add(core)

        def answer(outcome: Outcome) -> None:
            try:
                connection.send_bytes(pickle.dumps(outcome))
            except OSError:
                core.undo(request, outcome)

        request = Request(operation, args, wait, client, answer)
        core.ask(request)
        return [(core, request)]

    def _ended(self, connection: Connection[Any, Any], client: str) -> None:
        with self._lock:
            del self._connections[connection]
            left = client in self._connections.values()
            used = set() if left else self._used.pop(client, set())
        connection.close()
        for core in used:
            core.lost(client)


def _folder() -> Path:
    """A new folder that nobody else can enter, its name short enough for a socket in it."""
    for parent in (None, "/tmp"):
        folder = Path(tempfile.mkdtemp(prefix="grandpa-sync-", dir=parent))
        if len(os.fsencode(folder / SOCKET)) <= _LONGEST_PATH_BYTES:
            return folder
        folder.rmdir()
    raise GrandpaError(f"no folder for a socket: the name of {tempfile.gettempdir()} is too long; set TMPDIR")
