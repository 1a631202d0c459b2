"""Writes the files of an editor, each whole or not at all. `grandpa ide` calls `write_for`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..compiling import write_whole
from . import pycharm, vscode
from .entries import entries_for

Editor = Literal["vscode", "pycharm"]
EDITORS: tuple[Editor, ...] = ("vscode", "pycharm")
_WRITERS = {"vscode": vscode.files, "pycharm": pycharm.files}
_MARKS: dict[Editor, str] = {"vscode": ".vscode", "pycharm": ".idea"}


@dataclass(frozen=True, slots=True)
class Written:
    """What was done: the files that were written, what was added, and what was there already.

    folder: the editor's project folder.
    """

    folder: Path
    files: tuple[Path, ...]
    added: tuple[str, ...]
    kept: tuple[str, ...]


def write_for(
    editor: Editor, file: Path, workflows: Sequence[str], *, profile: str = "", folder: Path | None = None
) -> Written:
    """Writes the run configurations of a file's workflows. What is there by the same name stays as it is.

    workflows: their names in the file. profile: which Compile and Deploy use. folder: the one that the editor
    opens, by default the nearest above the file that is one already, else the project's root.
    Raises LoadError for a file of the editor's that cannot be read, CompileError for one that cannot be written.
    """
    top = Path(os.path.abspath(folder)) if folder is not None else project_folder(file, editor)
    entries = entries_for(Path(os.path.relpath(file, top)).as_posix(), workflows, profile)
    texts = _WRITERS[editor](top, entries)  # all are read before any is written
    added = {name for _, names in texts.values() for name in names}
    changed = [path for path, (_, names) in texts.items() if names]
    for path in changed:
        write_whole(path.resolve(), texts[path][0])
    names = [entry.name for entry in entries]
    return Written(
        top,
        tuple(changed),
        tuple(name for name in names if name in added),
        tuple(name for name in names if name not in added),
    )


def project_folder(file: Path, editor: Editor) -> Path:
    """The nearest folder above the file that the editor knows as a project, up to the repository's; else the root."""
    from grandpa_kfp_runtime.code.project import find_root

    for folder in Path(os.path.abspath(file)).parents:
        if folder == Path.home():  # there `.vscode` holds VS Code's own extensions
            break
        if (folder / _MARKS[editor]).is_dir():
            return folder
        if (folder / ".git").exists():
            break
    return find_root(file)


def editors_in_use(file: Path, environ: Mapping[str, str]) -> tuple[Editor, ...]:
    """The editor whose terminal this is, else those whose folders the project has."""
    if environ.get("TERM_PROGRAM") == "vscode":
        return ("vscode",)
    if "JetBrains" in environ.get("TERMINAL_EMULATOR", ""):
        return ("pycharm",)
    return tuple(editor for editor in EDITORS if (project_folder(file, editor) / _MARKS[editor]).is_dir())
