"""Finds modules without importing them, and what a project's modules import in turn.

`closure` is what the code zip holds; `Locator` tells the fingerprint whether a name is the project's
own or an outside distribution's.
"""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from .canonical import Import
from .distributions import Distribution, distribution_of
from .project import OURS, import_base, is_project_file, is_standard, live_module
from .source import ModuleSource, read_source


@dataclass(frozen=True, slots=True)
class Located:
    """Where a module is.

    file: None for a namespace package and for what has no file; search: of a package, where its modules are.
    own: source of the project's own; packages of namespace have it where their folder is no library's.
    """

    name: str
    file: str | None
    search: tuple[str, ...] | None = None
    own: bool = False

    @property
    def is_package(self) -> bool:
        return self.search is not None

    @property
    def base(self) -> Path:
        """The folder from which it is imported."""
        assert self.file is not None
        return import_base(self.name, Path(self.file), self.is_package)


class Locator:
    """Finds modules by name, each once: as loaded, else as an import would find it."""

    __slots__ = ("_found", "_path")

    def __init__(self, path: Sequence[str] = ()) -> None:
        """path: folders to look into in front of `sys.path`, such as the project's root."""
        self._found: dict[str, Located | None] = {}
        self._path = [*path]

    def add(self, name: str, file: Path | str) -> None:
        """Tells where a module is that no import would find: a script under its project name."""
        path = os.path.abspath(file)
        search = (os.path.dirname(path),) if os.path.basename(path) == "__init__.py" else None
        self._found[name] = Located(name, path, search, is_project_file(name, path))

    def find(self, name: str) -> Located | None:
        """The module, None where no import would find it."""
        if name not in self._found:
            self._found[name] = self._find(name)
        return self._found[name]

    def source(self, name: str) -> ModuleSource | None:
        """The index of a module of the project's own; None for a namespace package and for all others."""
        found = self.find(name)
        return read_source(found.file) if found is not None and found.own and found.file is not None else None

    def is_own(self, name: str) -> bool:
        found = self.find(name)
        return found is not None and found.own

    def outside(self, name: str) -> Distribution | None:
        """The distribution of a module that is not the project's own; None for the standard library."""
        top = name.partition(".")[0]
        if is_standard(top) or top == "__main__":
            return None
        if top in OURS:
            return distribution_of("grandpa_kfp")
        found = self.find(top)
        folder = None
        if found is not None:
            place = found.file or (found.search[0] if found.search else None)
            if place is not None:
                folder = os.path.dirname(os.path.dirname(place) if found.search is not None and found.file else place)
        return distribution_of(top, folder)

    def absolute(self, within: str, target: Import) -> str | None:
        """The absolute name of the module that an import statement in module `within` names."""
        if target.level == 0:
            return target.module
        here = self.find(within)
        parts = within.split(".")
        drop = target.level - (1 if here is not None and here.is_package else 0)
        if drop > len(parts):
            return None
        kept = parts[: len(parts) - drop]
        return ".".join([*kept, target.module] if target.module else kept) or None

    def _find(self, name: str) -> Located | None:
        top, _, _ = name.partition(".")
        live = live_module(name)
        if live is not None:
            return _as_loaded(name, live)
        if is_standard(top):
            return Located(name, None)
        parent, _, _ = name.rpartition(".")
        path: list[str] | None = None
        if parent:
            above = self.find(parent)
            if above is None or above.search is None:
                return None
            path = list(above.search)
        spec = _spec(name, path, self._path)
        if spec is None:
            folders = [os.path.join(folder, name.rpartition(".")[2]) for folder in path or ()]
            spaces = [folder for folder in folders if os.path.isdir(folder)]
            return _located(name, None, spaces) if spaces else None
        search = spec.submodule_search_locations
        return _located(name, spec.origin if spec.has_location else None, search)


def _as_loaded(name: str, module: ModuleType) -> Located:
    file = getattr(module, "__file__", None)
    return _located(name, file, getattr(module, "__path__", None))


def _located(name: str, file: str | None, search: Any) -> Located:
    folders = None if search is None else tuple(map(os.path.abspath, search))
    if file is not None:
        path = os.path.abspath(file)
        return Located(name, path, folders, is_project_file(name, path))
    own = bool(folders) and is_project_file(name, os.path.join(folders[0], "module.py"))  # type: ignore[index]
    return Located(name, None, folders, own)


def _spec(name: str, path: list[str] | None, first: list[str]) -> Any:
    """What the import system would find; the parent is given, so that nothing is imported for it."""
    if path is None and first:
        spec = PathFinder.find_spec(name, first)
        if spec is not None and spec.origin is not None:
            return spec
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        try:
            spec = find(name, path) if find is not None else None
        except KeyError:  # a namespace package inside a package that is not loaded; the caller sees its folder
            continue
        if spec is not None:
            return spec
    return None


@dataclass(slots=True)
class Closure:
    """What some modules import, however deep.

    modules: the project's own, by name, packages' `__init__` included; outside: distributions that they
    name, by top-level module; missing: module -> what it imports that nothing provides here; optional:
    top-level modules that somewhere are imported in a `try` which bears their absence.
    """

    modules: dict[str, Located] = field(default_factory=dict)
    outside: dict[str, Distribution] = field(default_factory=dict)
    missing: dict[str, set[str]] = field(default_factory=dict)
    optional: set[str] = field(default_factory=set)


def closure(names: Iterable[str], locator: Locator) -> Closure:
    """The modules named, their packages, and all that they import within the project, also inside functions.

    Raises PayloadError for a module that cannot be read or parsed.
    """
    found = Closure()
    waiting = [(name, "") for name in names]
    seen: set[str] = set()
    while waiting:
        name, importer = waiting.pop()
        if name in seen:
            continue
        located = locator.find(name)
        if located is None:
            if importer:
                found.missing.setdefault(importer, set()).add(name)
            continue
        seen.add(name)
        if not located.own:
            distribution = locator.outside(name)
            if distribution is not None and name.partition(".")[0] not in OURS:
                found.outside[name.partition(".")[0]] = distribution
            continue
        parent = name.rpartition(".")[0]
        if parent:
            waiting.append((parent, ""))
        if located.file is None:
            continue
        found.modules[name] = located
        found.optional.update(read_source(located.file).optional_imports())
        for target in read_source(located.file).all_imports():
            waiting.extend((module, name) for module in _modules_of(name, target, locator))
    return found


def _modules_of(within: str, target: Import, locator: Locator) -> list[str]:
    """The modules that one import loads: of `from a import b` both a and, where it is one, a.b."""
    module = locator.absolute(within, target)
    if module is None:
        return []
    names = [module]
    if target.name == "*":
        names += [f"{module}.{name}" for name in _exported(module, locator)]
    elif target.name:
        names.append(f"{module}.{target.name}")
    return names[:1] + [name for name in names[1:] if locator.find(name) is not None]


def _exported(module: str, locator: Locator) -> list[str]:
    """What `__all__` of a package lists: a star import loads the modules among it."""
    source = locator.source(module)
    if source is None:
        return []
    places = source.bindings.get("__all__", ())
    return [
        item.value
        for place in places
        for item in ast.walk(source.statements[place].node)
        if isinstance(item, ast.Constant) and isinstance(item.value, str)
    ]
