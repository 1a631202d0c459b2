"""Sets one key in a project's configuration, and leaves every other line of the file as it is.

`grandpa image build` writes the image down with it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from grandpa_kfp_runtime.errors import ConfigError

from .reading import FILES, no_profile, read_configuration
from .schema import KEYS
from .toml_lines import Path as KeyPath
from .toml_lines import lines_of, parse_toml


def set_key(root: Path, name: str, value: str, profile: str = "") -> str:
    """Sets a key of the project, or of one of its profiles; where it stands now, `grandpa.toml:3`.

    Where the project has no configuration, `grandpa.toml` is made. Raises ConfigError.
    """
    configuration = read_configuration(root)
    if profile and profile not in configuration.profiles:
        raise ConfigError(no_profile(profile, configuration.profiles))
    if fault := KEYS[name].fault(value):
        raise ConfigError(f"{name} {fault}")
    file = configuration.file or root / FILES[0]
    prefix: KeyPath = () if file.name == FILES[0] else ("tool", "grandpa")
    path = (*prefix, *(("profile", profile) if profile else ()), name)
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    changed = with_key(text, path, value)
    _replace(file, changed)
    return f"{file.name}:{lines_of(changed)[path]}"


def with_key(text: str, path: KeyPath, value: str) -> str:
    """The TOML with one key set. Raises ConfigError where its line cannot be changed by itself.

    >>> print(with_key("a = 1\\n\\n[profile.x]\\nimage = 'old' # why\\n", ("profile", "x", "image"), "new"), end="")
    a = 1
    <BLANKLINE>
    [profile.x]
    image = "new"
    >>> print(with_key("a = 1\\n[t]\\nb = 2\\n", ("image",), "new"), end="")
    image = "new"
    a = 1
    [t]
    b = 2
    """
    newline = "\r\n" if "\r\n" in text else "\n"
    lines = text.splitlines(keepends=True)
    known = lines_of(text)
    statement = f"{path[-1]} = {json.dumps(value, ensure_ascii=False)}{newline}"
    table = path[:-1]
    if path in known:
        lines[known[path] - 1] = statement
    elif table in known or not table:
        at = known[table] if table else 0  # behind the table's header, or on top of the file
        lines.insert(at, statement)
    else:
        gap = newline if lines and lines[-1].strip() else ""
        if lines and not lines[-1].endswith("\n"):
            lines[-1] += newline
        lines += [f"{gap}[{'.'.join(table)}]{newline}", statement]
    changed = "".join(lines)
    if not _differs_only_in(text, changed, path, value):
        raise ConfigError(f"{'.'.join(path)} stands in a form that cannot be changed by itself: set it to {value!r}")
    return changed


def _differs_only_in(before: str, after: str, path: KeyPath, value: str) -> bool:
    try:
        expected, found = parse_toml(before), parse_toml(after)
    except ValueError:
        return False
    table = expected
    for name in path[:-1]:
        table = table.setdefault(name, {})
    table[path[-1]] = value
    return expected == found


def _replace(file: Path, text: str) -> None:
    temporary = file.with_name(f".{file.name}-{os.getpid()}")
    try:
        with open(temporary, "w", encoding="utf-8", newline="") as written:
            written.write(text)
        if file.exists():
            os.chmod(temporary, file.stat().st_mode & 0o777)
        os.replace(temporary, file)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise ConfigError(f"{file} cannot be written: {error.strerror}") from error
