"""`grandpa store`: what is there, and that nothing is removed that anybody needs."""

from __future__ import annotations

import io
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from command_line import Project, says
from servers import S3Endpoint

from grandpa_kfp.engine.record import list_runs
from grandpa_kfp.storekeeping import DAY_S, Garbage, collect, contents, garbage
from grandpa_kfp_runtime.stores import open_store, s3_keeping
from grandpa_kfp_runtime.stores.base import key_of, object_path
from grandpa_kfp_runtime.stores.file import FileStore
from grandpa_kfp_runtime.stores.s3 import S3Store
from grandpa_kfp_runtime.values.handles import to_handle, write_handles

FLOW = """
@Node
def big(n: int) -> list:
    return [0.5] * 1000 + [n]

@Node
def also(rows: list) -> list:
    return rows + [1]

@Workflow
def flow(n: int = 1):
    return also(big(n))
"""


class Kept:
    """A project with runs in it, and its store."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.root = project.folder
        self.store = FileStore(self.root / ".grandpa" / "store")
        project.flow(FLOW)

    def run(self, n: int, *options: str) -> str:
        assert self.project.grandpa("run", "flow.py", "-p", f"n={n}", *options).code == 0
        return self.newest

    def age(self, days: float, *parts: str) -> None:
        """Everything below these folders of `.grandpa` was written so long ago."""
        at = time.time() - days * DAY_S
        for part in parts or ("",):
            top = self.root / ".grandpa" / part
            for path in (*top.rglob("*"), top):
                os.utime(path, (at, at))

    @property
    def newest(self) -> str:
        return list_runs(self.root)[-1]

    @property
    def objects(self) -> set[str]:
        return set(contents(self.store, self.root).objects)

    def gc(self, days: float = 30.0) -> Garbage:
        found = garbage(self.store, self.root, days)
        collect(self.store, self.root, found)
        return found


@pytest.fixture
def kept(project: Project) -> Kept:
    return Kept(project)


def test_old_runs_and_what_they_alone_name_go(kept: Kept) -> None:
    """A younger run keeps its own; the results of the old one are forgotten with it."""
    old = kept.run(1)
    kept.age(31)
    before = kept.objects
    kept.run(2)
    dry = garbage(kept.store, kept.root, 30)
    assert (dry.runs, set(dry.objects)) == ((old,), before)
    assert dry.size_bytes > 8000
    assert len(dry.records) == 2
    assert kept.gc() == dry
    assert len(kept.objects) == 2
    assert not kept.objects & before
    ended = kept.project.grandpa("run", "flow.py", "-p", "n=2")
    assert "(2 cached, 0 ran)" in ended.err
    assert "cached" not in kept.project.grandpa("run", "flow.py", "-p", "n=1").err


def test_a_kept_run_keeps_what_it_took_from_an_old_one(kept: Kept) -> None:
    """Its tasks were cached: the objects are those of the run that is removed."""
    kept.run(1)
    kept.age(31)
    kept.run(1)
    before = kept.objects
    assert kept.gc().objects == ()
    assert kept.objects == before
    assert kept.project.grandpa("inspect", kept.newest, "also").code == 0


def test_nothing_younger_than_a_day_goes(kept: Kept) -> None:
    """Though nothing names it, and the days to keep are as few as can be."""
    key = kept.store.write(b"nobody's")
    assert kept.gc(0).objects == ()
    kept.age(0.9)
    assert kept.gc(0).objects == ()
    kept.age(1.1)
    assert kept.gc(0).objects == (key,)


def test_writing_what_is_there_makes_it_young(kept: Kept) -> None:
    """A run that goes on meanwhile names it only afterwards."""
    kept.store.write(b"nobody's")
    kept.age(40)
    found = garbage(kept.store, kept.root, 30)
    assert len(found.objects) == 1
    kept.store.write(b"nobody's")
    collect(kept.store, kept.root, found)
    assert len(kept.objects) == 1
    assert kept.gc().objects == ()


def test_records_in_the_store_keep_what_they_name(kept: Kept) -> None:
    """Packages for ever; what stored lists of handles name too; runs of tasks as long as they are young."""
    item = to_handle([0.5] * 1000, kept.store)
    listed = write_handles([item], kept.store)
    package = kept.store.write(b"a package")
    lost = kept.store.write(b"of an old run")
    kept.store.put_record("packages/abc.json", {"object": package})
    kept.store.put_record("runs/old/task/1/done.json", {"outputs": {"result": f"@{lost}"}})
    kept.age(40)
    kept.store.put_record("runs/new/task/1/done.json", {"outputs": {"result": listed}})
    found = kept.gc()
    assert found.objects == (lost,)
    assert found.records == ("runs/old/task/1/done.json",)
    assert kept.objects == {item[1:], listed[1:], package}
    assert kept.store.list_records() == ["packages/abc.json", "runs/new/task/1/done.json"]
    assert not (kept.store.root / "runs" / "old").exists()


def test_left_overs_of_killed_writers_go(kept: Kept) -> None:
    """After a day."""
    kept.store.write(b"x")
    (kept.store.root / "tmp" / "1-a-2").write_bytes(b"half")
    kept.gc()
    assert (kept.store.root / "tmp" / "1-a-2").exists()
    kept.age(2, "store/tmp")
    kept.gc()
    assert not (kept.store.root / "tmp" / "1-a-2").exists()


def test_a_run_whose_record_was_cut_short_counts_too(kept: Kept) -> None:
    """By its files and their age."""
    run = kept.run(1)
    head = kept.root / ".grandpa" / "runs" / run / "run.json"
    head.write_text("{")
    before = kept.objects
    assert kept.gc().objects == ()
    assert kept.objects == before


def test_the_command_line(kept: Kept) -> None:
    """`ls` of runs and of one, `du`, `gc --dry-run` that removes nothing, then `gc`."""
    run = kept.run(1)
    listed = kept.project.grandpa("store", "ls").out
    assert listed.split()[:4] == [run, "succeeded", "2", "objects"]
    assert len(kept.project.grandpa("store", "ls", run[:-1]).out.splitlines()) == 2
    says(kept.project.grandpa("store", "ls", "nope"), 1, "no runs begin with 'nope'")
    kept.store.write(b"nobody's")
    kept.age(3)
    rows = {line.rsplit(None, 3)[0]: line.split()[-3] for line in kept.project.grandpa("store", "du").out.splitlines()}
    assert rows == {"objects": "3", "of runs recorded here": "2", "of other records alone": "0", "of none": "1"}
    before = kept.project.files()
    assert kept.project.grandpa("store", "gc", "--dry-run").out == "would remove 0 runs, 0 records, 1 object (8 B)\n"
    assert kept.project.files() == before
    assert kept.project.grandpa("store", "gc").out == "removed 0 runs, 0 records, 1 object (8 B)\n"
    assert kept.project.grandpa("store", "gc", "--keep-days", "2").out.startswith("removed 1 run, 2 records, 2 objects")
    assert kept.objects == set()


def test_a_store_that_keeps_nothing_has_nothing_to_remove(kept: Kept) -> None:
    """And asking what there is makes no folder."""
    says(kept.project.grandpa("store", "gc", "--store", "memory:"), 1, "keeps nothing")
    assert kept.project.grandpa("store", "du").out.split()[1] == "0"
    assert not (kept.root / ".grandpa").exists()


# --- buckets -------------------------------------------------------------------------------------------


class Bucket:
    """A project that keeps its values in a bucket, whose objects cannot be made old: the clock is put forward."""

    def __init__(self, project: Project, endpoint: S3Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in endpoint.env.items():
            monkeypatch.setenv(name, value)
        self.project = project
        self.root = project.folder
        self.uri = endpoint.uri(endpoint.new_bucket())
        opened = open_store(self.uri)
        assert isinstance(opened, S3Store)
        self.store = opened
        project.flow(FLOW)

    def run(self, n: int) -> None:
        ended = self.project.grandpa("run", "flow.py", "-p", f"n={n}", "--store", self.uri)
        assert ended.code == 0, ended.err

    def gc(self, days_from_now: float) -> Garbage:
        now = time.time() + days_from_now * DAY_S
        found = garbage(self.store, self.root, 30, now)
        collect(self.store, self.root, found, now)
        return found

    @property
    def objects(self) -> set[str]:
        return {key for key, _, _ in self.store.objects()}


@pytest.fixture
def bucket(project: Project, s3_endpoints: S3Endpoint, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    return Bucket(project, s3_endpoints, monkeypatch)


def test_in_a_bucket_what_nobody_needs_goes_when_it_is_old(bucket: Bucket) -> None:
    """What a kept run names stays, also what stored lists name; records of old runs go with their objects."""
    bucket.run(1)
    shutil.rmtree(bucket.root / ".grandpa")  # of another machine, whose runs are not known here
    item = to_handle([0.5] * 1000, bucket.store)
    listed = write_handles([item], bucket.store)
    package = bucket.store.write(b"a package")
    lost = bucket.store.write(b"nobody's")
    bucket.store.put_record("packages/abc.json", {"object": package, "list": listed})
    before = bucket.objects
    assert bucket.gc(29).objects == ()
    assert bucket.objects == before
    found = bucket.gc(31)
    assert lost in found.objects
    assert len(found.records) == 2
    assert bucket.objects == {item[1:], listed[1:], package}
    assert bucket.store.list_records() == ["packages/abc.json"]
    bucket.run(1)
    assert bucket.gc(31).runs != ()


def test_the_command_line_on_a_bucket(bucket: Bucket) -> None:
    """`ls`, `du`, `gc`; nothing in it is old."""
    bucket.run(1)
    grandpa = bucket.project.grandpa
    assert grandpa("store", "ls", "--store", bucket.uri).out.split()[2:4] == ["2", "objects"]
    assert grandpa("store", "du", "--store", bucket.uri).out.split()[1] == "2"
    bucket.store.write(b"nobody's")
    before = bucket.objects
    for options in (("--dry-run",), ()):
        ended = grandpa("store", "gc", "--keep-days", "1", "--store", bucket.uri, *options)
        assert ended.out.endswith("0 runs, 0 records, 0 objects (0 B)\n"), ended.err
    assert bucket.objects == before
    says(grandpa("store", "du", "--store", bucket.uri.replace("/grandpa", "-none/grandpa")), 1, "bucket")


def test_who_writes_what_is_there_keeps_it(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """So does a run that takes it from an earlier one: between the look and the removal it has become young."""
    monkeypatch.setattr(s3_keeping, "TOUCH_AFTER_S", 1.0)
    keys = [bucket.store.write(b"%d" % number) for number in range(3)]
    before = {key: at for key, _, at in bucket.store.objects()}
    while time.time() - max(before.values()) < 2.0:
        time.sleep(0.1)
    bucket.store.write(b"0")
    assert bucket.store.exists(keys[1], renew=True)
    assert bucket.store.exists(keys[2])
    after = {key: at for key, _, at in bucket.store.objects()}
    assert [after[key] > before[key] for key in keys] == [True, True, False]
    for key in keys:
        bucket.store.remove(key, older_than=max(before.values()) + 0.5)
    assert bucket.objects == set(keys[:2])
    assert bytes(bucket.store.read(keys[0])) == b"0"


def test_pages_of_a_bucket_are_all_read(moto_server: S3Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server lists a thousand names at a time, and so are they asked for."""
    for name, value in moto_server.env.items():
        monkeypatch.setenv(name, value)
    bucket, client = moto_server.new_bucket(), moto_server.client()
    keys = {key_of(b"%d" % number) for number in range(1_003)}

    def put(key: str) -> None:
        client.put_object(
            bucket_name=bucket, object_name=f"grandpa/{object_path(key)}", data=io.BytesIO(b"x"), length=1
        )

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, keys))
    store = open_store(moto_server.uri(bucket))
    assert isinstance(store, S3Store)
    assert {key for key, _, _ in store.objects()} == keys
    monkeypatch.setattr(s3_keeping, "_PAGE", 250)
    assert {key for key, _, _ in store.objects()} == keys


def test_a_result_whose_object_left_the_bucket_is_made_again(bucket: Bucket) -> None:
    """A cached result counts only while its objects are there."""
    bucket.run(1)
    run = bucket.project.grandpa("run", "flow.py", "--store", bucket.uri)
    assert "(2 cached, 0 ran)" in run.err
    for key in bucket.objects:
        bucket.store.remove(key, older_than=time.time() + DAY_S)
    assert "cached" not in bucket.project.grandpa("run", "flow.py", "--store", bucket.uri).err
