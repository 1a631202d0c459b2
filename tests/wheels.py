"""Small wheels of the tests' own, so that pip has something to install without a network."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

TINY = {
    "tinypkg.py": "VERSION = {version!r}\n\ndef shout(text):\n    return text.upper() + '!'\n\ndef main():\n"
    "    print(shout('tiny'))\n"
}


def write_wheel(
    folder: Path,
    name: str = "tinypkg",
    version: str = "1.0",
    files: Mapping[str, str] = TINY,
    *,
    scripts: str = "tiny-shout = tinypkg:main\n",
    requires: tuple[str, ...] = (),
) -> Path:
    """A pure wheel; `{version!r}` in its files stands for the version. scripts: lines of console_scripts."""
    info = f"{name}-{version}.dist-info"
    needed = "".join(f"Requires-Dist: {item}\n" for item in requires)
    members = {path: text.replace("{version!r}", repr(version)) for path, text in files.items()}
    members[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needed}"
    members[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    if scripts:
        members[f"{info}/entry_points.txt"] = f"[console_scripts]\n{scripts}"
    members[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in (*members, f"{info}/RECORD"))
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in members.items():
            archive.writestr(zipfile.ZipInfo(path), text)
    return wheel
