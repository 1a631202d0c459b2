"""`grandpa plan`: which tasks would run, which have a result of an earlier run, and why: here, or on Kubeflow."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from .completing import forced_nodes
from .parameters import parameter_options
from .servers import SERVER_KEYS, server_options
from .sources import WorkflowCommand, file_argument

if TYPE_CHECKING:
    from ..planning import Planned
    from .sources import Source


@click.command(
    "plan",
    cls=WorkflowCommand,
    epilog="""\b
Examples:
  grandpa plan pipeline.py                   a line for each task: cached, run or unknown, and why
  grandpa plan pipeline.py -p epochs=5       with another parameter
  grandpa plan pipeline.py --force 'train*'
  grandpa plan pipeline.py --json
  grandpa plan pipeline.py --host https://kfp.example    what Kubeflow would do after `grandpa deploy`
""",
)
@file_argument()
@parameter_options
@server_options
@click.option("--kfp", is_flag=True, help="Ask the configured Kubeflow server, as --host does the one it names.")
@click.option("--store", metavar="URI", help="Where values are: a folder, or s3://bucket/prefix?endpoint=URL.")
@click.option("--store-here", metavar="URI", default="", help="The cluster's store as it is reached from this machine.")
@click.option("--image", metavar="NAME", help="With a server: as of `grandpa deploy`.")
@click.option("--epoch", type=click.IntRange(min=0), metavar="N", help="With a server: as of `grandpa deploy`.")
@click.option("--name", metavar="NAME", help="With a server: the pipeline's name.")
@click.option(
    "--force",
    metavar="NODE",
    multiple=True,
    shell_complete=forced_nodes,
    help="As of `grandpa run`.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@click.pass_context
def command(ctx: click.Context, /, spec: str, pairs: Any, params_file: Any, **options: Any) -> None:
    """Tell for each task whether `grandpa run` would run it, and why. Nothing runs.

    cached: an earlier run here had the same code and inputs. run: its code changed (which function), its input
    changed (which), it never ran, it is forced, cache=False, it expired, its objects are gone. unknown: it depends on
    what a task gives that would run; where that gives the same as before, it is cached.

    With --host, --kfp, or a --profile that names a server: whether Kubeflow would run it after `grandpa deploy`, by
    what the pipeline's earlier runs there left in the store.
    """
    from .run import output_to_stderr
    from .sources import source_of

    source = source_of(spec)
    if source.kind == "yaml":
        raise click.UsageError("tasks of a compiled YAML always run; plan the Python file that it was compiled from")
    with output_to_stderr():
        found = _planned(ctx, source, pairs, params_file, options)
    if options["as_json"]:
        rows = [{"task": item.task, "outcome": item.outcome, "why": item.why} for item in found]
        click.echo(json.dumps(rows, ensure_ascii=False))
        return
    width = max((len(item.task) for item in found), default=0)
    for item in found:
        click.echo(f"{item.task:<{width}}  {item.outcome:<7}  {item.why}")
    counts = Counter([_WORDS[item.outcome] for item in found])
    click.echo(", ".join(f"{counts[word]:,} {word}" for word in _WORDS.values() if counts[word]))


def _planned(
    ctx: click.Context, source: Source, pairs: Any, params_file: Any, options: dict[str, Any]
) -> list[Planned]:
    from grandpa_kfp_compiler.graph import Graph

    from .configured import COMPILE_KEYS, parameters_in, settings_of
    from .parameters import as_workflow, given_parameters, of_target, place_of
    from .run import root_of_file
    from .servers import address_of
    from .sources import load

    target = load(source, ctx.obj, live=True)
    workflow = target if isinstance(target, Graph) else as_workflow(target)
    known = of_target(target)
    said = {name: options[name] for name in (*SERVER_KEYS, "image", "epoch", "name")}
    settings = settings_of(source, workflow, options["profile"], {**said, "local_store": options["store"]})
    configured = parameters_in(settings, source, known)
    params = given_parameters(known, pairs, params_file, place_of(workflow), configured)
    root = root_of_file(source.file)
    if options["kfp"] or options["endpoint"] or (options["profile"] and settings.given("endpoint").get("endpoint")):
        from ..deployment.planned import plan_deployment

        chosen = {**asdict(address_of(settings, options)), **settings.given(*COMPILE_KEYS)}
        if options["store"]:
            chosen["store"] = options["store"]
        return plan_deployment(
            workflow, params, **chosen, force=options["force"], store_here=options["store_here"], root=root
        )
    from ..planning import plan

    return plan(workflow, params, store=settings.get("local_store"), force=options["force"], root=root)


_WORDS = {"cached": "cached", "run": "to run", "unknown": "unknown"}
