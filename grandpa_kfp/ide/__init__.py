"""Run configurations for editors: Run locally, Debug locally, Compile and Deploy for each workflow of a file.

    entries.py    what there is to start, the same for every editor
    vscode.py     `.vscode/launch.json` and `tasks.json`, merged into what is there
    pycharm.py    `.run/*.run.xml`
    jsonc.py      JSON with comments: read, and added to without touching the rest of the text
    templates/    the texts, for jinja2

What carries the name of one of ours is left as it is: the user may have changed it. `grandpa ide` calls
`write_for`.
"""

from __future__ import annotations

from .entries import Entry, entries_for
from .writing import EDITORS, Written, editors_in_use, write_for

__all__ = ["EDITORS", "Entry", "Written", "editors_in_use", "entries_for", "write_for"]
