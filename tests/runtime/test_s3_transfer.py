"""Large objects to and from a bucket: in parts, side by side, checked, through faults that pass or stay."""

from __future__ import annotations

import hashlib
import os
import threading
import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers import MinioServer, S3Endpoint
from urllib3 import HTTPResponse
from urllib3.exceptions import ProtocolError

from grandpa_kfp_runtime.errors import ObjectCorrupt, StoreDenied, StoreError, StoreUnavailable
from grandpa_kfp_runtime.stores import key_of, keys, s3_download, s3_errors, s3_patience, s3_transfer, s3_upload
from grandpa_kfp_runtime.stores.s3 import S3Store
from grandpa_kfp_runtime.values.frames import view

PART = 5 * 1024 * 1024  # the smallest that servers take
ENV = {"GRANDPA_STORE_ACCESS_KEY": "me", "GRANDPA_STORE_SECRET_KEY": "the-secret"}


def content(data: Any) -> bytes:
    return bytes(view(data))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# --- pieces of a body ------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 3000), max_size=12), st.integers(0, 9000), st.integers(0, 9000))
def test_pieces_are_the_bytes_asked_for(sizes: list[int], start: int, length: int) -> None:
    parts = [memoryview(os.urandom(size)) for size in sizes]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(s3_transfer, "_PIECE_BYTES", 1000)
        patched.setattr(s3_transfer, "_SMALL_BYTES", 100)
        found = s3_transfer.pieces(parts, start, start + length)
    assert b"".join(found) == b"".join(parts)[start : start + length]
    assert all(0 < len(piece) <= 1100 for piece in found)


def test_large_buffers_are_sent_from_where_they_lie() -> None:
    data = bytearray(1_000_000)
    found = s3_transfer.pieces([memoryview(data)], 0, len(data))
    data[:] = b"x" * len(data)
    assert b"".join(found) == data


def test_many_tiny_buffers_become_few_pieces() -> None:
    assert len(s3_transfer.pieces([memoryview(b"12345678")] * 100_000, 0, 800_000)) == 4


# --- what passes and what does not -----------------------------------------------------------------


def refused(code: str, *, status: int = 400, **headers: str) -> s3_errors.Refused:
    body = f"<Error><Code>{code}</Code></Error>" if code else ""
    return s3_errors.Refused(HTTPResponse(body.encode(), status=status, headers=headers))


class Failing:
    """Raises these errors, one a call, then returns."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_patience, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(s3_patience, "LONGEST_PAUSE_S", 0.001)


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError("cut"),
        ProtocolError("cut"),
        TimeoutError(),
        refused("SlowDown", status=503),
        refused("", status=502),
        refused("BadDigest"),
    ],
)
def test_what_passes_is_repeated(error: Exception) -> None:
    act = Failing(error, error, error)
    assert s3_patience.Patience("the store").repeat(act) == "done"
    assert act.calls == 4


@pytest.mark.parametrize(
    "error", [refused("AccessDenied", status=403), refused("NoSuchKey", status=404), ValueError("x"), KeyError("x")]
)
def test_what_does_not_pass_is_asked_once(error: Exception) -> None:
    act = Failing(error)
    with pytest.raises(type(error)):
        s3_patience.Patience("the store").repeat(act)
    assert act.calls == 1


def test_patience_is_short_before_the_first_answer_and_after_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong address is told soon; a server that was there is waited for; one that stayed away, not again."""
    clock = [0.0]
    monkeypatch.setattr(s3_patience.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(threading.Event, "wait", lambda _, seconds: clock.__setitem__(0, clock[0] + seconds))

    def fails_after() -> float:
        begin = clock[0]
        with pytest.raises(ConnectionResetError):
            patience.repeat(Failing(*[ConnectionResetError() for _ in range(1000)]))
        return clock[0] - begin

    patience = s3_patience.Patience("the store", total_s=60, first_s=2)
    assert fails_after() <= 2
    patience.repeat(Failing())
    assert 50 < fails_after() <= 60
    assert fails_after() <= 2
    patience = s3_patience.Patience("the store", total_s=60, first_s=60)
    assert 50 < fails_after() <= 60


def test_waiting_is_told_once(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading.Event, "wait", lambda *_: False)
    patience = s3_patience.Patience("the store here", total_s=60, first_s=60)
    patience.repeat(Failing(*[ConnectionRefusedError(111, "Connection refused") for _ in range(20)]))
    assert [record.getMessage()[:50] for record in caplog.records] == [
        "the store here: no answer (Connection refused); tr"
    ]


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (refused("ExpiredToken"), StoreDenied, "the credentials have expired"),
        (refused("RequestTimeTooSkewed", status=403), StoreDenied, "clock says 20"),
        (refused("", status=403, Date="Sat, 01 Jan 2000 00:00:00 GMT"), StoreDenied, "2000-01-01 00:00:00 UTC"),
        (refused("", status=403), StoreDenied, "access denied .403."),
        (refused("", status=401), StoreDenied, "access denied .401."),
        (refused("XMinioStorageFull", status=507), StoreError, "the store is full"),
        (refused("", status=502), StoreUnavailable, "does not answer as it should .502."),
        (refused("BadDigest"), StoreError, "bytes arrive there changed"),
        (refused("NoSuchBucket", status=404), StoreError, "the bucket does not exist; make it"),
    ],
)
def test_each_failure_says_what_it_is(error: Exception, kind: type[StoreError], text: str) -> None:
    with pytest.raises(kind, match=text), s3_errors.explained("the store"):
        raise error


def test_the_time_to_wait_is_a_setting() -> None:
    uri = "s3://bucket?endpoint=http://127.0.0.1:1"
    store = S3Store.from_uri(uri, {**ENV, "GRANDPA_STORE_PATIENCE_S": "7.5"}, patient=True)
    assert store._bucket.patience._left_s == 7.5
    with pytest.raises(StoreError, match="GRANDPA_STORE_PATIENCE_S is 'soon', not a number of seconds"):
        S3Store.from_uri(uri, {**ENV, "GRANDPA_STORE_PATIENCE_S": "soon"})


# --- memory for an object --------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1000, 3_000_000])
@pytest.mark.parametrize("in_file", [False, True])
def test_space_is_writable_and_of_its_size(monkeypatch: pytest.MonkeyPatch, size: int, in_file: bool) -> None:
    if in_file:
        monkeypatch.setattr(s3_download, "FILE_FROM_BYTES", 1_000_000)
    made = memoryview(s3_download.space(size))
    made[:] = b"x" * size
    assert (len(made), made.readonly) == (size, False)


def test_a_disk_without_room_is_memory_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(s3_download, "FILE_FROM_BYTES", 1_000_000)
    monkeypatch.setattr(s3_download, "_allocate", full)
    assert len(s3_download.space(3_000_000)) == 3_000_000


# --- against servers -------------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "PART_BYTES", PART)


@pytest.fixture
def store(s3_endpoints: S3Endpoint) -> S3Store:
    return S3Store.from_uri(s3_endpoints.uri(s3_endpoints.new_bucket()), s3_endpoints.env, patience_s=5)


class Requests:
    """Stands before the store's requests: counts them, and lets a test spoil some."""

    def __init__(self, store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[tuple[str, str, str]] = []
        self.spoil: Callable[[str, str, dict[str, Any]], Any] = lambda *_: None
        self._lock = threading.Lock()
        real = store._bucket._http.urlopen

        def urlopen(method: str, url: str, **given: Any) -> Any:
            with self._lock:
                self.seen.append((method, url, given["headers"].get("Range", "")))
                answer = self.spoil(method, url, given)
            if isinstance(answer, Exception):
                raise answer
            return (
                answer(lambda: real(method, url, **given)) if callable(answer) else answer or real(method, url, **given)
            )

        monkeypatch.setattr(store._bucket._http, "urlopen", urlopen)


@pytest.fixture
def requests(store: S3Store, monkeypatch: pytest.MonkeyPatch) -> Requests:
    return Requests(store, monkeypatch)


def once(test: Callable[[str, str], bool], act: Callable[[dict[str, Any]], Any]) -> Callable[..., Any]:
    """Spoils the first request that passes the test."""
    left = [1]

    def spoil(method: str, url: str, given: dict[str, Any]) -> Any:
        if left[0] and test(method, url):
            left[0] = 0
            return act(given)
        return None

    return spoil


def is_part(method: str, url: str) -> bool:
    return method == "PUT" and "partNumber=2" in url


def is_completion(method: str, url: str) -> bool:
    return method == "POST" and "uploadId=" in url


def flip(given: dict[str, Any]) -> None:
    """Changes one byte of the body on its way."""
    body = [bytes(piece) for piece in given["body"]]
    given["body"] = [bytes([body[0][0] ^ 1]) + body[0][1:], *body[1:]]


@pytest.mark.server
@pytest.mark.usefixtures("small")
class TestTransfer:
    @pytest.mark.parametrize("size", [PART, PART + 1, 3 * PART, 3 * PART + 7])
    def test_every_byte_comes_back(self, store: S3Store, size: int) -> None:
        """Sizes at and around the border of a part, from buffers whose borders lie elsewhere."""
        data = os.urandom(size)
        key = store.write([data[:3], data[3:PART], data[PART : PART + 1], data[PART + 1 :]])
        assert key == key_of(data)
        assert content(store.read(key)) == data

    def test_what_waits_is_asked_again(self, store: S3Store, requests: Requests) -> None:
        """A busy server, a lost connection: a part each, then a range each."""
        data = os.urandom(3 * PART)
        busy = HTTPResponse(b"<Error><Code>SlowDown</Code></Error>", status=503)
        requests.spoil = once(is_part, lambda _: busy)
        key = store.write(data)
        assert len([1 for method, url, _ in requests.seen if is_part(method, url)]) == 2
        requests.spoil = once(lambda method, _: method == "GET", lambda _: ProtocolError("cut"))
        assert content(store.read(key)) == data

    def test_a_range_goes_on_where_it_was_cut(self, store: S3Store, requests: Requests) -> None:
        """What has arrived is not asked for again."""
        data = os.urandom(2 * PART + 1000)
        key = store.write(data)

        def cut(call: Callable[[], Any]) -> Any:
            answer = call()
            fill, left = answer._fp.readinto, [300_000]

            def readinto(target: memoryview) -> int:
                count = fill(target[: left[0]]) if left[0] else 0
                left[0] -= count
                return int(count)

            answer._fp.readinto = readinto
            return answer

        requests.seen.clear()
        spoil_one = once(lambda method, _: method == "GET" and len(requests.seen) == 2, lambda _: cut)
        requests.spoil = spoil_one
        assert content(store.read(key)) == data
        asked = sorted(int(part.partition("=")[2].split("-")[0]) for _, _, part in requests.seen)
        assert len(asked) == 4
        assert any(start % PART == 300_000 for start in asked)

    def test_bytes_changed_on_their_way_there_are_sent_again(
        self, store: S3Store, requests: Requests, s3_endpoints: S3Endpoint
    ) -> None:
        if s3_endpoints.name == "moto":
            pytest.skip("moto checks no content")
        for data in (os.urandom(1000), os.urandom(2 * PART)):
            requests.spoil = once(lambda method, url: method == "PUT" and "partNumber=1" not in url, flip)
            assert content(store.read(store.write(data))) == data

    def test_a_way_that_changes_all_bytes_is_told(
        self, store: S3Store, requests: Requests, s3_endpoints: S3Endpoint, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if s3_endpoints.name == "moto":
            pytest.skip("moto checks no content")
        monkeypatch.setattr(store._bucket.patience, "_total_s", 0.1)
        data = os.urandom(2 * PART)
        requests.spoil = lambda method, _url, given: flip(given) if method == "PUT" else None
        with pytest.raises(StoreError, match="bytes arrive there changed"):
            store.write(data)
        assert not store.exists(key_of(data))

    def test_bytes_changed_on_their_way_here_are_read_again(self, store: S3Store, requests: Requests) -> None:
        data = os.urandom(2 * PART + 1000)
        key = store.write(data)

        def change(call: Callable[[], Any]) -> Any:
            answer = call()
            fill = answer._fp.readinto

            def readinto(target: memoryview) -> int:
                count = fill(target)
                target[:count] = bytes(count)
                return int(count)

            answer._fp.readinto = readinto
            return answer

        requests.spoil = once(lambda method, _: method == "GET", lambda _: change)
        assert content(store.read(key)) == data
        requests.spoil = lambda method, *_: change if method == "GET" else None
        with pytest.raises(ObjectCorrupt, match="is damaged"):
            store.read(key)

    def test_a_completion_whose_answer_is_lost_is_complete(self, store: S3Store, requests: Requests) -> None:
        def lose(call: Callable[[], Any]) -> Any:
            call()
            raise ProtocolError("cut")

        requests.spoil = once(is_completion, lambda _: lose)
        data = os.urandom(2 * PART)
        assert content(store.read(store.write(data))) == data
        assert len([1 for method, url, _ in requests.seen if is_completion(method, url)]) == 2

    def test_who_comes_second_changes_nothing(self, store: S3Store, s3_endpoints: S3Endpoint) -> None:
        """Put if absent, small and in parts: what is there stays, and the writer need not know."""
        for size in (1000, 2 * PART):
            first, second = os.urandom(size), os.urandom(size)
            name = f"grandpa/objects/of-{size}"
            for data in (first, second):
                s3_upload.put(store._bucket, name, [memoryview(data)], _sha256(data), kind="x/y", only_if_absent=True)
            found = s3_download.get(store._bucket, name)
            assert found is not None
            assert content(found[0]) == first

    def test_many_writers_of_one_large_key_all_succeed(self, store: S3Store, s3_endpoints: S3Endpoint) -> None:
        data = os.urandom(2 * PART)
        others = [S3Store.from_uri(store.location, s3_endpoints.env) for _ in range(3)]
        with ThreadPoolExecutor(8) as pool:
            keys = set(pool.map(lambda number: others[number % 3].write(data), range(8)))
        assert keys == {key_of(data)}
        assert content(store.read(key_of(data))) == data


@pytest.mark.server
def test_an_object_takes_no_memory_but_its_own(minio_server: S3Endpoint) -> None:
    """Sent from the value's buffers, read straight to where it stays: Python's heap holds a chunk a connection."""
    store = S3Store.from_uri(minio_server.uri(minio_server.new_bucket()), minio_server.env)
    data = os.urandom(128_000_000)
    tracemalloc.start()
    try:
        key = store.write(data)
        written = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        back = store.read(key)
        read = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert view(back) == data
    assert written < 8_000_000
    assert read < len(data) + 24_000_000


# --- a server that goes away -----------------------------------------------------------------------


@pytest.mark.server
@pytest.mark.usefixtures("small")
def test_a_server_that_goes_and_comes_back_costs_time_alone(
    own_minio: MinioServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is killed between the parts of a write, then between the ranges of a read, and started again."""
    endpoint = own_minio.endpoint
    store = S3Store.from_uri(endpoint.uri(endpoint.new_bucket()), endpoint.env)
    store.put_record("runs/x", {})
    requests = Requests(store, monkeypatch)
    data = os.urandom(5 * PART)

    def killed_at(test: Callable[[str, str], bool], act: Callable[[], Any]) -> Any:
        gone = threading.Event()

        def kill(_: dict[str, Any]) -> None:
            own_minio.kill()
            gone.set()

        requests.spoil = once(test, kill)
        with ThreadPoolExecutor(1) as pool:
            result = pool.submit(act)
            assert gone.wait(60)
            own_minio.start()
            return result.result(60)

    key = killed_at(is_part, lambda: store.write(data))
    assert (
        content(killed_at(lambda method, _: method == "GET" and len(requests.seen) > 9, lambda: store.read(key)))
        == data
    )


@pytest.mark.server
@pytest.mark.usefixtures("small")
def test_a_server_that_stays_away_is_unavailable_in_bounded_time(own_minio: MinioServer) -> None:
    endpoint = own_minio.endpoint
    store = S3Store.from_uri(endpoint.uri(endpoint.new_bucket()), endpoint.env, patience_s=1)
    key = store.write(os.urandom(3 * PART))
    own_minio.kill()
    for act in (lambda: store.read(key), lambda: store.write(b"abc"), lambda: store.list_records("runs/")):
        begin = time.monotonic()
        with pytest.raises(StoreUnavailable, match=r"does not answer as it should .Connection refused."):
            act()
        assert time.monotonic() - begin < 50  # a server that has answered before is waited for longer by default
