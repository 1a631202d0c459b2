"""Events of a container's task in the store: in order, each once, within bounds."""

from __future__ import annotations

from grandpa_kfp_runtime.events.kinds import Event, ProgressMade, TaskFinished
from grandpa_kfp_runtime.events.stored import MOST_OTHERS, EventReader, StoredEvents
from grandpa_kfp_runtime.stores.memory import MemoryStore

PLACE = "runs/r/step/1/1"


def read_back(*events: Event) -> list[Event]:
    """What is read of events that come at once, with others waiting before them."""
    store, warned = MemoryStore(), list[str]()
    stored = StoredEvents(lambda name, record: store.put_record(f"{PLACE}/{name}.json", record), warned.append, 60.0)
    stored.write(events)
    stored.close()
    assert warned == []
    reader = EventReader(store, PLACE)
    found = reader.new()
    assert reader.new() == []
    return found


def test_the_ends_of_thousands_of_tasks_are_told() -> None:
    """Of a step that runs them all; what progress bars say is left out first."""
    ended = [TaskFinished(float(number), f"step/{number}", 1, 0.1, {}) for number in range(5_000)]
    bars = [ProgressMade(float(number), f"step/{number}", 1, {}) for number in range(5_000)]
    mixed = [event for pair in zip(ended, bars, strict=True) for event in pair]
    assert read_back(*mixed) == ended
    assert read_back(*mixed[:100]) == mixed[:100]


def test_the_newest_are_kept_of_too_many() -> None:
    ended = [TaskFinished(float(number), "step/x", 1, 0.1, {}) for number in range(MOST_OTHERS + 10)]
    assert read_back(*ended) == ended[10:]
