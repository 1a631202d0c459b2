"""KFP's treatment of parameter values, imitated with its losses."""

from __future__ import annotations

import math
from typing import Any

import pytest

from grandpa_kfp.engine.kfp_values import arrives, check, from_output_file, from_text
from grandpa_kfp_runtime.errors import ParameterError


@pytest.mark.parametrize(
    ("sent", "type_", "received"),
    [
        (None, "STRING", ""),
        (None, "STRUCT", None),
        (2.0, "NUMBER_DOUBLE", 2),
        (0.1, "NUMBER_DOUBLE", 0.1),
        (9007199254740993, "NUMBER_INTEGER", 9007199254740992),
        (1e21, "NUMBER_DOUBLE", 1e21),
        (True, "BOOLEAN", True),
        ([1.0, None, {"a": 2.0}], "LIST", [1, None, {"a": 2}]),
        ("5", "STRING", "5"),
    ],
)
def test_values_arrive_as_doubles_and_null_strings_as_empty(sent: Any, type_: str, received: Any) -> None:
    """KFP.md 14: numbers lose what a double cannot hold, 2.0 comes as 2; lists and structs arrive whole."""
    got = arrives(sent, type_)
    assert got == received
    assert type(got) is type(received)


@pytest.mark.parametrize("number", [math.nan, math.inf, 10**400])
def test_what_is_no_double_is_refused(number: Any) -> None:
    """A protobuf Value has no JSON form for it."""
    with pytest.raises(ParameterError, match="no number"):
        arrives(number)


@pytest.mark.parametrize(
    ("value", "type_"),
    [
        (1, "STRING"), (1.5, "NUMBER_INTEGER"), (True, "NUMBER_INTEGER"), ("1", "NUMBER_DOUBLE"), (1, "BOOLEAN"),
        ({}, "LIST"), ([], "STRUCT"), ({1: 2}, "STRUCT"), ([object()], "LIST"), (2**53 + 1, "NUMBER_INTEGER"),
        (math.nan, "NUMBER_INTEGER"),
    ],
)  # fmt: skip
def test_a_value_of_another_type_is_told(value: Any, type_: str) -> None:
    """Each in words of the type that is wanted."""
    assert check(value, type_)


@pytest.mark.parametrize(
    ("value", "type_"),
    [
        ("a", "STRING"),
        (2.0, "NUMBER_INTEGER"),
        (2, "NUMBER_DOUBLE"),
        (False, "BOOLEAN"),
        ([1], "LIST"),
        ({"a": 1}, "STRUCT"),
    ],
)
def test_a_value_of_the_type_passes(value: Any, type_: str) -> None:
    """A whole float is a whole number."""
    assert check(value, type_) == ""


def test_output_files_are_text_or_json_by_type() -> None:
    """A handle is a STRING; an output that control flow reads is typed."""
    assert from_output_file("5", "STRING") == "5"
    assert from_output_file("5", "NUMBER_INTEGER") == 5
    with pytest.raises(ParameterError, match="no LIST"):
        from_output_file("[1", "LIST")


def test_texts_of_the_command_line_are_read_by_type() -> None:
    """And refused by it."""
    assert from_text("True", "BOOLEAN") is True
    assert from_text("[1]", "LIST") == [1]
    with pytest.raises(ParameterError, match="whole number"):
        from_text("x", "NUMBER_INTEGER")
