"""Calls against the signatures of what they call: missing, surplus, unknown and doubled arguments."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from ..graph import MISSING, Branch, Call, Graph, Group, Instance, Loop, NodeParameter, Signature, bodies_of
from ..printer import signature_texts
from .faults import Fault, nearest, place_of

BY_POSITION = ("positional_only", "positional_or_keyword")
BY_NAME = ("positional_or_keyword", "keyword_only")


def argument_faults(graph: Graph) -> list[Fault]:
    """One fault a call, instance or group whose arguments its callee cannot take."""
    faults: list[Fault] = []
    for item in (*graph.instances, *graph.operations):
        if not isinstance(item, Call | Instance):
            message = _nested_mismatch(item)
        else:
            signature = known_signature(item)
            message = (
                None if signature is None else mismatch(signature, len(item.args), [name for name, _ in item.kwargs])
            )
            if message is not None:
                message = f"{message}; {_callee(item)} takes {parameters_text(signature)}" if signature else message
        if message is not None:
            faults.append(Fault(place_of(item), message))
    return faults


def known_signature(item: Call | Instance) -> Signature | None:
    """The signature of what is called, None where the node does not tell it."""
    if isinstance(item, Instance):
        wanted = "__init__"
    elif item.instance:
        wanted = item.method or "__call__"
    else:
        wanted = item.method
    for method, signature in item.node.signatures:
        if method == wanted:
            return signature
    return None


def _callee(item: Call | Instance) -> str:
    if isinstance(item, Instance):
        return f"{item.node.name}.__init__"
    return f"{item.node.name}.{item.method or '__call__'}" if item.instance else "the node"


def mismatch(signature: Signature, count: int, names: Sequence[str]) -> str | None:
    """What is wrong with `count` positional arguments and arguments by these names; None if nothing.

    >>> mismatch(Signature((NodeParameter("a"), NodeParameter("b"))), 1, ["c"])
    'argument c is not known'
    """
    parameters = signature.parameters
    positional = [item for item in parameters if item.kind in BY_POSITION]
    if count == len(positional) == len(parameters) and not names:
        return None
    if count > len(positional) and not any(item.kind == "var_positional" for item in parameters):
        return f"{count} argument{'s are' if count > 1 else ' is'} given by position"
    if len(set(names)) < len(names):
        return f"argument {next(name for name in names if names.count(name) > 1)} is given twice"
    return _wrong_name(signature, positional, count, names) or _missing(parameters, positional, count, names)


def _wrong_name(signature: Signature, positional: list[NodeParameter], count: int, names: Sequence[str]) -> str | None:
    by_name = {item.name for item in signature.parameters if item.kind in BY_NAME}
    if not any(item.kind == "var_keyword" for item in signature.parameters):
        for name in names:
            if name not in by_name:
                if any(item.name == name for item in positional):
                    return f"argument {name} is given by name, but is taken by position only"
                return f"argument {name} is not known{nearest(name, sorted(by_name))}"
    for item in positional[:count]:
        if item.name in names and item.name in by_name:
            return f"argument {item.name} is given twice"
    return None


def _missing(
    parameters: tuple[NodeParameter, ...], positional: list[NodeParameter], count: int, names: Sequence[str]
) -> str | None:
    candidates = [*positional[count:], *(item for item in parameters if item.kind == "keyword_only")]
    missing = [
        item.name
        for item in candidates
        if not item.has_default and (item.name not in names or item.kind == "positional_only")
    ]
    return _missing_text(missing)


def _missing_text(missing: list[str]) -> str | None:
    if len(missing) > 1:
        return f"arguments {', '.join(missing[:-1])} and {missing[-1]} are missing"
    return f"argument {missing[0]} is missing" if missing else None


@lru_cache(maxsize=256)
def parameters_text(signature: Signature) -> str:
    """The parameters as a user reads them: `(a, b=..., *, c)`.

    >>> parameters_text(Signature((NodeParameter("a", "positional_only"), NodeParameter("b", "keyword_only"))))
    '(a, /, *, b)'
    """
    return f"({', '.join(signature_texts(signature, types=False))})"


def _nested_mismatch(item: Group | Branch | Loop) -> str | None:
    """Of a group, branch or loop. Of a branch's arguments each arm takes some."""
    given = [name for name, _ in item.arguments]
    if isinstance(item, Loop):
        given.append(item.item)
    parameters = {parameter.name: parameter for body in bodies_of(item) for parameter in body.parameters}
    for name in given:
        if name not in parameters:
            return f"argument {name} is not known{nearest(name, parameters, listed=True)}"
    if len(set(given)) < len(given):
        return f"argument {next(name for name in given if given.count(name) > 1)} is given twice"
    return _missing_text([
        name for name, parameter in parameters.items() if name not in given and parameter.default is MISSING
    ])  # fmt: skip
