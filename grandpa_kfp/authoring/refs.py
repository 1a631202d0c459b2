"""`Ref`: what a node call returns, a promise of one value.

It can be passed on, indexed, unpacked where its parts are known, compared (for a `Condition`) and
resolved. Whatever else one does with a value raises a TraceError that says where, what, and what to
write instead: a Ref that silently behaved as a value would build the wrong graph.
Our own code never compares, searches or indexes Refs; `is` and `type()` are safe.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterator
from typing import Any, Generic, NoReturn, TypeVar

from grandpa_kfp_runtime.errors import RefAttributeError, TraceError

from .conditions import Condition
from .where import here

T = TypeVar("T", covariant=True)


class Origin:
    """Where a Ref's value comes from: a recorded task, a free call, a parameter.

    name, where: for messages; outputs: the names a node declares, None for a single result;
    tracer: the trace that it belongs to, None for a free call; block: the `blocks.Block` of that trace.
    """

    __slots__ = ("block", "name", "outputs", "tracer", "where")
    block: Any
    name: str
    where: str
    outputs: tuple[str, ...] | None
    tracer: Any

    def annotation(self) -> Any:
        """The resolved annotation of the whole value, `Any` where there is none."""
        return Any

    def describe(self) -> str:
        """`the result of subtract-2 (calc.py:14)`."""
        return f"the result of {self.name}" + (f" ({self.where})" if self.where else "")

    def advice(self) -> str:
        """What to write instead, beyond a node that does it."""
        return ""


class Promise:
    """What stands in an argument for something that exists only when the graph runs: a Ref, an Instance."""

    __slots__ = ()


class Ref(Promise, Generic[T]):
    """A promise of one value; made by calling a node, never by hand.

    `ref[key]` is a Ref of that part; `a, b = ref` and `ref.name` work where outputs are declared or the
    annotation is a `tuple[...]` or NamedTuple; `ref == 3` is a Condition; `ref.resolve()` runs what is
    needed and gives the value, outside a workflow.
    Anything else that needs the value raises TraceError.

    >>> from grandpa_kfp import Node
    >>> @Node
    ... def subtract(a: int, b: int) -> int:
    ...     return a - b
    >>> subtract(subtract(7, 2), 1).resolve()
    4
    """

    __slots__ = ("__weakref__", "_origin", "_output", "_path")
    __array_ufunc__ = None
    _origin: Origin
    _output: str | None  # None: the whole
    _path: tuple[Any, ...]

    def __init__(self, origin: Origin, output: str | None = None, path: tuple[Any, ...] = ()) -> None:
        _set_origin(self, origin)
        _set_output(self, output)
        _set_path(self, path)

    def resolve(self) -> T:
        """Runs what the value needs, once, and returns it. Raises TaskError when a node's body fails."""
        from .growing import resolve_all

        return typing.cast(T, resolve_all([self])[0])

    @staticmethod
    def __grandpa_resolve__(refs: list[Any]) -> list[Any]:
        """How the runtime has the Refs that a body returned evaluated, all of one task at once."""
        from .growing import resolve_all

        return resolve_all(refs)

    # --- parts ---------------------------------------------------------------------------------

    def __call__(self, *args: Any, **kwargs: Any) -> Ref[T]:
        if args or kwargs:
            raise TraceError(
                f"{here()}: {describe(self)} was called with arguments; it is a result already, pass them to the node"
            )
        return self

    def __getitem__(self, key: Any) -> Ref[Any]:
        if isinstance(key, Promise | Condition):
            raise TraceError(
                f"{here()}: {describe(self)} was indexed with a {type(key).__name__}, whose value is not known yet; "
                "pick the item inside a node that takes both"
            )
        outputs = self._origin.outputs
        if outputs is not None and self._output is None:
            return self._declared(key, outputs)
        if type(key) is str and outputs == (key,) and not self._path:
            return self  # a single declared output is the whole result
        parts = _parts_of(self)
        if parts is not None and type(key) is int and not -len(parts) <= key < len(parts):
            raise TraceError(
                f"{here()}: {describe(self)} has {len(parts)} items by its annotation, there is no [{key}]"
            )
        return Ref(self._origin, self._output, (*self._path, key))

    def _declared(self, key: Any, outputs: tuple[str, ...]) -> Ref[Any]:
        if type(key) is int and -len(outputs) <= key < len(outputs):
            return Ref(self._origin, outputs[key])
        if type(key) is str and key in outputs:
            return Ref(self._origin, key)
        raise TraceError(f"{here()}: {describe(self)} has the outputs {', '.join(outputs)}, there is no [{key!r}]")

    def __iter__(self) -> Iterator[Ref[Any]]:
        count = _known_length(self)
        if count is None:
            refuse(
                self,
                "was iterated over or unpacked",
                "declare @Node(outputs=(...)) or annotate the node's result as tuple[...] to unpack it, "
                "write `with each(...) as item:` to loop over it, or loop inside a node",
            )
        return iter([self[index] for index in range(count)])

    def __len__(self) -> int:
        count = _known_length(self)
        if count is None:
            refuse(self, "was asked for its length", "call len() inside a node")
        return count

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        outputs = self._origin.outputs
        if outputs is not None and self._output is None:
            if name in outputs:
                return Ref(self._origin, name)
            known = f"its outputs are {', '.join(outputs)}"
        elif outputs == (name,) and not self._path:
            return self
        else:
            fields = _fields_of(self)
            if name in fields:
                return Ref(self._origin, self._output, (*self._path, fields.index(name)))
            known = f"its items are {', '.join(fields)}" if fields else "its value is not known yet"
        raise RefAttributeError(
            f"{here()}: the attribute {name!r} of {describe(self)} was read, but {known}; "
            f"read it inside a node{self._origin.advice()}"
        )

    # --- identity, display, comparison ---------------------------------------------------------

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        origin = self._origin
        part = ("" if self._output is None else f".{self._output}") + "".join(f"[{key!r}]" for key in self._path)
        return f"<Ref {origin.name}{part}" + (f" ({origin.where})>" if origin.where else ">")

    def __copy__(self) -> Ref[T]:
        return self

    def __deepcopy__(self, memo: Any) -> Ref[T]:
        return self

    def __eq__(self, other: object) -> Condition:  # type: ignore[override]
        return Condition("==", (self, other), here())

    def __ne__(self, other: object) -> Condition:  # type: ignore[override]
        return Condition("!=", (self, other), here())

    def __lt__(self, other: Any) -> Condition:
        return Condition("<", (self, other), here())

    def __le__(self, other: Any) -> Condition:
        return Condition("<=", (self, other), here())

    def __gt__(self, other: Any) -> Condition:
        return Condition(">", (self, other), here())

    def __ge__(self, other: Any) -> Condition:
        return Condition(">=", (self, other), here())

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise RefAttributeError(
            f"{here()}: the attribute {name!r} of {describe(self)} was set; a node may not change what another one "
            "returned, return the changed value from a node instead"
        )


_set_origin = Ref.__dict__["_origin"].__set__
_set_output = Ref.__dict__["_output"].__set__
_set_path = Ref.__dict__["_path"].__set__


def describe(ref: Ref[Any]) -> str:
    """The Ref in words, for messages."""
    part = ("" if ref._output is None else f".{ref._output}") + "".join(f"[{key!r}]" for key in ref._path)
    return ref._origin.describe() + (f", its part {part}," if part else "")


def refuse(ref: Ref[Any], tried: str, instead: str) -> NoReturn:
    """Raises the TraceError of a Ref that was used as a value."""
    raise TraceError(
        f"{here()}: {describe(ref)} {tried}, but its value exists only when the graph runs; "
        f"{instead}{ref._origin.advice()}"
    )


def annotation_of(ref: Ref[Any]) -> Any:
    """The annotation of what the Ref stands for, as far as tuples tell."""
    annotation = ref._origin.annotation()
    if ref._output is not None and ref._origin.outputs is not None:
        items = _items(annotation)
        names = ref._origin.outputs
        if items is not None and len(items) == len(names) > 1:
            annotation = items[names.index(ref._output)]
        elif len(names) > 1:
            annotation = Any
    for key in ref._path:
        items = _items(annotation)
        if items is None or type(key) is not int or not -len(items) <= key < len(items):
            return Any
        annotation = items[key]
    return annotation


def _items(annotation: Any) -> tuple[Any, ...] | None:
    """The annotations of the items, where the annotation fixes how many there are."""
    if isinstance(annotation, type) and issubclass(annotation, tuple) and hasattr(annotation, "_fields"):
        hints = getattr(annotation, "__annotations__", {})
        return tuple(hints.get(name, Any) for name in annotation._fields)
    if typing.get_origin(annotation) is typing.Annotated:
        return _items(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) is tuple:
        args = typing.get_args(annotation)
        return None if Ellipsis in args else () if args == ((),) else args
    return None


def _parts_of(ref: Ref[Any]) -> tuple[Any, ...] | None:
    return _items(annotation_of(ref))


def _known_length(ref: Ref[Any]) -> int | None:
    if ref._output is None and ref._origin.outputs is not None:
        return len(ref._origin.outputs)
    parts = _parts_of(ref)
    return None if parts is None else len(parts)


def _fields_of(ref: Ref[Any]) -> tuple[str, ...]:
    return getattr(annotation_of(ref), "_fields", ())


# --- everything that needs the value -------------------------------------------------------------

_INSIDE = "do it inside a node"
_REFUSED: dict[str, tuple[str, str]] = {
    "bool": (
        "was asked for its truth value (`if`, `while`, `and`, `or`, `not`)",
        "write `with when(...):` for `if`, or decide inside a node",
    ),
    "contains": ("was searched with `in`", "search inside a node, or write is_in(ref, [...]) in a condition"),
    "reversed": ("was reversed", "reverse it inside a node"),
    "next": ("was asked for its next item", "iterate inside a node"),
    "setitem": ("had an item set", "return the changed value from a node instead"),
    "delitem": ("had an item deleted", "return the changed value from a node instead"),
    "delattr": ("had an attribute deleted", "return the changed value from a node instead"),
    "int": ("was converted with int()", "convert inside a node"),
    "float": ("was converted with float()", "convert inside a node"),
    "complex": ("was converted with complex()", "convert inside a node"),
    "index": ("was used as an index or a count (`range`, `[...]`)", "do that inside a node"),
    "str": ("was converted with str()", "make the text inside a node, or print repr(ref) to look at the Ref itself"),
    "format": (
        "was formatted (an f-string, format())",
        "make the text inside a node, or use {ref!r} to show the Ref itself",
    ),
    "bytes": ("was converted with bytes()", "convert inside a node"),
    "fspath": ("was used as a path", "open the file inside a node, which gets a readable path"),
    "round": ("was rounded", _INSIDE),
    "trunc": ("was truncated", _INSIDE),
    "floor": ("was rounded with floor()", _INSIDE),
    "ceil": ("was rounded with ceil()", _INSIDE),
    "enter": ("was used in a `with` statement", "open and close it inside one node"),
    "exit": ("was used in a `with` statement", "open and close it inside one node"),
    "aenter": ("was used in an `async with` statement", "open and close it inside one node"),
    "aexit": ("was used in an `async with` statement", "open and close it inside one node"),
    "await": ("was awaited", "pass it to the next node; an `async def` node is run to its end by its task"),
    "aiter": ("was iterated over", "iterate inside a node"),
    "anext": ("was iterated over", "iterate inside a node"),
    "array": ("was made into an array", "pass it to a node and build the array there"),
    "reduce_ex": (
        "was pickled",
        "pass it to the node as an argument of its own, or inside lists, tuples, dicts and dataclasses",
    ),
    "neg": ("was negated with `-`", _INSIDE),
    "pos": ("stood behind a unary `+`", _INSIDE),
    "abs": ("was passed to abs()", _INSIDE),
    "invert": ("was inverted with `~`", "in a condition write `ref == False`, else do it inside a node"),
}
_OPERATORS = {
    "add": "+", "sub": "-", "mul": "*", "matmul": "@", "truediv": "/", "floordiv": "//", "mod": "%",
    "divmod": "divmod()", "pow": "**", "lshift": "<<", "rshift": ">>", "and": "&", "xor": "^", "or": "|",
}  # fmt: skip
for _name, _symbol in _OPERATORS.items():
    _advice = "do the calculation inside a node that takes both"
    if _symbol in "&|":
        _advice = f"{_advice}, or write comparisons in a condition: `(a == True) {_symbol} (b > 3)`"
    _told = (f"was used with the operator `{_symbol}`", _advice)
    _REFUSED[_name] = _REFUSED[f"r{_name}"] = _told
    if _name != "divmod":
        _REFUSED[f"i{_name}"] = (
            f"was used with the operator `{_symbol}=`",
            f"write `x = node(x, ...)` with a node that calculates `{_symbol}`",
        )


def _refusing(name: str, tried: str, instead: str) -> Callable[..., NoReturn]:
    def refused(self: Ref[Any], *args: Any, **kwargs: Any) -> NoReturn:
        refuse(self, tried, instead)

    refused.__name__ = refused.__qualname__ = f"__{name}__"
    return refused


for _name, (_tried, _instead) in _REFUSED.items():
    setattr(Ref, f"__{_name}__", _refusing(_name, _tried, _instead))
