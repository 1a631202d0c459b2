"""Tasks become interfaces: names of inputs, holes, instances, kinds of constants and parameters."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import pytest

from grandpa_kfp_compiler.bind import bind, bind_all
from grandpa_kfp_compiler.constants import PathKey, encode_constant, handle_text
from grandpa_kfp_compiler.graph import (
    HANDLE,
    Call,
    Constant,
    Filled,
    Instance,
    InstanceValue,
    NodeParameter,
    Parameter,
    ParameterValue,
    PythonNode,
    Signature,
    TaskOutput,
    TypeSpec,
)
from grandpa_kfp_runtime.contract import Interface
from grandpa_kfp_runtime.errors import CodecError
from grandpa_kfp_runtime.stores.memory import MemoryStore
from grandpa_kfp_runtime.values.handles import from_handle
from grandpa_kfp_runtime.values.trees import fill


def node(*names: str, key: str = "calc:f", outputs: tuple[str, ...] = ("result",)) -> PythonNode:
    return PythonNode(key, "f", signatures=(("", signature(*names)),), outputs=outputs)


def signature(*names: str) -> Signature:
    return Signature(
        tuple(
            NodeParameter(name.lstrip("*"), "var_positional" if "*" in name else "positional_or_keyword")
            for name in names
        )
    )


def names(call: Call, instances: dict[str, Instance] | None = None) -> list[str]:
    return [item.name for item in bind(call, instances or {}, {}).interface.inputs]


SCALE = PythonNode(
    "calc:Scale",
    "Scale",
    is_class=True,
    signatures=(("__init__", signature("factor")), ("__call__", signature("x")), ("apply", signature("y"))),
)


def test_inputs_are_called_as_the_arguments_they_fill() -> None:
    """By the signature for positional ones, by their own names for others; the call keeps how they were given."""
    call = Call("t", node("a", "b"), (TaskOutput("x"),), (("b", TaskOutput("y", "mean")),))
    bound = bind(call, {}, {})
    assert bound.interface.to_json() == {"inputs": ["a", "b"], "call": [["a"], {"b": "b"}]}
    assert bound.sources == (("a", TaskOutput("x")), ("b", TaskOutput("y", "mean")))


def test_more_positional_arguments_are_numbered() -> None:
    """Those of `*rest` by its name and index."""
    assert names(Call("t", node("a", "*rest"), (TaskOutput("x"),) * 3)) == ["a", "rest-0", "rest-1"]


@pytest.mark.parametrize("name", ["größe", "a b", "", "x-y", "{{x}}", "1st"])
def test_names_that_are_not_plain_ascii_become_numbers(name: str) -> None:
    """A keyword argument may have any name; an input's name goes through KFP, Argo and YAML."""
    call = Call("t", node("a"), (TaskOutput("x"),), ((name, TaskOutput("y")),))
    assert names(call) == ["a", "input-1"]
    assert bind(call, {}, {}).interface.call.named[0][0] == name


def test_every_input_has_a_name_of_its_own() -> None:
    """A name that is taken already does not hide another argument."""
    takes = Signature((NodeParameter("x", "positional_only"), NodeParameter("k", "var_keyword")))
    positional_only = PythonNode("calc:f", "f", signatures=(("", takes),))
    call = Call("t", positional_only, (TaskOutput("a"),), (("x", TaskOutput("b")), ("é", TaskOutput("c"))))
    assert names(call) == ["x", "input-1", "input-2"]
    tricky = Call("t", node("*x"), (TaskOutput("a"), Filled(Constant([None]), (((0,), TaskOutput("b")),))),
                  (("x-1", TaskOutput("c")), ("x-1--0", TaskOutput("d"))))  # fmt: skip
    found = names(tricky)
    assert len(set(found)) == len(found) == 5


def test_refs_in_a_structure_become_holes_of_one_constant() -> None:
    """The skeleton is an input, each Ref in it another; the interface tells where each belongs."""
    value = Filled(Constant([1, {"a": None}, None]), (((1, 0), TaskOutput("x")), ((2,), ParameterValue("p", ("k",)))))
    bound = bind(Call("t", node("data"), (value,)), {}, {"p": Parameter("p", TypeSpec("dict"))})
    assert bound.interface.to_json() == {
        "inputs": ["data", "data--0", {"name": "data--1", "kind": "raw", "type": "dict", "path": ["k"]}],
        "call": [[["data", [[1, 0], "data--0"], [[2], "data--1"]]], {}],
    }


def test_a_structure_inside_a_hole_fills_before_its_own_holes() -> None:
    """The holes are listed from the outside in, so that filling them in order gives the whole value."""
    inner = Filled(Constant((None, None)), (((0,), TaskOutput("s", "mean")), ((1,), TaskOutput("s", "std"))))
    value = Filled(Constant([None, None]), (((0,), inner), ((1,), TaskOutput("x"))))
    bound = bind(Call("t", node("data"), (value,)), {}, {})
    given: dict[str, Any] = {"data": [None, None], "data--0": (None, None), "data--1": 1, "data--2": 2, "data--3": 3}
    assert [item.name for item in bound.interface.inputs] == list(given)
    argument = bound.interface.call.positional[0]
    assert fill(given[argument.source], [(hole.at, given[hole.source]) for hole in argument.holes]) == [(1, 2), 3]


def test_the_instance_that_is_called_is_constructed_for_the_task() -> None:
    """Its init arguments are inputs `init-...`; the method is named unless it is `__call__`."""
    instances = {"s": Instance("s", SCALE, (TaskOutput("one"),))}
    call = Call("t", SCALE, (TaskOutput("two"),), instance="s", method="__call__")
    assert bind(call, instances, {}).interface.to_json() == {
        "inputs": ["init-factor", "x"],
        "call": [["x"], {}],
        "instances": [["calc:Scale", [["init-factor"], {}]]],
        "receiver": "#0",
    }
    applied = bind(Call("t", SCALE, (TaskOutput("two"),), instance="s", method="apply"), instances, {}).interface
    assert (applied.method, [item.name for item in applied.inputs]) == ("apply", ["init-factor", "y"])


def test_instances_are_constructed_after_those_they_hold() -> None:
    """Live instances as arguments, of calls and of other instances, at any depth, each once."""
    instances = {
        "inner": Instance("inner", SCALE, (Constant(2),)),
        "outer": Instance("outer", SCALE, (Filled(Constant([None]), (((0,), InstanceValue("inner")),)),)),
    }
    call = Call("t", SCALE, (InstanceValue("inner"),), instance="outer")
    bound = bind(call, instances, {})
    assert bound.interface.to_json() == {
        "inputs": ["init0-factor", "init-factor"],
        "call": [["#0"], {}],
        "instances": [["calc:Scale", [["init0-factor"], {}]], ["calc:Scale", [[["init-factor", [[0], "#0"]]], {}]]],
        "receiver": "#1",
    }


def test_tasks_of_the_same_shape_share_an_interface() -> None:
    """Equal and of equal hash, whatever the tasks are bound to; another path is another shape."""
    shapes = [
        bind(
            Call(name, node("a", "b"), (TaskOutput(name, path=("k", 1.5)), Constant(number))), {}, {}, encode=True
        ).interface
        for name, number in (("x", 1), ("y", 2))
    ]
    other = bind(Call("z", node("a", "b"), (TaskOutput("x"), Constant(1))), {}, {}, encode=True).interface
    assert shapes[0] == shapes[1]
    assert len({*shapes, other}) == 2


def test_an_interface_survives_the_way_through_args() -> None:
    """What the binder makes is what the container reads, keys of paths that JSON lacks included."""
    call = Call("t", node("a"), (TaskOutput("x", path=("k", 0, True, (1, 2), None)),))
    interface = bind(call, {}, {}).interface
    assert Interface.from_json(json.loads(json.dumps(interface.to_json()))) == interface
    keys = [from_handle(key["@"], MemoryStore()) if isinstance(key, dict) else key for key in interface.inputs[0].path]
    assert keys == ["k", 0, True, (1, 2), None]
    assert type(keys[2]) is bool


def test_a_path_key_from_a_graph_file_stays_as_it_is() -> None:
    """It is known by its handle alone, and means the same shape."""
    alive = bind(Call("t", node("a"), (TaskOutput("x", path=((1, 2),)),)), {}, {}).interface
    handle = handle_text(Constant((1, 2)))
    read = bind(Call("t", node("a"), (TaskOutput("x", path=(PathKey({"@": handle}),)),)), {}, {}).interface
    assert alive == read


@pytest.mark.parametrize(
    ("spec", "kind", "typed"),
    [
        ("int", "raw", True),
        ("list", "raw", True),
        ("pathlib:Path", "json", True),
        ("any", "json", True),
        ("handle", "handle", False),
    ],
)
def test_parameters_come_in_their_own_type_where_kfp_has_it(spec: str, kind: str, typed: bool) -> None:
    """Others as JSON text that the type turns back; handles of a nested graph as handles."""
    parameter = Parameter("p", HANDLE if spec == "handle" else TypeSpec(spec))
    (item,) = bind(Call("t", node("a"), (ParameterValue("p"),)), {}, {"p": parameter}).interface.inputs
    assert (item.kind, item.type) == (kind, parameter.type if typed else None)


def test_constants_stay_alive_unless_encoded() -> None:
    """The local engine passes the object itself."""
    value = object()
    bound = bind(Call("t", node("a"), (Constant(value),)), {}, {})
    (source,) = dict(bound.sources).values()
    assert isinstance(source, Constant)
    assert source.value is value
    assert (bound.interface.inputs[0].kind, dict(bound.constants)) == ("handle", {})


@dataclass(frozen=True)
class Plain:
    number: int


CONSTANTS = [
    (5, "int"), (True, "bool"), (2.5, "float"), (2.0, "float"), ("Grüße", "str"), ("yes", "str"), (2**53, "int"),
    (2**53 + 1, None), (-0.0, None), (float("nan"), None), ("{{x}}", None), ("$$(x)", None), ("a}}b", None),
    (None, None), ([1, None], None), ({"a": {"b": 1}}, None), ((1, 2), None), (b"x", None),
    ("\ud800", None), (Plain(1), None),
]  # fmt: skip


@pytest.mark.parametrize(("value", "raw"), CONSTANTS, ids=[ascii(value)[:20] for value, _ in CONSTANTS])
def test_constants_keep_their_own_type_only_where_that_is_exact(value: Any, raw: str | None) -> None:
    """Others are handles, in which nothing stands that KFP, Argo or Kubernetes rewrite."""
    bound = bind(Call("t", node("a"), (Constant(value),)), {}, {}, encode=True)
    (item,), encoded = bound.interface.inputs, bound.constants["a"]
    if raw is not None:
        assert (item.kind, item.type, encoded) == ("raw", TypeSpec(raw), value)
        assert type(encoded) is type(value)
        return
    assert (item.kind, item.type) == ("handle", None)
    assert isinstance(encoded, str)
    assert not any(mark in encoded for mark in ("{{", "}}", "$"))
    assert repr(from_handle(encoded, MemoryStore())) == repr(value)


@pytest.mark.parametrize("value", [value for value, _ in CONSTANTS], ids=[ascii(value)[:20] for value, _ in CONSTANTS])
def test_a_constant_known_by_its_handle_is_encoded_as_when_it_was_alive(value: Any) -> None:
    """So a graph file gives the same pipeline as the source."""
    alive = Constant(value)
    from_file = Constant(handle=handle_text(alive))
    assert repr(encode_constant(from_file)) == repr(encode_constant(alive))


@pytest.mark.parametrize("value", [b"x" * 13_000, "x" * 17_000, [0] * 9_000], ids=["bytes", "text", "list"])
@pytest.mark.parametrize("from_file", [False, True])
def test_a_constant_too_large_for_a_pipeline_is_refused_with_its_place(value: Any, from_file: bool) -> None:
    """Alive or from a file; the message names the task, the line and the argument. Locally it is no matter."""
    constant = Constant(handle=handle_text(Constant(value))) if from_file else Constant(value)
    call = Call("train-2", node("data"), (constant,), where="calc.py:14")
    assert bind(call, {}, {}).constants == {}
    with pytest.raises(CodecError, match=r"^train-2 \(calc.py:14\): argument data takes [\d,]+ bytes.*at most 16,384"):
        bind(call, {}, {}, encode=True)


def test_a_constant_that_cannot_be_stored_is_refused_with_its_place() -> None:
    """Where in the value it lies is told too."""
    call = Call("train", node("data"), (Constant({"model": [(x for x in ())]}),), where="calc.py:3")
    with pytest.raises(
        CodecError, match=r"^train \(calc.py:3\): argument data\['model'\]\[0\]|^train \(calc.py:3\): .*model"
    ):
        bind(call, {}, {}, encode=True)


def test_constants_are_the_same_text_in_every_hash_seed() -> None:
    """Sets and dicts included: a pipeline's bytes depend on its source alone."""
    source = (
        "from grandpa_kfp_compiler.constants import handle_text\nfrom grandpa_kfp_compiler.graph import Constant\n"
        "values = {'a', 'b', 'cd'}, [frozenset({'x', 'y'})], {('k', 1): {2.5, 'z', None}}\n"
        "print([handle_text(Constant(value)) for value in values])"
    )
    texts = {
        subprocess.run(
            [sys.executable, "-c", source], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(texts) == 1


def test_many_tasks_are_bound_as_each_alone() -> None:
    """Sharing interfaces among tasks that are called alike changes none of them."""
    f, g = node("a", "b", key="calc:f"), node("a", "b", key="calc:g", outputs=("low", "high"))
    scale = PythonNode("calc:Scale", "Scale", is_class=True, signatures=(("__init__", signature("factor")),))
    instances = {"s": Instance("s", scale, (Constant(2),), ())}
    parameters = {"n": Parameter("n", TypeSpec("int"))}
    calls = [
        Call("f", f, (Constant(1), TaskOutput("x"))),
        Call("f-2", f, (TaskOutput("x"), Constant([1]))),
        Call("f-3", f, (Constant(1),), (("b", TaskOutput("y")),)),
        Call("f-4", f, (Constant(1),), (("b", Constant(2)),)),
        Call("f-5", f, (TaskOutput("x", path=("k",)), Constant(2))),
        Call("f-6", f, (ParameterValue("n"), Constant(2))),
        Call("f-7", f, (Filled(Constant([None]), (((0,), TaskOutput("x")),)), Constant(2))),
        Call("f-8", f, (InstanceValue("s"), Constant(2))),
        Call("g", g, (Constant(1), Constant(2))),
        Call("g-2", g, (Constant(3), Constant(4))),
    ]
    assert [bind(call, instances, parameters) for call in calls] == bind_all(calls, instances, parameters)
