"""Looking at JSON data field by field: what is not as the format says becomes a `Broken` with its place.

`reading.py` is built from these: a reader is a function from JSON to what it stands for, and the
functions here make readers of lists and objects from readers of what is in them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NoReturn, TypeVar

from ..graph import Json

T = TypeVar("T")
D = TypeVar("D")


class Broken(Exception):
    """Something is not as the format says; `path` grows from the inside out."""

    def __init__(self, message: str, *path: str) -> None:
        self.message = message
        self.path = list(path)


def wrong(value: Json, wanted: str) -> NoReturn:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    raise Broken(f"must be {wanted}, but is {names.get(type(value), 'a number')}")


class Fields:
    """One object: what was read from it, so that what was not can be told."""

    __slots__ = ("_data", "_left")

    def __init__(self, data: Json) -> None:
        if type(data) is not dict:
            wrong(data, "an object")
        self._data = data
        self._left = len(data)

    def get(self, name: str, read: Callable[[Json], T], default: D) -> T | D:
        if name not in self._data:
            return default
        return self.need(name, read)

    def need(self, name: str, read: Callable[[Json], T]) -> T:
        if name not in self._data:
            raise Broken(f'the field "{name}" is missing')
        self._left -= 1
        try:
            return read(self._data[name])
        except Broken as broken:
            broken.path.insert(0, f".{name}")
            raise

    def __contains__(self, name: str) -> bool:
        return name in self._data

    def end(self, *known: str) -> None:
        """known: all fields there are; only looked at where one was not read."""
        if self._left:
            unknown = next(name for name in self._data if name not in known)
            raise Broken(f'the field "{unknown}" is not known')


def text(value: Json) -> str:
    if type(value) is not str:
        wrong(value, "a text")
    return value


def flag(value: Json) -> bool:
    if type(value) is not bool:
        wrong(value, "true or false")
    return value


def each(items: Iterable[tuple[str, Json]], read: Callable[[Json], T]) -> list[T]:
    result = []
    for place, item in items:
        try:
            result.append(read(item))
        except Broken as broken:
            broken.path.insert(0, place)
            raise
    return result


def tuple_of(read: Callable[[Json], T]) -> Callable[[Json], tuple[T, ...]]:
    def read_list(value: Json) -> tuple[T, ...]:
        if type(value) is not list:
            wrong(value, "a list")
        return tuple(each(((f"[{index}]", item) for index, item in enumerate(value)), read))

    return read_list


def pairs_of(read: Callable[[Json], T]) -> Callable[[Json], tuple[tuple[str, T], ...]]:
    """A list of [name, value], in order."""

    def read_pair(value: Json) -> tuple[str, T]:
        if type(value) is not list or len(value) != 2:
            raise Broken("must be a list of a name and a value")
        (name,) = each((("[0]", value[0]),), text)
        (content,) = each((("[1]", value[1]),), read)
        return name, content

    return tuple_of(read_pair)


def mapping_of(read: Callable[[Json], T]) -> Callable[[Json], tuple[tuple[str, T], ...]]:
    """An object as pairs, in order."""

    def read_mapping(value: Json) -> tuple[tuple[str, T], ...]:
        if type(value) is not dict:
            wrong(value, "an object")
        return tuple(zip(value, each(((f'["{name}"]', item) for name, item in value.items()), read), strict=True))

    return read_mapping


texts = tuple_of(text)
