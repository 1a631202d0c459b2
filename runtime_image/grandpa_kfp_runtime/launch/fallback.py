"""The fallback of a task in a container: what it leaves in place of its outputs when its last attempt has failed.

Kubeflow makes the attempts, each in a pod of its own, and tells none which it is. But all of them have the same
output URI, and each leaves its `started` record below it: so they can be counted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..contract import ENV_ATTEMPT, ENV_FALLBACK
from ..errors import RunCancelled, TaskError, TaskTimeout
from ..task import split_outputs
from ..values.handles import from_constant
from .records import Records


def fallback(
    error: BaseException, names: Sequence[str], records: Records, env: Mapping[str, str]
) -> dict[str, Any] | None:
    """The outputs by name; None where the task has no fallback, or another attempt follows.

    None, too, for a task that was stopped from outside, and for one whose body's calls failed: they are tasks of
    their own, and a fallback is the body's. Raises TaskError, CodecError and the store's errors.
    """
    text = env.get(ENV_FALLBACK)
    of_calls = type(error) is TaskError
    if not text or isinstance(error, RunCancelled) or (of_calls and not isinstance(error, TaskTimeout)):
        return None
    given = json.loads(text)
    number = env.get(ENV_ATTEMPT, "")
    attempt = int(number) if number.isdecimal() else records.attempts()
    if attempt < given["attempts"]:
        return None
    return split_outputs(from_constant(given["value"]), names)
