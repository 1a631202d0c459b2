"""What a rule is, and the rules of the plain options: counts, seconds, amounts, texts, texts by name.

A rule holds everything that is known of one option. `table.py` lists them by the option's name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

Json: TypeAlias = Any


class Wrong(Exception):
    """A value cannot be read: what is wrong with it, to be put behind `the option cpu`."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One option.

    read: from what a user writes, or from JSON, to the canonical value: frozen, hashable, sorted where order
    means nothing; raises Wrong for what has not even the shape. mistakes: what is wrong with a canonical
    value, each to be put behind `the option cpu`. json: the canonical value as JSON, which `read` turns back;
    also what the printer shows. by_name: a tuple of (name, value), merged name by name.
    """

    read: Callable[[Any], Any]
    mistakes: Callable[[Any], Iterable[str]]
    json: Callable[[Any], Json]
    by_name: bool = False


def plain(value: Any) -> Json:
    """The value itself, a tuple as a list."""
    return list(value) if isinstance(value, tuple) else value


def rule(
    wanted: str,
    types: tuple[type, ...],
    is_right: Callable[[Any], bool],
    read: Callable[[Any], Any] = lambda item: item,
) -> Rule:
    """A rule that says one thing. types: what a value is at least, after `read`, which raises nothing."""

    def read_or_tell(value: Any) -> Any:
        found = read(value)
        if type(found) not in types:
            raise Wrong(f"must be {wanted}, but is {value!r}")
        return found

    def mistakes(value: Any) -> Iterator[str]:
        if not is_right(value):
            yield f"must be {wanted}, but is {value!r}"

    return Rule(read_or_tell, mistakes, plain)


# --- plain values --------------------------------------------------------------------------------

_IMAGE = re.compile(r"[A-Za-z0-9][\w./:@-]*")
_TIME_TO_LIVE = re.compile(r"[0-9]+(\.[0-9]+)?[smhdw]")


def is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_seconds(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value < math.inf


def _is_factor(value: Any) -> bool:
    return type(value) in (int, float) and 1 <= value <= 100


def _is_cache(value: Any) -> bool:
    return isinstance(value, bool) or (isinstance(value, str) and _TIME_TO_LIVE.fullmatch(value) is not None)


def time_to_live_s(text: str) -> float:
    """Seconds that a result may be taken from an earlier run, as `cache` has them in words.

    >>> time_to_live_s("90s"), time_to_live_s("1d")
    (90.0, 86400.0)
    """
    return float(text[:-1]) * _UNITS_S[text[-1]]


_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


def _is_image(value: Any) -> bool:
    return isinstance(value, str) and _IMAGE.fullmatch(value) is not None


def _number(value: Any) -> Any:
    return float(value) if type(value) is int and abs(value) < 2**53 else value


def _shown(value: Any) -> Any:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


COUNT = rule("a whole number, 0 or more", (int,), _is_count)
SECONDS = rule("a number of seconds above 0", (int, float), _is_seconds, _number)
FACTOR = rule("a number from 1 to 100", (int, float), _is_factor, _number)
FLAG = rule("True or False", (bool,), lambda value: isinstance(value, bool))
CACHE = rule("True, False or a time to live such as '12h' or '1d'", (bool, str), _is_cache)
TEXT = rule("a text", (str,), is_text)
VERSION = rule("a text or a number", (str,), lambda value: isinstance(value, str), _shown)
IMAGE = rule("an image's name, as registry/name:tag", (str,), _is_image)


# --- amounts -------------------------------------------------------------------------------------

_CPU = re.compile(r"[0-9]+(\.[0-9]+)?m?")
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)([KMGTPE]i|[kMGTPE]|[mun])?")
_POWERS = {"": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9, "k": 1e3} | {
    unit: 1000.0 ** (power + 2) for power, unit in enumerate("MGTPE")
}
_POWERS |= {f"{unit}i": 1024.0 ** (power + 1) for power, unit in enumerate("KMGTPE")}


def amount(text: str) -> float:
    """Kubernetes' text for an amount as a number: of cores, of bytes.

    >>> amount("500m"), amount("2Gi"), amount("1.5k")
    (0.5, 2147483648.0, 1500.0)
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(text)
    return float(match[1]) * _POWERS[match[2] or ""]


def is_cpu(value: Any) -> bool:
    return isinstance(value, str) and _CPU.fullmatch(value) is not None and amount(value) > 0


def is_size(value: Any) -> bool:
    return isinstance(value, str) and _SIZE.fullmatch(value) is not None and amount(value) > 0


def amount_text(value: Any) -> Any:
    """A number as Kubernetes' text; a text without spaces around it."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return f"{value:g}" if isinstance(value, float) else str(value)


def pair_rule(wanted: str, is_right: Callable[[Any], bool]) -> Rule:
    """An amount that is the limit, or a pair (request, limit), None for the one that is not set."""

    def read(value: Any) -> Any:
        given = value if isinstance(value, tuple | list) else (None, value)
        parts = tuple(map(amount_text, given))
        if len(parts) != 2 or parts == (None, None) or not all(item is None or isinstance(item, str) for item in parts):
            raise Wrong(f"must be {wanted}, or a pair of such, (request, limit), but is {value!r}")
        request, limit = parts
        return limit if request is None else parts

    def mistakes(value: Any) -> Iterator[str]:
        parts = [item for item in value if item is not None] if isinstance(value, tuple) else [value]
        if not parts or not all(map(is_right, parts)):
            yield f"must be {wanted}, but is {value!r}"
        elif len(parts) == 2 and amount(parts[0]) > amount(parts[1]):
            yield f"asks for more than its limit: {parts[0]} above {parts[1]}"

    return Rule(read, mistakes, plain)


SIZE = rule("a size above 0, such as '512Mi' or '2Gi'", (str,), is_size, amount_text)
CPU = pair_rule("a number of cores above 0, such as '2' or '500m'", is_cpu)
MEMORY = pair_rule("a size above 0, such as '512Mi' or '2Gi'", is_size)


# --- lists and dicts of texts --------------------------------------------------------------------


def list_rule(wanted: str, is_right: Callable[[Any], bool]) -> Rule:
    """A list of texts, in the user's order."""

    def read(value: Any) -> tuple[str, ...]:
        if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
            raise Wrong(f"must be a list of {wanted}, but is {value!r}")
        return tuple(value)

    def mistakes(value: Any) -> Iterator[str]:
        if not isinstance(value, tuple) or not all(map(is_right, value)):
            yield f"must be {wanted}, but is {value!r}"

    return Rule(read, mistakes, plain)


def texts_by_name(mistakes: Callable[[str, str], Iterable[str]]) -> Rule:
    """A dict of names to texts; numbers become texts. mistakes: of one name and its text."""
    return by_name_rule("a dict of names to texts", _text_of, mistakes, plain)


def _text_of(name: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise Wrong(f"must hold texts, but the value of {name} is {value!r}")
    return str(value)


def by_name_rule(
    wanted: str,
    read_item: Callable[[str, Any], Any],
    mistakes_of: Callable[[Any, Any], Iterable[str]],
    json_of: Callable[[Any], Json],
) -> Rule:
    """A dict, kept as pairs sorted by name. read_item, mistakes_of: take a name and its value."""

    def read(value: Any) -> tuple[tuple[str, Any], ...]:
        if not isinstance(value, Mapping):
            raise Wrong(f"must be {wanted}, but is {value!r}")
        for name in value:
            if not isinstance(name, str):
                raise Wrong(f"must be {wanted}, but holds {name!r}")
        return tuple(sorted((name, read_item(name, item)) for name, item in value.items()))

    def mistakes(value: Any) -> Iterator[str]:
        for name, item in value:
            yield from mistakes_of(name, item)

    def to_json(value: Any) -> Json:
        return {name: json_of(item) for name, item in value}

    return Rule(read, mistakes, to_json, by_name=True)
