"""The docker command: called here and nowhere else, its failures in words that say what to do.

The command, not Docker's API: it finds the server as the user has set it up (contexts, rootless, a remote
host) and holds their credentials for registries. `engine/containers.py` runs tasks by it, `build.py` images.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from grandpa_kfp_runtime.errors import ContainerError

_ANSWERS_WITHIN_S = 60.0
_SAID = ("Error response from daemon: ", "error: ", "Error: ")


@dataclass(frozen=True, slots=True)
class Server:
    """What the server that docker talks to is like. desktop: in a virtual machine of its own (Docker Desktop)."""

    cpus: int
    desktop: bool = False
    rootless: bool = False
    selinux: bool = False


@dataclass(frozen=True, slots=True)
class Image:
    """One image that is here. digests: `repository@sha256:...`, known once it was pushed or pulled."""

    id: str
    size_bytes: int
    digests: tuple[str, ...] = ()


def command() -> str:
    """The docker command. Raises ContainerError where there is none."""
    found = shutil.which("docker")
    if found is None:
        raise ContainerError("there is no docker command on this machine: install Docker, or use --engine subprocess")
    return found


def docker(*args: str, env: Mapping[str, str] | None = None, within_s: float | None = _ANSWERS_WITHIN_S) -> str:
    """Runs the command to its end; what it printed. Raises ContainerError with docker's own words.

    env: added to this process's. It leads a session of its own: Ctrl-C is for us, and we end what it began.
    """
    argv = [command(), *args]
    try:
        done = subprocess.run(
            argv,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=within_s,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired:
        raise ContainerError(f"docker {args[0]} has not answered for {within_s:g} s: is its server alive?") from None
    if done.returncode:
        raise ContainerError(_told(args[0], done.stderr.decode("utf-8", "replace")))
    return done.stdout.decode("utf-8", "replace")


def server() -> Server:
    """The server, which answers. Raises ContainerError where none does."""
    facts = json.loads(docker("info", "--format", "{{json .}}"))
    problems = facts.get("ServerErrors") or []
    if problems:
        raise ContainerError(_told("info", "\n".join(map(str, problems))))
    security = " ".join(map(str, facts.get("SecurityOptions") or ()))
    return Server(
        int(facts.get("NCPU") or 1),
        "Docker Desktop" in str(facts.get("OperatingSystem", "")),
        "name=rootless" in security,
        "name=selinux" in security,
    )


def image(name: str) -> Image | None:
    """The image of that name, None where it is not here."""
    try:
        (found,) = json.loads(docker("image", "inspect", name))
    except ContainerError as error:
        if "no such image" in str(error).lower():
            return None
        raise
    return Image(found["Id"], int(found["Size"]), tuple(found.get("RepoDigests") or ()))


def pull(name: str) -> None:
    """Fetches the image from its registry, however long that takes. Raises ContainerError."""
    docker("pull", "--quiet", name, within_s=None)


def remove_containers(names: Sequence[str]) -> None:
    """Removes containers, running or not, with their volumes; one that is not there is as good as removed."""
    if not names:
        return
    try:
        docker("rm", "--force", "--volumes", *names)
    except ContainerError as error:
        gone = ("no such container", "already in progress")
        if not all(any(word in line.lower() for word in gone) for line in str(error).splitlines() if line):
            raise


def inspect_container(name: str) -> Mapping[str, Any]:
    """Everything docker knows of a container. Raises ContainerError where it is not there."""
    (found,) = json.loads(docker("container", "inspect", name))
    return dict(found)


def _told(verb: str, text: str) -> str:
    """What docker said, without its own prefixes; for what is wrong with the server also what to do."""
    lines = [_bare(line) for line in text.strip().splitlines() if line.strip() and not line.startswith("WARNING")]
    said = "\n".join(lines) or f"docker {verb} failed and says nothing"
    low = said.lower()
    if "permission denied" in low and ("docker.sock" in low or "daemon socket" in low):
        return f"no right to use Docker: {said}; add your user to the group docker, or use rootless Docker"
    if "cannot connect to the docker daemon" in low or "is the docker daemon running" in low:
        return f"Docker does not answer: {said}; start it, or use --engine subprocess"
    return said


def _bare(line: str) -> str:
    for prefix in _SAID:
        line = line.removeprefix(prefix)
    return line.strip()


def without_newer_builder(env: Mapping[str, str]) -> dict[str, str]:
    """Settings for `docker build` where buildx, which docker takes by default, is not installed."""
    if "DOCKER_BUILDKIT" in env:
        return {}
    try:
        docker("buildx", "version")
    except ContainerError:
        return {"DOCKER_BUILDKIT": "0"}
    return {}


def labels(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """`--label name=value` for each.

    >>> labels([("a", "1")])
    ['--label', 'a=1']
    """
    return [part for name, value in pairs for part in ("--label", f"{name}={value}")]
