"""The configuration of a project: `grandpa.toml`, or `[tool.grandpa]` in `pyproject.toml`.

    schema.py      every key there is, with its type, default and environment variable
    reading.py     the file, checked whole: each fault with its file:line
    toml_lines.py  on which line a key stands
    secrets.py     what must never be written there
    settings.py    one value a key, and where it came from: `settings_for`

The verbs of the command line and deploy call `settings_for`; Python's own functions take what they are given.
"""

from __future__ import annotations

from .reading import Configuration, read_configuration
from .schema import KEYS, Key
from .settings import Chosen, Settings, settings_for

__all__ = ["KEYS", "Chosen", "Configuration", "Key", "Settings", "read_configuration", "settings_for"]
