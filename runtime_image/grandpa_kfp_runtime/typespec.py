"""Types as plain data: what an annotation says, without the classes it names.

A graph, an interface and a graph file carry types as `TypeSpec`, so that edges can be checked and
parameters converted by a reader that has not imported the user's code. `describe` makes one from an
annotation, `fits` compares two.
"""

from __future__ import annotations

import collections.abc
import enum
import sys
import types
import typing
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

Json = Any
"""A JSON value: None, bool, int, float, str, list, dict with str keys."""


@dataclass(frozen=True, slots=True)
class TypeSpec:
    """One type.

    name: a builtin by its bare name (`int`, `list`, `None`), any other class as `module:qualname`;
        `union`, `literal` and `any` for the forms that are no class.
    args: the type's arguments, of a union its members; `tuple[int, ...]` is (int, `...`).
    bases: names of all classes it inherits from, `object` left out, so that `fits` needs no import.
    values: the members of a literal, the names of an enum's members.
    """

    name: str
    args: tuple[TypeSpec, ...] = ()
    bases: tuple[str, ...] = ()
    values: tuple[Json, ...] = ()

    def __str__(self) -> str:
        if self.name == "union":
            return " | ".join(map(str, self.args))
        if self.name == "literal":
            return f"Literal[{', '.join(map(repr, self.values))}]"
        short = self.name.rpartition(":")[2]
        return f"{short}[{', '.join(map(str, self.args))}]" if self.args else short

    def to_json(self) -> Json:
        """A string where the name says it all, else an object."""
        if not (self.args or self.bases or self.values):
            return self.name
        parts: dict[str, Json] = {"name": self.name}
        if self.args:
            parts["args"] = [arg.to_json() for arg in self.args]
        if self.bases:
            parts["bases"] = list(self.bases)
        if self.values:
            parts["values"] = list(self.values)
        return parts

    @classmethod
    def from_json(cls, data: Json) -> TypeSpec:
        if isinstance(data, str):
            return cls(data)
        return cls(
            data["name"],
            tuple(cls.from_json(arg) for arg in data.get("args", ())),
            tuple(data.get("bases", ())),
            tuple(data.get("values", ())),
        )


ANY = TypeSpec("any")
NONE = TypeSpec("None")
_ELLIPSIS = TypeSpec("...")
_ABSTRACT = {
    collections.abc.Sequence: "Sequence",
    collections.abc.Iterable: "Iterable",
    collections.abc.Mapping: "Mapping",
    collections.abc.Collection: "Collection",
}


def describe(annotation: Any) -> TypeSpec:
    """The TypeSpec of a resolved annotation; `ANY` for what cannot be said (TypeVar, Callable, ...).

    >>> str(describe(dict[str, list[int]]))
    'dict[str, list[int]]'
    >>> str(describe(int | None))
    'int | None'
    >>> str(describe(Literal["a", 1])), str(describe(Literal[b"a"]))
    ("Literal['a', 1]", 'bytes')
    """
    if annotation is None or annotation is type(None):
        return NONE
    if annotation is Ellipsis:
        return _ELLIPSIS
    if annotation is Any or annotation is object or isinstance(annotation, TypeVar | str):
        return ANY
    origin = typing.get_origin(annotation)
    if origin is Annotated:
        return describe(typing.get_args(annotation)[0])
    if origin is typing.Union or origin is types.UnionType:
        members = tuple(describe(arg) for arg in typing.get_args(annotation))
        return ANY if ANY in members else TypeSpec("union", members)
    if origin is Literal:
        return _describe_literal(typing.get_args(annotation))
    if origin is not None:
        base = describe(origin)
        if base.name in ("any", "Iterable") or not isinstance(origin, type):
            return base
        return TypeSpec(base.name, tuple(describe(arg) for arg in typing.get_args(annotation)), base.bases)
    if not isinstance(annotation, type):
        supertype = getattr(annotation, "__supertype__", None)  # NewType
        return describe(supertype) if supertype is not None else ANY
    return _describe_class(annotation)


def _describe_literal(members: tuple[Any, ...]) -> TypeSpec:
    """Members that JSON lacks (of an enum, bytes) stand for their types: a graph file holds every TypeSpec."""
    if all(member is None or type(member) in (str, int, bool) for member in members):
        return TypeSpec("literal", values=members)
    kinds = tuple(dict.fromkeys(describe(type(member)) for member in members))
    return kinds[0] if len(kinds) == 1 else TypeSpec("union", kinds)


def _describe_class(cls: type) -> TypeSpec:
    if cls in _ABSTRACT:
        return TypeSpec(_ABSTRACT[cls])
    if getattr(cls, "_is_protocol", False):
        return ANY
    bases = tuple(_class_name(base) for base in cls.__mro__[1:] if base is not object)
    values = tuple(member.name for member in cls) if issubclass(cls, enum.Enum) else ()
    return TypeSpec(_class_name(cls), (), bases, values)


def _class_name(cls: type) -> str:
    module = cls.__module__
    if module == "builtins":
        return cls.__name__
    public = module.partition("._")[0]  # pathlib.Path lives in pathlib._local in 3.13
    if public != module and getattr(sys.modules.get(public), cls.__qualname__, None) is cls:
        module = public
    return f"{module}:{cls.__qualname__}"


_WIDER = {
    "int": {"float", "complex"},
    "bool": {"float", "complex"},
    "float": {"complex"},
    "list": {"Sequence", "Iterable", "Collection"},
    "tuple": {"Sequence", "Iterable", "Collection"},
    "str": {"Sequence", "Iterable", "Collection"},
    "bytes": {"Sequence", "Iterable", "Collection"},
    "set": {"Iterable", "Collection"},
    "frozenset": {"Iterable", "Collection"},
    "dict": {"Mapping", "Iterable", "Collection"},
}


def fits(given: TypeSpec, wanted: TypeSpec) -> bool:
    """Whether a value of type `given` may be passed where `wanted` is asked; False only when it cannot be.

    >>> fits(describe(int), describe(float)), fits(describe(str), describe(int))
    (True, False)
    """
    if given.name == "any" or wanted.name == "any":
        return True
    if given.name == "union":  # some member may be what arrives: only refuse what can never fit
        return any(fits(member, wanted) for member in given.args)
    if wanted.name == "union":
        return any(fits(given, member) for member in wanted.args)
    if given.name == "literal":
        return any(fits(describe(type(value)), wanted) for value in given.values)
    if wanted.name == "literal":
        return any(fits(given, describe(type(value))) for value in wanted.values)
    if wanted.name == given.name:
        return _arguments_fit(given, wanted)
    return wanted.name in given.bases or any(wanted.name in _WIDER.get(name, ()) for name in (given.name, *given.bases))


def _arguments_fit(given: TypeSpec, wanted: TypeSpec) -> bool:
    if not given.args or not wanted.args:
        return True
    if given.name == "tuple" and (_ELLIPSIS in given.args or _ELLIPSIS in wanted.args):
        return fits(given.args[0], wanted.args[0])
    return len(given.args) == len(wanted.args) and all(map(fits, given.args, wanted.args))
