"""`.run/*.run.xml`, the run configurations that PyCharm shares in a project: one file an entry."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree

from .entries import MODULE, Entry
from .templating import rendered

FOLDER = ".run"


def files(folder: Path, entries: Sequence[Entry]) -> dict[Path, tuple[str, tuple[str, ...]]]:
    """The texts of the files to write, each with the name of its configuration. folder: PyCharm's project.

    A configuration whose name exists, in `.run` or in `.idea/runConfigurations`, is left as it is.
    """
    there = set(_names(folder))
    taken = {path.name for path in (folder / FOLDER).glob("*")}
    project = _module_name(folder)
    found: dict[Path, tuple[str, tuple[str, ...]]] = {}
    for entry in entries:
        if entry.name in there:
            continue
        file = _file_name(entry.name, taken)
        taken.add(file)
        text = rendered(
            "configuration.run.xml.j2",
            entry=entry,
            module=MODULE,
            project=project,
            parameters=" ".join(map(_quoted, entry.arguments)),
        )
        found[folder / FOLDER / file] = text, (entry.name,)
    return found


def _names(folder: Path) -> Iterator[str]:
    """The names of the project's shared configurations."""
    for path in sorted([*(folder / FOLDER).glob("*.xml"), *(folder / ".idea" / "runConfigurations").glob("*.xml")]):
        try:
            root = ElementTree.parse(path).getroot()
        except (OSError, ElementTree.ParseError):  # PyCharm passes over such a file too
            continue
        for configuration in root.iter("configuration"):
            yield configuration.get("name", "")


def _module_name(folder: Path) -> str:
    """What PyCharm calls the project's module, whose interpreter is used: its .iml file, else the folder."""
    modules = sorted(path.stem for path in (folder / ".idea").glob("*.iml"))
    return folder.name if folder.name in modules or not modules else modules[0]


def _file_name(name: str, taken: set[str]) -> str:
    stem = re.sub(r"[^\w.-]+", "_", name).strip("_")
    number, file = 1, f"{stem}.run.xml"
    while file in taken:
        number += 1
        file = f"{stem}-{number}.run.xml"
    return file


def _quoted(argument: str) -> str:
    """As PyCharm takes a line of parameters apart: at spaces, but for those in double quotes."""
    if argument and not re.search(r"[\s\"]", argument):
        return argument
    return '"' + argument.replace('"', '\\"') + '"'
