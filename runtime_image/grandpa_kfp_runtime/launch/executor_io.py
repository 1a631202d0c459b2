"""KFP's two forms: the ExecutorInput that a task is started with, and what it leaves behind.

The launcher is the only caller. Everything is written beside its place and renamed, so that no reader
ever sees half a file.
"""

from __future__ import annotations

import errno
import json
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from ..errors import PayloadError, StoreError, StoreFull
from ..typespec import Json

EXECUTOR_LOGS = "executor-logs"
"""An artifact of KFP's own launcher, which no task touches."""

PREVIEW_SUFFIX = "-preview"
"""Appended to an output's name: the artifact whose file a person sees."""

_MOUNTS = {"minio": "/minio", "s3": "/s3", "gs": "/gcs"}
"""Where KFP's launcher looks for an artifact's file, by the scheme of its URI."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """An output artifact. schema_title: `system.Artifact` and the like; path: where its file is to be."""

    name: str
    uri: str
    schema_title: str
    path: str


@dataclass(frozen=True, slots=True)
class ExecutorInput:
    """values: input parameters by name; output_files: where each output parameter's text is to be written;
    artifacts: output artifacts by name; output_file: where the ExecutorOutput is to be; files: of input artifacts,
    where KFP's launcher has put them."""

    values: Mapping[str, Json]
    output_files: Mapping[str, str]
    artifacts: Mapping[str, Artifact]
    output_file: str
    uris: tuple[str, ...]
    files: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_text(cls, text: str) -> ExecutorInput:
        """Reads protobuf's JSON form. Raises PayloadError for what is not one."""
        try:
            data = json.loads(text)
            inputs, outputs = data.get("inputs", {}), data.get("outputs", {})
            files = {name: entry["outputFile"] for name, entry in outputs.get("parameters", {}).items()}
            entries = {
                name: entry["artifacts"][0]
                for name, entry in outputs.get("artifacts", {}).items()
                if entry["artifacts"]
            }
            return cls(
                dict(inputs.get("parameterValues", {})),
                files,
                {name: _artifact(name, entry) for name, entry in entries.items() if name != EXECUTOR_LOGS},
                outputs.get("outputFile", ""),
                tuple(entry.get("uri", "") for entry in entries.values()),
                {
                    name: local_path(entry["artifacts"][0]["uri"])
                    for name, entry in inputs.get("artifacts", {}).items()
                    if entry["artifacts"]
                },
            )
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise PayloadError(
                f"the executor input is not what Kubeflow Pipelines gives a task: {type(error).__name__}: {error}"
            ) from error


def _artifact(name: str, entry: Mapping[str, Any]) -> Artifact:
    kind = entry.get("type") or {}
    return Artifact(name, entry["uri"], kind.get("schemaTitle", ""), local_path(entry["uri"]))


def local_path(uri: str) -> str:
    """The file in a container that stands for a URI; empty where none does.

    >>> local_path("minio://bucket/v2/x"), local_path("gs://b/y"), local_path("/tmp/z")
    ('/minio/bucket/v2/x', '/gcs/b/y', '/tmp/z')
    """
    if uri.startswith("/"):
        return uri
    parts = urlsplit(uri)
    if parts.scheme == "file":
        return unquote(parts.path)
    mount = _MOUNTS.get(parts.scheme)
    return f"{mount}/{parts.netloc}{parts.path}" if mount else ""


@dataclass(frozen=True, slots=True)
class Place:
    """Which task of which run this is; `uuid` tells a task's executions apart."""

    run_id: str
    task: str
    uuid: str

    @classmethod
    def of(cls, executor_input: ExecutorInput, task_name: str = "") -> Place | None:
        """Read from an assigned URI, `.../<pipeline>/<run id>/<task>/<uuid>/<output>`; None where there is none.

        task_name: what a local engine calls the task, which may be a path.
        """
        for uri in executor_input.uris:
            parts = [part for part in urlsplit(uri).path.split("/") if part]
            own = task_name.split("/") if task_name else []
            depth = len(own) if own and parts[-2 - len(own) : -2] == own else 1
            if len(parts) >= 3 + depth:
                return cls(_clean(parts[-3 - depth]), task_name or _clean(parts[-3]), _clean(parts[-2]))
        return None


def _clean(text: str) -> str:
    """A part of a record's path, whatever the URI holds."""
    return re.sub(r"[^\w.-]", "-", text).strip(".") or "-"


# --- what a task leaves behind -------------------------------------------------------------------


def write_file(path: str, text: str) -> None:
    """Writes the file whole or not at all. Raises StoreFull, StoreError."""
    try:
        _replace(path, text.encode("utf-8"))
    except OSError as error:
        kind = StoreFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else StoreError
        raise kind(f"the output file {path} cannot be written: {error.strerror}") from error


def write_preview(path: str, text: str) -> str:
    """Writes an artifact's file; what went wrong, empty for nothing, since a preview is never worth a failure."""
    if not path:
        return "its URI stands for no local file"
    try:
        _replace(path, text.encode("utf-8", "replace"))
    except OSError as error:
        return f"{path}: {error.strerror}"
    return ""


def executor_output(metadata: Mapping[str, Mapping[str, Json]]) -> str:
    """The ExecutorOutput: metadata of artifacts by name, never a URI, which KFP would refuse.

    >>> executor_output({"result-preview": {"type": "int"}})
    '{"artifacts": {"result-preview": {"artifacts": [{"metadata": {"type": "int"}}]}}}'
    """
    return json.dumps(
        {"artifacts": {name: {"artifacts": [{"metadata": facts}]} for name, facts in metadata.items()}}, allow_nan=False
    )


def _replace(path: str, data: bytes) -> None:
    folder = os.path.dirname(path) or "."
    os.makedirs(folder, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=".grandpa-", dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(temporary, 0o644)  # KFP's launcher may be another user
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
