"""Pickles by value what no worker could import, so that the bytes depend on the code alone.

cloudpickle does the work; file names, line numbers, ids of classes, the order of sets and the identity
of equal strings are made the same for every hash seed, folder and process. `payload` writes nodes with
it, the fingerprint hashes values with it.
"""

from __future__ import annotations

import hashlib
import io
import operator
import pickle
import sys
import types
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, cast

from .errors import GrandpaError, PayloadError


def dumps(
    value: Any, *, of: str = "a value", instead: Callable[[Any], Any] | None = None
) -> tuple[bytes, frozenset[str]]:
    """The pickle, and the modules that it names.

    of: what the value is, for messages; instead: asked for every object that is not of a plain type, what
    it gives other than NotImplemented is its reduction. Raises PayloadError for what cannot be pickled; errors of this
    project (a Ref's TraceError) pass as they are.
    """
    file = io.BytesIO()
    pickler = _Normal(file, instead)
    try:
        pickler.dump(value)
    except GrandpaError:
        raise
    except RecursionError:
        raise PayloadError(f"{of} cannot travel to a worker: it is nested too deeply") from None
    except Exception as error:  # whatever a user's __reduce__ may raise
        raise PayloadError(
            f"{of} cannot travel to a worker: {_described(pickler.last)} cannot be pickled "
            f"({type(error).__name__}: {error}). A function inside another one takes the values it uses along: make "
            "this one inside the node's body, pass it as an argument, or define the node at the top of a module"
        ) from error
    return file.getvalue(), frozenset(pickler.modules)


def plain_function(module: str, qualname: str) -> Any:
    """The function below the node of that name; pickles of partials and closures over nodes name it."""
    __import__(module)
    found = operator.attrgetter(qualname)(sys.modules[module])
    return getattr(found, "__grandpa_node__", found)


def importable(value: Any) -> tuple[str, str] | None:
    """(module, qualname) of a function or class that can be imported, as it is or below a node; else None."""
    module, qualname = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(qualname, str) or module == "__main__":
        return None
    found = walk(sys.modules.get(module), qualname)
    if found is value or (found is not None and unmarked(found) is value):
        return module, qualname
    return None


def walk(found: Any, qualname: str) -> Any:
    """The attribute at the end of a dotted name, None where there is none."""
    for name in qualname.split("."):
        found = getattr(found, name, None)
    return found


def unmarked(value: Any) -> Any:
    """The callable below a node, the function below a component or workflow; other values as they are."""
    kind = type(value)
    if isinstance(value, type) or kind in _ATOMS:
        return value
    mark = getattr(kind, "__grandpa_node__", None)
    if mark is not None and not isinstance(mark, type):  # a real object of a marked class is no node
        return value.__grandpa_node__
    if hasattr(kind, "__grandpa_traced__"):
        return getattr(value, "fn", value)
    return value


_ATOMS = frozenset({type(None), bool, int, float, str, bytes, list, tuple, dict, set, frozenset, types.FunctionType})


def _described(value: Any) -> str:
    name = getattr(value, "__qualname__", None)
    return f"{name}" if isinstance(name, str) else f"an object of type {type(value).__qualname__}"


class _Normal(pickle._Pickler):
    """The pickler written in Python: it lets strings be shared by value, which the one in C does not."""

    dispatch: ClassVar[dict[Any, Callable[..., None]]] = dict(pickle._Pickler.dispatch)

    def __init__(self, file: io.BytesIO, instead: Callable[[Any], Any] | None) -> None:
        super().__init__(file, 5)
        import cloudpickle  # type: ignore[import-untyped]  # takes 35 ms, and most projects have no node that goes by value

        self._cloud = cloudpickle.Pickler(io.BytesIO(), 5)
        self._instead = instead
        self._shared: dict[Any, Any] = {}
        self._codes: dict[int, types.CodeType] = {}
        self.dispatch_table = self._cloud.dispatch_table
        self.modules: set[str] = set()
        self.last: Any = None

    def reducer_override(self, obj: Any) -> Any:
        kind = type(obj)
        if kind in (str, bytes, int, tuple, dict, list, float, bool) or obj is None:
            return NotImplemented
        self.last = obj
        if self._instead is not None:
            reduced = self._instead(obj)
            if reduced is not NotImplemented:
                return reduced
        if kind is set or kind is frozenset:
            return kind, (_sorted(obj),)
        if kind is types.CodeType:
            return self._code(obj)
        if kind is types.FunctionType or issubclass(kind, type):
            return self._definition(obj)
        if kind is types.ModuleType:
            self.modules.add(obj.__name__)
        return self._cloud.reducer_override(obj)

    def _definition(self, obj: Any) -> Any:
        if isinstance(obj, types.FunctionType):
            found = importable(obj)
            if found is not None and walk(sys.modules[found[0]], found[1]) is not obj:
                self.modules.add(found[0])
                return plain_function, found
        reduced = self._cloud.reducer_override(obj)
        if not isinstance(reduced, tuple) or len(reduced) != 6:
            return reduced
        return _normal_class(obj, reduced) if isinstance(obj, type) else _normal_function(reduced)

    def _code(self, code: types.CodeType) -> Any:
        if id(code) not in self._codes:
            code = self._normal_code(code, code.co_firstlineno)
        return self.dispatch_table[types.CodeType](code)

    def _normal_code(self, code: types.CodeType, first: int) -> types.CodeType:
        """Lines counted from the outermost function's first one; a file name that says no folder."""
        normal = code.replace(
            co_filename=f"<{code.co_name}>",
            co_firstlineno=max(code.co_firstlineno - first + 1, 1),
            co_consts=tuple([self._constant(item, first) for item in code.co_consts]),
        )
        self._codes[id(normal)] = normal
        return normal

    def _constant(self, value: Any, first: int) -> Any:
        if isinstance(value, types.CodeType):
            return self._normal_code(value, first)
        # a tuple compiled and one read from a .pyc differ in what they share
        return tuple([self._constant(item, first) for item in value]) if type(value) is tuple else value

    def save_global(self, obj: Any, name: str | None = None) -> None:
        given = name if name is not None else getattr(obj, "__qualname__", None)
        self.modules.add(pickle.whichmodule(obj, cast("str", given)))  # type: ignore[attr-defined]
        super().save_global(obj, name)  # type: ignore[misc]

    def _share(self, save: Callable[[Any, Any], None], obj: Any) -> None:
        first = self._shared.setdefault(obj, obj)
        known = self.memo.get(id(first))  # type: ignore[attr-defined]
        if known is None:
            save(self, first)
        else:
            self.write(self.get(known[0]))  # type: ignore[attr-defined]

    def save_str(self, obj: str) -> None:
        self._share(pickle._Pickler.save_str, obj)  # type: ignore[attr-defined]

    def save_bytes(self, obj: bytes) -> None:
        self._share(pickle._Pickler.save_bytes, obj)  # type: ignore[attr-defined]

    def save_type(self, obj: Any) -> None:
        pickle._Pickler.save_type(self, obj)  # type: ignore[attr-defined]

    dispatch[str] = save_str
    dispatch[bytes] = save_bytes
    dispatch[types.FunctionType] = save_global


def _normal_function(reduced: Any) -> Any:
    make, arguments, (state, slots), *rest = reduced
    for name in ("__file__", "__path__"):
        arguments[1].pop(name, None)
    names = slots["__globals__"]
    for name in ("__file__", "__path__", "__spec__", "__loader__"):
        if name in names:
            names[name] = None
    slots["_cloudpickle_submodules"] = sorted(slots.get("_cloudpickle_submodules", ()), key=lambda item: item.__name__)
    return make, arguments, (state, slots), *rest


def _normal_class(cls: type, reduced: Any) -> Any:
    make, arguments, (state, slots), *rest = reduced
    state = dict(state)
    state.pop("__firstlineno__", None)
    if "__static_attributes__" in state:
        state["__static_attributes__"] = tuple(sorted(state["__static_attributes__"]))
    if isinstance(state.get("_abc_impl"), list):
        state["_abc_impl"] = sorted(state["_abc_impl"], key=_name_of)
    # the id by which two pickles in one process share a class: cloudpickle's own is random
    given = [*arguments]
    given[-2] = _class_id(cls)
    return make, tuple(given), (state, slots), *rest


def _name_of(value: Any) -> str:
    return f"{value.__module__}:{value.__qualname__}"


def _class_id(cls: type) -> str:
    """Equal for equal definitions of one class, so that an instance made by one task is one in the next."""
    parts = [_name_of(cls), *map(_name_of, cls.__bases__)]
    for name, value in sorted(vars(cls).items()):
        function = getattr(value, "__func__", getattr(value, "fget", value))
        code = getattr(function, "__code__", None)
        if code is not None:
            parts += [name, code_text(code)]
        elif not name.startswith("__"):
            parts += [name, ascii(value) if type(value) in (bool, int, float, str, bytes) else type(value).__qualname__]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def code_text(code: types.CodeType) -> str:
    """A code object without file name, lines and docstring, as text; Python's minors differ in it."""
    doc = code.co_consts[0] if code.co_consts and isinstance(code.co_consts[0], str) else None
    constants = [
        code_text(item) if isinstance(item, types.CodeType) else _constant_text(item)
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


def _sorted(items: Iterable[Any]) -> list[Any]:
    return sorted(items, key=_order)


def _order(value: Any) -> tuple[str, str]:
    kind = type(value)
    if kind in (str, bytes, bool, float, type(None)):
        return kind.__name__, ascii(value)
    if kind is int:
        return "int", f"{value < 0}{abs(value):064x}"
    return kind.__name__, hashlib.sha256(dumps(value)[0]).hexdigest()
