"""Function nodes: every kind of callable, options where they are written, calls checked at once."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import inspect
import math
import pickle
from typing import TYPE_CHECKING, Any

import cloudpickle
import pytest

from grandpa_kfp import Component, Node, Workflow, resolve, trace
from grandpa_kfp_compiler.graph import Constant, Filled, Options, TaskOutput
from grandpa_kfp_runtime.errors import GraphError, TraceError
from grandpa_kfp_runtime.typespec import ANY, TypeSpec, describe

if TYPE_CHECKING:
    from nowhere_to_be_found import Missing


@Node
def subtract(a: int, b: int) -> int:
    """Takes b away from a."""
    return a - b


@Node()
def plain(a):
    return a


@Node("renamed")
def first(a):
    return a


@Node(name="by-keyword", retries=2)
def second(a):
    return a


@Node
def everything(first, /, second=2, *rest, third, fourth=4, **more):
    return [first, second, rest, third, fourth, more]


@Node
async def later(a: int) -> int:
    await asyncio.sleep(0)
    return a * 10


class Model:
    """A plain class with nodes for methods."""

    def __init__(self, factor: int) -> None:
        self.factor = factor

    @Node
    def times(self, x: int) -> int:
        return self.factor * x

    @Node
    @staticmethod
    def outer_node(x: int) -> int:
        return x + 1

    @staticmethod
    @Node
    def inner_node(x: int) -> int:
        return x + 2

    @Node
    @classmethod
    def class_outer(cls, x: int) -> str:
        return f"{cls.__name__}{x}"

    @classmethod
    @Node
    def class_inner(cls, x: int) -> str:
        return f"{cls.__name__}{x}"


class CallableObject:
    def __call__(self, a: int, b: int = 1) -> int:
        return a * b


# --- kinds of callables --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "value"),
    [
        (lambda: subtract(7, 2), 5),
        (lambda: subtract(b=7, a=2), -5),
        (lambda: plain([1]), [1]),
        (lambda: everything(1, third=3), [1, 2, (), 3, 4, {}]),
        (lambda: everything(1, 20, 30, 40, third=3, fourth=5, sixth=6), [1, 20, (30, 40), 3, 5, {"sixth": 6}]),
        (lambda: later(4), 40),
        (lambda: Model(3).times(5), 15),
        (lambda: Model.times(Model(4), 5), 20),
        (lambda: Model.outer_node(1), 2),
        (lambda: Model(1).outer_node(1), 2),
        (lambda: Model.inner_node(1), 3),
        (lambda: Model(1).inner_node(1), 3),
        (lambda: Model.class_outer(1), "Model1"),
        (lambda: Model.class_inner(1), "Model1"),
        (lambda: Model(1).class_inner(1), "Model1"),
        (lambda: Node(functools.partial(subtract.fn, b=3))(10), 7),
        (lambda: Node(lambda x: x + 1)(1), 2),
        (lambda: Node(CallableObject())(3, b=4), 12),
        (lambda: Node(math.sqrt)(9.0), 3.0),
        (lambda: Node(max)(3, 9), 9),
        (lambda: Node(Model(5).times.fn)(2), 10),
    ],
)
def test_every_kind_of_callable_is_a_node(call, value):
    """Functions, methods, static and class methods in both orders, partials, lambdas, objects, builtins, async."""
    assert call().resolve() == value


def test_the_plain_function_stays_at_hand():
    """`.fn` calls the function itself; a bound method's `.fn` is bound."""
    assert subtract.fn(7, 2) == 5
    assert Model(3).times.fn(5) == 15
    assert inspect.signature(subtract) == inspect.signature(subtract.fn)
    assert subtract.__doc__ == "Takes b away from a."
    assert subtract.__name__ == "subtract"


def test_the_runtime_finds_the_plain_function():
    """`__grandpa_node__` is the function below the mark."""
    assert subtract.__grandpa_node__ is subtract.fn


@pytest.mark.parametrize(
    ("node", "name"),
    [
        (subtract, "subtract"),
        (plain, "plain"),
        (first, "renamed"),
        (second, "by-keyword"),
        (Node(lambda: 1), "lambda"),
        (Node(functools.partial(subtract.fn, 1)), "subtract"),
        (Node(CallableObject()), "CallableObject"),
        (Node(subtract), "subtract"),
    ],
)
def test_names(node, name):
    """The given name, else the callable's own."""

    @Workflow
    def pipeline():
        node(*[1] * len([p for p in inspect.signature(node.fn).parameters.values() if p.default is p.empty]))

    assert [call.id for call in trace(pipeline).calls()] == [name]


@pytest.mark.parametrize("name", ["", " ", "a/b", "a\nb", 3])
def test_a_name_that_cannot_be_is_refused(name):
    """Names are parts of paths."""
    with pytest.raises(TraceError, match=r"test_nodes\.py:\d+: the name of"):
        Node(name=name)


@pytest.mark.parametrize("target", [3, Component(lambda: 1), None.__class__])
def test_what_cannot_be_a_node(target):
    """A number, a component, a builtin class."""
    with pytest.raises((TraceError, TypeError)):
        Node(target) if target is not type(None) else Node()(target)


# --- arguments -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: subtract(1), "argument b is missing; the node takes (a, b)"),
        (lambda: subtract(), "arguments a and b are missing; the node takes (a, b)"),
        (lambda: subtract(1, 2, 3), "3 arguments are given by position; the node takes (a, b)"),
        (lambda: subtract(1, c=2), "argument c is not known; the node takes (a, b)"),
        (lambda: subtract(1, 2, a=3), "argument a is given twice; the node takes (a, b)"),
        (lambda: everything(1), "argument third is missing; the node takes (first, /, second=2, *rest, third, "),
        (lambda: everything(third=1), "argument first is missing; the node takes"),
        (lambda: Model(3).times(), "argument x is missing; the node takes (x)"),
        (lambda: Node(lambda first_value: 1)(first_valeu=1),
         "argument first_valeu is not known; did you mean 'first_value'?; the node takes (first_value)"),
        (lambda: Node(lambda x, /: 1)(x=1), "argument x is given by name, but is taken by position only"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("traced", [False, True])
def test_arguments_are_checked_at_the_call(call, message, traced):
    """The task, the place, what is wrong, what the node takes."""
    with pytest.raises(
        GraphError if traced else TraceError, match=r"^\S+ \(tests/grandpa/test_nodes\.py:\d+\): "
    ) as caught:
        trace(Workflow(lambda: call())) if traced else call()
    assert message in str(caught.value)


def test_all_wrong_calls_are_told_at_once():
    """A missing argument names the task's id, counted; the next wrong call is told too."""

    @Workflow
    def pipeline():
        subtract(1, 2)
        subtract(1)
        subtract(1, 2, 3)

    with pytest.raises(GraphError) as caught:
        trace(pipeline)
    missing, surplus = caught.value.faults
    assert missing.startswith("subtract-2 (tests/grandpa/test_nodes.py:")
    assert "argument b is missing" in missing
    assert surplus.startswith("subtract-3 (tests/grandpa/test_nodes.py:")
    assert "3 arguments" in surplus


def test_order_and_names_are_kept():
    """Positions and keywords arrive as they were written, literals and Refs mixed."""

    @Workflow
    def pipeline():
        x = plain(1)
        everything(10, x, 11, third=x, zeta=1, alpha=x)

    call = list(trace(pipeline).calls())[1]
    assert [type(value) for value in call.args] == [Constant, TaskOutput, Constant]
    assert [name for name, _ in call.kwargs] == ["third", "zeta", "alpha"]


def test_a_call_sees_its_arguments_as_they_are():
    """A list that is filled further, or a dict that changes, after the call does not change the call."""
    seen: list[Any] = []
    settings = {"rate": 1, "deep": {"x": [1]}}

    @Workflow
    def pipeline():
        for index in range(3):
            seen.append(index)
            plain(seen)
        plain(settings)
        settings["deep"]["x"].append(2)

    calls = list(trace(pipeline).calls())
    assert [call.args[0].value for call in calls] == [[0], [0, 1], [0, 1, 2], {"rate": 1, "deep": {"x": [1]}}]


def test_refs_anywhere_in_structures():
    """Lists, tuples, dicts, nested; positions are those of the structure."""

    @Workflow
    def pipeline():
        x = plain(1)
        plain([0, (x, {"k": x})])

    value = list(trace(pipeline).calls())[1].args[0]
    assert isinstance(value, Filled)
    assert value.skeleton.value == [0, (None, {"k": None})]
    assert [at for at, _ in value.holes] == [(1, 0), (1, 1, 0)]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        (lambda ref: {ref: 1}, "key of a dict"),
        (lambda ref: {ref}, "set that holds Refs"),
        (lambda ref: ref > 3, "comparison"),
        (lambda ref: [ref == 3], "comparison"),
    ],
)
def test_arguments_that_cannot_be(argument, message):
    """Refs as keys, in sets; comparisons."""
    with pytest.raises(TraceError, match=rf"test_nodes\.py:\d+: .*{message}"):
        plain(argument(plain(1)))


def test_a_cycle_in_an_argument_does_not_hang():
    """A list that holds itself is copied as such."""
    cycle: list[Any] = [1]
    cycle.append(cycle)

    @Workflow
    def pipeline():
        plain(cycle)

    value = next(trace(pipeline).calls()).args[0].value
    assert value is not cycle
    assert value[1] is value


# --- options -------------------------------------------------------------------------------------


def test_all_options_reach_the_graph():
    """Written as users like, kept in one form."""

    @Node(
        retries=2, timeout_s=600, cpu=0.5, memory="2Gi", gpu=1, env={"B": "2", "A": 1}, image="python:3.12",
        packages=["numpy"], secrets={"TOKEN": "vault/token"}, cache="1d", version=3, verbose=True, keep=False,
    )  # fmt: skip
    def node():
        pass

    call = next(trace(Workflow(lambda: node())).calls())
    assert call.options == Options(
        retries=2, timeout_s=600.0, cpu="0.5", memory="2Gi", gpu=1, env=(("A", "1"), ("B", "2")), image="python:3.12",
        packages=("numpy",), secrets=(("TOKEN", "vault/token"),), cache="1d", version="3", verbose=True, keep=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"retrys": 2}, "has no option 'retrys'; did you mean 'retries'"),
        ({"colour": 2}, "has no option 'colour'; there are retries, timeout_s"),
        ({"retries": -1}, "retries .* 0 or more, but is -1"),
        ({"retries": True}, "retries"),
        ({"retries": 1.5}, "retries"),
        ({"timeout_s": 0}, "timeout_s .* above 0"),
        ({"timeout_s": float("inf")}, "timeout_s"),
        ({"timeout_s": float("nan")}, "timeout_s"),
        ({"cpu": "half"}, "cpu .* cores"),
        ({"cpu": 0}, "cpu"),
        ({"memory": "2 GB"}, "memory .* size"),
        ({"memory": "0Mi"}, "memory"),
        ({"gpu": -1}, "gpu"),
        ({"env": ["A"]}, "env .* dict"),
        ({"env": {"1A": "x"}}, "env .* '1A'"),
        ({"env": {"A": None}}, "env .* A"),
        ({"image": ""}, "image"),
        ({"packages": "numpy"}, "packages .* list"),
        ({"secrets": {"TOKEN": "vault"}}, "secrets .* 'secret/key'"),
        ({"cache": "soon"}, "cache .* '1d'"),
        ({"version": []}, "version"),
        ({"verbose": 1}, "verbose"),
        ({"keep": "yes"}, "keep"),
        ({"outputs": "mean"}, "outputs .* comma"),
        ({"outputs": ()}, "outputs"),
        ({"outputs": ("a", "a")}, "twice"),
        ({"outputs": ("a b",)}, "must have a name"),
        ({"outputs": ("resolve",)}, "method of every Ref"),
    ],
)
def test_wrong_options_are_refused_where_they_are_written(options, message):
    """File and line of the decorator, what was wrong, what there is."""
    line = inspect.currentframe().f_lineno + 2
    with pytest.raises(TraceError, match=message) as caught:
        Node(**options)
    assert str(caught.value).startswith(f"tests/grandpa/test_nodes.py:{line}: ")


def test_options_of_one_call():
    """They go over the node's; the node itself stays as it was."""

    @Workflow
    def pipeline():
        second.options(retries=5, cpu="1")(1)
        second(1)

    one, other = trace(pipeline).calls()
    assert (one.options.retries, one.options.cpu) == (5, "1")
    assert (other.options.retries, other.options.cpu) == (2, None)


def test_options_follow_each_other():
    """The later one wins, env is merged name by name."""
    node = Node(env={"A": "node", "B": "node"})(lambda: 1)
    call = next(trace(Workflow(lambda: node.options(env={"B": "call"}, retries=1).options(retries=3)())).calls())
    assert call.options.env == (("A", "node"), ("B", "call"))
    assert call.options.retries == 3


def test_outputs_are_no_option_of_a_call():
    """They belong to the node."""
    with pytest.raises(TraceError, match=r"outputs of the node subtract belong to the node"):
        subtract.options(outputs=("a",))


def test_name_and_after():
    """A pinned name is the task's id; `after` orders tasks without data, given as Refs in any structure."""

    @Workflow
    def pipeline():
        a, b = plain(1), plain(2)
        subtract.options(name="last", after=[a, (b, a)])(7, 2)
        subtract.options(after=a)(7, 2)

    last, other = list(trace(pipeline).calls())[2:]
    assert (last.id, last.after) == ("last", ("plain", "plain-2"))
    assert other.after == ("plain",)


@pytest.mark.parametrize("after", [3, "plain", [1], {"a": 2}])
def test_after_takes_refs_alone(after):
    """Anything else is refused where it is written."""
    with pytest.raises(TraceError, match=r"after of the node subtract must be a list of what nodes returned"):
        subtract.options(after=after)


def test_after_needs_a_task_of_this_workflow():
    """A free call is none."""
    free = plain(1)
    with pytest.raises(TraceError, match="no task of this workflow"):
        trace(Workflow(lambda: subtract.options(after=[free])(1, 2)))


def test_a_name_pinned_twice_is_a_fault():
    """Both places are named."""

    @Workflow
    def pipeline():
        plain.options(name="x")(1)
        plain.options(name="x")(2)

    with pytest.raises(GraphError, match=r"^x \(tests/.*:\d+\): the name is taken by the call at tests/.*:\d+"):
        trace(pipeline)


def test_counting_goes_around_pinned_names():
    """An automatic name never collides with a pinned one."""

    @Workflow
    def pipeline():
        plain.options(name="plain-2")(0)
        plain(1)
        plain(2)

    assert [call.id for call in trace(pipeline).calls()] == ["plain-2", "plain", "plain-3"]


# --- what the graph holds ------------------------------------------------------------------------


def test_the_graphs_node():
    """Key, name, signature with types, description, place, the live function."""
    node = next(trace(Workflow(lambda: subtract(1, 2))).calls()).node
    assert node.key.endswith(":subtract")
    assert node.target is subtract.fn
    assert node.description == "Takes b away from a."
    assert node.where.startswith("tests/grandpa/test_nodes.py:")
    signature = node.signature()
    assert [(item.name, item.type) for item in signature.parameters] == [("a", TypeSpec("int")), ("b", TypeSpec("int"))]
    assert signature.returns == TypeSpec("int")


def test_lambdas_and_closures_have_distinct_keys_by_value():
    """Nodes that nobody can import get a name of their own in the graph."""
    nodes = [Node(lambda x, step=step: x + step) for step in range(3)]

    @Workflow
    def pipeline():
        x = 0
        for node in nodes:
            x = node(x)
        return x

    assert [call.node.key for call in trace(pipeline).calls()] == ["value:lambda", "value:lambda-2", "value:lambda-3"]


def test_two_nodes_of_one_function_have_two_keys():
    """Their names and outputs differ, so one key may not stand for both."""

    def function(a):
        return a, a

    one, other = Node("one")(function), Node(name="other", outputs=("x", "y"))(function)

    @Workflow
    def pipeline():
        one(1)
        other(2)

    graph = trace(pipeline)
    assert len(graph.nodes()) == 2
    assert [node.outputs for node in graph.nodes().values()] == [("result",), ("x", "y")]


def test_annotations_are_resolved_one_by_one():
    """One that exists under TYPE_CHECKING alone says nothing; the others keep their types."""

    @Node
    def node(a: Missing, b: dict[str, list[int]], c: int | None = None) -> float:
        return 1.0

    signature = next(trace(Workflow(lambda: node(1, {}))).calls()).node.signature()
    assert [item.type for item in signature.parameters] == [ANY, describe(dict[str, list[int]]), describe(int | None)]
    assert signature.returns == TypeSpec("float")
    assert [item.has_default for item in signature.parameters] == [False, False, True]


def test_local_classes_in_postponed_annotations():
    """A class of the function around the node is found."""

    class Local:
        pass

    @Node
    def node(a: Local) -> Local:
        return a

    signature = next(trace(Workflow(lambda: node(1))).calls()).node.signature()
    assert signature.returns.name.endswith("Local")


def test_a_ref_in_a_nodes_closure_is_a_fault():
    """The task would never see its value."""

    @Workflow
    def pipeline():
        x = plain(1)

        @Node
        def catcher(a):
            return [a, (lambda: x)()]

        return catcher(2)

    with pytest.raises(GraphError, match=r"catcher \(.*\): the node reads the Ref x .* pass it to the node"):
        trace(pipeline)


caught = plain(1)


class Holder:
    caught = 5


@Node
def reads_global():
    return caught


@Node
def reads_an_attribute_of_that_name():
    return Holder.caught


def test_a_ref_in_a_nodes_globals_is_a_fault():
    """A name that is read, not an attribute that is called the same."""
    with pytest.raises(GraphError, match=r"reads_global .* reads the Ref caught"):
        trace(reads_global)
    assert len(list(trace(reads_an_attribute_of_that_name).calls())) == 1


# --- pickling ------------------------------------------------------------------------------------


def test_an_importable_node_pickles_by_reference():
    """Another process imports it."""
    assert b"subtract" in pickle.dumps(subtract)
    assert len(pickle.dumps(subtract)) < 100
    assert pickle.loads(pickle.dumps(subtract)) is subtract


def test_other_nodes_pickle_by_value():
    """With cloudpickle, as closures do; options of calls come along."""
    node = cloudpickle.loads(cloudpickle.dumps(Node(lambda x: x + 1).options(name="n", retries=2)))
    assert node(1).resolve() == 2
    assert node._chosen.options.retries == 2


def test_a_node_as_an_argument():
    """A node can be handed to another one, which calls it."""

    @Node
    def apply(node, value):
        return node(value, 1)

    assert apply(subtract, 9).resolve() == 8


def test_resolve_takes_structures():
    """Every Ref in it is replaced."""
    assert resolve([subtract(5, 1), {"k": (plain("x"),)}]) == [4, {"k": ("x",)}]


def test_refs_in_defaults_and_partials_are_faults():
    """They are as far from the task as those in globals."""
    ref = plain(1)

    def with_default(a, b=ref, *, c=1):
        return a

    with pytest.raises(GraphError, match="reads the Ref b"):
        trace(Workflow(lambda: Node(with_default)(1)))
    with pytest.raises(GraphError, match="reads the Ref b"):
        trace(Workflow(lambda: Node(functools.partial(subtract.fn, b=ref))(1)))


def test_refs_in_dataclasses():
    """Fields are places as items are; frozen and mutable, snapshots of what they are."""

    @dataclasses.dataclass
    class Settings:
        rate: Any
        sizes: list[Any]

    @dataclasses.dataclass(frozen=True)
    class Frozen:
        inner: Any

    settings = Settings(0.5, [1])

    @Workflow
    def pipeline():
        x = plain(1)
        plain(Frozen(Settings(x, [x])))
        plain(settings)
        settings.rate = 0.7
        settings.sizes.append(2)

    _, nested, kept = trace(pipeline).calls()
    assert [at for at, _ in nested.args[0].holes] == [(0, 0), (0, 1, 0)]
    assert kept.args[0].value == Settings(0.5, [1])
    assert resolve(plain(Frozen([plain(3)]))) == Frozen([3])
