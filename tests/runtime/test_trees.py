"""Splitting leaves out of structures and filling them in again."""

from __future__ import annotations

import copy
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grandpa_kfp_runtime.errors import TraceError
from grandpa_kfp_runtime.values.trees import fill, split


class Leaf:
    """Like a Ref: comparing it, iterating it or asking its truth raises."""

    def __init__(self, name: str) -> None:
        self.name = name

    def _refuse(self, *_: object) -> Any:
        raise TraceError("a leaf is no value")

    __eq__ = __bool__ = __iter__ = __len__ = __getitem__ = __contains__ = _refuse
    __hash__ = object.__hash__

    def __getattr__(self, name: str) -> Any:
        raise TraceError(f"a leaf has no {name}")


def is_leaf(value: Any) -> bool:
    return type(value) is Leaf


class Point(NamedTuple):
    x: Any
    y: Any


@dataclass
class Config:
    model: Any
    size: Any = 3
    seen: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.seen.append("constructed")


@dataclass(frozen=True)
class Frozen:
    model: Any
    size: Any = 3


@dataclass(frozen=True, slots=True)
class Slotted:
    model: Any
    size: Any = 3


@dataclass(frozen=True)
class HandSlotted:
    __slots__ = ("model", "size")
    model: Any
    size: Any


def names(holes: list[tuple[tuple[int, ...], Leaf]]) -> list[tuple[tuple[int, ...], str]]:
    return [(at, leaf.name) for at, leaf in holes]


def test_a_leaf_itself_is_the_only_hole() -> None:
    leaf = Leaf("a")
    skeleton, holes = split(leaf, is_leaf)
    assert skeleton is None
    assert names(holes) == [((), "a")]
    assert fill(skeleton, [((), 5)]) == 5


def test_positions_are_indices_in_every_container() -> None:
    value = [1, (2, Leaf("a")), {"k": 0, "l": [Leaf("b")]}, Point(Leaf("c"), 4), Slotted(7, Leaf("d"))]
    skeleton, holes = split(value, is_leaf)
    assert names(holes) == [((1, 1), "a"), ((2, 1, 0), "b"), ((3, 0), "c"), ((4, 1), "d")]
    assert skeleton == [1, (2, None), {"k": 0, "l": [None]}, Point(None, 4), Slotted(7, None)]
    filled = fill(skeleton, [(at, leaf.name) for at, leaf in holes])
    assert filled == [1, (2, "a"), {"k": 0, "l": ["b"]}, Point("c", 4), Slotted(7, "d")]
    assert [type(item) for item in filled] == [int, tuple, dict, Point, Slotted]


def test_neither_split_nor_fill_changes_its_input() -> None:
    leaf, inner = Leaf("a"), [1]
    value = {"a": [leaf, inner]}
    skeleton, holes = split(value, is_leaf)
    assert value["a"][0] is leaf
    before = copy.deepcopy(skeleton)
    first = fill(skeleton, [(holes[0][0], 1)])
    second = fill(skeleton, [(holes[0][0], 2)])
    assert skeleton == before
    assert (first, second) == ({"a": [1, [1]]}, {"a": [2, [1]]})
    assert first["a"] is not second["a"]


def test_containers_without_a_leaf_stay_the_same_objects() -> None:
    clean = {"big": [1, 2, 3]}
    value = [clean, Leaf("a")]
    skeleton, _ = split(value, is_leaf)
    assert skeleton[0] is clean
    assert split(clean, is_leaf) == (clean, [])
    assert split(clean, is_leaf)[0] is clean


@pytest.mark.parametrize("cls", [Config, Frozen, Slotted, HandSlotted])
def test_dataclasses_are_rebuilt_without_their_constructor(cls: type) -> None:
    original = cls(Leaf("a"), 9)
    skeleton, holes = split(original, is_leaf)
    assert type(skeleton) is cls
    assert names(holes) == [((0,), "a")]
    filled = fill(skeleton, [((0,), "tree")])
    assert (filled.model, filled.size) == ("tree", 9)
    assert type(original.model) is Leaf
    if cls is Config:
        assert filled.seen == ["constructed"]


def test_a_dataclass_keeps_attributes_that_are_no_fields() -> None:
    config = Config(Leaf("a"))
    config.extra = 5  # type: ignore[attr-defined]
    assert fill(split(config, is_leaf)[0], [((0,), 1)]).extra == 5


def test_ordered_and_default_dicts_keep_their_type() -> None:
    value = [OrderedDict(b=Leaf("a"), a=1), defaultdict(list, k=Leaf("b"))]
    skeleton, holes = split(value, is_leaf)
    ordered, default = fill(skeleton, [(at, leaf.name) for at, leaf in holes])
    assert ordered == OrderedDict(b="a", a=1)
    assert default == {"k": "b"}
    assert default["new"] == []


@pytest.mark.parametrize("wrap", [lambda leaf: leaf, lambda leaf: (1, leaf), lambda leaf: (1, (leaf,))])
def test_a_leaf_as_a_key_is_refused(wrap: Callable[[Leaf], Any]) -> None:
    key = wrap(Leaf("a"))
    with pytest.raises(TraceError, match="the key of a dict"):
        split({"a": [{key: 1}]}, is_leaf)


def test_a_cycle_ends() -> None:
    value: list[Any] = [Leaf("a")]
    value.append(value)
    skeleton, holes = split(value, is_leaf)
    assert names(holes) == [((0,), "a")]
    assert skeleton[0] is None
    assert skeleton[1] is value
    loop: list[Any] = []
    loop.append(loop)
    assert split(loop, is_leaf)[0] is loop


def test_shared_structure_is_walked_once() -> None:
    value: Any = [1]
    for _ in range(200):
        value = [value, value]
    assert split(value, is_leaf) == (value, [])


def test_nesting_beyond_the_recursion_limit_is_an_error_that_says_so() -> None:
    value: Any = Leaf("a")
    for _ in range(100_000):
        value = [value]
    with pytest.raises(TraceError, match="nested too deeply"):
        split(value, is_leaf)
    while type(value) is list:  # freed level by level
        value = value.pop()


def test_leaves_are_found_in_the_order_they_are_written() -> None:
    value = {"z": Leaf("1"), "a": (Leaf("2"), [Leaf("3")]), "m": Leaf("4")}
    assert [leaf.name for _, leaf in split(value, is_leaf)[1]] == ["1", "2", "3", "4"]


def test_filling_where_no_place_is_names_the_type() -> None:
    with pytest.raises(TraceError, match="str has no places"):
        fill(["text"], [((0, 1), 5)])


_trees = st.recursive(
    st.one_of(st.integers(), st.text(max_size=3), st.builds(Leaf, st.just("x"))),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(st.text(max_size=2), inner, max_size=3),
        st.builds(Point, inner, inner),
        st.builds(Slotted, inner, inner),
    ),
    max_leaves=20,
)


def _replaced(value: Any) -> Any:
    """The expected result, by plain recursion."""
    if type(value) is Leaf:
        return "filled"
    if type(value) in (list, tuple):
        return type(value)(map(_replaced, value))
    if type(value) is dict:
        return {key: _replaced(item) for key, item in value.items()}
    if type(value) is Point:
        return Point(_replaced(value.x), _replaced(value.y))
    return Slotted(_replaced(value.model), _replaced(value.size)) if type(value) is Slotted else value


@given(_trees)
def test_filling_what_was_split_replaces_exactly_the_leaves(value: Any) -> None:
    skeleton, holes = split(value, is_leaf)
    assert fill(skeleton, [(at, "filled") for at, _ in holes]) == _replaced(value)
