"""`grandpa run`: runs a workflow here, and prints its value as the last line on standard output."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .completing import forced_nodes
from .configured import profile_option
from .parameters import parameter_options
from .sources import Launched, Source, WorkflowCommand, file_argument

if TYPE_CHECKING:
    from ..config import Settings
    from ..engine.run import Run


@click.command(
    cls=WorkflowCommand,
    name="run",
    epilog="""\b
Examples:
  grandpa run pipeline.py -p a=4 -p names=x,y
  grandpa run pipeline.py --force train          run train and what depends on it, take the rest as it was
  grandpa run pipeline.py:train --params params.yaml --processes auto
  grandpa run pipeline.py --keep-going
  grandpa run pipeline.py --pdb
  grandpa run pipeline.yaml --store s3://bucket/runs?endpoint=http://127.0.0.1:9000
  grandpa run pipeline.yaml --engine docker
""",
)
@file_argument()
@parameter_options
@profile_option
@click.option(
    "--processes", metavar="N|auto", help="Run tasks in so many worker processes, auto for one a core; 0 for none."
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    metavar="N",
    help="Tasks at once, by default the number of cores and four; with --processes in each, by default one.",
)
@click.option(
    "--memory", metavar="SIZE", help="Shared memory for values between processes, such as 4Gi; more goes to disk."
)
@click.option(
    "--limit",
    "limits",
    metavar="NAME=AMOUNT",
    multiple=True,
    help="What running tasks may hold together: cpu=8, memory=16Gi, gpu=1, or tokens of uses=, as licence=2.",
)
@click.option(
    "--engine",
    type=click.Choice(["threads", "subprocess", "docker"]),
    help="Threads of this process; for a YAML a process a task (the default), or a container a task.",
)
@click.option("--store", metavar="URI", help="Where values go: a folder, or s3://bucket/prefix?endpoint=URL.")
@click.option(
    "--keep-going/--no-keep-going", default=None, help="After a failure go on with what does not depend on it."
)
@click.option("--no-cache", is_flag=True, help="Run every task, also those that an earlier run has a result of.")
@click.option(
    "--force",
    metavar="NODE",
    multiple=True,
    shell_complete=forced_nodes,
    help="Run this node, or task, in any case; patterns such as 'train*' too.",
)
@click.option("--pdb", is_flag=True, help="After a failure open the debugger where your code failed, in this process.")
@click.option("--json", "as_json", is_flag=True, help="Print the value as JSON.")
@click.option("--record/--no-record", default=None, help="Without: leave nothing in .grandpa/, no record, no values.")
@click.pass_context
def command(ctx: click.Context, /, spec: str, **options: Any) -> None:
    """Run a workflow here and print its value.

    FILE is a Python file, a graph file, or a YAML that `grandpa compile` wrote, of which each task then runs
    as a process of its own, or in a container of its own image (--engine docker). The value alone goes to
    standard output; progress, and what tasks print, go to standard error. Tasks whose code and inputs are those of
    an earlier run are not run again, `grandpa plan` tells which (not of a YAML). Exit codes: 1 your file or
    parameters are wrong, 2 wrong usage, 3 a task failed.
    """
    from grandpa_kfp_runtime.errors import TaskError

    from .failures import print_note
    from .progress import ended
    from .sources import source_of
    from .values import value_json, value_line

    source = source_of(spec)
    _check(source, options)
    with output_to_stderr():
        try:
            run = _run_yaml(source, options) if source.kind == "yaml" else _run_graph(source, ctx.obj, options)
        except TaskError as error:
            if error.run is not None:
                ended(error.run, _shown(error.run.folder))
            if not options["pdb"]:
                raise
            from ..debugging import debug

            debug(error, sys.stderr)  # standard output is for the value
            raise click.exceptions.Exit(error.exit_code) from error
        for note in run.notes:
            print_note(note)
        ended(run, _shown(run.folder))
        text = value_json(run.value) if options["as_json"] else value_line(run.value)
    click.echo(text)


def _check(source: Source, options: dict[str, Any]) -> None:
    """Options that this kind of file cannot have."""
    if source.kind == "yaml":
        if options["engine"] == "threads":
            raise click.UsageError("a compiled YAML runs its containers' commands, so --engine threads cannot run it")
        if options["processes"] is not None:
            raise click.UsageError(
                "each task of a compiled YAML is a process of its own: --threads says how many at once"
            )
        if options["no_cache"] or options["force"]:
            raise click.UsageError("tasks of a compiled YAML always run: --no-cache and --force mean nothing for it")
        if options["pdb"]:
            raise click.UsageError(
                f"each task of a compiled YAML is a process of its own, which --pdb cannot debug: run {source.stem}.py "
                "with --pdb, or after this run `grandpa replay RUN TASK --pdb`"
            )
        if options["record"] is False:
            raise click.UsageError(
                "a compiled YAML passes values through .grandpa/, so --no-record cannot be had with it"
            )
    elif options["pdb"] and options["processes"] not in (None, "0"):
        raise click.UsageError("--pdb debugs in this process, so it cannot be had with --processes")
    elif options["engine"] in ("subprocess", "docker"):
        raise click.UsageError(
            f"--engine {options['engine']} runs a compiled YAML: grandpa compile {source.spec}, "
            f"then grandpa run {source.stem}.yaml --engine {options['engine']}"
        )


def _run_graph(source: Source, launched: Launched | None, options: dict[str, Any]) -> Run:
    from grandpa_kfp_compiler.graph import Graph

    from ..api import run
    from .configured import parameters_in
    from .failures import print_note
    from .parameters import as_workflow, given_parameters, of_target, place_of
    from .progress import progress
    from .sources import load

    target = load(source, launched, live=True)
    workflow = target if isinstance(target, Graph) else as_workflow(target)
    known = of_target(target)
    settings = _settings(source, workflow, options)
    configured = parameters_in(settings, source, known)
    params = given_parameters(known, options["pairs"], options["params_file"], place_of(workflow), configured)
    if options["pdb"] and _processes(settings.get("processes")):
        print_note("--pdb runs the tasks in this process, not in the worker processes that the configuration asks for")
    with progress() as listener:
        return run(
            workflow,
            params,
            processes=0 if options["pdb"] else _processes(settings.get("processes")),
            threads=settings.get("threads"),
            memory=settings.get("memory"),
            limits=_limits(settings, options["limits"]),
            store=settings.get("local_store"),
            keep_going=settings.get("keep_going"),
            record=settings.get("record"),
            cache=not options["no_cache"],
            force=options["force"],
            listeners=(listener,),
            root=root_of_file(source.file),
        )


def _run_yaml(source: Source, options: dict[str, Any]) -> Run:
    from ..engine.kfp_reading import read_pipeline
    from ..engine.pipeline_yaml import run_pipeline_yaml
    from .configured import parameters_in
    from .parameters import given_parameters, of_pipeline
    from .progress import progress

    pipeline = read_pipeline(source.file)
    known = of_pipeline(pipeline)
    settings = _settings(source, pipeline, options)
    configured = parameters_in(settings, source, known)
    params = given_parameters(known, options["pairs"], options["params_file"], pipeline.name, configured)
    with progress() as listener:
        return run_pipeline_yaml(
            source.file,
            params,
            store=settings.get("local_store"),
            listeners=(listener,),
            parallelism=settings.get("threads"),
            limits=_limits(settings, options["limits"]),
            keep_going=settings.get("keep_going"),
            root=root_of_file(source.file),
            engine=options["engine"] or "subprocess",
        )


def _settings(source: Source, workflow: Any, options: dict[str, Any]) -> Settings:
    """The store of a run on this machine is a key of its own: a profile's is that of its cluster."""
    from .configured import settings_of

    given = {name: options[name] for name in ("processes", "threads", "memory", "keep_going", "record")}
    return settings_of(source, workflow, options["profile"], {**given, "local_store": options["store"]})


def _limits(settings: Settings, pairs: tuple[str, ...]) -> dict[str, Any]:
    """Those of the configuration, and over them what the command line says, name by name."""
    from .servers import pairs_of

    return {**settings.get("limits"), **pairs_of("--limit", pairs, "NAME=AMOUNT")}


def _processes(asked: int | str) -> int | str:
    return int(asked) if isinstance(asked, str) and asked.isdecimal() else asked


def root_of_file(file: Path) -> Path:
    """The root of the project that the file belongs to: where its `.grandpa` is."""
    from grandpa_kfp_runtime.code.project import find_root

    return find_root(file)


def _shown(folder: Path | None) -> str:
    if folder is None:
        return ""
    relative = os.path.relpath(folder)
    return str(folder) if relative.startswith(f"..{os.sep}..") else relative


@contextlib.contextmanager
def output_to_stderr() -> Iterator[None]:
    """What the user's file and tasks print, and programs that they start, goes to standard error meanwhile."""
    sys.stdout.flush()
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        with contextlib.suppress(OSError, ValueError):  # a stand-in for stdout has no descriptor
            if sys.__stdout__ is not None and sys.__stderr__ is not None and _is_real():
                stack.callback(_restore, os.dup(1))
                os.dup2(sys.__stderr__.fileno(), 1)
        yield


def _is_real() -> bool:
    """Whether standard output is the process's own, and no stand-in of a test or an embedding program."""
    assert sys.__stdout__ is not None
    return sys.__stdout__.fileno() == 1


def _restore(saved: int) -> None:
    os.dup2(saved, 1)
    os.close(saved)
