"""`--profile`, and what the project's configuration adds to a command line. Verbs on a workflow call `settings_of`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ..config import Chosen, Settings
    from .parameters import OwnParameter
    from .sources import Source

COMPILE_KEYS = (
    "code", "image", "bootstrap", "store", "secret", "epoch", "name", "python", "pull_policy", "include",
)  # fmt: skip
"""The keys that are options of `compile`, under the same names."""


def profile_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """The option --profile of a verb."""
    return click.option("--profile", metavar="NAME", help="The profile of the project's configuration that holds.")(
        command
    )


def settings_of(source: Source, workflow: Any, profile: str | None, given: Mapping[str, Any]) -> Settings:
    """What holds for a workflow (or Graph, or pipeline of a YAML): the command line first, then the configuration.

    given: what the command line says, by key; None, and nothing in a list, for nothing said.
    Raises ConfigError.
    """
    from ..config import settings_for
    from .failures import print_faint

    names = (source.name, getattr(workflow, "__name__", ""), workflow.name)
    said = {name: None if value == () else value for name, value in given.items()}
    settings = settings_for(source.file, names, profile=profile, given=said)
    if settings.profile and settings.file is not None:
        print_faint(f"profile {settings.profile} ({settings.file.name})")
    return settings


def parameters_in(settings: Settings, source: Source, known: Iterable[OwnParameter]) -> Mapping[str, Chosen]:
    """The configuration's parameters; of a Python file all, so that a wrong name among them is told.

    Those that were fixed when a graph file or a YAML was written are none of theirs any more.
    """
    if source.kind == "python":
        return settings.parameters
    names = {item.name for item in known}
    return {name: chosen for name, chosen in settings.parameters.items() if name in names}
