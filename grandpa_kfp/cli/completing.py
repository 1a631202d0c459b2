"""What the shell may complete: files, the names in them, the parameters of a workflow.

Python files are read as text, never imported, and servers are not asked: a completion must be quick and do nothing.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from pathlib import Path

import click
from click.shell_completion import CompletionItem

_SUFFIXES = (".py", ".json", ".yaml", ".yml")
_MARKS = ("Workflow", "Component", "Node")


def complete_file(incomplete: str) -> list[CompletionItem]:
    """Files that verbs take, and folders; behind `FILE:` the names in the file."""
    file, colon, begun = incomplete.rpartition(":")
    if colon and file.endswith(".py"):
        return [CompletionItem(f"{file}:{name}") for name in names_in(Path(file)) if name.startswith(begun)]
    folder, begun = os.path.split(incomplete)
    try:
        entries = sorted(os.scandir(folder or "."), key=lambda entry: entry.name)
    except OSError:  # no such folder: nothing to offer
        return []
    found = []
    for entry in entries:
        if entry.name.startswith(begun) and (begun or not entry.name.startswith(".")):
            if entry.is_dir():
                found.append(CompletionItem(os.path.join(folder, entry.name) + "/"))
            elif entry.name.endswith(_SUFFIXES):
                found.append(CompletionItem(os.path.join(folder, entry.name)))
    return found


def complete_parameter(spec: str, incomplete: str) -> list[CompletionItem]:
    """`name=` for the parameters of the workflow that FILE[:NAME] names."""
    if "=" in incomplete:
        return []
    file, _, name = spec.rpartition(":") if ".py:" in spec else (spec, "", "")
    return [
        CompletionItem(f"{item.arg}=")
        for function in _marked(Path(file))
        if isinstance(function, ast.FunctionDef)
        and (function.name == name if name else _mark_of(function) == "Workflow")
        for item in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
        if item.arg.startswith(incomplete)
    ]


def forced_nodes(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The nodes that the file before it defines."""
    spec = ctx.params.get("spec") or next(iter(ctx.args), "")  # click has not come to the arguments yet
    file = str(spec).partition(":")[0]
    names = [item.name for item in _marked(Path(file)) if _mark_of(item) == "Node"]
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def runs(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The runs recorded on this machine, newest first."""
    from ..engine.record import list_runs

    return [CompletionItem(name) for name in reversed(list_runs(_root())) if name.startswith(incomplete)]


def tasks(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The tasks of the run that stands before it."""
    from grandpa_kfp_runtime.errors import LoadError

    from ..engine.record import NEWEST, read_run

    try:
        found = read_run(_root(), str(ctx.params.get("run") or NEWEST))
    except LoadError:  # a run of a server, or none
        return []
    return [CompletionItem(name) for name in found.tasks if name.startswith(incomplete)]


def _root() -> Path:
    from grandpa_kfp_runtime.code.project import find_root

    return find_root(Path.cwd() / "pipeline.py")


def names_in(file: Path) -> list[str]:
    """The workflows, components and nodes that a Python file defines at its top level, workflows first."""
    return [item.name for item in sorted(_marked(file), key=lambda item: _MARKS.index(_mark_of(item)))]


def _marked(file: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):  # half-written files are what completion meets all day
        return
    for item in tree.body:
        if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and _mark_of(item):
            yield item


def _mark_of(item: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> str:
    for decorator in item.decorator_list:
        called = decorator.func if isinstance(decorator, ast.Call) else decorator
        name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
        if name in _MARKS:
            return str(name)
    return ""
