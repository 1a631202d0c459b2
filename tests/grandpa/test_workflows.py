"""Workflows: typed parameters, Static ones, descriptions, options for every task, classes, nesting."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import enum
import pathlib
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest

from grandpa_kfp import File, Node, Static, Workflow, resolve, run, trace
from grandpa_kfp.authoring.workflows import as_workflow
from grandpa_kfp_compiler.graph import MISSING, Constant, Filled, ParameterValue, TaskOutput
from grandpa_kfp_runtime.errors import ParameterError, RefAttributeError, TraceError
from grandpa_kfp_runtime.typespec import ANY, TypeSpec, describe


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


@dataclasses.dataclass
class Settings:
    rate: float
    sizes: list[int] = dataclasses.field(default_factory=list)


@Node
def add(a: Any, b: Any) -> Any:
    return a + b


@Node
def show(value: Any) -> str:
    return repr(value)


@Node(retries=3, env={"A": "node"})
def stubborn(a: int) -> int:
    return a


@Workflow
def simple(a: int = 10, b: int = 2):
    """Adds two numbers.

    Twice.

    Args:
        a: the first
        b (int): the second,
            in two lines
    """
    return add(add(a, b), b)


def parameter(graph, name):
    return next(item for item in graph.parameters if item.name == name)


# --- parameters ----------------------------------------------------------------------------------


def test_parameters_of_the_graph():
    """Name, type, default, description; the graph's own description and place."""
    graph = trace(simple)
    assert graph.name == "simple"
    assert graph.description == "Adds two numbers.\n\nTwice."
    assert graph.where.startswith("tests/grandpa/test_workflows.py:")
    a, b = graph.parameters
    assert (a.name, a.type, a.default.value, a.description) == ("a", TypeSpec("int"), 10, "the first")
    assert b.description == "the second, in two lines"
    assert next(graph.calls()).args == (ParameterValue("a"), ParameterValue("b"))
    assert graph.outputs == (("result", TaskOutput("add-2")),)


@pytest.mark.parametrize(
    ("annotation", "given", "value"),
    [
        (int, 5.0, 5),
        (float, 2, 2.0),
        (list[float], [1, 2], [1.0, 2.0]),
        (dict[str, int], {"a": 1.0}, {"a": 1}),
        (int | None, None, None),
        (Literal["a", "b"], "b", "b"),
        (Colour, "RED", Colour.RED),
        (Colour, Colour.BLUE, Colour.BLUE),
        (Path, "data/x.csv", Path("data/x.csv")),
        (datetime.date, "2024-02-29", datetime.date(2024, 2, 29)),
        (Settings, {"rate": 1, "sizes": [1.0]}, Settings(1.0, [1])),
        (Settings, Settings(0.5), Settings(0.5)),
        (Any, object, object),
    ],
)
def test_given_parameters_are_converted(annotation, given, value):
    """They become the defaults of the graph, in the annotated type."""

    def body(p):
        return show(p)

    body.__annotations__ = {"p": annotation}
    graph = trace(Workflow(body), {"p": given})
    assert parameter(graph, "p").default.value == value
    assert type(parameter(graph, "p").default.value) is type(value)
    assert parameter(graph, "p").type == describe(annotation)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"aa": 1}, r"simple \(tests/.*:\d+\) has no parameter 'aa'; did you mean 'a'|there are a, b"),
        ({"a": "x"}, r"parameter a \(tests/.*:\d+\) must be int, but is 'x'"),
        ({"a": 2.5}, "must be int, but is 2.5"),
        ({"a": True}, "must be int, but is True"),
        ({"a": None}, "must be int, but is None"),
    ],
)
def test_wrong_parameters(given, message):
    """Unknown ones are told the nearest, wrong ones the type."""
    with pytest.raises(ParameterError, match=message):
        trace(simple, given)
    with pytest.raises(ParameterError, match=message):
        simple(**given)


def test_a_missing_parameter():
    """Tracing needs no value; calling does."""

    @Workflow
    def needs(a: int, b: int, c=1):
        return add(a, b)

    assert parameter(trace(needs), "a").default is MISSING
    with pytest.raises(ParameterError, match=r"needs \(.*:\d+\): no value for the parameters a, b; the workflow takes"):
        needs()
    with pytest.raises(ParameterError, match="given by position"):
        needs(1, 2, 3, 4)
    with pytest.raises(ParameterError, match="a is given twice"):
        needs(1, a=2)


def test_a_default_of_none_makes_a_parameter_optional():
    """Whatever the annotation says; an unannotated one takes anything."""

    @Workflow
    def body(a: int = None, b=None):  # noqa: RUF013
        return show([a, b])

    graph = trace(body)
    assert parameter(graph, "a").type == describe(int | None)
    assert parameter(graph, "b").type == ANY


def test_a_wrong_default_is_kept_for_the_verifier():
    """It reports everything at once; tracing does not stop."""

    @Workflow
    def body(a: int = "x"):
        return show(a)

    assert parameter(trace(body), "a").default.value == "x"


def test_star_parameters_are_refused():
    """A pipeline's parameters have names."""
    with pytest.raises(TraceError, match=r"takes \*args, but a pipeline's parameters have names"):
        trace(Workflow(lambda *args: None))
    with pytest.raises(TraceError, match=r"takes \*\*more"):
        trace(Workflow(lambda **more: None))


def test_kinds_of_parameters():
    """Positional-only and keyword-only ones work, traced and called."""

    @Workflow
    def body(a: int, /, b: int, *, c: int = 3):
        return add(add(a, b), c)

    assert [item.name for item in trace(body).parameters] == ["a", "b", "c"]
    assert next(trace(Workflow(lambda: body(1, b=2))).calls()).args[0].value == 1


def test_a_part_of_a_parameter():
    """An index is applied where it is used."""

    @Workflow
    def body(settings: dict):
        return add(settings["a"][0], 1)

    assert next(trace(body).calls()).args[0] == ParameterValue("settings", ("a", 0))


# --- Static --------------------------------------------------------------------------------------


def test_static_parameters_are_fixed_while_tracing():
    """`if` and `for` work on them; they are no parameters of the graph."""

    @Workflow
    def body(x: int = 1, count: Static[int] = 2, loud: Static[bool] = False):
        for _ in range(count):
            x = add(x, 1)
        return show(x) if loud else x

    assert [item.name for item in trace(body).parameters] == ["x"]
    assert [call.id for call in trace(body, {"count": 3.0, "loud": True}).calls()] == ["add", "add-2", "add-3", "show"]


def test_a_static_parameter_needs_a_value():
    """Given or default, of its type, known while tracing."""

    @Workflow
    def body(count: Static[int]):
        return [add(1, index) for index in range(count)]

    with pytest.raises(ParameterError, match=r"no value for the Static parameter count, .* -p count="):
        trace(body)
    with pytest.raises(ParameterError, match="must be int"):
        trace(body, {"count": "x"})
    with pytest.raises(TraceError, match="parameter count is Static"):
        trace(Workflow(lambda: body(add(1, 2))))


# --- options -------------------------------------------------------------------------------------


def test_options_reach_every_task():
    """A call's own come first, then the node's, then the workflow's; env name by name."""

    @Workflow(env={"A": "flow", "B": "flow"}, defaults={"retries": 1, "cpu": 2, "env": {"C": "flow"}})
    def body():
        stubborn(1)
        add.options(cpu="500m")(1, 2)

    first, second = (call.options for call in trace(body).calls())
    assert (first.retries, first.cpu) == (3, "2")
    assert first.env == (("A", "node"), ("B", "flow"), ("C", "flow"))
    assert (second.retries, second.cpu) == (1, "500m")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"defaults": {"retrys": 1}}, "did you mean 'retries'"),
        ({"defaults": 3}, "defaults of a workflow must be a dict"),
        ({"env": {"1": "x"}}, "environment variable"),
        ({"callbacks": [3]}, "callbacks"),
        ({"name": "a/b"}, "name"),
    ],
)
def test_wrong_options(options, message):
    """Where they are written."""
    with pytest.raises(TraceError, match=rf"^tests/grandpa/test_workflows\.py:\d+: .*{message}"):
        Workflow(**options)


def test_callbacks_are_kept():
    """For the engine, which calls them with its events."""

    def listen(event):
        pass

    assert Workflow(callbacks=listen)(lambda: None).callbacks == (listen,)


def test_names():
    """Given by position, by keyword, or the function's."""
    assert [Workflow("x")(lambda: None).name, Workflow(name="y")(lambda: None).name, simple.name] == [
        "x",
        "y",
        "simple",
    ]


# --- results -------------------------------------------------------------------------------------


def test_a_workflow_without_a_result_has_no_outputs():
    """None is no output; every task is recorded all the same."""
    graph = trace(Workflow(lambda: add(1, 2) and None if False else (add(1, 2), None)[1]))
    assert graph.outputs == ()
    assert len(graph.operations) == 1


def test_any_structure_is_a_result():
    """Refs and constants mixed."""
    graph = trace(Workflow(lambda a=1: {"x": add(a, 1), "y": [a, 5]}))
    value = graph.outputs[0][1]
    assert isinstance(value, Filled)
    assert value.skeleton.value == {"x": None, "y": [None, 5]}
    assert value.holes == (((0,), TaskOutput("add")), ((1, 0), ParameterValue("a")))
    constant = trace(Workflow(lambda: 5)).outputs[0][1]
    assert isinstance(constant, Constant)


def test_a_whole_ref_of_several_outputs_is_their_tuple():
    """In order, each from its own output."""

    @Node(outputs=("x", "y"))
    def two():
        return 1, 2

    value = trace(Workflow(lambda: two())).outputs[0][1]
    assert value.skeleton.value == (None, None)
    assert value.holes == (((0,), TaskOutput("two", "x")), ((1,), TaskOutput("two", "y")))


# --- nesting -------------------------------------------------------------------------------------


def test_a_workflow_inside_another_is_a_group():
    """With its defaults, its own options reaching its tasks."""

    @Workflow(defaults={"cpu": 4})
    def inner(a: float, b: int = 5):
        return add(a, b)

    graph = trace(Workflow(lambda: (add(0, 0), inner(a=2))))
    first, second = graph.calls()
    assert [operation.id for operation in graph.operations] == ["add", "inner"]
    assert (second.id, second.options.cpu, first.options.cpu) == ("add", "4", None)
    assert second.args[0].value == 2.0
    assert second.args[1].value == 5


def test_refs_of_another_trace_are_refused():
    """Kept from one workflow, used in the next."""
    kept: list[Any] = []
    trace(Workflow(lambda: kept.append(add(1, 2))))
    with pytest.raises(TraceError, match=r"was called while tracing the workflow .* cannot be used in the workflow"):
        trace(Workflow(lambda: add(kept[0], 1)))


def test_free_refs_are_refused_in_a_workflow():
    """A call at the top of a module belongs to no workflow."""
    free = add(1, 2)
    with pytest.raises(TraceError, match=r"was called outside a workflow and cannot be used"):
        trace(Workflow(lambda: add([free], 1)))


def test_resolving_inside_a_workflow_is_refused():
    """The value does not exist yet."""
    with pytest.raises(TraceError, match="was resolved inside the workflow"):
        trace(Workflow(lambda: add(1, 2).resolve()))
    with pytest.raises(TraceError, match="was resolved inside the workflow"):
        trace(Workflow(lambda: resolve([add(1, 2)])))


def test_resolving_a_traced_ref_afterwards_is_refused():
    """It never gets a value of its own."""
    kept: list[Any] = []
    trace(Workflow("flow")(lambda: kept.append(add(1, 2))))
    with pytest.raises(TraceError, match=r"belongs to the traced workflow flow .* flow\(...\).resolve\(\)"):
        kept[0].resolve()


def test_an_error_in_the_body_passes_through():
    """It is the user's own; the next trace starts fresh."""

    @Workflow
    def body():
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        trace(body)
    assert add(1, 2).resolve() == 3


# --- threads -------------------------------------------------------------------------------------


def test_a_call_from_another_thread_while_tracing():
    """Refused there, with the place; with a copied context as well."""

    @Workflow
    def body():
        with ThreadPoolExecutor(1) as pool:
            pool.submit(add, 1, 2).result()

    with pytest.raises(TraceError, match=r"test_workflows\.py:\d+: add was called from another thread|add was called"):
        trace(body)

    @Workflow
    def with_context():
        asyncio.run(_in_thread())

    with pytest.raises(TraceError, match="add was called from another thread"):
        trace(with_context)


async def _in_thread() -> Any:
    return await asyncio.to_thread(add, 1, 2)


def test_two_threads_trace_side_by_side():
    """Each its own workflow."""
    barrier = threading.Barrier(2)

    @Workflow
    def body(n: Static[int]):
        barrier.wait(60)
        refs = [add(index, 1) for index in range(n)]
        barrier.wait(60)
        return refs

    with ThreadPoolExecutor(2) as pool:
        graphs = list(pool.map(lambda n: trace(body, {"n": n}), [3, 5]))
    assert [len(graph.operations) for graph in graphs] == [3, 5]


# --- classes -------------------------------------------------------------------------------------


@Workflow
class Plain:
    """A workflow as a class."""

    rate: float = 0.5
    shared: ClassVar[int] = 1

    def run(self, a: int = 2):
        """Runs.

        :param a: the number
        """
        return add(self.rate, a)


@Workflow(name="data")
@dataclasses.dataclass
class Data:
    rate: float
    count: Static[int] = 2

    def run(self, a: int):
        return [add(a, self.rate) for _ in range(self.count)]


@Workflow
class Initialised:
    def __init__(self, rate: float = 0.5) -> None:
        self.rate = rate

    def run(self):
        return self.helper(1)

    def helper(self, x):
        return add(self.rate, x)


def test_a_class_is_a_workflow_of_its_fields_and_of_run():
    """Fields first, then the parameters of `run`."""
    graph = trace(Plain)
    assert [(item.name, item.type) for item in graph.parameters] == [
        ("rate", TypeSpec("float")),
        ("a", TypeSpec("int")),
    ]
    assert graph.description == "A workflow as a class."
    assert parameter(graph, "a").description == "the number"
    assert next(graph.calls()).args == (ParameterValue("rate"), ParameterValue("a"))


def test_dataclasses_and_init():
    """Their constructors' arguments are the fields."""
    graph = trace(Data, {"count": 3})
    assert graph.name == "data"
    assert [item.name for item in graph.parameters] == ["rate", "a"]
    assert len(graph.operations) == 3
    assert [item.name for item in trace(Initialised).parameters] == ["rate"]


def test_classes_that_cannot_be_workflows():
    """Without run; with a name twice."""
    with pytest.raises(TraceError, match="has no method run"):
        Workflow()(type("Nothing", (), {}))

    class Twice:
        a: int = 1

        def run(self, a: int):
            return a

    with pytest.raises(TraceError, match="a field and a parameter of run called 'a'"):
        Workflow()(Twice)


# --- other things that can be traced -------------------------------------------------------------


def test_a_node_can_be_traced_itself():
    """A workflow of that one call."""
    graph = trace(stubborn)
    assert graph.name == "stubborn"
    assert [item.name for item in graph.parameters] == ["a"]
    assert [call.id for call in graph.calls()] == ["stubborn"]


def test_what_cannot_be_traced():
    """A plain function is told to be marked."""
    with pytest.raises(TraceError, match="mark a function with @Workflow"):
        trace(lambda: None)
    with pytest.raises(TraceError, match="@Workflow marks a function"):
        Workflow(add)
    assert as_workflow(simple) is simple


def test_where_is_never_absolute():
    """Relative to the project, so that two folders give the same bytes."""
    for call in trace(simple).calls():
        assert not pathlib.PurePath(call.where).is_absolute()
        assert not call.node.where.startswith("/")


def test_a_parameters_attribute_is_refused():
    """The message shows how to make it Static."""

    @Workflow
    def body(settings: Settings):
        return settings.rate

    with pytest.raises(RefAttributeError, match=r"settings: Static\[Settings\]"):
        trace(body)


def test_a_file_as_a_default_is_packed(tmp_path):
    """Of a workflow's parameter, a node's, a class's: the task gets a readable path with the content."""
    for name in ("a", "b"):
        (tmp_path / name).write_text(name.upper())

    @Node
    def read(path: Path = File(tmp_path / "a")) -> str:  # noqa: B008
        return path.read_text()

    @Node
    class Reader:
        def __init__(self, path: Path = File(tmp_path / "a")) -> None:  # noqa: B008
            self.path = path

        def process(self) -> str:
            return self.path.read_text()

    @Workflow
    def body(path: Path = File(tmp_path / "b")):  # noqa: B008
        return [read(), read(path), read(path=path), Reader().process(), Reader(path).process()]

    assert trace(body).parameters == ()
    assert run(body, record=False).value == ["A", "B", "B", "A", "B"]
    assert run(body, {"path": str(tmp_path / "a")}, record=False).value == ["A"] * 5
    assert read().resolve() == "A"
