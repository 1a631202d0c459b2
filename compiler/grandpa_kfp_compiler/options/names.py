"""Names that Kubernetes takes: of objects, labels, environment variables; and the nearest to a wrong one."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from typing import Any

from grandpa_kfp_runtime import contract

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_OBJECT = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_SHORT = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
NAME_MISTAKE = "KFP names a volume after it, so it must be letters in lower case, digits and '-', at most 63 of them"
RESERVED = frozenset(
    {
        contract.ENV_CODE,
        contract.ENV_CODE_SHA256,
        contract.ENV_PYTHON,
        contract.ENV_TIMEOUT_S,
        contract.ENV_STORE,
        contract.ENV_ACCESS_KEY,
        contract.ENV_SECRET_KEY,
        contract.ENV_REDACT,
        contract.ENV_PACKAGES,
        contract.ENV_FALLBACK,
        contract.ENV_INDEX_URL,
        contract.ENV_RUNTIME,
        contract.ENV_TASK_NAME,
    }
)
"""Environment variables that the runtime's own side sets."""


def is_label(value: Any) -> bool:
    """A DNS label, what a volume's name must be."""
    return isinstance(value, str) and _LABEL.fullmatch(value) is not None


def is_object(value: Any) -> bool:
    """The name of a secret, a config map."""
    return isinstance(value, str) and _OBJECT.fullmatch(value) is not None


def is_label_value(value: Any) -> bool:
    return isinstance(value, str) and (not value or _SHORT.fullmatch(value) is not None)


def is_label_key(value: Any) -> bool:
    """A label's key: `team`, `example.com/team`."""
    if not isinstance(value, str):
        return False
    prefix, slash, name = value.rpartition("/")
    return _SHORT.fullmatch(name) is not None and (not slash or is_object(prefix))


def is_resource(value: Any) -> bool:
    """The name of an extended resource: `nvidia.com/gpu`."""
    return is_label_key(value) and "/" in value


def variable_mistakes(name: str) -> Iterator[str]:
    """What is wrong with the name of an environment variable that a user sets."""
    if not isinstance(name, str) or _VARIABLE.fullmatch(name) is None:
        yield f"holds {name!r}, which is no name of an environment variable"
    elif name in RESERVED:
        yield f"sets {name}, which the runtime itself sets; choose another name"


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'retries'?`, or what there is to choose from.

    >>> nearest("retrys", ["retries", "cpu"])
    "; did you mean 'retries'?"
    """
    choices = list(known)
    found = difflib.get_close_matches(name, choices, n=1, cutoff=0.6)
    if found:
        return f"; did you mean {found[0]!r}?"
    return f"; there are {', '.join(choices)}" if choices else ""
