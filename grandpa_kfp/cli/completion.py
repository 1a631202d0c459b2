"""`grandpa completion`: the script that completes the command line in a shell."""

from __future__ import annotations

import click

SHELLS = ("bash", "zsh", "fish")
_INSTALL = {
    "bash": 'add to ~/.bashrc:  eval "$(grandpa completion bash)"',
    "zsh": 'add to ~/.zshrc, behind compinit:  eval "$(grandpa completion zsh)"',
    "fish": "run once:  grandpa completion fish > ~/.config/fish/completions/grandpa.fish",
}


@click.command(
    name="completion",
    epilog="""\b
Install:
  bash   eval "$(grandpa completion bash)"    in ~/.bashrc
  zsh    eval "$(grandpa completion zsh)"     in ~/.zshrc
  fish   grandpa completion fish > ~/.config/fish/completions/grandpa.fish
""",
)
@click.argument("shell", type=click.Choice(SHELLS))
def command(shell: str) -> None:
    """Print the script that completes verbs, options, files, the workflows in a file and their parameters."""
    click.echo(script(shell), nl=False)


def script(shell: str) -> str:
    """The script, its first line says how to install it."""
    from click.shell_completion import get_completion_class

    from .lazy import cli

    found = get_completion_class(shell)
    assert found is not None
    source = found(cli, {}, "grandpa", "_GRANDPA_COMPLETE")
    if shell == "bash":  # by click's `source`, bash would be started to learn its version
        text = source.source_template % source.source_vars()
        # bash would take FILE:NAME and NAME=VALUE apart at `:` and `=`
        text += "COMP_WORDBREAKS=${COMP_WORDBREAKS//[:=]/}\n"
    else:
        text = source.source()
    return f"# {_INSTALL[shell]}\n{text.strip()}\n"
