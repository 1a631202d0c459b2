"""What an editor can start for a workflow. `vscode` and `pycharm` write it down, each in its own format."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Action = Literal["run", "debug", "compile", "deploy"]
MODULE = "grandpa_kfp"
"""Started as `python -m`, so that the editor's interpreter finds it whatever its PATH."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing to start: `python -m grandpa_kfp` and the arguments, in the editor's project folder.

    name: what the editor shows, and by which an entry is found again. group: of one workflow.
    """

    action: Action
    name: str
    group: str
    arguments: tuple[str, ...]


def entries_for(file: str, workflows: Iterable[str], profile: str = "") -> tuple[Entry, ...]:
    """The entries of a file's workflows. file: from the editor's project folder, with `/`.

    workflows: their names in the file, empty for the only one of a graph file.

    >>> [entry.name for entry in entries_for("flows/train.py", ["train"], "staging")]
    ['train: Run locally (flows/train.py)', 'train: Debug locally (flows/train.py)', \
'train: Compile for staging (flows/train.py)', 'train: Deploy to staging (flows/train.py)']
    """
    return tuple(entry for name in workflows for entry in _of_workflow(file, name, profile))


def _of_workflow(file: str, name: str, profile: str) -> tuple[Entry, ...]:
    spec = f"{file}:{name}" if name else file
    chosen = ("--profile", profile) if profile else ()
    # one task at a time, so that a breakpoint is not hit by several at once
    found: tuple[tuple[Action, str, tuple[str, ...]], ...] = (
        ("run", "Run locally", ("run", spec)),
        ("debug", "Debug locally", ("run", spec, "--threads", "1")),
        ("compile", f"Compile for {profile}" if profile else "Compile", ("compile", spec, *chosen)),
        ("deploy", f"Deploy to {profile}" if profile else "Deploy", ("deploy", spec, *chosen)),
    )
    shown = name or file.rpartition("/")[2]
    return tuple(Entry(action, f"{shown}: {title} ({file})", spec, arguments) for action, title, arguments in found)
