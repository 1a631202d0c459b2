"""`--profile`, and what the project's configuration adds to a command line. Verbs on a workflow call `settings_of`."""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ..config import Chosen, Settings
    from .parameters import OwnParameter
    from .sources import Source

COMPILE_KEYS = (
    "code", "fuse", "image", "bootstrap", "store", "secret", "epoch", "name", "python", "pull_policy", "include",
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
    from .failures import print_faint, print_note

    names = (source.name, getattr(workflow, "__name__", ""), workflow.name)
    said = {name: None if value == () else value for name, value in given.items()}
    settings = settings_for(source.file, names, profile=profile, given=said)
    if settings.profile and settings.file is not None:
        print_faint(f"profile {settings.profile} ({settings.file.name})")
    if source.kind == "python" and settings.others and settings.file is not None:
        for message in _nobodys(settings.others, settings.file.parent, source.file, workflow):
            print_note(message)
    return settings


def _nobodys(others: Mapping[str, str], root: Path, file: Path, workflow: Any) -> Iterator[str]:
    """What to say of parts of the configuration that are for no workflow: it looks as if a name in it is wrong.

    Other files of the project may hold a workflow of the name, so only a name that this file's are close to is
    taken for a mistake; under `FILE:NAME` there is no doubt.
    """
    module = sys.modules.get(getattr(getattr(workflow, "fn", None), "__module__", ""))
    if module is None:
        return
    from ..loading import workflows_in

    found = workflows_in(module)
    known = {*found, *(item.name for item in found.values())}
    for name, place in others.items():
        of_file, _, bare = name.rpartition(":")
        near = difflib.get_close_matches(bare, sorted(known), 1, cutoff=0.6 if of_file else 0.75)
        hint = f"; did you mean {near[0]}?" if near else f"; it has {', '.join(sorted(found))}"
        if of_file and not (root / of_file).is_file():
            yield f"{place}: [workflows.{name!r}] is used by nothing: there is no file {root / of_file}"
        elif of_file and (root / of_file).resolve() == file.resolve() and bare not in known:
            yield f"{place}: [workflows.{name!r}] is used by nothing: {of_file} has no workflow {bare}{hint}"
        elif not of_file and near and bare not in known and not _is_mentioned(bare, root):
            yield f"{place}: [workflows.{name}] is used by nothing: {file.name} has no workflow {bare}{hint}"


def _is_mentioned(name: str, root: Path) -> bool:
    """Whether any Python file of the project has the word."""
    word = re.compile(rb"\b" + re.escape(name.encode()) + rb"\b")
    for folder, folders, files in os.walk(root):
        folders[:] = [item for item in folders if not item.startswith((".", "__")) and item != "node_modules"]
        for item in files:
            if item.endswith(".py"):
                with suppress(OSError):
                    if word.search((Path(folder) / item).read_bytes()):
                        return True
    return False


def parameters_in(settings: Settings, source: Source, known: Iterable[OwnParameter]) -> Mapping[str, Chosen]:
    """The configuration's parameters; of a Python file all, so that a wrong name among them is told.

    Those that were fixed when a graph file or a YAML was written are none of theirs any more.
    """
    if source.kind == "python":
        return settings.parameters
    names = {item.name for item in known}
    return {name: chosen for name, chosen in settings.parameters.items() if name in names}
