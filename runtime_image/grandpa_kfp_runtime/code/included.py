"""`include=[...]`: data files and modules that go along though no import names them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import PayloadError
from .imports import Locator
from .project import find_root, module_name_for

_LEFT_OUT = frozenset({"__pycache__", ".git", ".grandpa", ".venv", ".mypy_cache", ".pytest_cache", ".ruff_cache"})


@dataclass(frozen=True, slots=True)
class Included:
    """files: (absolute path, content); modules: names, each the project's own."""

    root: Path
    files: tuple[tuple[Path, bytes], ...] = ()
    modules: tuple[str, ...] = ()


def read_include(include: Iterable[str | Path], root: Path, locator: Locator) -> Included:
    """What the entries of an include name: a file, a folder, a pattern (`data/*.csv`), a dotted module name.

    Raises PayloadError for an entry that names nothing, or lies outside the project.
    """
    top = Path(os.path.abspath(root))
    files: dict[Path, bytes] = {}
    modules: dict[str, None] = {}
    for entry in include:
        if isinstance(entry, str) and _is_module(entry, top, locator):
            modules.update(dict.fromkeys(_with_submodules(entry, locator)))
            continue
        for file in _files(entry, top):
            if file.suffix == ".py":
                for folder in {top, _import_root(file, top)}:  # nothing tells by which name it will be imported
                    name = module_name_for(file, folder)
                    if locator.find(name) is None:
                        locator.add(name, file)
                    modules[name] = None
            else:
                files[file] = _read(file)
    return Included(top, tuple(sorted(files.items())), tuple(sorted(modules)))


def _is_module(entry: str, root: Path, locator: Locator) -> bool:
    if not all(part.isidentifier() for part in entry.split(".")) or (root / entry).exists():
        return False
    if locator.is_own(entry):
        return True
    if locator.find(entry) is not None:
        raise PayloadError(
            f"include: {entry} is not a module of the project but of an installed distribution; "
            "name the distribution in the nodes' packages=[...] instead"
        )
    return False


def _with_submodules(name: str, locator: Locator) -> Iterator[str]:
    """A package goes with all its modules: what is loaded by name at run time is found in it."""
    yield name
    located = locator.find(name)
    for folder in (located.search or ()) if located is not None else ():
        for file in sorted(Path(folder).rglob("*.py")):
            below = file.relative_to(folder).with_suffix("").parts
            if _LEFT_OUT.isdisjoint(below):
                parts = below[:-1] if below[-1] == "__init__" else below
                if parts and all(part.isidentifier() for part in parts):
                    yield ".".join((name, *parts))


def _files(entry: str | Path, root: Path) -> list[Path]:
    path = Path(os.path.abspath(root / entry))
    if not path.is_relative_to(root):
        raise PayloadError(f"include: {entry} lies outside the project {root}; copy it into the project")
    if path.is_file():
        return [path]
    pattern = path.relative_to(root).as_posix()
    found = path.rglob("*") if path.is_dir() else root.glob(pattern) if any(mark in pattern for mark in "*?[") else ()
    files = [item for item in found if item.is_file() and _LEFT_OUT.isdisjoint(item.relative_to(root).parts)]
    if not files:
        hint = "" if find_root(root) == root else f" (the project's root is {root})"
        raise PayloadError(f"include: {entry} names no file or module of the project{hint}")
    return sorted(files)


def _import_root(file: Path, root: Path) -> Path:
    """The innermost folder of the path within the project that holds the file: `src` where modules lie in it."""
    entries = [Path(os.path.abspath(entry or ".")) for entry in sys.path]
    inside = [entry for entry in entries if entry.is_relative_to(root) and file.is_relative_to(entry)]
    packages = [entry for entry in inside if not (entry / "__init__.py").exists()]
    return max(packages, key=lambda entry: len(entry.parts), default=root)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise PayloadError(f"include: {file} cannot be read: {error.strerror}") from error
