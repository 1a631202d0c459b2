"""The options that say which server, and what the verbs after deployment share: address, store, watching a run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from .configured import profile_option

if TYPE_CHECKING:
    from ..config import Settings
    from ..deployment.connecting import Address
    from ..deployment.follow import Told
    from ..deployment.reaching import Reached
    from ..deployment.remote import RemoteRun
    from ..deployment.server import Server

SERVER_KEYS = ("endpoint", "namespace", "context")


def server_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--profile, --host, --namespace, --context, --ca-cert and --insecure."""
    for option in (
        click.option("--insecure", is_flag=True, help="Take any certificate."),
        click.option("--ca-cert", metavar="FILE", default="", help="The certificate of the server's authority."),
        click.option("--context", metavar="NAME", help="The kubeconfig's context; by default its current one."),
        click.option("--namespace", metavar="NAME", help="Whose runs, on a server with several users."),
        click.option(
            "--host",
            "endpoint",
            metavar="URL",
            help="The server; by default KF_PIPELINES_ENDPOINT, else its cluster's.",
        ),
    ):
        command = option(command)
    return profile_option(command)


def address_of(settings: Settings, options: Mapping[str, Any]) -> Address:
    """The server's address by command line and configuration."""
    from ..deployment.connecting import Address

    known = {name: str(value) for name, value in settings.given(*SERVER_KEYS).items() if value}
    return Address(**known, ca_cert=options["ca_cert"], insecure=options["insecure"])


@contextmanager
def connected(options: Mapping[str, Any]) -> Iterator[tuple[Server, Address, Settings]]:
    """A connection by a verb's options, of the project in the current folder; closed at the end."""
    from ..config import settings_for
    from ..deployment.connecting import connect

    said = {name: options[name] for name in SERVER_KEYS}
    settings = settings_for(None, profile=options["profile"], given=said)
    address = address_of(settings, options)
    with connect(address) as server:
        yield server, address, settings


@contextmanager
def store_of(run: RemoteRun, address: Address, settings: Settings) -> Iterator[Reached]:
    """The store that a run's tasks use, as it is reached from here."""
    from ..deployment.reaching import reach_store

    uri = run.provenance.store or str(settings.get("store"))
    reached = reach_store(uri, secret=str(settings.get("secret")), address=address)
    try:
        yield reached
    finally:
        reached.close()


def tell(told: Told) -> None:
    """A line of what happens, on standard error."""
    from ..drawing.palette import MARKS
    from .failures import print_faint, print_note, styled

    ends = {"SUCCEEDED": ("succeeded", "green"), "CACHED": ("succeeded", "green"), "FAILED": ("failed", "red")}
    if told.state in ends:
        mark, colour = ends[told.state]
        click.echo(f"{styled(MARKS[mark], colour, bold=True)} {told.text}", err=True)
    elif told.state == "WARNING":
        click.echo(f"{styled('warning: ', 'yellow', bold=True)}{told.text}", err=True)
    elif told.state == "NOTE":
        print_note(told.text)
    else:
        print_faint(told.text)


def tell_end(run: RemoteRun) -> None:
    """The last line of a run that was followed: how long it took, how many tasks Kubeflow had in its cache."""
    from ..deployment.follow import Told
    from ..drawing.words import seconds_text, tasks_text

    count = tasks_text(task.state.lower() for task in run.tasks)
    tell(Told(f"{run.name}: {count} in {seconds_text(run.duration_s)}", run.state))


def watch(server: Server, reached: Reached, run_id: str, *, interval_s: float = 2.0) -> RemoteRun:
    """Follows a run to its end. Ctrl-C asks whether to leave it, terminate it, or go on.

    Raises TaskError with the reports of what failed, RunCancelled; KeyboardInterrupt where the run is left.
    """
    from ..deployment.deploying import conclude
    from ..deployment.follow import Follower

    follower = Follower(server, run_id, tell, interval_s=interval_s)
    while True:
        try:
            run = follower.wait()
            break
        except KeyboardInterrupt:
            _interrupted(server, run_id)
    conclude(server, reached, run)
    return run


def _interrupted(server: Server, run_id: str) -> None:
    """Does as the user says; returns where following goes on."""
    from .failures import print_note

    answer = _asked()
    if answer == "terminate":
        server.terminate(run_id)
        print_note(f"run {run_id} is asked to end; following until it has")
    elif answer == "leave":
        print_note(f"the run goes on; follow it again by: grandpa logs {run_id} -f")
        raise KeyboardInterrupt


def _asked() -> str:
    """`leave`, `terminate` or `follow`; `leave` where nobody can be asked, or at a second Ctrl-C."""
    if not sys.stdin or not sys.stdin.isatty():
        return "leave"
    words = {"l": "leave", "t": "terminate", "f": "follow"}
    try:
        click.echo("", err=True)
        answer = click.prompt(
            "The run goes on. (l)eave it, (t)erminate it, or (f)ollow it further?",
            type=click.Choice([*words, *words.values()]),
            default="l",
            show_choices=False,
            err=True,
        )
    except (click.Abort, KeyboardInterrupt, EOFError):
        return "leave"
    return words.get(answer, str(answer))


def tags_of(pairs: tuple[str, ...]) -> dict[str, str]:
    """The tags of `--tag NAME=VALUE`. Raises UsageError."""
    return pairs_of("--tag", pairs, "NAME=VALUE")


def pairs_of(option: str, pairs: tuple[str, ...], form: str) -> dict[str, str]:
    """What an option that may be given several times says, by name. Raises UsageError."""
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise click.UsageError(f"{option} {pair}: write it as {option} {form}")
        found[name.strip()] = value.strip()
    return found
