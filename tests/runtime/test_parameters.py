"""Parameters: between Python, JSON, KFP's types and the command line's text."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import json
import math
import uuid
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypedDict

import pytest

from grandpa_kfp_runtime.errors import ParameterError
from grandpa_kfp_runtime.parameters import convert, kfp_type, loader_of, optional, parse, to_json
from grandpa_kfp_runtime.typespec import ANY, NONE, TypeSpec, describe


class Colour(enum.Enum):
    RED = "#f00"
    BLUE = "#00f"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Point(NamedTuple):
    x: int
    y: float = 0.0


class Options(TypedDict):
    rate: float


@dataclasses.dataclass
class Inner:
    when: datetime.date


@dataclasses.dataclass
class Outer:
    inner: Inner
    colours: list[Colour]
    rate: float = 0.5
    missing: Nowhere = None  # noqa: F821  # an annotation that cannot be resolved


def through(value: Any, annotation: Any) -> Any:
    """What a value becomes on its way through JSON, all numbers doubles as KFP has them."""
    text = json.dumps(to_json(value, describe(annotation)))
    return convert(json.loads(text, parse_int=float), describe(annotation), loader_of(annotation))


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (5, int),
        (2**53, int),
        (2.0, float),
        (math.inf, float),
        (-math.inf, float | None),
        (True, bool),
        ("x", str),
        ("5", str),
        ([1.0, 2.0], list[float]),
        ([1, 2], list[int]),
        ([[1], []], list[list[int]]),
        ({"a": 1}, dict[str, int]),
        ({1: "x"}, dict[int, str]),
        ({True: 1.5}, dict[bool, float]),
        ((1, "x"), tuple[int, str]),
        ((1, 2, 3), tuple[int, ...]),
        ({1, 2}, set[int]),
        (frozenset({"a"}), frozenset[str]),
        (None, int | None),
        (3, int | None),
        (3, int | str),
        ("3", int | str),
        (3, Literal[1, 3]),
        ("a", Literal["a", "b"]),
        (Colour.RED, Colour),
        (Level.HIGH, Level),
        (Path("a/b"), Path),
        (Path("a"), Path | None),
        (datetime.date(2024, 2, 29), datetime.date),
        (datetime.datetime(2024, 2, 29, 12, 30, tzinfo=datetime.timezone.utc), datetime.datetime),
        (datetime.time(12, 30), datetime.time),
        (decimal.Decimal("1.10"), decimal.Decimal),
        (uuid.UUID(int=7), uuid.UUID),
        (Point(1, 2.0), Point),
        ([Point(1, 2.0)], list[Point]),
        ({"rate": 0.5}, Options),
        (Outer(Inner(datetime.date(2024, 1, 1)), [Colour.BLUE], 1.0), Outer),
        ({"a": [Inner(datetime.date(2024, 1, 1))]}, dict[str, list[Inner]]),
    ],
)
def test_values_survive_json(value, annotation):
    """Through JSON whose numbers are all doubles, every type comes back as it was."""
    result = through(value, annotation)
    assert result == value
    assert type(result) is type(value)


def test_nan_survives():
    """As the word that JSON lacks."""
    assert math.isnan(through(math.nan, float))


@pytest.mark.parametrize(
    ("value", "annotation", "message"),
    [
        ("x", int, "must be int, but is 'x'"),
        (2.5, int, "must be int, but is 2.5"),
        (True, int, "must be int"),
        (1, bool, "must be bool, but is 1"),
        (1, str, "must be str"),
        ("1.5", float, "must be float"),
        (True, float, "must be float"),
        (None, int, "must be int, but is None"),
        (0, type(None), "must be None"),
        ([1, "x"], list[int], r"\[1\] must be int, but is 'x'"),
        ({"a": {"b": "x"}}, dict[str, dict[str, int]], r"\['a'\]\['b'\] must be int"),
        ({"x": 1}, dict[int, int], "key must be int|must be int, but is 'x'"),
        ("abc", list, "must be list"),
        ([], dict, "must be dict"),
        ([1], tuple[int, int], r"must be tuple\[int, int\]"),
        (4, Literal[1, 3], r"must be Literal\[1, 3\]"),
        ("GREEN", Colour, "must be one of RED, BLUE, but is 'GREEN'"),
        ("never", datetime.date, "must be date"),
        (5, Path, "must be Path"),
        ({"rate": 1}, Inner, "has no field 'rate'; Inner has the fields when"),
        ({}, Inner, "is no Inner: .*when"),
        ({"inner": {"when": "x"}, "colours": []}, Outer, r"\.inner\.when must be date"),
        ("x", int | list[int], r"must be int \| list\[int\]"),
        ("x" * 500, int, r"\.\.\.$"),
    ],
)
def test_what_does_not_fit(value, annotation, message):
    """The place inside the value, what was wanted, what came."""
    with pytest.raises(ParameterError, match=message):
        convert(value, describe(annotation), loader_of(annotation))


def test_values_of_the_type_are_kept():
    """What a caller in Python passes needs no detour."""
    outer = Outer(Inner(datetime.date(2024, 1, 1)), [])
    assert convert(outer, describe(Outer)) is outer
    assert convert(Colour.RED, describe(Colour)) is Colour.RED
    assert convert((1, 2), describe(list[int])) == [1, 2]
    assert convert(object, ANY) is object


def test_an_enum_comes_by_its_value_too():
    """Its name first."""
    assert convert("#00f", describe(Colour), loader_of(Colour)) is Colour.BLUE
    assert convert(2, describe(Level), loader_of(Level)) is Level.HIGH


def test_local_classes_are_found_in_the_annotation():
    """A class inside a function cannot be imported."""

    class Local(enum.Enum):
        A = 1

    assert convert(["A"], describe(list[Local]), loader_of(list[Local])) == [Local.A]


@pytest.mark.parametrize(
    ("text", "annotation", "value"),
    [
        ("5", int, 5),
        ("-5", int, -5),
        ("1e3", float, 1000.0),
        ("5", float, 5.0),
        ("5", str, "5"),
        ("", str, ""),
        ("null", str, "null"),
        ("true", bool, True),
        ("Yes", bool, True),
        ("0", bool, False),
        ("off", bool, False),
        ("[1, 2]", list[int], [1, 2]),
        ("1,2, 3", list[int], [1, 2, 3]),
        ("a,b", list[str], ["a", "b"]),
        ("", list[int], []),
        ("1,x", tuple[int, str], (1, "x")),
        ('{"a": 1}', dict[str, int], {"a": 1}),
        ("none", int | None, None),
        ("", int | None, None),
        ("", str | None, ""),
        ("7", int | None, 7),
        ("7", str | int, 7),
        ("x", str | int, "x"),
        ("3", Literal[1, 3], 3),
        ("b", Literal["a", "b"], "b"),
        ("true", Literal[True], True),
        ("RED", Colour, Colour.RED),
        ("#f00", Colour, Colour.RED),
        ("a/b", Path, Path("a/b")),
        ("2024-02-29", datetime.date, datetime.date(2024, 2, 29)),
        ('{"when": "2024-02-29"}', Inner, Inner(datetime.date(2024, 2, 29))),
        ("[1, 2]", Any, [1, 2]),
        ("5", Any, 5),
        ("hello", Any, "hello"),
    ],
)
def test_texts_of_the_command_line(text, annotation, value):
    """`-p name=text`, by the parameter's type."""
    result = parse(text, describe(annotation), loader_of(annotation))
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize(
    ("text", "annotation", "message"),
    [
        ("x", int, "must be int, but is 'x'"),
        ("1.5", int, "must be int"),
        ("maybe", bool, "must be bool"),
        ("[1, 2", list[int], r"must be JSON for list\[int\]"),
        ("1,x", list[int], "must be int, but is 'x'"),
        ("a", dict, "must be JSON for dict"),
        ("4", Literal[1, 3], r"must be Literal\[1, 3\]"),
        ("x", int | None, r"must be int \| None"),
        ("x", type(None), "must be None"),
    ],
)
def test_texts_that_are_none(text, annotation, message):
    """The type that was wanted, the text that came."""
    with pytest.raises(ParameterError, match=message):
        parse(text, describe(annotation), loader_of(annotation))


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (str, "STRING"),
        (int, "NUMBER_INTEGER"),
        (float, "NUMBER_DOUBLE"),
        (bool, "BOOLEAN"),
        (list[int], "LIST"),
        (dict, "STRUCT"),
        (int | None, None),
        (Colour, None),
        (Path, None),
        (Literal["a"], None),
        (tuple[int, int], None),
        (Any, None),
    ],
)
def test_kfps_own_types(annotation, expected):
    """Six Python types have one; everything else travels as JSON text."""
    assert kfp_type(describe(annotation)) == expected


def test_what_json_cannot_carry():
    """Is refused with the ways out."""
    with pytest.raises(ParameterError, match=r"type object cannot be a workflow's parameter.*Static"):
        to_json({"a": object()})


def test_optional():
    """The type or None; as it is where None fits already."""
    assert optional(TypeSpec("int")) == describe(int | None)
    assert optional(describe(int | str)) == describe(int | str | None)
    assert [optional(spec) for spec in (ANY, NONE, describe(int | None))] == [ANY, NONE, describe(int | None)]
