"""What a function or class names, found in its compiled code without running it.

Names are followed as Python would: globals, closures, `module.name`, `self.name`, imports inside the body
(of modules that are loaded already), helper functions of the project. A drawing asks for the nodes among
the values, `check` for those that ask for more than their task has.
"""

from __future__ import annotations

import dis
import functools
import importlib.util
import inspect
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from grandpa_kfp_runtime.code.project import is_library_file

_UNKNOWN = object()


@dataclass(frozen=True, slots=True)
class NotLoaded:
    """A module that the body imports and nobody has imported yet."""

    name: str


def plain(target: Any) -> Any:
    """The function or class below partials and bound methods."""
    while isinstance(target, functools.partial | types.MethodType):
        target = target.func if isinstance(target, functools.partial) else target.__func__
    return target


def named_values(target: Any, *, stop: Callable[[Any], bool] = lambda value: False) -> Iterator[Any]:
    """Every object that the code of a function or class names, and that of the project's functions among them.

    Of `a.b.c` it gives a, a.b and a.b.c; of an import of what is not loaded a `NotLoaded`. stop: values
    whose attributes and code are not looked into.

    >>> import math
    >>> math.pi in list(named_values(lambda: math.pi))
    True
    """
    target = plain(target)
    owner = target if isinstance(target, type) else None
    waiting = [(function, owner) for function in _functions(target)]
    visited = {id(function) for function, _ in waiting}
    while waiting:
        function, owner = waiting.pop(0)
        for value in _values(function, owner, stop):
            yield value
            if isinstance(value, types.FunctionType) and id(value) not in visited and is_own(value) and not stop(value):
                visited.add(id(value))
                waiting.append((value, None))


def _functions(target: Any) -> list[types.FunctionType]:
    """What runs when the target does: the function; of a class every method; of a callable object its class's."""
    if isinstance(target, types.FunctionType):
        return [target]
    cls = target if isinstance(target, type) else type(target)
    found: dict[str, types.FunctionType] = {}
    for base in cls.__mro__:
        for name, member in vars(base).items():
            for function in _members(member):
                if is_own(function):
                    found.setdefault(name, function)
    return list(found.values())


def _members(member: Any) -> Iterator[types.FunctionType]:
    if isinstance(member, staticmethod | classmethod):
        member = member.__func__
    for function in (member.fget, member.fset) if isinstance(member, property) else (member,):
        if isinstance(function, types.FunctionType):
            yield function


def is_own(function: types.FunctionType) -> bool:
    """Whether it may be the user's: no function of the standard library, an installed package or ours."""
    ours = function.__module__ is not None and function.__module__.startswith(("grandpa_kfp.", "grandpa_kfp_"))
    return not ours and not is_library_file(function.__code__.co_filename)


# --- names in compiled code ----------------------------------------------------------------------


def _values(function: types.FunctionType, owner: type | None, stop: Callable[[Any], bool]) -> Iterator[Any]:
    names = _Names(function, owner, stop)
    waiting = [function.__code__]
    while waiting:
        code = waiting.pop(0)
        yield from names.of(code)
        waiting.extend(const for const in code.co_consts if isinstance(const, types.CodeType))


class _Names:
    """Resolves the names of one function, those of functions nested in it included."""

    def __init__(self, function: types.FunctionType, owner: type | None, stop: Callable[[Any], bool]) -> None:
        self._globals = function.__globals__
        self._owner = owner
        self._stop = stop
        cells = function.__closure__ or ()
        self._cells = {
            name: cell.cell_contents
            for name, cell in zip(function.__code__.co_freevars, cells, strict=True)
            if _is_filled(cell)
        }
        self._locals: dict[str, Any] = {}  # names that imports inside the body bind
        first = function.__code__.co_varnames[:1]
        self._self = first[0] if owner is not None and first else None

    def of(self, code: types.CodeType) -> Iterator[Any]:
        """The objects named in one code object, in order."""
        value: Any = _UNKNOWN  # what lies on top of the stack, as far as it is known
        imported: Any = _UNKNOWN  # what the next name is bound to
        consts: list[Any] = []
        for step in dis.get_instructions(code):
            name = step.opname
            if name in ("CACHE", "EXTENDED_ARG", "PUSH_NULL", "NOP"):
                continue
            if name.startswith("STORE"):
                if imported is not _UNKNOWN and isinstance(step.argval, str):
                    self._locals[step.argval] = imported
                imported = _UNKNOWN
                continue
            if name == "IMPORT_FROM":  # the module stays on the stack for the next name
                imported = self._attribute(value, step.argval)
                yield from self._known(imported)
                continue
            value = self._after(name, step.argval, value, consts)
            imported = value if name == "IMPORT_NAME" else _UNKNOWN
            yield from self._known(value)

    def _after(self, name: str, argument: Any, value: Any, consts: list[Any]) -> Any:
        """What an instruction leaves on top of the stack. consts: the last two constants, which imports read."""
        if name in ("LOAD_GLOBAL", "LOAD_NAME"):
            return self._globals.get(argument, _UNKNOWN)
        if name in ("LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF"):
            own = argument in (self._self, "__class__") and self._owner is not None
            return self._owner if own else self._cells.get(argument, self._locals.get(argument, _UNKNOWN))
        if name.startswith("LOAD_FAST"):
            last = argument[-1] if isinstance(argument, tuple) else argument  # one instruction may load two
            own = self._self is not None and last == self._self
            return self._owner if own else self._locals.get(last, _UNKNOWN)
        if name in ("LOAD_ATTR", "LOAD_METHOD"):
            return self._attribute(value, argument)
        if name == "IMPORT_NAME":
            return self._imported(argument, consts)
        if name.startswith(("LOAD_CONST", "LOAD_SMALL_INT")):
            consts[:] = [*consts[-1:], argument]
        return _UNKNOWN

    def _known(self, value: Any) -> Iterator[Any]:
        if value is not _UNKNOWN and value is not self._owner:
            yield value

    def _attribute(self, value: Any, name: str) -> Any:
        """An attribute that can be read without running code: of a module or a class."""
        if value is not self._owner and self._stop(value):
            return _UNKNOWN
        if isinstance(value, types.ModuleType):
            return vars(value).get(name, _UNKNOWN)
        if isinstance(value, type):
            found = inspect.getattr_static(value, name, _UNKNOWN)
            return found.__func__ if isinstance(found, staticmethod | classmethod) else found
        return _UNKNOWN

    def _imported(self, name: str, consts: list[Any]) -> Any:
        """The module of `import name` or `from ..name import x`."""
        level = consts[0] if len(consts) == 2 and isinstance(consts[0], int) else 0
        if level:
            try:
                name = importlib.util.resolve_name("." * level + name, self._globals.get("__package__") or "")
            except ImportError:  # a relative import outside a package fails when the body runs
                return _UNKNOWN
        if name not in sys.modules:
            return NotLoaded(name)
        whole = consts[-1:] != [None]  # `import a.b` without `from` binds a
        return sys.modules[name if whole else name.partition(".")[0]]


def _is_filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:  # the name is assigned later
        return False
    return True
