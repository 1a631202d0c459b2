"""The way into one bucket: the MinIO client, its connections and credentials, and requests that it has no method for.

The MinIO client looks at objects, reads and lists them. Its `put_object` copies every part, hashes it twice and
takes no conditions, so what writes is sent from here, signed by the same client's signer.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import SplitResult, parse_qs, quote, urlencode, urlsplit, urlunsplit

from ..contract import ENV_ACCESS_KEY, ENV_SECRET_KEY, ENV_SESSION_TOKEN
from ..errors import StoreDenied, StoreError
from .s3_errors import MISSING, Refused, code_of, no_bucket
from .s3_patience import Patience

if TYPE_CHECKING:
    import urllib3
    from minio import Minio
    from minio.credentials.providers import Provider

CONNECTIONS = 8
"""Requests of one object that are under way side by side: a connection to a far server is slower than the network."""
UNSIGNED = "UNSIGNED-PAYLOAD"
_CONNECT_TIMEOUT_S = 5.0  # also the longest that a server may take to accept one piece of a body

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Address:
    """Where the bucket's objects are: `http://host:port/bucket/` or `https://bucket.host/`."""

    url: SplitResult
    region: str


class Bucket:
    """One bucket of one server, and how long to wait for it."""

    def __init__(
        self, name: str, client: Minio, http: urllib3.PoolManager, provider: Provider, patience: Patience
    ) -> None:
        self.name = name
        self.where = patience.where
        self.client = client
        self.patience = patience
        self._http = http
        self._provider = provider
        self._address: Address | None = None
        self._exists = False

    def call(self, act: Callable[[], _Result], stop: threading.Event | None = None) -> _Result:
        return self.patience.repeat(act, stop)

    def size(self, name: str) -> int | None:
        """The object's bytes, None where it is not."""
        found = self.stat(name)
        return None if found is None else found[0]

    def stat(self, name: str) -> tuple[int, float] | None:
        """The object's bytes, and seconds since the epoch when it was written; None where it is not."""
        try:
            found = self.call(partial(self.client.stat_object, bucket_name=self.name, object_name=name))
        except Exception as error:
            if code_of(error) in MISSING:
                return None
            raise
        return int(found.size or 0), found.last_modified.timestamp() if found.last_modified else 0.0

    def check_exists(self) -> None:
        """Raises StoreError where the bucket is not there: looking at an object in it does not tell."""
        if self._exists:
            return
        try:
            self._exists = self.call(partial(self.client.bucket_exists, bucket_name=self.name))
        except Exception as error:
            if code_of(error) != "AccessDenied":  # a right to objects alone: whoever reads or writes one will see
                raise
            self._exists = True
        if not self._exists:
            raise no_bucket(self.where)

    def send(
        self,
        method: str,
        name: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Sequence[memoryview] = (),
        sha256: str = UNSIGNED,
    ) -> Any:
        """One request, signed, its body sent from where it lies. Raises Refused for an answer that is no success.

        sha256: hex; the server refuses a body with another one.
        """
        from minio.signer import sign_v4_s3
        from minio.time import to_amz_date, utcnow

        address = self._address = self._address or self._find()
        credentials, date = self._provider.retrieve(), utcnow()
        url = address.url._replace(
            path=address.url.path + quote(name), query=urlencode(query or {}, quote_via=quote, safe="")
        )
        signed: dict[str, Any] = {
            **(headers or {}),
            "Host": url.netloc,
            "Content-Length": str(sum(map(len, body))),
            "x-amz-content-sha256": sha256,
            "x-amz-date": to_amz_date(date),
        }
        if credentials.session_token:
            signed["x-amz-security-token"] = credentials.session_token
        sign_v4_s3(
            method=method,
            url=url,
            region=address.region,
            headers=signed,
            credentials=credentials,
            content_sha256=sha256,
            date=date,
        )
        response = self._http.urlopen(method, urlunsplit(url), body=body, headers=signed, redirect=False)
        if response.status not in (200, 204) or b"<Error>" in response.data[:200]:  # 200 comes before it is known
            raise Refused(response)
        return response

    def _find(self) -> Address:
        """The MinIO client knows how servers spell it and asks for the region; a presigned URL shows what it found."""
        shown = urlsplit(self.client.get_presigned_url("GET", self.name, "-"))
        scope = parse_qs(shown.query)["X-Amz-Credential"][0].rsplit("/", 4)  # key/date/region/s3/aws4_request
        return Address(shown._replace(path=shown.path[:-1], query=""), scope[2])


def open_bucket(
    name: str, endpoint: str, region: str, env: Mapping[str, str], patience: Patience, *, read_timeout_s: float
) -> Bucket:
    """Takes the credentials out of `env`, now and never again; connects to nothing yet."""
    try:
        import certifi
        import urllib3
        from minio import Minio
    except ImportError as error:
        raise StoreError("an s3:// store needs the MinIO client: pip install minio") from error
    parts = urlsplit(endpoint or "https://s3.amazonaws.com")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or "@" in parts.netloc:
        shown = "" if "@" in endpoint else f" {endpoint!r}"
        raise StoreError(f"the endpoint{shown} of the store is not http://host:port or https://host")
    http = urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=_CONNECT_TIMEOUT_S, read=read_timeout_s),
        maxsize=4 * CONNECTIONS,
        retries=False,  # Patience repeats, and knows what is worth it
        ca_certs=env.get("SSL_CERT_FILE") or certifi.where(),
    )
    provider = _credentials(env, http)
    try:
        client = Minio(
            endpoint=parts.netloc,
            secure=parts.scheme == "https",
            region=region or None,
            http_client=http,
            credentials=provider,
        )
    except ValueError as error:
        raise StoreError(f"the endpoint {endpoint!r} of the store cannot be used: {error}") from error
    weakref.finalize(client, http.clear)  # closes what connections are left, in whatever order things are collected
    return Bucket(name, client, http, provider, patience)


def _credentials(env: Mapping[str, str], http: Any) -> Provider:
    from minio.credentials.providers import IamAwsProvider, StaticProvider

    for key, secret, token in (
        (ENV_ACCESS_KEY, ENV_SECRET_KEY, ENV_SESSION_TOKEN),
        ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
    ):
        if env.get(key) and env.get(secret):
            return StaticProvider(env[key], env[secret], env.get(token) or None)
    if env.get("AWS_WEB_IDENTITY_TOKEN_FILE") or env.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"):
        return IamAwsProvider(http_client=http)  # a service account's role
    raise StoreDenied(
        f"an s3:// store needs credentials: set {ENV_ACCESS_KEY} and {ENV_SECRET_KEY}, "
        "or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    )
