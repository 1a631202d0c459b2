"""`grandpa image build`: an image for the project's tasks, with its own requirements."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from .configured import profile_option

if TYPE_CHECKING:
    from ..images.build import Built

_MB = 1_000_000


@click.group(name="image")
def command() -> None:
    """Build images for the project's tasks."""


@command.command(
    name="build",
    epilog="""\b
Examples:
  grandpa image build --tag team/train:5 --requirements requirements.txt
  grandpa image build --tag registry.example.org/team/train:5 --requirements requirements.txt --push
  grandpa image build --tag train:dev --base python:3.12-slim --load kind
""",
)
@click.option("--tag", required=True, metavar="NAME", help="The image's name, repository:tag.")
@click.option(
    "--requirements", type=click.Path(path_type=Path), metavar="FILE", help="What the tasks import, as pip takes it."
)
@click.option("--base", metavar="IMAGE", help="Any Python image; by default the released runtime of this version.")
@click.option("--push", is_flag=True, help="Push it to its registry, and name it by its digest from then on.")
@click.option("--load", type=click.Choice(["kind", "minikube"]), help="Load it into a cluster on this machine.")
@click.option("--network", metavar="NAME", help="The network of the build, as docker build takes it.")
@click.option("--save/--no-save", default=True, help="Write the image into the project's configuration, or do not.")
@profile_option
def build(
    tag: str,
    requirements: Path | None,
    base: str | None,
    push: bool,
    load: Literal["kind", "minikube"] | None,
    network: str | None,
    save: bool,
    profile: str | None,
) -> None:
    """Build an image that runs the project's tasks, check it, and let the configuration name it.

    Each workflow's code travels by itself: the image holds Python, the runtime and the packages that tasks
    import. It is built anew only when those change. The image's name alone goes to standard output.
    """
    from ..images import build as images
    from .failures import print_faint, print_note

    in_force = _profile(profile) if save else ""  # what is wrong with the configuration shows before the build
    built = images.build_image(tag, requirements=requirements, base=base, network=network)
    size, over = built.size_bytes / _MB, built.over_base_bytes / _MB
    print_faint(f"{tag}: {size:.0f} MB, {over:.0f} MB more than {built.base}; Python {built.python}")
    if note := images.python_note(built):
        print_note(note)
    if push:
        built = images.push(built)
    if load is not None:
        images.load(built, load)
    if save:
        print_faint(f"image = {built.reference} in {_save(built, in_force)}")
    click.echo(built.reference)


def _profile(named: str | None) -> str:
    from ..config import settings_for

    return settings_for(None, profile=named).profile


def _save(built: Built, profile: str) -> str:
    """Compile and deploy use the image from then on."""
    from grandpa_kfp_runtime.code.project import find_root

    from ..config.writing import set_key

    return set_key(find_root(Path.cwd()), "image", built.reference, profile)
