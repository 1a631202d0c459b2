"""What the golden cases cannot show: graphs that tracing does not make."""

from __future__ import annotations

import pytest

from grandpa_kfp_compiler.graph import (
    HANDLE,
    Arm,
    Branch,
    Call,
    Constant,
    Filled,
    Graph,
    Group,
    Loop,
    Options,
    Parameter,
    ParameterValue,
    Predicate,
    PythonNode,
    TaskOutput,
)
from grandpa_kfp_compiler.json_format import dumps, loads
from grandpa_kfp_compiler.passes import run_passes
from grandpa_kfp_compiler.printer import format_graph

NODE = PythonNode("calc:f", "f")


def test_groups_are_indented_with_their_parameters_and_results() -> None:
    """A body's names are its own."""
    body = Graph(
        "inner",
        (Parameter("in-0", HANDLE), Parameter("n", default=Constant(3))),
        operations=(Call("b", NODE, (ParameterValue("in-0"),), where="calc.py:4"),),
        outputs=(("out", TaskOutput("b")), ("more", ParameterValue("n"))),
    )
    graph = Graph(
        "flow",
        operations=(Call("a", NODE), Group("part 1", body, (("in-0", TaskOutput("a")),), ("a",), "calc.py:9")),
        outputs=(("result", TaskOutput("part 1", "out")),),
    )
    assert format_graph(graph).splitlines() == [
        "workflow flow()",
        "  node calc:f()",
        "  %a = calc:f()",
        '  group %"part 1"(in-0=%a) after %a  # calc.py:9',
        "    takes (in-0: handle, n = 3)",
        "    %b = calc:f($in-0)  # calc.py:4",
        "    return out=%b, more=$n",
        '  return %"part 1".out',
    ]
    assert format_graph(loads(dumps(graph))) == format_graph(graph)


def test_a_fused_group_says_so_with_its_options() -> None:
    """It is one container, which the options are for."""
    body = Graph("inner", operations=(Call("b", NODE),))
    graph = Graph("flow", operations=(Group("step", body, (), (), "calc.py:9", True, Options(cpu="2")),))
    assert format_graph(graph).splitlines()[2] == "  fused group %step() [cpu='2']  # calc.py:9"


def test_branches_and_loops_are_indented_with_what_they_decide_by() -> None:
    """Each arm with its predicate and its body; a loop with its items."""
    body = Graph("when", (Parameter("n"),), operations=(Call("b", NODE, (ParameterValue("n"),)),))
    more = Predicate("~", (Predicate(">", (TaskOutput("a"), Constant(3))),))
    named = Predicate(
        "&", (Predicate("true", (ParameterValue("x"),)), Predicate("in", (TaskOutput("a"), Constant([1]))))
    )
    graph = Graph(
        "flow",
        (Parameter("x"),),
        operations=(
            Call("a", NODE),
            Branch("when", (Arm(more, body), Arm(named, Graph("")), Arm(None, Graph(""))), (("n", TaskOutput("a")),)),
            Loop("each", TaskOutput("a", path=(0,)), "n", body, (), 5, ("when",), "calc.py:9"),
        ),
    )
    assert format_graph(graph).splitlines()[3:] == [
        "  branch %when(n=%a)",
        "    when ~(%a > 3)",
        "      takes (n)",
        "      %b = calc:f($n)",
        "    when ($x) & (%a in [1])",
        "      takes ()",
        "    otherwise",
        "      takes ()",
        "  loop %each() over %a[0] as n [parallelism=5] after %when  # calc.py:9",
        "    takes (n)",
        "    %b = calc:f($n)",
    ]
    assert format_graph(loads(dumps(graph))) == format_graph(graph)


def test_a_constant_that_cannot_be_stored_is_printed_all_the_same() -> None:
    """Printing is for finding faults, so it has none of its own."""
    graph = Graph("flow", operations=(Call("a", NODE, (Constant(x for x in ()), Constant([print, open]))),))
    assert "calc:f(<generator, which cannot be stored>, <pickle, " in format_graph(graph)


@pytest.mark.parametrize(
    ("first", "second"),
    [([0] * 100, [0] * 99 + [1]), (b"x" * 500, b"x" * 499 + b"y"), (range(3), range(4))],
)
def test_different_constants_print_differently(first: object, second: object) -> None:
    """Also where they are too long to be printed whole, or are no literals: a diff shows every change."""
    texts = {
        format_graph(Graph("flow", operations=(Call("a", NODE, (Constant(value),)),))) for value in (first, second)
    }
    assert len(texts) == 2
    assert all(len(text) < 250 for text in texts)


def test_a_value_in_a_hole_of_a_hole() -> None:
    inner = Filled(Constant((None, 2)), (((0,), TaskOutput("a", path=("k", 0, None))),))
    graph = Graph("flow", operations=(Call("b", NODE, (Filled(Constant({"x": None}), (((0,), inner),)),)),))
    assert "%b = calc:f({'x': (%a['k'][0][None], 2)})" in format_graph(graph)


def test_print_after_a_pass_of_many_tasks_shows_the_groups() -> None:
    """More than 100 tasks are nested; the printed graph is again a whole one."""
    calls = [Call("t0", NODE)] + [Call(f"t{i}", NODE, (TaskOutput(f"t{i - 1}"),)) for i in range(1, 150)]
    printed: list[str] = []
    run_passes(
        Graph("flow", operations=tuple(calls), outputs=(("result", TaskOutput("t149")),)),
        print_after="nest_groups",
        write=printed.append,
    )
    lines = "".join(printed).splitlines()
    assert lines[:2] == ["# after nest_groups", "workflow flow()"]
    assert sum(line.lstrip().startswith("%t") for line in lines) == 150
    assert any(line.startswith("  group %") for line in lines)
