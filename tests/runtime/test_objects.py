"""The bytes of stored objects: layout, compression, determinism, damage."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grandpa_kfp_runtime.errors import CodecError
from grandpa_kfp_runtime.values.codecs import Encoded, decode, encode
from grandpa_kfp_runtime.values.frames import Compressed, JoinedReader, copy_to, own, plain, reader, view
from grandpa_kfp_runtime.values.objects import ALIGNMENT, MAGIC, pack, read_header, unpack


def packed(encoded: Encoded) -> bytes:
    return b"".join(pack(encoded))


@given(st.lists(st.binary(max_size=200), max_size=5), st.dictionaries(st.text(max_size=3), st.integers()))
def test_frames_and_meta_come_back(frames: list[bytes], meta: dict[str, int]) -> None:
    back = unpack(packed(Encoded("pickle", tuple(frames), meta, {"m:C": "f"})))
    assert (back.codec, back.meta, back.classes) == ("pickle", meta, {"m:C": "f"})
    assert [bytes(plain(frame)) for frame in back.frames] == frames


def test_the_layout_is_the_documented_one() -> None:
    data = packed(Encoded("bytes", (b"abc", b"de"), {"k": 1}))
    size = int.from_bytes(data[8:12], "little")
    assert data[:8] == MAGIC == b"GRANDPA1"
    assert json.loads(data[12 : 12 + size]) == {"codec": "bytes", "sizes": [3, 2], "meta": {"k": 1}}
    assert (12 + size) % ALIGNMENT == 0
    assert data[12 + size :] == b"abc" + bytes(61) + b"de" + bytes(62)
    assert read_header(data)["codec"] == "bytes"


def test_unpacking_copies_nothing() -> None:
    array = np.random.default_rng(0).random(100_000)
    data = bytearray(packed(encode(array)))
    frame = unpack(data).frames[1]
    assert isinstance(frame, memoryview)
    assert frame.obj is data


def test_frames_that_shrink_are_compressed_and_others_are_not() -> None:
    rng = np.random.default_rng(0)
    random, zeros = rng.random(100_000), np.zeros(100_000)
    assert sum(view(part).nbytes for part in pack(encode(zeros))) < 10_000
    assert sum(view(part).nbytes for part in pack(encode(random))) > random.nbytes
    back = unpack(packed(encode([random, zeros])))
    assert [type(frame) for frame in back.frames[1:]] == [memoryview, Compressed]
    first, second = decode(back)
    assert np.array_equal(first, random)
    assert np.array_equal(second, zeros)


def test_a_promising_sample_of_bytes_that_do_not_shrink_changes_nothing() -> None:
    data = os.urandom(3_000_000)
    mixed = bytes(70_000) + data
    for value in (data, mixed):
        assert decode(unpack(packed(encode(value)))) == value


def test_large_frames_are_compressed_through_a_file() -> None:
    """Above 32 MiB the compressed bytes are never in memory; the value is the same."""
    data = (b"%d," * 10 % tuple(range(10))) * 1_800_000
    parts = pack(encode(data))
    assert sum(view(part).nbytes for part in parts) < len(data) // 10
    assert decode(unpack(b"".join(parts))) == data


def test_the_same_value_gives_the_same_bytes_in_every_process() -> None:
    code = (
        "import hashlib\n"
        "from grandpa_kfp_runtime.values.codecs import encode; from grandpa_kfp_runtime.values.objects import pack\n"
        "value = [{'b': (1, 2.5), 'a': 'ä' * 9999}, {'x': float('nan'), 'y': b'z' * 100000}, (1,)]\n"
        "print(hashlib.sha256(b''.join(pack(encode(value)))).hexdigest())"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("0", "1", "77")
    }
    assert len(seen) == 1


def test_other_classes_behind_the_same_value_give_another_object() -> None:
    """A pickle names classes; the fingerprints of their code are part of the object, so of its key."""
    value = Encoded("pickle", (b"x",), {}, {"m:C": "1"})
    assert packed(value) != packed(Encoded("pickle", (b"x",), {}, {"m:C": "2"}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: b"PK\x03\x04" + data, "not a stored value"),
        (lambda data: b"", "not a stored value"),
        (lambda data: b"GRANDPA2" + data[8:], "another version"),
        (lambda data: data[:12] + b"!" + data[13:], "not one of ours"),
        (lambda data: data[:8] + (5).to_bytes(4, "little") + b"[1,2]", "not one of ours"),
        (lambda data: data[:8] + (2).to_bytes(4, "little") + b"{}", "not one of ours"),
        (lambda data: data[:70], "in the middle of a frame"),
    ],
)
def test_damage_is_told(damage: Any, message: str) -> None:
    with pytest.raises(CodecError, match=message):
        unpack(damage(packed(encode(b"abc" * 30))))


@pytest.mark.parametrize("size", [99_999, 100_001])
def test_a_compressed_frame_of_another_length_than_promised_is_told(size: int) -> None:
    frame = unpack(packed(encode(bytes(100_000)))).frames[0]
    assert isinstance(frame, Compressed)
    with pytest.raises(CodecError, match="than its header says"):
        own(Compressed(frame.data, size))


@given(st.lists(st.binary(max_size=20), max_size=6), st.integers(1, 7))
def test_a_joined_reader_reads_as_one_file(parts: list[bytes], step: int) -> None:
    whole = b"".join(parts)
    file = JoinedReader([memoryview(part) for part in parts])
    pieces = []
    while piece := file.read(step):
        pieces.append(piece)
    assert b"".join(pieces) == whole
    file.seek(len(whole) // 2)
    assert file.read() == whole[len(whole) // 2 :]


def test_readers_stream_plain_and_compressed_frames(tmp_path: Any) -> None:
    data = b"0123456789" * 50_000
    for frame in unpack(packed(Encoded("bytes", (data, os.urandom(5000))))).frames:
        with reader(frame) as stream:
            content = b""
            while chunk := stream.read(70_001):
                content += chunk
        assert content == bytes(plain(frame))
        with open(tmp_path / "copy", "wb") as file:
            copy_to(frame, file)
        assert (tmp_path / "copy").read_bytes() == content
