"""A piece of source in canonical form, and the names it takes from its module.

The form holds no positions, comments or docstrings, and is the same on every Python minor that can
parse the source (`ast.dump` and bytecode are not). `encode` is called by `source` for statements of
modules and by `live` for functions found in a notebook's cell.
"""

from __future__ import annotations

import ast
import enum
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias


class Import(NamedTuple):
    """What an import statement names: `from ..a import b` is Import(2, "a", "b"), `import a.b` Import(0, "a.b", "")."""

    level: int
    module: str
    name: str = ""


class Reference(NamedTuple):
    """A use of a name from outside the piece: `np.random.seed` is Reference("np", ("random", "seed")).

    root: a global name, or what a function's own import statement named.
    """

    root: str | Import
    attributes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Encoded:
    """text: the canonical form; references: in order of first use, each once."""

    text: str
    references: tuple[Reference, ...]


class _Kind(enum.Enum):
    LOCAL = enum.auto()
    GLOBAL = enum.auto()


_Binding: TypeAlias = "_Kind | tuple[Import, ...]"
Tagged: TypeAlias = "str | ast.AST"
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_LEFT_OUT = frozenset({"ctx", "type_comment", "kind"})
_fields: dict[type, tuple[str, ...]] = {}


def encode(
    pieces: Iterable[Tagged],
    *,
    is_ours: Callable[[Reference], bool] = lambda reference: False,
    local: Iterable[str] = (),
) -> Encoded:
    """The canonical form of some statements or expressions, texts between them kept as they are.

    is_ours: decorators for which it holds (our marks, with their options) are left out.
    local: names that are no globals: a nested function's free variables.
    """
    walker = _Walker(is_ours)
    scope = _Scope(dict.fromkeys(local, _Kind.LOCAL), None, False) if local else None
    for piece in pieces:
        if isinstance(piece, str):
            walker.out.append(piece)
        else:
            walker.visit(piece, scope)
    return Encoded("".join(walker.out), tuple(walker.references))


def imports_in(node: ast.Import | ast.ImportFrom) -> list[tuple[str, Import]]:
    """(bound name, what it names) of an import statement; the name is `*` for a star import."""
    if isinstance(node, ast.ImportFrom):
        return [(alias.asname or alias.name, Import(node.level, node.module or "", alias.name)) for alias in node.names]
    return [
        (alias.asname, Import(0, alias.name)) if alias.asname else (alias.name.partition(".")[0], Import(0, alias.name))
        for alias in node.names
    ]


def chain(node: ast.AST) -> Reference | None:
    """`a.b.c` as a Reference; None for what is not a name with attributes."""
    attributes: list[str] = []
    while isinstance(node, ast.Attribute):
        attributes.append(node.attr)
        node = node.value
    return Reference(node.id, tuple(reversed(attributes))) if isinstance(node, ast.Name) else None


def imported_by_call(node: ast.Call) -> Import | None:
    """The module that `import_module("a.b")` or `__import__("a.b")` names; None for other calls."""
    reference = chain(node.func)
    if reference is None:
        return None
    last = reference.attributes[-1] if reference.attributes else reference.root
    if last not in ("import_module", "__import__") or not node.args:
        return None
    name = node.args[0]
    if not isinstance(name, ast.Constant) or not isinstance(name.value, str) or not name.value.strip("."):
        return None
    bare = name.value.lstrip(".")
    return Import(len(name.value) - len(bare), bare)


class _Scope:
    __slots__ = ("is_class", "names", "parent")

    def __init__(self, names: dict[str, _Binding], parent: _Scope | None, is_class: bool) -> None:
        self.names = names
        self.parent = parent
        self.is_class = is_class


def _find(name: str, scope: _Scope | None) -> _Binding:
    innermost = True
    while scope is not None:
        if innermost or not scope.is_class:  # names of a class body are not seen by its methods
            found = scope.names.get(name)
            if found is not None:
                return found
        scope, innermost = scope.parent, False
    return _Kind.GLOBAL


def _bound(nodes: Iterable[ast.AST]) -> dict[str, _Binding]:
    """The names that statements bind in their own scope, inner functions and classes not entered."""
    names: dict[str, _Binding] = {}
    declared: dict[str, _Binding] = {}
    outer: list[str] = []
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        kind = type(node)
        if kind is ast.Name:
            if type(node.ctx) is not ast.Load:  # type: ignore[attr-defined]
                names.setdefault(node.id, _Kind.LOCAL)  # type: ignore[attr-defined]
        elif isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            names[node.name] = _Kind.LOCAL
            waiting.extend(node.decorator_list)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            for name, target in imports_in(node):
                found = names.get(name)
                root = (
                    Import(0, name) if name != target.module and target.name == "" and _is_plain(node, name) else target
                )
                names[name] = (*found, root) if isinstance(found, tuple) else (root,)
        elif isinstance(node, _COMPREHENSIONS):
            waiting.extend(item for inner in ast.walk(node) if type(inner) is ast.NamedExpr for item in [inner.target])
        elif isinstance(node, ast.Global):
            declared.update(dict.fromkeys(node.names, _Kind.GLOBAL))
        elif isinstance(node, ast.Nonlocal):
            outer.extend(node.names)
        elif kind is not ast.Lambda:
            captured = _captured(node)
            if captured is not None:
                names[captured] = _Kind.LOCAL
            waiting.extend(ast.iter_child_nodes(node))
    for name in outer:
        names.pop(name, None)
    return {**names, **declared}


def _is_plain(node: ast.AST, name: str) -> bool:
    """`import a.b` binds `a`, the module a itself."""
    return isinstance(node, ast.Import) and not any(alias.asname == name for alias in node.names)


def _captured(node: ast.AST) -> str | None:
    """The name that an `except ... as x` or a pattern binds as plain text."""
    if isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar):
        return node.name
    return node.rest if isinstance(node, ast.MatchMapping) else None


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


class _Walker:
    """Writes the form into `out` and collects `references`, one scope within the other."""

    __slots__ = ("is_ours", "out", "references")

    def __init__(self, is_ours: Callable[[Reference], bool]) -> None:
        self.is_ours = is_ours
        self.out: list[str] = []
        self.references: dict[Reference, None] = {}

    def visit(self, node: ast.AST, scope: _Scope | None) -> None:
        kind = type(node)
        special = _SPECIAL.get(kind)
        if special is not None:
            special(self, node, scope)
            return
        self.plain(node, kind, scope)

    def plain(self, node: ast.AST, kind: type, scope: _Scope | None) -> None:
        """A node by its fields; those that are None or empty are left out, since minors differ in which there are."""
        out = self.out
        out.append(kind.__name__ + "(")
        fields = _fields.get(kind)
        if fields is None:
            fields = _fields[kind] = tuple(name for name in kind._fields if name not in _LEFT_OUT)  # type: ignore[attr-defined]
        for name in fields:
            self.field(name, getattr(node, name, None), scope)
        out.append(")")

    def field(self, name: str, value: Any, scope: _Scope | None) -> None:
        if value is None or value == []:
            return
        self.out.append(name + "=")
        if type(value) is list:
            self.list(value, scope)
        elif isinstance(value, ast.AST):
            self.visit(value, scope)
        else:
            self.out.append(f"{value!a};")  # repr differs in what a minor holds to be printable

    def list(self, items: Sequence[Any], scope: _Scope | None) -> None:
        self.out.append("[")
        for item in items:
            if isinstance(item, ast.AST):
                self.visit(item, scope)
            else:
                self.out.append(f"{item!a};")  # names of a `global` statement, the None of `{**x}`
        self.out.append("]")

    def refer(self, root: str, attributes: tuple[str, ...], scope: _Scope | None) -> None:
        found = _find(root, scope)
        if found is _Kind.GLOBAL:
            self.references[Reference(root, attributes)] = None
        elif isinstance(found, tuple):
            for target in found:
                self.references[Reference(target, attributes)] = None

    # --- nodes that need more than their fields ---

    def name(self, node: ast.Name, scope: _Scope | None) -> None:
        self.out.append(f"Name({node.id})")
        if type(node.ctx) is ast.Load or (scope is not None and _find(node.id, scope) is _Kind.GLOBAL):
            self.refer(node.id, (), scope)

    def attribute(self, node: ast.Attribute, scope: _Scope | None) -> None:
        reference = chain(node)
        if reference is None:
            self.plain(node, ast.Attribute, scope)
            return
        assert isinstance(reference.root, str)
        self.out.append(f"Name({'.'.join((reference.root, *reference.attributes))})")
        self.refer(reference.root, reference.attributes, scope)

    def constant(self, node: ast.Constant, scope: _Scope | None) -> None:
        value = node.value
        # decimal text of a huge int is refused by Python 3.11 and later
        text = hex(value) if type(value) is int else ascii(value)
        self.out.append(f"{type(value).__name__}:{text};")

    def joined(self, node: ast.JoinedStr, scope: _Scope | None) -> None:
        """An f-string: minors differ in how they cut the text between its fields."""
        self.out.append("JoinedStr[")
        text = ""
        for value in node.values:
            if isinstance(value, ast.Constant):
                text += str(value.value)
                continue
            self.out.append(f"{text!a};")
            text = ""
            self.visit(value, scope)
        self.out.append(f"{text!a};]")

    def formatted(self, node: ast.FormattedValue, scope: _Scope | None) -> None:
        self.out.append(f"FormattedValue({node.conversion};")
        self.visit(node.value, scope)
        if isinstance(node.format_spec, ast.JoinedStr) and node.format_spec.values:
            self.joined(node.format_spec, scope)
        self.out.append(")")

    def call(self, node: ast.Call, scope: _Scope | None) -> None:
        target = imported_by_call(node)
        if target is not None:
            self.references[Reference(target)] = None
        self.plain(node, ast.Call, scope)

    def imported(self, node: ast.Import | ast.ImportFrom, scope: _Scope | None) -> None:
        self.plain(node, type(node), scope)
        if scope is not None:  # at the top of a module the index follows imports
            for name, target in imports_in(node):
                ends_at_module = not target.name and name != "*"
                # a module that is only imported runs its statements: `source.LOADED` asks for no more
                self.references[Reference(target, (LOADED,) if ends_at_module else ())] = None

    def function(self, node: Any, scope: _Scope | None) -> None:
        self.out.append(f"{type(node).__name__}({node.name};")
        self.decorators(node, scope)
        outer = self.type_parameters(node, scope)
        arguments = self.signature(node.args, outer)
        self.field("returns", node.returns, outer)
        body = node.body[1:] if _is_docstring(node.body[0]) else node.body
        inner = _Scope({**arguments, **_bound(body)}, outer, False)
        self.list(body, inner)
        self.out.append(")")

    def signature(self, args: ast.arguments, scope: _Scope | None) -> dict[str, _Binding]:
        """The arguments: names, annotations, defaults; evaluated in the scope around the function."""
        self.plain(args, ast.arguments, scope)
        given = [*args.posonlyargs, *args.args, *args.kwonlyargs, *filter(None, (args.vararg, args.kwarg))]
        return {item.arg: _Kind.LOCAL for item in given}

    def lambda_(self, node: ast.Lambda, scope: _Scope | None) -> None:
        self.out.append("Lambda(")
        arguments = self.signature(node.args, scope)
        self.visit(node.body, _Scope({**arguments, **_bound([node.body])}, scope, False))
        self.out.append(")")

    def class_(self, node: ast.ClassDef, scope: _Scope | None) -> None:
        self.out.append(f"ClassDef({node.name};")
        self.decorators(node, scope)
        outer = self.type_parameters(node, scope)
        self.field("bases", node.bases, outer)
        self.field("keywords", node.keywords, outer)
        body = node.body[1:] if _is_docstring(node.body[0]) else node.body
        self.list(body, _Scope(_bound(body), outer, True))
        self.out.append(")")

    def decorators(self, node: Any, scope: _Scope | None) -> None:
        for decorator in node.decorator_list:
            reference = chain(decorator.func if isinstance(decorator, ast.Call) else decorator)
            if reference is not None and _find(str(reference.root), scope) is not _Kind.GLOBAL:
                reference = None
            if reference is None or not self.is_ours(reference):
                self.out.append("@")
                self.visit(decorator, scope)

    def type_parameters(self, node: Any, scope: _Scope | None) -> _Scope | None:
        parameters = getattr(node, "type_params", None)
        if not parameters:
            return scope
        inner = _Scope({item.name: _Kind.LOCAL for item in parameters}, scope, False)
        self.list(parameters, inner)
        return inner

    def type_alias(self, node: Any, scope: _Scope | None) -> None:
        self.out.append(f"TypeAlias({node.name.id};")
        self.visit(node.value, self.type_parameters(node, scope))
        self.out.append(")")

    def comprehension(self, node: Any, scope: _Scope | None) -> None:
        targets = _bound([generator.target for generator in node.generators])
        inner = _Scope(targets, scope, False)
        self.out.append(f"{type(node).__name__}(")
        for place, generator in enumerate(node.generators):
            self.out.append(f"for{generator.is_async}")
            self.visit(generator.iter, inner if place else scope)
            self.visit(generator.target, inner)
            self.list(generator.ifs, inner)
        for name in ("key", "value", "elt"):
            if hasattr(node, name):
                self.visit(getattr(node, name), inner)
        self.out.append(")")


LOADED = "*loaded*"
"""Attribute of a Reference to a module that is imported and not used further."""

_SPECIAL: dict[type, Callable[[_Walker, Any, _Scope | None], None]] = {
    ast.Name: _Walker.name,
    ast.Attribute: _Walker.attribute,
    ast.Constant: _Walker.constant,
    ast.JoinedStr: _Walker.joined,
    ast.FormattedValue: _Walker.formatted,
    ast.Call: _Walker.call,
    ast.Import: _Walker.imported,
    ast.ImportFrom: _Walker.imported,
    ast.FunctionDef: _Walker.function,
    ast.AsyncFunctionDef: _Walker.function,
    ast.ClassDef: _Walker.class_,
    ast.Lambda: _Walker.lambda_,
    **dict.fromkeys(_COMPREHENSIONS, _Walker.comprehension),
}
if hasattr(ast, "TypeAlias"):  # Python 3.12
    _SPECIAL[ast.TypeAlias] = _Walker.type_alias
