"""What every store does, on the stores that need no server; and the folder's own failures."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from servers import free_port

from grandpa_kfp_runtime.errors import ObjectCorrupt, ObjectGone, StoreDenied, StoreError, StoreFull, StoreUnavailable
from grandpa_kfp_runtime.stores import Store, key_of, open_store
from grandpa_kfp_runtime.stores.file import FileStore
from grandpa_kfp_runtime.stores.memory import MemoryStore
from grandpa_kfp_runtime.stores.s3 import S3Store
from grandpa_kfp_runtime.values.frames import view

KEY = "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0"  # of b"abc"


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return MemoryStore() if request.param == "memory" else FileStore(tmp_path / "a store")


def files_below(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


# --- every store ----------------------------------------------------------------------------------


def test_bytes_come_back_by_their_key(store: Store) -> None:
    assert store.write(b"abc") == KEY == key_of(b"abc")
    assert bytes(view(store.read(KEY))) == b"abc"
    assert store.exists(KEY)
    assert store.uri(KEY).endswith(f"objects/{KEY[:2]}/{KEY[2:]}")


def test_buffers_that_follow_each_other_are_one_object(store: Store) -> None:
    array = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    key = store.write([b"a", bytearray(b"b"), memoryview(b"xcx")[1:2], b""])
    assert key == KEY
    assert bytes(view(store.read(store.write([array, b"!"])))) == array.tobytes("F") + b"!"


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 3_000_000])
def test_objects_of_every_size_come_back(store: Store, size: int) -> None:
    data = os.urandom(size)
    assert bytes(view(store.read(store.write(data)))) == data


def test_what_is_read_may_be_changed_and_nobody_sees_it(store: Store) -> None:
    key = store.write(b"x" * 100_000)
    first = view(store.read(key))
    if not first.readonly:
        first[0:1] = b"y"
    assert bytes(view(store.read(key))) == b"x" * 100_000


def test_an_absent_object_is_gone(store: Store) -> None:
    assert not store.exists(KEY)
    with pytest.raises(ObjectGone, match=f"object {KEY} is gone"):
        store.read(KEY)


@pytest.mark.parametrize("key", ["", "abc", "../" + KEY[3:], KEY + "x", KEY[:-1] + "/", "x" * 42 + "\n"])
def test_what_is_no_key_reaches_no_file(store: Store, key: str) -> None:
    for method in (store.read, store.exists, store.uri):
        with pytest.raises(StoreError, match="is not the key of an object"):
            method(key)


def test_many_writers_of_one_key_all_succeed(store: Store) -> None:
    data = os.urandom(300_000)
    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(lambda _: store.write(data), range(64))) == {key_of(data)}
    assert bytes(view(store.read(key_of(data)))) == data


def test_records_are_json_under_their_path(store: Store) -> None:
    assert store.get_record("runs/1/done.json") is None
    store.put_record("runs/1/done.json", {"ä": [1, None, "\ud800"]})
    store.put_record("runs/1/done.json", {"second": True})
    store.put_record("runs/1/task/failure.json", {"ä": [1, None, "\ud800"]})
    assert store.get_record("runs/1/done.json") == {"second": True}
    assert store.get_record("runs/1/task/failure.json") == {"ä": [1, None, "\ud800"]}


def test_records_are_listed_by_prefix_and_objects_are_not(store: Store) -> None:
    store.write(b"abc")
    for path in ("runs/10/a.json", "runs/1/b.json", "runs/1/a/x.json", "memo/k.json"):
        store.put_record(path, {})
    assert store.list_records("runs/1/") == ["runs/1/a/x.json", "runs/1/b.json"]
    assert store.list_records("runs/1") == ["runs/1/a/x.json", "runs/1/b.json", "runs/10/a.json"]
    assert store.list_records() == ["memo/k.json", "runs/1/a/x.json", "runs/1/b.json", "runs/10/a.json"]
    assert store.list_records("runs/2/") == []


@pytest.mark.parametrize(
    "path", ["", "/etc/x", "../x/y", "runs/../../x", "runs//x", "runs/./x", "objects/ab/c", "tmp/x", "x.json", "a\\b/c"]
)
def test_what_is_no_record_path_is_refused(store: Store, path: str) -> None:
    with pytest.raises(StoreError, match="is not the path of a record"):
        store.put_record(path, {})


def test_a_record_changed_after_reading_is_not_changed_in_the_store(store: Store) -> None:
    record = {"a": [1]}
    store.put_record("runs/x", record)
    record["a"].append(2)
    store.get_record("runs/x")["a"].append(3)
    assert store.get_record("runs/x") == {"a": [1]}


# --- a folder -------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "store")


def test_nothing_is_made_before_the_first_write(folder: FileStore) -> None:
    assert not folder.exists(KEY)
    assert folder.list_records() == []
    assert not folder.root.exists()


def test_objects_lie_where_the_design_says(folder: FileStore) -> None:
    folder.write(b"abc")
    folder.put_record("runs/1/done.json", {})
    assert files_below(folder.root) == [f"objects/{KEY[:2]}/{KEY[2:]}", "runs/1/done.json"]


@pytest.mark.parametrize("content", [b"abd", b"ab", b"", b"abcd"])
def test_a_changed_or_truncated_object_is_corrupt(folder: FileStore, content: bytes) -> None:
    folder.write(b"abc")
    path = folder.root / f"objects/{KEY[:2]}/{KEY[2:]}"
    path.write_bytes(content)
    with pytest.raises(ObjectCorrupt, match=f"object {KEY} is damaged: .*{path}"):
        folder.read(KEY)


def test_a_changed_byte_in_a_mapped_object_is_found(folder: FileStore) -> None:
    key = folder.write(os.urandom(1_000_000))
    path = folder.root / f"objects/{key[:2]}/{key[2:]}"
    data = bytearray(path.read_bytes())
    data[777_777] ^= 1
    path.write_bytes(data)
    with pytest.raises(ObjectCorrupt, match=key):
        folder.read(key)


def test_a_truncated_object_is_written_again_by_its_task(folder: FileStore) -> None:
    folder.write(b"abc")
    (folder.root / f"objects/{KEY[:2]}/{KEY[2:]}").write_bytes(b"")
    assert folder.write(b"abc") == KEY
    assert bytes(view(folder.read(KEY))) == b"abc"


def test_what_is_there_is_not_written_again(folder: FileStore) -> None:
    folder.write(b"abc")
    path = folder.root / f"objects/{KEY[:2]}/{KEY[2:]}"
    before = path.stat()
    folder.write(b"abc")
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    """The kernel refuses the write in its middle: no object, no temporary file, one clear error."""
    code = """
import os, resource
from grandpa_kfp_runtime.errors import StoreFull
from grandpa_kfp_runtime.stores.file import FileStore
store = FileStore("store")
small = store.write(b"abc")
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
try:
    store.write(os.urandom(5_000_000))
except StoreFull as error:
    print(error)
assert bytes(store.read(small)) == b"abc"
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stderr == ""
    assert "store is full (File too large); free some space" in done.stdout
    assert files_below(tmp_path / "store") == [f"objects/{KEY[:2]}/{KEY[2:]}"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small file system")
def test_a_full_file_system_is_store_full(tmp_path: Path) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", mount], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        store = FileStore(mount / "store")
        with pytest.raises(StoreFull, match="No space left"):
            store.write(os.urandom(3_000_000))
        assert files_below(mount) == []
        store.write(b"abc")
    finally:
        subprocess.run(["umount", mount], check=True)


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, StoreFull),
        (errno.EDQUOT, StoreFull),
        (errno.EACCES, StoreDenied),
        (errno.EROFS, StoreDenied),
        (errno.EIO, StoreError),
    ],
)
def test_a_failing_rename_leaves_nothing_behind(
    folder: FileStore, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[StoreError]
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(kind) as caught:
        folder.write(b"abc")
    assert type(caught.value) is kind
    assert str(folder.root) in str(caught.value)
    assert files_below(folder.root) == []


def test_a_store_below_a_file_is_an_error_of_the_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    store = FileStore(tmp_path / "file" / "store")
    with pytest.raises(StoreError, match="Not a directory"):
        store.write(b"abc")


def test_many_processes_write_one_key(tmp_path: Path) -> None:
    code = (
        "import sys; from grandpa_kfp_runtime.stores.file import FileStore\n"
        "store = FileStore('store')\n"
        "for n in range(20):\n    print(store.write(bytes([n]) * 200_000))\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE) for _ in range(4)]
    printed = {process.communicate(timeout=60)[0] for process in running}
    assert len(printed) == 1
    store = FileStore(tmp_path / "store")
    assert len(files_below(store.root)) == 20
    for key in printed.pop().decode().split():
        store.read(key)


def test_a_reader_never_sees_half_a_record(folder: FileStore) -> None:
    record = {"text": "x" * 200_000}
    folder.put_record("runs/r", record)
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            folder.put_record("runs/r", record)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert all(folder.get_record("runs/r") == record for _ in range(100))
    finally:
        stop.set()
        writer.join()


def test_a_damaged_record_is_told(folder: FileStore) -> None:
    folder.put_record("runs/r", {})
    (folder.root / "runs/r").write_text("{")
    with pytest.raises(ObjectCorrupt, match="is not JSON"):
        folder.get_record("runs/r")


# --- opening by URI -------------------------------------------------------------------------------


def test_a_store_is_found_again_by_its_location(tmp_path: Path) -> None:
    for uri in (str(tmp_path / "a b"), (tmp_path / "a b").as_uri(), tmp_path / "a b"):
        store = open_store(uri)
        assert isinstance(store, FileStore)
        assert store.root == tmp_path / "a b"
        key = store.write(b"abc")
        assert open_store(store.location).exists(key)
    assert isinstance(open_store("memory:"), MemoryStore)


def test_a_relative_folder_is_fixed_when_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_store("here")
    monkeypatch.chdir("/")
    store.write(b"abc")
    assert (tmp_path / "here/objects").is_dir()


@pytest.mark.parametrize("uri", ["", "http://x/y", "gs://bucket", "file://host/x", "file:"])
def test_an_unknown_uri_is_told(uri: str) -> None:
    with pytest.raises(StoreError):
        open_store(uri)


ENV = {"GRANDPA_STORE_ACCESS_KEY": "the-access-key", "GRANDPA_STORE_SECRET_KEY": "the-secret-key"}


def test_the_location_of_a_bucket_finds_it_again_and_holds_no_secret() -> None:
    uri = "s3://bucket/a/prefix?endpoint=http://127.0.0.1:9000&region=eu-1"
    store = S3Store.from_uri(uri, ENV)
    assert store.location == uri
    assert S3Store.from_uri(store.location, ENV).location == uri
    assert store.uri(KEY) == f"s3://bucket/a/prefix/objects/{KEY[:2]}/{KEY[2:]}"
    assert "the-" not in repr(store) + store.location + store.uri(KEY)
    assert S3Store.from_uri("s3://bucket", {**ENV, "AWS_REGION": "eu-2"}).location == "s3://bucket/?region=eu-2"


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("s3://key:hidden@bucket/x", "must not hold credentials"),
        ("s3://bucket/x?endpoint=http://key:hidden@host", "is not http://host:port"),
        ("s3://bucket/x?endpont=http://host", "option endpont is unknown"),
        ("s3://bucket/x?endpoint=ftp://host", "is not http://host:port"),
        ("s3://bucket/x?endpoint=http://host/path", "is not http://host:port"),
        ("s3:///x", "bucket is missing"),
    ],
)
def test_a_wrong_uri_of_a_bucket_is_told_without_its_secrets(uri: str, message: str) -> None:
    with pytest.raises(StoreError, match=message) as caught:
        S3Store.from_uri(uri, ENV)
    assert "hidden" not in str(caught.value)


def test_missing_credentials_are_told_before_any_request() -> None:
    with pytest.raises(StoreDenied, match="set GRANDPA_STORE_ACCESS_KEY and GRANDPA_STORE_SECRET_KEY"):
        S3Store.from_uri("s3://bucket?endpoint=http://127.0.0.1:1", {})


def _closed_port() -> str:
    return f"http://127.0.0.1:{free_port()}"


@pytest.mark.parametrize(
    "act",
    [
        lambda store: store.read(KEY),
        lambda store: store.write(b"abc"),
        lambda store: store.exists(KEY),
        lambda store: store.put_record("runs/x", {}),
        lambda store: store.list_records("runs/"),
    ],
)
def test_an_unreachable_server_is_told_within_seconds(act: Callable[[Store], object]) -> None:
    store = S3Store.from_uri(f"s3://bucket/x?endpoint={_closed_port()}", ENV)
    begin = time.monotonic()
    with pytest.raises(StoreUnavailable, match="bucket bucket: the server does not answer") as caught:
        act(store)
    assert time.monotonic() - begin < 50  # one that has answered before is waited for longer
    assert "the-secret" not in str(caught.value)


def test_a_server_that_accepts_and_never_answers_is_unavailable() -> None:
    import socket

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        uri = f"s3://bucket/x?endpoint=http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(StoreUnavailable):
            S3Store.from_uri(uri, ENV, read_timeout_s=0.2).exists(KEY)


def test_an_answer_that_is_not_s3_is_an_error_of_the_store() -> None:
    """Some other web server at the endpoint: no traceback of the client, but a StoreError."""
    import http.server

    class Other(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b"<html>hello</html>"
            self.send_response(418)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Other) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            store = S3Store.from_uri(f"s3://bucket/x?endpoint=http://127.0.0.1:{server.server_port}", ENV)
            with pytest.raises(StoreError, match="418"):
                store.read(KEY)
        finally:
            server.shutdown()
            thread.join()


def test_no_client_is_loaded_before_a_bucket_is_opened() -> None:
    code = (
        "import sys, grandpa_kfp_runtime.values.handles, grandpa_kfp_runtime.stores as s\n"
        "s.open_store('memory:'); s.open_store('x')\n"
        "print(sorted({'minio', 'urllib3', 'zstandard', 'cloudpickle', 'numpy', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
