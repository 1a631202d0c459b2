"""What a key is: the hash of an object's bytes, taken on as many cores as there are. Every store names by it.

An object of at most one part has the SHA-256 of its bytes. A larger one has the SHA3-256 of its parts'
SHA-256s in order, so that parts are hashed, and checked as they arrive, each on its own: one core hashes
slower than a disk or a network delivers. The outer function is another one so that the bytes of no small
object can be made to have a large one's key.
"""

from __future__ import annotations

import hashlib
import os
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Sequence

PART_BYTES = 16 * 1024 * 1024
"""The size of a part, which keys depend on. One request carries one, too."""


def digest_of(data: Sequence[memoryview]) -> bytes:
    """The 32 bytes that the key spells, of buffers that follow each other."""
    size = sum(map(len, data))
    starts = range(0, size, PART_BYTES) or range(1)
    cores = min(len(starts), os.cpu_count() or 1)

    def hashed(start: int) -> bytes:
        found = hashlib.sha256()
        for piece in cut(data, start, min(start + PART_BYTES, size)):
            found.update(piece)
        return found.digest()

    if cores == 1:
        return combined([hashed(start) for start in starts])
    from concurrent.futures import ThreadPoolExecutor  # most tasks have no object so large

    with ThreadPoolExecutor(cores, "grandpa-hash") as pool:
        return combined(list(pool.map(hashed, starts)))


def combined(parts: Sequence[bytes]) -> bytes:
    """An object's digest from the SHA-256s of its parts."""
    return parts[0] if len(parts) == 1 else hashlib.sha3_256(b"".join(parts)).digest()


def spelled(digest: bytes) -> str:
    """The key: base64url, 43 characters."""
    return urlsafe_b64encode(digest).decode("ascii").rstrip("=")


def cut(data: Sequence[memoryview], start: int, end: int) -> Iterator[memoryview]:
    """Views of the bytes from `start` to `end` of buffers that follow each other.

    >>> [bytes(piece) for piece in cut([memoryview(b"abc"), memoryview(b"defg")], 2, 6)]
    [b'c', b'def']
    """
    at = 0
    for part in data:
        first, last = max(start - at, 0), min(end - at, len(part))
        if first < last:
            yield part[first:last]
        at += len(part)
        if at >= end:
            return
