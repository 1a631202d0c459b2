"""Values on their way into shared objects and out: as they are where nobody can change them, else encoded.

So everyone who takes a value gets one of their own, on threads as across processes, and the process that
keeps it needs none of the user's classes.
"""

from __future__ import annotations

from typing import Any

from grandpa_kfp_runtime.values.codecs import Encoded, decode, encode

from ..engine.values import is_shareable


def enclosed(value: Any, name: str = "the value") -> Any:
    """What is stored of a value. Raises CodecError for one that cannot be encoded, calling it `name`."""
    if is_shareable(value, paths=True):
        return value
    return encode(value, name=name, files=False).owned()


def opened(parcel: Any) -> Any:
    """A value of one's own.

    >>> box = enclosed([1, 2])
    >>> opened(box), opened(box) is opened(box), opened(enclosed(3))
    ([1, 2], False, 3)
    """
    return decode(parcel) if isinstance(parcel, Encoded) else parcel


def key(value: Any) -> Any:
    """A dict's key, which has to be plain: the process that keeps the dict compares it. Raises TypeError."""
    if not is_shareable(value, paths=True):
        raise TypeError(f"a key of a shared dict must be a string, a number or a tuple of such, but is {value!r}")
    return value
