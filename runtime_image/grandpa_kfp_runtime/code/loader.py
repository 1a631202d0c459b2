"""The receiving side of the code zip: checked, unpacked into a folder, its nodes loaded by key.

The launcher and the local engine (for a graph that was read from a file) call it. Nothing is unpickled
or imported before the hash is checked; no node that travels by value before the Python minor is. Modules
travel as source, which every Python that we support reads.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import os
import pickle
import re
import stat
import sys
import traceback
import urllib.parse
import zipfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any

from ..contract import VALUE
from ..errors import GrandpaError, PayloadError
from .marks import unmarked

MANIFEST = "__grandpa__/manifest.json"
VALUES = "__grandpa__/values/"


def python_minor() -> str:
    """The running Python, `3.12`."""
    return f"{sys.version_info[0]}.{sys.version_info[1]}"


def value_member(name: str) -> str:
    """Where the zip holds the node that travels by value under that name, whatever characters are in it."""
    return f"{VALUES}{urllib.parse.quote(name, safe='-_. ')}.pickle"


def is_packed(folder: Path) -> bool:
    """Whether the folder lies in code that was unpacked: modules are there, but not every file beside them."""
    return any((above / MANIFEST).is_file() for above in (folder, *folder.parents))


def check_python(packed_by: str, what: str) -> None:
    """Raises PayloadError where a pickle of code is another Python minor's than the running one."""
    if packed_by and packed_by != python_minor():
        raise PayloadError(
            f"{what} travels by value and was packed by Python {packed_by}, and this is Python {python_minor()}, which "
            f"cannot read it: compile with Python {python_minor()}, use an image with Python {packed_by} (image=, "
            "--image), or define it at the top of a module, which travels as source"
        )


def unpack(zip_bytes: bytes, sha256: str, folder: Path | str) -> Path:
    """Writes the zip's members below the folder and returns it.

    sha256: hex, of the bytes as they were packed. Raises PayloadError for another hash, or members that
    would leave the folder; then nothing is written.
    """
    found = hashlib.sha256(zip_bytes).hexdigest()
    if found != sha256.lower():
        raise PayloadError(
            f"the code is not what was packed: its SHA-256 is {found}, not {sha256}; compile the pipeline again"
        )
    target = Path(folder)
    try:
        with zipfile.ZipFile(io.BytesIO(zip_bytes)) as archive:
            members = archive.infolist()
            for member in members:
                _check_member(member)
            for member in members:
                if not member.is_dir():
                    path = target / member.filename
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(archive.read(member))
    except (zipfile.BadZipFile, ValueError) as error:
        raise PayloadError(f"the code is no zip that can be read: {error}") from error
    except OSError as error:
        raise PayloadError(f"the code cannot be unpacked into {target}: {error.strerror or error}") from error
    return target


def add_members(more: Path, folder: Path) -> bool:
    """Adds the members of an unpacked zip to a folder that has another's; False, and nothing done, where they differ.

    So a process that has loaded modules of the folder can load those of both.
    """
    new: list[Path] = []
    for file in sorted(more.rglob("*")):
        if file.is_dir():
            continue
        path = file.relative_to(more)
        known = folder / path
        if path.as_posix() == MANIFEST:
            continue
        if not known.exists():
            if path.name == "__init__.py" and known.parent.is_dir():
                return False  # a folder that may have been imported as a package without it
            new.append(path)
        elif not known.is_file() or known.read_bytes() != file.read_bytes():
            return False
    merged = _merged(_manifest_of(folder), _manifest_of(more))
    for path in new:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes((more / path).read_bytes())
    (folder / MANIFEST).write_text(json.dumps(merged, indent=1, sort_keys=True), encoding="utf-8")
    return True


def _merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    merged = {**one, **other}
    for name, value in one.items():
        theirs = other.get(name)
        if isinstance(value, list) and isinstance(theirs, list):
            merged[name] = sorted({*value, *theirs})
        elif isinstance(value, dict) and isinstance(theirs, dict):
            merged[name] = {**value, **theirs}
    return merged


def _manifest_of(folder: Path) -> dict[str, Any]:
    file = folder / MANIFEST
    if not file.is_file():
        return {}
    manifest: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return manifest


def _check_member(member: zipfile.ZipInfo) -> None:
    name = member.filename
    path = PurePosixPath(name.replace("\\", "/"))
    kind = stat.S_IFMT(member.external_attr >> 16)
    if path.is_absolute() or ".." in path.parts or "\\" in name or re.match(r"[A-Za-z]:", name) or not path.parts:
        raise PayloadError(f"the code holds a member that would leave its folder: {name!r}; it is not ours")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise PayloadError(f"the code holds a member that is a link or a device: {name!r}; it is not ours")


class Loader:
    """Loads nodes from an unpacked zip, which stands first on `sys.path` as long as the loader is open.

    Modules of the same names that this process had from another place are set aside until `close`.
    modules: the names of those that the zip brought.

    >>> with Loader("/tmp") as loader:
    ...     loader.load("json:dumps")([1])
    '[1]'
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(os.path.abspath(folder))
        self._loaded: dict[str, Any] = {}
        self._aside: dict[str, Any] = {}
        self._learn()
        sys.path.insert(0, str(self.folder))

    def load(self, key: str) -> Any:
        """The callable of a key, a node's mark taken off.

        Raises PayloadError naming the module and import that failed, and what to add to the payload.
        """
        if key not in self._loaded:
            self._loaded[key] = self._value(key) if key.startswith(VALUE) else self._reference(key)
        return self._loaded[key]

    def check(self, keys: Iterable[str]) -> list[str]:
        """As `needs.check_needs`, for nodes that are about to be loaded."""
        from .needs import check_needs

        return check_needs(self._manifest, keys)

    def class_fingerprint(self, value: Any) -> str | None:
        """As `class_fingerprints.class_fingerprint`, for what the zip brought; None for all else."""
        if getattr(value, "__module__", None) not in self.modules:
            return None
        from .class_fingerprints import class_fingerprint

        return class_fingerprint(value)

    def close(self) -> None:
        """Takes the folder off `sys.path`, and puts the modules that were set aside back."""
        with suppress(ValueError):
            sys.path.remove(str(self.folder))
        for name in self.modules:
            sys.modules.pop(name, None)
        sys.modules.update(self._aside)
        self._aside = {}
        importlib.invalidate_caches()

    def __enter__(self) -> Loader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def refresh(self) -> None:
        """Takes notice of members that were added to the folder since, as `add_members` does."""
        if _manifest_of(self.folder) != self._manifest:
            self._learn()

    def _learn(self) -> None:
        self._manifest = _manifest_of(self.folder)
        self.modules = frozenset(self._manifest.get("modules", ()))
        self._packed_by = str(self._manifest.get("python", ""))
        inside = str(self.folder) + os.sep
        for name in self.modules:
            known = sys.modules.get(name)
            if known is not None and not str(getattr(known, "__file__", None) or "").startswith(inside):
                self._aside[name] = sys.modules.pop(name)
        importlib.invalidate_caches()

    def _reference(self, key: str) -> Any:
        module, _, qualname = key.partition(":")
        if not module or not qualname:
            raise PayloadError(f"{key!r} is no key of a node; it should be module:qualname or value:NAME")
        try:
            found: Any = importlib.import_module(module)
        except GrandpaError:
            raise
        except Exception as error:  # whatever the top of a user's module may raise
            raise self._import_failed(f"the node {qualname}", module, error) from error
        for name in qualname.split("."):
            try:
                found = getattr(found, name)
            except AttributeError:
                raise PayloadError(
                    f"the node {key} cannot be found: {module} has no {qualname}, though it was packed with it; "
                    "does the module define it on one machine only?"
                ) from None
        return unmarked(found)

    def _value(self, key: str) -> Any:
        name = key.removeprefix(VALUE)
        check_python(self._packed_by, f"the node {name}")
        try:
            data = (self.folder / value_member(name)).read_bytes()
        except OSError as error:
            raise PayloadError(f"the node {name} is not in the code: it was packed without it") from error
        try:
            return unmarked(pickle.loads(data))
        except GrandpaError:
            raise
        except Exception as error:  # whatever a user's class does when it is loaded
            raise self._import_failed(f"the node {name}", "", error) from error

    def _import_failed(self, what: str, module: str, error: Exception) -> PayloadError:
        place = self._place(error)
        missing = getattr(error, "name", None) if isinstance(error, ModuleNotFoundError) else None
        if missing is None:
            at = f" at {place}" if place else ""
            other = self._packed_by and self._packed_by != python_minor() and isinstance(error, SyntaxError)
            more = f"; it was packed by Python {self._packed_by}, and this is {python_minor()}" if other else ""
            return PayloadError(f"{what} cannot be loaded: {type(error).__name__}{at}: {error}{more}")
        top = missing.partition(".")[0]
        if missing == module or not place:
            return PayloadError(f"{what} needs the module {missing}, {self._advice(top)}")
        return PayloadError(f"{what} cannot be loaded: {place} imports {missing}, {self._advice(top)}")

    def _advice(self, top: str) -> str:
        distribution = self._manifest.get("imports", {}).get(top)
        if distribution:
            version = self._manifest.get("distributions", {}).get(distribution, "")
            pin = f"{distribution}=={version}" if version else distribution
            return f'which is not installed here: add packages=["{pin}"] to the node, or use an image that has it'
        return (
            f'which is neither in the code nor installed here: add include=["{top}"] where it is the project\'s own, '
            'else packages=["..."] to the node'
        )

    def _place(self, error: Exception) -> str:
        """`flows/train.py:3`, the innermost line of the project's code."""
        for frame in reversed(traceback.extract_tb(error.__traceback__)):
            path = Path(frame.filename)
            if path.is_relative_to(self.folder):
                return f"{path.relative_to(self.folder).as_posix()}:{frame.lineno}"
        if isinstance(error, SyntaxError) and error.filename:
            return f"{Path(error.filename).name}:{error.lineno}"
        return ""
