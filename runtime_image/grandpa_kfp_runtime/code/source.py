"""A module's source as an index: which statements bind which name, and which merely do something.

Nothing is imported or run for it. `reach` follows names from index to index; `imports` lists what a
module imports. A file is parsed once and kept until its size or time of change differs.
"""

from __future__ import annotations

import ast
import itertools
import os
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from ..errors import PayloadError
from .canonical import Encoded, Import, Reference, Tagged, chain, encode, imported_by_call, imports_in
from .project import OURS

_Definition: TypeAlias = "ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef"
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_IMPORTS = (ast.Import, ast.ImportFrom)
_TRY = (ast.Try, ast.TryStar) if hasattr(ast, "TryStar") else (ast.Try,)


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement at the top of a module, or inside an `if` or `try` there.

    conditions: what has to hold for it to run, in canonical pieces (`if`, the test, `else`, ...).
    imports: what each name that it binds was imported from.
    """

    node: ast.stmt
    conditions: tuple[Tagged, ...] = ()
    imports: tuple[tuple[str, Import], ...] = ()


@dataclass(slots=True)
class ModuleSource:
    """The index of one module.

    bindings: name -> the places in `statements` that bind it, in order; effects: places of what is
    neither def, class, import nor assignment; loaded: imports that run whenever the module is loaded;
    stars: modules of star imports; decorators: of top-level definitions; calls_imports: whether the text
    may import by a call; catches: whether it may catch anything.
    """

    tree: ast.Module
    statements: list[Statement] = field(default_factory=list)
    bindings: dict[str, list[int]] = field(default_factory=dict)
    effects: list[int] = field(default_factory=list)
    loaded: list[Import] = field(default_factory=list)
    stars: list[Import] = field(default_factory=list)
    decorators: list[Reference] = field(default_factory=list)
    calls_imports: bool = False
    catches: bool = False
    _encoded: dict[int, Encoded] = field(default_factory=dict)
    _imports: tuple[Import, ...] | None = None

    def encoded(self, place: int) -> Encoded:
        """The canonical form of one statement, conditions first."""
        found = self._encoded.get(place)
        if found is None:
            statement = self.statements[place]
            found = encode((*statement.conditions, statement.node), is_ours=self.is_ours)
            self._encoded[place] = found
        return found

    def is_ours(self, reference: Reference) -> bool:
        """Whether a decorator's name was imported from this project's own packages: its options are no code."""
        places = self.bindings.get(str(reference.root), ())
        named = [
            target for place in places for name, target in self.statements[place].imports if name == reference.root
        ]
        return bool(named) and all(target.level == 0 and target.module.partition(".")[0] in OURS for target in named)

    def all_imports(self) -> tuple[Import, ...]:
        """Every import anywhere in the module, also in functions and by `import_module("literal")`."""
        if self._imports is None:
            found = [target for node in _import_statements(self.tree.body) for _, target in imports_in(node)]
            if self.calls_imports:
                calls = [imported_by_call(node) for node in ast.walk(self.tree) if isinstance(node, ast.Call)]
                found += [target for target in calls if target is not None]
            self._imports = tuple(found)
        return self._imports

    def optional_imports(self) -> set[str]:
        """Top-level modules that the module can do without: imported in a `try` that catches an ImportError."""
        if not self.catches:
            return set()
        return {
            target.module.partition(".")[0]
            for node in ast.walk(self.tree)
            if isinstance(node, _TRY) and any(map(_catches_import_errors, node.handlers))
            for statement in _import_statements(node.body)
            for _, target in imports_in(statement)
            if not target.level
        }


_IMPORT_ERRORS = frozenset({"ImportError", "ModuleNotFoundError", "Exception"})


def _catches_import_errors(handler: ast.ExceptHandler) -> bool:
    caught = handler.type
    kinds = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    return any(kind is None or (isinstance(kind, ast.Name) and kind.id in _IMPORT_ERRORS) for kind in kinds)


def _import_statements(body: Iterable[ast.stmt]) -> Iterator[ast.Import | ast.ImportFrom]:
    """Imports among statements and the statements inside them; expressions, which are most of a tree, hold none."""
    waiting = list(body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, _IMPORTS):
            yield node
        for name in ("body", "orelse", "finalbody", "handlers", "cases"):
            waiting.extend(getattr(node, name, ()))


_cache: dict[str, tuple[tuple[int, int], bytes, ModuleSource]] = {}


def read_source(path: Path | str) -> ModuleSource:
    """The index of a file. Raises PayloadError, naming file and line, for one that cannot be read or parsed."""
    return _read(path)[1]


def read_bytes(path: Path | str) -> bytes:
    """The file's bytes, the same ones that `read_source` has indexed."""
    return _read(path)[0]


def _read(path: Path | str) -> tuple[bytes, ModuleSource]:
    name = os.fspath(path)
    try:
        found = os.stat(name)
        stamp = (found.st_mtime_ns, found.st_size)
        kept = _cache.get(name)
        if kept is not None and kept[0] == stamp:
            return kept[1], kept[2]
        data = Path(name).read_bytes()
    except OSError as error:
        raise PayloadError(f"{name}: a module of the project cannot be read: {error.strerror}") from error
    index = index_of(data, name)
    _cache[name] = (stamp, data, index)
    return data, index


def index_of(text: bytes | str, name: str) -> ModuleSource:
    """The index of a module's text. Raises PayloadError where it does not parse."""
    try:
        tree = ast.parse(text, name)
    except (SyntaxError, ValueError, tokenize.TokenError) as error:
        line = getattr(error, "lineno", None)
        raise PayloadError(f"{name}:{line or 1}: a module of the project cannot be parsed: {error}") from error
    names = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    by_call = b"import_module" in names or b"__import__" in names
    source = ModuleSource(tree, calls_imports=by_call, catches=b"except" in names)
    indexer = _Indexer(source)
    indexer.block(tree.body, ())
    indexer.finish()
    return source


class _Indexer:
    """Sorts statements into an index."""

    __slots__ = ("doubtful", "source")

    def __init__(self, source: ModuleSource) -> None:
        self.source = source
        self.doubtful: list[tuple[str, int]] = []

    def block(self, body: Iterable[ast.stmt], conditions: tuple[Tagged, ...]) -> bool:
        """Takes statements in; whether none of them does anything but bind names."""
        pure = [self.statement(node, conditions) for node in body]
        return all(pure)

    def statement(self, node: ast.stmt, conditions: tuple[Tagged, ...]) -> bool:
        if isinstance(node, _DEFINITIONS):
            self.definition(node, conditions)
        elif isinstance(node, _IMPORTS):
            self.imported(node, conditions)
        elif isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            return self.assignment(node, targets, conditions)
        elif hasattr(ast, "TypeAlias") and isinstance(node, ast.TypeAlias):
            self.bind(self.add(node, conditions), [node.name.id])
        elif isinstance(node, ast.If):
            return self.choice(node, conditions)
        elif isinstance(node, _TRY):
            return self.attempt(node, conditions)
        elif isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            pass
        else:
            self.effect(node, conditions)
            return False
        return True

    def add(self, node: ast.stmt, conditions: tuple[Tagged, ...], imports: tuple[tuple[str, Import], ...] = ()) -> int:
        self.source.statements.append(Statement(node, conditions, imports))
        return len(self.source.statements) - 1

    def bind(self, place: int, names: Iterable[str]) -> None:
        for name in dict.fromkeys(names):
            self.source.bindings.setdefault(name, []).append(place)

    def definition(self, node: _Definition, conditions: tuple[Tagged, ...]) -> None:
        self.bind(self.add(node, conditions), [node.name])
        for decorator in node.decorator_list:
            reference = chain(decorator.func if isinstance(decorator, ast.Call) else decorator)
            if reference is not None:
                self.source.decorators.append(reference)

    def imported(self, node: ast.Import | ast.ImportFrom, conditions: tuple[Tagged, ...]) -> None:
        if isinstance(node, ast.ImportFrom) and node.module == "__future__":
            return
        for alias in node.names:  # one statement a name: the other names of the line do not matter to it
            single: ast.stmt = (
                ast.Import([alias])
                if isinstance(node, ast.Import)
                else ast.ImportFrom(node.module, [alias], node.level)
            )
            name, target = imports_in(single)[0]  # type: ignore[arg-type]
            if name == "*":
                self.source.stars.append(Import(target.level, target.module))
                continue
            root = Import(0, name) if isinstance(node, ast.Import) and not alias.asname else target
            self.bind(self.add(single, conditions, ((name, root),)), [name])
            if not _is_type_checking(conditions):
                self.source.loaded.append(target)

    def assignment(self, node: ast.stmt, targets: Iterable[ast.expr], conditions: tuple[Tagged, ...]) -> bool:
        names: list[str] = []
        for target in targets:
            for item in ast.walk(target):
                if isinstance(item, ast.Name) and isinstance(item.ctx, ast.Store):
                    names.append(item.id)
                elif isinstance(item, ast.Attribute | ast.Subscript) and isinstance(item.ctx, ast.Store):
                    root = _root(item)
                    if root is None:  # `globals()["x"] = 1`, `make().y = 2`
                        self.effect(node, conditions)
                        return False
                    names.append(root)
                    self.doubtful.append((root, len(self.source.statements)))
        self.bind(self.add(node, conditions), names)
        return True

    def choice(self, node: ast.If, conditions: tuple[Tagged, ...]) -> bool:
        if _is_main_guard(node):  # never runs in a worker; what it starts is no part of any node
            return self.block(node.orelse, conditions)
        pure = self.block(node.body, (*conditions, "if", node.test))
        pure = self.block(node.orelse, (*conditions, "else", node.test)) and pure
        if not pure and not conditions:
            self.effect(node, conditions, bind=False)
        return pure

    def attempt(self, node: ast.Try, conditions: tuple[Tagged, ...]) -> bool:
        pure = self.block(node.body, (*conditions, "try"))
        for handler in node.handlers:
            test = () if handler.type is None else (handler.type,)
            pure = self.block(handler.body, (*conditions, "except", *test)) and pure
        pure = self.block(node.orelse, (*conditions, "try-else")) and pure
        pure = self.block(node.finalbody, (*conditions, "finally")) and pure
        if not pure and not conditions:
            self.effect(node, conditions, bind=False)
        return pure

    def effect(self, node: ast.stmt, conditions: tuple[Tagged, ...], *, bind: bool = True) -> None:
        """A statement that counts as soon as the module is reached; inside a branch its outermost `if` does."""
        place = self.add(node, conditions)
        if not conditions:
            self.source.effects.append(place)
        if not bind:
            return
        names = [item.id for item in ast.walk(node) if isinstance(item, ast.Name) and isinstance(item.ctx, ast.Store)]
        names += [item.name for item in ast.walk(node) if isinstance(item, _DEFINITIONS)]
        self.bind(place, names)
        for item in ast.walk(node):
            if isinstance(item, _IMPORTS):
                self.imported(item, conditions)

    def finish(self) -> None:
        """`mod.x = 1` changes another module: where the root was imported, the statement is an effect."""
        for root, place in self.doubtful:
            known = self.source.bindings.get(root, [])
            own = [item for item in known if item != place]
            if not own or any(self.source.statements[item].imports for item in own):
                self.source.effects.append(place)
        self.source.effects.sort()


def _root(node: ast.expr) -> str | None:
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def _is_main_guard(node: ast.If) -> bool:
    test = node.test
    if not isinstance(test, ast.Compare) or len(test.ops) != 1 or not isinstance(test.ops[0], ast.Eq):
        return False
    sides = {ast.dump(test.left), ast.dump(test.comparators[0])}
    return sides == {ast.dump(ast.Name("__name__", ast.Load())), ast.dump(ast.Constant("__main__"))}


def _is_type_checking(conditions: tuple[Tagged, ...]) -> bool:
    for tag, test in itertools.pairwise(conditions):
        if tag == "if" and isinstance(test, ast.AST):
            reference = chain(test)
            if reference is not None and "TYPE_CHECKING" in (reference.root, *reference.attributes[-1:]):
                return True
    return False
