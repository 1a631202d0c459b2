"""Pickles by value what no worker could import, so that the same code gives the same bytes everywhere.

cloudpickle knows how; what it writes also tells the folder, the line, an id made at random, the order of
sets and which equal strings are one object in this process. All that is left out or fixed here. The
pickles load like any of cloudpickle's. `payload` writes nodes with it, `pickling` constants, the
fingerprint hashes values with it.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import sys
import types
import typing
from collections.abc import Callable
from pathlib import PurePath
from typing import Any, ClassVar, cast

from ..code.marks import importable, plain_function, walk
from ..errors import GrandpaError, PayloadError
from .frames import plain
from .ordered_sets import PLAIN, OrderedPickler, Reduce
from .registry import codec_for
from .sharing import SHARE

_OUR_ID = "grandpa-"
_INCIDENTAL = ("__firstlineno__", "__slotnames__")  # the second appears once an object of the class was pickled


def dumps(
    value: Any, *, of: str = "a value", instead: Reduce | None = None, lines: bool = False
) -> tuple[bytes, frozenset[str]]:
    """The pickle, and the modules that it names.

    of: what the value is, for messages; instead: asked for every object that is not of a plain type, what
    it gives other than NotImplemented is its reduction; lines: functions keep their lines, counted from the
    first of the outermost one, so that a traceback tells where. Raises PayloadError for what cannot be
    pickled; errors of this project (a Ref's TraceError) pass as they are.

    >>> data, modules = dumps([len, lambda x: x])
    >>> pickle.loads(data)[1](4), sorted(modules)
    (4, ['builtins', 'cloudpickle.cloudpickle'])
    """
    file = io.BytesIO()
    pickler = _ByValue(file, instead or _leave, lines=lines)
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


def dump_by_value(value: Any, reduce: Reduce | None = None) -> bytes:
    """The pickle alone; whatever pickling raises passes. reduce: as a pickler's `reducer_override`.

    >>> dump_by_value(lambda x: x) == dump_by_value(lambda x: x)
    True
    """
    file = io.BytesIO()
    _ByValue(file, reduce or _leave).dump(value)
    return file.getvalue()


def _leave(_: Any) -> Any:
    return NotImplemented


def _described(value: Any) -> str:
    name = getattr(value, "__qualname__", None)
    return f"{name}" if isinstance(name, str) else f"an object of type {type(value).__qualname__}"


class _ByValue(OrderedPickler):
    """cloudpickle's knowledge of functions and classes, in the pickler that fixes the order of sets."""

    dispatch: ClassVar[dict[Any, Callable[..., None]]] = dict(OrderedPickler.dispatch)

    def __init__(self, file: io.BytesIO, reduce: Reduce, *, lines: bool = False, nameless: bool = False) -> None:
        """nameless: classes carry no id, because this pickle is what the id is made of."""
        super().__init__(file, reduce)
        from cloudpickle import cloudpickle  # type: ignore[import-untyped]  # takes 35 ms, and few programs need it

        self._cloud = cloudpickle.Pickler(io.BytesIO(), 5)
        self._tracker = cloudpickle
        self._lines = lines
        self._nameless = nameless
        self._codes: dict[int, types.CodeType] = {}
        self.dispatch_table = self._cloud.dispatch_table
        self.modules: set[str] = set()
        self.last: Any = None

    def fresh(self, file: io.BytesIO) -> _ByValue:
        return _ByValue(file, _content if self._nameless else _leave, lines=self._lines, nameless=self._nameless)

    def reducer_override(self, obj: Any) -> Any:
        kind = type(obj)
        if kind in PLAIN:
            return NotImplemented
        self.last = obj
        found = self._reduce(obj)
        if found is not NotImplemented:
            return found
        if hasattr(kind, SHARE):
            raise PayloadError(f"{obj!r} is used from outside a node; pass it to the node as an argument")
        if kind is types.CodeType:
            return self._code(obj)
        if kind is types.FunctionType:
            return self._function(obj)
        if kind is typing.TypeVar:
            return self._type_variable(obj)
        if issubclass(kind, type):
            return self._class(obj)
        if kind is types.ModuleType:
            self.modules.add(obj.__name__)
        return self._cloud.reducer_override(obj)

    def save_global(self, obj: Any, name: str | None = None) -> None:
        given = name if name is not None else getattr(obj, "__qualname__", None)
        self.modules.add(pickle.whichmodule(obj, cast("str", given)))  # type: ignore[attr-defined]
        super().save_global(obj, name)

    dispatch[types.FunctionType] = save_global

    # --- functions ---

    def _function(self, function: types.FunctionType) -> Any:
        found = importable(function)
        if found is not None and walk(sys.modules[found[0]], found[1]) is not function:
            self.modules.add(found[0])
            return plain_function, found
        reduced = self._cloud.reducer_override(function)
        if not _is_whole(reduced):
            return reduced
        make, arguments, (state, slots), *rest = reduced
        for name in ("__file__", "__path__"):
            arguments[1].pop(name, None)
        names = slots["__globals__"]
        for name in ("__file__", "__path__", "__spec__", "__loader__"):
            if name in names:
                names[name] = None
        submodules = slots.get("_cloudpickle_submodules", ())
        slots["_cloudpickle_submodules"] = sorted(submodules, key=lambda item: item.__name__)
        return make, arguments, (state, slots), *rest

    def _code(self, code: types.CodeType) -> Any:
        if id(code) not in self._codes:
            code = self._normal_code(code, code.co_firstlineno)
        return self.dispatch_table[types.CodeType](code)

    def _normal_code(self, code: types.CodeType, first: int) -> types.CodeType:
        """A file name that says no folder; lines counted from the outermost function's first one, or none."""
        normal = code.replace(
            co_filename=f"<{code.co_name}>",
            co_firstlineno=max(code.co_firstlineno - first + 1, 1) if self._lines else 1,
            co_linetable=code.co_linetable if self._lines else _one_line(code),
            co_consts=tuple([self._constant(item, first) for item in code.co_consts]),
        )
        self._codes[id(normal)] = normal
        return normal

    def _constant(self, value: Any, first: int) -> Any:
        if isinstance(value, types.CodeType):
            return self._normal_code(value, first)
        # a tuple compiled and one read from a .pyc differ in what they share
        return tuple([self._constant(item, first) for item in value]) if type(value) is tuple else value

    # --- classes ---

    def _class(self, cls: type) -> Any:
        reduced = self._cloud.reducer_override(cls)
        if not _is_whole(reduced):  # by reference, or a builtin's own way
            return reduced
        make, arguments, (state, slots), *rest = reduced
        state = {key: item for key, item in state.items() if key not in _INCIDENTAL}
        if "__static_attributes__" in state:
            state["__static_attributes__"] = tuple(sorted(state["__static_attributes__"]))
        if isinstance(state.get("_abc_impl"), list):
            state["_abc_impl"] = sorted(state["_abc_impl"], key=lambda item: f"{item.__module__}:{item.__qualname__}")
        *before, _, extra = arguments
        return make, (*before, self._identity(cls), extra), (state, slots), *rest

    def _type_variable(self, variable: Any) -> Any:
        make, arguments = self.dispatch_table[typing.TypeVar](variable)
        if make is getattr:  # by reference
            self.modules.add(arguments[0].__name__)
            return make, arguments
        return make, (*arguments[:-1], self._identity(variable))

    def _identity(self, cls: Any) -> str:
        """The id by which pickles share a class, so that an instance made by one task is one in the next.

        It is a hash of the class's content, and the class keeps it, as one does that came with a pickle.
        """
        if self._nameless:
            return ""
        tracker = self._tracker
        known = str(tracker._DYNAMIC_CLASS_TRACKER_BY_CLASS.get(cls, ""))
        if known.startswith(_OUR_ID):
            return known
        file = io.BytesIO()
        try:
            _ByValue(file, _content, nameless=True).dump(cls)
        except GrandpaError:
            raise
        except Exception:  # whatever is wrong is also wrong with the pickle itself, which says where
            return _OUR_ID
        identity = _OUR_ID + hashlib.sha256(file.getvalue()).hexdigest()[:32]
        with tracker._DYNAMIC_CLASS_TRACKER_LOCK:
            tracker._DYNAMIC_CLASS_TRACKER_BY_CLASS[cls] = identity
            tracker._DYNAMIC_CLASS_TRACKER_BY_ID[identity] = cls
        return identity


def _is_whole(reduced: Any) -> bool:
    """Whether cloudpickle writes the function or class out, and does not name it."""
    return isinstance(reduced, tuple) and len(reduced) == 6


def _content(obj: Any) -> Any:
    """What registered codecs store, by content: a class's id must not depend on who pickles the class."""
    if isinstance(obj, PurePath):
        return str, (str(obj),)
    codec = codec_for(type(obj))
    if codec is None:
        return NotImplemented
    parts = codec.encode(obj)
    content = hashlib.sha256()
    for frame in parts.frames:
        content.update(plain(frame))
    return str, (f"{codec.name} {json.dumps(parts.meta, sort_keys=True)} {content.hexdigest()}",)


def _one_line(code: types.CodeType) -> bytes:
    """A line table that puts all of the code on its first line; tracebacks cannot do without one."""
    if sys.version_info >= (3, 11):  # entries of up to 8 code units: form 13, no columns; line + 0
        full, rest = divmod(len(code.co_code) // 2, 8)
        return bytes((0x80 | 13 << 3 | 7, 0)) * full + (bytes((0x80 | 13 << 3 | rest - 1, 0)) if rest else b"")
    full, rest = divmod(len(code.co_code), 254)  # pairs: bytes of code, line + 0
    return bytes((254, 0)) * full + (bytes((rest, 0)) if rest else b"")
