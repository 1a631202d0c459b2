"""`.vscode/launch.json` and `.vscode/tasks.json`: new files, or additions to what the user has there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from grandpa_kfp_runtime.errors import LoadError

from .entries import MODULE, Entry
from .jsonc import JsoncError, appended, is_blank, parse
from .templating import rendered

FOLDER = ".vscode"


def files(folder: Path, entries: Sequence[Entry]) -> dict[Path, tuple[str, tuple[str, ...]]]:
    """The files' new texts, and the names of what was added to each. folder: the one that is opened in VS Code.

    Raises LoadError for a file that is there and cannot be read, or is something else than VS Code's.
    """
    launch = json.loads(rendered("launch.json.j2", entries=entries, module=MODULE))
    started = [entry for entry in entries if entry.action != "debug"]
    tasks = json.loads(rendered("tasks.json.j2", entries=started, module=MODULE))
    where = folder / FOLDER
    return {
        where / "launch.json": _merged(where / "launch.json", "0.2.0", "configurations", "name", launch),
        where / "tasks.json": _merged(where / "tasks.json", "2.0.0", "tasks", "label", tasks),
    }


def _merged(path: Path, version: str, key: str, name: str, items: list[dict[str, Any]]) -> tuple[str, tuple[str, ...]]:
    text = read_text(path)
    if is_blank(text):
        fresh = json.dumps({"version": version, key: items}, indent=4, ensure_ascii=False) + "\n"
        return (text.rstrip() + "\n" if text.strip() else "") + fresh, tuple(item[name] for item in items)
    try:
        root = parse(text)
        members = root.members
        if members is None:
            raise JsoncError("line 1: an object is expected")
        holder = members.get(key)
        if holder is not None and holder.items is None:
            raise JsoncError(f"line {text.count(chr(10), 0, holder.start) + 1}: {key} must be a list")
    except JsoncError as error:
        raise LoadError(f"{path}: {error}; nothing was written, mend it first") from error
    there = {item.get(name) for item in root.data.get(key, []) if isinstance(item, dict)}
    new = [item for item in items if item[name] not in there]
    if not new:
        return text, ()
    if holder is not None:
        text = appended(text, holder, [("", item) for item in new])
        root = parse(text)
    missing: list[tuple[str, Any]] = [] if "version" in members else [("version", version)]
    if holder is None:
        missing.append((key, new))
    return appended(text, root, missing), tuple(item[name] for item in new)


def read_text(path: Path) -> str:
    """The file's text to the byte, empty where there is none. Raises LoadError."""
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise LoadError(f"{path}: cannot be read: {error}") from error
