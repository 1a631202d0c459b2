"""A loop of a compiled YAML on its way: its rounds become tasks of the run, all at once or as many as it allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from grandpa_kfp_runtime.typespec import Json

from .growth import Growing, Host

_FEW = 32
"""A loop with a lower limit goes on with every round that ends, one with a higher limit with several at once."""


@dataclass(frozen=True, slots=True)
class Extension:
    """The next rounds, by their items. left: how many of all of them may be missing when the loop goes on; more:
    whether others come after these."""

    items: Sequence[Json]
    left: int = 0
    more: bool = False


class YamlGrowth(Growing):
    """parallelism: how many rounds are under way at once, 0 for all.

    >>> from unittest.mock import Mock
    >>> growth = YamlGrowth(Mock(), ["a", "b", "c", "d"], 2)
    >>> [(next_.items, next_.left, next_.more) for next_ in iter(growth.more, None)]
    [(['a', 'b'], 1, True), (['c'], 1, True), (['d'], 0, False)]
    """

    __slots__ = ("_begun", "_items", "_most")

    def __init__(self, host: Host, items: Sequence[Json], parallelism: int) -> None:
        super().__init__(host)
        self._items = items
        self._most = parallelism or len(items)
        self._begun = 0

    def more(self) -> Extension | None:
        if self._begun == len(self._items):
            return None
        step = 1 if self._most < _FEW else self._most // 2
        items = self._items[self._begun : self._begun + (step if self._begun else self._most)]
        self._begun += len(items)
        more = self._begun < len(self._items)
        return Extension(items, self._most - step if more else 0, more)
