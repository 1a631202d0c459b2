"""Handles of results and of constants."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grandpa_kfp_runtime.errors import CodecError, ObjectGone
from grandpa_kfp_runtime.stores.memory import MemoryStore
from grandpa_kfp_runtime.values.codecs import is_json_exact
from grandpa_kfp_runtime.values.files import File
from grandpa_kfp_runtime.values.handles import (
    CONSTANT_LIMIT_BYTES,
    from_handle,
    inline_constant,
    raw_or_handle,
    read_handles,
    to_handle,
    write_handles,
)

KEY = "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0"


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (5, "5"),
        (-(2**53) - 1, "-9007199254740993"),
        (2.0, "2.0"),
        (-0.0, "-0.0"),
        ("a b", '"a b"'),
        ("@x", '"@x"'),
        ({"b": [1], "a": {}}, '{"b":[1],"a":{} }'),
    ],
)
def test_a_small_exact_value_is_its_own_handle(store: MemoryStore, value: Any, text: str) -> None:
    assert to_handle(value, store) == text
    back = from_handle(text, store)
    assert (type(back), repr(back)) == (type(value), repr(value))
    assert repr(store) == "MemoryStore(0 objects)"


@pytest.mark.parametrize("value", [(1, 2), math.nan, b"x", {1: 2}, "x" * 2047, [1] * 1024, {"a": {1}}, 10**3000])
def test_other_values_become_objects(store: MemoryStore, value: Any) -> None:
    handle = to_handle(value, store)
    assert handle[0] == "@"
    assert len(handle) == 44
    assert store.exists(handle[1:])
    back = from_handle(handle, store)
    assert type(back) is type(value)
    assert back == value or math.isnan(value)


def test_the_limit_counts_the_handles_bytes(store: MemoryStore) -> None:
    assert to_handle("x" * 2046, store) == f'"{"x" * 2046}"'
    assert to_handle("x" * 2047, store)[0] == "@"
    assert to_handle([1, 2], store, inline_limit=4)[0] == "@"
    assert to_handle([1, 2], store, inline_limit=5) == "[1,2]"
    for value in (0, None, "", [], {}):
        assert to_handle(value, store, inline_limit=0)[0] == "@"


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.sampled_from(
        ["{{workflow.name}}", "}}", "$$(HOME)", "$(HOME)", "umlaut ä", "👩‍🔬", '"', "\n", "n", "y", "@inline:json:"]
    ),
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)  # fmt: skip


@given(_values)
def test_no_handle_holds_what_kfp_argo_or_kubernetes_rewrite(value: Any) -> None:
    store = MemoryStore()
    for text in (to_handle(value, store), inline_constant(value)):
        assert text.isascii()
        assert not any(mark in text for mark in ("{{", "}}", "$"))
        assert from_handle(text, store) == value


@given(_values)
def test_a_handle_is_json_only_where_json_is_exact(value: Any) -> None:
    handle = to_handle(value, MemoryStore())
    if handle[0] != "@":
        assert is_json_exact(value)
        assert json.loads(handle) == value


def test_the_same_value_has_the_same_handle(store: MemoryStore) -> None:
    assert to_handle(np.arange(1000), store) == to_handle(np.arange(1000), MemoryStore())


def test_a_value_read_twice_is_two_values(store: MemoryStore) -> None:
    handle = to_handle(np.random.default_rng(0).random(100_000), store)
    first, second = from_handle(handle, store), from_handle(handle, store)
    first += 1
    assert not np.array_equal(first, second)
    assert np.array_equal(second, from_handle(handle, store))


def test_a_gone_object_is_told_with_its_key(store: MemoryStore) -> None:
    with pytest.raises(ObjectGone, match=KEY):
        from_handle(f"@{KEY}", store)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it is empty: its task left no output"),
        ("plain text", "'plain text' is neither JSON"),
        ("@short", "neither JSON nor @ and a key"),
        (f"@{KEY}x", "neither JSON nor @ and a key"),
        ("@../../../../etc/passwd", "neither JSON nor @ and a key"),
        ("@inline:bytes:!!!", "base64"),
        ("@inline:nothing:AAAA", "codec 'nothing' .* not registered"),
        ("@inline:json:AAAA", "not what its codec json writes"),
        ("@inline:object:AAAA", "not a stored value"),
    ],
)
def test_what_is_no_handle_is_told(store: MemoryStore, text: str, message: str) -> None:
    with pytest.raises(CodecError, match=message):
        from_handle(text, store)


def test_an_object_that_is_not_ours_is_told(store: MemoryStore) -> None:
    with pytest.raises(CodecError, match="not a stored value"):
        from_handle(f"@{store.write(b'something else')}", store)


def test_a_result_that_cannot_be_stored_is_named(store: MemoryStore) -> None:
    with pytest.raises(CodecError, match=r"^output model\[0\] cannot be stored"):
        to_handle([(item for item in ())], store, name="output model")


def test_gathered_handles_read_as_the_list_of_their_values(store: MemoryStore) -> None:
    inner = write_handles([to_handle((1,), store), "5"], store)
    outer = write_handles([inner, '"x"', inline_constant((2,))], store)
    assert from_handle(outer, store) == [[(1,), 5], "x", (2,)]
    assert read_handles(outer, store) == [inner, '"x"', inline_constant((2,))]
    assert from_handle(write_handles([], store), store) == []


def test_other_handles_hold_no_handles(store: MemoryStore) -> None:
    for handle in ("[1]", to_handle((1,), store), inline_constant((1,)), '["@x"]'):
        assert read_handles(handle, store) is None


# --- constants ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value", ["", "plain", "a\nb\tc", "ä 👩‍🔬", "$(HOME)", "{x}", "n", "@x", True, 0, 2**53, -(2**53), 2.0, 5e-324]
)
def test_constants_that_kfp_keeps_go_raw(value: Any) -> None:
    kind, raw = raw_or_handle(value)
    assert (kind, raw, type(raw)) == ("raw", value, type(value))


@pytest.mark.parametrize(
    "value",
    [
        "x{{workflow.name}}y", "}}", "{{", "$$(HOME)", "\r", "\x00", "\x7f", "\ud800", "\ufeff", "\u2028", "\u0085",
        2**53 + 1, -(2**53) - 1, -0.0, math.inf, math.nan, None, [], [1], {"a": 2.0}, (1,), b"x", {1, 2}, 1j,
    ],
    ids=ascii,
)  # fmt: skip
def test_all_other_constants_go_as_handles_and_arrive_unchanged(value: Any) -> None:
    kind, text = raw_or_handle(value)
    assert kind == "handle"
    back = from_handle(text, MemoryStore())
    assert (type(back), repr(back)) == (type(value), repr(value))


def test_a_subclass_of_str_or_int_is_no_plain_constant() -> None:
    class Name(str):
        pass

    kind, text = raw_or_handle(Name("x"))
    assert kind == "handle"
    assert type(from_handle(text, MemoryStore())).__name__ == "Name"


def test_a_constant_array_is_one_inline_object() -> None:
    array = np.arange(1000.0)
    text = inline_constant(array)
    assert text.startswith("@inline:object:")
    assert np.array_equal(from_handle(text, MemoryStore()), array)
    assert inline_constant(b"abc") == "@inline:bytes:YWJj"


@pytest.mark.parametrize("value", [list(range(10_000)), np.random.default_rng(0).random(3000), b"x" * 20_000])
def test_a_constant_too_large_for_the_yaml_is_refused_with_the_ways_out(value: Any) -> None:
    with pytest.raises(CodecError, match=r"argument x takes [\d,]+ bytes, .* make it in a node .*File\(path\)"):
        inline_constant(value, name="argument x")


def test_a_long_string_is_refused_too() -> None:
    assert raw_or_handle("x" * CONSTANT_LIMIT_BYTES)[0] == "raw"
    with pytest.raises(CodecError, match="16,384 fit"):
        raw_or_handle("x" * (CONSTANT_LIMIT_BYTES + 1))
    with pytest.raises(CodecError, match="16,384 fit"):
        raw_or_handle("ä" * (CONSTANT_LIMIT_BYTES // 2 + 1))


def test_a_small_file_travels_inline_and_a_large_one_does_not(tmp_path: Path) -> None:
    small, large = tmp_path / "small.csv", tmp_path / "large.bin"
    small.write_text("1,2")
    large.write_bytes(bytes(1_000_000))
    kind, text = raw_or_handle(File(small))
    assert kind == "handle"
    assert from_handle(text, MemoryStore(), scratch=tmp_path).read_text() == "1,2"
    with pytest.raises(CodecError, match=r"argument data takes 1,000,000 bytes, .*deploy uploads it"):
        raw_or_handle(File(large), name="argument data")


def test_a_path_as_a_constant_stays_a_path() -> None:
    assert from_handle(inline_constant(Path("/data/in.csv")), MemoryStore()) == Path("/data/in.csv")


def test_a_constants_handle_is_the_same_on_every_machine() -> None:
    assert inline_constant((1, "a")) == "@inline:pickle:gAWVCQAAAAAAAABLAYwBYZSGlC4="
