"""`grandpa store`: what is there, and that nothing is removed that anybody needs."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from command_line import Project, says

from grandpa_kfp.engine.record import list_runs
from grandpa_kfp.storekeeping import DAY_S, Garbage, collect, contents, garbage
from grandpa_kfp_runtime.stores.file import FileStore
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


def test_a_shared_store_is_left_alone(kept: Kept, tmp_path: Path) -> None:
    """Runs of others in it are not known here."""
    says(kept.project.grandpa("store", "gc", "--store", "memory:"), 1, "is no folder", "lifecycle rules")
    assert kept.project.grandpa("store", "du").out.split()[1] == "0"
    assert not (kept.root / ".grandpa").exists()
