"""What a task of a compiled YAML is started with: Kubeflow's ExecutorInput, and its command with that filled in."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from grandpa_kfp_runtime.contract import EXECUTOR_INPUT
from grandpa_kfp_runtime.errors import TaskError
from grandpa_kfp_runtime.typespec import Json

from .kfp_containers import Container
from .kfp_pipeline import YamlTask


@dataclass(frozen=True, slots=True)
class Start:
    """command, args: as the container gets them; files: that it reads."""

    command: tuple[str, ...]
    args: tuple[str, ...]
    files: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Folders:
    """Where a task writes. sees: the name by which its command knows a path."""

    outputs: Path
    artifacts: Path
    sees: Callable[[Path], str]


def start_of(task: YamlTask, container: Container, inputs: Mapping[str, Json], folders: Folders) -> Start:
    """inputs: values of parameters, and of artifacts what is said of them, with the paths of this machine.

    Raises TaskError for an artifact whose file is not there, and for a command that names what is not there.
    """
    artifacts = {item.name: inputs[item.name] for item in task.inputs if item.file and item.name in inputs}
    files = {name: Path(entry["uri"]) for name, entry in artifacts.items()}
    missing = [name for name, path in files.items() if not path.exists()]
    if missing:
        raise TaskError(f"its input {missing[0]} is a file that was not left: {files[missing[0]]}")
    given = {
        "inputs": {
            "parameterValues": {name: value for name, value in inputs.items() if name not in artifacts},
            "artifacts": {
                name: {"artifacts": [{**entry, "uri": folders.sees(files[name])}]} for name, entry in artifacts.items()
            },
        },
        "outputs": {
            "parameters": {name: {"outputFile": folders.sees(folders.outputs / name)} for name, _ in task.outputs},
            "artifacts": {
                name: {
                    "artifacts": [
                        {"name": name, "type": schema, "uri": folders.sees(folders.artifacts / name), "metadata": {}}
                    ]
                }
                for name, schema in task.artifacts
            },
            "outputFile": folders.sees(folders.outputs / "executor_output.json"),
        },
    }
    command, args = _words(container, given)
    return Start(command, args, tuple(dict.fromkeys(files.values())))


def _words(container: Container, given: Json) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if container.is_ours:
        text = json.dumps(given, ensure_ascii=False)
        return container.command, tuple(text if arg == EXECUTOR_INPUT else arg for arg in container.args)
    from ..containers.placeholders import filled

    try:
        return tuple(filled(container.command, given, str)), tuple(filled(container.args, given, str))
    except (KeyError, IndexError) as error:
        raise TaskError(f"its command asks for {error}, which was not given and has no default") from None
