"""The group `grandpa`: its help needs no verb's module, so that it comes at once."""

from __future__ import annotations

import importlib
import platform
from typing import Any

import click

from .. import __version__

VERBS = {
    "run": "Run a workflow here: a Python file, a graph file or a compiled YAML.",
    "compile": "Write a workflow as one Kubeflow Pipelines YAML.",
    "check": "Find everything that is wrong, before anything runs.",
    "plan": "Tell which tasks would run, which are cached, and why.",
    "graph": "Draw a workflow, or a run of it.",
    "deploy": "Send a workflow to a Kubeflow Pipelines server and start a run.",
    "ps": "List the newest runs, here and on the server.",
    "logs": "Print what the tasks of a run printed, or follow it.",
    "inspect": "Show what the tasks of a run took and gave.",
    "replay": "Run one task of a run here, with the inputs that it had.",
    "retry": "Run what failed in a run once more.",
    "terminate": "End a run on the server.",
    "schedules": "List, pause, resume and remove runs by the clock.",
    "store": "List what the store holds; remove what no run needs.",
    "image": "Build an image with what the project's tasks import.",
    "ide": "Write run configurations for VS Code or PyCharm.",
    "config": "Show each value of the configuration, and where it came from.",
    "completion": "Print the script that completes `grandpa` in a shell.",
}
"""Every verb and its first line, in the order of the help."""

_EPILOG = """\b
Examples:
  grandpa run pipeline.py -p a=4           run it, print its value
  grandpa run pipeline.py --help           list the workflow's own parameters
  grandpa check pipeline.py                every fault with file and line
  grandpa plan pipeline.py                 which tasks would run, and why
  grandpa compile pipeline.py              write pipeline.yaml
  grandpa run pipeline.yaml                run that YAML on this machine
  grandpa graph pipeline.py -o graph.svg   draw it
  grandpa deploy pipeline.py --wait        run it on a Kubeflow Pipelines server
"""


class LazyGroup(click.Group):
    """A group whose verbs live in modules of the same name, imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        found: click.Command = importlib.import_module(f"{__package__}.{cmd_name}").command
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The verbs' first lines, without their modules."""
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            raise click.UsageError(_unknown(args[0]), ctx)
        return super().resolve_command(ctx, args)


def _unknown(verb: str) -> str:
    import difflib
    import os

    near = difflib.get_close_matches(verb, VERBS, 1)
    if near:
        return f"there is no verb {verb!r}; did you mean {near[0]}?"
    if os.path.exists(verb.partition(":")[0]):
        return f"{verb!r} is a file; say what to do with it: grandpa run {verb}"
    return f"there is no verb {verb!r}; the verbs are {', '.join(VERBS)}"


@click.group(
    cls=LazyGroup,
    epilog=_EPILOG,
    subcommand_metavar="VERB [ARGS]...",
    options_metavar="[--help] [--version]",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, message=f"grandpa-kfp %(version)s (Python {platform.python_version()})")
def cli() -> None:
    """Ordinary Python functions as workflows: run them here, compile them for Kubeflow Pipelines.

    \b
    FILE[:NAME] in each verb is a Python file, or a graph file that `grandpa graph` wrote;
    NAME is a workflow, component or node in it, needed where there are several workflows.
    """
