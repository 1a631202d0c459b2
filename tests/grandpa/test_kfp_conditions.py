"""Conditions of a compiled YAML mean what they mean to Kubeflow's driver."""

from __future__ import annotations

from typing import Any

import pytest

from grandpa_kfp.engine.kfp_conditions import read_condition
from grandpa_kfp_runtime.errors import ParameterError

VALUES: dict[str, Any] = {
    "n": 3, "half": 0.5, "big": 9007199254740992, "s": "text", "digits": "-12", "yes": True, "no": False, "none": None,
    "list": [1, "a", [True]], "same": [1.0, "a", [True]], "struct": {"a": 1}, "it's": "q",
}  # fmt: skip


def at(name: str) -> str:
    return f"inputs.parameter_values['{name}']"


def holds(pattern: str) -> bool:
    """`$n` stands for the parameter n."""
    text = pattern
    for name in sorted(VALUES, key=len, reverse=True):
        text = text.replace(f"${name}", at(name))
    return read_condition(text).holds(VALUES)


@pytest.mark.parametrize(
    "pattern",
    [
        "$n == 3", "$n == 3.0", "$n != 4", "$n < 4", "$n <= 3", "$n > 2.5", "$n >= 3", "3 == $n", "!($n == 4)",
        "int($half) == 0", "int(-2.9) == -2", "int($digits) == -12", "double($digits) == -12.0", "double('1e3') > 999",
        "$big == 9007199254740992", "1e2 == 100", "-1 < 0", "$half == 0.5",
        "$s == 'text'", '$s == "text"', "$s != 'Text'", "$s < 'u'", "'10' < '9'", "$s == 'te\\x78\\u0074'",
        "'\\\\ \\' \\\" \\n \\101' == \"\\\\ ' \\\" \\n A\"", "'' == ''", "$yes", "!$no", "$yes == true", "$no < $yes",
        "$none == null", "$list == $same", "$struct == $struct", "$list != $struct",
        "$s != 3", "$n != '3'", "$yes != 1", "$none != 0", "true != 'true'",
        "$yes || $no && $no", "($yes || $no) && !$no", "$no || $no || $yes", "!!$yes",
        "$yes || $s < 3", "$s < 3 || $yes", "!($no && $s < 3)", "!($s < 3 && $no)",
        "inputs.parameter_values[\"n\"] == 3", "inputs.parameter_values['it\\'s'] == 'q'", "  $yes  ",
    ],
)  # fmt: skip
def test_these_hold(pattern: str) -> None:
    assert holds(pattern)


@pytest.mark.parametrize(
    "pattern", ["$n == 4", "$s == 'x'", "$yes && $no", "$n == '3'", "$yes == 1", "$list == $struct"]
)
def test_these_do_not(pattern: str) -> None:
    assert not holds(pattern)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("$s < 3", "'text' < 3: they have no order"),
        ("$yes < 1", "no order"),
        ("$none <= $none", "no order"),
        ("$list < $list", "no order"),
        ("$s", "neither true nor false"),
        ("!$n", "3.0 is neither true nor false"),
        ("$s || $no", "'text' is neither"),
        ("int($s) == 1", r"int\('text'\): it is no whole number of 64 bits"),
        ("int($yes) == 1", "no whole number"),
        ("int(1e30) == 1", "no whole number"),
        ("double($list) == 1.0", "it is no number"),
        ("double('nan') == 1.0", "it is no number"),
        ("inputs.parameter_values['gone'] == 1", "there is no value of gone"),
    ],
)
def test_these_cannot_be_decided(pattern: str, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        holds(pattern)


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "1 +  2 == 3", "n == 3", "inputs.parameters['n'] == 3", "inputs.parameter_values[n] == 3", "1 < 2 < 3",
        "true &&", "|| true", "(true", "true)", "true false", "size('a') == 1", "string(1) == '1'", "int 1", "int()",
        "'open", "'\\q' == ''", "'\\ud800' == ''", "'\\U00110000' == ''", "99999999999999999999 == 1", "1u == 1",
        "'a' in ['a']", "true ? true : false", "0x1F == 31", "truely", "[1] == [1]", "b'a' == b'a'", "!", "==",
        "(" * 5000 + "true" + ")" * 5000,
    ],
)  # fmt: skip
def test_what_is_not_understood_is_refused_when_it_is_read(text: str) -> None:
    with pytest.raises(ValueError, match=r"at |where |nested too deep"):
        read_condition(text)


def test_what_it_reads_is_known_beforehand() -> None:
    found = read_condition(f"{at('b')} == {at('a')} || {at('b')} == 1")
    assert (found.reads, found.words) == (("b", "a"), "b == a || b == 1")
