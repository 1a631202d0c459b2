"""Says where in a value the part sits that cannot be stored, and what to do about it.

`pickling` calls this once encoding has failed; it looks at the value and changes nothing.
"""

from __future__ import annotations

import functools
import io
import json
import types
from collections import deque
from collections.abc import Iterator
from typing import Any

_MOST_OBJECTS = 200_000

FILES = (io.TextIOWrapper, io.BufferedReader, io.BufferedWriter, io.BufferedRandom, io.FileIO)
REFUSED = frozenset({types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType, memoryview, *FILES})
"""Types that never cross: cloudpickle would turn some of them quietly into something else."""


def locate(root: Any, culprit: Any, name: str) -> str:
    """The path of the object inside the root, `result[2]["model"].lock`; `name` alone where it is not found."""
    waiting: deque[tuple[str, Any]] = deque([(name, root)])
    seen = {id(root)}
    kept = [root]  # children made on the fly must outlive the search, or their ids come back
    while waiting and len(kept) < _MOST_OBJECTS:
        path, value = waiting.popleft()
        if value is culprit:
            return path
        for step, child in _children(value):
            if id(child) not in seen and type(child) not in _ATOMS:
                seen.add(id(child))
                kept.append(child)
                waiting.append((path + step, child))
    return name


def advice(culprit: Any) -> str:
    """What the object is, why it cannot be stored and what to do, for the end of a message."""
    kind = type(culprit)
    if kind is types.GeneratorType:
        return f"the generator {_name(culprit)} can be walked only once and only here; return list(...) of it"
    if kind is types.AsyncGeneratorType:
        return f"the generator {_name(culprit)} can be walked only here; return [item async for item in ...]"
    if kind is types.CoroutineType:
        return f"the coroutine {_name(culprit)} was never awaited; await it in the node and return its value"
    if isinstance(culprit, FILES):
        return "an open file stays with its process; return its content, or the pathlib.Path of the closed file"
    if kind is memoryview:
        return "a memoryview shows memory of this process; return bytes(...) of it"
    if isinstance(culprit, types.ModuleType):
        return f"the module {culprit.__name__} cannot be a value; import it in the node that uses it"
    if kind.__module__ in ("_thread", "threading", "_queue", "queue", "multiprocessing.synchronize"):
        return f"{_described(kind)} belongs to this process; make it in the node that uses it, or {_LEAVE_OUT}"
    if kind.__module__ in ("socket", "_socket", "ssl", "_ssl", "select", "sqlite3", "subprocess"):
        return f"{_described(kind)} is a live connection; open it in the node that uses it, or {_LEAVE_OUT}"
    return f"{_described(kind)} cannot be pickled; return plain data, {_LEAVE_OUT}, or register_codec for its type"


_LEAVE_OUT = "leave it out in the object's __getstate__"
_ATOMS = frozenset({type(None), bool, int, float, complex, str, bytes, bytearray})


def _described(kind: type) -> str:
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return f"a value of type {name}"


def _name(value: Any) -> str:
    return str(getattr(value, "__qualname__", type(value).__name__))


def _children(value: Any) -> Iterator[tuple[str, Any]]:
    kind = type(value)
    if issubclass(kind, dict):
        for key, item in list(dict.items(value)):
            yield f"[{_key(key)}]", item
            yield f" (the key {_key(key)})", key
    elif issubclass(kind, list | tuple):
        for index, item in enumerate(kind.__iter__(value)):
            yield f"[{index}]", item
    elif issubclass(kind, set | frozenset | deque):
        for item in list(value):
            yield f" (an element of the {kind.__name__})", item
    elif kind is types.FunctionType:
        yield from _closure(value)
    elif kind is types.MethodType:
        yield ".__self__", value.__self__
    elif kind is functools.partial:
        yield ".func", value.func
        yield ".args", value.args
        yield ".keywords", value.keywords
    if not issubclass(kind, type | types.ModuleType):
        yield from _attributes(value)


def _closure(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield f" (the variable {name} of {function.__qualname__})", cell.cell_contents
        except ValueError:  # a cell that is empty yet
            continue
    for name in function.__code__.co_names:
        if name in function.__globals__:
            yield f" (the global {name} of {function.__qualname__})", function.__globals__[name]
    for default in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
        yield f" (a default of {function.__qualname__})", default


def _attributes(value: Any) -> Iterator[tuple[str, Any]]:
    try:
        state = object.__getattribute__(value, "__dict__")
    except AttributeError:
        state = None
    if isinstance(state, dict):
        for name, item in list(state.items()):
            yield f".{name}", item
    for base in type(value).__mro__:
        for name, member in list(vars(base).items()):
            if isinstance(member, types.MemberDescriptorType) and not name.startswith("__"):
                try:
                    yield f".{name}", member.__get__(value)
                except AttributeError:
                    continue


def _key(key: Any) -> str:
    if type(key) is str:
        return json.dumps(key if len(key) <= 60 else key[:59] + "…", ensure_ascii=False)
    return repr(key) if type(key) in _ATOMS else f"<{type(key).__name__}>"
