"""Fused groups become one task each: the call, the graph in the code zip, the fingerprint, the component."""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf.json_format import ParseDict
from kfp.components import load_component_from_text
from kfp.pipeline_spec.pipeline_spec_pb2 import PipelineSpec, PlatformSpec
from kfp_graphs import ADD, STATS, TOTAL, call, compiled, documents, graph, listed, parameter
from kfp_rules import broken_rules

from grandpa_kfp_compiler.graph import (
    HANDLE,
    RESULT,
    Call,
    Code,
    Constant,
    ContainerNode,
    Graph,
    Group,
    NodeParameter,
    Options,
    Parameter,
    ParameterValue,
    PythonNode,
    Signature,
    TaskOutput,
    TypeSpec,
)
from grandpa_kfp_compiler.json_format import loads
from grandpa_kfp_compiler.passes.fused_steps import fused_steps
from grandpa_kfp_compiler.printer import format_graph
from grandpa_kfp_runtime.code.payload import write_zip
from grandpa_kfp_runtime.contract import FUSED, fused_member
from grandpa_kfp_runtime.errors import CompileError

GOLDEN = Path(__file__).parent / "cases" / "fused.yaml"
ZIP = write_zip({"calc.py": b"def add(a, b): return a + b\n"})
CODE = Code(hashlib.sha256(ZIP).hexdigest(), ZIP, "3.12")
SCORE = PythonNode(
    "calc:score",
    "score",
    signatures=(("", Signature((NodeParameter("x"),), TypeSpec("grandpa_kfp_runtime.logged.kinds:Metrics"))),),
    fingerprint="5" * 64,
    logs=("log_artifact",),
)


def body(*operations: Any, takes: tuple[str, ...] = ("first",), **outputs: TaskOutput) -> Graph:
    given = outputs or {"out": TaskOutput(operations[-1].id)}
    named = tuple((name.replace("_", "-"), value) for name, value in given.items())
    return Graph("part", tuple(Parameter(name, HANDLE) for name in takes), (), operations, named, where="calc.py:5")


def steps(inside: Graph, **more: Any) -> Graph:
    """A task, a step of this graph, and a task that reads its first output."""
    options = more.pop("options", Options(memory="2Gi"))
    group = Group("part", inside, (("first", TaskOutput("add")),), (), "calc.py:5", True, options)
    after = call("after", TOTAL, TaskOutput("part", inside.outputs[0][0]))
    return graph(call("add", ADD, 1, 2), group, after, code=more.pop("code", CODE), **more)


def inner(**more: Any) -> Graph:
    return body(call("total", TOTAL, ParameterValue("first"), **more), call("plus", ADD, TaskOutput("total"), 1))


def step_of(of: Graph) -> Call:
    (found,) = [
        item for item in fused_steps(of).operations if isinstance(item, Call) and item.node.key.startswith(FUSED)
    ]
    return found


def graph_in(of: Graph) -> Graph:
    """The graph file of the only step."""
    made = fused_steps(of)
    assert made.code is not None
    assert made.code.sha256 == hashlib.sha256(made.code.zip).hexdigest()
    with zipfile.ZipFile(io.BytesIO(made.code.zip)) as archive:
        (name,) = [name for name in archive.namelist() if "/fused/" in name]
        assert name == fused_member(step_of(of).node.fingerprint)
        assert archive.read("calc.py") == b"def add(a, b): return a + b\n"
        return loads(archive.read(name))


def test_a_step_is_a_call_whose_graph_lies_in_the_code() -> None:
    of = steps(inner())
    step = step_of(of)
    assert (step.id, step.args, step.node.outputs, step.options) == (
        "part", (TaskOutput("add"),), (RESULT,), Options(memory="2Gi"),
    )  # fmt: skip
    assert fused_steps(of).operations[2] == call("after", TOTAL, TaskOutput("part"))
    assert [item.id for item in graph_in(of).operations] == ["total", "plus"]


def test_compiled_steps_are_the_same_bytes_and_kubeflow_reads_them(request: pytest.FixtureRequest) -> None:
    scored = body(
        call("stats", STATS, ParameterValue("first")),
        call("score", SCORE, TaskOutput("stats", "mean")),
        mean=TaskOutput("stats", "mean"),
        scored_well=TaskOutput("score"),
    )
    text = compiled(steps(scored)).text
    shown = re.sub(r"(name: GRANDPA_CODE\n +value: ).*", r"\1...", text)  # as this version of zstd compresses it
    if request.config.getoption("--update"):
        GOLDEN.write_text(shown, "utf-8")
    assert shown == GOLDEN.read_text("utf-8")
    spec, platform = yaml.load_all(text, Loader=yaml.CSafeLoader)
    assert broken_rules(spec, platform) == []
    load_component_from_text(text)
    ParseDict(spec, PipelineSpec())
    ParseDict(platform, PlatformSpec())
    artifacts = spec["components"]["comp-part"]["outputDefinitions"]["artifacts"]
    assert {name: item["artifactType"]["schemaTitle"] for name, item in artifacts.items()} == {
        "mean-preview": "system.Artifact", "scored-well-preview": "system.Metrics",
        "logged-artifacts": "system.HTML", "fused-tasks": "system.HTML",
    }  # fmt: skip


CHANGES: dict[str, Callable[[Graph], Graph]] = {
    "a name": lambda found: replace(
        found,
        operations=(replace(found.operations[0], id="sum"), call("plus", ADD, TaskOutput("sum"), 1)),
    ),
    "a line": lambda found: replace(
        found, operations=tuple(replace(item, where="x.py:1") for item in found.operations)
    ),
    "retries": lambda found: _with_options(found, Options(retries=3, timeout_s=60.0, cpu="2")),
}


def _with_options(found: Graph, options: Options) -> Graph:
    return replace(found, operations=tuple(replace(item, options=options) for item in found.operations))  # type: ignore[call-arg]


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_counts_for_no_result_leaves_the_fingerprint(change: Callable[[Graph], Graph]) -> None:
    """As it leaves the cache keys of the tasks, where they stand apart."""
    assert step_of(steps(change(inner()))).node == replace(
        step_of(steps(inner())).node, where=step_of(steps(change(inner()))).node.where
    )


OTHERS: dict[str, Graph] = {
    "code": body(call("total", replace(TOTAL, fingerprint="7" * 64), ParameterValue("first")),
                 call("plus", ADD, TaskOutput("total"), 1)),
    "a constant": body(call("total", TOTAL, ParameterValue("first")), call("plus", ADD, TaskOutput("total"), 2)),
    "an edge": body(call("total", TOTAL, ParameterValue("first")), call("plus", ADD, ParameterValue("first"), 1)),
    "a version": _with_options(inner(), Options(version="2")),
}  # fmt: skip


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_what_counts_for_a_result_changes_the_fingerprint(other: Graph) -> None:
    assert step_of(steps(other)).node.fingerprint != step_of(steps(inner())).node.fingerprint


def test_equal_steps_that_run_differently_have_a_graph_each() -> None:
    """Retries are no part of a fingerprint, but of the graph."""
    tried = _with_options(inner(), Options(retries=3))
    groups = [
        Group(name, inside, (("first", TaskOutput("add")),), fused=True)
        for name, inside in (("one", inner()), ("two", tried), ("three", inner(where="other.py:1")))
    ]
    made = fused_steps(graph(call("add", ADD, 1, 2), *groups, result=TaskOutput("one", "out"), code=CODE))
    one, two, three = (item.node.key for item in made.operations[1:])  # type: ignore[union-attr]
    assert one == three != two


def test_a_step_is_cached_only_where_all_its_tasks_are() -> None:
    for options, cached in ((Options(), True), (Options(cache=False), False), (Options(fallback="null"), False)):
        spec, _ = documents(steps(inner(options=options)))
        assert spec["root"]["dag"]["tasks"]["part"]["cachingOptions"]["enableCache"] is cached


def test_parts_constants_and_structures_move_into_the_step() -> None:
    """A step's arguments are whole outputs and parameters."""
    inside = body(
        call("total", TOTAL, ParameterValue("whole", (0,)), ParameterValue("const"), ParameterValue("part"),
             ParameterValue("both", (1,))),
        takes=("whole", "const", "part", "both"),
    )  # fmt: skip
    group = Group(
        "part", inside,
        (("whole", TaskOutput("add")), ("const", Constant(5)), ("part", TaskOutput("add", path=("k",))),
         ("both", listed(TaskOutput("add", path=(2,)), ParameterValue("n")))),
        fused=True,
    )  # fmt: skip
    of = graph(
        call("add", ADD, 1, 2),
        group,
        result=TaskOutput("part", "out"),
        code=CODE,
        parameters=[parameter("n", "int", 1)],
    )
    assert step_of(of).args == (TaskOutput("add"), TaskOutput("add"), TaskOutput("add"), ParameterValue("n"))
    assert format_graph(graph_in(of)).splitlines()[3:] == [
        "  %both-argument = grandpa_kfp_runtime.builtins:identity([$both--2[2], $both--3])",
        "  %total = calc:total($whole[0], $const, $part['k'], %both-argument[1])  # calc.py:9",
        "  return %total",
    ]


def test_steps_in_branches_and_groups_are_steps_too() -> None:
    inside = Group("part", body(call("add", ADD, 1, 2), takes=()), fused=True)
    outer = Group("outer", Graph("outer", operations=(inside,), outputs=(("out", TaskOutput("part", "out")),)))
    made = fused_steps(graph(outer, result=TaskOutput("outer", "out"), code=CODE))
    (found,) = made.operations
    assert isinstance(found, Group)
    assert isinstance(found.body.operations[0], Call)
    assert found.body.outputs == (("out", TaskOutput("part")),)


def test_a_container_of_another_image_cannot_be_fused() -> None:
    container = ContainerNode("container:x", "x", "busybox")
    with pytest.raises(CompileError, match=r"x \(calc.py:9\): it is a container of its own"):
        fused_steps(steps(body(Call("x", container, where="calc.py:9"), out=TaskOutput("x", "y"))))


def test_a_graph_without_fused_groups_stays_what_it_is() -> None:
    of = graph(call("add", ADD, 1, 2))
    assert fused_steps(of) is of
