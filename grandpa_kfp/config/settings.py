"""One value for each key, and where it came from. The first of these that says something holds:

    command line > environment > workflow > profile > project > default

The verbs `run`, `compile`, `config` and deploy call `settings_for`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grandpa_kfp_runtime.errors import ConfigError

from .reading import Configuration, Located, Table, no_profile, read_configuration
from .schema import KEYS, Key
from .secrets import ELSEWHERE, holds_secret

DEFAULT = "default"
COMMAND_LINE = "command line"


@dataclass(frozen=True, slots=True)
class Chosen:
    """A value and where it came from: `command line`, `GRANDPA_STORE`, `workflow train, grandpa.toml:7`, `default`."""

    value: Any
    source: str

    @property
    def is_default(self) -> bool:
        return self.source == DEFAULT


@dataclass(frozen=True, slots=True)
class Settings:
    """What holds for one workflow.

    chosen: by key. parameters: the workflow's, as the configuration gives them, unconverted. profile: the one
    in force, empty for none. file: the configuration, None where there is none. others: the other workflows that
    the configuration has a part for, and where it stands.
    """

    chosen: Mapping[str, Chosen]
    parameters: Mapping[str, Chosen] = field(default_factory=dict)
    profile: str = ""
    file: Path | None = None
    others: Mapping[str, str] = field(default_factory=dict)

    def get(self, name: str) -> Any:
        """The value of a key, its default where nothing is said."""
        return self.chosen[name].value

    def given(self, *names: str) -> dict[str, Any]:
        """Those of the keys for which something is said, by name, ready for `**options`."""
        return {name: self.chosen[name].value for name in names if not self.chosen[name].is_default}


def settings_for(
    file: Path | str | None,
    workflow: str | Sequence[str] = (),
    *,
    profile: str | None = None,
    given: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """The settings of a workflow.

    file: any file or folder of the project, None for the current folder. workflow: the names under which
    `[workflows.NAME]` may hold its part: its own, its variable's; `FILE:NAME` from the project's root is looked
    for too, and comes first. profile: by default GRANDPA_PROFILE, else the configuration's `default_profile`. given:
    what the command line says, by key; None stands for nothing said. environ: by default the process's.

    Raises ConfigError for whatever is wrong in the configuration or in a GRANDPA_ variable.

    >>> settings_for("/nowhere/flow.py", environ={"GRANDPA_THREADS": "3"}).chosen["threads"]
    Chosen(value=3, source='GRANDPA_THREADS')
    """
    from grandpa_kfp_runtime.code.project import find_root

    start = Path.cwd() / "pipeline.py" if file is None else Path(file)
    configuration = read_configuration(find_root(start))
    environ = os.environ if environ is None else environ
    names = list(_names(configuration.root, start, (workflow,) if isinstance(workflow, str) else workflow))
    environment = dict(_environment(environ))
    of_workflow = [
        (f"workflow {name}", configuration.workflows[name]) for name in names if name in configuration.workflows
    ]
    project = ("project", configuration.project)
    in_force = _profile(profile, environment, [table for _, table in (*of_workflow, project)], configuration)
    layers = [*of_workflow, *([(f"profile {in_force}", configuration.profiles[in_force])] if in_force else []), project]
    chosen = {
        key.name: _choose(key, given or {}, environment, layers, configuration.root)
        for key in KEYS.values()
        if key.name != "default_profile"
    }
    parameters: dict[str, Chosen] = {}
    for name in names:
        for parameter, value in configuration.parameters.get(name, {}).items():
            parameters.setdefault(parameter, Chosen(value.value, f"workflow {name}, {value.where}"))
    others = {name: place for name, place in configuration.places.items() if name not in names}
    return Settings(chosen, parameters, in_force, configuration.file, others)


def _names(root: Path, file: Path, names: Sequence[str]) -> Iterator[str]:
    """Under which names a workflow's part may stand, the most exact first."""
    wanted = [name for name in dict.fromkeys(names) if name]
    try:
        relative = Path(os.path.abspath(file)).relative_to(root).as_posix()
    except ValueError:  # a file outside of the project has no name within it
        relative = ""
    yield from (f"{relative}:{name}" for name in wanted if relative)
    yield from wanted


def _environment(environ: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    """The values of the variables that are set, by key. An empty one says nothing."""
    faults = []
    for key in KEYS.values():
        text = environ.get(key.environment, "")
        if not text:
            continue
        try:
            value = key.parse(text)
        except ValueError as error:
            faults.append(f"{key.environment} {error}")
            continue
        if holds_secret(value):
            faults.append(f"{key.environment} holds a password; {ELSEWHERE}")
        yield key.name, value
    if faults:
        raise ConfigError("\n".join(faults))


def _profile(
    asked: str | None, environment: Mapping[str, Any], tables: Sequence[Table], configuration: Configuration
) -> str:
    """The profile in force; that those named in the file exist is checked when it is read."""
    for name, source in ((asked, "--profile"), (environment.get("default_profile"), "GRANDPA_PROFILE")):
        if name:
            if name not in configuration.profiles:
                shown = configuration.file or configuration.root / "grandpa.toml"
                raise ConfigError(f"{source} {name}: {no_profile(name, configuration.profiles)} ({shown})")
            return str(name)
    return next((str(table["default_profile"].value) for table in tables if "default_profile" in table), "")


def _choose(
    key: Key, given: Mapping[str, Any], environment: Mapping[str, Any], layers: Sequence[tuple[str, Table]], root: Path
) -> Chosen:
    if given.get(key.name) is not None:
        return Chosen(given[key.name], COMMAND_LINE)
    if key.name in environment:
        return Chosen(environment[key.name], key.environment)
    for name, table in layers:
        located: Located | None = table.get(key.name)
        if located is not None:
            return Chosen(_placed(key, located.value, root), f"{name}, {located.where}")
    return Chosen(key.default, DEFAULT)


def _placed(key: Key, value: Any, root: Path) -> Any:
    """A folder in the file is meant from the project's root, wherever the command is started."""
    if key.name != "local_store" or ":" in value.partition("/")[0]:
        return value
    return str(root / value)
