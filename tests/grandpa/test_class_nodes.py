"""Class nodes: the same class, marked; instances are descriptions; real objects work as ever."""

from __future__ import annotations

import abc
import collections
import copy
import dataclasses
import pickle
import subprocess
import sys
from typing import Any, Generic, TypeVar

import cloudpickle
import pytest

from grandpa_kfp import Node, Workflow, resolve, trace
from grandpa_kfp.authoring.classes import Instance
from grandpa_kfp_compiler.graph import Constant, InstanceValue, TaskOutput
from grandpa_kfp_runtime.errors import RefAttributeError, TaskError, TraceError

T = TypeVar("T")


@Node
def leaf(value: Any) -> Any:
    return value


@Node
class Scale:
    """Multiplies."""

    made = 0

    def __init__(self, factor: float, *, offset: float = 0) -> None:
        Scale.made += 1
        self.factor = factor
        self.offset = offset
        self.calls = 0

    def __call__(self, x: float) -> float:
        self.calls += 1
        return self.factor * x + self.offset

    def apply(self, x: float) -> float:
        return -x

    def __len__(self) -> int:
        return 7

    def __iter__(self):
        return iter([self.factor])

    @Node
    def describe(self, prefix: str) -> str:
        return f"{prefix}{self.factor}"

    def helper(self) -> str:
        return "helped"


class Sharper(Scale):
    """Below a marked class, not marked itself."""

    def __init__(self, factor: float, power: int) -> None:
        super().__init__(factor)
        self.power = power

    def __call__(self, x: float) -> float:
        return super().__call__(x) ** self.power


@Node("tuned", retries=1)
class Tuned(Scale):
    """Marked below a marked class."""

    def __init__(self, factor: float) -> None:
        super().__init__(factor, offset=1)


@Node
@dataclasses.dataclass
class Config:
    rate: float = 0.1
    names: list[str] = dataclasses.field(default_factory=list)

    def process(self, x: float) -> float:
        return self.rate * x


@dataclasses.dataclass(slots=True)
@Node
class Slotted:
    rate: float

    def apply(self, x: float) -> float:
        return self.rate * x


@Node
@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    rate: float

    def apply(self, x: float) -> float:
        return self.rate * x


@Node
class WithNew:
    def __new__(cls, value: int) -> WithNew:
        made = super().__new__(cls)
        made.seen = value
        return made

    def __init__(self, value: int) -> None:
        self.value = value

    def __getnewargs__(self) -> tuple[int]:
        return (self.value,)

    def process(self, x: int) -> int:
        return self.seen + self.value + x


@Node
class Word(str):
    def __call__(self, other: str) -> str:
        return self + other


@Node
class Bare:
    def __call__(self) -> str:
        return "bare"


@Node
class Box(Generic[T]):
    def __init__(self, content: T) -> None:
        self.content = content

    def __call__(self) -> T:
        return self.content


@Node
class Reduced:
    def __init__(self, value: int) -> None:
        self.value = value

    def __reduce__(self) -> Any:
        return _reduced, (self.value + 1,)

    def process(self) -> int:
        return self.value


def _reduced(value: int) -> Reduced:
    return resolve(Reduced(value))


def live(instance: Any) -> Any:
    """The real object of an instance."""
    return resolve(instance)


# --- calling -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "value"),
    [
        (lambda: Scale(2)(leaf(4)), 8),
        (lambda: Scale(2, offset=1)(4), 9),
        (lambda: Scale(leaf(3), offset=leaf(1))(leaf(2)), 7),
        (lambda: Scale(2).apply(4), -4),
        (lambda: Config(0.5)(4), 2.0),
        (lambda: Config().process(10), 1.0),
        (lambda: Slotted(0.5)(4), 2.0),
        (lambda: Frozen(0.5).apply(4), 2.0),
        (lambda: WithNew(1)(10), 12),
        (lambda: Word("a")("b"), "ab"),
        (lambda: Bare()(), "bare"),
        (lambda: Tuned(2)(3), 7),
        (lambda: Box[int](5)(), 5),
        (lambda: Scale(2).describe("x"), "x2"),
    ],
)
def test_calling_an_instance(call, value):
    """Init arguments apart from the call's, any of them a Ref; `__call__`, `process`, `apply`, or a node method."""
    assert call().resolve() == value


def test_a_class_stays_the_same_object():
    """No wrapper: isinstance, issubclass, docstring, name."""
    assert isinstance(Scale, type)
    assert Scale.__doc__ == "Multiplies."
    assert issubclass(Sharper, Scale)
    assert vars(Scale)["__grandpa_node__"] is Scale
    assert vars(Slotted)["__grandpa_node__"] is Slotted


def test_the_graph_holds_instances_apart_from_calls():
    """One instance, called twice, is two tasks with the same description."""

    @Workflow
    def pipeline():
        scale = Scale(leaf(2), offset=1)
        return scale(scale.apply(3))

    graph = trace(pipeline)
    (instance,) = graph.instances
    assert instance.id == "Scale"
    assert instance.args == (TaskOutput("leaf"),)
    assert [(name, value.value) for name, value in instance.kwargs] == [("offset", 1)]
    assert [(call.id, call.instance, call.method) for call in graph.calls()] == [
        ("leaf", "", ""),
        ("Scale", "Scale", "apply"),
        ("Scale-2", "Scale", "__call__"),
    ]
    node = instance.node
    assert node.is_class
    assert [name for name, _ in node.signatures] == ["__init__", "__call__", "apply"]
    assert [item.name for item in node.signature("__init__").parameters] == ["factor", "offset"]
    assert [item.name for item in node.signature("__call__").parameters] == ["x"]
    assert node.target is Scale


def test_instances_in_arguments():
    """Anywhere in a structure, in another instance too; recorded before what needs them."""

    @Workflow
    def pipeline():
        return leaf([Scale(1), Box(Scale(2))])

    graph = trace(pipeline)
    assert [instance.id for instance in graph.instances] == ["Scale", "Scale-2", "Box"]
    assert graph.instances[2].args == (InstanceValue("Scale-2"),)
    assert isinstance(graph.instances[0].args[0], Constant)


def test_options_of_a_class_node():
    """At the mark, and at one call through the instance."""

    @Workflow
    def pipeline():
        Tuned(1).options(name="pinned", cpu=2)(3)

    (call,) = trace(pipeline).calls()
    assert (call.id, call.node.name, call.options.retries, call.options.cpu) == ("pinned", "tuned", 1, "2")


def test_an_instance_shared_by_options_is_one():
    """`.options(...)` changes the calls, not the instance."""

    @Workflow
    def pipeline():
        bare = Bare()
        bare.options(retries=1)()
        bare.options(retries=2)()

    assert len(trace(pipeline).instances) == 1


def test_each_task_constructs_its_own_object():
    """State does not pass from one task to the next."""

    @Node
    def count(scale: Any) -> int:
        scale(1)
        return scale.calls

    scale = Scale(2)
    assert resolve([count(scale), count(scale)]) == [1, 1]


def test_a_live_object_arrives():
    """Attributes, len, iteration, methods of an uncalled instance passed as an argument."""

    @Node
    def inspect_it(scale: Any) -> Any:
        return [scale.factor, len(scale), list(scale), scale.helper(), isinstance(scale, Scale), scale(2)]

    assert inspect_it(Scale(leaf(3))).resolve() == [3, 7, [3], "helped", True, 6]


def test_nothing_is_constructed_while_calling():
    """The description alone is made."""
    before = Scale.made
    ref = Scale(2)(3)
    assert Scale.made == before
    ref.resolve()
    assert Scale.made == before + 1


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize("argument", [Scale, [Scale], {"k": (Scale,)}])
def test_an_uninitialised_class_as_an_argument(argument):
    """Named, with what to write instead."""
    with pytest.raises(
        TraceError, match=r"class_nodes\.py:\d+: the node class Scale .* initialised; .* Scale\(\.\.\.\)"
    ):
        leaf(argument)


def test_a_plain_class_may_be_an_argument():
    """It is a value like others."""
    assert leaf(collections.OrderedDict).resolve() is collections.OrderedDict


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Scale(), r"Scale \(.*:\d+\): argument factor is missing; Scale.__init__ takes (factor, *, offset=0)"),
        (lambda: Scale(1, 2), r"2 arguments are given by position; Scale.__init__ takes"),
        (lambda: Scale(1)(), r"Scale \(.*:\d+\): argument x is missing; the node takes (x)"),
        (lambda: Bare(1), r"1 argument is given by position; Bare.__init__ takes ()"),
        (lambda: WithNew(), r"argument value is missing"),
    ],
)
def test_arguments_are_checked_at_once(call, message):
    """Those of construction and those of the call."""
    pattern = message.replace("(factor, *, offset=0)", r"\(factor, \*, offset=0\)").replace("(x)", r"\(x\)")
    with pytest.raises(TraceError, match=pattern.replace("()", r"\(\)")):
        call()


@pytest.mark.parametrize(
    "touch",
    [
        lambda scale: scale.factor,
        lambda scale: scale.helper(),
        lambda scale: setattr(scale, "factor", 2),
        lambda scale: len(scale),
        lambda scale: list(scale),
        lambda scale: scale[0],
        lambda scale: bool(scale),
        lambda scale: scale + 1,
        lambda scale: 2 in scale,
        lambda scale: pickle.dumps(scale),
    ],
)
def test_touching_an_instance_while_tracing(touch):
    """The object does not exist yet; the message says where and what to do."""

    @Workflow
    def pipeline():
        touch(Scale(2))

    with pytest.raises(TraceError, match=r"class_nodes\.py:\d+: .*constructed only when a task runs"):
        trace(pipeline)


def test_an_attribute_of_an_instance_is_an_attribute_error():
    """hasattr works; dunders raise a plain one."""
    scale = Scale(2)
    assert not hasattr(scale, "factor")
    with pytest.raises(RefAttributeError) as read:
        scale.factor  # noqa: B018
    assert "mark that method" not in str(read.value)
    with pytest.raises(AttributeError) as caught:
        scale.__array__  # noqa: B018
    assert type(caught.value) is AttributeError
    assert copy.deepcopy(scale) is scale
    assert bool(Bare())


def test_a_plain_method_of_an_instance_is_told_how_to_become_a_task():
    """Only `__call__`, `process` and `apply` are tasks without a mark of their own."""

    @Node
    class Model:
        def fit(self, x): ...

        @staticmethod
        def version(): ...

    for name in ("fit", "version"):
        with pytest.raises(RefAttributeError, match=r"mark that method with @Node to call it as a task"):
            getattr(Model(), name)


def test_static_and_class_methods_that_are_nodes():
    """Static ones are called by the instance too; a class method gets the class, never the instance in its place."""

    @Node
    class Model:
        @Node
        @staticmethod
        def outer(x):
            return x + 1

        @staticmethod
        @Node
        def inner(x):
            return x + 2

        @Node
        @classmethod
        def of_class(cls, x):
            return isinstance(cls, type)

    assert Model().outer(1).resolve() == 2
    assert Model().inner(1).resolve() == 3
    with pytest.raises(TraceError, match="node class Model was passed"):
        Model().of_class(1)


def test_a_class_without_a_method_to_call():
    """It may be passed, not called."""

    @Node
    class Empty:
        pass

    with pytest.raises(TraceError, match="has no method __call__, process or apply"):
        Empty()()


def test_an_abstract_class():
    """Is refused when it is initialised."""

    @Node
    class Abstract(abc.ABC):
        @abc.abstractmethod
        def process(self) -> None: ...

    with pytest.raises(TraceError, match="abstract"):
        Abstract()


def test_an_error_while_constructing_is_the_tasks():
    """It names the node and the place."""

    @Node
    class Fails:
        def __init__(self) -> None:
            raise ValueError("no model")

        def __call__(self) -> None: ...

    with pytest.raises(TaskError, match=r"Fails \(.*\) failed: ValueError: no model") as caught:
        Fails()().resolve()
    assert isinstance(caught.value.__cause__, ValueError)


# --- real objects --------------------------------------------------------------------------------


def test_subclasses_make_real_objects():
    """isinstance, super(), state."""
    sharper = Sharper(2, 3)
    assert isinstance(sharper, Scale)
    assert sharper(1) == 8
    assert not isinstance(sharper, Instance)
    assert isinstance(Scale(2), Instance)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "make",
    [
        lambda: live(Scale(2)),
        lambda: Sharper(2, 3),
        lambda: live(Tuned(3)),
        lambda: live(Config(0.5, ["a"])),
        lambda: live(Frozen(0.5)),
        lambda: live(Slotted(0.5)),
        lambda: live(WithNew(3)),
        lambda: live(Word("abc")),
        lambda: live(Box(4)),
    ],
)
def test_real_objects_pickle_and_copy(make, protocol):
    """With every protocol, of marked classes and of those below; copies are objects, not descriptions."""
    original = make()
    if protocol < 2 and isinstance(original, Slotted | Frozen):
        pytest.skip("pickle's first protocols cannot hold slots")
    for made in (pickle.loads(pickle.dumps(original, protocol)), copy.copy(original), copy.deepcopy(original)):
        assert type(made) is type(original)
        assert _state(made) == _state(original)


def _state(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return dataclasses.astuple(value)
    return vars(value), str(value) if isinstance(value, str) else None


def test_a_classs_own_reduce_is_used():
    """The user's `__reduce__` decides."""
    assert pickle.loads(pickle.dumps(live(Reduced(1)))).value == 2


def test_dataclasses_go_on_working():
    """Equality, repr, fields, asdict."""
    one = live(Config(0.5, ["a"]))
    assert one == live(Config(0.5, ["a"]))
    assert dataclasses.asdict(one) == {"rate": 0.5, "names": ["a"]}
    assert [item.name for item in dataclasses.fields(Config)] == ["rate", "names"]
    assert "rate=0.5" in repr(one)


def test_a_surplus_argument_of_a_real_object_is_an_error():
    """As for every class without an `__init__`."""

    class BelowBare(Bare):
        pass

    with pytest.raises(TypeError, match="takes no arguments"):
        BelowBare(1)


def test_real_objects_as_arguments_and_results():
    """An object of a marked class is a value like any other."""

    @Node
    def twice(scale: Any) -> Any:
        scale.factor *= 2
        return scale

    original = live(Scale(2))
    result = twice(original).resolve()
    assert (result.factor, original.factor) == (4, 2)
    assert isinstance(result, Scale)


def test_a_body_may_return_an_instance():
    """It arrives as the live object."""

    @Node
    def choose(factor: int) -> Any:
        return Scale(leaf(factor))

    assert choose(3).resolve().factor == 3


def test_a_local_class():
    """A class inside a function is a node as well."""

    @Node
    class Local:
        def __init__(self, a: int) -> None:
            self.a = a

        def __call__(self, b: int) -> int:
            return self.a + b

    assert Local(1)(2).resolve() == 3
    assert trace(Workflow(lambda: Local(1)(2))).instances[0].node.key == "value:Local"


def test_marked_classes_travel_by_value():
    """A class of a notebook or a function, its subclass and an object of it work in another process."""

    @Node(retries=2)
    class Local:
        def __init__(self, a: int) -> None:
            self.a = a

        def __call__(self, b: int) -> int:
            return self.a + b

    class Below(Local):
        def __init__(self) -> None:
            super().__init__(5)

    data = cloudpickle.dumps((Local, Below, live(Local(3))))
    code = (
        "import pickle, sys\n"
        "local, below, made = pickle.loads(sys.stdin.buffer.read())\n"
        "marked = vars(local)['__grandpa_node__'] is local\n"
        "print(local(1)(2).resolve(), below()(1), made(4), type(made) is local, marked)"
    )
    result = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, timeout=60)
    assert result.stdout.decode().split() == ["3", "6", "7", "True", "True"], result.stderr.decode()
