"""`grandpa deploy`: a workflow onto a Kubeflow Pipelines server, and a run of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from .completing import forced_nodes
from .parameters import parameter_options
from .servers import server_options
from .sources import WorkflowCommand, file_argument

if TYPE_CHECKING:
    from ..deployment.deploying import Deployment


@click.command(
    cls=WorkflowCommand,
    name="deploy",
    epilog="""\b
Examples:
  grandpa deploy pipeline.py -p epochs=5 --wait
  grandpa deploy pipeline.py:train --host https://kfp.example --experiment nightly --tag team=vision
  grandpa deploy pipeline.py --schedule "0 6 * * *"
  grandpa deploy pipeline.py --force train     train runs though KFP has it in its cache
  grandpa deploy pipeline.py --dry-run
""",
)
@file_argument()
@parameter_options
@server_options
@click.option("--experiment", metavar="NAME", help="The experiment of the run, made if it is not there.")
@click.option(
    "--run-name", metavar="TEMPLATE", help="The run's name, with {pipeline}, {time}, {date}, {git}, {PARAMETER}."
)
@click.option(
    "--tag", "tags", metavar="NAME=VALUE", multiple=True, help="A tag of the run; `grandpa ps --tag` finds it."
)
@click.option("--wait/--no-wait", default=None, help="Follow the run to its end; the exit code is its outcome.")
@click.option("--dry-run", is_flag=True, help="Check everything, send nothing, show what would be sent.")
@click.option("--schedule", metavar="CRON", default="", help='Run by the clock (UTC): "0 6 * * *".')
@click.option("--image", metavar="NAME", help="The image of every node that names none itself.")
@click.option(
    "--bootstrap/--no-bootstrap", default=None, help="The image is any Python; tasks install the runtime first."
)
@click.option("--code", type=click.Choice(["auto", "inline", "task", "store"]), help="How the code reaches its tasks.")
@click.option(
    "--fuse", type=click.Choice(["none", "chains", "components", "auto"]), help="Which tasks share a container."
)
@click.option("--store", metavar="URI", help="Where values go in the cluster: s3://bucket/prefix?endpoint=URL.")
@click.option("--store-here", metavar="URI", default="", help="The same store as it is reached from this machine.")
@click.option("--secret", metavar="NAME", help="The Kubernetes secret with the store's keys; empty for none.")
@click.option(
    "--epoch", type=click.IntRange(min=0), metavar="N", help="Raise it to make KFP forget what it has cached."
)
@click.option(
    "--force",
    metavar="NODE",
    multiple=True,
    shell_complete=forced_nodes,
    help="KFP shall run this node, or task, in any case; patterns too.",
)
@click.option("--no-cache", is_flag=True, help="KFP shall run every task, whatever it has in its cache.")
@click.option("--name", metavar="NAME", help="The pipeline's name; by default the workflow's.")
@click.option("--python", metavar="X.Y", help="The Python of the default image; by default the one at work here.")
@click.option("--pull-policy", metavar="WHEN", help="Always, IfNotPresent or Never.")
@click.option("--include", multiple=True, metavar="GLOB", help="More files of the project to carry along.")
@click.pass_context
def command(ctx: click.Context, /, spec: str, pairs: Any, params_file: Any, **options: Any) -> None:
    """Deploy a workflow to a Kubeflow Pipelines server and start a run of it.

    Everything that can be checked is checked before anything is sent. The pipeline gets a new version only when
    it changed. The run's address is printed as the last line on standard output. Exit codes with --wait: 0 it
    succeeded, 3 a task failed or the run was cancelled. Tokens come from GRANDPA_KFP_TOKEN or GRANDPA_KFP_COOKIES.
    """
    from ..deployment.connecting import connect
    from ..deployment.deploying import deploy
    from ..deployment.reaching import reach_store
    from .run import output_to_stderr
    from .servers import tell, tell_end, watch

    with output_to_stderr():
        workflow, params, settings, chosen, address = _chosen(ctx, spec, pairs, params_file, options)
        deployed = deploy(workflow, params, tell=tell, dry_run=options["dry_run"], **chosen)
    if options["dry_run"]:
        click.echo(_plan(deployed))
        return
    if deployed.schedule_id:
        click.echo(deployed.schedule_id)
        return
    click.echo(deployed.url or deployed.run_id)
    if settings.get("wait"):
        reached = reach_store(
            str(settings.get("store")), here=options["store_here"], secret=str(settings.get("secret")), address=address
        )
        try:
            with connect(address) as server:
                run = watch(server, reached, deployed.run_id)
        finally:
            reached.close()
        tell_end(run)


def _chosen(ctx: click.Context, /, spec: str, pairs: Any, params_file: Any, options: dict[str, Any]) -> Any:
    """The workflow, its parameters, the settings, and what `deploy` is called with."""
    from dataclasses import asdict

    from grandpa_kfp_compiler.graph import Graph

    from .configured import COMPILE_KEYS, parameters_in, settings_of
    from .parameters import as_workflow, given_parameters, of_target, place_of
    from .servers import address_of, tags_of
    from .sources import load, source_of

    source = source_of(spec)
    target = load(source, ctx.obj)
    workflow = target if isinstance(target, Graph) else as_workflow(target)
    known = of_target(target)
    said = {name: value for name, value in options.items() if name != "tags"}
    settings = settings_of(source, workflow, options["profile"], said)
    params = given_parameters(known, pairs, params_file, place_of(workflow), parameters_in(settings, source, known))
    address = address_of(settings, options)
    tags = {**{name: str(value) for name, value in settings.get("tags").items()}, **tags_of(options["tags"])}
    chosen = {
        **asdict(address),
        **settings.given("experiment", "run_name", *COMPILE_KEYS),
        "tags": tags,
        "schedule": options["schedule"],
        "store_here": options["store_here"],
        "force": options["force"],
        "cache": not options["no_cache"],
    }
    return workflow, params, settings, chosen, address


def _plan(deployed: Deployment) -> str:
    """What would be sent, for a person."""
    size = len(deployed.compiled.text.encode())
    lines = [
        f"pipeline    {deployed.pipeline}",
        f"version     {deployed.version} ({size:,} bytes, {deployed.compiled.tasks:,} tasks)",
        f"code        {deployed.compiled.code}",
        *(f"object      {item.key} ({item.size_bytes:,} bytes)" for item in deployed.compiled.upload),
        f"experiment  {deployed.experiment}",
        f"run         {deployed.name}",
        *(f"parameter   {name} = {json.dumps(value, ensure_ascii=False)}" for name, value in deployed.params.items()),
    ]
    return "\n".join(lines)
