"""The store of a deployed pipeline, as it can be reached from this machine.

Tasks reach it by the cluster's own name of it, which often means nothing here. Then either the user says
how it is reached from here, or a port is forwarded to its service; and where the environment holds no
credentials, those of the Kubernetes secret are used, which the tasks use too.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from grandpa_kfp_runtime.contract import ENV_ACCESS_KEY, ENV_SECRET_KEY
from grandpa_kfp_runtime.errors import DeployError, StoreError
from grandpa_kfp_runtime.stores import Store, open_store

from .connecting import Address, in_cluster
from .forward import Cluster

ENV_STORE_HERE = "GRANDPA_STORE_HERE"
_KEYS = ((ENV_ACCESS_KEY, ENV_SECRET_KEY), ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"))


@dataclass(slots=True)
class Reached:
    """store: None where it cannot be opened, and then `why`. close: ends a forwarded port."""

    store: Store | None
    why: str = ""
    close: Callable[[], None] = lambda: None


def reach_store(
    uri: str,
    *,
    here: str = "",
    secret: str = "",
    address: Address | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Reached:
    """Opens the store that tasks know by `uri`. here: its URI from this machine, else GRANDPA_STORE_HERE."""
    address = address or Address()
    here = here or environ.get(ENV_STORE_HERE, "")
    try:
        if here or not uri.startswith("s3:"):
            return Reached(open_store(here or uri))
        place = _service(uri)
        cluster = None if place is None or in_cluster(environ) else Cluster.of_kubeconfig(address.context, environ)
        if place is None or cluster is None:
            return Reached(open_store(uri))
        return _through(cluster, uri, place, secret, environ)
    except (StoreError, DeployError) as error:
        return Reached(None, str(error))


def _service(uri: str) -> tuple[str, str, int] | None:
    """Service, namespace and port, where the endpoint is a name of the cluster that is unknown here."""
    endpoint = urlsplit(parse_qs(urlsplit(uri).query).get("endpoint", [""])[0])
    host, port = endpoint.hostname or "", endpoint.port or (443 if endpoint.scheme == "https" else 80)
    labels = host.split(".")
    if len(labels) < 2 or (len(labels) > 2 and labels[2] != "svc") or endpoint.scheme != "http":
        return None
    try:
        socket.getaddrinfo(host, port)
    except OSError:
        return labels[0], labels[1], port
    return None


def _through(
    cluster: Cluster, uri: str, place: tuple[str, str, int], secret: str, environ: Mapping[str, str]
) -> Reached:
    from grandpa_kfp_runtime.stores.s3 import S3Store

    service, namespace, port = place
    env = dict(environ)
    if secret and not any(env.get(one) and env.get(two) for one, two in _KEYS):
        texts = cluster.secret(namespace, secret)
        env[ENV_ACCESS_KEY], env[ENV_SECRET_KEY] = texts.get("accesskey", ""), texts.get("secretkey", "")
    tunnel = cluster.forward(namespace, service, port)
    endpoint = parse_qs(urlsplit(uri).query)["endpoint"][0]
    try:
        return Reached(S3Store.from_uri(uri.replace(endpoint, tunnel.url), env), close=tunnel.close)
    except StoreError:
        tunnel.close()
        raise
