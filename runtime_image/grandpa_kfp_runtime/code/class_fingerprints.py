"""Fingerprints of the project's classes and functions, for objects whose pickles name them.

A pickle says `flows.models:Point` and nothing of what Point does. With its fingerprint in the object's
header, changing a method changes the key, and whoever gets the value runs again. The launcher, the
local engine and the compiler hand `class_fingerprint` to `values.codecs.encode`.
"""

from __future__ import annotations

import sys
import types
import weakref
from typing import Any

from ..errors import PayloadError

_MOST_OUTSIDE = 10_000

_known: weakref.WeakKeyDictionary[Any, str | None] = weakref.WeakKeyDictionary()
_outside: set[Any] = set()  # every array is asked about several times: this is the fast answer


def class_fingerprint(value: Any) -> str | None:
    """The fingerprint of a class or function that lies in a module of the project, None for any other.

    None also for what no import finds, lambdas, functions inside others and all that is in `__main__`: of
    these a pickle holds the content. It is made once for each class object: a module that is loaded
    again has new ones. None, too, where the source cannot be read any more because someone is changing it.

    >>> class_fingerprint(int), class_fingerprint(Any), class_fingerprint("text")
    (None, None, None)
    """
    try:
        if value in _outside:
            return None
        found = _known.get(value, "")
    except TypeError:  # a class whose metaclass has no hash
        return _made(value) if _is_named(value) and _is_project(value) else None
    if found != "":
        return found
    if not _is_named(value):
        return None
    if _is_project(value):
        found = _known[value] = _made(value)
        return found
    if len(_outside) >= _MOST_OUTSIDE:  # a program that makes classes without end
        _outside.clear()
    _outside.add(value)
    return None


def _is_named(value: Any) -> bool:
    named = isinstance(value, type | types.FunctionType)
    return named and value.__module__ != "__main__" and "<" not in value.__qualname__


def _is_project(value: Any) -> bool:
    from .project import is_project_module

    module = sys.modules.get(value.__module__)
    return module is not None and is_project_module(module)


def _made(value: Any) -> str | None:
    from .fingerprint import Fingerprints  # the parser and all that: most values name no class of a project

    try:
        return Fingerprints().code(value)
    except PayloadError:
        return None
