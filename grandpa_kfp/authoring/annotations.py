"""Annotations resolved one by one, and signatures as plain data.

An annotation that cannot be evaluated (a name that exists under TYPE_CHECKING alone, a class that was
deleted) says nothing, the others stand. `typing.get_type_hints` gives up on all of them at once.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Mapping
from typing import Any

from grandpa_kfp_compiler.graph import NodeParameter, Signature
from grandpa_kfp_runtime.typespec import ANY, TypeSpec, describe

UNKNOWN = inspect.Signature(
    [
        inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL),
        inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD),
    ]
)
"""Of a callable that does not tell what it takes (some builtins)."""


def signature_of(function: Callable[..., Any]) -> inspect.Signature:
    """The signature with every annotation resolved; `Any` where there is none or it cannot be."""
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError):
        return UNKNOWN
    names = namespace_of(function)
    return signature.replace(
        parameters=[
            parameter.replace(annotation=resolve_annotation(parameter.annotation, names))
            for parameter in signature.parameters.values()
        ],
        return_annotation=resolve_annotation(signature.return_annotation, names),
    )


def resolve_annotation(annotation: Any, names: Mapping[str, Any]) -> Any:
    """The annotation as an object; `Any` for a missing one and one that cannot be evaluated."""
    if annotation is inspect.Parameter.empty:
        return Any
    if not isinstance(annotation, str):
        return annotation
    try:
        return eval(annotation, dict(names))
    except Exception:  # whatever the user's expression raises: this one annotation stays unknown
        return Any


def namespace_of(function: Any) -> dict[str, Any]:
    """The names that a callable's annotations may use: its globals, its closure, builtins by themselves."""
    function = inspect.unwrap(function)
    while isinstance(function, functools.partial):
        function = inspect.unwrap(function.func)
    if isinstance(function, type):
        function = inspect.unwrap(inspect.getattr_static(function, "__init__"))
    elif not isinstance(function, types.FunctionType | types.MethodType) and callable(function):
        function = inspect.unwrap(inspect.getattr_static(type(function), "__call__"))
    function = getattr(function, "__func__", function)
    code = getattr(function, "__code__", None)
    if code is None:
        return {}
    names = dict(function.__globals__)
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            names[name] = cell.cell_contents
        except ValueError:  # an empty cell: the name is bound later
            continue
    return names


def plain_signature(signature: inspect.Signature, *, skip_first: bool = False) -> Signature:
    """The graph's form of a resolved signature; `skip_first` leaves `self` out."""
    parameters = list(signature.parameters.values())
    if skip_first and parameters and parameters[0].kind in _POSITIONAL:
        parameters = parameters[1:]
    return Signature(
        tuple(
            NodeParameter(
                parameter.name,
                parameter.kind.name.lower(),
                type_of(parameter.annotation),
                parameter.default is not inspect.Parameter.empty,
            )
            for parameter in parameters
        ),
        type_of(signature.return_annotation),
    )


def type_of(annotation: Any) -> TypeSpec:
    """The TypeSpec of a resolved annotation."""
    if annotation is Any or annotation is inspect.Parameter.empty:
        return ANY
    return describe(annotation)


_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
