"""A large object to and from a real MinIO, beside minio-py with its defaults, in turns in the same run.

    python benchmarks/store.py [--quick]

Once with the server on this machine, where client and server share its cores and what counts is work: nothing can be
faster than the column "all CPU / cores". Once over connections of 85 MB/s each, about what S3 gives one, where what
counts is how many are used. Ours hashes what it writes and checks what it reads; minio-py's get checks nothing, so
that it stands there with and without a check.
Prints a table, writes benchmarks/results/store.json. Says what falls short of its target, and never fails on time.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from compile import RESULTS, table

from grandpa_kfp_runtime.stores import key_of
from grandpa_kfp_runtime.stores.s3 import S3Store

SIZE = 256 * 1024 * 1024
CONNECTION_BYTES_PER_S = 85e6
PLACES = {"here": "the server on this machine", "there": "85 MB/s a connection"}

Figures = dict[str, float]


class Peers:
    """What is measured: each way of writing and reading against one endpoint."""

    def __init__(self, server: Any, port: int, bucket: str) -> None:
        from minio import Minio

        self.server = server
        self.data = bytearray(os.urandom(SIZE))
        uri = f"s3://{bucket}/grandpa?endpoint=http://127.0.0.1:{port}"
        self.store = S3Store.from_uri(uri, server.endpoint.env)
        self.client = Minio(
            endpoint=f"127.0.0.1:{port}", access_key=server.access_key, secret_key=server.secret_key, secure=False
        )
        self.bucket = bucket
        self.key = ""

    def work(self) -> dict[str, Callable[[], object]]:
        return {
            "write ours": self.write,
            "write minio-py": self.put,
            "read ours": lambda: self.store.read(self.key),
            "read minio-py": self.get,
            "read minio-py, then SHA-256": lambda: hashlib.sha256(self.get()).digest(),
        }

    def write(self) -> None:
        self.key = self.store.write(self.data)

    def put(self) -> None:
        self.client.put_object(bucket_name=self.bucket, object_name="peer", data=io.BytesIO(self.data), length=SIZE)

    def get(self) -> bytes:
        response = self.client.get_object(bucket_name=self.bucket, object_name="peer")
        try:
            return response.read()
        finally:
            response.close()
            response.release_conn()

    def round(self) -> dict[str, Figures]:
        """Each once, with new bytes."""
        self.data[:16] = os.urandom(16)
        found = {name: self.timed(act) for name, act in self.work().items()}
        for item in self.client.list_objects(bucket_name=self.bucket, recursive=True):
            self.client.remove_object(bucket_name=self.bucket, object_name=str(item.object_name))
        return found

    def timed(self, act: Callable[[], object]) -> Figures:
        before = (time.perf_counter(), own_cpu_s(), cpu_s(self.server.process.pid))
        kept = act()
        after = (time.perf_counter(), own_cpu_s(), cpu_s(self.server.process.pid))
        del kept  # giving the memory back is no part of it
        wall, own, server = (end - begin for begin, end in zip(before, after, strict=True))
        return {"s": wall, "client_cpu_s": own, "server_cpu_s": server}


def own_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def cpu_s(process: int) -> float:
    """What another process has used; 0 where the system does not tell."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def limits(times: int) -> Figures:
    """What no client can do without: the hash that the key is, and memory for what is read."""
    data = os.urandom(SIZE)
    works: dict[str, Callable[[], object]] = {
        "sha256_s": lambda: hashlib.sha256(data).digest(),
        "key_s": lambda: key_of(data),
        "fresh_copy_s": lambda: bytearray(data),
    }
    found = {name: statistics.median(seconds(work) for _ in range(times)) for name, work in works.items()}
    begin = time.process_time()
    works["sha256_s"]()
    return {**found, "sha256_cpu_s": time.process_time() - begin}


def seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    kept = work()
    end = time.perf_counter()
    del kept
    return end - begin


@contextmanager
def minio() -> Iterator[Any]:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
    from servers import MinioServer, find_minio

    binary = find_minio()
    if binary is None:
        sys.exit("no MinIO to measure against: `make minio` builds one")
    with tempfile.TemporaryDirectory() as folder:
        server = MinioServer(binary, Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.kill()


@contextmanager
def link(port: int) -> Iterator[int]:
    command = [sys.executable, str(Path(__file__).with_name("link.py")), str(port), str(CONNECTION_BYTES_PER_S)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.terminate()


def measured(times: int) -> dict[str, Any]:
    rounds: dict[str, list[dict[str, Figures]]] = {place: [] for place in PLACES}
    with minio() as server, link(server.port) as far:
        bucket = server.endpoint.new_bucket()
        for place, port in (("here", server.port), ("there", far)):
            peers = Peers(server, port, bucket)
            rounds[place] = [peers.round() for _ in range(times)]
    middle = {
        place: {
            name: {figure: statistics.median(one[name][figure] for one in found) for figure in found[0][name]}
            for name in found[0]
        }
        for place, found in rounds.items()
    }
    return {"bytes": SIZE, "cores": os.cpu_count(), "times": times, **middle, "limits": limits(times)}


def figures_table(found: dict[str, Any]) -> str:
    rows = [["256 MiB", "where", "ms", "MB/s", "CPU client, ms", "CPU server, ms", "all CPU / cores, ms"]]
    for place, text in PLACES.items():
        for name, one in found[place].items():
            work = (one["client_cpu_s"] + one["server_cpu_s"]) / found["cores"]
            row = [name, text, f"{one['s'] * 1000:.0f}", f"{SIZE / one['s'] / 1e6:.0f}"]
            rows.append([*row, *(f"{s * 1000:.0f}" for s in (one["client_cpu_s"], one["server_cpu_s"], work))])
    limits = {
        "sha256_s": "SHA-256 alone",
        "key_s": "the key: SHA-256 in parts, all cores",
        "fresh_copy_s": "a copy into fresh memory",
    }
    for name, text in limits.items():
        s = found["limits"][name]
        rows.append([text, "limit", f"{s * 1000:.0f}", f"{SIZE / s / 1e6:.0f}", "", "", ""])
    return table(rows)


def floors_table(found: dict[str, Any]) -> str:
    """What hashing on every core and the server's own work take here, were all else free: the most that is possible."""
    rows = [["with the server on this machine", "hash + server's CPU / cores, ms", "at most times as fast"]]
    here = found["here"]
    for work, peer in (("write", "minio-py"), ("read", "minio-py"), ("read", "minio-py, then SHA-256")):
        floor = (found["limits"]["sha256_cpu_s"] + here[f"{work} ours"]["server_cpu_s"]) / found["cores"]
        rows.append([f"{work}: {peer}", f"{floor * 1000:.0f}", f"{here[f'{work} {peer}']['s'] / floor:.1f}"])
    return table(rows)


def targets_table(found: dict[str, Any]) -> str:
    rows = [["times as fast as minio-py's defaults", "where", "target", "measured", ""]]
    for place, text in PLACES.items():
        for work, peer in (("write", "minio-py"), ("read", "minio-py"), ("read", "minio-py, then SHA-256")):
            ratio = found[place][f"{work} {peer}"]["s"] / found[place][f"{work} ours"]["s"]
            met = "" if ratio >= 2 else "falls short"
            rows.append([f"{work}: {peer}", text, "at least 2", f"{ratio:.1f}", met])
    return table(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="each figure once; leaves the results as they are")
    quick = parser.parse_args().quick
    found = measured(1 if quick else 5)
    text = f"{figures_table(found)}\n\n{floors_table(found)}\n\n{targets_table(found)}\n"
    print(text)
    if quick:
        return
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "store.md").write_text(text, encoding="utf-8")
    (RESULTS / "store.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(f"written to {RESULTS}", file=sys.stderr)


if __name__ == "__main__":
    main()
