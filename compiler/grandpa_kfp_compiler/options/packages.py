"""The options that name packages: requirements as pip takes them, and the index they come from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .rules import Rule, Wrong, plain

_WANTED = "a list of requirements such as ['numpy==1.26.4']"


def _read(value: Any) -> tuple[str, ...]:
    """In one spelling, sorted, each once: the same packages are the same to caches."""
    from grandpa_kfp_runtime.code.requirements import read_requirement  # few workflows need it

    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise Wrong(f"must be {_WANTED}, but is {value!r}")
    try:
        return tuple(sorted({read_requirement(item) for item in value}))
    except ValueError as error:
        raise Wrong(f"must be {_WANTED}: {error}") from None


def _mistakes(value: Any) -> Iterator[str]:
    try:
        _read(value)
    except Wrong as wrong:
        yield str(wrong)


def _index_mistakes(value: Any) -> Iterator[str]:
    from grandpa_kfp_runtime.code.requirements import read_index_url

    try:
        read_index_url(value)
    except ValueError as error:
        yield str(error)


def _read_index(value: Any) -> str:
    if not isinstance(value, str):
        raise Wrong(f"must be the address of a package index, but is {value!r}")
    return value


PACKAGES = Rule(_read, _mistakes, plain)
INDEX_URL = Rule(_read_index, _index_mistakes, plain)
