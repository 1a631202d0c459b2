"""What a key is: the same in every store, on any number of cores, wherever the buffers' borders lie."""

from __future__ import annotations

import hashlib
import os
from base64 import urlsafe_b64encode
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grandpa_kfp_runtime.errors import ObjectCorrupt
from grandpa_kfp_runtime.stores import key_of, keys
from grandpa_kfp_runtime.stores.file import FileStore
from grandpa_kfp_runtime.stores.memory import MemoryStore


def spelled(digest: bytes) -> str:
    return urlsafe_b64encode(digest).decode().rstrip("=")


def test_an_object_of_one_part_has_the_sha256_of_its_bytes() -> None:
    data = os.urandom(keys.PART_BYTES)
    assert key_of(data) == spelled(hashlib.sha256(data).digest())
    assert key_of(b"") == spelled(hashlib.sha256().digest())


def test_a_larger_one_has_the_hash_of_its_parts_hashes(tmp_path: Path) -> None:
    """16 MiB each, the last one shorter; the same in every store."""
    data = os.urandom(2 * 16 * 1024 * 1024 + 5)
    parts = [data[: 2**24], data[2**24 : 2**25], data[2**25 :]]
    expected = spelled(hashlib.sha3_256(b"".join(hashlib.sha256(part).digest() for part in parts)).digest())
    assert key_of(data) == expected
    assert MemoryStore().write(data) == expected
    assert FileStore(tmp_path).write([data[:7], data[7:]]) == expected


@given(st.lists(st.binary(max_size=300), max_size=8), st.integers(1, 100))
def test_borders_of_buffers_and_the_number_of_cores_do_not_matter(buffers: list[bytes], part: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(keys, "PART_BYTES", part)
        found = key_of(buffers)
        patched.setattr(keys.os, "cpu_count", lambda: 1)
        assert found == key_of(b"".join(buffers))


@pytest.mark.parametrize("at", [0, 2**24, 2**24 + 99])
def test_one_changed_byte_in_any_part_is_seen(tmp_path: Path, at: int) -> None:
    store = FileStore(tmp_path)
    data = bytearray(os.urandom(2**24 + 100))
    key = store.write(data)
    data[at] ^= 1
    (tmp_path / "objects" / key[:2] / key[2:]).write_bytes(data)
    with pytest.raises(ObjectCorrupt, match="have another hash"):
        store.read(key)
