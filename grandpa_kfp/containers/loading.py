"""`kfp_component`: a component file of Kubeflow Pipelines as a node.

The kfp SDK reads the file, whichever of its formats it has; what is taken from it is the container and its interface.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from grandpa_kfp_compiler.graph import NO_OPTIONS, ContainerNode, Port
from grandpa_kfp_runtime.code.loader import is_packed
from grandpa_kfp_runtime.errors import LoadError, TraceError
from grandpa_kfp_runtime.typespec import Json

from ..authoring.options import check_name
from ..authoring.where import folder_here, here
from .authoring import ContainerFunction, container_function

_CONTAINER = {"image", "command", "args", "env", "resources"}


def kfp_component(source: str | os.PathLike[str], /, *, name: str | None = None) -> ContainerFunction[..., Any]:
    """A component of Kubeflow Pipelines as a node: `train = kfp_component("train.yaml")`, then `train(rate=0.1)`.

    source: a component file (a container component, a Python component that the kfp SDK compiled, or a file of the old
    `implementation: container:` form), from the folder of the Python file that calls this where it is there, else from
    the working directory; or the text of one (anything with a line break). name: the node's, by default the
    component's.

    The node takes its inputs by name; parameters are values, artifacts are files: a `File`, a path that a node
    returned, another component's artifact. A Ref of its outputs has them by name, `trained.model`, and a single output
    is the result itself.
    Raises LoadError for a file that is none or that the kfp SDK refuses, TraceError for a wrong name.
    """
    try:
        text, told = _text(source)
        spec = _spec(text, told)
    except LoadError as error:
        if is_packed(folder_here()):  # in a task of its own, where neither file nor SDK is, and nobody calls it
            return cast("ContainerFunction[..., Any]", Absent(str(error)))
        raise
    key, component = _only_component(spec, told)
    container = _container(spec, component, told)
    takes = _ports(component.get("inputDefinitions", {}), told)
    gives = _ports(component.get("outputDefinitions", {}), told)
    info = spec.get("pipelineInfo", {})
    node = ContainerNode(
        check_name(name, of="a node") if name is not None else key.removeprefix("comp-"),
        container["image"],
        tuple(container.get("command", ())),
        tuple(container.get("args", ())),
        takes,
        gives,
        tuple(sorted((item["name"], item.get("value", "")) for item in container.get("env", ()))),
        json.dumps(container["resources"], sort_keys=True) if container.get("resources") else "",
        by_name=True,
        where=here(),
        description=info.get("description", ""),
    )
    return container_function(node, options=NO_OPTIONS, outputs=node.outputs or None)


class Absent:
    """A component in a task's own process, where its file or the kfp SDK is missing; told where a body uses it."""

    def __init__(self, why: str) -> None:
        self._why = why

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise LoadError(f"{here()}: a task's body calls a component that is not at hand there: {self._why}")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self()


def _text(source: Any) -> tuple[str, str]:
    """The file's text, and what messages call it."""
    if isinstance(source, str) and "\n" in source:
        return source, f"{here()}: the component's text"
    if not isinstance(source, str | os.PathLike):
        raise TraceError(f"{here()}: kfp_component takes a file or the text of one, but was given {source!r}")
    given = Path(source).expanduser()
    beside = folder_here() / given
    path = beside if beside.exists() else given
    told = f"{here()}: the component {source}"
    try:
        return path.read_text(encoding="utf-8"), told
    except FileNotFoundError:
        raise LoadError(f"{told} is not there, neither in {folder_here()} nor in {Path.cwd()}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise LoadError(f"{told} cannot be read: {error}") from error


def _spec(text: str, told: str) -> Json:
    """The component as a pipeline of one task, KFP's own form, as plain data."""
    try:
        from google.protobuf import json_format
        from kfp.components import load_component_from_text
    except ImportError as error:
        raise LoadError(
            f"{told} is read by the kfp SDK, which is not installed ({error}): pip install 'kfp>=2.17,<3'"
        ) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loaded = load_component_from_text(text)
            found: Json = json_format.MessageToDict(loaded.pipeline_spec)
    except Exception as error:  # the SDK raises whatever its parts do
        raise LoadError(f"{told} is none that the kfp SDK loads: {type(error).__name__}: {error}") from error
    if loaded.platform_spec.platforms:
        raise LoadError(
            f"{told} has settings for Kubernetes of its own (a platform spec): take them out of the file, "
            "and say them by options(secrets=, volumes=, ...)"
        )
    return found


def _only_component(spec: Json, told: str) -> tuple[str, Json]:
    components: Mapping[str, Json] = spec.get("components", {})
    tasks = spec.get("root", {}).get("dag", {}).get("tasks", {})
    if len(tasks) != 1 or len(components) != 1 or any("dag" in item for item in components.values()):
        raise LoadError(
            f"{told} is a pipeline of {len(tasks)} tasks: kfp_component takes one component, which is one container"
        )
    return next(iter(components.items()))


def _container(spec: Json, component: Json, told: str) -> Json:
    executors = spec.get("deploymentSpec", {}).get("executors", {})
    executor = executors.get(component.get("executorLabel"), {})
    container = executor.get("container")
    if container is None:
        kind = next(iter(executor), "nothing")
        raise LoadError(
            f"{told} is no container but {kind}: there is nothing to run; pass File(...) or a node's result"
        )
    if unknown := sorted(container.keys() - _CONTAINER):
        raise LoadError(f"{told} says {', '.join(unknown)} of its container, which cannot be kept")
    return container


def _ports(definitions: Json, told: str) -> tuple[Port, ...]:
    found = []
    for name, item in definitions.get("parameters", {}).items():
        if item["parameterType"] not in _KINDS:
            raise LoadError(f"{told}: {name} is {item['parameterType']}, which no value of a node is")
        default = json.dumps(_plain(item["defaultValue"]), sort_keys=True) if "defaultValue" in item else ""
        found.append(Port(name, item["parameterType"], item.get("isOptional", False) or bool(default), default))
    for name, item in definitions.get("artifacts", {}).items():
        if item.get("isArtifactList"):
            raise LoadError(f"{told}: {name} is a list of artifacts, which a node cannot take or leave")
        kind = item["artifactType"].get("schemaTitle", "system.Artifact")
        found.append(Port(name, kind, item.get("isOptional", False)))
    return tuple(sorted(found, key=lambda port: port.name))


_KINDS = ("STRING", "NUMBER_INTEGER", "NUMBER_DOUBLE", "BOOLEAN", "LIST", "STRUCT")


def _plain(value: Json) -> Json:
    """Whole numbers as such: the protobuf has doubles alone."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return {key: _plain(item) for key, item in value.items()} if isinstance(value, dict) else value
