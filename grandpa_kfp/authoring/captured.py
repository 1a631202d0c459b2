"""Finds Refs and shared objects that a node's function would read from its globals, closure or defaults.

Such a Ref never reaches the task: the function would see the promise itself, in another process not even
that; and of a shared object another process has one of its own. Tracing reports each as a fault.
"""

from __future__ import annotations

import dis
import functools
import types
from collections.abc import Iterator, Mapping
from typing import Any

from grandpa_kfp_compiler.graph import Node
from grandpa_kfp_runtime.values.sharing import is_shared

from .refs import Ref

_GLOBAL_READS = frozenset({"LOAD_GLOBAL", "LOAD_NAME"})


def captured_refs(node: Node) -> list[str]:
    """One fault for each Ref or shared object that the node's code reads from outside its arguments."""
    faults = []
    for name, found in dict(_captured(node.target)).items():
        kind = "Ref" if isinstance(found, Ref) else "shared object"
        faults.append(
            f"{node.name} ({node.where}): the node reads the {kind} {name} ({found!r}) from outside; "
            "pass it to the node as an argument"
        )
    return faults


def _captured(target: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(target, type):
        for name, member in vars(target).items():
            function = getattr(member, "__func__", member)
            if isinstance(function, types.FunctionType):
                yield from _in_function(function)
            elif _is_foreign(member):
                yield name, member
    elif isinstance(target, functools.partial):
        for index, value in enumerate(target.args):
            if _is_foreign(value):
                yield f"argument {index + 1}", value
        yield from _refs_in(target.keywords)
        yield from _captured(target.func)
    else:
        function = getattr(target, "__func__", target)
        if isinstance(function, types.FunctionType):
            yield from _in_function(function)


def _is_foreign(value: Any) -> bool:
    return isinstance(value, Ref) or is_shared(value)


def _refs_in(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    return ((name, value) for name, value in values.items() if _is_foreign(value))


def _in_function(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            value = cell.cell_contents
        except ValueError:  # not bound yet
            continue
        if _is_foreign(value):
            yield name, value
    code = function.__code__
    defaults = function.__defaults__ or ()
    positional = code.co_varnames[: code.co_argcount]
    yield from _refs_in(dict(zip(positional[len(positional) - len(defaults) :], defaults, strict=True)))
    yield from _refs_in(function.__kwdefaults__ or {})
    yield from _in_code(code, function.__globals__)


def _in_code(code: types.CodeType, names: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    # co_names holds attribute names as well: look at the instructions, but only where a name may be one
    suspects = {name: names[name] for name in code.co_names if _is_foreign(names.get(name))}
    if suspects:
        for instruction in dis.get_instructions(code):
            if instruction.opname in _GLOBAL_READS and instruction.argval in suspects:
                yield instruction.argval, suspects[instruction.argval]
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _in_code(constant, names)
