"""What users log as plain data: numbers of any library, names, parameters' values. Errors name the call."""

from __future__ import annotations

import math
import operator
import os
import sys
from typing import Any

from ..code.project import OURS
from ..errors import TraceError
from ..typespec import Json

NAME_CHARACTERS = 200
_TEXT_CHARACTERS = 1000
_PLAIN_INT = 2**53
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def checked_name(name: Any, call: str) -> str:
    """The name itself. Raises TypeError, ValueError for what is no text that fits into one line.

    >>> checked_name("größe/loss @1", "log_metric")
    'größe/loss @1'
    """
    if not isinstance(name, str):
        raise TypeError(f"{call}: the name must be a text, but is {type(name).__name__}")
    text = str(name)
    if not text.strip() or len(text) > NAME_CHARACTERS or not text.isprintable():
        raise ValueError(
            f"{call}: the name {text[:60]!r} must have 1 to {NAME_CHARACTERS} characters that can be printed"
        )
    return text


def number(value: Any, call: str) -> int | float:
    """A number of Python's own: of NumPy, torch and others, that of a single item.

    Raises TypeError for what is none, TraceError for a Ref.

    >>> import decimal
    >>> number(True, "m"), number(decimal.Decimal("0.5"), "m"), number(2**53 + 1, "m")
    (1, 0.5, 9007199254740992.0)
    """
    kind = type(value)
    if kind is float:
        return float(value)
    if kind is int or kind is bool:
        return _plain_int(int(value), call)
    refuse_ref(value, call)
    if isinstance(value, str | bytes) or value is None:
        raise TypeError(f"{call}: a metric is a number, but it got {value!r:.60}; log_params takes texts")
    item = getattr(value, "item", None)
    try:
        plain = item() if callable(item) else value
        return _plain_int(int(plain), call) if isinstance(plain, int) else float(plain)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise TypeError(f"{call}: a metric is a single number, but it got {kind.__name__} ({error})") from error


def refuse_ref(value: Any, call: str) -> None:
    """Raises TraceError, naming the user's line, for a Ref: it has no value yet."""
    if not hasattr(type(value), "__grandpa_resolve__"):
        return
    frame = sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in OURS:
        frame = frame.f_back
    where = f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"
    raise TraceError(f"{where}: {call} got a Ref, which has no value yet; call it in the body of a node")


def _plain_int(value: int, call: str) -> int | float:
    """JSON's readers, KFP among them, keep no longer integers exactly."""
    try:
        return value if -_PLAIN_INT <= value <= _PLAIN_INT else float(value)
    except OverflowError:
        raise TypeError(f"{call}: the integer has {value.bit_length()} bits, which no float can hold") from None


def step_of(step: Any, call: str) -> int | None:
    """The step as an int. Raises TypeError for anything that is not a whole number."""
    if step is None:
        return None
    try:
        return operator.index(step)
    except TypeError:
        raise TypeError(f"{call}: step must be a whole number, but is {step!r:.60}") from None


def to_json_number(value: float) -> Json:
    """The number, or its name where JSON has none for it.

    >>> to_json_number(0.5), to_json_number(float("-inf"))
    (0.5, '-Infinity')
    """
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def from_json_number(value: Json) -> int | float:
    """What `to_json_number` wrote. Raises KeyError for another text."""
    return _NOT_FINITE[value] if isinstance(value, str) else value


def parameter(value: Any, call: str) -> Json:
    """A parameter's value for a person to read: numbers and short texts as they are, anything else as text."""
    kind = type(value)
    if value is None or kind is bool:
        return value
    refuse_ref(value, call)
    if kind in (int, float) or (callable(getattr(value, "item", None)) and getattr(value, "size", 1) == 1):
        plain = value if kind in (int, float) else value.item()
        if type(plain) is bool:
            return plain
        if type(plain) in (int, float) and (type(plain) is float or abs(plain) <= _PLAIN_INT):
            return to_json_number(plain)
        value = plain
    text = value if isinstance(value, str) else str(value)
    return text if len(text) <= _TEXT_CHARACTERS else f"{text[: _TEXT_CHARACTERS - 1]}…"
