"""The nodes that a node's body refers to, found in its compiled code without running it.

A drawing shows them inside the node, dashed: they may become tasks when the body runs. Names are
followed as Python would: globals, closures, `module.node`, `self.node`, imports inside the body (of
modules that are loaded already), helper functions of the project, components.
"""

from __future__ import annotations

import dis
import functools
import importlib.util
import inspect
import sys
import sysconfig
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from grandpa_kfp_compiler.graph import Graph

from .model import Inside

_DEEPEST = 12
_UNKNOWN = object()


def insides(graph: Graph) -> dict[str, tuple[Inside, ...]]:
    """By node key, the nodes in the body of each node of the graph; nothing for nodes without their code."""
    found = {key: body_refs(node.target) for key, node in graph.nodes().items() if node.target is not None}
    return {key: inner for key, inner in found.items() if inner}


def body_refs(target: Any) -> tuple[Inside, ...]:
    """The nodes and components that the body of a function or class refers to, those in theirs inside them.

    >>> from grandpa_kfp import Node
    >>> @Node
    ... def fib(n: int) -> int:
    ...     return n if n < 2 else add(fib(n - 1), fib(n - 2))
    >>> @Node
    ... def add(a: int, b: int) -> int:
    ...     return a + b
    >>> [item.name for item in body_refs(lambda: (fib, add))]
    ['fib', 'add']
    """
    return _Opener().open(target, (id(_plain(target)),))


@dataclass(frozen=True, slots=True)
class _Found:
    """A node or component that a name means."""

    name: str
    kind: str
    target: Any


class _Opener:
    """Opens bodies inside bodies; each distinct one is read once."""

    def __init__(self) -> None:
        self._read: dict[int, tuple[_Found, ...]] = {}

    def open(self, target: Any, path: tuple[int, ...]) -> tuple[Inside, ...]:
        plain = _plain(target)
        found = self._read.get(id(plain))
        if found is None:
            found = self._read[id(plain)] = tuple(_references(plain))
        shown = []
        for item in found:
            inner = id(_plain(item.target))
            repeats = inner in path or len(path) >= _DEEPEST
            shown.append(
                Inside(item.name, item.kind, repeats, () if repeats else self.open(item.target, (*path, inner)))
            )
        return tuple(shown)


def _plain(target: Any) -> Any:
    """The function or class below partials and bound methods."""
    while isinstance(target, functools.partial | types.MethodType):
        target = target.func if isinstance(target, functools.partial) else target.__func__
    return target


def _references(target: Any) -> Iterator[_Found]:
    """Each node or component once, in order of first use; helper functions are looked through."""
    seen: set[int] = set()
    waiting: list[tuple[types.FunctionType, Any]] = [(item, _owner(target)) for item in _functions(target)]
    visited = {id(function) for function, _ in waiting}
    while waiting:
        function, owner = waiting.pop(0)
        for value in _values(function, owner):
            found = _as_node(value)
            if found is not None:
                if id(_plain(found.target)) not in seen:
                    seen.add(id(_plain(found.target)))
                    yield found
            elif isinstance(value, types.FunctionType) and id(value) not in visited and _is_own(value):
                visited.add(id(value))
                waiting.append((value, None))


def _owner(target: Any) -> Any:
    return target if isinstance(target, type) else None


def _functions(target: Any) -> list[types.FunctionType]:
    """What runs when the target does: the function; of a class every method; of a callable object its `__call__`."""
    if isinstance(target, types.FunctionType):
        return [target]
    cls = target if isinstance(target, type) else type(target)
    found: dict[str, types.FunctionType] = {}
    for base in cls.__mro__:
        if base is object:
            continue
        for name, member in vars(base).items():
            for function in _members(member):
                if _is_own(function):
                    found.setdefault(name, function)
    return list(found.values())


def _members(member: Any) -> Iterator[types.FunctionType]:
    if isinstance(member, staticmethod | classmethod):
        member = member.__func__
    for function in (member.fget, member.fset) if isinstance(member, property) else (member,):
        if isinstance(function, types.FunctionType):
            yield function


def _as_node(value: Any) -> _Found | None:
    """What the value is to a graph: a node, an instance of a class node, a component, or None."""
    from ..classes import ClassMark, Instance
    from ..components import ComponentFunction
    from ..nodes import FunctionNode
    from ..workflows import WorkflowFunction

    if isinstance(value, Instance):
        definition = object.__getattribute__(value, "_definition")
        return _Found(definition.name, "node", definition.target)
    if isinstance(value, FunctionNode):
        return _Found(value._definition.name, "node", value._definition.target)
    if isinstance(value, ComponentFunction):
        return _Found(value._name, "component", value._function)
    if isinstance(value, WorkflowFunction):
        return _Found(value.name, "component", value.fn)
    if isinstance(value, type) and "__grandpa_node__" in vars(value):
        mark = vars(value).get("__new__")
        return _Found(mark.name if isinstance(mark, ClassMark) else value.__name__, "node", value)
    return None


def _is_own(function: types.FunctionType) -> bool:
    """Whether it may be the user's: no function of the standard library, an installed package or ours."""
    file = function.__code__.co_filename
    return not file.startswith(_OUTSIDE) and not function.__module__.startswith(("grandpa_kfp.", "grandpa_kfp_"))


_OUTSIDE = tuple(
    {path for name in ("stdlib", "platstdlib", "purelib", "platlib") if (path := sysconfig.get_path(name))}
)


# --- names in compiled code ----------------------------------------------------------------------


def _values(function: types.FunctionType, owner: Any) -> Iterator[Any]:
    """Every object that the function's code names, as far as can be told without running it."""
    names = _Names(function, owner)
    waiting = [function.__code__]
    while waiting:
        code = waiting.pop(0)
        yield from names.of(code)
        waiting.extend(const for const in code.co_consts if isinstance(const, types.CodeType))


class _Names:
    """Resolves the names of one function, those of functions nested in it included."""

    def __init__(self, function: types.FunctionType, owner: Any) -> None:
        self._globals = function.__globals__
        self._owner = owner
        cells = function.__closure__ or ()
        self._cells = {
            name: cell.cell_contents
            for name, cell in zip(function.__code__.co_freevars, cells, strict=True)
            if _is_filled(cell)
        }
        first = function.__code__.co_varnames[:1]
        self._self = first[0] if owner is not None and first else None

    def of(self, code: types.CodeType) -> Iterator[Any]:
        """The objects named in one code object: `node`, and for `a.b.node` all of a, a.b, a.b.node."""
        value: Any = _UNKNOWN
        consts: list[Any] = []
        for step in dis.get_instructions(code):
            name = step.opname
            if name in ("CACHE", "EXTENDED_ARG", "PUSH_NULL", "NOP"):
                continue
            if name in ("LOAD_GLOBAL", "LOAD_NAME"):
                value = self._global(step.argval)
            elif name in ("LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF"):
                value = self._cell(step.argval)
            elif name.startswith("LOAD_FAST"):
                value = self._local(step.argval)
            elif name in ("LOAD_ATTR", "LOAD_METHOD", "IMPORT_FROM"):
                module = value
                value = _attribute(value, step.argval)
                if name == "IMPORT_FROM":
                    yield value
                    value = module  # the module stays on the stack for the next name
                    continue
            elif name == "IMPORT_NAME":
                value = self._imported(step.argval, consts)
            else:
                value = _UNKNOWN
                if name.startswith(("LOAD_CONST", "LOAD_SMALL_INT")):
                    consts = [*consts[-1:], step.argval]
                elif name.startswith("STORE") and isinstance(step.argval, str):
                    continue
            if value is not _UNKNOWN:
                yield value

    def _global(self, name: str) -> Any:
        return self._globals.get(name, _UNKNOWN)

    def _cell(self, name: str) -> Any:
        return self._owner if name == self._self or name == "__class__" else self._cells.get(name, _UNKNOWN)

    def _local(self, name: Any) -> Any:
        last = name[-1] if isinstance(name, tuple) else name  # one instruction may load two
        return self._owner if self._self is not None and last == self._self else _UNKNOWN

    def _imported(self, name: str, consts: list[Any]) -> Any:
        """The module of `import name` or `from ..name import x`, if it is loaded already."""
        level = consts[0] if len(consts) == 2 and isinstance(consts[0], int) else 0
        if level:
            package = self._globals.get("__package__") or ""
            try:
                name = importlib.util.resolve_name("." * level + name, package)
            except ImportError:  # a relative import outside a package fails when the body runs
                return _UNKNOWN
        return sys.modules.get(name, _UNKNOWN)


def _attribute(value: Any, name: str) -> Any:
    """An attribute that can be read without running code: of a module or a class."""
    if isinstance(value, types.ModuleType):
        return vars(value).get(name, _UNKNOWN)
    if isinstance(value, type):
        found = inspect.getattr_static(value, name, _UNKNOWN)
        return found.__func__ if isinstance(found, staticmethod | classmethod) else found
    return _UNKNOWN


def _is_filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:  # the name is assigned later
        return False
    return True
