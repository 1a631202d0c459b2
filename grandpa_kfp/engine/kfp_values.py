"""Parameter values as Kubeflow Pipelines treats them, its losses included.

KFP carries every value as a protobuf Value, whose only number is a double. The YAML engine treats
values just so, in order that what goes wrong on a cluster goes wrong here first.
"""

from __future__ import annotations

import json
import math
from typing import Any

from grandpa_kfp_runtime.errors import ParameterError
from grandpa_kfp_runtime.typespec import Json

_WANTED = {
    "STRING": "a string",
    "NUMBER_INTEGER": "a whole number",
    "NUMBER_DOUBLE": "a number",
    "BOOLEAN": "true or false",
    "LIST": "a list",
    "STRUCT": "a dict",
}
_EXACT = 1e21  # from here on Go writes doubles with an exponent


def arrives(value: Json, type_: str = "") -> Json:
    """What a container's ExecutorInput holds for a value: numbers as doubles, a STRING as text, a null one as "".

    >>> arrives([2.0, 2**53 + 1, None]), arrives(None, "STRING"), arrives([2.0, "x"], "STRING")
    ([2, 9007199254740992, None], '', '[2,"x"]')
    """
    if type_ == "STRING" and not isinstance(value, str):
        return "" if value is None else json.dumps(arrives(value), ensure_ascii=False, separators=(",", ":"))
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, int | float):
        try:
            double = float(value)
        except OverflowError:
            double = math.inf
        if not math.isfinite(double):
            raise ParameterError(f"{value!r} is no number that Kubeflow Pipelines can carry")
        return int(double) if double.is_integer() and abs(double) < _EXACT else double
    if isinstance(value, list | tuple):
        return [arrives(item) for item in value]
    return {key: arrives(item) for key, item in value.items()}


def check(value: Json, type_: str) -> str:
    """What is wrong with a value for a parameter of a KFP type; empty for nothing.

    >>> check(2.5, "NUMBER_INTEGER"), check(2.0, "NUMBER_INTEGER")
    ('it wants a whole number, but is given 2.5', '')
    """
    right = {
        "STRING": isinstance(value, str),
        "NUMBER_INTEGER": isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1,
        "NUMBER_DOUBLE": isinstance(value, int | float) and not isinstance(value, bool),
        "BOOLEAN": isinstance(value, bool),
        "LIST": isinstance(value, list | tuple),
        "STRUCT": isinstance(value, dict) and all(isinstance(key, str) for key in value),
    }
    if not right.get(type_, False):
        return f"it wants {_WANTED.get(type_, type_)}, but is given {value!r}"
    try:
        json.dumps(value)
    except (TypeError, ValueError) as error:
        return f"it wants {_WANTED[type_]} that JSON can hold ({error})"
    if type_ == "NUMBER_INTEGER" and abs(value) > 2**53:
        return f"{value} is beyond 2**53, and Kubeflow Pipelines would change it"
    return ""


def from_output_file(text: str, type_: str) -> Json:
    """The value of an output parameter: the file's text, or what its JSON says for other types than STRING."""
    if type_ == "STRING":
        return text
    try:
        return json.loads(text)
    except ValueError as error:
        raise ParameterError(f"the task left {text[:60]!r}, which is no {type_}") from error


def from_text(text: str, type_: str) -> Any:
    """The value that a text on the command line means. Raises ParameterError.

    >>> from_text("5", "NUMBER_INTEGER"), from_text("5", "STRING"), from_text("true", "BOOLEAN")
    (5, '5', True)
    """
    if type_ == "STRING":
        return text
    try:
        value = json.loads(text.lower() if type_ == "BOOLEAN" else text)
    except ValueError:
        value = text
    wrong = check(value, type_)
    if wrong:
        raise ParameterError(wrong)
    return value
