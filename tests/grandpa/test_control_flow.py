"""`when`, `either`, `each` and their like while tracing: the graph they leave, what each refuses, with its place."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import control_flows as flows
import pytest

from grandpa_kfp import (
    Component,
    Node,
    Workflow,
    collect,
    each,
    either,
    elsewhen,
    is_in,
    otherwise,
    run,
    trace,
    when,
)
from grandpa_kfp.authoring.workflows import WorkflowFunction
from grandpa_kfp_compiler.graph import Branch, Loop, bodies_of, control_flow
from grandpa_kfp_compiler.printer import format_graph
from grandpa_kfp_compiler.verify import verify
from grandpa_kfp_runtime.errors import TaskError, TraceError

double, plus, count_to = flows.double, flows.plus, flows.count_to


def printed(workflow: Any) -> list[str]:
    """The operations as text, places left out."""
    lines = format_graph(trace(workflow)).splitlines()
    return [re.sub(r"  # .*", "", line) for line in lines if not line.startswith("  node ")][1:]


@Workflow
def chain(x: int = 1, name: str = "a") -> Any:
    d = double(x)
    with when((d > 3) & ~is_in(name, ["b", "c"])):
        first = plus(d, x)
    with elsewhen(name == "d"):
        second = double(d)
    return either(first, second, 0)


def test_a_branch_is_one_operation() -> None:
    """Each body sees its own parameters alone; a value from outside stands for the branches that give none."""
    assert printed(chain) == [
        "  %double = control_flows:double($x)",
        "  branch %when(double=%double, x=$x)",
        "    when (%double > 3) & (~($name in ['b', 'c']))",
        "      takes (double: handle, x: int)",
        "      %plus = control_flows:plus($double, $x)",
        "      return %plus",
        "    when $name == 'd'",
        "      takes (double: handle)",
        "      %double = control_flows:double($double)",
        "      return %double",
        "    otherwise",
        "      takes ()",
        "      return 0",
        "  return %when",
    ]
    assert verify(trace(chain)) == []


@Workflow
def rows(n: int = 3) -> Any:
    with each(count_to(n), parallelism=2) as x:
        y = plus(x, n)
    return collect(y), collect(y), collect(x)


def test_a_loop_is_one_operation() -> None:
    """A value that is collected twice is one output."""
    assert printed(rows) == [
        "  %count_to = control_flows:count_to($n)",
        "  loop %each(n=$n) over %count_to as item [parallelism=2]",
        "    takes (item: handle, n: int)",
        "    %plus = control_flows:plus($item, $n)",
        "    return result=%plus, result-2=$item",
        "  return (%each, %each, %each.result-2)",
    ]
    assert verify(trace(rows)) == []


FLOWS = sorted(name for name, value in vars(flows).items() if isinstance(value, WorkflowFunction))


@pytest.mark.parametrize("name", FLOWS)
def test_what_is_traced_has_no_faults(name: str) -> None:
    graph = trace(getattr(flows, name))
    assert verify(graph) == []
    assert all(isinstance(item, Branch | Loop) and item.where for item in control_flow(graph))


@Workflow(defaults={"retries": 2})
def with_options() -> None:
    with when(flows.no_list(1)):
        double(1)
        component(2)


@Component(timeout_s=5)
def component(x: int) -> None:
    with each([x]) as item:
        double(item)


def test_options_and_components_reach_into_blocks() -> None:
    """Names are those of the block; what a component sets for its calls holds in its loops."""
    branch = trace(with_options).operations[1]
    assert isinstance(branch, Branch)
    (body,) = bodies_of(branch)
    loop = body.operations[1]
    assert isinstance(loop, Loop)
    assert loop.id == "component/each"
    inner = next(loop.body.calls())
    assert (inner.id, inner.options.retries, inner.options.timeout_s) == ("double", 2, 5)


# --- what is refused -------------------------------------------------------------------------------


def uses_outside_branch(x: Any) -> Any:
    with when(x > 1):
        inner = double(x)
    return double(inner)


def uses_in_other_branch(x: Any) -> Any:
    with when(x > 1):
        inner = double(x)
    with otherwise():
        double(inner)


def returns_from_branch(x: Any) -> Any:
    with when(x > 1):
        inner = double(x)
    return [inner]


def uses_outside_loop(x: Any) -> Any:
    with each([1, 2]) as item:
        inner = plus(item, x)
    return double(inner)


def uses_item_outside(x: Any) -> Any:
    with each([1, 2]) as item:
        double(item)
    return double(item)


def misses_otherwise(x: Any) -> Any:
    with when(x > 1):
        a = double(x)
    with elsewhen(x > 0):
        b = double(x)
    return either(a, b)


def misses_an_arm(x: Any) -> Any:
    with when(x > 1):
        a = double(x)
    with elsewhen(x > 0):
        double(x)
    with otherwise():
        b = double(x)
    return either(a, b)


def joins_two_blocks(x: Any) -> Any:
    with when(x > 1):
        a = double(x)
    with when(x > 2):
        b = double(x)
    return either(a, b, 0)


def joins_nothing(x: Any) -> Any:
    return either(x, double(x))


def joins_one_arm(x: Any) -> Any:
    with when(x > 1):
        a, b = double(x), double(x)
    return either(a, b, 0)


def starts_with_otherwise(x: Any) -> Any:
    with otherwise():
        double(x)


def otherwise_after_either(x: Any) -> Any:
    with when(x > 1):
        a = double(x)
    either(a, 0)
    with otherwise():
        double(x)


def elsewhen_after_loop(x: Any) -> Any:
    with when(x > 1):
        double(x)
    with each([1]) as item:
        double(item)
    with elsewhen(x > 2):
        double(x)


def two_otherwise(x: Any) -> Any:
    with when(x > 1):
        double(x)
    with otherwise():
        double(x)
    with otherwise():
        double(x)


def plain_condition(x: Any) -> Any:
    with when(-2):
        double(x)


def list_condition(x: Any) -> Any:
    with when(x == [1]):
        double(x)


def python_in(x: Any) -> Any:
    with when(x in [1, 2]):
        double(x)


def python_and(x: Any) -> Any:
    with when(x > 1 and x < 3):
        double(x)


def joins_with_plain(x: Any) -> Any:
    with when(3 & (x > 1)):
        double(x)


def several_outputs(x: Any) -> Any:
    with when(flows.ends([1])):
        double(x)


def loops_over_text(x: Any) -> Any:
    with each("abc") as item:
        double(item)


def loops_zero_at_once(x: Any) -> Any:
    with each([1], parallelism=0) as item:
        double(item)


def collects_inside(x: Any) -> Any:
    with each([1]) as item:
        inner = double(item)
        collect(inner)


def collects_a_branch(x: Any) -> Any:
    with each([1]) as item, when(x > 1):
        inner = double(item)
    return collect(inner)


def collects_deeper(x: Any) -> Any:
    with each([1]) as item, each([2]):
        inner = double(item)
    return collect(inner)


def collects_a_list(x: Any) -> Any:
    return collect([x])


def waits_for_the_other_arm(x: Any) -> Any:
    with when(x > 1):
        inner = double(x)
    with otherwise():
        double.options(after=inner)(x)


REFUSED: list[tuple[Callable[..., Any], int, str]] = [
    (uses_outside_branch, 3, r"the result of double \(.*\) is used outside the branch at .*:\d+, .*either\("),
    (uses_in_other_branch, 4, r"is used outside the branch at"),
    (uses_outside_loop, 3, r"is used outside the loop at .*:\d+, where it has a value for each item; collect"),
    (uses_item_outside, 3, r"the item of the loop at .*:\d+ is used outside the loop"),
    (
        misses_otherwise,
        5,
        r"no value for the case that no condition of the `when` at .*:\d+ holds; .*either\(..., None\)",
    ),
    (misses_an_arm, 7, r"either was given no value for the branch at .*:\d+; give one"),
    (joins_two_blocks, 5, r"joins the branches of one `when`, but .* and .* are of different ones"),
    (joins_nothing, 1, r"either joins values of branches, but was given none"),
    (joins_one_arm, 3, r"either was given 2 values of the branch at .*:\d+; give it one"),
    (starts_with_otherwise, 1, r"otherwise belongs right behind the block of a `when` or `elsewhen`"),
    (otherwise_after_either, 4, r"otherwise belongs right behind .* before `either` asks"),
    (elsewhen_after_loop, 5, r"elsewhen belongs right behind"),
    (two_otherwise, 5, r"otherwise belongs right behind"),
    (plain_condition, 1, r"-2 is no condition; .* `ref == False` for `not`, not `~`"),
    (list_condition, 1, r"conditions test booleans, numbers and texts, but one was given"),
    (python_in, 1, r"is_in\(ref, \[\.\.\.\]\) for `in`"),
    (python_and, 1, r"`&`, `\|`, `~` for `and`, `or`, `not`"),
    (joins_with_plain, 1, r"`&` joins a comparison with 3, which is none"),
    (several_outputs, 1, r"a condition tests one value, but .* has several; name one of its outputs"),
    (loops_over_text, 1, r"each loops over a list, but was given"),
    (loops_zero_at_once, 1, r"parallelism must be a whole number above 0, but is 0"),
    (collects_inside, 3, r"which is not of a loop that has ended"),
    (collects_a_branch, 3, r"which lies deeper, in the block at .*:\d+; join it by either inside the loop"),
    (collects_deeper, 3, r"which lies deeper, .*; collect it inside the loop"),
    (collects_a_list, 1, r"collect gives the list of a value that a loop made, but was given"),
    (waits_for_the_other_arm, 4, r"which is in another branch than the call, and never runs"),
]


@pytest.mark.parametrize(("body", "line", "message"), REFUSED, ids=lambda item: getattr(item, "__name__", None))
def test_what_is_refused(body: Callable[..., Any], line: int, message: str) -> None:
    """At the line of the mistake, counted from the body's first."""
    place = f"test_control_flow.py:{body.__code__.co_firstlineno + line}"
    with pytest.raises(TraceError, match=re.escape(place) + ".*" + message):
        trace(Workflow(name="flow")(body))


def test_a_result_that_only_one_branch_has() -> None:
    """The workflow's own line is told, and the branch's."""
    with pytest.raises(TraceError, match=r"test_control_flow.py:\d+: .* is used outside the branch at .*:\d+"):
        trace(Workflow(name="flow")(returns_from_branch))


@pytest.mark.parametrize("word", [lambda: when(True), lambda: elsewhen(True), otherwise, lambda: each([1])])
def test_outside_a_workflow_there_is_nothing_to_decide(word: Callable[[], Any]) -> None:
    with pytest.raises(TraceError, match=r"test_control_flow.py:\d+: \w+ belongs in a workflow's body"), word():
        pass
    with pytest.raises(TraceError, match=r"either belongs in a workflow's body"):
        either(1, 2)


@Node
def decides(x: int) -> int:
    with when(x > 1):
        pass
    return x


def test_in_a_nodes_body_too() -> None:
    with pytest.raises(Exception, match=r"when belongs in a workflow's body.*Python's own `if` and `for`"):
        decides(1).resolve()


@Workflow
def decided(x: int = 1) -> Any:
    with when(x > 0):
        positive = double(x)
    return either(positive, 0)


@Node
def calls_workflow(x: int) -> Any:
    return decided(x)


def test_a_workflow_that_decides_inside_a_nodes_body() -> None:
    """By itself, or in another workflow, it is traced; there it is not."""
    assert decided(x=4).resolve() == 8
    assert Workflow(name="outer")(lambda: (decided(1), decided(-1)))().resolve() == (2, 0)
    with pytest.raises(TaskError, match=r"the workflow decided uses when, so it cannot be called in a node's body"):
        run(Workflow(name="outer")(lambda: calls_workflow(1)), record=False)


@Component
def sign(x: int) -> int:
    with when((x > 0) & is_in(x, [1, 2])):
        positive = double(1)
    with elsewhen(x < 0):
        negative = double(-1)
    return either(positive, negative, 0)


def test_a_component_may_be_given_constants() -> None:
    """What it compares is known then; the branches are there all the same."""
    flow = Workflow(name="flow")(lambda x: [sign(1), sign(-3), sign(9), sign(x)])
    assert run(flow, {"x": 2}, record=False).value == [2, -2, 0, 2]
    assert verify(trace(flow)) == []


def test_is_in_looks_in_constants() -> None:
    with pytest.raises(TraceError, match=r"is_in looks in a list of constants, but was given 'abc'"):
        is_in(3, "abc")


def test_a_failing_body_leaves_no_block_open() -> None:
    """What the body catches goes on in the block around."""

    @Workflow
    def flow(x: int = 1) -> Any:
        try:
            with when(x > 1):
                raise KeyError
        except KeyError:
            pass
        return double(x)

    assert [item.id for item in trace(flow).operations] == ["when", "double"]
