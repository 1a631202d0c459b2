"""`grandpa plan`: which tasks would run, which have a result of an earlier run, and why."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import click

from .completing import forced_nodes
from .configured import parameters_in, profile_option
from .parameters import parameter_options
from .sources import WorkflowCommand, file_argument


@click.command(
    "plan",
    cls=WorkflowCommand,
    epilog="""\b
Examples:
  grandpa plan pipeline.py                   a line for each task: cached, run or unknown, and why
  grandpa plan pipeline.py -p epochs=5       with another parameter
  grandpa plan pipeline.py --force 'train*'
  grandpa plan pipeline.py --json
""",
)
@file_argument()
@parameter_options
@profile_option
@click.option("--store", metavar="URI", help="Where values are: a folder, or s3://bucket/prefix?endpoint=URL.")
@click.option(
    "--force",
    metavar="NODE",
    multiple=True,
    shell_complete=forced_nodes,
    help="As of `grandpa run`.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@click.pass_context
def command(
    ctx: click.Context, /, spec: str, pairs: Any, params_file: Any, profile: str | None, **options: Any
) -> None:
    """Tell for each task whether `grandpa run` would run it, and why. Nothing runs.

    cached: an earlier run here had the same code and inputs. run: its code changed (which function), its input
    changed (which), it never ran, it is forced, cache=False, it expired, its objects are gone. unknown: it depends on
    what a task gives that would run; where that gives the same as before, it is cached.
    """
    from grandpa_kfp_compiler.graph import Graph

    from ..planning import plan
    from .configured import settings_of
    from .parameters import as_workflow, given_parameters, of_target, place_of
    from .run import output_to_stderr, root_of_file
    from .sources import load, source_of

    source = source_of(spec)
    if source.kind == "yaml":
        raise click.UsageError("tasks of a compiled YAML always run; plan the Python file that it was compiled from")
    with output_to_stderr():
        target = load(source, ctx.obj, live=True)
        workflow = target if isinstance(target, Graph) else as_workflow(target)
        known = of_target(target)
        settings = settings_of(source, workflow, profile, {"local_store": options["store"]})
        configured = parameters_in(settings, source, known)
        params = given_parameters(known, pairs, params_file, place_of(workflow), configured)
        found = plan(
            workflow,
            params,
            store=settings.get("local_store"),
            force=options["force"],
            root=root_of_file(source.file),
        )
    if options["as_json"]:
        rows = [{"task": item.task, "outcome": item.outcome, "why": item.why} for item in found]
        click.echo(json.dumps(rows, ensure_ascii=False))
        return
    width = max((len(item.task) for item in found), default=0)
    for item in found:
        click.echo(f"{item.task:<{width}}  {item.outcome:<7}  {item.why}")
    counts = Counter([_WORDS[item.outcome] for item in found])
    click.echo(", ".join(f"{counts[word]:,} {word}" for word in _WORDS.values() if counts[word]))


_WORDS = {"cached": "cached", "run": "to run", "unknown": "unknown"}
