"""A stand-in for a server that is not on this machine: each connection gets so many bytes a second, like S3's do.

    python benchmarks/link.py TARGET_PORT BYTES_PER_S

A process of its own, so that it takes no turn from the client's; prints the port it listens on. Latency and the
rate of all connections together are as they are here.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time

CHUNK_BYTES = 64 * 1024
BURST_S = 0.01  # what an idle connection may catch up


def carry(source: socket.socket, target: socket.socket, rate: float) -> None:
    """Bytes one way until that end is closed, then closes the other."""
    buffer = memoryview(bytearray(CHUNK_BYTES))
    due = time.monotonic()
    with contextlib.suppress(OSError):
        while count := source.recv_into(buffer):
            target.sendall(buffer[:count])
            now = time.monotonic()
            due = max(due, now - BURST_S) + count / rate
            if due > now:
                time.sleep(due - now)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def main() -> None:
    port, rate = int(sys.argv[1]), float(sys.argv[2])
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    while True:
        client, _ = listener.accept()
        server = socket.create_connection(("127.0.0.1", port))
        for source, target in ((client, server), (server, client)):
            source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=carry, args=(source, target, rate), daemon=True).start()


if __name__ == "__main__":
    main()
