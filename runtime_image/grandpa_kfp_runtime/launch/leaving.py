"""What a task leaves for KFP's launcher to pick up: previews, their metadata, parameters last."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..contract import Interface
from ..errors import PayloadError
from ..typespec import Json
from .executor_io import PREVIEW_SUFFIX, ExecutorInput, executor_output, write_file, write_preview
from .exporting import Exported
from .outputs import Output

Drawn = Mapping[str, "tuple[Mapping[str, Any], str]"]
"""By artifact: its metadata, and its file's text."""


def check_outputs(interface: Interface, given: ExecutorInput) -> None:
    """Raises PayloadError where there is no place for an output."""
    missing = [name for name in interface.outputs if name not in given.output_files]
    there = given.output_files.keys() | given.artifacts.keys()
    missing += [item.name for item in interface.exports if item.name not in there]
    if missing:
        raise PayloadError(f"the executor input names no file for the outputs {', '.join(missing)}")


def leave_files(
    given: ExecutorInput, outputs: Sequence[Output], drawn: Drawn, exported: Exported, warn: Callable[[str], None]
) -> None:
    """Writes all of it. drawn: of what was logged. Raises StoreError for a parameter that cannot be written."""
    artifacts = given.artifacts
    facts: dict[str, Mapping[str, Json]] = dict(exported.facts)
    for item in outputs:
        artifact = artifacts.get(item.name + PREVIEW_SUFFIX)
        if artifact is None:
            continue
        facts[artifact.name] = item.facts if item.metadata is None else item.metadata
        if item.preview is not None and (problem := write_preview(artifact.path, item.preview)):
            warn(f"no preview of {item.name}: {problem}")
    for name, (metadata, text) in drawn.items():
        facts[name] = metadata
        if problem := write_preview(artifacts[name].path, text):
            warn(f"no {name}: {problem}")
    if facts and given.output_file:
        write_file(given.output_file, executor_output(facts))
    for file, told in exported.texts.items():
        write_file(file, told)
    for item in outputs:
        write_file(given.output_files[item.name], item.handle)
