"""A task's packages: installed at its start into scratch space, kept in the store for the tasks after it.

The launcher calls `provide` before any of the user's code is loaded. What the image has already is not
installed again. What pip put there goes into the store as one object, named by a record `packages/HASH.json`
whose hash covers everything that decided what pip did; later tasks take that instead of starting pip.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import site
import sys
import sysconfig
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from pathlib import Path

from .. import contract
from ..code.distributions import installed
from ..errors import CodecError, ObjectCorrupt, ObjectGone, PackagesError, PayloadError, StoreError
from ..redaction import without_credentials
from ..stores.base import Store
from ..values.handles import from_handle, to_handle

Tell = Callable[[str], None]
"""Takes a line for the task's log."""

_SETTINGS = (
    "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX", "PIP_PRE", "PIP_CONSTRAINT",
    "PIP_ONLY_BINARY", "PIP_NO_BINARY", "PIP_CONFIG_FILE",
)  # fmt: skip
"""Settings of pip that decide what it finds."""
_CODE = (contract.ENV_CODE, contract.ENV_CODE_SHA256)


def provide(env: MutableMapping[str, str], store: Store, folder: Path, tell: Tell) -> None:
    """Makes importable what GRANDPA_PACKAGES asks for, for this process and its children.

    env: this process's own environment, without the store's credentials; folder: the task's scratch folder.
    Raises PackagesError where they cannot be had, PayloadError for a list that is none, the store's errors.
    """
    requirements = _wanted(env)
    if not requirements:
        return
    from ..code.requirements import unmet

    if not unmet(requirements):
        return
    index_url = env.get(contract.ENV_INDEX_URL, "")
    record = record_path(requirements, index_url, env)
    begun = time.perf_counter()
    prefix, how = _stored(record, store, folder, tell), "out of the store"
    if prefix is None:
        prefix, how = folder / "packages", "installed"
        tell(f"installing {_shown(requirements)}")
        _install(requirements, index_url, prefix, env)
        _keep(prefix, record, requirements, store, tell)
    activate(prefix, env, tell)
    tell(f"packages {_shown(requirements)}: {how}, {time.perf_counter() - begun:.1f} s")


def record_path(requirements: Sequence[str], index_url: str, env: Mapping[str, str]) -> str:
    """The record of the archive that these requirements make here: of all that decides what pip installs.

    No credentials count: the same packages behind another password are the same.
    """
    libc = os.confstr("CS_GNU_LIBC_VERSION") if "CS_GNU_LIBC_VERSION" in os.confstr_names else ""
    decides = {
        "contract": contract.CONTRACT,
        "requirements": sorted(requirements),
        "index_url": without_credentials(index_url),
        "settings": {name: without_credentials(env[name]) for name in _SETTINGS if env.get(name)},
        "python": sysconfig.get_config_var("SOABI") or sys.implementation.cache_tag,
        "platform": [sysconfig.get_platform(), libc],
        "installed": installed(sys.path),
    }
    text = json.dumps(decides, sort_keys=True, ensure_ascii=True)
    return f"packages/{hashlib.sha256(text.encode()).hexdigest()}.json"


def activate(prefix: Path, env: MutableMapping[str, str], tell: Tell) -> None:
    """Puts a prefix's modules behind the first entry of `sys.path`, which is the project's own code, and before
    all that the image has; its scripts in front of PATH; both for child processes too."""
    from .pip import PYTHON, aim_scripts, library

    aim_scripts(prefix, PYTHON, sys.executable)
    modules = library(prefix)
    before = list(sys.path)
    site.addsitedir(str(modules))  # which reads the .pth files in it
    added = [entry for entry in sys.path if entry not in before]
    sys.path[:] = [*before[:1], *added, *before[1:]]
    importlib.invalidate_caches()
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [*added, env.get("PYTHONPATH")]))
    env["PATH"] = os.pathsep.join(filter(None, [str(prefix / "bin"), env.get("PATH", os.defpath)]))
    loaded = sorted(name for name in sys.modules if "." not in name and (modules / name / "__init__.py").is_file())
    if loaded:
        tell(f"warning: the runtime itself uses {', '.join(loaded)}, so this task keeps the image's version")


def _wanted(env: Mapping[str, str]) -> list[str]:
    text = env.get(contract.ENV_PACKAGES, "")
    if not text:
        return []
    try:
        found = json.loads(text)
    except ValueError as error:
        raise PayloadError(f"{contract.ENV_PACKAGES} is no JSON: {error}") from error
    if not isinstance(found, list) or not all(isinstance(item, str) and "\n" not in item for item in found):
        raise PayloadError(f"{contract.ENV_PACKAGES} is no list of requirements")
    return found


def _stored(record: str, store: Store, folder: Path, tell: Tell) -> Path | None:
    """What an earlier task put into the store; None where nothing is there, or it cannot be used."""
    told = store.get_record(record)
    handle = told.get("archive") if isinstance(told, dict) else None
    if not isinstance(handle, str) or not handle.startswith("@"):
        return None
    try:
        found = from_handle(handle, store, scratch=folder)
    except (ObjectGone, ObjectCorrupt, CodecError) as error:
        tell(f"warning: the packages in the store cannot be used: {error}")
        return None
    return found if isinstance(found, Path) and found.is_dir() else None


def _install(requirements: Sequence[str], index_url: str, prefix: Path, env: Mapping[str, str]) -> None:
    import compileall
    from py_compile import PycInvalidationMode

    from .pip import install

    given = {name: value for name, value in env.items() if name not in _CODE}
    try:
        install(requirements, index_url, prefix, given)
        # compiled once for all tasks, in a form that tells neither dates nor this folder
        form = PycInvalidationMode.UNCHECKED_HASH
        compileall.compile_dir(prefix / "lib", quiet=2, stripdir=str(prefix), invalidation_mode=form)
    except OSError as error:
        raise PackagesError(f"{_shown(requirements)} cannot be installed into $TMPDIR: {error}") from error


def _keep(prefix: Path, record: str, requirements: Sequence[str], store: Store, tell: Tell) -> None:
    """Puts the packages into the store. Where that fails the task has them all the same."""
    from .pip import library

    try:
        handle = to_handle(prefix, store, inline_limit=0, name="the packages")
        about = {"requirements": sorted(map(without_credentials, requirements)), "made_at": time.time()}
        store.put_record(record, {"archive": handle, "installed": installed([str(library(prefix))]), **about})
    except (StoreError, CodecError) as error:
        tell(f"warning: the packages are not kept for other tasks: {error}")


def _shown(requirements: Sequence[str]) -> str:
    return without_credentials(", ".join(item.partition(" --hash")[0] for item in requirements))
