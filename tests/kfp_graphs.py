"""Graphs made by hand for the compiler's tests, and the reading of what comes out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import yaml

from grandpa_kfp_compiler.graph import (
    MISSING,
    Call,
    Code,
    Constant,
    Filled,
    Graph,
    NodeParameter,
    Parameter,
    ParameterValue,
    PythonNode,
    Signature,
    TaskOutput,
    TypeSpec,
    Value,
)
from grandpa_kfp_compiler.kfp import Compiled, CompileOptions, compile_graph
from grandpa_kfp_compiler.kfp.code import add_code, plan_code
from grandpa_kfp_compiler.kfp.emit import emit
from grandpa_kfp_compiler.kfp.executors import Executors
from grandpa_kfp_compiler.kfp.lower import lower
from grandpa_kfp_compiler.passes import run_passes

CODE = Code("ab" * 32, b"PK a zip, as far as the compiler is concerned", "3.12")


def node(name: str, *parameters: str, outputs: tuple[str, ...] = ("result",), fingerprint: str = "") -> PythonNode:
    """A function node; a parameter `*xs` takes the rest."""
    kinds = [NodeParameter(p[1:], "var_positional") if p.startswith("*") else NodeParameter(p) for p in parameters]
    print_of = fingerprint or f"{sum(map(ord, name)):064x}"
    return PythonNode(f"calc:{name}", name, False, (("", Signature(tuple(kinds))),), outputs, print_of, "calc.py:1")


ADD = node("add", "a", "b")
TOTAL = node("total", "values")
STATS = node("stats", "values", outputs=("mean", "std"))


def call(id_: str, of: PythonNode, *args: Any, **more: Any) -> Call:
    """A task; arguments that are no Values are constants."""
    where = more.pop("where", "calc.py:9")
    return Call(id_, of, tuple(_value(arg) for arg in args), where=where, **more)


def _value(arg: Any) -> Value:
    return arg if isinstance(arg, Constant | TaskOutput | ParameterValue | Filled) else Constant(arg)


def listed(*values: Value) -> Filled:
    """A list of Refs."""
    return Filled(Constant([None] * len(values)), tuple(((index,), value) for index, value in enumerate(values)))


def graph(*operations: Any, name: str = "calc", result: Value | None = None, **more: Any) -> Graph:
    """A packed graph whose result is its last task's, unless told."""
    value = TaskOutput(operations[-1].id) if result is None else result
    parameters = tuple(more.pop("parameters", ()))
    return Graph(name, parameters, (), operations, (("result", value),), code=more.pop("code", CODE), **more)


def parameter(name: str, type_: str, default: Any = MISSING, description: str = "") -> Parameter:
    constant = default if default is MISSING else Constant(default)
    return Parameter(name, TypeSpec(type_), constant, description)


def chain(count: int, *, fan_in: int = 4) -> Graph:
    """A chain of `count` tasks; every tenth takes a list of the last few."""
    operations: list[Call] = []
    for index in range(count):
        before = [TaskOutput(operation.id) for operation in operations[-fan_in:]]
        if index % 10 == 9:
            operations.append(call(f"total-{index}", TOTAL, listed(*before)))
        else:
            first: Value = before[-1] if before else ParameterValue("a")
            second: Value = before[0] if len(before) > 1 else Constant(index)
            operations.append(call(f"add-{index}", ADD, first, second))
    return graph(*operations, parameters=[parameter("a", "int", 3)])


def compiled(of: Graph, **options: Any) -> Compiled:
    return compile_graph(of, CompileOptions(**options))


def written(of: Graph) -> str:
    """The text of a graph however large, nothing fused, with inline code: what `compile_graph` would refuse."""
    options = CompileOptions(code="inline", fuse="none")
    executors = Executors(options, "image", "3.12", "0")
    bare = lower(run_passes(of, mode="none"), options, executors)
    assert of.code is not None
    return emit(add_code(bare, plan_code(of.code, bare, options), of.code, options, executors), "0")


def documents(of: Graph, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both documents, as PyYAML reads them."""
    found = list(yaml.safe_load_all(compiled(of, **options).text))
    return found[0], found[1] if len(found) > 1 else {}


def edges_of(spec: dict[str, Any]) -> set[tuple[str, str, str]]:
    """(producer, its output, consumer) of every edge between containers, groups looked through."""
    edges: set[tuple[str, str, str]] = set()
    _walk(spec, spec["root"], {}, edges)
    return edges


def _walk(
    spec: dict[str, Any], component: dict[str, Any], given: dict[str, Any], edges: set[tuple[str, str, str]]
) -> dict[str, Any]:
    """The component's outputs as (container task, output), its own parameters given."""
    tasks = component["dag"]["tasks"]
    made: dict[tuple[str, str], Any] = {}

    def origin(source: dict[str, Any]) -> Any:
        if "taskOutputParameter" in source:
            of = source["taskOutputParameter"]
            return made[of["producerTask"], of["outputParameterKey"]]
        return given.get(source["componentInputParameter"]) if "componentInputParameter" in source else None

    waiting = dict(tasks)
    while waiting:  # a task when all that it waits for is done
        key = next(key for key, task in waiting.items() if not set(task.get("dependentTasks", ())) & waiting.keys())
        task = waiting.pop(key)
        inner = spec["components"][task["componentRef"]["name"]]
        sources = {name: origin(src) for name, src in task.get("inputs", {}).get("parameters", {}).items()}
        if "dag" in inner:
            for name, value in _walk(spec, inner, sources, edges).items():
                made[key, name] = value
        else:
            edges.update((*value, key) for value in sources.values() if value is not None)
            for name in inner.get("outputDefinitions", {}).get("parameters", {}):
                made[key, name] = (key, name)
    outputs = component["dag"].get("outputs", {}).get("parameters", {})
    return {
        name: made[of["valueFromParameter"]["producerSubtask"], of["valueFromParameter"]["outputParameterKey"]]
        for name, of in outputs.items()
    }


def with_options(of: Call, **options: Any) -> Call:
    return replace(of, options=replace(of.options, **options))
