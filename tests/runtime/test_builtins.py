"""The nodes that passes add, with values and with handles."""

from __future__ import annotations

from typing import Any

import pytest

from grandpa_kfp_runtime import builtins
from grandpa_kfp_runtime.builtins import BY_HANDLE, fill, gather, gather_handles, identity, join, join_handles
from grandpa_kfp_runtime.stores.memory import MemoryStore
from grandpa_kfp_runtime.values.handles import from_handle, to_handle


class Closed(MemoryStore):
    """A store whose objects cannot be read."""

    def read(self, key: str) -> Any:
        raise AssertionError("a value was read")


def test_gather_makes_a_list_of_values_without_reading_any() -> None:
    store = Closed()
    values = [1, "text", (1, 2), b"bytes" * 1000]
    handle = gather_handles([to_handle(value, store) for value in values], store)
    open_store = MemoryStore()
    for value in values:
        to_handle(value, open_store)
    assert gather_handles([to_handle(value, open_store) for value in values], open_store) == handle
    assert from_handle(handle, open_store) == values


def test_join_makes_one_list_of_gathered_and_plain_lists() -> None:
    store = MemoryStore()
    gathered = gather_handles([to_handle(item, store) for item in (1, (2,))], store)
    plain = to_handle([3, {4}], store)
    assert from_handle(join_handles([gathered, plain, gathered], store), store) == [1, (2,), 3, {4}, 1, (2,)]


def test_with_values_they_do_the_same() -> None:
    assert (identity([1]), gather(1, [2]), join([1], [2, 3], [])) == ([1], [1, [2]], [1, 2, 3])


def test_fill_puts_values_in_at_positions() -> None:
    assert fill({"a": [None, 1], "b": None}, [[0, 0], [1]], ["x", "y"]) == {"a": ["x", 1], "b": "y"}


def test_fill_refuses_values_without_positions() -> None:
    with pytest.raises(ValueError):
        fill([None], [[0]], [1, 2])


def test_keys_by_handle_name_functions_of_this_module() -> None:
    for key in BY_HANDLE:
        module, _, name = key.partition(":")
        assert module == builtins.__name__
        assert callable(getattr(builtins, name))
