"""`grandpa check`: everything that is wrong with a workflow, before anything runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .configured import COMPILE_KEYS, parameters_in, profile_option, settings_of
from .parameters import parameter_options
from .sources import WorkflowCommand, file_argument

if TYPE_CHECKING:
    from ..checking import Findings


@click.command(
    "check",
    cls=WorkflowCommand,
    epilog="""\b
Examples:
  grandpa check pipeline.py                  all faults with file and line; exit code 1 when there are any
  grandpa check pipeline.py:train -p n=5     with a Static parameter fixed
""",
)
@file_argument()
@parameter_options
@profile_option
@click.pass_context
def command(ctx: click.Context, /, spec: str, pairs: Any, params_file: Any, profile: str | None) -> None:
    """Find everything that is wrong with a workflow, before anything runs.

    Records the graph, checks every call and every edge, packs the code, and compiles it in memory. Tells too
    what nothing consumes, what is large, and which outside packages each node imports, as pins for
    @Node(packages=[...]). Exit codes: 0 nothing wrong, 1 faults.
    """
    from grandpa_kfp_compiler.graph import Graph
    from grandpa_kfp_compiler.kfp import CompileOptions

    from ..checking import check
    from .parameters import as_workflow, given_parameters, of_target, place_of
    from .run import output_to_stderr
    from .sources import load, source_of

    source = source_of(spec)
    with output_to_stderr():
        target = load(source, ctx.obj)
        workflow = target if isinstance(target, Graph) else as_workflow(target)
        known = of_target(target)
        settings = settings_of(source, workflow, profile, {})
        configured = parameters_in(settings, source, known)
        params = given_parameters(known, pairs, params_file, place_of(workflow), configured)
        chosen = {key: value for key, value in settings.given(*COMPILE_KEYS).items() if key != "include"}
        findings = check(workflow, params, CompileOptions(**chosen))
    _tell(findings)
    ctx.exit(1 if findings.faults else 0)


def _tell(findings: Findings) -> None:
    """Faults and notes on standard error, what else is known on standard output."""
    from ..drawing.words import size_text
    from .failures import print_error, print_note, styled

    for fault in findings.faults:
        print_error(fault)
    for note in findings.notes:
        print_note(note)
    if findings.faults:
        count = len(findings.faults)
        click.echo(styled(f"✗ {findings.name}: {count} fault{'s' if count > 1 else ''}", "red", bold=True), err=True)
    else:
        tasks = "1 task" if findings.tasks == 1 else f"{findings.tasks:,} tasks"
        click.echo(f"{styled('✓', 'green', bold=True)} {findings.name}: {tasks}, nothing wrong")
    if findings.sizes:
        click.echo("sizes: " + ", ".join(f"{what} {size_text(size)}" for what, size in findings.sizes))
    if any(findings.packages.values()):
        click.echo("used from outside the project:")
        width = max(map(len, findings.packages))
        for node, items in findings.packages.items():
            click.echo(f"  {node:<{width}}  {', '.join(items) or 'none'}")
        click.echo(f"pins: packages={list(findings.pins)!r}")
