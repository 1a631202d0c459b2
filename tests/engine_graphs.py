"""Graphs made by hand for the engine's tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from grandpa_kfp_compiler.graph import (
    Call,
    Constant,
    Filled,
    Graph,
    NodeParameter,
    Options,
    PythonNode,
    Signature,
    TaskOutput,
)


def node(target: Callable[..., Any], *, outputs: tuple[str, ...] = ("result",), name: str = "") -> PythonNode:
    """A node of a plain function; its parameters are the function's."""
    code = target.__code__
    parameters = tuple(NodeParameter(item) for item in code.co_varnames[: code.co_argcount])
    shown = name or target.__name__.strip("<>")
    return PythonNode(
        f"tests:{shown}", shown, signatures=(("", Signature(parameters)),), outputs=outputs, target=target
    )


def call(id_: str, target: Any, *args: Any, after: tuple[str, ...] = (), **options: Any) -> Call:
    """A task; arguments that are no graph values become constants."""
    made = target if isinstance(target, PythonNode) else node(target, name=id_)
    values = tuple(item if isinstance(item, TaskOutput | Filled | Constant) else Constant(item) for item in args)
    return Call(id_, made, values, options=Options(**options), after=after, where=f"flow.py:{len(id_)}")


def graph(*calls: Call, result: Any = None) -> Graph:
    """A workflow of these tasks; `result` names the task whose value it returns."""
    outputs = () if result is None else (("result", TaskOutput(result) if isinstance(result, str) else result),)
    return Graph("flow", operations=calls, outputs=outputs, where="flow.py:1")


def of(task: str, output: str = "result", *path: Any) -> TaskOutput:
    return TaskOutput(task, output, path)
