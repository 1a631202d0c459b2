"""FILE[:NAME]: what it names, how it is loaded, and the `--help` that lists a workflow's own parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from grandpa_kfp_runtime.errors import GrandpaError, LoadError

from .completing import complete_file

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    TextType = click.ParamType[str]
else:
    TextType = click.ParamType  # older releases of click know no type argument

Command = TypeVar("Command", bound="Callable[..., Any]")
YAML_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class Launched:
    """A script that called `launch`: its file, and the name of the workflow in it (empty: to be found).

    workflow: the live one; a run uses it as it is, everything else loads the file again under its real name.
    """

    file: Path
    name: str = ""
    workflow: Any = None

    @property
    def spec(self) -> str:
        return f"{self.file}:{self.name}" if self.name else str(self.file)


@dataclass(frozen=True, slots=True)
class Source:
    """FILE[:NAME], taken apart."""

    file: Path
    name: str
    kind: Literal["python", "graph", "yaml"]

    @property
    def spec(self) -> str:
        return f"{self.file}:{self.name}" if self.name else str(self.file)

    @property
    def stem(self) -> str:
        """What files made from it are called: after NAME where it was given."""
        return self.name or self.file.stem


def source_of(spec: str) -> Source:
    """Takes FILE[:NAME] apart. Raises LoadError for a file that is not there or of no kind we know."""
    file, colon, name = spec.rpartition(":")
    if not colon or Path(spec).exists() or not all(part.isidentifier() for part in name.split(".")):
        file, name = spec, ""
    path = Path(file)
    if path.is_dir():
        raise LoadError(f"{file} is a folder; name a file in it")
    if not path.exists():
        raise LoadError(f"{file} does not exist{_nearest(path)}")
    suffix = path.suffix.lower()
    if suffix in YAML_SUFFIXES:
        if name:
            raise LoadError(f"{spec}: a compiled YAML holds one pipeline; leave :{name} out")
        return Source(path, "", "yaml")
    return Source(path, name, "graph" if suffix == ".json" else "python")


def _nearest(path: Path) -> str:
    """`; did you mean pipeline.py?`, from the files beside it."""
    import difflib

    try:
        beside = [item.name for item in path.parent.iterdir() if item.suffix in (".py", ".json", *YAML_SUFFIXES)]
    except OSError:  # the folder is not there either
        return ""
    near = difflib.get_close_matches(path.name, beside, 1)
    return f"; did you mean {path.with_name(near[0])}?" if near else ""


def load(source: Source, launched: Launched | None, *, live: bool = False) -> Any:
    """The workflow, component, node, or Graph. live: of a launched script take the object it already has.

    Raises LoadError, TraceError, PayloadError.
    """
    if source.kind == "yaml":
        raise LoadError(
            f"{source.file}: this verb takes a Python file or a graph file; a compiled YAML can only be run"
        )
    if live and launched is not None and launched.workflow is not None:
        return launched.workflow
    from ..loading import load_target

    return load_target(source.spec)


# --- the argument, and help that knows the file ----------------------------------------------------


class FileType(TextType):
    """FILE[:NAME]; checked when it is loaded, so that `--help` works without it."""

    name = "file"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return complete_file(incomplete)


def file_argument(required: bool = True) -> Callable[[Command], Command]:
    """The argument FILE[:NAME]."""
    return click.argument("spec", metavar="FILE[:NAME]", type=FileType(), required=required)


class WorkflowCommand(click.Command):
    """A verb on FILE[:NAME]. With a file, its `--help` lists the workflow's parameters; in a launched script
    the file is the script."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if isinstance(ctx.obj, Launched):
            args = [ctx.obj.spec, *args]
        if {"-h", "--help"} & set(args) and not ctx.resilient_parsing:
            ctx.meta[_HELP_ON] = self._spec_in(ctx, args)
        return super().parse_args(ctx, args)

    def _spec_in(self, ctx: click.Context, args: Sequence[str]) -> str | None:
        """FILE[:NAME] in a command line that asks for help, which click handles before anything else."""
        probe = click.Context(self, ctx.parent, self.name, resilient_parsing=True)
        found = self.make_parser(probe).parse_args(list(args))[0].get("spec")
        return found if isinstance(found, str) else None  # releases of click differ in what stands for nothing

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        pieces = super().collect_usage_pieces(ctx)
        return [piece for piece in pieces if "FILE" not in piece] if isinstance(ctx.obj, Launched) else pieces

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        spec = ctx.meta.get(_HELP_ON)
        if spec is not None:
            format_parameters(spec, ctx.obj, formatter)
        super().format_options(ctx, formatter)


_HELP_ON = "grandpa_kfp.help_on"


def format_parameters(spec: str, launched: Launched | None, formatter: click.HelpFormatter) -> None:
    """The workflow's own parameters; where the file cannot be loaded, why."""
    from .parameters import parameters_of

    try:
        name, parameters = parameters_of(spec, launched)
    except GrandpaError as error:
        with formatter.section("Parameters"):
            formatter.write_text(f"cannot be listed: {error}")
        return
    with formatter.section(f"Parameters of {name}, each set by -p NAME=VALUE"):
        if parameters:
            formatter.write_dl([(item.head, item.told) for item in parameters], col_max=44)
        else:
            formatter.write_text("none")
