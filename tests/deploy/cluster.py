"""A Kubernetes API server for tests: services, pods, secrets, and port-forwarding over real websockets.

It speaks what the kubernetes client asks for: `v4.channel.k8s.io`, two channels a port, the port's number first.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class ClusterServer:
    """Knows one namespace with services, each with one pod whose port leads to a port of this machine."""

    def __init__(self, namespace: str = "kubeflow", token: str = "k8s-5ecret") -> None:
        self.namespace, self.token = namespace, token
        self.services: dict[str, tuple[int, int]] = {}  # service: its port, the real port behind it
        self.ready = True
        self.secrets: dict[str, dict[str, str]] = {}
        self.forwarded = 0
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.http.daemon_threads = True
        self._thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self._thread.join()

    def kubeconfig(self, path: Path) -> Path:
        url = f"http://127.0.0.1:{self.http.server_address[1]}"
        path.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [{"name": "c", "cluster": {"server": url}}],
                    "users": [{"name": "u", "user": {"token": self.token}}],
                    "contexts": [{"name": "test", "context": {"cluster": "c", "user": "u"}}],
                    "current-context": "test",
                }
            )
        )
        return path

    def answer(self, path: str) -> tuple[int, Any]:
        base = f"/api/v1/namespaces/{self.namespace}"
        if found := re.fullmatch(f"{base}/services/(.+)", path):
            if found[1] not in self.services:
                return 404, {"kind": "Status", "message": f'services "{found[1]}" not found', "code": 404}
            ports = [{"port": self.services[found[1]][0], "targetPort": "http"}]
            return 200, {"metadata": {"name": found[1]}, "spec": {"selector": {"app": found[1]}, "ports": ports}}
        if path == f"{base}/pods":
            return 200, {"items": [self._pod(name) for name in self.services]}
        if found := re.fullmatch(f"{base}/secrets/(.+)", path):
            data = {key: base64.b64encode(value.encode()).decode() for key, value in self.secrets[found[1]].items()}
            return 200, {"metadata": {"name": found[1]}, "data": data}
        return 404, {"kind": "Status", "message": "not found", "code": 404}

    def _pod(self, name: str) -> dict[str, Any]:
        ready = {"type": "Ready", "status": "True" if self.ready else "False"}
        ports = [{"name": "http", "containerPort": self.services[name][1]}]
        return {
            "metadata": {"name": f"{name}-0", "labels": {"app": name}},
            "spec": {"containers": [{"name": "main", "ports": ports}]},
            "status": {"conditions": [ready]},
        }


def _handler(cluster: ClusterServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing to say."""

        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            if self.headers.get("Authorization") != f"Bearer {cluster.token}":
                self._json(401, {"kind": "Status", "message": "Unauthorized", "code": 401})
            elif path.endswith("/portforward"):
                self._forward(int(query.partition("ports=")[2]))
            else:
                status, data = cluster.answer(path)
                if path.endswith("/pods") and (wanted := re.search(r"labelSelector=app%3D([\w-]+)", query)):
                    data["items"] = [item for item in data["items"] if item["metadata"]["labels"]["app"] == wanted[1]]
                self._json(status, data)

        def _json(self, status: int, data: Any) -> None:
            body = json.dumps(data).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _forward(self, port: int) -> None:
            cluster.forwarded += 1
            key = self.headers["Sec-WebSocket-Key"].encode()
            accept = base64.b64encode(hashlib.sha1(key + _MAGIC).digest()).decode()
            self.send_response(101)
            for name, value in (("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", accept),
                                ("Sec-WebSocket-Protocol", "v4.channel.k8s.io")):  # fmt: skip
                self.send_header(name, value)
            self.end_headers()
            self.close_connection = True
            with socket.create_connection(("127.0.0.1", port)) as target:
                for channel in (0, 1):
                    self._frame(bytes([channel]) + struct.pack("<H", port))
                back = threading.Thread(target=self._back, args=(target,), daemon=True)
                back.start()
                self._there(target)
                target.close()
                back.join(5)

        def _there(self, target: socket.socket) -> None:
            while True:
                head = self.rfile.read(2)
                if len(head) < 2 or head[0] & 15 == 8:
                    return
                size = head[1] & 127
                if size > 125:
                    wide = 2 if size == 126 else 8
                    size = int.from_bytes(self.rfile.read(wide), "big")
                mask = self.rfile.read(4) if head[1] & 128 else bytes(4)
                data = bytes(byte ^ mask[at % 4] for at, byte in enumerate(self.rfile.read(size)))
                if data[:1] == b"\0":
                    try:
                        target.sendall(data[1:])
                    except OSError:
                        return

        def _back(self, target: socket.socket) -> None:
            try:
                while data := target.recv(30_000):
                    self._frame(b"\0" + data)
            except OSError:
                return  # either end has gone

        def _frame(self, data: bytes) -> None:
            size = len(data)
            head = bytes([130, size]) if size < 126 else bytes([130, 126]) + struct.pack(">H", size)
            self.wfile.write(head + data)
            self.wfile.flush()

    return Handler
