"""How a command ends: errors as a few lines on standard error, and the exit code.

0 done, 1 the user's fault, 2 wrong usage, 3 a task failed, 70 a defect of ours, 130 Ctrl-C.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from typing import Any, NoReturn

import click

from grandpa_kfp_runtime.errors import GrandpaError, GraphError, TaskError

USAGE = 2
DEFECT = 70
STOPPED = 130
_MAY_TAKE_S = {TaskError.exit_code: 5.0, STOPPED: 0.5}
"""How long threads of the user's may hold up the end after a failure or Ctrl-C, by exit code."""


def leave(command: Callable[[], Any]) -> NoReturn:
    """Runs a click command (not standalone) and ends the process."""
    code = exit_code_of(command)
    _flush()
    if code in _MAY_TAKE_S:
        watchdog = threading.Timer(_MAY_TAKE_S[code], os._exit, (code,))
        watchdog.daemon = True
        watchdog.start()
    sys.exit(code)


def exit_code_of(command: Callable[[], Any]) -> int:
    """Runs the command, prints what went wrong."""
    try:
        result = command()
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        _print_usage(error)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        print_error("stopped by Ctrl-C")
        return STOPPED
    except BrokenPipeError:  # whoever read our output has gone: `grandpa graph ... | head`
        sys.stdout = None
        return 1
    except GrandpaError as error:
        print_failure(error)
        return error.exit_code
    except Exception as error:
        return _print_unexpected(error)


def print_failure(error: GrandpaError) -> None:
    """An error of ours as one or a few lines; of a graph one line a fault."""
    lines = error.faults if isinstance(error, GraphError) else (str(error),)
    for line in lines or (type(error).__name__,):
        print_error(line)


def print_error(message: str) -> None:
    """`error: message`, red on a terminal."""
    _print("error: ", message, "red")


def print_note(message: str) -> None:
    """`note: message`."""
    _print("note: ", message, "yellow")


def print_faint(message: str) -> None:
    """A line of progress."""
    click.echo(styled(message, "bright_black"), err=True)


def styled(text: str, colour: str, *, bold: bool = False) -> str:
    """The text in a colour where standard error shows colours."""
    return click.style(text, fg=colour, bold=bold) if colours(sys.stderr) else text


def colours(stream: Any) -> bool:
    """Whether a stream is a terminal that shows colours; NO_COLOR and TERM=dumb say no."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return bool(getattr(stream, "isatty", lambda: False)())


def _print(prefix: str, message: str, colour: str) -> None:
    click.echo(styled(prefix, colour, bold=True) + message, err=True)


def _print_usage(error: click.ClickException) -> None:
    message = error.format_message()
    print_error(message[:1].lower() + message[1:] if message[1:2].islower() else message)
    context = getattr(error, "ctx", None)
    if context is not None:
        click.echo(f"try: {context.command_path} --help", err=True)


def _print_unexpected(error: Exception) -> int:
    """The user's lines where the user's code raised, as when a file fails to load; else all, which is a defect."""
    if is_users(error):
        from ..loading import users_report

        print_error(users_report(error))
        return 1
    import traceback

    click.echo("".join(traceback.format_exception(error)), err=True, nl=False)
    print_error(
        f"a defect of grandpa-kfp, not of your file: {type(error).__name__}: {error}; please report the lines above"
    )
    return DEFECT


def is_users(error: BaseException) -> bool:
    """Whether the user's code raised it: of the frames in their files and in ours, the last is theirs."""
    from grandpa_kfp_runtime.code.project import is_library_file

    ours = tuple(_folder(name) for name in ("grandpa_kfp", "grandpa_kfp_compiler", "grandpa_kfp_runtime"))
    theirs = False
    frame = error.__traceback__
    while frame is not None:
        name = frame.tb_frame.f_code.co_filename
        file = os.path.abspath(name)
        if file.startswith(ours):
            theirs = False
        elif not name.startswith("<") and not is_library_file(file):
            theirs = True
        frame = frame.tb_next
    return theirs


def _folder(package: str) -> str:
    import importlib

    file = importlib.import_module(package).__file__
    assert file is not None
    return os.path.dirname(os.path.abspath(file)) + os.sep


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):  # the reader has gone, or the stream is closed
            continue
