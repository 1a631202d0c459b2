"""The command line `grandpa`. One file a verb: it parses, calls one function, prints.

    lazy.py         the group: knows the verbs' names and first lines, imports a verb when it is used
    sources.py      FILE[:NAME], and the `--help` that lists a workflow's own parameters
    parameters.py   -p and --params
    failures.py     errors as a few lines, exit codes
    progress.py     how a run goes on, on standard error
    values.py       a workflow's value on standard output
    completing.py   what the shell may complete

`main` is the entry point; `launching.launch` calls it for `python pipeline.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .sources import Launched


def main(args: Sequence[str] | None = None, launched: Launched | None = None) -> None:
    """Runs the command line and ends the process with its exit code.

    args: by default those of the process. launched: the script that called `launch`, which then takes the
    place of FILE[:NAME] in every verb.
    """
    from .failures import leave
    from .lazy import cli

    leave(lambda: cli.main(args=None if args is None else list(args), prog_name=_program(launched), obj=launched,
                           standalone_mode=False))  # fmt: skip


def _program(launched: Launched | None) -> str:
    return "grandpa" if launched is None else f"python {sys.argv[0]}"
