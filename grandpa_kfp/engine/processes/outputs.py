"""What the parent knows of the outputs of tasks: where each is, how often it will still be read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from .hands import Hand
from .memory import Memory
from .parcels import HELD, SEGMENT, Key, Parcel
from .specs import DROP_HELD


class Outputs:
    """uses: how often each output is read, the run's own value included. Forgotten with its last use."""

    __slots__ = ("_holders", "_memory", "_parcels", "_shared", "uses")

    def __init__(self, uses: Mapping[Key, int], memory: Memory) -> None:
        self.uses = dict(uses)
        self._memory = memory
        self._parcels: dict[Key, Parcel] = {}
        self._holders: dict[Key, Hand] = {}
        self._shared: Counter[int] = Counter()  # segments that are the value of several outputs: of how many more

    def expect(self, uses: Mapping[Key, int]) -> None:
        """Outputs of tasks that were added, and more uses of those that are there."""
        for key, count in uses.items():
            self.uses[key] = self.uses.get(key, 0) + count

    def share(self, key: Key, other: Key) -> None:
        """The output is the other one as it is, which is used once less."""
        parcel = self._parcels[other]
        if self.uses.get(key):
            self._parcels[key] = parcel
            if parcel[0] == SEGMENT:
                self._shared[parcel[1]] += 1
        self.used(other)

    def put(self, key: Key, parcel: Parcel) -> None:
        self._parcels[key] = parcel

    def hold(self, key: Key, hand: Hand) -> None:
        """The worker keeps it, for a task that it has been given."""
        self._parcels[key] = (HELD, key, True)
        self._holders[key] = hand

    def parcel(self, key: Key) -> Parcel:
        return self._parcels[key]

    def has(self, key: Key) -> bool:
        return key in self._parcels

    def is_lost(self, key: Key, hand: Hand) -> bool:
        """Whether the worker that is gone had the only copy."""
        return key not in self._parcels or self._holders.get(key) is hand

    def used(self, key: Key) -> None:
        """A task that read it has ended for good."""
        left = self.uses[key] = self.uses[key] - 1
        if left:
            return
        del self.uses[key]
        parcel = self._parcels.pop(key, None)
        holder = self._holders.pop(key, None)
        if parcel is not None and parcel[0] == SEGMENT:
            if self._shared[parcel[1]]:
                self._shared[parcel[1]] -= 1
            else:
                self._memory.release(parcel[1])
        elif holder is not None:
            holder.say(DROP_HELD, (key,))  # in case the task never fetched it
