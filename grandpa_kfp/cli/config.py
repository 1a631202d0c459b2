"""`grandpa config`: each value of the configuration, and where it came from."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import click

from .configured import profile_option
from .sources import WorkflowCommand, file_argument

if TYPE_CHECKING:
    from ..config import Chosen, Settings
    from .sources import Launched


@click.command(
    cls=WorkflowCommand,
    name="config",
    epilog="""\b
Examples:
  grandpa config                                  the project of the current folder
  grandpa config pipeline.py --profile staging    a workflow's, its parameters too
  GRANDPA_IMAGE=team/train:5 grandpa config       the environment comes before the file
""",
)
@file_argument(required=False)
@profile_option
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON: by key, value and source.")
@click.pass_context
def command(ctx: click.Context, spec: str | None, profile: str | None, as_json: bool) -> None:
    """Show each value of the configuration, and where it came from.

    The configuration is grandpa.toml, or [tool.grandpa] in pyproject.toml, in the project's root. What is said
    on the command line comes first, then GRANDPA_ variables, the workflow's part, the profile, the project's
    own, and the defaults.
    """
    from .failures import print_note
    from .run import output_to_stderr

    with output_to_stderr():
        settings, parameters = _resolved(spec, ctx.obj, profile)
    if as_json:
        click.echo(json.dumps(_as_json(settings, parameters), ensure_ascii=False, indent=2, default=str))
        return
    _print(settings, parameters)
    for hint in _misspelt(os.environ):
        print_note(hint)


def _resolved(spec: str | None, launched: Launched | None, profile: str | None) -> tuple[Settings, dict[str, Chosen]]:
    """The settings, and the parameters of the workflow that FILE[:NAME] holds. Raises ConfigError, ParameterError."""
    from ..config import settings_for
    from .sources import source_of

    if spec is None:
        return settings_for(None, profile=profile), {}
    from ..engine.kfp_reading import read_pipeline
    from .configured import parameters_in, settings_of
    from .parameters import as_workflow, given_parameters, of_pipeline, of_target, place_of
    from .sources import load

    source = source_of(spec)
    if source.kind == "yaml":
        workflow: Any = read_pipeline(source.file)
        known, place = of_pipeline(workflow), workflow.name
    else:
        target = load(source, launched, live=True)
        workflow = target if source.kind == "graph" else as_workflow(target)
        known, place = of_target(target), place_of(workflow)
    settings = settings_of(source, workflow, profile, {})
    configured = parameters_in(settings, source, known)
    given_parameters(known, (), None, place, configured)  # refuses what the workflow does not take
    return settings, {item.name: configured.get(item.name) or _default(item) for item in known}


def _default(item: Any) -> Chosen:
    from ..config import Chosen
    from ..config.secrets import names_secret
    from ..config.settings import DEFAULT

    if item.default is None:
        return Chosen(None, "must be given")
    return Chosen("***" if names_secret(item.name) else item.default, DEFAULT)


def _as_json(settings: Settings, parameters: dict[str, Chosen]) -> dict[str, Any]:
    def plain(chosen: Chosen) -> dict[str, Any]:
        return {"value": chosen.value, "source": chosen.source}

    return {
        "file": None if settings.file is None else str(settings.file),
        "profile": settings.profile or None,
        "settings": {name: plain(chosen) for name, chosen in settings.chosen.items()},
        "parameters": {name: plain(chosen) for name, chosen in parameters.items()},
    }


def _print(settings: Settings, parameters: dict[str, Chosen]) -> None:
    from ..config import KEYS

    file = "none (grandpa.toml, or [tool.grandpa] in pyproject.toml)" if settings.file is None else str(settings.file)
    click.echo(f"configuration: {file}")
    click.echo(f"profile: {settings.profile or 'none'}")
    click.echo()
    _rows([(name, _shown(chosen.value, KEYS[name].told), chosen) for name, chosen in settings.chosen.items()])
    if parameters:
        click.echo("\nparameters")
        _rows([(f"  {name}", _shown_parameter(chosen), chosen) for name, chosen in parameters.items()])


def _rows(rows: list[tuple[str, str, Chosen]]) -> None:
    """Name, value, source; defaults stand back on a terminal."""
    import sys

    from .failures import colours

    names = max(len(name) for name, _, _ in rows)
    values = min(max(len(value) for _, value, _ in rows), 56)
    for name, value, chosen in rows:
        line = f"{name:<{names}}  {value:<{values}}  {chosen.source}"
        click.echo(click.style(line, fg="bright_black") if chosen.is_default and colours(sys.stdout) else line)


def _shown(value: Any, told: str) -> str:
    if value is None or value in ([], {}):
        return f"({told or 'none'})"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return ", ".join(f"{name}={item}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value) or '""'


def _shown_parameter(chosen: Chosen) -> str:
    """A default is text already, as the file has it."""
    if chosen.is_default:
        return str(chosen.value)
    return "" if chosen.value is None else repr(chosen.value)


def _misspelt(environ: Any) -> list[str]:
    """Variables that look like one of ours and are none."""
    import difflib

    from ..config import KEYS

    known = {key.environment for key in KEYS.values()}
    found = []
    for name in sorted(environ):
        if name.startswith("GRANDPA_") and name not in known and name not in _OTHERS:
            near = difflib.get_close_matches(name, known, 1, 0.8)
            found += [f"{name} is no setting; did you mean {near[0]}?"] if near else []
    return found


_OTHERS = frozenset({
    "GRANDPA_STORE_ACCESS_KEY", "GRANDPA_STORE_SECRET_KEY", "GRANDPA_STORE_SESSION_TOKEN", "GRANDPA_CODE",
    "GRANDPA_CODE_SHA", "GRANDPA_PYTHON", "GRANDPA_PACKAGES", "GRANDPA_INDEX_URL", "GRANDPA_RUNTIME",
    "GRANDPA_TASK_NAME",
})  # fmt: skip
"""Variables with other readers: the stores, and a task's container."""
