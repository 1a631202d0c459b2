"""Finds a Kubeflow Pipelines server as kfp.Client does: said, in the environment, in the cluster, by kubeconfig.

Credentials come from the environment or from kfp's own context file, never from a command line:
GRANDPA_KFP_TOKEN, GRANDPA_KFP_COOKIES, and all that kfp.Client reads itself. In a pod the service account's
token for Kubeflow Pipelines is read anew for each request, since the cluster replaces it.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grandpa_kfp_runtime.errors import DeployError

from . import answers
from .forward import Cluster
from .server import Server

ENV_ENDPOINT = "KF_PIPELINES_ENDPOINT"
ENV_UI = "KF_PIPELINES_UI_ENDPOINT"
ENV_TOKEN = "GRANDPA_KFP_TOKEN"
ENV_COOKIES = "GRANDPA_KFP_COOKIES"
ENV_CA = "GRANDPA_KFP_CA"
ENV_TOKEN_FILE = "KF_PIPELINES_SA_TOKEN_PATH"
SERVICE, SERVICE_PORT = "ml-pipeline", 8888
_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_POD_TOKEN = Path("/var/run/secrets/kubeflow/pipelines/token")  # where Kubeflow mounts it, and kfp.Client looks


@dataclass(frozen=True, slots=True)
class Address:
    """What the user says of the server; everything may be left out.

    endpoint: its URL. ui: the URL of its web pages, where it is another. namespace: the user's, on a server
    with several users. system: the namespace that Kubeflow Pipelines runs in. context: the kubeconfig's.
    ca_cert: a file with the certificate's authority; insecure: any certificate is taken.
    """

    endpoint: str = ""
    ui: str = ""
    namespace: str = ""
    system: str = "kubeflow"
    context: str = ""
    ca_cert: str = ""
    insecure: bool = False


def connect(address: Address | None = None, environ: Mapping[str, str] = os.environ) -> Server:
    """The server; nothing is asked of it yet. Close it, since it may hold a forwarded port.

    Raises DeployError where none can be found, or its cluster does not answer.
    """
    address = address or Address()
    endpoint = address.endpoint or environ.get(ENV_ENDPOINT, "")
    ui = address.ui or environ.get(ENV_UI, "")
    if endpoint:
        url = with_scheme(endpoint)
        return Server(_client(url, address, environ), url, ui=ui or url, namespace=address.namespace)
    if in_cluster(environ):
        host = f"http://{SERVICE}.{address.system}.svc.cluster.local:{SERVICE_PORT}"
        namespace = address.namespace or _pod_namespace()
        token = str(_POD_TOKEN) if _POD_TOKEN.is_file() else ""
        return Server(_client(host, address, environ, token), host, ui=ui, namespace=namespace)
    cluster = Cluster.of_kubeconfig(address.context, environ)
    if cluster is None:
        raise DeployError(
            f"no Kubeflow Pipelines server is known: give its URL by --host URL, {ENV_ENDPOINT}, or `endpoint` in "
            "grandpa.toml; or have a kubeconfig, by which a port is forwarded to it"
        )
    tunnel = cluster.forward(address.system, SERVICE, SERVICE_PORT)
    try:
        client = _client(tunnel.url, address, environ)
    except BaseException:
        tunnel.close()
        raise
    return Server(client, tunnel.url, ui=ui, namespace=address.namespace, closing=tunnel.close)


def with_scheme(endpoint: str) -> str:
    """The URL as kfp.Client takes it: https where none is said, http on this machine. Raises DeployError.

    >>> with_scheme("kfp.example/pipeline/"), with_scheme("localhost:8080")
    ('https://kfp.example/pipeline', 'http://localhost:8080')
    """
    from urllib.parse import urlsplit

    if "://" not in endpoint:
        name = endpoint.partition("/")[0].partition(":")[0]
        endpoint = ("http://" if name in ("localhost", "127.0.0.1") else "https://") + endpoint
    try:
        parts = urlsplit(endpoint)
        right = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        right = False
    if not right:
        raise DeployError(f"{answers.public_url(endpoint)!r} is no URL of a server; write it as https://server/path")
    if parts.username or parts.password:
        raise DeployError(
            f"the URL of {parts.hostname} holds a user or password, which would appear in logs; "
            f"leave it out, and put a token into {ENV_TOKEN}"
        )
    return endpoint.split("#")[0].rstrip("/")


def in_cluster(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether this is a pod, by what kubernetes' own clients look at."""
    return bool(environ.get("KUBERNETES_SERVICE_HOST")) and (_SERVICE_ACCOUNT / "token").is_file()


def _pod_namespace() -> str:
    """The pod's namespace, for a server with several users; one with a single user ignores it."""
    try:
        return (_SERVICE_ACCOUNT / "namespace").read_text().strip()
    except OSError:
        return ""


def _client(host: str, address: Address, environ: Mapping[str, str], token_file: str = "") -> Any:
    """A kfp.Client that asks nothing while it is made and repeats nothing by itself."""
    token_file = environ.get(ENV_TOKEN_FILE) or token_file
    if address.insecure:
        import urllib3

        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)  # the user has asked for it
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # kfp says at each start which servers it works with
        client_class = _client_class()
        return client_class(
            host=host,
            namespace=address.system,
            existing_token=environ.get(ENV_TOKEN) or None,
            cookies=environ.get(ENV_COOKIES) or None,
            ssl_ca_cert=_ca_cert(address, environ),
            verify_ssl=False if address.insecure else None,
            credentials=_token_of(token_file) if token_file else None,
        )


def _client_class() -> Callable[..., Any]:
    try:
        import kfp
        import kfp_server_api
        import urllib3
    except ImportError as error:
        raise DeployError(
            f"{error.name or 'kfp'} is not installed, and deploying needs it: pip install 'grandpa-kfp[deploy]'"
        ) from None

    class Client(kfp.Client):  # type: ignore[misc]
        def _load_config(self, *args: Any, **options: Any) -> Any:
            config = super()._load_config(*args, **options)
            config.retries = urllib3.Retry(connect=0, read=0, status=0, other=0, redirect=4)
            return config

        def get_kfp_healthz(self, sleep_duration: int = 5) -> Any:
            """The constructor asks, with 25 s of patience and tracebacks in the log; `Server.health` asks instead."""
            return kfp_server_api.V2beta1GetHealthzResponse(multi_user=False)

    return Client


def _token_of(file: str) -> Any:
    from kfp.client import ServiceAccountTokenVolumeCredentials

    if not Path(file).is_file():  # kfp would ask without a token, and log why
        raise DeployError(f"the service account's token {file} ({ENV_TOKEN_FILE}) is not there")
    return ServiceAccountTokenVolumeCredentials(path=file)


def _ca_cert(address: Address, environ: Mapping[str, str]) -> str | None:
    """The authority's certificates; what was said for this alone must be there."""
    said = address.ca_cert or environ.get(ENV_CA, "")
    if said and not Path(said).is_file():
        raise DeployError(f"the certificate file {said} ({'--ca-cert' if address.ca_cert else ENV_CA}) is not there")
    return said or environ.get("SSL_CERT_FILE") or None
