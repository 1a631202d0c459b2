"""What is read of a run's records: of each task its last attempt, of tasks of one name each."""

from __future__ import annotations

from grandpa_kfp.deployment.task_records import read_records
from grandpa_kfp_runtime.stores.memory import MemoryStore


def test_the_last_attempt_counts() -> None:
    """The tenth comes after the second; one that succeeded leaves no failure of those before it."""
    store = MemoryStore()
    for attempt in (1, 2, 9):
        store.put_record(f"runs/r/train/u/{attempt}/failure.json", {"task": "train", "attempt": attempt})
    assert read_records(store, "r").failure["train"]["attempt"] == 9
    store.put_record("runs/r/train/u/10/started.json", {"task": "train", "attempt": 10})
    store.put_record("runs/r/train/u/10/done.json", {"task": "train", "outputs": {"result": "1"}})
    found = read_records(store, "r")
    assert (found.failure, found.done["train"]["outputs"], found.started["train"]["attempt"]) == (
        {},
        {"result": "1"},
        10,
    )
    assert read_records(store, "r", ["failure"]).done == {}


def test_tasks_of_one_name_are_numbered_as_they_began() -> None:
    store = MemoryStore()
    for uuid, began in (("a", 2.0), ("b", 1.0)):
        store.put_record(
            f"runs/r/add/{uuid}/20261121T010203.000Z-pod/started.json", {"task": "add", "started_at": began}
        )
    assert {name: item["started_at"] for name, item in read_records(store, "r").started.items()} == {
        "add": 1,
        "add#2": 2,
    }
