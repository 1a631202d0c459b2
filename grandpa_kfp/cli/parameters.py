"""`-p name=value` and `--params FILE`: a workflow's own parameters on the command line."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from grandpa_kfp_compiler.graph import ANY, MISSING, Constant, Graph
from grandpa_kfp_runtime.errors import LoadError, ParameterError
from grandpa_kfp_runtime.typespec import TypeSpec

from ..drawing.words import constant_text, value_text
from .completing import complete_parameter

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from ..config import Chosen
    from .sources import Launched


@dataclass(frozen=True, slots=True)
class OwnParameter:
    """One parameter of what is run. parse: from the text of `-p`; check: a value of a configuration file; both
    raise ParameterError."""

    name: str
    type: str
    default: str | None
    description: str
    parse: Callable[[str], Any]
    check: Callable[[Any], Any] | None = None

    @property
    def head(self) -> str:
        """`a: int = 10`."""
        typed = f"{self.name}: {self.type}" if self.type else self.name
        return typed if self.default is None else f"{typed} = {self.default}"

    @property
    def told(self) -> str:
        return f"{self.description} [required]".lstrip() if self.default is None else self.description


def parameter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options -p and --params of a verb."""
    file = click.option(
        "--params",
        "params_file",
        metavar="FILE",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Parameters from a JSON, YAML or TOML file; -p comes first.",
    )
    single = click.option(
        "-p",
        "pairs",
        metavar="NAME=VALUE",
        multiple=True,
        shell_complete=_complete,
        help="One parameter, read by its type; lists as 1,2,3 or JSON.",
    )
    return single(file(command))


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    # behind a `-p` without its value click has not come to the arguments yet
    spec = ctx.params.get("spec") or next(iter(ctx.args), None)
    return complete_parameter(spec, incomplete) if isinstance(spec, str) else []


def given_parameters(
    known: Sequence[OwnParameter],
    pairs: Iterable[str],
    file: Path | None,
    of: str,
    configured: Mapping[str, Chosen] | None = None,
) -> dict[str, Any]:
    """The values by name. of: what messages call the workflow. configured: what the configuration says; `--params`
    comes before it, `-p` first.

    Raises ParameterError, naming all that is wrong, and click's usage error for a pair without `=`.
    """
    by_name = {item.name: item for item in known}
    faults = list(_faults_of_configured(by_name, configured or {}, of))
    from_file = dict(read_params(file)) if file is not None else {}
    faults += [_unknown(name, known, of, f"in {file}") for name in from_file if name not in by_name]
    given = {name: chosen.value for name, chosen in (configured or {}).items()} | from_file
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise click.UsageError(f"-p {pair}: write it as -p NAME=VALUE")
        if name not in by_name:
            faults.append(_unknown(name, known, of, f"in -p {pair}"))
            continue
        try:
            given[name] = by_name[name].parse(text)
        except ParameterError as error:
            faults.append(f"{of}: parameter {name} (-p {pair}) {error}")
    if faults:
        raise ParameterError("\n".join(faults))
    return given


def _faults_of_configured(
    known: Mapping[str, OwnParameter], configured: Mapping[str, Chosen], of: str
) -> Iterator[str]:
    for name, chosen in configured.items():
        item = known.get(name)
        if item is None:
            yield _unknown(name, tuple(known.values()), of, chosen.source)
        elif item.check is not None:
            try:
                item.check(chosen.value)
            except ParameterError as error:
                yield f"{of}: {error} ({chosen.source})"


def _unknown(name: str, known: Sequence[OwnParameter], of: str, place: str) -> str:
    names = [item.name for item in known]
    near = difflib.get_close_matches(name, names, 1, 0.5)
    if near:
        return f"{of} has no parameter {name!r} ({place}); did you mean {near[0]}?"
    return f"{of} has no parameter {name!r} ({place}); it takes {', '.join(names) or 'none'}"


def read_params(file: Path) -> Mapping[str, Any]:
    """A file of parameters by its suffix. Raises LoadError for what cannot be read or is no mapping of names."""
    suffix = file.suffix.lower()
    try:
        data = file.read_bytes()
        if suffix == ".toml":
            from ..config.toml_lines import parse_toml

            values: Any = parse_toml(data.decode())
        elif suffix in (".yaml", ".yml"):
            import yaml

            values = yaml.safe_load(data)
        else:
            import json

            values = json.loads(data)
    except OSError as error:
        raise LoadError(f"{file}: {error.strerror or error}") from error
    except Exception as error:  # each parser has errors of its own; all of them mean that the file is wrong
        raise LoadError(f"{file} cannot be read as {suffix.lstrip('.').upper() or 'JSON'}: {error}") from error
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise LoadError(f'{file} must hold parameters by name, such as {{"a": 4}}, but holds {value_text(values)}')
    return values


# --- what may be given ----------------------------------------------------------------------------


def parameters_of(spec: str, launched: Launched | None) -> tuple[str, list[OwnParameter]]:
    """The name of what FILE[:NAME] holds, and its parameters. Raises LoadError and what loading raises."""
    from .sources import load, source_of

    source = source_of(spec)
    if source.kind == "yaml":
        from ..engine.kfp_reading import read_pipeline

        pipeline = read_pipeline(source.file)
        return pipeline.name, of_pipeline(pipeline)
    target = load(source, launched, live=True)
    return (target.name if isinstance(target, Graph) else as_workflow(target).name), of_target(target)


def as_workflow(target: Any) -> Any:
    """A workflow, or a component or node as one."""
    from ..authoring.workflows import as_workflow as made

    return made(target)


def place_of(workflow: Any) -> str:
    """`pipeline (calc.py:14)`, what messages call a workflow or a graph."""
    from grandpa_kfp_compiler.verify.faults import place

    return place(workflow.name, workflow.where)


def of_target(target: Any) -> list[OwnParameter]:
    """The parameters of a workflow, component, node or Graph."""
    if isinstance(target, Graph):
        return [_of_graph(item) for item in target.parameters]
    return [_of_workflow(item) for item in as_workflow(target).parameters]


def _of_workflow(item: Any) -> OwnParameter:
    import inspect

    from grandpa_kfp_runtime.parameters import loader_of, parse

    default = None if item.default is inspect.Parameter.empty else _shown(item.default)
    typed = "" if item.type == ANY else str(item.type)
    if item.static:
        typed = f"Static[{typed or 'Any'}]"
    load = loader_of(item.annotation)
    return OwnParameter(
        item.name, typed, default, item.description, lambda text: parse(text, item.type, load), item.convert
    )


def _of_graph(item: Any) -> OwnParameter:
    from grandpa_kfp_runtime.parameters import parse

    default = None if item.default is MISSING else constant_text(_constant(item.default), 60)
    # the classes that a graph file's types name are loaded by the run, which converts texts and JSON itself
    spec = ANY if _needs_classes(item.type) else item.type
    typed = "" if item.type == ANY else str(item.type)
    return OwnParameter(item.name, typed, default, item.description, lambda text: parse(text, spec))


def _shown(default: Any) -> str:
    """A default as a person reads it: a member of an Enum by the name that `-p` takes."""
    import enum

    if isinstance(default, enum.Enum):
        return default.name
    return repr(default) if is_dataclass(default) else value_text(default, 60)


def _constant(default: Any) -> Constant:
    assert isinstance(default, Constant)
    return default


def _needs_classes(spec: TypeSpec) -> bool:
    known = (":" not in spec.name) or spec.name.startswith(("datetime:", "pathlib:", "decimal:", "uuid:"))
    return not known or any(map(_needs_classes, spec.args))


_OF_KFP = {
    "STRING": "str", "NUMBER_INTEGER": "int", "NUMBER_DOUBLE": "float", "BOOLEAN": "bool", "LIST": "list",
    "STRUCT": "dict",
}  # fmt: skip


def of_pipeline(pipeline: Any) -> list[OwnParameter]:
    """The parameters of a compiled YAML. What travels as JSON text is read by the run."""
    return [_of_yaml(item) for item in pipeline.parameters]


def _of_yaml(item: Any) -> OwnParameter:
    from grandpa_kfp_runtime.parameters import parse

    spec = TypeSpec(_OF_KFP.get(item.type, "str"))
    default = value_text(item.default, 60) if item.optional else None
    return OwnParameter(item.name, str(spec), default, item.description, lambda text: parse(text, spec))
