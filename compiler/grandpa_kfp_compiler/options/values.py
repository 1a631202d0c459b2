"""What a user may set for a task, as a value. `table.py` holds the rule of each option; `graph.py` hands it on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

from .placement import Toleration
from .table import RULES
from .volumes import Volume

TextsByName: TypeAlias = tuple[tuple[str, str], ...]
"""Sorted by name."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a user may set for a node, one call or a whole workflow; None is unset. table.py holds the rules.

    cpu: cores or Kubernetes' text (`500m`); memory: Kubernetes' text (`2Gi`); either may be (request, limit);
    gpu: a count, gpu_type: of which resource (`nvidia.com/gpu`); shm, disk: sizes;
    secrets, config_maps: environment variable -> `object/key`, or folder -> `object`;
    volumes: folder -> volume; affinity, kubernetes: field -> its JSON text;
    cache: True, False or a time to live (`1d`); version: any text, part of the fingerprint;
    keep: a worker may keep the instance for reuse; uses: how much of which scarce resource a task takes;
    backoff_s: the first pause between attempts, times backoff_factor for each next, at most backoff_max_s;
    always: runs whatever became of what it waits for; artifact: the name under which its result is published;
    index_url: where packages come from; fallback: the handle, all of it, of what takes the place of the result of a
    task that has failed for good.
    """

    retries: int | None = None
    timeout_s: float | None = None
    cpu: str | tuple[str | None, str | None] | None = None
    memory: str | tuple[str | None, str | None] | None = None
    gpu: int | None = None
    env: TextsByName | None = None
    image: str | None = None
    packages: tuple[str, ...] | None = None
    secrets: TextsByName | None = None
    cache: bool | str | None = None
    version: str | None = None
    verbose: bool | None = None
    keep: bool | None = None
    index_url: str | None = None
    backoff_s: float | None = None
    backoff_factor: float | None = None
    backoff_max_s: float | None = None
    uses: tuple[tuple[str, int], ...] | None = None
    always: bool | None = None
    artifact: str | None = None
    gpu_type: str | None = None
    shm: str | None = None
    disk: str | None = None
    volumes: tuple[tuple[str, Volume], ...] | None = None
    config_maps: TextsByName | None = None
    node_selector: TextsByName | None = None
    tolerations: tuple[Toleration, ...] | None = None
    affinity: TextsByName | None = None
    labels: TextsByName | None = None
    annotations: TextsByName | None = None
    image_pull_secrets: tuple[str, ...] | None = None
    kubernetes: TextsByName | None = None
    fallback: str | None = None

    def over(self, base: Options) -> Options:
        """These options where set, else the base's; what is kept by name (env, volumes) is merged name by name."""
        if base is NO_OPTIONS:
            return self
        chosen: dict[str, Any] = {}
        for name in OPTION_NAMES:
            mine, theirs = getattr(self, name), getattr(base, name)
            if mine is None:
                mine = theirs
            elif theirs is not None and RULES[name].by_name:
                mine = tuple(sorted({**dict(theirs), **dict(mine)}.items()))
            if mine is not None:
                chosen[name] = mine
        return Options(**chosen)

    def surroundings(self) -> Options:
        """What of them another task needs, to run wherever this one can and to read what it reads."""
        return Options(**{name: getattr(self, name) for name in _SURROUNDINGS})

    def chosen(self) -> Iterator[tuple[str, Any]]:
        """The options that are set, by name."""
        for name in OPTION_NAMES:
            value = getattr(self, name)
            if value is not None:
                yield name, value


OPTION_NAMES = tuple(item.name for item in fields(Options))
NO_OPTIONS = Options()
_SURROUNDINGS = (
    "image", "packages", "index_url", "image_pull_secrets", "node_selector", "tolerations", "affinity", "labels",
    "annotations",
)  # fmt: skip
