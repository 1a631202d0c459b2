"""The process around a task in a container: its environment, its streams, its end. The launcher calls it."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Mapping, MutableMapping

from .. import contract
from ..context import log_to
from ..errors import PayloadError

_EXIT_GRACE_S = 30.0


def hide_credentials(env: MutableMapping[str, str], location: str) -> None:
    """Takes the store's credentials out of the environment, so that neither user code nor its children see them.

    The variables that the user asked for as secrets of the node stay.
    """
    own = (contract.ENV_ACCESS_KEY, contract.ENV_SECRET_KEY, contract.ENV_SESSION_TOKEN)
    aws = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    used_aws = location.startswith("s3:") and not (env.get(own[0]) and env.get(own[1]))
    kept = set(env.get(contract.ENV_REDACT, "").split(","))
    for name in (*own, *(aws if used_aws else ())):
        if name not in kept:
            env.pop(name, None)


def parent_of(env: MutableMapping[str, str]) -> int | None:
    """The pipe whose end is the engine's: not for the user's code, nor for its children."""
    text = env.pop(contract.ENV_PARENT, "")
    if not text.isdecimal():
        return None
    try:
        os.set_inheritable(int(text), False)
    except OSError:  # a child that took our environment over, without our pipe
        return None
    return int(text)


def timeout_s_of(env: Mapping[str, str]) -> float:
    """The task's limit in seconds, 0 for none. Raises PayloadError."""
    text = env.get(contract.ENV_TIMEOUT_S, "")
    try:
        return max(0.0, float(text or 0))
    except ValueError:
        raise PayloadError(f"{contract.ENV_TIMEOUT_S} is {text!r}, which is no number of seconds") from None


def end_process(code: int) -> None:
    """Ends the process as Python does, but not later than some seconds after the task.

    Python waits for threads that are no daemons; one that a task left running must not keep the pod.
    """

    def end() -> None:
        time.sleep(_EXIT_GRACE_S)
        left = [thread.name for thread in threading.enumerate() if not thread.daemon]
        tell(f"warning: the task has ended, what it left running is given up: threads {', '.join(left)}")
        os._exit(code)

    threading.Thread(target=end, name="grandpa-exit", daemon=True).start()
    sys.exit(code)


def set_up_streams() -> None:
    """What the user's code prints goes out at once, and no character of it can fail."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace", line_buffering=True, write_through=True)
    log_to(sys.stderr, verbose=os.environ.get(contract.ENV_VERBOSE) == "1")
    sys.argv[1:] = []  # the user's modules must not take our args for theirs


def tell(text: str) -> None:
    """A line on standard error."""
    StandardError().write(f"{text}\n")


class StandardError:
    """Standard error by its number: whatever the user's code did to `sys.stderr`, whichever thread holds it."""

    def write(self, text: str) -> int:
        data = text.encode("utf-8", "backslashreplace")
        while data:
            data = data[os.write(2, data) :]
        return len(text)

    def flush(self) -> None:
        """Nothing is kept back."""
