"""How long tasks of each node take, as measured: what makes a task tiny, and how many of them go in one message."""

from __future__ import annotations

TINY_S = 0.001
"""Below this, sending a task costs a share of running it that is worth saving."""
_CHUNK_S = 0.003
_MOST = 512
_WEIGHT = 0.3


class Speeds:
    """Durations by node, newer ones counting more."""

    __slots__ = ("_growing", "_mean_s")

    def __init__(self) -> None:
        self._mean_s: dict[str, float] = {}
        self._growing: set[str] = set()

    def grows(self, node: str) -> bool:
        """Whether a task of the node has become others: what follows on it does not follow at once then."""
        return node in self._growing

    def add(self, node: str, duration_s: float, *, grew: bool = False) -> None:
        if grew:
            self._growing.add(node)
        before = self._mean_s.get(node)
        # a slow one counts at once: a wrong guess for slow tasks costs more than one for fast ones
        if before is None or duration_s > 4 * before + 0.0002:
            self._mean_s[node] = duration_s
        else:
            self._mean_s[node] = before + _WEIGHT * (duration_s - before)

    def is_tiny(self, node: str) -> bool:
        """False for a node that has not been measured."""
        return self._mean_s.get(node, TINY_S) < TINY_S

    def at_once(self, node: str) -> int:
        """How many tasks of the node make one message."""
        mean_s = self._mean_s.get(node)
        return 1 if mean_s is None or mean_s >= TINY_S else min(_MOST, int(_CHUNK_S / max(mean_s, 1e-6)) or 1)
