"""Reads the options that a user writes at a node, a call or a workflow into `graph.Options`.

They are checked where they are written: an unknown name, a wrong type or an impossible value is a
TraceError with that file and line.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from grandpa_kfp_compiler.graph import NO_OPTIONS, OPTION_NAMES, Options
from grandpa_kfp_runtime.errors import TraceError

from .where import here

_CPU = re.compile(r"\d+(\.\d+)?m?")
_MEMORY = re.compile(r"\d+(\.\d+)?([KMGTPE]i?|[kmun])?")
_TIME_TO_LIVE = re.compile(r"\d+(\.\d+)?[smhdw]")
_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


class _Wrong(Exception):
    """What is wrong with one option's value; the caller adds the place."""


def read_options(given: Mapping[str, Any], *, of: str) -> Options:
    """The options in `given`; None leaves one unset.

    of: whose they are, for messages (`the node train`).
    Raises TraceError for an unknown option (naming the nearest) and for a value that cannot be.
    """
    if not given:
        return NO_OPTIONS
    chosen: dict[str, Any] = {}
    for name, value in given.items():
        read = _READERS.get(name)
        if read is None:
            raise TraceError(
                f"{here()}: {of} has no option {name!r}{nearest(name, (*OPTION_NAMES, 'name', 'outputs'))}"
            )
        try:
            chosen[name] = None if value is None else read(value)
        except _Wrong as wrong:
            raise TraceError(f"{here()}: the option {name} of {of} {wrong}, but is {value!r}") from None
    return Options(**chosen)


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


def check_name(name: Any, *, of: str) -> str:
    """A name for a node, component, workflow or task. Raises TraceError for one that cannot stand in a path."""
    if not isinstance(name, str) or not name.strip() or "/" in name or not name.isprintable():
        raise TraceError(f"{here()}: the name of {of} must be a text without '/' and line breaks, but is {name!r}")
    return name


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise _Wrong("must be a whole number, 0 or more")
    return value


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise _Wrong("must be a number of seconds above 0")
    return float(value)


def _cpu(value: Any) -> str:
    text = _number_text(value)
    if _CPU.fullmatch(text) is None or float(text.rstrip("m")) == 0:
        raise _Wrong("must be a number of cores above 0, such as 2 or '500m'")
    return text


def _memory(value: Any) -> str:
    text = _number_text(value)
    if _MEMORY.fullmatch(text) is None or float(re.sub(r"[A-Za-z]+", "", text)) == 0:
        raise _Wrong("must be a size above 0, such as '512Mi' or '2Gi'")
    return text


def _number_text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return ""
    return value.strip() if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value)


def _environment(value: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, Mapping):
        raise _Wrong("must be a dict of names to texts")
    for name, text in value.items():
        if not isinstance(name, str) or _ENVIRONMENT_NAME.fullmatch(name) is None:
            raise _Wrong(f"holds {name!r}, which is no name of an environment variable")
        if isinstance(text, bool) or not isinstance(text, str | int | float):
            raise _Wrong(f"must hold texts, the value of {name} is none")
    return tuple(sorted((name, str(text)) for name, text in value.items()))


def _secrets(value: Any) -> tuple[tuple[str, str], ...]:
    pairs = _environment(value)
    for name, text in pairs:
        secret, _, key = text.partition("/")
        if not secret or not key or "/" in key:
            raise _Wrong(f"must name a secret and a key in it for {name}, as 'secret/key'")
    return pairs


def _packages(value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence) or not all(_is_text(item) for item in value):
        raise _Wrong("must be a list of texts such as ['numpy==1.26.4']")
    return tuple(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _text(value: Any) -> str:
    if not _is_text(value):
        raise _Wrong("must be a text")
    return str(value)


def _version(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise _Wrong("must be a text or a number")
    return str(value)


def _cache(value: Any) -> bool | str:
    if isinstance(value, bool):
        return value
    if not isinstance(value, str) or _TIME_TO_LIVE.fullmatch(value) is None:
        raise _Wrong("must be True, False or a time to live such as '12h' or '1d'")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _Wrong("must be True or False")
    return value


_READERS: dict[str, Callable[[Any], Any]] = {
    "retries": _count,
    "timeout_s": _seconds,
    "cpu": _cpu,
    "memory": _memory,
    "gpu": _count,
    "env": _environment,
    "image": _text,
    "packages": _packages,
    "secrets": _secrets,
    "cache": _cache,
    "version": _version,
    "verbose": _flag,
    "keep": _flag,
}
