"""A store in this process's memory, for tests and runs that leave nothing behind."""

from __future__ import annotations

import json

from ..typespec import Json
from ..values.frames import Buffer
from .base import Data, buffers_of, gone, key_of, object_path, record_path


class MemoryStore:
    """Objects and records in two dicts. Every MemoryStore is one of its own."""

    location = "memory:"

    def __init__(self) -> None:
        self._objects: dict[str, bytes] = {}
        self._records: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"MemoryStore({len(self._objects)} objects)"

    def read(self, key: str) -> Buffer:
        object_path(key)
        data = self._objects.get(key)
        if data is None:
            raise gone(key, self.uri(key))
        return data

    def write(self, data: Data) -> str:
        parts = buffers_of(data)
        key = key_of(parts)
        if key not in self._objects:
            self._objects[key] = b"".join(parts)
        return key

    def exists(self, key: str, *, renew: bool = False) -> bool:
        object_path(key)
        return key in self._objects

    def uri(self, key: str) -> str:
        return f"memory:{object_path(key)}"

    def put_record(self, path: str, record: Json) -> None:
        self._records[record_path(path)] = json.dumps(record)

    def get_record(self, path: str) -> Json:
        text = self._records.get(record_path(path))
        return None if text is None else json.loads(text)

    def list_records(self, prefix: str = "") -> list[str]:
        return sorted(path for path in tuple(self._records) if path.startswith(prefix))
