"""Names that Kubeflow, Argo and Kubernetes accept, each unique in its room; used by `lower`."""

from __future__ import annotations

import re

NAME_LIMIT = 100
"""Argo stops at 128 characters, and KFP appends to a name."""

_OTHER = re.compile(r"[^a-z0-9]+")
_CLEAN = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def sanitise(text: str, *, fallback: str = "task") -> str:
    """Lower-case ASCII letters, digits and single `-` between them.

    >>> sanitise("train/Fit_model-2"), sanitise("größe"), sanitise("模型")
    ('train-fit-model-2', 'gr-e', 'task')
    """
    name = _OTHER.sub("-", text.lower()).strip("-")
    return name[:NAME_LIMIT].rstrip("-") or fallback


class Names:
    """One room of names: what differs outside keeps different names inside."""

    __slots__ = ("_next", "_taken")

    def __init__(self, *taken: str) -> None:
        self._taken = set(taken)
        self._next: dict[str, int] = {}

    def pick(self, text: str, *, fallback: str = "task") -> str:
        """The sanitised text, with `-2`, `-3`, ... where it is taken.

        >>> names = Names("add")
        >>> names.pick("add"), names.pick("Add"), names.pick("sub")
        ('add-2', 'add-3', 'sub')
        """
        name = text if _CLEAN.fullmatch(text) and len(text) <= NAME_LIMIT else sanitise(text, fallback=fallback)
        if name in self._taken:
            number = self._next.get(name, 2)
            while f"{name}-{number}" in self._taken:
                number += 1
            self._next[name] = number + 1
            name = f"{name}-{number}"
        self._taken.add(name)
        return name
