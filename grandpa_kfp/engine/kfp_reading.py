"""Reads a compiled YAML: `read_pipeline`, for files that `grandpa compile` wrote and no others.

Nothing in a YAML from elsewhere is ever run on this machine. What a DAG holds is read by `kfp_dags.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from grandpa_kfp_compiler.kfp.executors import COMMAND
from grandpa_kfp_runtime.errors import LoadError

from .kfp_containers import Container, is_whole, read_limits, read_platform
from .kfp_dags import Dags, needed
from .kfp_pipeline import YamlParameter, YamlPipeline

_OURS = "grandpa-kfp"


def read_pipeline(source: str | Path) -> YamlPipeline:
    """The pipeline in a file, or in the text of one (anything with a line break).

    Raises LoadError, naming the file and the place in it, for a file that is missing, cut off, not YAML, or not
    ours.
    """
    name, text = _text_of(source)
    documents = _documents(name, text)
    spec = documents[0]
    if not isinstance(spec, dict) or not ({"root", "pipelineInfo", "deploymentSpec"} & spec.keys()):
        raise LoadError(f"{name}: not a pipeline; `grandpa compile` writes files that can be run here")
    try:
        return _pipeline(name, spec, documents[1] if len(documents) > 1 else {}, text)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise LoadError(f"{name}: cut off or changed, compile it again ({error!r})") from error


def check_ours(source: str | Path, pipeline: YamlPipeline) -> None:
    """Raises LoadError for a pipeline that runs anything but our runtime, which may be done in containers alone."""
    for _, _, container in pipeline.dag.containers():
        if not container.is_ours:
            name = "the YAML" if isinstance(source, str) and "\n" in source else source
            shown = " ".join((*container.command, *container.args[:1]))
            raise LoadError(
                f"{name}: deploymentSpec.executors.{container.label} runs `{shown[:80]}`; only "
                f"`{' '.join(COMMAND)} task` (or code), which grandpa compile writes, is run as a process of this "
                "machine: use --engine docker"
            )


def _text_of(source: str | Path) -> tuple[str, str]:
    if isinstance(source, str) and "\n" in source:
        return "the YAML", source
    try:
        return str(source), Path(source).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise LoadError(f"{source}: not a text file in UTF-8 ({error.reason} at byte {error.start})") from error
    except OSError as error:
        raise LoadError(f"{source}: {error.strerror or error}") from error


def _documents(name: str, text: str) -> list[Any]:
    import yaml

    try:
        documents = list(yaml.load_all(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or error
        raise LoadError(f"{name}{line}: not YAML, or cut off: {problem}") from error
    if not 1 <= len(documents) <= 2:
        raise LoadError(f"{name}: {len(documents)} YAML documents; a compiled pipeline has one or two")
    return documents


def _pipeline(name: str, spec: Mapping[str, Any], platform: Any, text: str) -> YamlPipeline:
    if not str(needed(name, spec, "sdkVersion", str, "")).startswith(_OURS):
        raise LoadError(
            f"{name}: compiled by {spec['sdkVersion']}, not by grandpa-kfp; "
            "only what `grandpa compile` wrote is run on this machine"
        )
    info = needed(name, spec, "pipelineInfo", dict, "")
    deployment = needed(name, spec, "deploymentSpec", dict, "")
    executors = needed(name, deployment, "executors", dict, "deploymentSpec")
    configs = _platform_executors(name, platform, executors)
    containers = {label: _container(name, label, executors[label], configs.get(label, {})) for label in executors}
    components = needed(name, spec, "components", dict, "")
    root = needed(name, spec, "root", dict, "")
    parameters = _parameters(name, root)
    dag = Dags(name, components, containers).read(root, "root", [item.name for item in parameters])
    description = str(info.get("description", ""))
    return YamlPipeline(str(needed(name, info, "name", str, "pipelineInfo")), description, parameters, dag, text)


def _container(name: str, label: str, executor: Any, platform: Mapping[str, Any]) -> Container:
    place = f"deploymentSpec.executors.{label}"
    if not isinstance(executor, dict) or "container" not in executor:
        raise LoadError(f"{name}: {place} is no container")
    container = needed(name, executor, "container", dict, place)
    command = tuple(map(str, needed(name, container, "command", list, f"{place}.container")))
    args = tuple(map(str, needed(name, container, "args", list, f"{place}.container")))
    env = tuple((str(item["name"]), str(item["value"])) for item in container.get("env", ()))
    if not is_whole(platform, dict(env)):
        raise LoadError(f"{name}: the platform spec of {label} is not whole; the file was cut off")
    resources = container.get("resources", {})
    image, limits = str(container.get("image", "")), read_limits(resources)
    return Container(label, args, env, image, command, limits, read_platform(platform, resources))


def _platform_executors(name: str, platform: Any, executors: Mapping[str, Any]) -> Mapping[str, Any]:
    if not platform:
        return {}
    found: Any = platform
    for key in ("platforms", "kubernetes", "deploymentSpec", "executors"):
        found = needed(name, found, key, dict, "the platform spec")
    for label, config in found.items():
        if label not in executors or not isinstance(config, dict):
            raise LoadError(f"{name}: the platform spec of {label} fits no executor; the file was changed")
    return dict(found)


def _parameters(name: str, root: Mapping[str, Any]) -> tuple[YamlParameter, ...]:
    declared = root.get("inputDefinitions", {}).get("parameters", {})
    return tuple(
        YamlParameter(
            key,
            str(needed(name, spec, "parameterType", str, f"root.inputDefinitions.{key}")),
            spec.get("defaultValue"),
            bool(spec.get("isOptional")) or "defaultValue" in spec,
            str(spec.get("description", "")),
        )
        for key, spec in declared.items()
    )
