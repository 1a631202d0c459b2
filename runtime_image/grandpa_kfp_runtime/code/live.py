"""What live objects reach: notebook functions, lambdas, closures, partials, and the values they hold.

Their source comes from the cell or file they were compiled from; where there is none their code object
stands in. `fingerprint` starts here with a node's callable; what lives in a module of the project is
handed on to `reach` by its name.
"""

from __future__ import annotations

import ast
import builtins
import dis
import enum
import functools
import linecache
import os
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

from ..errors import PayloadError
from ..values.by_value import dumps
from .canonical import Encoded, Import, Reference, encode
from .imports import Locator
from .marks import unmarked
from .project import OURS, is_library_file, main_file, real_name
from .reach import Expanded, Place, Reach, digest, log_places

_CODE = (types.FunctionType, type, types.ModuleType, types.BuiltinFunctionType, types.MethodDescriptorType)
_ATOMS = (type(None), bool, int, float, complex, str, bytes, type(Ellipsis))


class LiveReach(Reach):
    """`Reach` for objects as well: places of kind `object`."""

    def __init__(self, locator: Locator) -> None:
        super().__init__(locator)
        self._objects: dict[int, Any] = {}
        file = main_file()
        if file is not None:
            locator.add(real_name("__main__"), file)

    def place(self, value: Any) -> Place:
        """The place of a function, class, module or other object."""
        plain = unmarked(value)
        self._objects[id(plain)] = plain  # kept, so that no other object gets its id
        return Place("object", "", str(id(plain)))

    def target(self, value: Any) -> list[Place]:
        """The places that a node's callable starts from: itself, and what it holds by value."""
        plain = unmarked(value)
        places = [self.place(plain)]
        held = _Held(self)
        if isinstance(plain, types.FunctionType) and self._source_place(plain) is not None:
            held.function(plain, real_name(plain.__module__))
        if held.entries or held.leads:
            key = Place("held", "", str(id(plain)))
            self._expanded[key] = held.expanded()
            places.append(key)
        return places

    def expand(self, place: Place) -> Expanded:
        return self._object(self._objects[int(place.name)]) if place.kind == "object" else super().expand(place)

    def _object(self, value: Any) -> Expanded:
        if isinstance(value, types.FunctionType):
            return self._defined(value) or self._live_function(value)
        if isinstance(value, type):
            return self._defined(value) or self._live_class(value)
        if isinstance(value, types.ModuleType):
            return Expanded((), tuple(self.module_places(value, ())))
        if _is_code(value) and hasattr(value, "__wrapped__"):  # functools.cache, a decorator's own object
            return self._defined(value) or Expanded((), (self.place(value.__wrapped__),))
        held = _Held(self)
        text = held.text(value)
        name = f"{type(value).__module__}:{type(value).__qualname__}()"
        held.entries.append((name, digest(text)))
        return held.expanded()

    # --- what a module's source or a distribution stands for ---

    def _defined(self, value: Any) -> Expanded | None:
        place = self._source_place(value)
        if place is not None:
            return Expanded((), (place,))
        module = real_name(str(value.__module__))
        if module == "__main__" or self.locator.is_own(module):
            return None
        if self.locator.find(module) is None:  # a module made at run time
            return None
        distribution = self.locator.outside(module)
        name = f"{module}:{value.__qualname__}"
        entries = (("outside", f"{distribution}"),) if distribution is not None else ()
        return Expanded(((name, "outside"), *entries), tuple(log_places(module, [value.__qualname__])))

    def _source_place(self, value: Any) -> Place | None:
        """The top-level statement of a project's module that defines the function or class."""
        qualname = str(_qualname(value))
        first = qualname.partition(".")[0]
        module = real_name(str(value.__module__))
        if "<locals>" in qualname or module == "__main__":
            return None
        source = self.locator.source(module)
        return Place("name", module, first) if source is not None and first in source.bindings else None

    def module_places(self, module: types.ModuleType, attributes: tuple[str, ...]) -> list[Place]:
        name = real_name(module.__name__)
        if name == "__main__":
            return []
        return self._imported(name, Import(0, name), attributes)

    # --- code that has no module with a source file ---

    def _live_function(self, function: types.FunctionType) -> Expanded:
        module = real_name(str(function.__module__))
        name = f"{module}:{function.__qualname__}"
        held = _Held(self)
        encoded = _encoded(function.__code__, functools.partial(self._is_ours, function.__globals__))
        held.entries.append((name, digest(encoded.text)))
        self._follow(encoded, module, function.__globals__, held)
        held.function(function, module)
        return held.expanded()

    def _live_class(self, cls: type) -> Expanded:
        module = real_name(cls.__module__)
        name = f"{module}:{cls.__qualname__}"
        held = _Held(self)
        functions = list(_functions_of(cls))
        names = functions[0].__globals__ if functions else vars(_module(cls.__module__))
        node = _class_node(cls, functions)
        if node is not None:
            encoded = encode([node], is_ours=functools.partial(self._is_ours, names), local=_free(functions))
            held.entries.append((name, digest(encoded.text)))
            self._follow(encoded, module, names, held)
            for function in functions:
                held.function(function, module)
        else:
            held.entries.append((name, digest(*sorted(vars(cls)))))
            for function in functions:
                held.leads[self.place(function)] = None
            for key, member in vars(cls).items():
                if not key.startswith("__") and not callable(member) and not hasattr(member, "__get__"):
                    held.entries.append((f"{name}.{key}", digest(held.text(member))))
        for base in cls.__bases__:
            held.leads[self.place(base)] = None
        return held.expanded()

    def _follow(self, encoded: Encoded, module: str, names: dict[str, Any], held: _Held) -> None:
        for reference in encoded.references:
            if isinstance(reference.root, str) and self.locator.source(module) is None:
                self._live_name(module, reference.root, reference.attributes, names, held)
            else:
                held.leads.update(dict.fromkeys(self.resolve(module, reference)))

    def _live_name(
        self, module: str, root: str, attributes: tuple[str, ...], names: dict[str, Any], held: _Held
    ) -> None:
        if root not in names:
            return  # a builtin, or nothing yet
        value = unmarked(names[root])
        if isinstance(value, types.ModuleType):
            held.leads.update(dict.fromkeys(self.module_places(value, attributes)))
        elif _is_code(value):
            held.leads[self.place(value)] = None
        else:
            held.entries.append((f"{module}:{root}", digest(held.text(value))))

    def _is_ours(self, names: dict[str, Any], reference: Reference) -> bool:
        value: Any = names.get(str(reference.root))
        for name in reference.attributes:
            value = getattr(value, name, None)
        module = getattr(value, "__module__", None) or type(value).__module__
        return str(module).partition(".")[0] in OURS and value is not None


class _Held:
    """Collects what objects hold: entries of their own, and places they lead to."""

    def __init__(self, reach: LiveReach) -> None:
        self.reach = reach
        self.entries: list[tuple[str, str]] = []
        self.leads: dict[Place, None] = {}
        self._open: list[int] = []

    def expanded(self) -> Expanded:
        return Expanded(tuple(self.entries), tuple(self.leads))

    def function(self, function: types.FunctionType, module: str) -> None:
        """Closure and defaults by value."""
        name = f"{module}:{function.__qualname__}"
        for free, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            try:
                value = cell.cell_contents
            except ValueError:  # not bound yet
                continue
            self.entries.append((f"{name}<{free}>", digest(self.text(value))))
        for place, value in enumerate(function.__defaults__ or ()):
            self.entries.append((f"{name}({place})", digest(self.text(value))))
        for key, value in (function.__kwdefaults__ or {}).items():
            self.entries.append((f"{name}({key})", digest(self.text(value))))

    def text(self, value: Any) -> str:
        """A value as text; functions and classes by name, and followed."""
        value = unmarked(value)
        kind = type(value)
        if kind in _ATOMS:
            return f"{kind.__name__}:{hex(value) if kind is int else ascii(value)}"
        if _is_code(value):
            self.leads[self.reach.place(value)] = None
            return f"{kind.__name__} {_label(value)}"
        if id(value) in self._open:
            return f"again {len(self._open) - self._open.index(id(value))}"
        self._open.append(id(value))
        try:
            return self._structure(value, kind)
        finally:
            self._open.pop()

    def _structure(self, value: Any, kind: type) -> str:
        if kind is list or kind is tuple:
            return f"{kind.__name__}[{','.join(map(self.text, value))}]"
        if kind is dict:
            return f"dict{{{','.join(f'{self.text(key)}={self.text(item)}' for key, item in value.items())}}}"
        if kind is set or kind is frozenset:
            return f"{kind.__name__}{{{','.join(sorted(map(self.text, value)))}}}"
        if isinstance(value, functools.partial):
            return f"partial({self.text(value.func)},{self.text(value.args)},{self.text(value.keywords)})"
        if isinstance(value, types.MethodType):
            return f"method({self.text(value.__func__)},{self.text(value.__self__)})"
        if isinstance(value, enum.Enum):
            return f"{self.text(kind)}.{value.name}"
        return self._pickled(value)

    def _pickled(self, value: Any) -> str:
        def by_name(obj: Any) -> Any:
            plain = unmarked(obj)
            if not _is_code(plain) or getattr(plain, "__module__", None) == "builtins":
                return NotImplemented
            return str, (self.text(plain),)

        self.text(type(value))
        try:
            return digest(dumps(value, instead=by_name)[0].hex())
        except PayloadError:  # a lock, a connection: of what kind it is, is all there is to say
            kind = f"{type(value).__module__}.{type(value).__qualname__}"
            self.leads[Place("opaque", "", kind)] = None
            return kind


def _is_code(value: Any) -> bool:
    return isinstance(value, _CODE) or (hasattr(value, "__wrapped__") and isinstance(_qualname(value), str))


def _qualname(value: Any) -> Any:
    return getattr(value, "__qualname__", None)


def _label(value: Any) -> str:
    if isinstance(value, types.ModuleType):
        return value.__name__
    return f"{real_name(str(getattr(value, '__module__', '')))}:{getattr(value, '__qualname__', '')}"


def _module(name: str) -> types.ModuleType:
    return sys.modules.get(name) or builtins


def _functions_of(cls: type) -> Iterator[types.FunctionType]:
    for member in vars(cls).values():
        for item in (member, *(getattr(member, name, None) for name in ("__func__", "fget", "fset", "func"))):
            if isinstance(plain := unmarked(item), types.FunctionType):
                yield plain
                break


def _free(functions: list[types.FunctionType]) -> list[str]:
    return sorted({name for function in functions for name in function.__code__.co_freevars} - {"__class__"})


# --- the source of a code object ---


def _encoded(code: types.CodeType, is_ours: Callable[[Reference], bool]) -> Encoded:
    """The canonical form of a function's source, of its code object where there is none."""
    nodes = _nodes(code)
    if nodes:
        return encode(nodes, is_ours=is_ours, local=code.co_freevars)
    return Encoded(_code_text(code), tuple(Reference(name) for name in dict.fromkeys(_globals_read(code))))


def _globals_read(code: types.CodeType) -> Iterator[str]:
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            yield str(instruction.argval)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _globals_read(constant)


def _code_text(code: types.CodeType) -> str:
    """A code object without file name, lines and docstring, as text; Python's minors differ in it."""
    doc = code.co_consts[0] if code.co_consts and isinstance(code.co_consts[0], str) else None
    constants = [
        _code_text(item) if isinstance(item, types.CodeType) else _constant_text(item)
        for place, item in enumerate(code.co_consts)
        if place or doc is None
    ]
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    return f"code({counts};{code.co_code.hex()};{names};{constants})"


def _constant_text(value: Any) -> str:
    if isinstance(value, frozenset):
        return f"frozenset({sorted(map(_constant_text, value))})"
    if isinstance(value, tuple):
        return f"({','.join(map(_constant_text, value))})"
    return f"{type(value).__name__}:{hex(value) if type(value) is int else ascii(value)}"


def _nodes(code: types.CodeType) -> list[ast.AST]:
    """The function's node in its file's or cell's tree; lambdas that cannot be told apart are all taken."""
    found = _trees(code.co_filename).get((code.co_name, code.co_firstlineno), [])
    if code.co_name != "<lambda>" or len(found) < 2:
        return list(found)
    lambdas = [node for node in found if isinstance(node, ast.Lambda)]
    for fits in (_same_arguments, _same_names, _same_constants):
        fitting = [node for node in lambdas if fits(node, code)]
        lambdas = fitting or lambdas
    return list(lambdas)


def _same_arguments(node: ast.Lambda, code: types.CodeType) -> bool:
    args = node.args
    given = [item.arg for item in (*args.posonlyargs, *args.args, *args.kwonlyargs)]
    count = code.co_argcount + code.co_kwonlyargcount
    return tuple(given) == code.co_varnames[:count]


def _same_names(node: ast.Lambda, code: types.CodeType) -> bool:
    names = {item.id for item in ast.walk(node.body) if isinstance(item, ast.Name)}
    names |= {item.attr for item in ast.walk(node.body) if isinstance(item, ast.Attribute)}
    return names <= {*code.co_names, *code.co_varnames, *code.co_freevars, *code.co_cellvars}


def _same_constants(node: ast.Lambda, code: types.CodeType) -> bool:
    constants = {ascii(item.value) for item in ast.walk(node.body) if isinstance(item, ast.Constant)}
    return constants <= set(map(ascii, code.co_consts))


_parsed: dict[str, tuple[Any, dict[tuple[str, int], list[ast.AST]]]] = {}


def _trees(filename: str) -> dict[tuple[str, int], list[ast.AST]]:
    """Every definition of a file or cell by (name, first line); decorators come first."""
    if filename.startswith("<frozen") or (is_library_file(filename) and os.path.exists(filename)):
        return {}
    linecache.checkcache(filename)
    lines = tuple(linecache.getlines(filename))
    kept = _parsed.get(filename)
    if kept is not None and kept[0] == lines:
        return kept[1]
    found: dict[tuple[str, int], list[ast.AST]] = {}
    try:
        tree = ast.parse("".join(lines))
    except (SyntaxError, ValueError):  # a console's line, or a file that has changed since
        tree = ast.Module([], [])
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            first = min([node.lineno, *(item.lineno for item in node.decorator_list)])
            found.setdefault((node.name, first), []).append(node)
        elif isinstance(node, ast.Lambda):
            found.setdefault(("<lambda>", node.lineno), []).append(node)
    _parsed[filename] = (lines, found)
    return found


def _class_node(cls: type, functions: list[types.FunctionType]) -> ast.AST | None:
    """The class statement around the first of its functions."""
    for function in functions:
        if not function.__qualname__.startswith(cls.__qualname__ + "."):
            continue
        line = function.__code__.co_firstlineno
        around = [
            node
            for (name, first), nodes in _trees(function.__code__.co_filename).items()
            for node in nodes
            if name == cls.__name__ and isinstance(node, ast.ClassDef) and first <= line <= (node.end_lineno or first)
        ]
        if around:
            return max(around, key=lambda node: node.lineno)
    return None
