"""The YAML writer: what it writes reads back the same, by two readers."""

from __future__ import annotations

import math
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from grandpa_kfp_compiler.kfp.yaml_writer import WIDTH, dump, quote

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
PLAIN = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT, inner, max_size=5))


def read(text: str) -> list[Any]:
    """By PyYAML and by libyaml where it is there, which must agree."""
    slow = yaml.safe_load(text)
    fast = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return [slow, fast]


@given(PLAIN)
def test_what_is_written_reads_back_the_same(value: Any) -> None:
    assert read(dump({"value": value})) == [{"value": value}] * 2


@pytest.mark.parametrize(
    "word",
    ["n", "y", "N", "on", "off", "No", "YES", "true", "False", "null", "~", "", " ", "1", "1.0", "1e3", ".5", "0x1f",
     "0o17", "010", "1_000", "12:30:45", "2024-02-29", "=", "<<", "-", "--- ", "---", "...", "? a", "- a", "a: b",
     "a #b", "#a", "&a", "*a", "!a", "%a", "@a", "`a", "[a]", "{a}", "a,b", ".inf", ".nan", "+1", "-1", "a\nb", "a\tb",
     "\x00", "\x7f", "\x85", "\u2028", "\ufeff", "\ufffe", "ä", "😀", "it's", 'say "x"', "a\\b", "{{$}}", "$(HOME)",
     "'", '"', "x ", " x", "trailing:"],
)  # fmt: skip
def test_every_text_that_yaml_has_plans_for_stays_text(word: str) -> None:
    """As a value, as a key, in a list, on one line and on several."""
    value = {word: word, "list": [word], "long": {word: ["x" * WIDTH, word]}}
    assert read(dump(value)) == [value] * 2


def test_a_bare_word_is_not_quoted_and_a_yaml_1_1_boolean_is() -> None:
    assert [quote(word) for word in ("add-17", "TMPDIR", "--store", "-m", "/scratch")] == [
        "add-17", "TMPDIR", "--store", "-m", "/scratch",
    ]  # fmt: skip
    assert [quote(word) for word in ("n", "Y", "on", "no", "null", "1.5")] == [
        '"n"', '"Y"', '"on"', '"no"', '"null"', '"1.5"',
    ]  # fmt: skip


def test_emoji_are_written_as_themselves() -> None:
    """An escape of two surrogates is right in JSON and wrong in YAML."""
    assert dump({"a": "😀\n"}) == '{a: "😀\\n"}\n'


@pytest.mark.parametrize("value", [1e22, 1e-7, 1.5e300, -2.5, 0.1, 100000.0, 5e-324])
def test_floats_are_floats_to_yaml_1_1(value: float) -> None:
    assert read(dump([value])) == [[value]] * 2


@pytest.mark.parametrize("value", [math.nan, math.inf, "\ud800", b"bytes", object(), {1, 2}])
def test_what_yaml_cannot_hold_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="YAML"):
        dump({"value": [value]})


def test_short_mappings_stand_on_one_line_and_long_ones_do_not() -> None:
    assert dump({"a": {"b": 1}, "c": "x" * WIDTH}) == f"a: {{b: 1}}\nc: {'x' * WIDTH}\n"
    assert all(len(line) <= WIDTH + 40 for line in dump({str(i): {"k": list(range(i))} for i in range(60)}).split("\n"))
