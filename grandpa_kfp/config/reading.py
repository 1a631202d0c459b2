"""Reads a project's configuration and checks the whole file: every fault at once, each with its file:line.

    grandpa.toml                    pyproject.toml
    store = "s3://..."              [tool.grandpa]
    [profile.staging]               [tool.grandpa.profile.staging]
    [workflows.train]               [tool.grandpa.workflows.train]
    [workflows.train.parameters]    [tool.grandpa.workflows.train.parameters]

`settings` picks from it what holds for one workflow.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grandpa_kfp_runtime.errors import ConfigError

from .schema import KEYS, Place, kind_of
from .secrets import ELSEWHERE, holds_secret, names_secret
from .toml_lines import Path as KeyPath
from .toml_lines import line_of, lines_of, parse_toml

FILES = ("grandpa.toml", "pyproject.toml")
_TABLES = ("profile", "workflows")


@dataclass(frozen=True, slots=True)
class Located:
    """A value and where it stands: `grandpa.toml:3`."""

    value: Any
    where: str


Table = Mapping[str, Located]


@dataclass(frozen=True, slots=True)
class Configuration:
    """What one file says. parameters: by workflow; file: None where the project has no configuration.

    places: where the part of each workflow stands, `grandpa.toml:12`.
    """

    root: Path
    file: Path | None = None
    project: Table = field(default_factory=dict)
    profiles: Mapping[str, Table] = field(default_factory=dict)
    workflows: Mapping[str, Table] = field(default_factory=dict)
    parameters: Mapping[str, Table] = field(default_factory=dict)
    places: Mapping[str, str] = field(default_factory=dict)


def read_configuration(root: Path) -> Configuration:
    """The configuration of the project with this root, checked.

    Raises ConfigError with every fault: an unknown key (and the nearest there is), a value of another type, a
    secret, a file that is no TOML, or two files that both hold a configuration.
    """
    found = [(path, prefix, text) for path, prefix, text in map(_read, (root / name for name in FILES)) if text]
    parsed = [(path, prefix, text, _tables(path, prefix, text)) for path, prefix, text in found]
    holding = [item for item in parsed if item[3]]
    if len(holding) > 1:
        raise ConfigError(
            f"both {FILES[0]} and [tool.grandpa] in {FILES[1]} hold a configuration ({root}); keep one of them"
        )
    if not holding:
        return Configuration(root)
    ((path, prefix, text, tables),) = holding
    checker = _Checker(path.name, prefix, lines_of(text))
    configuration = checker.configuration(root, path, tables)
    if checker.faults:
        raise ConfigError("\n".join(message for _, message in sorted(checker.faults)))
    return configuration


def _read(path: Path) -> tuple[Path, KeyPath, str]:
    prefix = () if path.name == FILES[0] else ("tool", "grandpa")
    try:
        return path, prefix, path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return path, prefix, ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error


def _tables(path: Path, prefix: KeyPath, text: str) -> dict[str, Any]:
    try:
        tables: Any = parse_toml(text)
    except ValueError as error:
        raise ConfigError(f"{path.name}: this is no TOML: {error}") from error
    for name in prefix:
        tables = tables.get(name, {}) if isinstance(tables, dict) else {}
    if not isinstance(tables, dict):
        raise ConfigError(f"{path.name}:{line_of(lines_of(text), prefix)}: [{'.'.join(prefix)}] must be a table")
    return tables


@dataclass(slots=True)
class _Checker:
    """One file on its way to a Configuration; collects the faults."""

    name: str
    prefix: KeyPath
    lines: Mapping[KeyPath, int]
    faults: list[tuple[int, str]] = field(default_factory=list)

    def configuration(self, root: Path, file: Path, tables: dict[str, Any]) -> Configuration:
        project = {key: value for key, value in tables.items() if key not in _TABLES}
        profiles = self._named("profile", tables.get("profile", {}))
        workflows = self._named("workflows", tables.get("workflows", {}))
        parameters = {
            name: self._parameters(name, table.pop("parameters"))
            for name, table in workflows.items()
            if "parameters" in table
        }
        found = Configuration(
            root,
            file,
            self._table((), project, "project", _TABLES),
            {name: self._table(("profile", name), table, "profile") for name, table in profiles.items()},
            {
                name: self._table(("workflows", name), table, "workflow", ("parameters",))
                for name, table in workflows.items()
            },
            parameters,
            {name: self._where(("workflows", name)) for name in workflows},
        )
        for path, table in (
            ((), found.project),
            *((("workflows", name), table) for name, table in found.workflows.items()),
        ):
            if "default_profile" in table and table["default_profile"].value not in profiles:
                self._fault((*path, "default_profile"), no_profile(table["default_profile"].value, profiles))
        return found

    def _named(self, of: str, tables: Any) -> dict[str, dict[str, Any]]:
        """`[profile.NAME]` and `[workflows.NAME]`, by name."""
        if not isinstance(tables, dict):
            hint = "; the profile that holds by default is default_profile" if of == "profile" else ""
            self._fault((of,), f"{of} must hold tables, [{self._shown((of, 'NAME'))}], but is {kind_of(tables)}{hint}")
            return {}
        for name, table in tables.items():
            if not isinstance(table, dict):
                nearest = _nearest(name, KEYS) or f"; it belongs under [{self._shown((of, 'NAME'))}]"
                self._fault((of, name), f"{of}.{name} must be a table, but is {kind_of(table)}{nearest}")
        return {name: dict(table) for name, table in tables.items() if isinstance(table, dict)}

    def _table(self, path: KeyPath, table: dict[str, Any], place: Place, others: tuple[str, ...] = ()) -> Table:
        """The keys of one table that are as they should be."""
        known = [key.name for key in KEYS.values() if place in key.places]
        found = {}
        for name, value in table.items():
            at = (*path, name)
            key = KEYS.get(name)
            if key is not None and place in key.places:
                fault = key.fault(value)
                if holds_secret(value):
                    fault = f"holds a password; {ELSEWHERE}"
                if fault:
                    self._fault(at, f"{name} {fault}")
                else:
                    found[name] = Located(value, self._where(at))
            elif key is not None:
                self._fault(at, f"{name} cannot stand here, only {_places(key.places)}")
            elif names_secret(name):
                self._fault(at, f"{name} looks like a secret; {ELSEWHERE}")
            else:
                hint = _nearest(name, (*known, *others)) or f"; there are {', '.join(known)}"
                if place == "workflow":
                    hint += f"; a parameter belongs under [{self._shown((*path, 'parameters'))}]"
                self._fault(at, f"there is no key {name!r}{hint}")
        return found

    def _parameters(self, workflow: str, table: Any) -> Table:
        path = ("workflows", workflow, "parameters")
        if not isinstance(table, dict):
            self._fault(path, f"parameters must be a table, [{self._shown(path)}], but is {kind_of(table)}")
            return {}
        for name, value in table.items():
            if (names_secret(name) and isinstance(value, str)) or holds_secret(value):
                self._fault((*path, name), f"parameter {name} looks like a secret; {ELSEWHERE}")
        return {name: Located(value, self._where((*path, name))) for name, value in table.items()}

    def _fault(self, path: KeyPath, message: str) -> None:
        self.faults.append((self._line(path), f"{self._where(path)}: {message}"))

    def _where(self, path: KeyPath) -> str:
        return f"{self.name}:{self._line(path)}"

    def _line(self, path: KeyPath) -> int:
        return line_of(self.lines, (*self.prefix, *path))

    def _shown(self, path: KeyPath) -> str:
        return ".".join((*self.prefix, *path))


def no_profile(name: str, profiles: Iterable[str]) -> str:
    """What to say of a profile that is not there."""
    known = sorted(profiles)
    hint = _nearest(name, known) or (f"; there are {', '.join(known)}" if known else "; write it as [profile.NAME]")
    return f"there is no profile {name!r}{hint}"


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name.lower().replace("-", "_"), list(known), 1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _places(places: tuple[Place, ...]) -> str:
    told = {"project": "for the whole project", "profile": "in a profile", "workflow": "under [workflows.NAME]"}
    return " and ".join(told[place] for place in places)
