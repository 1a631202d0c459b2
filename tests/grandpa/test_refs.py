"""A Ref is no value: every use as one raises, saying where, what was tried and what to write instead."""

from __future__ import annotations

import copy
import io
import math
import operator
import os
import pickle
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from grandpa_kfp import Node, Ref, Workflow, resolve, trace
from grandpa_kfp.authoring.conditions import Condition
from grandpa_kfp_runtime.errors import RefAttributeError, TraceError

PLACE = re.compile(r"tests/grandpa/test_refs\.py:\d+: ")


@Node
def number() -> int:
    return 3


@Node
def pair() -> tuple[int, str]:
    return 3, "x"


@Node(outputs=("mean", "std"))
def stats():
    return 1.5, 0.5


@Node(outputs=("model",))
def train():
    return {"weights": [1, 2]}


class Point(NamedTuple):
    x: int
    y: int


@Node
def point() -> Point:
    return Point(4, 5)


def applied(name: str, *, reflected: bool = False) -> Callable[[Any], Any]:
    function = getattr(operator, name)
    return lambda ref: function(2, ref) if reflected else function(ref, 2)


ARITHMETIC = [
    "add",
    "sub",
    "mul",
    "matmul",
    "truediv",
    "floordiv",
    "mod",
    "pow",
    "lshift",
    "rshift",
    "and_",
    "xor",
    "or_",
]
MISUSES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "if": (lambda ref: 1 if ref else 2, "truth value"),
    "not": (lambda ref: not ref, "truth value"),
    "and": (lambda ref: ref and 1, "truth value"),
    "bool": (bool, "truth value"),
    "len": (len, "length"),
    "for": (lambda ref: dict.fromkeys(ref, 1), "iterated"),
    "unpack": (lambda ref: (lambda a, b: None)(*ref), "iterated"),
    "list": (list, "length|iterated"),
    "in": (lambda ref: 3 in ref, "`in`"),
    "reversed": (reversed, "reversed"),
    "next": (next, "next item"),
    "setitem": (lambda ref: operator.setitem(ref, 0, 1), "item set"),
    "delitem": (lambda ref: operator.delitem(ref, 0), "item deleted"),
    "setattr": (lambda ref: setattr(ref, "x", 1), "'x'.*was set"),
    "delattr": (lambda ref: delattr(ref, "x"), "attribute deleted"),
    "int": (int, r"int\(\)"),
    "float": (float, r"float\(\)"),
    "complex": (complex, r"complex\(\)"),
    "index": (operator.index, "index"),
    "range": (range, "index"),
    "list index": (lambda ref: [1, 2][ref], "index"),
    "str": (str, r"str\(\)"),
    "print": (lambda ref: print(ref, file=io.StringIO()), r"str\(\)"),
    "f-string": (lambda ref: f"{ref}", "formatted"),
    "f-string with a format": (lambda ref: f"{ref:.2f}", "formatted"),
    "format": (lambda ref: format(ref, ">4"), "formatted"),
    "str.format": (lambda ref: "{}".format(ref), "formatted"),  # noqa: UP032
    "percent": (lambda ref: "%s" % ref, r"str\(\)"),  # noqa: UP031
    "bytes": (bytes, r"bytes\(\)"),
    "fspath": (os.fspath, "path"),
    "open": (open, "path|index"),
    "join": (lambda ref: os.path.join("a", ref), "path"),
    "round": (round, "rounded"),
    "trunc": (math.trunc, "truncated"),
    "floor": (math.floor, "floor"),
    "ceil": (math.ceil, "ceil"),
    "sqrt": (math.sqrt, r"float\(\)"),
    "neg": (operator.neg, "`-`"),
    "pos": (operator.pos, r"`\+`"),
    "abs": (abs, r"abs\(\)"),
    "invert": (operator.invert, "`~`"),
    "divmod": (lambda ref: divmod(ref, 2), r"divmod\(\)"),
    "rdivmod": (lambda ref: divmod(2, ref), r"divmod\(\)"),
    "sum": (lambda ref: sum([ref, 1]), r"`\+`"),
    "with": (lambda ref: _with(ref), "`with`"),
    "pickle": (pickle.dumps, "pickled"),
    "arguments": (lambda ref: ref(1), "arguments"),
    "a Ref as a key": (lambda ref: ref[ref], "indexed with a Ref"),
    "a comparison as a key": (lambda ref: ref[ref > 1], "indexed with a Condition"),
    "chained comparison": (lambda ref: 1 < ref < 3, "truth value"),
    "comparison": (lambda ref: bool(ref == 3), "truth value"),
    "if comparison": (lambda ref: 1 if ref > 3 else 2, "truth value"),
    "Ref in list": (lambda ref: ref in [1, 2], "truth value"),
    "sort": (lambda ref: sorted([ref, 1]), "truth value"),
    "numpy array": (np.array, "array"),
    "numpy array of Refs": (lambda ref: np.array([ref, 1]), "array"),
    "array + ref": (lambda ref: np.arange(3) + ref, r"`\+`"),
    "ref * array": (lambda ref: ref * np.arange(3), r"`\*`"),
    "numpy scalar - ref": (lambda ref: np.float64(2) - ref, "`-`"),
    "array item": (lambda ref: np.arange(3)[ref], "index|array"),
    **{name: (applied(name), "operator") for name in ARITHMETIC},
    **{f"reflected {name}": (applied(name, reflected=True), "operator") for name in ARITHMETIC},
    **{f"in-place {name}": (applied(f"i{name.rstrip('_')}"), "operator.*=") for name in ARITHMETIC},
}  # fmt: skip


def _with(ref: Any) -> None:
    with ref:
        pass


@pytest.mark.parametrize("name", MISUSES)
def test_a_misuse_of_a_ref_says_where_what_and_what_instead(name):
    """Outside a workflow."""
    misuse, tried = MISUSES[name]
    with pytest.raises(TraceError) as caught:
        misuse(number())
    message = str(caught.value)
    assert PLACE.match(message), message
    assert re.search(tried, message), message
    assert "node" in message or "pass" in message or "parentheses" in message


@pytest.mark.parametrize("name", ["if", "add", "int", "f-string", "len", "in"])
def test_a_misuse_inside_a_workflow_names_the_task(name):
    """The message names the task that made the Ref."""
    misuse, _ = MISUSES[name]

    @Workflow
    def pipeline():
        number()
        return misuse(number())

    with pytest.raises(TraceError, match=r"the result of number-2 \(tests/grandpa/test_refs\.py:\d+\)"):
        trace(pipeline)


def test_a_misused_parameter_suggests_static():
    """A workflow's parameter is a Ref while tracing; the message says how to fix it there."""

    @Workflow
    def pipeline(count: int = 3):
        return [number() for _ in range(count)]

    with pytest.raises(TraceError, match=r"the workflow's parameter count .* `count: Static\[int\]`"):
        trace(pipeline)


def test_await_raises():
    """`await ref` raises when the coroutine runs."""

    async def body(ref):
        return await ref

    coroutine = body(number())
    with pytest.raises(TraceError, match="awaited"):
        coroutine.send(None)


def test_an_unknown_attribute_is_an_attribute_error():
    """So hasattr and getattr with a default work, and the message helps."""
    ref = number()
    assert hasattr(ref, "shape") is False
    assert getattr(ref, "shape", 7) == 7
    with pytest.raises(RefAttributeError, match="'shape'") as caught:
        ref.shape  # noqa: B018
    assert isinstance(caught.value, AttributeError)
    assert isinstance(caught.value, TraceError)


@pytest.mark.parametrize("name", ["__array_interface__", "__cuda_array_interface__", "__dataframe__", "__wrapped__"])
def test_a_dunder_that_is_missing_raises_a_plain_attribute_error(name):
    """Protocols are probed for; they must see an object without them."""
    with pytest.raises(AttributeError) as caught:
        getattr(number(), name)
    assert type(caught.value) is AttributeError


def test_copies_are_the_ref_itself():
    """copy and deepcopy keep the promise, inside structures too."""
    ref = number()
    assert copy.copy(ref) is ref
    assert copy.deepcopy({"a": [ref]})["a"][0] is ref


def test_hash_is_identity():
    """Two Refs of one result are two keys; neither is compared."""
    ref = pair()
    first, second = ref[0], ref[0]
    assert hash(ref) == object.__hash__(ref)
    assert len({first, second, first}) == 2


def test_repr_always_works():
    """It names the task, the part and the place; str and format do not work."""
    assert re.fullmatch(r"<Ref pair\[0\] \(tests/grandpa/test_refs\.py:\d+\)>", repr(pair()[0]))
    assert "stats.mean" in f"{stats().mean!r}"


@pytest.mark.parametrize("symbol", ["==", "!=", "<", "<=", ">", ">="])
def test_a_comparison_is_a_condition(symbol):
    """It records both sides and evaluates nothing."""
    operators = {"==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt,
                 ">=": operator.ge}  # fmt: skip
    ref = number()
    condition = operators[symbol](ref, 3)
    assert isinstance(condition, Condition)
    assert condition.operator == symbol
    assert condition.operands[0] is ref
    assert condition.operands[1] == 3


def test_conditions_combine():
    """`&`, `|`, `~` build conditions; a plain value is refused with a hint at the parentheses."""
    ref = number()
    combined = ((ref > 1) & (ref < 5)) | ~(ref == 3)
    assert combined.operator == "|"
    assert combined.operands[1].operator == "~"
    assert "number" in repr(combined)
    with pytest.raises(TraceError, match="parentheses"):
        (ref > 1) & 5
    with pytest.raises(TraceError, match="truth value"):
        bool(~(ref > 1))
    with pytest.raises(RefAttributeError):
        combined.value  # noqa: B018


def test_a_comparison_with_an_array_is_one_condition():
    """NumPy hands the comparison over instead of comparing item by item."""
    assert isinstance(np.arange(3) == number(), Condition)
    assert isinstance(np.float64(3) < number(), Condition)


def test_numpy_functions_refuse_a_ref():
    """A ufunc cannot take one (`__array_ufunc__` is None)."""
    with pytest.raises(TypeError):
        np.sqrt(number())


def test_a_call_without_arguments_is_the_ref():
    """`ref()` gives the Ref back, so that a component's result may be called as the first engine's was."""
    ref = number()
    assert ref() is ref


def test_tuple_annotation_unpacks():
    """A fixed tuple annotation gives as many Refs, which know their length."""
    ref = pair()
    first, second = ref
    assert len(ref) == 2
    assert (first.resolve(), second.resolve(), ref[-1].resolve()) == (3, "x", "x")
    with pytest.raises(TraceError, match=r"2 items by its annotation, there is no \[2\]"):
        ref[2]


def test_named_tuple_annotation_has_attributes():
    """Fields are parts; others are errors that name the fields."""
    ref = point()
    assert (ref.x.resolve(), ref.y.resolve()) == (4, 5)
    x, _ = ref
    assert x.resolve() == 4
    with pytest.raises(RefAttributeError, match="its items are x, y"):
        ref.z  # noqa: B018


def test_declared_outputs():
    """By attribute, by name, by position, by unpacking; the whole is the tuple of them."""
    ref = stats()
    mean, std = ref
    values = [mean, std, ref.mean, ref["std"], ref[0], ref[-1], ref]
    assert resolve(values) == [1.5, 0.5, 1.5, 0.5, 1.5, 0.5, (1.5, 0.5)]
    with pytest.raises(TraceError, match="has the outputs mean, std, there is no"):
        ref["median"]
    with pytest.raises(RefAttributeError, match="its outputs are mean, std"):
        ref.median  # noqa: B018


def test_a_single_declared_output_is_the_result():
    """It can be named, and its parts can be taken."""
    ref = train()
    assert ref.model is ref
    assert ref["model"] is ref
    assert ref["weights"][1].resolve() == 2


def test_any_key_makes_a_part():
    """Keys need not be hashable or JSON."""

    @Node
    def table() -> dict:
        return {(1, 2): [10, 20, 30]}

    assert table()[1, 2][1:].resolve() == [20, 30]


def test_a_ref_is_generic_for_annotations():
    """`Ref[int]` can be written."""
    assert Ref[int] is not None
