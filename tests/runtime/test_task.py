"""One task, from decoded inputs to outputs."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import pytest

from grandpa_kfp_runtime.context import TaskContext, activate, current
from grandpa_kfp_runtime.contract import Argument, Arguments, Hole, Input, InstanceCall, Interface
from grandpa_kfp_runtime.errors import TaskError
from grandpa_kfp_runtime.task import grow, perform, split_outputs
from grandpa_kfp_runtime.values.handles import inline_constant


def run(interface: Interface, values: Mapping[str, Any], **targets: Any) -> Any:
    """The task's outputs, its node being `f`; the result alone where it is the only output."""
    outputs = perform("f", interface, values, targets.__getitem__)
    return outputs["result"] if outputs.keys() == {"result"} else outputs


def call_with(*names: str, outputs: tuple[str, ...] = ("result",), path: tuple[Any, ...] = ()) -> Interface:
    inputs = tuple(Input(name, path=path) for name in names)
    return Interface(inputs, Arguments(tuple(map(Argument, names))), outputs=outputs)


# --- arguments -----------------------------------------------------------------------------------


def test_positional_and_named_arguments_arrive_as_written() -> None:
    interface = Interface(
        tuple(map(Input, "abc")), Arguments((Argument("c"), Argument("a")), (("key", Argument("b")),))
    )
    assert run(interface, {"a": 1, "b": 2, "c": 3}, f=lambda *args, **kwargs: (args, kwargs)) == ((3, 1), {"key": 2})


def test_holes_are_filled_without_changing_the_skeleton() -> None:
    skeleton = {"rate": 0.1, "models": [None, "b"]}
    interface = Interface((Input("x"), Input("x--0")), Arguments((Argument("x", (Hole((1, 0), "x--0"),)),)))
    assert run(interface, {"x": skeleton, "x--0": 7}, f=lambda x: x) == {"rate": 0.1, "models": [7, "b"]}
    assert skeleton == {"rate": 0.1, "models": [None, "b"]}


def test_a_path_picks_a_part_of_the_input() -> None:
    assert run(call_with("x", path=("scores", 1)), {"x": {"scores": [4, 5]}}, f=lambda x: x) == 5


def test_a_key_that_json_cannot_hold_comes_as_an_inline_handle() -> None:
    path = ({"@": inline_constant((1, 2))},)
    assert run(call_with("x", path=path), {"x": {(1, 2): "found"}}, f=lambda x: x) == "found"


def test_a_part_that_is_not_there_is_told_with_the_input_and_the_value() -> None:
    with pytest.raises(TaskError) as caught:
        run(call_with("x", path=("scores", 3)), {"x": {"scores": [4, 5]}}, f=lambda x: x)
    assert str(caught.value) == (
        "input x: the value['scores'] is list of 2 and has no [3] (IndexError: list index out of range)"
    )


# --- instances -----------------------------------------------------------------------------------


class Scale:
    """A class node: what it is made with and what it is called with are apart."""

    made = 0

    def __init__(self, factor: float, offset: float = 0) -> None:
        type(self).made += 1
        self.factor, self.offset = factor, offset

    def __call__(self, x: float) -> float:
        return self.factor * x + self.offset

    def process(self, x: float) -> float:
        return -self(x)


def instance_interface(method: str = "") -> Interface:
    return Interface(
        tuple(map(Input, ("init-factor", "x"))),
        Arguments((Argument("x"),)),
        (InstanceCall("Scale", Arguments((Argument("init-factor"),))),),
        "#0",
        method,
    )


@pytest.mark.parametrize(("method", "expected"), [("", 6), ("process", -6)])
def test_an_instance_is_constructed_and_its_method_called(method: str, expected: float) -> None:
    assert run(instance_interface(method), {"init-factor": 2, "x": 3}, Scale=Scale) == expected


def test_each_task_constructs_a_fresh_instance() -> None:
    before = Scale.made
    for _ in range(3):
        run(instance_interface(), {"init-factor": 2, "x": 3}, Scale=Scale)
    assert Scale.made == before + 3


def test_instances_arrive_alive_in_arguments_in_holes_and_in_each_other() -> None:
    @dataclass
    class Pair:
        first: Any
        second: Any

    interface = Interface(
        (Input("init1-factor"), Input("x")),
        Arguments((Argument("#1"), Argument("x", (Hole((0,), "#0"),)))),
        (
            InstanceCall("Scale", Arguments((Argument("init1-factor"),))),
            InstanceCall("Pair", Arguments((Argument("#0"),), (("second", Argument("init1-factor")),))),
        ),
    )
    pair, (scale,) = run(interface, {"init1-factor": 5, "x": [None]}, Scale=Scale, Pair=Pair, f=lambda a, b: (a, b))
    assert (pair.first, pair.second, scale(2)) == (scale, 5, 10)


def test_a_marked_class_is_constructed_by_its_own_means() -> None:
    """Calling a marked class only describes an instance; `__grandpa_construct__` makes a real one."""

    class Marked:
        def __new__(cls, *args: Any) -> Any:
            return "a description"

        @classmethod
        def __grandpa_construct__(cls, factor: int) -> Callable[[int], int]:
            return lambda x: factor * x

    assert run(instance_interface(), {"init-factor": 2, "x": 3}, Scale=Marked) == 6


# --- what the body does --------------------------------------------------------------------------


def test_a_coroutine_is_run_to_its_end() -> None:
    async def later(x: int) -> int:
        await asyncio.sleep(0)
        return x + 1

    assert run(call_with("x"), {"x": 1}, f=later) == 2


def test_a_coroutine_runs_inside_a_running_loop_too() -> None:
    """A notebook's cell runs in a loop; the body still sees its own task's context."""

    async def later(x: int) -> tuple[int, str]:
        await asyncio.sleep(0)
        return x + 1, current().task

    async def cell() -> Any:
        with activate(TaskContext("run", "train")):
            return run(call_with("x"), {"x": 1}, f=later)

    assert asyncio.run(cell()) == (2, "train")


def test_a_coroutine_that_fails_inside_a_running_loop_raises_its_own_error() -> None:
    async def fails() -> None:
        raise LookupError("mine")

    async def cell() -> None:
        run(call_with(), {}, f=fails)

    with pytest.raises(LookupError, match="mine"):
        asyncio.run(cell())


@pytest.mark.parametrize("error", [ValueError("bad shape"), SystemExit(3), KeyboardInterrupt()])
def test_what_the_body_raises_passes_through(error: BaseException) -> None:
    def body() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        run(call_with(), {}, f=body)
    assert caught.value is error


# --- Refs in the result --------------------------------------------------------------------------


class Promise:
    """What the runtime knows of a Ref: its type resolves many at once."""

    asked: ClassVar[list[int]] = []

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        raise AssertionError("Refs are never compared")

    __hash__ = object.__hash__

    @staticmethod
    def __grandpa_resolve__(refs: list[Promise]) -> list[Any]:
        Promise.asked.append(len(refs))
        return [ref.value for ref in refs]


@dataclass(frozen=True)
class Report:
    model: Any
    scores: Any


def test_refs_anywhere_in_the_result_are_resolved_all_at_once() -> None:
    Promise.asked.clear()
    result = {"a": [Promise(1), (Promise(2), 5)], "b": Report(Promise("m"), [3])}
    assert grow(result) == {"a": [1, (2, 5)], "b": Report("m", [3])}
    assert Promise.asked == [3]


def test_a_result_that_is_a_ref_is_resolved_and_then_split() -> None:
    assert run(call_with(outputs=("a", "b")), {}, f=lambda: Promise((1, 2))) == {"a": 1, "b": 2}


def test_a_result_without_refs_is_the_same_object() -> None:
    result = [{"a": 1}]
    assert grow(result) is result


# --- outputs -------------------------------------------------------------------------------------


class Stats(NamedTuple):
    std: float
    mean: float


class Other(NamedTuple):
    low: float
    high: float


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ((1, 2), {"mean": 1, "std": 2}),
        ([1, 2], {"mean": 1, "std": 2}),
        ({"std": 2, "mean": 1}, {"mean": 1, "std": 2}),
        (collections.OrderedDict(std=2, mean=1), {"mean": 1, "std": 2}),
        (Stats(std=2, mean=1), {"mean": 1, "std": 2}),
        (Other(low=1, high=2), {"mean": 1, "std": 2}),
    ],
)
def test_declared_outputs_are_split(result: Any, expected: dict[str, Any]) -> None:
    outputs = split_outputs(result, ("mean", "std"))
    assert outputs == expected
    assert list(outputs) == ["mean", "std"]


@pytest.mark.parametrize(
    ("result", "told"),
    [
        ((1, 2, 3), "it returned tuple of 3. It declares the outputs mean, std: return a tuple of 2 values"),
        (5, "it returned 5. It"),
        ("ab", "it returned 'ab'. It"),
        (None, "it returned None. It"),
        ({"mean": 1, "var": 2}, "it returned a dict; missing: std; not declared: var. It"),
    ],
)
def test_a_result_that_does_not_fit_is_told(result: Any, told: str) -> None:
    with pytest.raises(TaskError) as caught:
        split_outputs(result, ("mean", "std"))
    assert str(caught.value).startswith(told)


@pytest.mark.parametrize(("result", "expected"), [([5], [5]), ((5,), (5,)), ({"rows": 5}, 5), ({"x": 1}, {"x": 1})])
def test_a_single_declared_output_is_the_result(result: Any, expected: Any) -> None:
    """A list of one row stays a list: what arrives must not depend on how many rows there are."""
    assert split_outputs(result, ("rows",)) == {"rows": expected}


def test_a_tuple_of_a_node_without_declared_outputs_stays_one_result() -> None:
    assert split_outputs((1, 2), ("result",)) == {"result": (1, 2)}
