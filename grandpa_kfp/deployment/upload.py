"""The pipeline on the server, and a version of it only when the YAML changed. `deploying` calls it.

A version is known again by the hash of its YAML: in its name, and, as the first one bears the pipeline's
own name, in its description. Two deploys at once may race; who comes second takes what the first one made.
"""

from __future__ import annotations

import hashlib
import itertools
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from grandpa_kfp_runtime.errors import DeployError

from .server import Server

_HASH_LENGTH = 12
_MOST_VERSIONS = 1000  # looked through; beyond that a version is uploaded again, under the same name


@dataclass(frozen=True, slots=True)
class Version:
    """A pipeline's version on the server. new: it was uploaded just now."""

    pipeline_id: str
    version_id: str
    name: str
    new: bool


def yaml_hash(text: str) -> str:
    """What a version is known by."""
    return hashlib.sha256(text.encode()).hexdigest()[:_HASH_LENGTH]


def ensure_version(server: Server, name: str, text: str, *, description: str = "") -> Version:
    """The version with this YAML, uploaded if it is not there. Raises DeployError."""
    mark = yaml_hash(text)
    told = f"{description}\n\n{_marked(mark)}".lstrip()
    pipeline = server.pipeline_named(name)
    with _as_file(name, text) as file:
        if pipeline is None:
            try:
                pipeline = server.upload_pipeline(file, name, told)
                return _found(server, str(pipeline["pipeline_id"]), mark, new=True) or _missing(name)
            except DeployError as error:
                if error.status != 409:
                    raise
                pipeline = server.pipeline_named(name)  # another deploy was quicker
                if pipeline is None:
                    raise DeployError(
                        f"the name {name} is taken by a pipeline of {server.host} that you cannot see; "
                        "choose another by --name",
                        status=409,
                    ) from None
        return _version_of(server, str(pipeline["pipeline_id"]), file, f"{name}-{mark}", mark, told)


def _version_of(server: Server, pipeline_id: str, file: Path, name: str, mark: str, told: str) -> Version:
    there = _found(server, pipeline_id, mark)
    if there is not None:
        return there
    try:
        made = server.upload_version(file, pipeline_id, name, told)
    except DeployError as error:
        there = _found(server, pipeline_id, mark) if error.status == 409 else None
        if there is None:
            raise
        return there
    return Version(pipeline_id, str(made["pipeline_version_id"]), name, True)


def _found(server: Server, pipeline_id: str, mark: str, *, new: bool = False) -> Version | None:
    """The version with a hash, None where there is none."""
    for item in itertools.islice(server.versions(pipeline_id), _MOST_VERSIONS):
        name = str(item.get("display_name") or item.get("name") or "")
        if name.endswith(f"-{mark}") or _marked(mark) in str(item.get("description") or ""):
            return Version(pipeline_id, str(item["pipeline_version_id"]), name, new)
    return None


def _missing(name: str) -> Version:
    raise DeployError(f"the server took the pipeline {name} but does not show its first version; deploy once more")


def _marked(mark: str) -> str:
    return f"yaml: {mark}"


@contextmanager
def _as_file(name: str, text: str) -> Iterator[Path]:
    """The API's client reads a file."""
    with tempfile.TemporaryDirectory(prefix="grandpa-deploy-") as folder:
        path = Path(folder) / f"{name}.yaml"
        path.write_text(text, encoding="utf-8", newline="\n")
        yield path
