"""`launch()` at the end of a file: the command line's verbs for `python pipeline.py`, `run` by default."""

from __future__ import annotations

import sys
from typing import Any

from grandpa_kfp_runtime.code.project import main_file
from grandpa_kfp_runtime.errors import LoadError

from .loading import find_workflow, refuse_while_loading


def launch(workflow: Any = None) -> None:
    """Runs the command line on the calling script and ends the process with its exit code.

    workflow: the one to take, by default the file's only one. `python pipeline.py -p a=4` runs it, and
    `python pipeline.py compile` and every other verb do what `grandpa compile pipeline.py` does.

        if __name__ == "__main__":
            launch()

    Raises LoadError where there is no script (a notebook, an interactive session) or the file is being
    loaded by another verb because the call is not guarded.
    """
    refuse_while_loading("launch")
    from .cli import main
    from .cli.failures import leave
    from .cli.sources import Launched

    file = main_file()
    if file is None:
        raise LoadError("launch() is for a script started as `python pipeline.py`; here use run(workflow) instead")

    def start() -> None:
        module = sys.modules["__main__"]
        if workflow is None:
            launched = Launched(file, workflow=find_workflow(module))
        else:
            name = next((name for name, value in vars(module).items() if value is workflow), "")
            launched = Launched(file, name, workflow)
        main(_with_verb(sys.argv[1:]), launched)

    leave(start)


def _with_verb(args: list[str]) -> list[str]:
    """The arguments with `run` before them, unless they begin with a verb or ask for help on all verbs."""
    if args and (not args[0].startswith("-") or args[0] in ("--help", "-h", "--version")):
        return args
    return ["run", *args]
