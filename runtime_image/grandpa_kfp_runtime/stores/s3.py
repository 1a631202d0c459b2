"""A store in a bucket of MinIO, SeaweedFS, AWS S3 or whatever speaks S3, through the MinIO client.

    s3://bucket/prefix?endpoint=http://host:port&region=name

Large objects are read by ranges and written in parts, several side by side (s3_download, s3_upload);
nobody sees an object before it is whole. A server that is gone for a while is waited for, within
bounds (s3_patience).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from functools import partial
from hashlib import sha256
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from ..contract import ENV_ACCESS_KEY, ENV_SECRET_KEY, ENV_STORE_PATIENCE_S
from ..errors import ObjectCorrupt, StoreError
from ..typespec import Json
from ..values.frames import Buffer
from . import s3_download, s3_keeping, s3_upload
from .base import OBJECTS, TEMPORARY, Data, buffers_of, damaged, gone, object_path, record_path
from .keys import digest_of, spelled
from .s3_bucket import Bucket, open_bucket
from .s3_errors import explained
from .s3_patience import FIRST_PATIENCE_S, PATIENCE_S, Patience

_READ_TIMEOUT_S = 30.0


class S3Store:
    """Objects and records in one bucket, below one prefix. The bucket must exist."""

    def __init__(self, bucket: Bucket, prefix: str, endpoint: str, region: str) -> None:
        self._bucket = bucket
        self._base = f"{prefix}/" if prefix else ""
        self._endpoint = endpoint
        self._region = region

    @classmethod
    def from_uri(
        cls,
        uri: str,
        env: Mapping[str, str] = os.environ,
        *,
        read_timeout_s: float = _READ_TIMEOUT_S,
        patience_s: float | None = None,
        patient: bool = False,
    ) -> S3Store:
        """The store of a URI, with the environment's credentials, which are read here and never again.

        patience_s: how long a request is repeated; GRANDPA_STORE_PATIENCE_S, else a minute.
        patient: as long for a server that has never answered, too.
        """
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
        total_s = _patience_s(env) if patience_s is None else patience_s
        where = f"the store {endpoint or 'AWS S3'}, bucket {parts.netloc}"
        patience = Patience(where, total_s=total_s, first_s=total_s if patient else FIRST_PATIENCE_S)
        bucket = open_bucket(parts.netloc, endpoint, region, env, patience, read_timeout_s=read_timeout_s)
        return cls(bucket, unquote(parts.path).strip("/"), endpoint, region)

    def __repr__(self) -> str:
        return f"S3Store({self.location!r})"

    @property
    def location(self) -> str:
        options = {"endpoint": self._endpoint, "region": "" if self._region == "us-east-1" else self._region}
        query = urlencode({name: value for name, value in options.items() if value}, safe=":/")
        return f"s3://{self._bucket.name}/{quote(self._base.rstrip('/'))}{'?' + query if query else ''}"

    def read(self, key: str) -> Buffer:
        name = self._base + object_path(key)
        size = 0
        for _ in range(2):  # what the way here damaged comes whole the second time
            with self._errors():
                found = s3_download.get(self._bucket, name)
            if found is None:
                raise gone(key, self.uri(key))
            data, digest = found
            if spelled(digest) == key:
                return data
            size = len(data)
        raise damaged(key, size, self.uri(key))

    def write(self, data: Data) -> str:
        parts = buffers_of(data)
        digest = digest_of(parts)
        key = spelled(digest)
        name = self._base + object_path(key)
        with self._errors():
            there = self._bucket.stat(name)
            if there is None or there[0] != sum(map(len, parts)):
                kind = "application/octet-stream"
                s3_upload.put(self._bucket, name, parts, digest.hex(), kind=kind, only_if_absent=there is None)
            else:
                self._renew(name, there[1])
        return key

    def exists(self, key: str, *, renew: bool = False) -> bool:
        name = self._base + object_path(key)
        with self._errors():
            there = self._bucket.stat(name)
            if there is None:
                self._bucket.check_exists()
            elif renew:
                self._renew(name, there[1])
            return there is not None

    def _renew(self, name: str, at: float) -> None:
        if time.time() - at > s3_keeping.TOUCH_AFTER_S:
            s3_keeping.touch(self._bucket, name)

    def uri(self, key: str) -> str:
        return f"s3://{self._bucket.name}/{self._base}{object_path(key)}"

    def put_record(self, path: str, record: Json) -> None:
        name = self._base + record_path(path)
        text = json.dumps(record, ensure_ascii=False, indent=1).encode("utf-8", "surrogatepass")
        digest, kind = sha256(text).hexdigest(), "application/json"
        with self._errors():
            s3_upload.put(self._bucket, name, [memoryview(text)], digest, kind=kind, only_if_absent=False)

    def get_record(self, path: str) -> Json:
        name = self._base + record_path(path)
        with self._errors():
            found = s3_download.get(self._bucket, name)
        if found is None:
            return None
        try:
            return json.loads(bytes(found[0]).decode("utf-8", "surrogatepass"))
        except ValueError as error:
            raise ObjectCorrupt(f"the record {name} in {self._bucket.name} is not JSON ({error}); remove it") from error

    def list_records(self, prefix: str = "") -> list[str]:
        with self._errors():
            return self._bucket.call(lambda: sorted(self._names(prefix)))

    def _names(self, prefix: str) -> Iterator[str]:
        """Paths of records; the space of objects, which may hold millions, is never listed."""
        found = self._bucket.client.list_objects(
            bucket_name=self._bucket.name, prefix=self._base + prefix, recursive="/" in prefix
        )
        for item in found:
            path = str(item.object_name)[len(self._base) :]
            if not item.is_dir:
                if "/" in path:
                    yield path
            elif path.rstrip("/") not in (OBJECTS, TEMPORARY):
                yield from self._names(path)

    def objects(self) -> Iterator[tuple[str, int, float]]:
        """Every object: key, size in bytes, seconds since the epoch when it was last written."""
        with self._errors():
            yield from s3_keeping.objects(self._bucket, self._base)

    def records(self) -> Iterator[tuple[str, float]]:
        """Every record: its path, and when it was last written."""
        with self._errors():
            yield from s3_keeping.records(self._bucket, self._base)

    def beginning(self, key: str) -> Buffer:
        """The object's first bytes, unchecked; none where it is gone."""
        with self._errors():
            return s3_keeping.beginning(self._bucket, self._base + object_path(key))

    def remove(self, key: str, *, older_than: float) -> None:
        """Removes an object, unless it is gone, or was written since `older_than` (seconds since the epoch)."""
        with self._errors():
            s3_keeping.remove(self._bucket, self._base + object_path(key), older_than)

    def remove_record(self, path: str) -> None:
        """Removes a record."""
        name = self._base + record_path(path)
        with self._errors():
            self._bucket.call(
                partial(self._bucket.client.remove_object, bucket_name=self._bucket.name, object_name=name)
            )

    def remove_left_over(self, *, older_than: float) -> None:
        """Nothing: what was not written to its end is the server's, which has rules of its own for it."""

    def _errors(self) -> AbstractContextManager[None]:
        return explained(self._bucket.where)


def _patience_s(env: Mapping[str, str]) -> float:
    text = env.get(ENV_STORE_PATIENCE_S)
    if not text:
        return PATIENCE_S
    try:
        return max(0.0, float(text))
    except ValueError:
        raise StoreError(f"{ENV_STORE_PATIENCE_S} is {text!r}, not a number of seconds") from None
