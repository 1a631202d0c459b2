"""Outputs once more in Kubeflow's own form, for tasks that containers of other people read: the launcher's part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..contract import Export
from ..errors import CodecError, StoreError, TaskError
from ..exports import exported, metadata_of, parameter_text, write_artifact
from ..typespec import Json
from .executor_io import ExecutorInput

_PARAMETERS = ("STRING", "NUMBER_INTEGER", "NUMBER_DOUBLE", "BOOLEAN", "LIST", "STRUCT")


@dataclass(frozen=True, slots=True)
class Exported:
    """texts: by the output parameter's file, not written yet; facts: the metadata of each artifact."""

    texts: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)


def export_outputs(exports: Sequence[Export], results: Mapping[str, Any], given: ExecutorInput) -> Exported:
    """Writes the files of artifacts, and makes the texts of parameters.

    Raises TaskError for a value that has no such form, StoreError for a file that cannot be written.
    """
    texts: dict[str, str] = {}
    facts: dict[str, Mapping[str, Json]] = {}
    for item in exports:
        value = exported(item, results)
        name = f"{item.output}{''.join(f'[{key!r}]' for key in item.path)}"
        if item.type in _PARAMETERS:
            texts[given.output_files[item.name]] = parameter_text(value, item.type, name)
            continue
        place = Path(given.artifacts[item.name].path)
        try:
            write_artifact(value, place)
        except CodecError as error:
            raise TaskError(f"{name}: {error}") from error
        except OSError as error:
            raise StoreError(f"the artifact {place} cannot be written: {error.strerror or error}") from error
        facts[item.name] = metadata_of(value, place)
    return Exported(texts, facts)
