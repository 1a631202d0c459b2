"""S3 servers that the tests start: moto in a thread, a real MinIO as a process. A pytest plugin.

`s3_endpoints` runs a test once against each. MinIO's binary is $GRANDPA_MINIO_BIN, else
`.cache/bin/minio` in the repository, else `~/.cache/grandpa-kfp-dev/bin/minio`; where there is none, its
tests are skipped, and the end of the report says so.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
_missing: list[str] = []


@dataclass
class S3Endpoint:
    """One running server: where it is and how to get in."""

    name: str
    endpoint: str
    access_key: str
    secret_key: str
    checks_credentials: bool
    buckets: list[str] = field(default_factory=list)

    @property
    def env(self) -> dict[str, str]:
        return {"GRANDPA_STORE_ACCESS_KEY": self.access_key, "GRANDPA_STORE_SECRET_KEY": self.secret_key}

    def client(self):  # type: ignore[no-untyped-def]
        """A MinIO client of the test's own, past our store."""
        import urllib3
        from minio import Minio

        http = urllib3.PoolManager(timeout=30)
        client = Minio(
            endpoint=self.endpoint.removeprefix("http://"),
            access_key=self.access_key,
            secret_key=self.secret_key,
            secure=False,
            region="us-east-1",
            http_client=http,
        )
        weakref.finalize(client, http.clear)
        return client

    def new_bucket(self) -> str:
        """The name of a new, empty bucket."""
        bucket = f"test-{len(self.buckets)}-{os.urandom(3).hex()}"
        self.client().make_bucket(bucket_name=bucket)
        self.buckets.append(bucket)
        return bucket

    def uri(self, bucket: str, prefix: str = "grandpa") -> str:
        return f"s3://{bucket}/{prefix}?endpoint={self.endpoint}"


class MinioServer:
    """A MinIO process over a folder; may be killed and started again over the same one."""

    def __init__(self, binary: Path, folder: Path) -> None:
        self.binary = binary
        self.folder = folder
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.access_key = "grandpa-test"
        self.secret_key = os.urandom(12).hex()

    @property
    def endpoint(self) -> S3Endpoint:
        return S3Endpoint("minio", f"http://127.0.0.1:{self.port}", self.access_key, self.secret_key, True)

    def start(self) -> None:
        data = self.folder / "data"
        data.mkdir(parents=True, exist_ok=True)
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                [self.binary, "server", data, "--address", f"127.0.0.1:{self.port}", "--quiet"],
                env={
                    **os.environ,
                    "MINIO_ROOT_USER": self.access_key,
                    "MINIO_ROOT_PASSWORD": self.secret_key,
                    "MINIO_BROWSER": "off",
                    "MINIO_UPDATE": "off",
                    "MINIO_CI_CD": "1",
                    "HOME": str(self.folder),
                },
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        deadline = time.monotonic() + 180
        while not self._ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                pytest.fail("MinIO does not start:\n" + (self.folder / "log").read_text()[-2000:])
            time.sleep(0.05)

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/minio/health/ready", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def find_minio() -> Path | None:
    given = os.environ.get("GRANDPA_MINIO_BIN")
    for path in (
        *([Path(given)] if given else []),
        REPOSITORY / ".cache" / "bin" / "minio",
        Path.home() / ".cache" / "grandpa-kfp-dev" / "bin" / "minio",
    ):
        if path.is_file() and os.access(path, os.X_OK):
            return path
    return None


@pytest.fixture(scope="session")
def moto_server() -> Iterator[S3Endpoint]:
    """moto's S3, which accepts every credential."""
    server_module = pytest.importorskip("moto.server", reason="moto is not installed")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield S3Endpoint("moto", f"http://{host}:{port}", "any", "any-secret", False)
    server.stop()


@pytest.fixture(scope="session")
def minio_binary() -> Path:
    binary = find_minio()
    if binary is None:
        reason = "no MinIO binary: set GRANDPA_MINIO_BIN or put one at .cache/bin/minio"
        _missing.append(reason)
        pytest.skip(reason)
    return binary


@pytest.fixture(scope="session")
def minio_server(minio_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Endpoint]:
    """A real MinIO, shared by all tests that do not kill it."""
    folder = tmp_path_factory.mktemp("minio")
    server = MinioServer(minio_binary, folder)
    server.start()
    yield server.endpoint
    server.kill()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def own_minio(minio_binary: Path, tmp_path: Path) -> Iterator[MinioServer]:
    """A MinIO of the test's own, to be killed."""
    server = MinioServer(minio_binary, tmp_path / "minio")
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="session", params=["moto", "minio"])
def s3_endpoints(request: pytest.FixtureRequest) -> S3Endpoint:
    """Each server in turn."""
    return request.getfixturevalue(f"{request.param}_server")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for reason in dict.fromkeys(_missing):
        terminalreporter.write_line(f"NOT TESTED against a real S3 server: {reason}", yellow=True, bold=True)
