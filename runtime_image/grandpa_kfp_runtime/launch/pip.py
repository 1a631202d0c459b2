"""Runs pip for `installing.py`: into a folder that is thrown away, seeing what the image has.

A virtual environment without pip of its own, whose path leads on to the image's packages: pip then counts
those as installed, adds what is missing, and never touches the image.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..code.requirements import variables_in
from ..errors import PackagesError
from ..redaction import without_credentials

_LAST_LINES = 15
_LONGEST_LINE = 500
_OPTIONS = (
    "--no-input", "--disable-pip-version-check", "--no-compile", "--progress-bar", "off", "--no-warn-script-location",
)  # fmt: skip
_PLACES = ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER", "PIP_DRY_RUN", "PIP_PYTHON", "PIP_REQUIRE_VIRTUALENV")
"""Settings of pip that would lead it elsewhere."""
_UNREACHABLE = re.compile(
    r"connection|timed? ?out|temporary failure|name resolution|unreachable|max retries|ssl|50[0-9] ", re.IGNORECASE
)
_NO_SPACE = re.compile(r"no space left|disk quota", re.IGNORECASE)


def pip_python() -> str:
    """The interpreter that has pip: this one, else the one that its environment was made from.

    Raises PackagesError where neither has.
    """
    if importlib.util.find_spec("pip") is not None:
        return sys.executable
    base = str(getattr(sys, "_base_executable", "") or sys.executable)
    if base != sys.executable:
        asked = subprocess.run([base, "-c", "import pip"], stdin=subprocess.DEVNULL, capture_output=True)
        if asked.returncode == 0:
            return base
    raise PackagesError(
        "the node asks for packages that this image does not have, and it has no pip to install them with: use an "
        "image that has them (`grandpa image build --requirements`), or a Python image with pip"
    )


def install(requirements: Sequence[str], index_url: str, folder: Path, env: Mapping[str, str]) -> None:
    """Puts what is missing for the requirements below `folder`, a new one, laid out as a Python prefix.

    env: pip's settings are taken from it; what only the task itself needs should not be in it. Raises
    PackagesError with pip's own last lines.
    """
    python = pip_python()
    missing = [name for name in variables_in((index_url, *requirements)) if not env.get(name)]
    if missing:
        raise PackagesError(
            f"the packages' address names ${{{missing[0]}}}, which the task's environment does not have: give the node "
            f"secrets={{'{missing[0]}': 'secret/key'}}"
        )
    made = _new_environment(folder)
    wanted = folder / "requirements.txt"
    lines = ([f"--index-url {index_url}"] if index_url else []) + list(requirements)
    wanted.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    done = subprocess.run(
        [python, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", *_OPTIONS, "-r", str(wanted)],
        env=_environment(env),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if done.returncode:
        raise PackagesError(_failure(requirements, done.returncode, done.stdout.decode("utf-8", "replace"), folder))
    _leave_scripts_movable(folder)
    for path in (*made, wanted):
        path.unlink(missing_ok=True)


PYTHON = "/grandpa/python"
"""Stands in scripts for the interpreter that runs them, until they lie where they will be used."""


def aim_scripts(folder: Path, old: str, new: str) -> None:
    """Has the scripts in `bin` run by another interpreter."""
    for script in sorted((folder / "bin").glob("*")):
        if script.is_symlink() or not script.is_file():
            continue
        with script.open("rb") as file:
            head = file.read(2)
        if head == b"#!":
            content = script.read_bytes()
            first, mark, rest = content.partition(os.fsencode(old))
            if mark and len(first) < 64:
                script.write_bytes(first + os.fsencode(new) + rest.replace(mark, os.fsencode(new), 1))


def library(folder: Path) -> Path:
    """Where a prefix has its modules."""
    return folder / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"


def _new_environment(folder: Path) -> list[Path]:
    """The environment's own files, which pip alone needs. Its path goes on where this interpreter's does."""
    import venv

    venv.EnvBuilder(symlinks=True, with_pip=False).create(folder)
    site = library(folder)
    site.mkdir(parents=True, exist_ok=True)
    shown = [entry for entry in sys.path if entry and os.path.isdir(entry) and _has_metadata(entry)]
    (site / "grandpa_image.pth").write_text("".join(f"{entry}\n" for entry in shown), encoding="utf-8")
    return [path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]


def _has_metadata(entry: str) -> bool:
    return any(name.endswith((".dist-info", ".egg-info")) for name in os.listdir(entry))


def _environment(env: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in env.items() if name not in _PLACES and not name.startswith("GRANDPA_")}
    if "PIP_CACHE_DIR" not in kept:
        kept["PIP_NO_CACHE_DIR"] = "1"  # nothing is written outside of scratch space
    return kept | {"PIP_USER": "0"}


def _leave_scripts_movable(folder: Path) -> None:
    """The folder's own name out of scripts and of the hashes over them: it will be another one next time."""
    aim_scripts(folder, str(folder / "bin" / "python"), PYTHON)
    for record in library(folder).glob("*.dist-info/RECORD"):
        lines = record.read_text(encoding="utf-8").splitlines()
        plain = [re.sub(r"^((?:\.\./)+bin/[^,]*),.*", r"\1,,", line) for line in lines]
        record.write_text("".join(f"{line}\n" for line in plain), encoding="utf-8")


def _failure(requirements: Sequence[str], code: int, output: str, folder: Path) -> str:
    lines = [line.rstrip()[:_LONGEST_LINE] for line in output.splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(("[notice]", "Looking in", "WARNING: Running pip as"))]
    shown = "\n".join(f"  {line}" for line in without_credentials("\n".join(told[-_LAST_LINES:])).splitlines())
    names = without_credentials(", ".join(item.partition(" --hash")[0] for item in requirements))
    if _NO_SPACE.search(output):
        advice = (
            "there was no room for them in $TMPDIR: give the node more scratch space, or use an image that has them"
        )
    elif _UNREACHABLE.search(output):
        advice = (
            "the index could not be reached from the task: retries= tries again; an index that the cluster reaches "
            "is named by index_url=, or PIP_INDEX_URL in env= or secrets="
        )
    else:
        advice = "trying again will not help: change packages=, or index_url=, or use an image that has them"
    text = f"{names} cannot be installed: pip ended with exit code {code}\n{shown}\n{advice}"
    return text.replace(f"{folder}{os.sep}", "")
