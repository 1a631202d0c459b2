"""Pickling functions and classes by value, so that the same code gives the same bytes everywhere.

What cloudpickle writes of a lambda, a closure or a class of a notebook also tells the folder, the line,
an id made at random and the order of sets in this process. Here all that is left out or fixed, which
makes the bytes fit for a pipeline's file. They load like any of cloudpickle's.
"""

from __future__ import annotations

import functools
import hashlib
import io
import sys
import types
from typing import Any

from .ordered_sets import OrderedPickler, Reduce

_NO_PLACE = "<by value>"  # stands for the file's name
_POSITIONS = ("__firstlineno__", "__static_attributes__")  # what Python 3.13 adds to a class's dict


def dump_by_value(value: Any, reduce: Reduce | None = None) -> bytes:
    """The pickle, protocol 5, everything in the stream. reduce: asked first, as a pickler's `reducer_override`.

    >>> dump_by_value(lambda x: x) == dump_by_value(lambda x: x)
    True
    """
    file = io.BytesIO()
    _pickler()(file, reduce or _leave).dump(value)
    return file.getvalue()


def _one_line(code: types.CodeType) -> bytes:
    """A line table that puts all of the code on its first line; tracebacks cannot do without one."""
    if sys.version_info >= (3, 11):  # entries of up to 8 code units: form 13, no columns; line + 0
        full, rest = divmod(len(code.co_code) // 2, 8)
        return bytes((0x80 | 13 << 3 | 7, 0)) * full + (bytes((0x80 | 13 << 3 | rest - 1, 0)) if rest else b"")
    full, rest = divmod(len(code.co_code), 254)  # pairs: bytes of code, line + 0
    return bytes((254, 0)) * full + (bytes((rest, 0)) if rest else b"")


def _leave(_: Any) -> Any:
    return NotImplemented


@functools.cache
def _pickler() -> type[OrderedPickler]:
    from cloudpickle import cloudpickle  # type: ignore[import-untyped]  # takes 35 ms, and few programs need it

    cloud: Any = cloudpickle.Pickler

    class ByValue(OrderedPickler):
        """The pickler in Python with cloudpickle's knowledge of functions and classes."""

        dispatch_table = cloud.dispatch_table
        _function_reduce = cloud._function_reduce
        _dynamic_function_reduce = cloud._dynamic_function_reduce

        def __init__(self, file: io.BytesIO, reduce: Reduce, inside: tuple[type, ...] = ()) -> None:
            super().__init__(file, reduce)
            self.globals_ref: dict[int, dict[str, Any]] = {}
            self.proto = 5
            self._inside = inside

        def _function_getnewargs(self, function: Any) -> Any:
            arguments = cloud._function_getnewargs(self, function)
            for name in ("__file__", "__path__"):
                arguments[1].pop(name, None)
            return arguments

        def reducer_override(self, obj: Any) -> Any:
            found = super().reducer_override(obj)
            if found is not NotImplemented:
                return found
            if isinstance(obj, types.CodeType):
                bare = obj.replace(co_filename=_NO_PLACE, co_firstlineno=1, co_linetable=_one_line(obj))
                return cloud.dispatch_table[types.CodeType](bare)
            if not issubclass(type(obj), type):
                return cloud.reducer_override(self, obj)
            if obj in self._inside:  # while its own id is being made
                return str, (f"class {obj.__qualname__}",)
            return self._class(obj, cloud.reducer_override(self, obj))

        def _class(self, cls: type, found: Any) -> Any:
            if not isinstance(found, tuple) or len(found) < 3:  # by reference, or a builtin's own way
                return found
            make, arguments, state, *rest = found
            if isinstance(state, tuple) and isinstance(state[0], dict):
                state = ({key: item for key, item in state[0].items() if key not in _POSITIONS}, *state[1:])
            *before, _, extra = arguments  # the id is the last but one
            identity = _identity(cls) or self._identify(cls, (*before, extra, state))
            return make, (*before, identity, extra), state, *rest

        def _identify(self, cls: type, content: Any) -> str:
            file = io.BytesIO()
            ByValue(file, self._reduce, (*self._inside, cls)).dump(content)
            identity = f"grandpa-{hashlib.sha256(file.getvalue()).hexdigest()[:32]}"
            with cloudpickle._DYNAMIC_CLASS_TRACKER_LOCK:
                cloudpickle._DYNAMIC_CLASS_TRACKER_BY_CLASS[cls] = identity
                cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID[identity] = cls
            return identity

    def _identity(cls: type) -> str:
        """The id that the class has already, where it was made here or came with a pickle made here."""
        known = str(cloudpickle._DYNAMIC_CLASS_TRACKER_BY_CLASS.get(cls, ""))
        return known if known.startswith("grandpa-") else ""

    return ByValue
