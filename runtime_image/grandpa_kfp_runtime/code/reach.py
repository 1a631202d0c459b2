"""Follows names through a project's source: what a piece of code reaches, each with its own hash.

Everything is a `Place`: a name of a module, a module's own statements, a whole module, an outside
distribution. `Reach.expand` gives a place's own hash and the places it leads to; `Reach.from_places`
walks them. Nothing is imported or run. `live` adds places for objects that have no source file.
"""

from __future__ import annotations

import ast
import builtins
import hashlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from .canonical import LOADED, Import, Reference
from .imports import Locator
from .project import OURS
from .source import ModuleSource, Statement


class Place(NamedTuple):
    """kind `name`: what binds `name` in the module; `module`: what it does when it is loaded; `whole`: all
    of it; `outside`: a distribution, `module` being its text; `object`: a live object, `name` its id;
    `log`: one of our functions that log, `name`; no code of the project's, so without an entry; `opaque`: a live
    object of the kind `name` whose content cannot be told, without an entry too."""

    kind: str
    module: str
    name: str = ""


class Expanded(NamedTuple):
    """entries: (place in words, hash of its own source), mostly one; leads_to: the places it uses."""

    entries: tuple[tuple[str, str], ...]
    leads_to: tuple[Place, ...]


_MODULE_NAMES = frozenset(
    {"__name__", "__file__", "__doc__", "__package__", "__spec__", "__path__", "__loader__", "__builtins__", "__all__"}
)
LOGS = frozenset({"log_metric", "log_params", "log_artifact"})
_ANYTHING = frozenset({"globals", "eval", "exec"})
_REGISTERS = frozenset({"append", "add", "register", "setdefault", "update", "insert", "extend", "appendleft"})


def digest(*texts: str) -> str:
    """SHA-256 over the texts, hex."""
    found = hashlib.sha256()
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        found.update(b"%d:" % len(data))
        found.update(data)
    return found.hexdigest()


class Reach:
    """One look at a project: places are expanded once, however many nodes lead to them."""

    def __init__(self, locator: Locator) -> None:
        self.locator = locator
        self._expanded: dict[Place, Expanded] = {}
        self._registers: dict[Place, bool] = {}

    def from_places(self, places: Iterable[Place]) -> set[tuple[str, str]]:
        """The entries of all that the places lead to."""
        return self._walk(places)[1]

    def logs_from(self, places: Iterable[Place]) -> frozenset[str]:
        """The names of our functions that log, of those that the places lead to."""
        return frozenset(place.name for place in self._walk(places)[0] if place.kind == "log")

    def opaque_from(self, places: Iterable[Place]) -> frozenset[str]:
        """The kinds of the objects whose content cannot be told, of those that the places lead to."""
        return frozenset(place.name for place in self._walk(places)[0] if place.kind == "opaque")

    def _walk(self, places: Iterable[Place]) -> tuple[set[Place], set[tuple[str, str]]]:
        seen: set[Place] = set()
        waiting = list(places)
        entries: set[tuple[str, str]] = set()
        while waiting:
            place = waiting.pop()
            if place in seen:
                continue
            seen.add(place)
            expanded = self._expanded.get(place)
            if expanded is None:
                expanded = self._expanded[place] = self.expand(place)
            entries.update(expanded.entries)
            waiting.extend(expanded.leads_to)
        return seen, entries

    def expand(self, place: Place) -> Expanded:
        """A place's own hash and where it leads."""
        if place.kind == "name":
            return self._name(place)
        if place.kind == "module":
            return self._module(place)
        if place.kind == "whole":
            return self._whole(place)
        if place.kind in ("log", "opaque"):
            return Expanded((), ())
        return Expanded((("outside", place.module),), ())

    # --- kinds of places ---

    def _name(self, place: Place) -> Expanded:
        source = self._source(place.module)
        texts: list[str] = []
        leads: dict[Place, None] = {Place("module", place.module): None}
        for item in source.bindings.get(place.name, ()):
            encoded = source.encoded(item)
            texts.append(encoded.text)
            for reference in encoded.references:
                leads.update(dict.fromkeys(self.resolve(place.module, reference)))
        entry = (f"{place.module}:{place.name}", digest(*texts))
        return Expanded((entry,), tuple(leads))

    def _module(self, place: Place) -> Expanded:
        """The statements that count for every node of the module, and what loading it loads."""
        name = place.module
        leads: dict[Place, None] = {}
        parent = name.rpartition(".")[0]
        if parent and self.locator.is_own(parent):
            leads[Place("module", parent)] = None
        source = self.locator.source(name)
        if source is None:
            return Expanded((), tuple(leads))
        for target in source.loaded:
            leads.update(dict.fromkeys(self._loaded(name, target)))
        for target in source.stars:
            module = self.locator.absolute(name, target)
            if module is not None:
                leads[Place("whole", module) if self.locator.is_own(module) else self._outside(module)] = None
        texts: list[str] = []
        for item in source.effects:
            encoded = source.encoded(item)
            texts.append(encoded.text)
            for reference in encoded.references:
                leads.update(dict.fromkeys(self.resolve(name, reference)))
        if any(self._is_registration(name, reference) for reference in source.decorators):
            leads[Place("whole", name)] = None
        leads.pop(_STANDARD, None)
        return Expanded(((f"{name}:", digest(*texts)),) if texts else (), tuple(leads))

    def _whole(self, place: Place) -> Expanded:
        source = self.locator.source(place.module)
        leads: dict[Place, None] = {Place("module", place.module): None}
        for name, items in (source.bindings if source is not None else {}).items():
            leads[Place("name", place.module, name)] = None
            for item in items:
                for bound, target in source.statements[item].imports if source is not None else ():
                    if bound == name:
                        leads.update(dict.fromkeys(self._imported(place.module, target, (LOADED,))))
        leads.pop(_STANDARD, None)
        return Expanded((), tuple(leads))

    # --- names ---

    def resolve(self, module: str, reference: Reference, seen: frozenset[Place] = frozenset()) -> list[Place]:
        """The places that a name, used in a module of the project, leads to."""
        root, attributes = reference
        if isinstance(root, Import):
            return self._imported(module, root, attributes, seen)
        source = self._source(module)
        items = source.bindings.get(root)
        if items is None:
            return self._unbound(module, root, source)
        place = Place("name", module, root)
        if place in seen:
            return []
        places = [place]
        for item in items:
            statement: Statement = source.statements[item]
            for name, target in statement.imports:
                if name == root:
                    places += self._imported(module, target, attributes, seen | {place})
        return places

    def _unbound(self, module: str, name: str, source: ModuleSource) -> list[Place]:
        if name in _ANYTHING:
            return [Place("whole", module)]
        if hasattr(builtins, name) or name in _MODULE_NAMES:
            return []
        if "__getattr__" in source.bindings:
            return [Place("name", module, "__getattr__")]
        stars = [self.locator.absolute(module, target) for target in source.stars]
        outside = [self._outside(star) for star in stars if star is not None and not self.locator.is_own(star)]
        outside += [place for star in stars if star is not None for place in log_places(star, [name])]
        # put there by something that the source does not show: when in doubt, more
        return [place for place in outside if place is not _STANDARD] or [Place("whole", module)]

    def _imported(
        self, within: str, target: Import, attributes: tuple[str, ...], seen: frozenset[Place] = frozenset()
    ) -> list[Place]:
        """Where `target.attributes` leads, written in module `within`."""
        module = self.locator.absolute(within, target)
        if module is None:
            return []
        names = [*([target.name] if target.name else []), *attributes]
        if not self.locator.is_own(module):
            if module == "sys" and names[:1] == ["modules"]:
                return [Place("whole", within)]
            outside = self._outside(module)
            return [] if outside is _STANDARD else [outside, *log_places(module, names)]
        places = [Place("module", module)]
        while names and names[0] != "*":
            head = names[0]
            source = self.locator.source(module)
            if source is not None and head in source.bindings:
                return places + self.resolve(module, Reference(head, tuple(names[1:])), seen)
            below = f"{module}.{head}"
            if head == LOADED or head in _MODULE_NAMES:
                return places
            if self.locator.is_own(below):
                module = below
                places.append(Place("module", module))
                names.pop(0)
                continue
            if source is None:
                return places
            return places + self._unbound(module, head, source)
        return [*places, Place("whole", module)]  # the module itself is handed on: all of it counts

    def _loaded(self, within: str, target: Import) -> list[Place]:
        """What an import at the top of a module runs."""
        module = self.locator.absolute(within, target)
        if module is None or not self.locator.is_own(module):
            return []
        below = f"{module}.{target.name}"
        places = [Place("module", module)]
        if target.name and self.locator.is_own(below):
            places.append(Place("module", below))
        return places

    def _outside(self, module: str) -> Place:
        distribution = self.locator.outside(module)
        return _STANDARD if distribution is None else Place("outside", str(distribution))

    def _source(self, module: str) -> ModuleSource:
        source = self.locator.source(module)
        return source if source is not None else _EMPTY

    # --- decorators ---

    def _is_registration(self, module: str, decorator: Reference) -> bool:
        """Whether a decorator may keep what it decorates somewhere: then loading the module does something."""
        source = self._source(module)
        if source.is_ours(decorator):
            return False
        items = source.bindings.get(str(decorator.root))
        if items is None:
            return False  # a builtin: property, staticmethod
        if not any(source.statements[item].imports for item in items):
            # `@routes.get(...)`: a method of an object that the module made; `@timed`: its own function
            return bool(decorator.attributes) or self._fills_a_table(module, str(decorator.root))
        return any(
            self._imported_registers(module, target, decorator.attributes)
            for item in items
            for name, target in source.statements[item].imports
            if name == decorator.root
        )

    def _imported_registers(self, within: str, target: Import, attributes: tuple[str, ...]) -> bool:
        module = self.locator.absolute(within, target)
        if module is None:
            return False
        names = [*([target.name] if target.name else []), *attributes]
        if not self.locator.is_own(module):
            # `@cuda.jit` of a module is a transformer, `@app.route` of an imported object keeps its function
            return len(names) > 1 and target.name != "" and self.locator.find(f"{module}.{names[0]}") is None
        while len(names) > 1 and self.locator.is_own(f"{module}.{names[0]}"):
            module = f"{module}.{names.pop(0)}"
        source = self.locator.source(module)
        if not names or source is None:
            return False
        if any(source.statements[item].imports for item in source.bindings.get(names[0], ())):
            return self._is_registration(module, Reference(names[0], tuple(names[1:])))
        return len(names) > 1 or self._fills_a_table(module, names[0])

    def _fills_a_table(self, module: str, name: str) -> bool:
        """Whether a decorator's own function stores into something global."""
        place = Place("name", module, name)
        found = self._registers.get(place)
        if found is None:
            source = self._source(module)
            found = any(_stores(source.statements[item].node) for item in source.bindings.get(name, ()))
            self._registers[place] = found
        return found


def log_places(module: str, names: Sequence[str]) -> list[Place]:
    """The place of a function that logs, where that is what the names in a module of ours lead to."""
    ours = names and names[0] in LOGS and module.partition(".")[0] in OURS
    return [Place("log", "", names[0])] if ours else []


def _stores(node: ast.AST) -> bool:
    local = {item.arg for item in ast.walk(node) if isinstance(item, ast.arg)}
    local |= {item.name for item in ast.walk(node) if isinstance(item, ast.FunctionDef | ast.ClassDef)}
    local |= {item.id for item in ast.walk(node) if isinstance(item, ast.Name) and isinstance(item.ctx, ast.Store)}

    def is_global(item: ast.expr) -> bool:
        while isinstance(item, ast.Attribute | ast.Subscript):
            item = item.value
        return isinstance(item, ast.Name) and item.id not in local

    for item in ast.walk(node):
        if isinstance(item, ast.Global):
            return True
        if isinstance(item, ast.Attribute | ast.Subscript) and isinstance(item.ctx, ast.Store) and is_global(item):
            return True
        called = item.func if isinstance(item, ast.Call) else None
        if isinstance(called, ast.Attribute) and called.attr in _REGISTERS and is_global(called.value):
            return True
    return False


_STANDARD = Place("standard", "")
_EMPTY = ModuleSource(ast.Module([], []))
