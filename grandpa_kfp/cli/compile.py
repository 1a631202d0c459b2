"""`grandpa compile`: writes a workflow as one Kubeflow Pipelines YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .completing import forced_nodes
from .configured import COMPILE_KEYS, profile_option
from .parameters import parameter_options
from .sources import WorkflowCommand, file_argument


@click.command(
    cls=WorkflowCommand,
    name="compile",
    epilog="""\b
Examples:
  grandpa compile pipeline.py                     writes pipeline.yaml
  grandpa compile pipeline.py:train -o train.yaml --image registry/team/train:4
  grandpa compile pipeline.py --image python:3.12-slim --bootstrap
  grandpa compile pipeline.py --fuse chains       fewer containers
""",
)
@file_argument()
@parameter_options
@profile_option
@click.option(
    "-o", "--output", metavar="FILE", help="The file to write, - for standard output; by default FILE's name."
)
@click.option(
    "--code",
    type=click.Choice(["auto", "inline", "task", "store"]),
    help="How the code reaches its tasks: in each task's environment, by a first task, or already in the store.",
)
@click.option(
    "--fuse",
    type=click.Choice(["none", "chains", "components", "auto"]),
    help="Which tasks share a container: chains of tasks, each component, or (auto) what asks for it, and more where "
    "Kubeflow could not hold the pipeline.",
)
@click.option("--image", metavar="NAME", help="The image of every node that names none itself.")
@click.option(
    "--bootstrap/--no-bootstrap",
    default=None,
    help="The image is any Python; tasks install the runtime and packages first.",
)
@click.option("--store", metavar="URI", help="Where values go in the cluster: s3://bucket/prefix?endpoint=URL.")
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
@click.option(
    "--outputs",
    type=click.Choice(["handle", "value"]),
    help="value: the result as a parameter of Kubeflow's own type, or an artifact, for pipelines of the kfp SDK.",
)
@click.option("--print-after", metavar="PASS", help="Print the graph after a pass of the compiler, or after `all`.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    spec: str,
    output: str | None,
    pairs: Any,
    params_file: Any,
    profile: str | None,
    print_after: str | None,
    outputs: str | None,
    **options: Any,
) -> None:
    """Write a workflow as one YAML that can be uploaded in the Kubeflow Pipelines UI.

    The same source gives the same bytes. The file is written whole or not at all. With -p, parameters that
    are Static are fixed and the defaults of others change. What the command line leaves open is taken from
    GRANDPA_ variables and the project's configuration; see `grandpa config`.
    """
    from grandpa_kfp_compiler.graph import Graph

    from ..api import compile as compile_workflow
    from .configured import parameters_in, settings_of
    from .parameters import as_workflow, given_parameters, of_target, place_of
    from .run import output_to_stderr
    from .sources import load, source_of

    source = source_of(spec)
    with output_to_stderr():
        target = load(source, ctx.obj)
        workflow = target if isinstance(target, Graph) else as_workflow(target)
        known = of_target(target)
        settings = settings_of(source, workflow, profile, options)
        configured = parameters_in(settings, source, known)
        params = given_parameters(known, pairs, params_file, place_of(workflow), configured)
        path = None if output == "-" else Path(output or f"{source.stem}.yaml")
        compiled = compile_workflow(
            workflow,
            path,
            params=params,
            print_after=print_after,
            outputs=outputs or "handle",
            force=options["force"],
            cache=not options["no_cache"],
            **settings.given(*COMPILE_KEYS),
        )
    if path is None:
        click.echo(compiled.text, nl=False)
    _tell(path, compiled)


def _tell(path: Path | None, compiled: Any) -> None:
    from ..drawing.words import size_text
    from .failures import print_note, styled

    tasks = "1 task" if compiled.tasks == 1 else f"{compiled.tasks:,} tasks"
    size = size_text(len(compiled.text.encode()))
    where = styled(str(path or "standard output"), "green", bold=True)
    click.echo(f"{where}: {tasks}, {size}, code: {compiled.code}", err=True)
    for note in compiled.notes:
        print_note(note)
