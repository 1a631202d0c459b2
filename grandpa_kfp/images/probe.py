"""What an image says of itself: its Python, its distributions, and whether the runtime in it starts.

Asked as a cluster would start it: any user, a root file system that cannot be written to, no network.
`build.py` asks the images that it builds on and has built, deploy's preflight those that tasks will run in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from grandpa_kfp_runtime.contract import CONTRACT
from grandpa_kfp_runtime.errors import ContainerError

from .docker import docker, image, pull

_SCRIPT = """\
import importlib.util, json, subprocess, sys
from importlib import metadata
base = getattr(sys, "_base_executable", sys.executable)
found = {"python": "%d.%d" % sys.version_info[:2], "executable": sys.executable, "prefix": sys.prefix, "base": base}
found["pip"] = not subprocess.run([base, "-c", "import pip"], stderr=subprocess.DEVNULL).returncode
there = [(item.metadata["Name"], item.version) for item in metadata.distributions()]
found["distributions"] = {name: version for name, version in there if name}
if importlib.util.find_spec("grandpa_kfp_runtime") is not None:
    import grandpa_kfp_runtime.contract
    import cloudpickle, minio, zstandard, grandpa_kfp_runtime.__main__
    found["contract"] = grandpa_kfp_runtime.contract.CONTRACT
    found["version"] = grandpa_kfp_runtime.__version__
print(json.dumps(found))
"""
_ANY_USER = "54321:54321"


_PYTHON_TAG = re.compile(r"(?:^|/)python:(\d+\.\d+)(?:[.-]|$)|-py(\d+\.\d+)$")


@dataclass(frozen=True, slots=True)
class Facts:
    """python: `3.12`; executable, prefix: of the `python` that tasks run; base: of the one that brings pip.

    contract, version: of the runtime in it, 0 and empty where there is none. distributions: versions by
    name. An image that could not be asked has at most its Python; its distributions are None.
    """

    python: str = ""
    executable: str = ""
    prefix: str = ""
    base: str = ""
    pip: bool = False
    contract: int = 0
    version: str = ""
    distributions: Mapping[str, str] | None = None


def facts_of(name: str) -> Facts:
    """Asks an image, which is pulled where it is not here. Raises ContainerError."""
    if image(name) is None:
        try:
            pull(name)
        except ContainerError as error:
            raise ContainerError(f"the image {name} is not here and cannot be pulled: {error}") from error
    return _asked(name)


def known_facts(name: str) -> Facts:
    """What is known of an image without pulling it: an image that is here is asked, of another its tag is read."""
    try:
        if image(name) is not None:
            return _asked(name)
    except ContainerError:
        return Facts(python_of_tag(name))  # no Docker, or no Python that starts here: the tasks will find out
    return Facts(python_of_tag(name))


def python_of_tag(name: str) -> str:
    """The Python that an image's name tells, empty where it tells none.

    >>> [python_of_tag(name) for name in ("python:3.12-slim", "ghcr.io/team/runtime:0.1.0-py3.11", "x:4")]
    ['3.12', '3.11', '']
    """
    found = _PYTHON_TAG.search(name)
    return (found[1] or found[2]) if found else ""


def _asked(name: str) -> Facts:
    try:
        return _facts(name, _run(name, "python"))
    except ContainerError as error:
        if "does not answer" in str(error):
            raise
        if "executable file not found" not in str(error):
            raise ContainerError(f"the image {name} cannot run our runtime: {error}") from error
    try:
        return _facts(name, _run(name, "python3"))
    except ContainerError as error:
        raise ContainerError(f"the image {name} has no Python: {error}") from error


def check_contract(name: str, facts: Facts) -> None:
    """Raises ContainerError where the image has another version of what compiler and runtime agree on."""
    if facts.contract != CONTRACT:
        has = f"contract {facts.contract} (grandpa-kfp {facts.version})" if facts.contract else "no runtime of ours"
        raise ContainerError(
            f"the image {name} has {has}, and this grandpa-kfp compiles for contract {CONTRACT}: "
            "take a base of this version, or a plain Python image, which then gets this runtime"
        )


def _run(name: str, python: str) -> str:
    return docker(
        "run", "--rm", "--network", "none", "--user", _ANY_USER, "--read-only", "--cap-drop", "ALL",
        "--security-opt", "no-new-privileges", "--entrypoint", python, name, "-c", _SCRIPT,
    )  # fmt: skip


def _facts(name: str, told: str) -> Facts:
    try:
        found: dict[str, Any] = json.loads(told)
        return Facts(**found)
    except (ValueError, TypeError) as error:
        raise ContainerError(f"the image {name} does not answer as Python does: {told[:200]!r}") from error
