"""Ports of a cluster's services on this machine, through the kubernetes client; `connecting` and deploy use it.

Each connection to the local port becomes a websocket of its own to a ready pod of the service, as
`kubectl port-forward` does it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from grandpa_kfp_runtime.errors import DeployError

from . import answers

_TIMEOUT_S = (5, 20)
_CHUNK = 65536


class Cluster:
    """A Kubernetes cluster by its API server."""

    def __init__(self, configuration: Any) -> None:
        from kubernetes import client

        self._configuration = configuration
        self._api = client.CoreV1Api(client.ApiClient(configuration))
        self.host = answers.public_url(configuration.host)

    @classmethod
    def of_kubeconfig(cls, context: str = "", environ: Mapping[str, str] = os.environ) -> Cluster | None:
        """The kubeconfig's cluster, None where there is no kubeconfig. Raises DeployError for a wrong one."""
        files = [Path(item) for item in environ.get("KUBECONFIG", "").split(os.pathsep) if item]
        files = files or [Path(environ.get("HOME") or Path.home()) / ".kube" / "config"]
        present = [str(file) for file in files if file.is_file()]
        if not present:
            if context:
                raise DeployError(f"context {context}: there is no kubeconfig ({', '.join(map(str, files))})")
            return None
        try:
            from kubernetes import client, config
        except ImportError:
            raise DeployError("kubernetes is not installed: pip install 'grandpa-kfp[deploy]'") from None
        name = os.pathsep.join(present)
        configuration = client.Configuration()
        try:
            config.load_kube_config(name, context=context or None, client_configuration=configuration)
        except config.ConfigException as error:
            raise DeployError(_context_fault(config, name, context, error)) from None
        except Exception as error:  # the reader trusts the file; its errors may quote lines that hold keys
            told = f"the kubeconfig {name} cannot be used: it is not of the form of one ({type(error).__name__})"
            raise DeployError(told) from None
        configuration.retries = False
        return cls(configuration)

    def forward(self, namespace: str, service: str, port: int) -> Tunnel:
        """A local port that leads to a service's. Raises DeployError where the service has no ready pod."""
        from kubernetes import client

        pod, target = self._pod_of(namespace, service, port)
        own = client.CoreV1Api(client.ApiClient(self._configuration))
        return Tunnel(own, namespace, pod, target, f"{service}.{namespace}:{port}")

    def secret(self, namespace: str, name: str) -> dict[str, str]:
        """The texts of a Kubernetes secret. Raises DeployError."""
        from base64 import b64decode

        found = self._ask(
            f"read the secret {name}", lambda: self._api.read_namespaced_secret(name, namespace, **_OPTIONS)
        )
        return {key: b64decode(value).decode("utf-8", "replace") for key, value in (found.data or {}).items()}

    def _pod_of(self, namespace: str, name: str, port: int) -> tuple[str, int]:
        what = f"find the service {name} in namespace {namespace}"
        service = self._ask(what, lambda: self._api.read_namespaced_service(name, namespace, **_OPTIONS))
        selector = ",".join(f"{key}={value}" for key, value in sorted((service.spec.selector or {}).items()))
        pods = self._ask(
            f"list the pods of {name}",
            lambda: self._api.list_namespaced_pod(namespace, label_selector=selector, **_OPTIONS),
        ).items
        ready = [pod for pod in pods if _is_ready(pod)] if selector else []
        if not ready:
            raise DeployError(
                f"the service {name} in namespace {namespace} of {self.host} has no pod that is ready "
                f"({len(pods)} are not): kubectl get pods -n {namespace}"
            )
        pod = min(ready, key=lambda item: str(item.metadata.name))
        return pod.metadata.name, _target_port(service, pod, port)

    def _ask(self, what: str, ask: Any) -> Any:
        from kubernetes.client.exceptions import ApiException

        try:
            return ask()
        except ApiException as error:
            if error.status:
                raise answers.refused(what, f"the cluster {self.host}", error.status, error.body or "") from None
            told = answers.broken(what, f"the cluster {self.host}", error)
        except Exception as error:
            told = answers.broken(what, f"the cluster {self.host}", error)
            if told is None:
                raise
        raise told or DeployError(f"cannot {what}: the cluster {self.host} does not answer") from None


_OPTIONS = {"_request_timeout": _TIMEOUT_S}


def _context_fault(config: Any, name: str, context: str, error: Exception) -> str:
    try:
        known = [str(item["name"]) for item in config.list_kube_config_contexts(name)[0]]
    except (config.ConfigException, KeyError, TypeError):
        known = []
    if context and known and context not in known:
        return f"the kubeconfig {name} has no context {context}; it has {', '.join(known)}"
    return f"the kubeconfig {name} cannot be used: {error}"


def _is_ready(pod: Any) -> bool:
    conditions = pod.status.conditions or []
    ready = any(item.type == "Ready" and item.status == "True" for item in conditions)
    return bool(ready and pod.metadata.deletion_timestamp is None)


def _target_port(service: Any, pod: Any, port: int) -> int:
    """The pod's port behind a service's, which may be told by its name."""
    wanted = next((item.target_port for item in service.spec.ports or () if item.port == port), None)
    if wanted is None:
        known = ", ".join(str(item.port) for item in service.spec.ports or ())
        raise DeployError(f"the service {service.metadata.name} has no port {port}; it has {known}")
    if isinstance(wanted, int) or str(wanted).isdigit():
        return int(wanted)
    ports = (item for container in pod.spec.containers for item in container.ports or ())
    found = next((item.container_port for item in ports if item.name == wanted), None)
    if found is None:
        raise DeployError(f"the pod {pod.metadata.name} has no port of the name {wanted}")
    return int(found)


class Tunnel:
    """A listening port on 127.0.0.1, a free one, that leads to a port of a pod until it is closed."""

    def __init__(self, api: Any, namespace: str, pod: str, port: int, name: str) -> None:
        self._api, self._namespace, self._pod, self._port = api, namespace, pod, port
        self.name = name
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._dialling = threading.Lock()  # the kubernetes client swaps a method of its own while it opens a websocket
        self._closed = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.local_port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, name=f"grandpa-forward-{name}", daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.local_port}"

    def close(self) -> None:
        """Ends every connection and gives the port back."""
        with self._lock:
            self._closed = True
            ends = [self._listener, *self._open]
        for end in ends:
            _hang_up(end)

    def _accept(self) -> None:
        while True:
            try:
                local, _ = self._listener.accept()
            except OSError:
                return  # closed
            threading.Thread(
                target=self._carry, args=(local,), name=f"grandpa-forward-{self.name}", daemon=True
            ).start()

    def _carry(self, local: socket.socket) -> None:
        """One connection, both ways, until either end hangs up. A pod that has gone is seen as a hang-up."""
        remote = None
        try:
            remote = self._to_pod()
            with self._lock:
                if self._closed or remote is None:
                    return
                self._open |= {local, remote}
            back = threading.Thread(
                target=_copy, args=(remote, local), name=f"grandpa-forward-{self.name}-back", daemon=True
            )
            back.start()
            _copy(local, remote)
            back.join()
        finally:
            for end in (local, remote):
                if end is not None:
                    _hang_up(end)
            with self._lock:
                self._open -= {local, remote}

    def _to_pod(self) -> Any:
        from kubernetes.client.exceptions import ApiException
        from kubernetes.stream import portforward

        try:
            with self._dialling:
                opened = portforward(
                    self._api.connect_get_namespaced_pod_portforward, self._pod, self._namespace, ports=str(self._port)
                )
        except (ApiException, OSError):
            return None  # the caller hangs up, and who connected reads that the server does not answer
        return opened.socket(self._port)


def _copy(source: Any, target: Any) -> None:
    """All bytes of one end to the other, then the end of them."""
    if source is None or target is None:
        return
    try:
        while data := source.recv(_CHUNK):
            target.sendall(data)
    except OSError:
        return  # an end has hung up
    finally:
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)


def _hang_up(end: Any) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    with contextlib.suppress(OSError):
        end.close()
