"""Stores that fail: objects damaged or gone, no space, no server, no right. Nothing is lost, nothing half-written."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import Project, says
from servers import MinioServer, S3Endpoint, free_port

FLOW = """
import os
from pathlib import Path

@Node
def big(n: int) -> bytes:
    return os.urandom(n // 2) + bytes(n - n // 2)

@Node
def wreck(data: bytes, store: str, how: str) -> int:
    files = [file for file in Path(store).glob("objects/*/*") if file.stat().st_size > len(data) // 4] if how else []
    for file in files:
        content = file.read_bytes()
        file.chmod(0o600)
        if how == "gone":
            file.unlink()
        elif how == "cut":
            file.write_bytes(content[: len(content) // 2])
        else:
            file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    return len(files)

@Node
def size(data: bytes) -> int:
    return len(data)

@Workflow
def flow(n: int = 100_000, how: str = "", store: str = ""):
    data = big(n)
    wrecked = wreck(data, store, how)
    return size.options(after=[wrecked])(data)

"""


@pytest.fixture
def compiled(project: Project) -> Project:
    project.flow(FLOW)
    assert project.grandpa("compile", "flow.py", "-o", "flow.yaml").code == 0
    return project


def leftovers(store: Path) -> list[Path]:
    """What an interrupted write would leave."""
    return [path for path in store.rglob("*") if path.is_file() and "tmp" in path.relative_to(store).parts]


@pytest.mark.parametrize(
    ("how", "parts"),
    [
        ("gone", ["is gone", "run the task that made it again"]),
        ("cut", ["is damaged", "have another hash", "remove it"]),
        ("changed", ["is damaged", "have another hash", "remove it"]),
    ],
)
def test_an_object_that_is_damaged_or_gone(compiled: Project, how: str, parts: list[str]) -> None:
    """The consumer says which input, which object, who made it, what to do; the run can be had again."""
    store = compiled.folder / ".grandpa" / "store"
    says(
        compiled.process("run", "flow.yaml", "-p", f"how={how}", "-p", f"store={store}"),
        3,
        "size (flow.py:",
        "input data",
        "big made it",
        *parts,
    )
    ended = compiled.process("run", "flow.yaml")
    assert (ended.code, ended.value) == (0, 100_000), ended.err
    assert not leftovers(store)


def test_objects_damaged_between_two_runs(project: Project) -> None:
    """One cut short is written again unasked; one changed is told, with its path, and works when it is removed."""
    project.flow(FLOW.replace("os.urandom(n // 2)", "bytes(range(256)) * (n // 512)"))
    assert project.grandpa("compile", "flow.py", "-o", "flow.yaml").code == 0
    assert project.process("run", "flow.yaml").code == 0
    (file,) = project.objects()
    content = file.read_bytes()
    file.chmod(0o600)
    file.write_bytes(content[:20])
    assert project.process("run", "flow.yaml").code == 0
    assert project.objects()[0].read_bytes() == content
    file.write_bytes(content[:-1] + b"?")
    says(project.process("run", "flow.yaml"), 3, "damaged", str(file), "remove it")
    file.unlink()
    assert project.process("run", "flow.yaml").code == 0


# --- no space ------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 128 KiB, where the tests may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip("mounting a small file system takes root")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "none", folder], capture_output=True)
    if done.returncode:
        pytest.skip("this machine lets nobody mount a file system")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_disk_that_is_full(compiled: Project, small_disk: Path) -> None:
    """The task says that the store is full and what to do; nothing half-written stays; less data fits."""
    ended = compiled.process("run", "flow.yaml", "--store", small_disk, "-p", "n=400000")
    says(ended, 3, "big", "is full", "No space left on device", "--store")
    assert not leftovers(small_disk)
    assert compiled.process("run", "flow.yaml", "--store", small_disk, "-p", "n=20000").value == 20_000


def test_threads_go_on_when_the_disk_is_full(compiled: Project, small_disk: Path) -> None:
    """Values are in memory: the result comes, and a note says that the record has a gap."""
    ended = compiled.process("run", "flow.py", "--store", small_disk, "-p", "n=400000")
    assert (ended.code, ended.value) == (0, 400_000), ended.err
    assert "note: values are not recorded any further" in ended.err
    assert "is full" in ended.err
    assert not leftovers(small_disk)


def test_a_quota_on_file_sizes(compiled: Project) -> None:
    """The same without root: the system lets no file grow beyond 50,000 bytes."""
    resource = pytest.importorskip("resource")
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))  # noqa: E731
    env = {"PYTHONDONTWRITEBYTECODE": "1"}
    ended = compiled.process("run", "flow.yaml", env=env, preexec_fn=limit)
    says(ended, 3, "big", "is full", "File too large", "--store")
    assert not leftovers(compiled.folder / ".grandpa" / "store")
    ended = compiled.process("run", "flow.py", env=env, preexec_fn=limit)
    assert (ended.code, ended.value) == (0, 100_000), ended.err
    assert compiled.process("run", "flow.yaml").value == 100_000


# --- no server, no right -------------------------------------------------------------------------


def test_places_that_are_no_store(compiled: Project) -> None:
    """Told before anything runs, with what would be one."""
    before = compiled.files()
    for store, *parts in (
        ("ftp://x/y", "ftp", "s3://bucket"),
        ("s3:/x", "bucket", "s3://bucket"),
        ("flow.py", "flow.py", "Not a directory", "--store"),
    ):
        for file in ("flow.py", "flow.yaml"):
            says(compiled.grandpa("run", file, "--store", store), 1, *parts)
    says(compiled.grandpa("run", "flow.yaml", "--store", "memory:"), 1, "memory", "a folder")
    assert compiled.files() == before


def test_a_server_that_does_not_answer(compiled: Project) -> None:
    """Refused connections and unknown names, within seconds, before anything runs."""
    before = compiled.files()
    env = {"GRANDPA_STORE_ACCESS_KEY": "me", "GRANDPA_STORE_SECRET_KEY": "my-secret"}
    begun = time.monotonic()
    for endpoint, reason in ((f"http://127.0.0.1:{free_port()}", "refused"), ("http://no.such.host.invalid:9000", "")):
        for file in ("flow.py", "flow.yaml"):
            ended = compiled.process("run", file, "--store", f"s3://bucket/x?endpoint={endpoint}", env=env)
            says(ended, 1, endpoint, "bucket bucket", reason, "is it running")
            assert "my-secret" not in ended.err
    assert time.monotonic() - begun < 200  # four commands
    assert compiled.files() == before


def test_no_credentials(compiled: Project) -> None:
    """The names of the variables to set."""
    env = dict.fromkeys(("GRANDPA_STORE_ACCESS_KEY", "AWS_ACCESS_KEY_ID"), "")
    for file in ("flow.py", "flow.yaml"):
        ended = compiled.process("run", file, "--store", "s3://bucket/x?endpoint=http://127.0.0.1:9", env=env)
        says(ended, 1, "credentials", "GRANDPA_STORE_ACCESS_KEY", "AWS_ACCESS_KEY_ID")


def test_compiling_for_a_store_that_is_out_of_reach(compiled: Project) -> None:
    """`--code store`: the file is written, and a note says what must lie where before it runs."""
    ended = compiled.process(
        "compile", "flow.py", "--code", "store", "-o", "other.yaml",
        "--store", f"s3://bucket/x?endpoint=http://127.0.0.1:{free_port()}",
        env={"GRANDPA_STORE_ACCESS_KEY": "me", "GRANDPA_STORE_SECRET_KEY": "my-secret"},
    )  # fmt: skip
    assert ended.code == 0, ended.err
    assert "note: code: the store is not reachable from here" in ended.err
    assert "grandpa deploy" in ended.err
    assert "my-secret" not in (compiled.folder / "other.yaml").read_text()


@pytest.mark.server
def test_wrong_credentials(compiled: Project, minio_server: S3Endpoint) -> None:
    """A wrong key, a wrong secret: which variables to check; the right ones then work, and stand nowhere."""
    store = minio_server.uri(minio_server.new_bucket())
    before = compiled.files()
    for changed in ({"GRANDPA_STORE_ACCESS_KEY": "nobody"}, {"GRANDPA_STORE_SECRET_KEY": "guessed-secret"}):
        for file in ("flow.py", "flow.yaml"):
            ended = compiled.process("run", file, "--store", store, env={**minio_server.env, **changed})
            says(ended, 1, minio_server.endpoint, "access denied", *minio_server.env)
            for secret in ("guessed-secret", minio_server.secret_key):
                assert secret not in ended.err
    assert compiled.files() == before
    for file in ("flow.py", "flow.yaml"):
        ended = compiled.process("run", file, "--store", store, env=minio_server.env)
        assert (ended.code, ended.value) == (0, 100_000), ended.err
    for name, content in compiled.files().items():
        assert minio_server.secret_key.encode() not in content, name


@pytest.mark.server
def test_a_bucket_that_is_not_there(compiled: Project, minio_server: S3Endpoint) -> None:
    for file in ("flow.py", "flow.yaml"):
        ended = compiled.process("run", file, "--store", minio_server.uri("no-such-bucket"), env=minio_server.env)
        says(ended, 1, "no-such-bucket", "does not exist", "make it")


@pytest.mark.server
def test_an_object_that_is_gone_from_the_bucket(project: Project, minio_server: S3Endpoint) -> None:
    """As in a folder; a changed one cannot pass for the right one either."""
    bucket = minio_server.new_bucket()
    project.flow("""
import os

@Node
def big() -> bytes:
    return bytes(range(256)) * 400

@Node
def wreck(data: bytes, how: str) -> int:
    from minio import Minio
    import io
    keys = {"access_key": os.environ["T_KEY"], "secret_key": os.environ["T_SECRET"]}
    client = Minio(endpoint=os.environ["T_HOST"], secure=False, **keys)
    bucket = os.environ["T_BUCKET"]
    found = client.list_objects(bucket_name=bucket, prefix="grandpa/objects/", recursive=True)
    names = [item.object_name for item in found]
    for name in names:
        if how == "gone":
            client.remove_object(bucket_name=bucket, object_name=name)
        else:
            client.put_object(bucket_name=bucket, object_name=name, data=io.BytesIO(b"other"), length=5)
    return len(names)

@Node
def size(data: bytes) -> int:
    return len(data)

@Workflow
def flow(how: str = "gone"):
    data = big()
    return size.options(after=[wreck(data, how)])(data)
""")
    assert project.grandpa("compile", "flow.py").code == 0
    env = {
        **minio_server.env,
        "T_HOST": minio_server.endpoint.removeprefix("http://"),
        "T_KEY": minio_server.access_key,
        "T_SECRET": minio_server.secret_key,
        "T_BUCKET": bucket,
    }
    for how, part in (("gone", "is gone"), ("changed", "is damaged")):
        ended = project.process("run", "flow.yaml", "--store", minio_server.uri(bucket), "-p", f"how={how}", env=env)
        says(ended, 3, "size (flow.py:", "input data", part, "big made it")


@pytest.mark.server
def test_a_server_that_dies_in_the_middle(compiled: Project, own_minio: MinioServer) -> None:
    """The task at work says so, the run ends, and when the server is back everything is as before."""
    endpoint = own_minio.endpoint
    store = endpoint.uri(endpoint.new_bucket())
    compiled.flow("""
import os
import signal

@Node
def big() -> bytes:
    return bytes(100_000)

@Node
def kill(data: bytes, pid: int) -> int:
    if pid:
        os.kill(pid, signal.SIGKILL)
    return len(data)

@Node
def size(data: bytes, n: int) -> int:
    return len(data) + n

@Workflow
def flow(pid: int = 0):
    data = big()
    return size(data, kill(data, pid))
""")
    assert compiled.grandpa("compile", "flow.py").code == 0
    assert own_minio.process is not None
    pid = own_minio.process.pid
    soon = {**endpoint.env, "GRANDPA_STORE_PATIENCE_S": "5"}
    ended = compiled.process("run", "flow.yaml", "--store", store, "-p", f"pid={pid}", env=soon)
    says(ended, 3, "kill", "the server does not answer", "is it running")
    own_minio.kill()
    own_minio.start()
    assert compiled.process("run", "flow.yaml", "--store", store, env=endpoint.env).value == 200_000
