"""What belongs to the user's project: its root, its modules' names, and which files are a library's.

Loading, packing and the fingerprint ask here. A file that no installed distribution brings is the
project's own: it lies under the project's root, or in an editable install.
"""

from __future__ import annotations

import functools
import keyword
import os
import re
import sys
import sysconfig
from collections.abc import Sequence
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType

ROOT_MARKS = ("pyproject.toml", "grandpa.toml", ".git")
OURS = frozenset({"grandpa_kfp", "grandpa_kfp_compiler", "grandpa_kfp_runtime"})
"""Our own packages: an outside distribution to every project, wherever their files lie."""

SCRIPT_PREFIX = "grandpa_main_"
"""Begins the module name of a script whose own name cannot be imported, or hides another module."""

_LIBRARY_FOLDERS = frozenset({"site-packages", "dist-packages"})
_STANDARD_LIBRARY = tuple(
    {os.path.realpath(path) + os.sep for name in ("stdlib", "platstdlib") if (path := sysconfig.get_path(name))}
)


def find_root(start: Path | str) -> Path:
    """The nearest folder from `start` upward that holds pyproject.toml, grandpa.toml or .git; else its folder.

    start: a file, or a folder (a notebook's working directory).
    """
    path = Path(os.path.abspath(start))
    first = path if path.is_dir() else path.parent
    for folder in (first, *first.parents):
        # the file system's own root is no project, whatever a container's image leaves there
        if folder != folder.parent and any((folder / mark).exists() for mark in ROOT_MARKS):
            return folder
    return first


def module_name_for(file: Path | str, root: Path | str) -> str:
    """The name under which a file is imported: its dotted path from the root.

    Where that is no legal name, or hides a module of the standard library or of an installed
    distribution, it is `grandpa_main_<stem>`.

    >>> module_name_for("/p/flows/train.py", "/p"), module_name_for("/p/my-pipeline.py", "/p")
    ('flows.train', 'grandpa_main_my_pipeline')
    >>> module_name_for("/p/types.py", "/p"), module_name_for("/p/flows/__init__.py", "/p")
    ('grandpa_main_types', 'flows')
    """
    path, top = Path(os.path.abspath(file)), Path(os.path.abspath(root))
    try:
        parts = list(path.relative_to(top).with_suffix("").parts)
    except ValueError:  # outside the root: as if its own folder were it
        parts = [path.stem]
    if len(parts) > 1 and parts[-1] == "__init__":
        parts.pop()
    if all(part.isidentifier() and not keyword.iskeyword(part) for part in parts) and not _hides(parts[0], top):
        return ".".join(parts)
    return SCRIPT_PREFIX + (re.sub(r"\W", "_", path.stem) or "script")


def _hides(name: str, root: Path) -> bool:
    """Whether a module of another place has this name already."""
    if is_standard(name) or name in OURS or name == "__main__" or name.startswith(SCRIPT_PREFIX):
        return True
    spec = _find_elsewhere(name, tuple(sys.path), str(root))
    return spec is not None and is_library_file(spec)


@functools.lru_cache(maxsize=256)
def _find_elsewhere(name: str, path: Sequence[str], root: str) -> str | None:
    spec = PathFinder.find_spec(name, [entry for entry in path if os.path.abspath(entry or ".") != root])
    return spec.origin if spec is not None else None


def is_standard(name: str) -> bool:
    """Whether a top-level module is the standard library's."""
    return name in sys.stdlib_module_names or name in sys.builtin_module_names


@functools.lru_cache(maxsize=8192)
def is_library_file(file: str) -> bool:
    """Whether a file is the standard library's or an installed distribution's."""
    if not _LIBRARY_FOLDERS.isdisjoint(file.replace("\\", "/").split("/")):
        return True
    return os.path.realpath(file).startswith(_STANDARD_LIBRARY) or file.startswith("<")


def is_project_file(name: str, file: str | None) -> bool:
    """Whether the module `name`, lying in `file`, is source of the project's own."""
    return (
        file is not None
        and file.endswith((".py", ".pyw"))
        and name.partition(".")[0] not in OURS
        and not is_library_file(file)
    )


def is_project_module(module: ModuleType, root: Path | str | None = None) -> bool:
    """Whether a module is the project's own: under the root or in an editable install, but no library's.

    root: None asks for any project.
    """
    file = getattr(module, "__file__", None)
    if not is_project_file(module.__name__, file):
        return False
    assert file is not None
    inside = root is None or Path(os.path.abspath(file)).is_relative_to(os.path.abspath(root))
    return inside or _is_installed_editable(os.path.abspath(file))


def _is_installed_editable(file: str) -> bool:
    """A path entry leads to it, or a finder that an editable install put in place."""
    return any(file.startswith(os.path.abspath(entry) + os.sep) for entry in sys.path if entry) or any(
        "editable" in type(finder).__name__.lower() or "editable" in getattr(finder, "__name__", "").lower()
        for finder in sys.meta_path
    )


def main_file() -> Path | None:
    """The file of the script that is running as `__main__`; None in a notebook, a console or a library's tool."""
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    if file is None or not is_project_file("__main__", file):
        return None
    return Path(os.path.abspath(file))


def real_name(module_name: str) -> str:
    """The module's name in the project: a running script's own instead of `__main__`."""
    if module_name != "__main__":
        return module_name
    file = main_file()
    return module_name if file is None else _script_name(file)


@functools.lru_cache(maxsize=8)
def _script_name(file: Path) -> str:
    return module_name_for(file, find_root(file))


def live_module(name: str) -> ModuleType | None:
    """The loaded module of that project name; the running script may be it."""
    module = sys.modules.get(name)
    if module is None and name == real_name("__main__"):
        return sys.modules.get("__main__")
    return module


def import_base(name: str, file: Path, is_package: bool) -> Path:
    """The folder that has to be on the path for the file to be imported as `name`."""
    if name.startswith(SCRIPT_PREFIX):
        return file.parent
    depth = name.count(".") + (1 if is_package else 0)
    return file.parents[depth] if depth < len(file.parents) else file.parent
