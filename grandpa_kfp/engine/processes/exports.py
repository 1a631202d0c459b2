"""Big outputs on their way from the worker that made them into shared memory: their task ends when they are there."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from typing import Any

from grandpa_kfp_runtime.errors import TaskError

from . import specs
from .hands import Hand
from .parcels import SEGMENT, STORED, Key
from .specs import Finished
from .state import Ends, State


class _Saving:
    """A task that has run, and whose outputs are being copied."""

    __slots__ = ("finished", "hand", "left")

    def __init__(self, finished: Finished, hand: Hand, left: int) -> None:
        self.finished = finished
        self.hand = hand
        self.left = left


class Exports:
    """ends: told when a task's outputs are all there, or found no room."""

    __slots__ = ("_ends", "_numbers", "_saving", "_state", "_under_way")

    def __init__(self, state: State, ends: Ends) -> None:
        self._state = state
        self._ends = ends
        self._saving: dict[int, _Saving] = {}
        self._under_way: dict[int, tuple[int, Key, int, bool]] = {}  # segment -> task, output, bytes, on disk
        self._numbers = count(-1, -1)  # of outputs that get no segment

    def save(self, finished: Finished, kept: list[tuple[Key, int]], hand: Hand) -> None:
        """kept: the outputs of the task that its worker still has, with their sizes in bytes."""
        if self._state.briefs.shares_store:
            kept = [item for item in kept if not self._is_stored(item[0], finished.handles, hand)]
        if not kept:
            self._ends.complete(finished)
            return
        self._saving[finished.number] = _Saving(finished, hand, len(kept))
        for key, size_bytes in kept:
            self._export(finished.number, key, size_bytes, hand, on_disk=False)

    def _is_stored(self, key: Key, handles: Mapping[str, str], hand: Hand) -> bool:
        """Whether the record holds the output where every worker can read it."""
        handle = handles.get(key[1], "")
        if not handle.startswith("@"):
            return False
        self._state.outputs.put(key, (STORED, handle, True))
        hand.say(specs.DROP_HELD, (key,))
        return True

    def _export(self, task: int, key: Key, size_bytes: int, hand: Hand, *, on_disk: bool) -> None:
        memory = self._state.crew.memory
        try:
            segment = memory.create(size_bytes, on_disk=on_disk)
        except OSError:  # the worker makes it an object of the run's temporary store
            number = next(self._numbers)
            self._under_way[number] = (task, key, size_bytes, True)
            hand.say(specs.EXPORT, key, number, False)
            return
        self._under_way[segment] = (task, key, size_bytes, on_disk)
        hand.say(specs.EXPORT, key, segment, memory.used_before(segment), descriptors=[memory.descriptor(segment)])

    def exported(self, key: Key, segment: int, *where: Any) -> None:
        task, *_ = self._under_way.pop(segment)
        self._state.outputs.put(key, (SEGMENT, segment, *where) if segment > 0 else (STORED, *where, True))
        saving = self._saving[task]
        saving.left -= 1
        if not saving.left:
            del self._saving[task]
            self._ends.complete(saving.finished)

    def not_exported(self, hand: Hand, key: Key, segment: int, why: str) -> None:
        task, key, size_bytes, on_disk = self._under_way.pop(segment)
        self._state.crew.memory.release(segment)
        if not on_disk:
            self._export(task, key, size_bytes, hand, on_disk=True)
            return
        saving = self._saving.pop(task)
        line = f"its output {key[1]} of {size_bytes:,} bytes found no room in shared memory, nor on disk: {why}"
        self._ends.fail(self._state.not_run(task, saving.finished.duration_s, TaskError(line)))

    def lost_with(self, hand: Hand) -> list[int]:
        """The tasks whose outputs were on their way from a worker that is gone."""
        tasks = [task for task, item in self._saving.items() if item.hand is hand]
        for segment in [number for number, item in self._under_way.items() if item[0] in tasks]:
            del self._under_way[segment]
            self._state.crew.memory.release(segment)
        for task in tasks:
            del self._saving[task]
        return tasks
