"""A store in a bucket of MinIO, SeaweedFS, AWS S3 or whatever speaks S3, through the MinIO client.

    s3://bucket/prefix?endpoint=http://host:port&region=name

Large objects are read by parallel ranges and written in parts; a server shows neither before it is
whole. Waiting is bounded: a server that is not there is an error within seconds.
"""

from __future__ import annotations

import json
import mmap
import os
import re
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from ..contract import ENV_ACCESS_KEY, ENV_SECRET_KEY, ENV_SESSION_TOKEN
from ..errors import ObjectCorrupt, StoreDenied, StoreError, StoreFull, StoreUnavailable
from ..typespec import Json
from ..values.frames import Buffer, reader_of
from .base import OBJECTS, TEMPORARY, Data, buffers_of, check_content, gone, key_of, object_path, record_path

if TYPE_CHECKING:
    from minio import Minio

_RANGE_BYTES = 16 * 1024 * 1024  # one GET asks for so much; larger objects take several, side by side
_READERS = 4
_MAP_FROM_BYTES = 64 * 1024 * 1024  # larger objects are read into a temporary file, not memory
_PART_BYTES = 64 * 1024 * 1024
_MOST_PARTS = 10_000
_TRIES = 3
_CONNECT_TIMEOUT_S = 2.5
_READ_TIMEOUT_S = 30.0

_MISSING = {"NoSuchKey", "404"}  # the latter from servers that do not say it in XML
_DENIED = {
    "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken",
    "AuthorizationHeaderMalformed", "AccountProblem", "AllAccessDisabled",
}  # fmt: skip
_FULL = {
    "XMinioStorageFull",
    "XMinioAdminBucketQuotaExceeded",
    "QuotaExceeded",
    "InsufficientStorage",
    "EntityTooLarge",
}
_UNAVAILABLE = {
    "SlowDown", "SlowDownRead", "SlowDownWrite", "InternalError", "ServiceUnavailable", "XMinioServerNotInitialized",
    "RequestTimeout", "OperationTimedOut", "XMinioInsufficientReadQuorum", "XMinioInsufficientWriteQuorum",
}  # fmt: skip


class S3Store:
    """Objects and records in one bucket, below one prefix. The bucket must exist."""

    def __init__(self, bucket: str, prefix: str, endpoint: str, region: str, client: Minio) -> None:
        self._bucket = bucket
        self._base = f"{prefix}/" if prefix else ""
        self._endpoint = endpoint
        self._region = region
        self._client = client

    @classmethod
    def from_uri(
        cls, uri: str, env: Mapping[str, str] = os.environ, *, read_timeout_s: float = _READ_TIMEOUT_S
    ) -> S3Store:
        """The store of a URI, with the environment's credentials, which are read here and never again."""
        parts = urlsplit(uri)
        if "@" in parts.netloc:
            raise StoreError(
                f"the URI of a store must not hold credentials; set {ENV_ACCESS_KEY} and {ENV_SECRET_KEY} instead"
            )
        options = dict(parse_qsl(parts.query))
        unknown = sorted(set(options) - {"endpoint", "region"})
        if unknown or not parts.netloc or parts.fragment:
            wrong = f"option {', '.join(unknown)} is unknown" if unknown else "the bucket is missing"
            raise StoreError(f"not the URI of a store: {wrong}; write s3://bucket/prefix?endpoint=http://host:port")
        endpoint = options.get("endpoint") or env.get("AWS_ENDPOINT_URL_S3") or env.get("AWS_ENDPOINT_URL") or ""
        region = options.get("region") or env.get("AWS_REGION") or ("us-east-1" if endpoint else "")
        client = _client(endpoint, region, env, read_timeout_s)
        return cls(parts.netloc, unquote(parts.path).strip("/"), endpoint, region, client)

    def __repr__(self) -> str:
        return f"S3Store({self.location!r})"

    @property
    def location(self) -> str:
        options = {"endpoint": self._endpoint, "region": "" if self._region == "us-east-1" else self._region}
        query = urlencode({name: value for name, value in options.items() if value}, safe=":/")
        return f"s3://{self._bucket}/{quote(self._base.rstrip('/'))}{'?' + query if query else ''}"

    def read(self, key: str) -> Buffer:
        path = object_path(key)
        with self._errors():
            data = self._fetch(self._base + path)
        if data is None:
            raise gone(key, self.uri(key))
        check_content(key, data, self.uri(key))
        return data

    def write(self, data: Data) -> str:
        parts = buffers_of(data)
        key = key_of(parts)
        name = self._base + object_path(key)
        size = sum(map(len, parts))
        with self._errors():
            if self._size(name) != size:
                self._put(name, parts, size, "application/octet-stream")
        return key

    def exists(self, key: str) -> bool:
        path = object_path(key)
        with self._errors():
            return self._size(self._base + path) is not None

    def uri(self, key: str) -> str:
        return f"s3://{self._bucket}/{self._base}{object_path(key)}"

    def put_record(self, path: str, record: Json) -> None:
        name = self._base + record_path(path)
        text = json.dumps(record, ensure_ascii=False, indent=1).encode("utf-8", "surrogatepass")
        with self._errors():
            self._put(name, [memoryview(text)], len(text), "application/json")

    def get_record(self, path: str) -> Json:
        name = self._base + record_path(path)
        with self._errors():
            data = self._fetch(name)
        if data is None:
            return None
        try:
            return json.loads(bytes(data).decode("utf-8", "surrogatepass"))
        except ValueError as error:
            raise ObjectCorrupt(f"the record {name} in {self._bucket} is not JSON ({error}); remove it") from error

    def list_records(self, prefix: str = "") -> list[str]:
        with self._errors():
            return sorted(self._names(prefix))

    def _names(self, prefix: str) -> Iterator[str]:
        """Paths of records; the space of objects, which may hold millions, is never listed."""
        whole = "/" in prefix
        found = self._client.list_objects(bucket_name=self._bucket, prefix=self._base + prefix, recursive=whole)
        for item in found:
            path = str(item.object_name)[len(self._base) :]
            if not item.is_dir:
                if "/" in path:
                    yield path
            elif path.rstrip("/") not in (OBJECTS, TEMPORARY):
                yield from self._names(path)

    def _size(self, name: str) -> int | None:
        try:
            return self._client.stat_object(bucket_name=self._bucket, object_name=name).size
        except Exception as error:
            if _code(error) in _MISSING:
                return None
            raise

    def _put(self, name: str, parts: list[memoryview], size: int, kind: str) -> None:
        self._client.put_object(
            bucket_name=self._bucket,
            object_name=name,
            data=reader_of(*parts),
            length=size,
            content_type=kind,
            part_size=max(_PART_BYTES, -(-size // _MOST_PARTS)),
        )

    def _fetch(self, name: str) -> Buffer | None:
        """The whole of it, None where nothing is: the first range tells the size, the others follow side by side."""
        target: bytearray | mmap.mmap | None = None

        def begin(size: int) -> memoryview:
            nonlocal target
            target = _space(size)
            return memoryview(target)

        try:
            size = self._range(name, 0, begin)
        except Exception as error:
            if _code(error) in _MISSING:
                return None
            raise
        if size > _RANGE_BYTES:
            assert target is not None  # begin made it
            starts = range(_RANGE_BYTES, size, _RANGE_BYTES)
            whole = memoryview(target)
            with ThreadPoolExecutor(_READERS, "grandpa-s3") as pool:
                list(pool.map(lambda start: self._range(name, start, lambda _: whole), starts))
        return bytearray() if target is None else target

    def _range(self, name: str, start: int, space: Callable[[int], memoryview]) -> int:
        """Reads up to _RANGE_BYTES from `start` on into their place in the space; returns the object's size."""
        for attempt in range(1, _TRIES + 1):
            try:
                return self._range_once(name, start, space)
            except Exception as error:
                if _code(error) == "InvalidRange":  # an object of no bytes
                    return 0
                if attempt == _TRIES or not _is_interruption(error):
                    raise
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _range_once(self, name: str, start: int, space: Callable[[int], memoryview]) -> int:
        response: Any = None
        try:
            response = self._client.get_object(
                bucket_name=self._bucket, object_name=name, offset=start, length=_RANGE_BYTES
            )
            size = _whole_size(response)
            target = space(size)
            at, end = start, size if response.status == 200 else min(start + _RANGE_BYTES, size)
            if response.status == 200 and start:
                raise StoreError(f"the server at {self._endpoint} answers no ranged reads, which large objects need")
            for chunk in response.stream(1024 * 1024):
                if at + len(chunk) > end:
                    raise StoreError(f"the server at {self._endpoint} sent more than it was asked for")
                target[at : at + len(chunk)] = chunk
                at += len(chunk)
            if at != end:
                raise ConnectionResetError(f"the answer ended {end - at} bytes early")
            return size
        finally:
            if response is not None:
                response.close()
                response.release_conn()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turns the client's errors into this project's; no text of the client's that could hold a secret."""
        try:
            yield
        except StoreError:
            raise
        except Exception as error:
            made = self._explained(_code(error), error)
            if made is None:
                raise
            raise made from error

    def _explained(self, code: str, error: Exception) -> StoreError | None:
        where = f"the store {self._endpoint or 'AWS S3'}, bucket {self._bucket}"
        if code == "NoSuchBucket":
            return StoreError(f"{where}: the bucket does not exist; make it, or name another one with --store")
        if code in ("RequestTimeTooSkewed", "RequestExpired"):
            return StoreDenied(f"{where}: this machine's clock is wrong ({code}); set it")
        if code in _DENIED or code == "403":
            return StoreDenied(
                f"{where}: access denied ({code}); check {ENV_ACCESS_KEY} and {ENV_SECRET_KEY} "
                "(or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY), and the right to read and write this bucket"
            )
        if code in _FULL or code == "507":
            return StoreFull(f"{where}: the store is full ({code}); free some space or raise its quota")
        if code in _UNAVAILABLE or re.fullmatch(r"5\d\d", code) or _is_interruption(error):
            return StoreUnavailable(
                f"{where}: the server does not answer as it should ({code or _cause(error)}); "
                "is it running, and is its address right?"
            )
        if code or isinstance(error, ValueError | OSError):
            return StoreError(f"{where}: {code or error}")
        return None


def _client(endpoint: str, region: str, env: Mapping[str, str], read_timeout_s: float) -> Minio:
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
        maxsize=4 * _READERS,
        retries=urllib3.Retry(
            total=_TRIES,
            connect=1,
            read=1,
            backoff_factor=0.2,
            status_forcelist=(500, 502, 503, 504),
            raise_on_status=False,
        ),
        ca_certs=env.get("SSL_CERT_FILE") or certifi.where(),
    )
    try:
        client = Minio(
            endpoint=parts.netloc,
            secure=parts.scheme == "https",
            region=region or None,
            http_client=http,
            credentials=_credentials(env, http),
        )
    except ValueError as error:
        raise StoreError(f"the endpoint {endpoint!r} of the store cannot be used: {error}") from error
    weakref.finalize(client, http.clear)  # closes what connections are left, in whatever order things are collected
    return client


def _credentials(env: Mapping[str, str], http: Any) -> Any:
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


def _space(size: int) -> bytearray | mmap.mmap:
    if size < _MAP_FROM_BYTES:
        return bytearray(size)
    with tempfile.TemporaryFile() as file:
        file.truncate(size)
        return mmap.mmap(file.fileno(), size)  # the file has no name, so nobody else sees it


def _whole_size(response: Any) -> int:
    """The object's size: `Content-Range: bytes 0-99/12345` where a range came, else what came is all."""
    found = re.fullmatch(r"bytes \d+-\d+/(\d+)", response.headers.get("Content-Range", ""))
    return int(found[1] if found else response.headers["Content-Length"])


def _code(error: BaseException) -> str:
    """The S3 code, else the HTTP status, of an error of the client; empty for any other."""
    code = getattr(error, "code", None)
    if isinstance(code, str) and code:
        return code
    status = getattr(error, "status_code", None)
    if isinstance(status, int):
        return str(status)
    found = re.search(r"Response code: (\d{3})", str(error)) if type(error).__name__ == "InvalidResponseError" else None
    return found[1] if found else ""


def _cause(error: BaseException) -> str:
    """What lies behind an error of the client: `Connection refused`, where it is known."""
    inner: BaseException | None = error
    while inner is not None:
        error = inner
        inner = getattr(inner, "reason", None)
        inner = inner if isinstance(inner, BaseException) else error.__cause__ or error.__context__
    return getattr(error, "strerror", None) or type(error).__name__


def _is_interruption(error: BaseException) -> bool:
    from urllib3.exceptions import HTTPError

    return isinstance(error, HTTPError | ConnectionError | TimeoutError)
