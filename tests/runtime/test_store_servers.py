"""The S3 store against servers: moto, and a real MinIO for all that moto takes on trust."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from servers import MinioServer, S3Endpoint

from grandpa_kfp_runtime.errors import ObjectCorrupt, ObjectGone, StoreDenied, StoreError, StoreFull, StoreUnavailable
from grandpa_kfp_runtime.stores import key_of, keys, open_store, s3_download
from grandpa_kfp_runtime.stores.s3 import S3Store
from grandpa_kfp_runtime.values.frames import view
from grandpa_kfp_runtime.values.handles import from_handle, to_handle

pytestmark = pytest.mark.server

KEY = "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0"  # of b"abc"


@pytest.fixture
def bucket(s3_endpoints: S3Endpoint) -> str:
    return s3_endpoints.new_bucket()


@pytest.fixture
def store(s3_endpoints: S3Endpoint, bucket: str) -> S3Store:
    return S3Store.from_uri(s3_endpoints.uri(bucket), s3_endpoints.env)


def content(data: Any) -> bytes:
    return bytes(view(data))


def test_bytes_come_back_by_their_key(store: S3Store, s3_endpoints: S3Endpoint, bucket: str) -> None:
    assert store.write([b"a", bytearray(b"b"), memoryview(b"c")]) == KEY
    assert content(store.read(KEY)) == b"abc"
    assert store.exists(KEY)
    names = [item.object_name for item in s3_endpoints.client().list_objects(bucket_name=bucket, recursive=True)]
    assert names == [f"grandpa/objects/{KEY[:2]}/{KEY[2:]}"]


def test_open_store_takes_the_credentials_of_the_environment(
    s3_endpoints: S3Endpoint, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "another")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another-secret")
    for name, value in s3_endpoints.env.items():
        monkeypatch.setenv(name, value)
    store = open_store(s3_endpoints.uri(bucket))
    for name in s3_endpoints.env:
        monkeypatch.delenv(name)
    assert content(store.read(store.write(b"abc"))) == b"abc"
    for name, value in zip(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), s3_endpoints.env.values(), strict=True):
        monkeypatch.setenv(name, value)
    assert open_store(store.location).exists(KEY)


def test_a_store_without_a_prefix_uses_the_whole_bucket(s3_endpoints: S3Endpoint, bucket: str) -> None:
    store = S3Store.from_uri(s3_endpoints.uri(bucket, ""), s3_endpoints.env)
    key = store.write(b"abc")
    store.put_record("runs/1/done.json", {})
    assert content(store.read(key)) == b"abc"
    assert store.list_records() == ["runs/1/done.json"]


@pytest.mark.parametrize("size", [0, 1, 5_000_000])
def test_objects_of_every_size_come_back(store: S3Store, size: int) -> None:
    data = os.urandom(size)
    assert content(store.read(store.write(data))) == data


@pytest.mark.parametrize("size", [5_299_999, 5_300_000, 5_300_001, 23_000_000])
def test_ranged_reads_give_every_byte(store: S3Store, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Sizes at and around the border of a range, written and read by parts of 5.3 million bytes."""
    monkeypatch.setattr(keys, "PART_BYTES", 5_300_000)
    data = os.urandom(size)
    assert content(store.read(store.write(data))) == data


def test_many_parts_make_one_object(store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "PART_BYTES", 5 * 1024 * 1024)
    data = os.urandom(17_000_000)
    assert content(store.read(store.write([data[:9_999_999], data[9_999_999:]]))) == data


@pytest.mark.parametrize("in_file", [False, True])
def test_a_value_of_100_mb_comes_back_writable(store: S3Store, monkeypatch: pytest.MonkeyPatch, in_file: bool) -> None:
    monkeypatch.setattr(s3_download, "FILE_FROM_BYTES", 1 if in_file else 2**62)
    array = np.random.default_rng(0).random(12_500_000)
    handle = to_handle({"x": array}, store)
    back = from_handle(handle, store)["x"]
    assert np.array_equal(back, array)
    back += 1
    assert np.array_equal(from_handle(handle, store)["x"], array)


def test_what_is_there_is_not_written_again(store: S3Store, s3_endpoints: S3Endpoint, bucket: str) -> None:
    store.write(b"abc")
    name = f"grandpa/objects/{KEY[:2]}/{KEY[2:]}"
    before = s3_endpoints.client().stat_object(bucket_name=bucket, object_name=name).last_modified
    time.sleep(1.1)  # last_modified counts seconds
    store.write(b"abc")
    assert s3_endpoints.client().stat_object(bucket_name=bucket, object_name=name).last_modified == before


def test_many_writers_of_one_key_all_succeed(store: S3Store, s3_endpoints: S3Endpoint, bucket: str) -> None:
    data = os.urandom(1_000_000)
    stores = [S3Store.from_uri(s3_endpoints.uri(bucket), s3_endpoints.env) for _ in range(4)]
    with ThreadPoolExecutor(16) as pool:
        keys = set(pool.map(lambda number: stores[number % 4].write(data), range(32)))
    assert keys == {key_of(data)}
    assert content(store.read(key_of(data))) == data


def test_an_absent_object_is_gone(store: S3Store) -> None:
    assert not store.exists(KEY)
    with pytest.raises(ObjectGone, match=f"object {KEY} is gone: nothing is at s3://"):
        store.read(KEY)


@pytest.mark.parametrize("damage", [b"abd", b"ab", b"abcd", b""])
def test_a_changed_object_is_corrupt(store: S3Store, s3_endpoints: S3Endpoint, bucket: str, damage: bytes) -> None:
    import io

    store.write(b"abc")
    s3_endpoints.client().put_object(
        bucket_name=bucket,
        object_name=f"grandpa/objects/{KEY[:2]}/{KEY[2:]}",
        data=io.BytesIO(damage),
        length=len(damage),
    )
    with pytest.raises(ObjectCorrupt, match=f"object {KEY} is damaged"):
        store.read(KEY)
    if len(damage) != 3:
        store.write(b"abc")
        assert content(store.read(KEY)) == b"abc"


def test_a_missing_bucket_is_told_with_what_to_do(s3_endpoints: S3Endpoint) -> None:
    store = S3Store.from_uri(s3_endpoints.uri("no-such-bucket"), s3_endpoints.env)
    acts = (
        lambda: store.exists(KEY),
        lambda: store.write(b"abc"),
        lambda: store.write(bytes(20_000_000)),
        lambda: store.read(KEY),
        lambda: store.put_record("runs/x", {}),
        lambda: store.get_record("runs/x"),
    )
    for act in acts:
        with pytest.raises(StoreError, match="bucket no-such-bucket: the bucket does not exist; make it") as caught:
            act()
        assert type(caught.value) is StoreError


def test_records_are_json_under_their_path(store: S3Store) -> None:
    assert store.get_record("runs/1/done.json") is None
    store.put_record("runs/1/done.json", {"ä": [1, None, "\ud800"]})
    assert store.get_record("runs/1/done.json") == {"ä": [1, None, "\ud800"]}
    store.put_record("runs/1/done.json", {"second": True})
    assert store.get_record("runs/1/done.json") == {"second": True}


def test_records_are_listed_by_prefix_and_objects_are_not(store: S3Store) -> None:
    store.write(b"abc")
    for path in ("runs/10/a.json", "runs/1/b.json", "runs/1/a/x.json", "memo/k.json"):
        store.put_record(path, {})
    assert store.list_records("runs/1/") == ["runs/1/a/x.json", "runs/1/b.json"]
    assert store.list_records("runs/1") == ["runs/1/a/x.json", "runs/1/b.json", "runs/10/a.json"]
    assert store.list_records() == ["memo/k.json", "runs/1/a/x.json", "runs/1/b.json", "runs/10/a.json"]
    assert store.list_records("runs/2/") == []


def test_files_and_folders_go_through_a_bucket(store: S3Store, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "weights.bin").write_bytes(os.urandom(2_000_000))
    back = from_handle(to_handle([folder], store), store, scratch=tmp_path)[0]
    assert (back / "sub" / "weights.bin").read_bytes() == (folder / "sub" / "weights.bin").read_bytes()


# --- what only a real server shows ----------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong", [{"GRANDPA_STORE_SECRET_KEY": "wrong-secret"}, {"GRANDPA_STORE_ACCESS_KEY": "wrong-access"}]
)
def test_wrong_credentials_are_denied_and_not_repeated(minio_server: S3Endpoint, wrong: dict[str, str]) -> None:
    bucket = minio_server.new_bucket()
    store = S3Store.from_uri(minio_server.uri(bucket), {**minio_server.env, **wrong})
    acts = (
        lambda: store.read(KEY),
        lambda: store.write(b"abc"),
        lambda: store.exists(KEY),
        lambda: store.put_record("runs/x", {}),
        lambda: store.get_record("runs/x"),
        lambda: store.list_records("runs/"),
    )
    for act in acts:
        with pytest.raises(StoreDenied, match=r"access denied .*; check GRANDPA_STORE_ACCESS_KEY") as caught:
            act()
        for secret in (*minio_server.env.values(), *wrong.values()):
            assert secret not in str(caught.value) + repr(store)


class Proxy:
    """Forwards to a server until so many bytes have gone there, then calls `cut` and closes everything."""

    def __init__(self, port: int, after_bytes: int, cut: Any) -> None:
        self._target = port
        self._left = after_bytes
        self._cut = cut
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.cut = threading.Event()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                self._open.append(client)
                server = socket.create_connection(("127.0.0.1", self._target))
                self._open.append(server)
            except OSError:  # the listener is closed, or the server is dead
                self.close()
                return
            for source, target, counted in ((client, server, True), (server, client, False)):
                thread = threading.Thread(target=self._copy, args=(source, target, counted), daemon=True)
                thread.start()
                self._threads.append(thread)

    def _copy(self, source: socket.socket, target: socket.socket, counted: bool) -> None:
        try:
            while data := source.recv(65536):
                if counted and self._spent(len(data)):
                    self.close()
                    return
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def _spent(self, count: int) -> bool:
        with self._lock:
            self._left -= count
            if self._left < 0 and not self.cut.is_set():
                self._cut()
                self.cut.set()
            return self._left < 0

    def close(self) -> None:
        for end in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "PART_BYTES", 5 * 1024 * 1024)


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize(("size", "after"), [(4_000_000, 2_000_000), (30_000_000, 17_000_000)])
def test_a_server_killed_in_mid_write_leaves_no_half_object(own_minio: MinioServer, size: int, after: int) -> None:
    """In the body of a single PUT, and between the parts of a large one."""
    endpoint = own_minio.endpoint
    bucket = endpoint.new_bucket()
    proxy = Proxy(own_minio.port, after, own_minio.kill)
    data = os.urandom(size)
    uri = f"s3://{bucket}/grandpa?endpoint=http://127.0.0.1:{proxy.port}"
    store = S3Store.from_uri(uri, endpoint.env, patience_s=1)
    begin = time.monotonic()
    with pytest.raises(StoreUnavailable, match="the server does not answer"):
        store.write(data)
    assert proxy.cut.is_set()
    assert time.monotonic() - begin < 50
    own_minio.start()
    again = S3Store.from_uri(endpoint.uri(bucket), endpoint.env)
    assert not again.exists(key_of(data))
    assert list(endpoint.client().list_objects(bucket_name=bucket, recursive=True)) == []
    assert again.write(data) == key_of(data)
    assert content(again.read(key_of(data))) == data


def test_a_server_that_stops_between_two_calls_is_unavailable_and_may_come_back(own_minio: MinioServer) -> None:
    endpoint = own_minio.endpoint
    bucket = endpoint.new_bucket()
    store = S3Store.from_uri(endpoint.uri(bucket), endpoint.env, patience_s=1)
    key = store.write(b"abc")
    own_minio.kill()
    with pytest.raises(StoreUnavailable):
        store.read(key)
    own_minio.start()
    assert content(store.read(key)) == b"abc"


def test_a_quota_is_store_full(minio_server: S3Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """MinIO enforces a hard quota only after its scanner has passed, so its answer is given here."""
    from urllib3 import HTTPResponse

    bucket = minio_server.new_bucket()
    store = S3Store.from_uri(minio_server.uri(bucket), minio_server.env)
    body = b"<Error><Code>XMinioAdminBucketQuotaExceeded</Code><Message>Bucket quota exceeded</Message></Error>"
    monkeypatch.setattr(store._bucket._http, "urlopen", lambda *_, **__: HTTPResponse(body, status=400))
    monkeypatch.setattr(store._bucket, "size", lambda _: None)
    with pytest.raises(StoreFull, match=r"the store is full .XMinioAdminBucketQuotaExceeded.; free some space"):
        store.write(b"abc")
