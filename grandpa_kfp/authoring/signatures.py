"""Checks a call's arguments against a signature, and says in one sentence what does not match."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from .options import nearest

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@dataclass(frozen=True, slots=True)
class Shape:
    """How many arguments a callable takes by position, for the short way through `mismatch`.

    least, most: by position alone; most is -1 where that never suffices (a required keyword-only one).
    files: position, name and default of the parameters whose default is a `File`.
    """

    signature: inspect.Signature
    least: int
    most: int
    files: tuple[tuple[int, str, Any], ...] = ()

    def with_files(self, count: int, named: dict[str, Any]) -> dict[str, Any]:
        """The keyword arguments, with the `File` defaults that a call leaves out: a task gets their content."""
        added = {name: file for index, name, file in self.files if index >= count and name not in named}
        return {**named, **added} if added else named


def shape_of(signature: inspect.Signature) -> Shape:
    """The signature with its counts."""
    parameters = signature.parameters.values()
    positional = [item for item in parameters if item.kind in _POSITIONAL]
    least = sum(item.default is item.empty for item in positional)
    most = len(positional)
    if any(item.kind is item.VAR_POSITIONAL for item in parameters):
        most = 1 << 30
    if any(item.kind is item.KEYWORD_ONLY and item.default is item.empty for item in parameters):
        most = -1
    files = tuple(
        (index, item.name, item.default)
        for index, item in enumerate(parameters)
        if type(item.default).__module__ == "grandpa_kfp_runtime.values.files" and item.kind in _BY_NAME
    )
    return Shape(signature, least, most, files)


def mismatch(shape: Shape, count: int, names: Collection[str], *, bound: int = 0, what: str = "the node") -> str | None:
    """What is wrong with a call of `count` positional arguments and keyword arguments `names`; None if nothing.

    bound: how many of the positional ones the user did not write (`self`).

    >>> def subtract(a, b): ...
    >>> mismatch(shape_of(inspect.signature(subtract)), 1, ())
    'argument b is missing; the node takes (a, b)'
    """
    if not names and shape.least <= count <= shape.most:
        return None
    reason = _reason(list(shape.signature.parameters.values()), count, names, bound)
    return None if reason is None else f"{reason}; {what} takes {text_of(shape.signature, bound)}"


def _reason(parameters: list[inspect.Parameter], count: int, names: Collection[str], bound: int) -> str | None:
    positional = [item for item in parameters if item.kind in _POSITIONAL]
    takes_more = any(item.kind is item.VAR_POSITIONAL for item in parameters)
    if count > len(positional) and not takes_more:
        return f"{_number(count - bound)} given by position"
    by_name = {item.name for item in parameters if item.kind in (item.POSITIONAL_OR_KEYWORD, item.KEYWORD_ONLY)}
    takes_any_name = any(item.kind is item.VAR_KEYWORD for item in parameters)
    for name in names:
        if name not in by_name and not takes_any_name:
            if any(item.name == name for item in positional):
                return f"argument {name} is given by name, but is taken by position only"
            return f"argument {name} is not known{nearest(name, sorted(by_name)) if _close(name, by_name) else ''}"
    for item in positional[:count]:
        if item.name in names and item.name in by_name:
            return f"argument {item.name} is given twice"
    missing = [item.name for item in positional[count:] if item.default is item.empty and item.name not in names]
    missing += [
        item.name
        for item in parameters
        if item.kind is item.KEYWORD_ONLY and item.default is item.empty and item.name not in names
    ]
    if len(missing) == 1:
        return f"argument {missing[0]} is missing"
    return f"arguments {', '.join(missing[:-1])} and {missing[-1]} are missing" if missing else None


def _number(count: int) -> str:
    return f"{count} argument is" if count == 1 else f"{count} arguments are"


def _close(name: str, known: Iterable[str]) -> bool:
    return nearest(name, known).startswith("; did you mean")


def text_of(signature: inspect.Signature, bound: int = 0) -> str:
    """The parameters as a user reads them, without annotations: `(a, b=2, *, c)`."""
    parameters = [item.replace(annotation=item.empty) for item in signature.parameters.values()][bound:]
    try:
        return str(inspect.Signature(parameters))
    except Exception:  # the repr of a user's default may raise anything
        return "(" + ", ".join(item.name for item in parameters) + ")"
