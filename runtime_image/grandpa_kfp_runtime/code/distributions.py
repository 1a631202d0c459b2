"""Which installed distribution brings a module, and in which version.

Read from the names and small files of `*.dist-info` folders: `importlib.metadata` takes tens of
milliseconds to answer the same. The fingerprint and the code zip's manifest ask.
"""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple


class Distribution(NamedTuple):
    """An installed distribution; the version is empty where none brings the module."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name}=={self.version}" if self.version else self.name


_METADATA = (".dist-info", ".egg-info")


def distribution_of(module: str, folder: str | None = None) -> Distribution:
    """The distribution of a top-level module.

    folder: the site-packages it lies in, looked at first; else every entry of `sys.path` is.

    >>> distribution_of("click").name
    'click'
    """
    return _distribution_of(module, folder, tuple(sys.path))


def installed(path: Sequence[str]) -> list[str]:
    """Every distribution that the folders hold, `numpy==1.26.4`, sorted.

    >>> any(item.startswith("click==") for item in installed(sys.path))
    True
    """
    return sorted({str(found) for folder in path if folder for _, found in _scan(folder)})


@functools.lru_cache(maxsize=4096)
def _distribution_of(module: str, folder: str | None, path: tuple[str, ...]) -> Distribution:
    wanted = _normal(module)
    entries = [entry for entry in ((folder, *path) if folder else path) if entry]
    for entry in dict.fromkeys(entries):
        found = _named(entry).get(wanted) or _listed(entry).get(module)
        if found is not None:
            return found
    return Distribution(wanted, "")


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _scan(folder: str) -> Iterator[tuple[Path, Distribution]]:
    try:
        names = sorted(os.listdir(folder))
    except OSError:  # an entry of the path that is a zip, or is gone
        return
    for name in names:
        if name.endswith(_METADATA):
            distribution, _, version = name.rpartition(".")[0].partition("-")
            yield Path(folder, name), Distribution(_normal(distribution), version.partition("-py")[0])


@functools.lru_cache(maxsize=256)
def _named(folder: str) -> dict[str, Distribution]:
    """By the distribution's own name, which most modules share."""
    return {found.name: found for _, found in _scan(folder) if found.name}


@functools.lru_cache(maxsize=256)
def _listed(folder: str) -> dict[str, Distribution]:
    """By the modules that each distribution says it brings (`sklearn` of scikit-learn)."""
    found: dict[str, Distribution] = {}
    for path, distribution in _scan(folder):
        for module in _modules(path):
            found.setdefault(module, distribution)
    return found


def _modules(metadata: Path) -> list[str]:
    top_level = metadata / "top_level.txt"
    if top_level.is_file():
        return top_level.read_text(encoding="utf-8", errors="replace").split()
    record = metadata / "RECORD"
    if not record.is_file():
        return []
    modules: dict[str, None] = {}
    for line in record.read_text(encoding="utf-8", errors="replace").splitlines():
        first = line.partition(",")[0].partition("/")[0]
        stem, dot, suffix = first.partition(".")
        if stem.isidentifier() and (not dot or suffix == "py" or suffix.endswith(("so", "pyd"))):
            modules[stem] = None
    return list(modules)
