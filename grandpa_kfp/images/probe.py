"""What an image says of itself: its Python, and whether the runtime in it starts and speaks our contract.

Asked as a cluster would start it: any user, a root file system that cannot be written to, no network.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from grandpa_kfp_runtime.contract import CONTRACT
from grandpa_kfp_runtime.errors import ContainerError

from .docker import docker, image, pull

_SCRIPT = """\
import importlib.util, json, subprocess, sys
base = getattr(sys, "_base_executable", sys.executable)
found = {"python": "%d.%d" % sys.version_info[:2], "executable": sys.executable, "prefix": sys.prefix, "base": base}
found["pip"] = not subprocess.run([base, "-c", "import pip"], stderr=subprocess.DEVNULL).returncode
if importlib.util.find_spec("grandpa_kfp_runtime") is not None:
    import grandpa_kfp_runtime.contract
    import cloudpickle, minio, zstandard, grandpa_kfp_runtime.__main__
    found["contract"] = grandpa_kfp_runtime.contract.CONTRACT
    found["version"] = grandpa_kfp_runtime.__version__
print(json.dumps(found))
"""
_ANY_USER = "54321:54321"


@dataclass(frozen=True, slots=True)
class Facts:
    """python: `3.12`; executable, prefix: of the `python` that tasks run; base: of the one that brings pip.

    contract, version: of the runtime in it, 0 and empty where there is none.
    """

    python: str
    executable: str
    prefix: str
    base: str
    pip: bool
    contract: int = 0
    version: str = ""


def facts_of(name: str) -> Facts:
    """Asks an image, which is pulled where it is not here. Raises ContainerError."""
    if image(name) is None:
        try:
            pull(name)
        except ContainerError as error:
            raise ContainerError(f"the image {name} is not here and cannot be pulled: {error}") from error
    try:
        return _facts(json.loads(_run(name, "python")))
    except ContainerError as error:
        if "executable file not found" not in str(error):
            raise ContainerError(f"the image {name} cannot run our runtime: {error}") from error
    try:
        return _facts(json.loads(_run(name, "python3")))
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


def _facts(found: Mapping[str, Any]) -> Facts:
    return Facts(**found)
