"""Writing one object: in one request, or in parts side by side. Others see all of it or nothing.

The server checks what arrives: a small body against the SHA-256 that its key is, each part against its CRC-32.
"""

from __future__ import annotations

import re
import threading
import zlib
from base64 import b64encode
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from . import keys
from .s3_bucket import Bucket
from .s3_errors import Refused, code_of
from .s3_transfer import pieces, side_by_side

_MOST_PARTS = 10_000
_IF_ABSENT = {"If-None-Match": "*"}
_THERE = "PreconditionFailed"  # another writer of the same key was faster


def put(bucket: Bucket, name: str, data: Sequence[memoryview], sha256: str, *, kind: str, only_if_absent: bool) -> None:
    """Stores the buffers, which follow each other, as one object.

    sha256: hex, of all the bytes; looked at only where they are one part.
    only_if_absent: what another writer put there meanwhile stays, which is no error: a key has one content.
    """
    size = sum(map(len, data))
    condition = _IF_ABSENT if only_if_absent else {}
    if size > keys.PART_BYTES:
        _Upload(bucket, name, data, size, condition).run(kind)
        return
    headers = {"Content-Type": kind, **condition}
    body = pieces(data, 0, size)
    try:
        bucket.call(partial(bucket.send, "PUT", name, headers=headers, body=body, sha256=sha256))
    except Refused as refused:
        if refused.code != _THERE:
            raise


class _Upload:
    """An object on its way in parts."""

    def __init__(
        self, bucket: Bucket, name: str, data: Sequence[memoryview], size: int, condition: dict[str, str]
    ) -> None:
        self._bucket = bucket
        self._name = name
        self._data = data
        self._size = size
        self._condition = condition
        self._part_bytes = max(keys.PART_BYTES, -(-size // _MOST_PARTS))
        self._stop = threading.Event()
        self._id = ""

    def run(self, kind: str) -> None:
        headers = {"Content-Type": kind, "x-amz-checksum-algorithm": "CRC32"}
        begin = partial(self._bucket.send, "POST", self._name, query={"uploads": ""}, headers=headers)
        found = re.search(rb"<UploadId>([^<]+)</UploadId>", self._bucket.call(begin).data)
        if found is None:
            raise ValueError("the answer to the beginning of an upload holds no UploadId")
        self._id = found[1].decode()
        try:
            with side_by_side(self._send, range(0, self._size, self._part_bytes), self._stop) as parts:
                body = "".join(parts)
            self._complete(f"<CompleteMultipartUpload>{body}</CompleteMultipartUpload>".encode())
        except BaseException:
            self._abandon()
            raise

    def _send(self, start: int) -> str:
        """Sends one part and returns its line in the list of all."""
        number = start // self._part_bytes + 1
        body = pieces(self._data, start, min(start + self._part_bytes, self._size))
        crc = 0
        for piece in body:
            crc = zlib.crc32(piece, crc)
        checksum = b64encode(crc.to_bytes(4, "big")).decode()
        query = {"partNumber": str(number), "uploadId": self._id}
        headers = {"x-amz-checksum-crc32": checksum}
        response = self._bucket.call(
            partial(self._bucket.send, "PUT", self._name, query=query, headers=headers, body=body), self._stop
        )
        return (
            f"<Part><PartNumber>{number}</PartNumber><ETag>{response.headers['ETag']}</ETag>"
            f"<ChecksumCRC32>{checksum}</ChecksumCRC32></Part>"
        )

    def _complete(self, body: bytes) -> None:
        headers = {"Content-Type": "application/xml", **self._condition}
        query = {"uploadId": self._id}
        try:
            self._bucket.call(
                partial(self._bucket.send, "POST", self._name, query=query, headers=headers, body=[memoryview(body)])
            )
        except Refused as refused:
            if refused.code == _THERE:
                self._abandon()
            # an answer that was lost and asked for again: the upload is no more, the object is
            elif code_of(refused) != "NoSuchUpload" or self._bucket.size(self._name) != self._size:
                raise

    def _abandon(self) -> None:
        """Frees the parts' space now. Where that fails the server does it in a day; the first error is what counts."""
        from urllib3.exceptions import HTTPError

        with suppress(Refused, HTTPError, OSError):
            self._bucket.send("DELETE", self._name, query={"uploadId": self._id})
