"""Verify finds everything that is wrong, at once, each fault with its place."""

from __future__ import annotations

import time
from typing import Any

import pytest

from grandpa_kfp_compiler.graph import (
    MISSING,
    OPTION_NAMES,
    Arm,
    Branch,
    Call,
    Constant,
    Filled,
    Graph,
    Group,
    Instance,
    InstanceValue,
    Loop,
    NodeParameter,
    Options,
    Parameter,
    ParameterValue,
    Predicate,
    PythonNode,
    Signature,
    TaskOutput,
    TypeSpec,
    Value,
)
from grandpa_kfp_compiler.options import RULES
from grandpa_kfp_compiler.options.placement import Toleration
from grandpa_kfp_compiler.options.volumes import Pvc
from grandpa_kfp_compiler.verify import verified, verify
from grandpa_kfp_compiler.verify.settings import option_mistakes
from grandpa_kfp_compiler.verify.structure import cycles
from grandpa_kfp_runtime.errors import GraphError

INT = TypeSpec("int")


def node(*parameters: NodeParameter, name: str = "f", returns: TypeSpec = TypeSpec("any"), **more: Any) -> PythonNode:  # noqa: B008
    return PythonNode(f"calc:{name}", name, signatures=(("", Signature(parameters, returns)),), **more)


SUBTRACT = node(NodeParameter("a"), NodeParameter("b"), name="subtract")
ANYTHING = node(NodeParameter("xs", "var_positional"), NodeParameter("more", "var_keyword"), name="anything")
SCALE = PythonNode(
    "calc:Scale",
    "Scale",
    is_class=True,
    signatures=(("__init__", Signature((NodeParameter("factor"),))), ("__call__", Signature((NodeParameter("x"),)))),
)


def faults(*operations: Call | Group, **more: Any) -> list[str]:
    return [str(fault) for fault in verify(Graph("flow", operations=operations, where="calc.py:1", **more))]


def task(id_: str, of: PythonNode = ANYTHING, *args: Value, line: int = 9, **more: Any) -> Call:
    return Call(id_, of, args, where=f"calc.py:{line}", **more)


def test_a_right_graph_has_no_faults() -> None:
    graph = Graph("flow", operations=(task("a"), task("b", SUBTRACT, TaskOutput("a"), Constant(1))))
    assert verify(graph) == []
    assert verified(graph) is graph


def test_an_empty_workflow_has_nothing_to_run() -> None:
    assert faults() == ["flow (calc.py:1): it calls no node, so there is nothing to run; call at least one @Node in it"]


def test_everything_wrong_is_told_at_once() -> None:
    """One fault does not hide another, and the error holds them all."""
    graph = Graph(
        "flow",
        operations=(
            task("load", after=("laod",)),
            task("load", line=10),
            task("fit", SUBTRACT, TaskOutput("lod"), line=11, options=Options(retries=-1)),
        ),
        outputs=(("result", ParameterValue("x")),),
    )
    with pytest.raises(GraphError) as caught:
        verified(graph)
    assert caught.value.faults == (
        "load (calc.py:10): another task has this name too (calc.py:9)",
        'load (calc.py:9): is called after "laod", but there is no such task; did you mean "load"?',
        'fit (calc.py:11): uses the result of "lod", but there is no such task; did you mean "load"?',
        'flow: output result: uses the parameter "x", but there is no such parameter',
        "fit (calc.py:11): argument b is missing; the node takes (a, b)",
        "fit (calc.py:11): the option retries must be a whole number, 0 or more, but is -1",
    )
    assert str(caught.value).count("\n") == 5


@pytest.mark.parametrize(
    ("args", "names", "message"),
    [
        (1, (), "argument b is missing; the node takes (a, b)"),
        (0, (), "arguments a and b are missing; the node takes (a, b)"),
        (3, (), "3 arguments are given by position; the node takes (a, b)"),
        (2, ("b",), "argument b is given twice; the node takes (a, b)"),
        (1, ("b", "b"), "argument b is given twice; the node takes (a, b)"),
        (2, ("cc",), "argument cc is not known; the node takes (a, b)"),
    ],
)
def test_arguments_are_held_against_the_signature(args: int, names: tuple[str, ...], message: str) -> None:
    call = task("t", SUBTRACT, *[Constant(1)] * args, kwargs=tuple((name, Constant(2)) for name in names))
    assert faults(call) == [f"t (calc.py:9): {message}"]


def test_every_kind_of_parameter_takes_what_python_lets_it_take() -> None:
    """Positional-only by position, keyword-only by name, `*args` and `**kwargs` the rest, defaults not at all."""
    takes = node(
        NodeParameter("a", "positional_only"),
        NodeParameter("b", has_default=True),
        NodeParameter("xs", "var_positional"),
        NodeParameter("k", "keyword_only"),
        NodeParameter("d", "keyword_only", has_default=True),
        NodeParameter("rest", "var_keyword"),
    )
    one = Constant(1)
    assert (
        faults(
            task("fewest", takes, one, kwargs=(("k", one),)),
            task("most", takes, one, one, one, one, kwargs=(("k", one), ("d", one), ("other", one), ("a", one))),
        )
        == []
    )
    shown = "; the node takes (a, /, b=..., *xs, k, d=..., **rest)"
    assert faults(
        task("no-k", takes, one), task("twice", takes, one, one, kwargs=(("b", one), ("k", one))), task("none", takes)
    ) == [
        f"no-k (calc.py:9): argument k is missing{shown}",
        f"twice (calc.py:9): argument b is given twice{shown}",
        f"none (calc.py:9): arguments a and k are missing{shown}",
    ]
    only = node(NodeParameter("a", "positional_only"))
    assert faults(task("t", only, kwargs=(("a", one),))) == [
        "t (calc.py:9): argument a is given by name, but is taken by position only; the node takes (a, /)"
    ]
    near = node(NodeParameter("factor"))
    assert 'argument factr is not known; did you mean "factor"?' in faults(task("t", near, kwargs=(("factr", one),)))[0]


def test_instances_are_held_against_init_and_their_calls_against_the_method() -> None:
    instances = (Instance("s", SCALE, (), where="calc.py:5"),)
    assert faults(task("s", SCALE, Constant(1), Constant(2), instance="s", method="__call__"), instances=instances) == [
        "s (calc.py:5): argument factor is missing; Scale.__init__ takes (factor)",
        "s (calc.py:9): 2 arguments are given by position; Scale.__call__ takes (x)",
    ]


def test_a_node_whose_signature_is_not_known_takes_anything() -> None:
    """A graph file made elsewhere need not tell it."""
    assert faults(task("t", PythonNode("calc:f", "f"), Constant(1), kwargs=(("x", Constant(1)),))) == []


def test_references_to_what_is_not_there() -> None:
    """Tasks, outputs, parameters, instances: in arguments, structures, init arguments, results."""
    stats = node(name="stats", outputs=("mean", "std"))
    inside = Filled(Constant([None]), (((0,), TaskOutput("nowhere")),))
    assert faults(
        task("stats", stats),
        task("t", ANYTHING, TaskOutput("stats", "median"), ParameterValue("alhpa"), InstanceValue("Scal"), inside),
        task("u", SCALE, Constant(1), instance="Scale-3"),
        task("v", SCALE, Constant(1)),
        instances=(Instance("Scale", SCALE, (TaskOutput("statz", "mean"),), where="calc.py:5"),),
        parameters=(Parameter("alpha"),),
        outputs=(("result", TaskOutput("stats")),),
    ) == [
        'Scale (calc.py:5): uses the result of "statz", but there is no such task; did you mean "stats"?',
        't (calc.py:9): uses the output "median" of stats (calc.py:9), which has no such output; did you mean "mean"?',
        't (calc.py:9): uses the parameter "alhpa", but there is no such parameter; did you mean "alpha"?',
        't (calc.py:9): uses the instance "Scal", but there is no such instance; did you mean "Scale"?',
        't (calc.py:9): uses the result of "nowhere", but there is no such task',
        'u (calc.py:9): calls the instance "Scale-3", but there is no such instance; did you mean "Scale"?',
        "v (calc.py:9): calls the class Scale without an instance; write Scale(...)(...)",
        'flow (calc.py:1): output result: uses the output "result" of stats (calc.py:9), which has no such output; '
        "there are mean, std",
    ]  # fmt: skip


def test_duplicates() -> None:
    other = node(name="f", outputs=("a", "a"))
    assert faults(
        task("a"),
        task("f", node(name="f")),
        task("f2", other),
        instances=tuple(Instance("i", SCALE, (Constant(line),), where=f"calc.py:{line}") for line in (4, 5)),
        parameters=(Parameter("p"), Parameter("p")),
        outputs=(("result", TaskOutput("a")), ("result", TaskOutput("a"))),
    ) == [
        "i (calc.py:5): another instance has this name too (calc.py:4)",
        "flow (calc.py:1): parameter p is declared 2 times",
        "flow (calc.py:1): output result is declared 2 times",
        "f2 (calc.py:9): two different nodes are both known as calc:f; give one another name",
    ]  # fmt: skip
    assert faults(task("f2", other)) == ["f2 (calc.py:9): the outputs of f must be different names, but are: a, a"]


def test_a_cycle_is_shown_as_a_path() -> None:
    """In the order in which values flow; by arguments, by `after`, by the init arguments of an instance."""
    assert faults(task("a", ANYTHING, TaskOutput("b"), line=2), task("b", ANYTHING, TaskOutput("a"), line=3)) == [
        "flow (calc.py:1): tasks wait for each other: a → b → a (calc.py:2, calc.py:3)"
    ]
    assert faults(task("a", after=("a",))) == ["flow (calc.py:1): tasks wait for each other: a → a (calc.py:9)"]
    through = Instance("s", SCALE, (TaskOutput("s"),))
    assert faults(task("s", SCALE, Constant(1), instance="s"), instances=(through,)) == [
        "flow (calc.py:1): tasks wait for each other: s → s (calc.py:9)"
    ]
    twins = (Instance("i", SCALE, (InstanceValue("j"),)), Instance("j", SCALE, (InstanceValue("i"),)))
    assert faults(task("a"), instances=twins) == ["flow (calc.py:1): instances need each other: i → j → i"]


def test_every_cycle_is_found_once() -> None:
    """Also behind a long line of tasks, which takes no recursion."""
    waits: dict[str, tuple[str, ...]] = {f"t{i}": (f"t{i + 1}",) for i in range(5000)}
    waits |= {"t5000": (), "x": ("y", "t0"), "y": ("z",), "z": ("x",), "p": ("q", "x"), "q": ("p",)}
    assert list(cycles(waits)) == [("x", "z", "y", "x"), ("p", "q", "p")]


def test_types_of_declared_outputs_and_paths_are_followed() -> None:
    """The places of both ends are named."""
    pair = TypeSpec("tuple", (TypeSpec("str"), INT))
    stats = node(name="stats", returns=pair, outputs=("name", "count"))
    plain = node(name="plain", returns=TypeSpec("dict", (TypeSpec("str"), TypeSpec("list", (TypeSpec("bytes"),)))))
    number = node(NodeParameter("a", type=INT), name="number")
    assert faults(
        task("stats", stats, line=3),
        task("plain", plain, line=4),
        task("right", number, TaskOutput("stats", "count")),
        task("wrong", number, TaskOutput("stats", "name")),
        task("deep", number, TaskOutput("plain", path=("k", 0))),
        task("far", number, TaskOutput("plain", path=("k", 0, "who knows"))),
    ) == [
        "wrong (calc.py:9): argument a is int, but stats.name (calc.py:3) gives str",
        "deep (calc.py:9): argument a is int, but plain['k'][0] (calc.py:4) gives bytes",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (Options(timeout_s=0), "timeout_s must be a number of seconds above 0, but is 0"),
        (Options(timeout_s=float("inf")), "timeout_s must be a number of seconds above 0, but is inf"),
        (Options(retries=True), "retries must be a whole number, 0 or more, but is True"),
        (Options(cpu="1.5.2"), "cpu must be a number of cores above 0, such as '2' or '500m', but is '1.5.2'"),
        (Options(cpu="0m"), "cpu must be a number of cores above 0, such as '2' or '500m', but is '0m'"),
        (Options(memory="2 GB"), "memory must be a size above 0, such as '512Mi' or '2Gi', but is '2 GB'"),
        (Options(gpu=-1), "gpu must be a whole number, 0 or more, but is -1"),
        (Options(cache="soon"), "cache must be True, False or a time to live such as '12h' or '1d', but is 'soon'"),
        (Options(image="two words"), "image must be an image's name, as registry/name:tag, but is 'two words'"),
        (
            Options(packages=("numpy=1.26",)),
            "packages must be a list of requirements such as ['numpy==1.26.4']: 'numpy=1.26' is no requirement that "
            "pip takes (Expected semicolon (after name with no version specifier) or end)",
        ),
        (
            Options(index_url="https://ann:hunter22@host/simple"),
            "index_url holds a password, and everyone who can read the YAML would read it: write ${NAME} in its place, "
            "and give the node secrets={'NAME': 'secret/key'}; or give it the whole address so, "
            "secrets={'PIP_INDEX_URL': 'secret/key'}",
        ),
        (Options(env=(("1A", "x"),)), "env holds '1A', which is no name of an environment variable"),
        (
            Options(env=(("GRANDPA_CODE", "x"),)),
            "env sets GRANDPA_CODE, which the runtime itself sets; choose another name",
        ),
        (
            Options(secrets=(("K", "vault"),)),
            "secrets must name a secret and a key in it for K, as 'secret/key', but has 'vault'",
        ),
    ],
)
def test_options_that_cannot_be_honoured(options: Options, message: str) -> None:
    assert faults(task("t", options=options)) == [f"t (calc.py:9): the option {message}"]


def test_a_variable_cannot_be_both_plain_and_secret() -> None:
    options = Options(env=(("A", "1"),), secrets=(("A", "vault/key"),))
    assert option_mistakes(options) == ["A is set both by the option env and by the option secrets; drop one"]


def test_right_options_pass_and_every_option_is_looked_at() -> None:
    right = Options(
        retries=0, timeout_s=0.5, cpu="500m", memory="1.5Gi", gpu=0, env=(("A", ""),), image="repo/image:tag@sha256:1",
        packages=("numpy==1.26.4",), secrets=(("/etc/vault", "vault"), ("K", "vault/key")), cache="1d", version="2",
        verbose=True, keep=False, index_url="https://index/simple", backoff_s=0.5, backoff_factor=1.0,
        backoff_max_s=60.0, uses=(("licence", 1),), always=True, artifact="model", gpu_type="amd.com/gpu", shm="1Gi",
        disk="20Gi", volumes=(("/data", Pvc("datasets")),), config_maps=(("LEVEL", "settings/level"),),
        node_selector=(("zone", "a"),), tolerations=(Toleration("spot", "Exists"),),
        affinity=(("nodeAffinity", "{}"),), labels=(("team", "vision"),), annotations=(("why", "to show"),),
        image_pull_secrets=("registry",), kubernetes=(("imagePullPolicy", '"Always"'),), fallback="null",
    )  # fmt: skip
    assert all(getattr(right, name) is not None for name in OPTION_NAMES)
    assert option_mistakes(right) == []
    assert list(RULES) == list(OPTION_NAMES)


def test_the_same_bad_option_of_one_node_is_told_once() -> None:
    """A decorator's mistake reaches every call of the node."""
    assert len(faults(*(task(f"t{i}", options=Options(retries=-1)) for i in range(5)))) == 1


@pytest.mark.parametrize("alive", [True, False])
def test_defaults_of_parameters_are_held_against_their_types(alive: bool) -> None:
    """Also those known by their handle alone; ints beyond 2**53 would change on Kubeflow."""

    def parameter(name: str, spec: TypeSpec, value: Any, text: str) -> Parameter:
        return Parameter(name, spec, Constant(value) if alive else Constant(handle=text))

    floats = TypeSpec("list", (TypeSpec("float"),))
    assert faults(
        task("t"),
        parameters=(
            parameter("right", TypeSpec("float"), 1, "1"),
            parameter("wrong", INT, "x", '"x"'),
            parameter("items", floats, [1, "y"], '[1, "y"]'),
            parameter("big", INT, 2**53 + 1, str(2**53 + 1)),
            parameter("fine", INT, 2**53, str(2**53)),
            parameter("as_text", TypeSpec("any"), 2**60, str(2**60)),
            Parameter("none", INT, MISSING),
        ),
    ) == [
        "flow (calc.py:1): parameter wrong: its default must be int, but is 'x'",
        "flow (calc.py:1): parameter items: its default [1] must be float, but is 'y'",
        "flow (calc.py:1): parameter big: 9007199254740993 is more than 2**53, up to which Kubeflow's numbers are "
        "exact; declare it as str, or make the number in a node",
    ]


def test_groups_are_verified_inside_and_out() -> None:
    """Their arguments against their body's parameters, their outputs by name, their bodies by themselves."""
    body = Graph(
        "inner",
        (Parameter("x"), Parameter("y")),
        operations=(task("in", SUBTRACT, ParameterValue("x")),),
        outputs=(("out", TaskOutput("in")),),
    )
    group = Group("g", body, (("x", TaskOutput("a")), ("z", Constant(1))), where="calc.py:7")
    lacks = Group("h", body, (("x", TaskOutput("a")),), where="calc.py:8")
    assert faults(task("a"), group, lacks, task("b", ANYTHING, TaskOutput("g", "out"), TaskOutput("g"))) == [
        'b (calc.py:9): uses the output "result" of g (calc.py:7), which has no such output; there is out',
        "g (calc.py:7): argument z is not known; there are x, y",
        "h (calc.py:8): argument y is missing",
        "in (calc.py:9): argument b is missing; the node takes (a, b)",
        "in (calc.py:9): argument b is missing; the node takes (a, b)",
    ]


def test_options_of_a_group_are_those_of_a_fused_one() -> None:
    """A group that is no container has none, and a fused one's are checked as a task's are."""
    body = Graph("inner", operations=(task("in", SUBTRACT, Constant(1), Constant(2)),))
    assert faults(
        Group("g", body, options=Options(cpu="2"), where="calc.py:7"),
        Group("h", body, fused=True, options=Options(timeout_s=0), where="calc.py:8"),
        Group("i", body, fused=True, options=Options(cpu="2")),
    ) == [
        "g (calc.py:7): it is a group that is not fused, so it has no container for options",
        "h (calc.py:8): the option timeout_s must be a number of seconds above 0, but is 0",
    ]


def test_verifying_is_linear_in_tasks() -> None:
    """Ten times the tasks take ten times as long, not a hundred."""
    few, many = (min(_seconds_of(_chain_of(count)) for _ in range(3)) for count in (1_000, 10_000))
    assert many < 40 * few


def _chain_of(count: int) -> Graph:
    number = node(NodeParameter("a", type=INT), NodeParameter("b", type=INT), name="number", returns=INT)
    options = Options(retries=2)
    calls = [task("t0", number, Constant(1), Constant(2))]
    for index in range(1, count):
        args = (TaskOutput(f"t{index - 1}"), TaskOutput("t0") if index % 2 else Constant(index))
        calls.append(task(f"t{index}", number, *args, options=options))
    return Graph("large", operations=tuple(calls))


def _seconds_of(graph: Graph) -> float:
    start = time.process_time()
    assert verify(graph) == []
    return time.process_time() - start


# --- branches and loops --------------------------------------------------------------------------

COUNT = node(name="count", returns=TypeSpec("int"))
NAMES = node(name="names", returns=TypeSpec("list", (TypeSpec("str"),)))


def arm_of(test: Predicate | None, *outputs: str, takes: tuple[str, ...] = (), inner: str = "t") -> Arm:
    """An arm of one task, whose result is each of the outputs."""
    values = tuple((name, TaskOutput(inner)) for name in outputs)
    return Arm(test, Graph("arm", tuple(map(Parameter, takes)), operations=(task(inner),), outputs=values))


def more_than(value: Value, than: Any) -> Predicate:
    return Predicate(">", (value, Constant(than)))


def branch(*arms: Arm, **more: Any) -> Branch:
    return Branch("when", arms, where="calc.py:7", **more)


LAST = "an arm without a condition is not its last one, so those behind it are never taken"
UNTESTED = "conditions test booleans, numbers and texts, but"
UNORDERED = "its condition orders what has no order:"
SURE = more_than(Constant(2), 1)
A_BRANCH = branch(arm_of(more_than(TaskOutput("n"), 1), "result"), arm_of(None, "result", inner="u"))


def test_a_right_branch_and_a_right_loop_have_no_faults() -> None:
    body = Graph("each", (Parameter("item"),), operations=(task("t", ANYTHING, ParameterValue("item")),))
    loop = Loop("each", TaskOutput("names"), "item", body)
    assert faults(task("n", COUNT), A_BRANCH, task("names", NAMES), loop, task("z", ANYTHING, TaskOutput("when"))) == []


@pytest.mark.parametrize(
    ("test", "message"),
    [
        (more_than(TaskOutput("names"), 1), f"{UNTESTED} names (calc.py:9) gives list[str]"),
        (more_than(TaskOutput("n"), "a"), f"{UNORDERED} n (calc.py:9) gives int, 'a' is str"),
        (more_than(TaskOutput("n"), None), f"{UNORDERED} n (calc.py:9) gives int, None is None"),
        (more_than(ParameterValue("deploy"), {}), f"{UNTESTED} {{}} is dict"),
        (Predicate("in", (TaskOutput("n"), TaskOutput("names"))), "`in` in its condition looks in a constant list"),
        (Predicate("&", (TaskOutput("n"),)), "`&` in its condition joins conditions, and nothing else"),
        (Predicate("==", (TaskOutput("n"),)), "`==` in its condition tests two values"),
        (
            Predicate("true", (TaskOutput("nn"),)),
            'uses the result of "nn", but there is no such task; did you mean "n"?',
        ),
    ],
)
def test_what_a_branch_cannot_decide_by(test: Predicate, message: str) -> None:
    """Both places are named: the branch, and who gives the value."""
    found = faults(
        task("n", COUNT),
        task("names", NAMES),
        branch(arm_of(test)),
        parameters=(Parameter("deploy", TypeSpec("bool")),),
    )
    assert found == [f"when (calc.py:7): {message}"]


@pytest.mark.parametrize(
    ("arms", "message"),
    [
        ((arm_of(SURE, "x"),), "its output x has no value where no arm is taken"),
        ((arm_of(SURE, "x"), arm_of(None, inner="u")), "its output x has no value in one of its arms"),
        ((arm_of(None), arm_of(None, inner="u")), LAST),
        ((arm_of(SURE), arm_of(None)), "two of its arms have a task t"),
        ((arm_of(None, takes=("a",)),), "argument a is missing"),
        ((), "it has no arm"),
    ],
)
def test_what_a_branch_cannot_be(arms: tuple[Arm, ...], message: str) -> None:
    assert faults(branch(*arms)) == [f"when (calc.py:7): {message}"]


@pytest.mark.parametrize(
    ("items", "more", "message"),
    [
        (TaskOutput("n"), {}, "loops over a list, but n (calc.py:9) gives int"),
        (Constant("abc"), {}, "loops over a list, but is given another constant"),
        (Constant([1]), {"parallelism": 0}, "its parallelism must be a whole number above 0, but is 0"),
        (Constant([1]), {"arguments": (("item", Constant(1)),)}, "argument item is given twice"),
        (Constant([1]), {"arguments": (("x", Constant(1)),)}, "argument x is not known; there is item"),
    ],
)
def test_what_a_loop_cannot_be(items: Value, more: dict[str, Any], message: str) -> None:
    body = Graph("each", (Parameter("item"),), operations=(task("t"),))
    loop = Loop("each", items, "item", body, where="calc.py:8", **more)
    assert faults(task("n", COUNT), loop) == [f"each (calc.py:8): {message}"]


def test_faults_inside_of_an_arm_are_found() -> None:
    inner = branch(Arm(None, Graph("arm", operations=(task("s", SUBTRACT, Constant(1), line=11),))))
    assert faults(inner) == ["s (calc.py:11): argument b is missing; the node takes (a, b)"]
