"""`grandpa image build`: an image with the runtime and the project's own requirements, on any Python image.

The base is asked first what it has; where that is the runtime, only requirements are added, else this very
grandpa-kfp goes into it too. The built image is asked again before it counts as built. `cli/image.py` calls it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from grandpa_kfp_compiler.kfp.executors import default_image
from grandpa_kfp_runtime.errors import ContainerError

from .. import __version__
from .docker import command, docker, image, without_newer_builder
from .probe import Facts, check_contract, facts_of
from .wheel import runtime_requirements, write_wheel

_PREFIX = "/opt/grandpa"
_REFERENCE = re.compile(r"[a-z0-9][\w./:-]*")
_LOADERS = {"kind": ("load", "docker-image"), "minikube": ("image", "load")}


@dataclass(frozen=True, slots=True)
class Built:
    """reference: by which tasks are to name it, with its digest once it is pushed; python: `3.12`."""

    tag: str
    reference: str
    python: str
    size_bytes: int
    base: str
    over_base_bytes: int


def default_base() -> str:
    """The released runtime of this version and Python."""
    return default_image(__version__, _minor())


def build_image(
    tag: str, *, requirements: Path | None = None, base: str | None = None, network: str | None = None
) -> Built:
    """Builds and checks the image; what docker says goes to standard error. Raises ContainerError."""
    if not _REFERENCE.fullmatch(tag):
        raise ContainerError(f"{tag!r} is no image's name: write repository:tag, in lower case, without a digest")
    if requirements is not None and not requirements.is_file():
        raise ContainerError(f"{requirements}: there is no such file of requirements")
    base = base or default_base()
    facts = facts_of(base)
    if facts.contract:
        check_contract(base, facts)
    if not facts.pip and (requirements is not None or not facts.contract):
        raise ContainerError(f"the image {base} has no pip to install anything with: take another base")
    with tempfile.TemporaryDirectory(prefix="grandpa-image-") as folder:
        context = Path(folder)
        _fill(context, base, facts, requirements)
        _build(context, tag, network)
    made = facts_of(tag)
    check_contract(tag, made)
    size, below = _size(tag), _size(base)
    return Built(tag, tag, made.python, size, base, size - below)


def push(built: Built) -> Built:
    """Pushes the image to its registry; from then on it has a digest, by which nobody can change it."""
    docker("push", "--quiet", built.tag, within_s=None)
    found = image(built.tag)
    repository = re.sub(r":[\w.-]+$", "", built.tag)
    digests = [digest for digest in (found.digests if found else ()) if digest.startswith(f"{repository}@")]
    if not digests:
        raise ContainerError(f"{built.tag} was pushed, and docker knows no digest of it")
    return Built(built.tag, digests[-1], built.python, built.size_bytes, built.base, built.over_base_bytes)


def load(built: Built, cluster: Literal["kind", "minikube"]) -> None:
    """Puts the image into a cluster on this machine, which then needs no registry."""
    tool = shutil.which(cluster)
    if tool is None:
        raise ContainerError(f"there is no {cluster} command on this machine to load {built.tag} with")
    done = subprocess.run([tool, *_LOADERS[cluster], built.tag], stdin=subprocess.DEVNULL, stdout=2)
    if done.returncode:
        raise ContainerError(f"{cluster} could not load {built.tag}, see above; is its cluster running?")


def python_note(built: Built) -> str:
    """What to know where the image's Python is not this one; empty where it is."""
    if built.python == _minor():
        return ""
    return (
        f"{built.tag} runs Python {built.python} and this is Python {_minor()}: modules run on both, but nodes that "
        f"travel by value (lambdas, notebooks) need Python {built.python} to compile, or a base with {_minor()}"
    )


def _fill(context: Path, base: str, facts: Facts, requirements: Path | None) -> None:
    """Writes the build's context: Dockerfile, requirements, and where the base lacks it the runtime."""
    prefix = facts.prefix if facts.contract else _PREFIX
    target = f"--python {prefix}/bin/python " if not facts.contract or facts.base != facts.executable else ""
    values: dict[str, Any] = {
        "base": base,
        "python": facts.executable,
        "prefix": prefix,
        "pip": f"{facts.base} -m pip {target}install --quiet --no-cache-dir --disable-pip-version-check",
        "runtime": [] if facts.contract else runtime_requirements(),
        "requirements": requirements is not None,
        "wheel": "" if facts.contract else write_wheel(context).name,
    }
    if requirements is not None:
        shutil.copyfile(requirements, context / "requirements.txt")
    (context / "Dockerfile").write_text(dockerfile(**values), encoding="utf-8")


def dockerfile(**values: Any) -> str:
    """The template, filled."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(  # no HTML
        loader=PackageLoader("grandpa_kfp.images", ""), undefined=StrictUndefined, keep_trailing_newline=True,
        autoescape=False,
    )  # fmt: skip
    return environment.get_template("Dockerfile.jinja").render(**values)


def _build(context: Path, tag: str, network: str | None) -> None:
    env = {**os.environ, **without_newer_builder(os.environ)}
    older = ["--force-rm"] if env.get("DOCKER_BUILDKIT") == "0" else []  # it leaves the container of a failed step
    argv = [command(), "build", *older, "--tag", tag, *(("--network", network) if network else ()), str(context)]
    done = subprocess.run(
        argv,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=2,
    )
    if done.returncode:
        raise ContainerError(f"docker could not build {tag}; what it says stands above")


def _size(name: str) -> int:
    found = image(name)
    return found.size_bytes if found else 0


def _minor() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"
